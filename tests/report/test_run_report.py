"""The report of a run: its numbers are those of the work list, and its page works in a browser."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from known_results import make_folder

from tasoc_mpi import cli
from tasoc_mpi.core.errors import InputError
from tasoc_mpi.core.messages import Usage
from tasoc_mpi.core.status import STATUS
from tasoc_mpi.core.tables import json_values
from tasoc_mpi.report import run_report
from tasoc_mpi.report.noise_picture import running_quantiles
from tasoc_mpi.report.results import read_run
from tasoc_mpi.report.summary import summary_values
from tasoc_mpi.report.variables import Variable
from tasoc_mpi.worklist.failures import cause_line, cause_of, group_causes
from tasoc_mpi.worklist.rank_times import Ranks, RankTimes
from tasoc_mpi.worklist.run_record import RunRecord, read_records, records_folder

CHROMIUM = shutil.which("chromium")
#: The page's colour of cards, and the colours behind the legends of its plots.
LEGENDS = """() => [
    getComputedStyle(document.documentElement).getPropertyValue("--card").trim(),
    Bokeh.documents.flatMap((one) => one.roots()).flatMap((plot) => [...plot.center, ...plot.above])
        .filter((part) => part.type === "Legend").map((legend) => legend.background_fill_color)]"""
EVIL = "<script>document.title='taken'</script><img src=x onerror=document.title='taken'>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run with an untrusted message, and its report."""
    home = tmp_path_factory.mktemp("report") / "a <b> &amp; c"
    home.mkdir()
    folder = make_folder(home)
    with sqlite3.connect(folder / "todo.sqlite") as conn:
        conn.execute("UPDATE diagnostics SET errors = ? WHERE priority = 5", (f"ValueError: {EVIL} 17",))
        conn.execute("UPDATE todolist SET tile = 33")
        conn.execute("UPDATE todolist SET status = 5 WHERE priority = 6")
        conn.execute("INSERT INTO photometry_skipped VALUES (6, 1)")
        conn.execute("UPDATE diagnostics SET pos_row = 99.0, pos_column = 100.0 WHERE priority < 4")
    conn.close()
    ranks = Ranks([0, 0, 0], ["n1"] * 3, [Usage(), Usage(3e8, 1.0), Usage(2e8)])
    record = RunRecord("run", Namespace(batch=4), folder / "curves", ranks)
    record.begin(8)
    record.times.add([1, 2], 4.0, np.array([2.0, 3.0]), np.array([0.5, 0.0]), np.array([3, 5]))
    record.end_computing()
    record.end("complete")
    pages = folder / "curves" / "pages"
    pages.mkdir()
    for name in ("tic00000001000.html", "tic<b>.html", "other.html"):
        (pages / name).touch()
    assert cli.main(["report", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def numbers(folder) -> dict:
    return json.loads((folder / "curves" / "report.json").read_text())


def test_numbers_are_those_of_the_work_list(folder, numbers):
    conn = sqlite3.connect(folder / "todo.sqlite")
    for status, count in conn.execute("SELECT COALESCE(status, 0), COUNT(*) FROM todolist GROUP BY 1"):
        assert numbers["counts"][STATUS(status).name] == count
    assert numbers["rows"] == 9
    assert numbers["stars"] == 8
    (mean,) = conn.execute("SELECT AVG(elaptime) FROM diagnostics").fetchone()
    assert numbers["seconds"]["mean"] == pytest.approx(mean)
    slowest = conn.execute(
        "SELECT starid FROM diagnostics JOIN todolist USING (priority) ORDER BY elaptime DESC"
    )
    assert [one["starid"] for one in numbers["slowest"]] == [row[0] for row in slowest]
    conn.close()
    brightest = numbers["groups"][0]["magnitudes"][0]
    assert brightest["rms_hour"] == pytest.approx(140e-6)
    assert brightest["counts"] == {"OK": 3, "WARNING": 1}


def test_injected_variables_count_as_in_the_summary(folder, numbers, monkeypatch):
    run = read_run(folder)
    variables = {int(run.stars["starid"][0]): Variable("transit", 1.0, 0.01)}
    monkeypatch.setattr(run_report, "injected_variables", lambda *_: variables)
    data = run_report.collect_report(run, folder, str(folder)).data
    summary = json_values(summary_values(run, variables))
    assert data["injected_variables"] == summary["injected_variables"] == 1
    assert [group | {"ratio": None} for group in data["groups"]] == [
        group | {"ratio": None} for group in summary["groups"]
    ]
    assert data["groups"][0]["magnitudes"] != numbers["groups"][0]["magnitudes"]


def test_page_shows_the_numbers_and_nothing_untrusted(folder, numbers):
    page = (folder / "curves" / "report.html").read_text()
    assert EVIL not in page
    assert "&lt;script&gt;document.title" in page
    assert "http://" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "https://" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    # Without JavaScript the numbers are there, too.
    assert f"<b>{numbers['rows']}</b> rows" in page
    (failure,) = (one for one in numbers["failures"] if one["status"] == "ERROR")
    assert failure["stars"] == [1004]
    assert failure["command"].startswith("tasoc-mpi run ")
    assert failure["command"].endswith("--starid 1004 --overwrite")


def test_maps_and_lists_are_those_of_the_work_list(folder, numbers):
    conn = sqlite3.connect(folder / "todo.sqlite")
    rows = conn.execute(
        "SELECT starid, COALESCE(status, 0), mask_size, rms_hour"
        " FROM todolist LEFT JOIN diagnostics USING (priority) ORDER BY priority"
    ).fetchall()
    conn.close()
    (one,) = numbers["maps"]
    stars = one["stars"]
    assert stars["starid"] == [row[0] for row in rows]
    assert stars["status"] == [row[1] for row in rows]
    assert stars["mask"] == [row[2] for row in rows]
    assert stars["rms_hour"] == [row[3] for row in rows]
    assert sum(one["cells"]["stars"]) == len(rows)
    ok = sum(
        share * count for share, count in zip(one["cells"]["status"], one["cells"]["stars"], strict=True)
    )
    assert ok == pytest.approx(numbers["counts"]["OK"], abs=1e-3)
    assert numbers["skipped"]["stars"] == 1
    assert [(one["starid"], one["stars"]) for one in numbers["skipped"]["by"]] == [(1000, [1005])]
    ratios = [one["ratio"] for one in numbers["noisiest"]]
    assert ratios == sorted(ratios, reverse=True)
    assert len(ratios) == numbers["counts"]["OK"]
    assert numbers["pages"] == {"1000": "pages/tic00000001000.html"}
    (run,) = numbers["runs"]
    assert run["by_rank"]["memory"] == [300_000_000, 200_000_000]
    assert run["by_rank"]["compiling"] == [1.0, 0.0]
    assert run["computed"] == 8
    assert set(run["stages"]) == {"compiling", "starting", "reading", "computing"} | {"publishing"}


def test_page_without_javascript_has_the_same(folder, numbers):
    page = (folder / "curves" / "report.html").read_text()
    assert '<a href="pages/tic00000001000.html">1000</a>' in page
    assert "<td>300</td></tr>" in page
    assert page.count("<noscript><img") == 3  # noise, maps, timeline


def test_many_stars_are_cells_and_skipped_ones_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr("tasoc_mpi.report.run_report.MOST_POINTS", 3)
    folder = make_folder(tmp_path, files=False)
    (folder / "curves").mkdir(exist_ok=True)
    assert cli.main(["report", str(folder)]) == 0
    numbers = json.loads((folder / "curves" / "report.json").read_text())
    assert numbers["maps"][0]["stars"] is None
    page = (folder / "curves" / "report.html").read_text()
    assert 'value="stars">number of stars' in page


def test_unknown_is_no_number(numbers):
    unknown = [one for one in numbers["groups"][0]["magnitudes"] if one["tmag"] is None]
    assert unknown[0]["rms_hour"] is None
    assert "NaN" not in json.dumps(numbers)


def test_page_in_a_browser(folder, numbers):
    """No errors, no horizontal scrolling, controls that work; an accessibility check finds nothing."""
    playwright = pytest.importorskip("playwright.sync_api")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    if CHROMIUM is None:
        pytest.skip("no chromium")
    problems: list[str] = []
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width, scheme in ((360, "dark"), (1200, "light")):
            context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
            page = context.new_page()
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
            page.goto((folder / "curves" / "report.html").as_uri())
            page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            found = axe.Axe().run(page).response["violations"]
            assert not [one["id"] for one in found if one["impact"] in ("serious", "critical")]
            assert page.title() != "taken"
            card, legends = page.evaluate(LEGENDS)
            assert legends
            assert set(legends) == {card}
            page.fill("#tic", "1001")
            page.click("#search button")
            page.wait_for_function("document.querySelector('#star').textContent.includes('140 ppm')")
            page.fill("#tic", "77")
            page.click("#search button")
            page.wait_for_function(
                "document.querySelector('#star').textContent.includes('not in the work list')"
            )
            page.fill("#tic", "1005")
            page.click("#search button")
            page.wait_for_function(
                "document.querySelector('#star').textContent.includes('light curve of TIC 1000')"
            )
            assert "tasoc-mpi show 1005" in page.inner_text("#star")
            page.fill("#tic", "1000")
            page.click("#search button")
            link = page.locator("#star a")
            assert link.get_attribute("href") == "pages/tic00000001000.html"
            page.select_option("#quantity", "ratio")
            glyph = "JSON.parse(document.getElementById('choices').textContent).maps[0].glyph"
            shown = f"Bokeh.documents[0].get_model_by_id({glyph}).data_source.data.word.length"
            assert page.evaluate(shown) == 9
            page.uncheck("#status-key input[value=OK]")
            assert page.evaluate(shown) == 9 - numbers["counts"]["OK"]
            context.close()
        browser.close()
    assert problems == []


def test_failures_are_grouped_by_their_cause():
    rows = [(k, 2, f"Traceback (most\n  x = {k}\nValueError: TIC {k} has {k}.5 px") for k in range(1, 8)]
    causes = group_causes([*rows, (9, 4, "killed"), (10, 2, "killed"), (11, 2, None)])
    assert [(one.text, one.count, one.status) for one in causes] == [
        ("ValueError: TIC # has # px", 7, STATUS.ERROR),
        ("killed", 1, STATUS.ERROR),
        ("no message", 1, STATUS.ERROR),
        ("killed", 1, STATUS.ABORT),
    ]
    assert causes[0].stars == [1, 2, 3, 4, 5]
    assert cause_of("first\nsecond") == "first"


def test_cause_of_an_exception_tells_the_line_of_the_method():
    """Not that of the library which raised it, nor a file that the message names."""
    text = (
        "Traceback (most recent call last):\n"
        '  File "/opt/worker/compute.py", line 176, in _one_star\n    pho = photometry(\n'
        '  File "/home/me/circle.py", line 12, in do_photometry\n    w = np.average(x, weights=y)\n'
        '  File "/opt/numpy/function_base.py", line 550, in average\n    raise\n'
        "ZeroDivisionError: weights sum to zero"
    )
    assert cause_line(text) == "ZeroDivisionError: weights sum to zero (circle.py, line 12)"
    assert cause_line(text.replace("do_photometry", "go")).endswith("(function_base.py, line 550)")
    assert cause_line(f"wrong\n{text}") == "wrong"


def test_running_ratio_of_noise_as_expected_is_one():
    """Stars are most at the faint end, where noise rises by 2.5 a magnitude: the ratio is 1 all the same."""
    rng = np.random.default_rng(1)
    tmag = 15 - rng.exponential(1.0, 5000)
    _, quantiles = running_quantiles(tmag, rng.lognormal(0, 0.1, 5000))
    assert np.abs(quantiles[1] - 1).max() < 0.1


def test_time_of_ranks_adds_up():
    times = RankTimes(Ranks([0] * 5, ["n"] * 5))
    rng = np.random.default_rng(3)
    for now in np.linspace(1, 100, 50):
        times.add([1, 2, 3, 4], now, rng.uniform(0, 1, 4), np.full(4, 0.1), np.full(4, 7))
    binned = times.binned(100.0)
    assert times.by_rank()["stars"] == [350] * 4
    assert sum(binned["stars"]) == 4 * 350
    assert np.sum(binned["waiting"]) == pytest.approx(20.0, rel=0.02)
    assert np.max(binned["computing"]) <= binned["interval"] * 1.01
    # Of more ranks than rows neighbours share one.
    assert len(RankTimes(Ranks([0] * 1000, ["n"] * 1000)).binned(1.0)["ranks"]) == 128


def test_a_damaged_record_is_named(tmp_path):
    path = records_folder(tmp_path) / "1.json"
    path.parent.mkdir(parents=True)
    path.write_text("[1]")
    with pytest.raises(InputError, match=r"1\.json: not the record of a run .*; remove it"):
        read_records(tmp_path)


@pytest.mark.parametrize("command", [["report"], ["summary"], ["show", "1002"]])
def test_a_status_that_there_is_not_is_one_line(tmp_path, capfd, command):
    folder = make_folder(tmp_path)
    with contextlib.closing(sqlite3.connect(folder / "todo.sqlite")) as conn, conn:
        conn.execute("UPDATE todolist SET status = 99 WHERE priority = 3")
    assert cli.main([*command, str(folder)]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "todo.sqlite: a value is of the wrong kind (status 99); restore a copy" in line
