"use strict";
(function () {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const stars = read("stars"), choices = read("choices"), words = read("statuses");
  const show = (element) => { element.hidden = false; };
  const panel = document.getElementById("star");

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // TIC numbers are differences in groups of seven bits; they can exceed 32 bits, so no shifts.
  function numbers(bytes, count) {
    const found = new Float64Array(count);
    let at = 0, last = 0;
    for (let k = 0; k < count; k++) {
      let factor = 1, byte;
      do { byte = bytes[at++]; last += (byte & 127) * factor; factor *= 128; } while (byte & 128);
      found[k] = last;
    }
    return found;
  }

  let columns = null;
  async function load() {
    if (columns) return columns;
    const found = {};
    for (const [name, text] of Object.entries(stars.columns)) found[name] = await unpack(text);
    found.starid = numbers(found.starid, stars.count);
    found.tmag = new Uint16Array(found.tmag.buffer);
    found.ccd = new Uint16Array(found.ccd.buffer);
    // The stars that skip others, by row: the four bytes of each number lie apart.
    const by = found.by, place = new Int32Array(stars.count).fill(-1), many = by.length / 4;
    for (let k = 0, n = 0; k < stars.count; k++) if (found.skipped[k >> 3] >> (k & 7) & 1) { place[k] = by[n] + 256 * by[n + many] + 65536 * by[n + 2 * many] + 16777216 * by[n + 3 * many]; n++; }
    found.by = place;
    if (found.noise) found.noise = new Float32Array(found.noise.buffer);
    columns = found;
    return found;
  }

  function describe(found, k) {
    const [sector, camera, ccd] = stars.ccds[found.ccd[k]];
    const parts = [`sector ${sector}, camera ${camera}, CCD ${ccd}`, found.tpf[k] ? "target pixel file" : "full frame images"];
    if (found.tmag[k] !== 65535) parts.push(`Tmag ${(found.tmag[k] / 1000 - 10).toFixed(2)}`);
    parts.push(words.names[found.status[k]]);
    if (found.noise && Number.isFinite(found.noise[k])) parts.push(`1-hour noise ${found.noise[k].toFixed(0)} ppm`);
    return parts.join(", ");
  }

  function link_to(starid) {
    const link = document.createElement("a");
    link.textContent = starid;
    link.href = words.pages[starid] || "#star";
    if (!words.pages[starid]) link.addEventListener("click", (event) => { event.preventDefault(); find(String(starid)); });
    return link;
  }

  async function find(starid) {
    panel.replaceChildren();
    panel.classList.add("chosen");
    const say = (tag, ...content) => { const e = document.createElement(tag); e.append(...content); panel.append(e, " "); return e; };
    const close = say("button", "Close");
    close.addEventListener("click", () => panel.classList.remove("chosen"));
    if (!/^\d+$/.test(starid)) { say("span", "A TIC number has digits only."); return; }
    const found = await load(), number = Number(starid);
    let low = 0, high = stars.count;
    while (low < high) { const middle = (low + high) >> 1; if (found.starid[middle] < number) low = middle + 1; else high = middle; }
    if (low === stars.count || found.starid[low] !== number) { say("span", `TIC ${starid} is not in the work list.`); return; }
    say("b", `TIC ${number}`);
    const page = words.pages[number];
    if (page) say("a", "its page").href = page;
    const list = say("ul");
    for (let k = low; k < stars.count && found.starid[k] === number; k++) {
      const row = document.createElement("li");
      row.append(describe(found, k));
      if (found.by[k] >= 0) row.append(": its light is in the light curve of TIC ", link_to(found.starid[found.by[k]]));
      list.append(row);
    }
    if (!page) {
      const text = document.createElement("code"), link = document.createElement("a");
      text.textContent = words.show.replace("TIC", number);
      link.href = `pages/tic${String(number).padStart(11, "0")}.html`;
      link.textContent = "its page";
      say("span", "This command writes ", link, ": ", text);
    }
  }

  document.querySelector("#search form").addEventListener("submit", (event) => {
    event.preventDefault();
    find(document.getElementById("tic").value.trim());
  });
  for (const link of document.querySelectorAll("a.tic")) {
    link.href = "#star";
    link.addEventListener("click", (event) => { event.preventDefault(); find(link.dataset.tic); });
  }
  show(document.getElementById("search"));
  show(panel);
  show(document.getElementById("map-controls"));

  function model(id) {
    for (const one of Bokeh.documents) { const found = one.get_model_by_id(id); if (found) return found; }
    return null;
  }

  const quantity = document.getElementById("quantity"), ccd = document.getElementById("ccd"), key = document.getElementById("status-key");
  const has_points = choices.maps[0].points;
  for (const [name, colour] of has_points ? Object.entries(words.colours) : []) {
    const one = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.value = name;
    box.addEventListener("change", exchange);
    one.append(box, name === "UNKNOWN" ? "to do" : name);
    one.style.setProperty("--c", colour);
    key.append(one);
  }
  key.hidden = !has_points;
  function draw() {
    for (const map of choices.maps) {
      const glyph = model(map.glyph), mapper = model(map.mappers[quantity.value]);
      if (!glyph || !mapper) return;
      glyph.glyph.fill_color = { field: quantity.value, transform: mapper };
      const words_are_shown = map.points && quantity.value === "status";
      if (map.bar) { const bar = model(map.bar); bar.color_mapper = mapper; bar.visible = !words_are_shown; }
    }
  }
  // The stars of the chosen CCD, and of these the ones with a chosen status.
  function exchange() {
    const map = choices.maps[0], source = model(map.sources[Number(ccd.value)]);
    if (source) {
      const off = new Set([...key.querySelectorAll("input:not(:checked)")].map((box) => box.value));
      let data = source.data;
      if (off.size) {
        const word = Array.from(data.word), kept = word.map((_, k) => k).filter((k) => !off.has(word[k]));
        data = Object.fromEntries(Object.entries(data).map(([name, column]) => [name, kept.map((k) => column[k])]));
      }
      model(map.glyph).data_source.data = data;
    }
    document.querySelectorAll(".ccd-series").forEach((one, k) => { one.hidden = choices.series > 1 && k !== choices.series_of[Number(ccd.value)]; });
  }

  // A page may be dark: words and lines of plots take the colours of the page.
  function paint() {
    const style = getComputedStyle(document.documentElement);
    const text = style.getPropertyValue("--text").trim(), line = style.getPropertyValue("--line").trim();
    const card = style.getPropertyValue("--card").trim();
    for (const one of Bokeh.documents) for (const plot of one.roots()) {
      for (const axis of [...plot.below, ...plot.left, ...plot.right]) {
        if ("axis_label_text_color" in axis.properties) Object.assign(axis, { axis_label_text_color: text, axis_line_color: text, major_tick_line_color: text, minor_tick_line_color: line });
        if ("major_label_text_color" in axis.properties) axis.major_label_text_color = text;
        if ("title_text_color" in axis.properties) axis.title_text_color = text;
      }
      plot.outline_line_color = line;
      for (const part of [...plot.center, ...plot.above]) {
        if ("grid_line_color" in part.properties) part.grid_line_color = line;
        if ("label_text_color" in part.properties) Object.assign(part, { label_text_color: text, background_fill_color: card, border_line_color: line });
      }
      for (const glyph of plot.renderers) if (glyph.name === "words") glyph.glyph.text_color = text;
    }
  }

  function choose_by_tap() {
    for (const one of Bokeh.documents) for (const plot of one.roots()) for (const glyph of plot.renderers) {
      if (glyph.name !== "stars") continue;
      glyph.data_source.selected.change.connect(() => {
        const [first] = glyph.data_source.selected.indices;
        if (first !== undefined) find(String(glyph.data_source.data.starid[first]));
      });
    }
  }

  (function ready() {
    if (!window.Bokeh || Bokeh.documents.length === 0) { setTimeout(ready, 50); return; }
    paint();
    draw();
    exchange();
    choose_by_tap();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
    // Paper is white.
    const on_paper = (yes) => { document.documentElement.classList.toggle("paper", yes); paint(); };
    addEventListener("beforeprint", () => on_paper(true));
    addEventListener("afterprint", () => on_paper(false));
    quantity.addEventListener("change", draw);
    ccd.addEventListener("change", exchange);
    document.documentElement.dataset.ready = "yes";
  })();
})();
