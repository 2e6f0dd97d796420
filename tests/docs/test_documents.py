"""What the documents say of files, messages and public names is true."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from documents import documents
from house import ROOT, modules

import tasoc_mpi

_LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(path: Path) -> set[str]:
    """The names of a document's headings, as sites that show Markdown make them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("path", [*documents(), ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_links(path):
    """Links to files and headings; the test has no network for others, and looks at their form only."""
    for link in _LINK.findall(path.read_text()):
        if ":" in link:
            assert re.fullmatch(r"https://[a-z0-9.-]+\.[a-z]+(/[\w./~#?=&%+-]*)?", link), link
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), f"{path.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{path.name}: {link}"


def test_messages_of_the_faq_are_those_of_the_program():
    """Headings with words in code style quote messages; each stands in the code."""
    text = (ROOT / "docs" / "faq.md").read_text()
    quoted = [
        word for heading in re.findall(r"^### (.*)$", text, re.M) for word in re.findall(r"`(.+?)`", heading)
    ]
    code = "\n".join(path.read_text() for path in modules().values())
    # A message may be split over lines of code.
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    assert len(quoted) > 10
    for message in quoted:
        assert message in code, message


def test_public_names_are_in_the_interface():
    text = (ROOT / "docs" / "api.md").read_text()
    for name in set(tasoc_mpi.__all__) - {"__version__"}:
        assert re.search(rf"^   {name}$", text, re.MULTILINE), f"docs/api.md: {name} is missing"


def test_pages_are_in_the_site():
    """Each document of docs/ is in the table of contents (Sphinx says so, too, when it builds the site)."""
    index = (ROOT / "docs" / "index.md").read_text()
    for path in (ROOT / "docs").glob("*.md"):
        assert path.stem == "index" or re.search(rf"^{path.stem}$|<{path.stem}>", index, re.MULTILINE), path


def test_every_extra_is_described():
    """Those for users, in the table of start.md."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = (ROOT / "docs" / "start.md").read_text()
    for extra in set(extras) - {"test", "docs", "lint"}:
        assert f"| `{extra}` |" in text, extra


def descriptions(source: str) -> list[str]:
    """The entries of the docstrings of a module, and its comments that describe fields."""
    found = re.findall(r"#: (.*)", source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            found += re.split(r"\n\s*\n|\n(?=\S)", ast.get_docstring(node) or "")
    return found


def test_pixels_are_counted_from_0_or_from_1():
    """Wherever a docstring names a place in the full frame image, and on every axis of rows or columns."""
    place = re.compile(r"full frame image (\(?row|\(?column|pixel|position)", re.IGNORECASE)
    counted = re.compile(r"0-based|1-based|from [01]\b", re.IGNORECASE)
    label = re.compile(r"[xy](?:_axis_)?label(?:\(|=)\s*\"((?:column|row)\b[^\"]*)\"")
    axes = 0
    for name, path in modules().items():
        source = path.read_text()
        for text in descriptions(source):
            assert counted.search(text) or not place.search(text), f"{name}: {text}"
        for text in label.findall(source):
            axes += 1
            assert re.search(r"from ([01]|the star)", text), f"{name}: {text}"
    assert axes > 10
