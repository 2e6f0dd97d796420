"""Damage to text files: tables, lists, settings."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

from .damage import Damage, damage_bytes, integers, numbers

__all__ = ["damage_ini", "damage_text", "damage_text_or_bytes", "damage_yaml"]

_ODD = (
    "",
    " ",
    "text",
    "nan",
    "inf",
    "-1",
    "0",
    "1e400",
    "1e-400",
    "0x10",
    "1_0",
    "--",
    "null",
    "NULL",
    "true",
    "é",
    "\uff19",
)
_ODD += (
    "\x1b[31m",
    "\0",
    '"',
    '"""',
    "'",
    "\\",
    "%",
    "%(x)s",
    "${x}",
    "~",
    "[",
    "]",
    "{",
    "}",
    "&a",
    "*a",
    "!!python/name:os",
)
_ODD += (
    ",",
    ",,,,,,,",
    ";",
    ":",
    "#",
    "=",
    "\t",
    "\r",
    "9" * 400,
    "x" * 200_000,
    "=1+1",
    "tpf:",
    "ffi ffi",
    "2:00:00",
)


def _odd(rng: Random, old: str = "") -> str:
    kind = rng.random()
    if kind < 0.25:
        return str(integers(rng))
    if kind < 0.5:
        try:
            return str(numbers(rng, float(old)))
        except ValueError:
            return str(numbers(rng))
    return rng.choice(_ODD)


def _change_word(rng: Random, lines: list[str]) -> str:
    i = rng.randrange(len(lines))
    words = list(re.finditer(r"[^\s,;:=\[\]]+", lines[i]))
    if not words:
        lines[i] = _odd(rng)
        return f"line {i + 1} = {lines[i][:60]!r}"
    word = rng.choice(words)
    new = _odd(rng, word[0])
    lines[i] = lines[i][: word.start()] + new + lines[i][word.end() :]
    return f"line {i + 1}: {new[:60]!r} for {word[0][:60]!r}"


def _change_lines(rng: Random, lines: list[str]) -> str:
    i = rng.randrange(len(lines))
    kind = rng.choice(["delete", "twice", "swap", "cut", "longer", "indent", "only", "insert", "join"])
    if kind == "delete":
        del lines[i]
    elif kind == "twice":
        lines.insert(i, lines[i])
    elif kind == "swap":
        lines[0], lines[i] = lines[i], lines[0]
    elif kind == "cut":
        lines[i] = lines[i][: rng.randrange(len(lines[i]) + 1)]
    elif kind == "longer":
        lines[i] += rng.choice([",1", " 1", ",", ": 1", "\t"])
    elif kind == "indent":
        lines[i] = rng.choice([" ", "  ", "\t"]) + lines[i]
    elif kind == "only":
        lines[:] = [lines[i]]
    elif kind == "insert":
        lines.insert(i, _odd(rng))
    else:
        lines[i : i + 2] = ["".join(lines[i : i + 2])]
    return f"line {i + 1}: {kind}"


def _encoded(rng: Random, text: str) -> tuple[bytes, str]:
    data = text.encode("utf-8", "surrogateescape")
    kind = rng.choice(["utf-16", "latin-1 bytes", "BOM", "CRLF", "CR", "NUL", "no last newline", "Z"])
    if kind == "utf-16":
        return text.encode("utf-16"), kind
    if kind == "latin-1 bytes":
        place = rng.randrange(len(data) + 1)
        return data[:place] + b"\xe9\xff" + data[place:], kind
    if kind == "BOM":
        return b"\xef\xbb\xbf" + data, kind
    if kind in ("CRLF", "CR"):
        return data.replace(b"\n", b"\r\n" if kind == "CRLF" else b"\r"), kind
    if kind == "NUL":
        place = rng.randrange(len(data) + 1)
        return data[:place] + b"\0" + data[place:], kind
    return data.rstrip(b"\n") + (b"\x1a" if kind == "Z" else b""), kind


def damage_text(rng: Random, path: Path) -> Damage:
    """One to three changes of words, lines and encoding."""
    lines = path.read_text("utf-8").split("\n")
    done = []
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if lines:
            done.append(_change_word(rng, lines) if rng.random() < 0.65 else _change_lines(rng, lines))
    data = "\n".join(lines).encode("utf-8", "surrogateescape")
    if rng.random() < 0.15:
        data, kind = _encoded(rng, "\n".join(lines))
        done.append(kind)
    path.write_bytes(data)
    return Damage("; ".join(done))


def damage_text_or_bytes(rng: Random, path: Path) -> Damage:
    """As `damage_text` if the file is text, else as `damage_bytes`."""
    try:
        path.read_text("utf-8")
    except UnicodeDecodeError:
        return damage_bytes(rng, path)
    return damage_text(rng, path)


def damage_yaml(rng: Random, path: Path) -> Damage:
    """As `damage_text`, and what only YAML has: aliases, tags, nesting, several documents."""
    if rng.random() < 0.8:
        return damage_text(rng, path)
    text = path.read_text("utf-8")
    kind = rng.choice(
        ["nested", "nested mappings", "bomb", "documents", "tag", "merge", "list", "scalar", "loop", "keys"]
    )
    text = {
        "nested": "[" * 20_000,
        "nested mappings": "{a: " * 2_000 + "}" * 2_000,
        "bomb": "a: &a [x, x]\n"
        + "".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}, *{chr(97 + i)}]\n"
            for i in range(22)
        ),
        "documents": text + "\n---\n" + text,
        "tag": text + "\nsetup: !!python/object/apply:os.system ['true']\n",
        "merge": text + "\nsteps:\n  <<: *nothing\n",
        "list": "- a\n- b\n",
        "scalar": "just words",
        "loop": text + "\nsetup: &l [*l]\n",
        "keys": text + "\n? [a, b]\n: c\n? {a: b}\n: d\n",
    }[kind]
    path.write_text(text)
    return Damage(f"YAML: {kind}")


def damage_ini(rng: Random, path: Path) -> Damage:
    """As `damage_text`; half of the time a value alone."""
    if rng.random() < 0.4:
        return damage_text(rng, path)
    lines = path.read_text("utf-8").split("\n")
    keys = [i for i, line in enumerate(lines) if re.match(r"\w+\s*=", line)]
    i = rng.choice(keys)
    key, _, old = lines[i].partition("=")
    new = _odd(rng, old.split(";")[0].strip())
    lines[i] = f"{key}= {new}"
    path.write_text("\n".join(lines))
    return Damage(f"{key.strip()} = {new[:60]!r} for {old.strip()[:40]!r}")
