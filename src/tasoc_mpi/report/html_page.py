"""What the pages have in common: their templates, in which all text from files is escaped, and numbers."""

from __future__ import annotations

import math
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["number", "page_file", "page_template"]


def number(value: float | None, digits: int = 0, factor: float = 1.0) -> str:
    """A number of a page; "-" where it is not known.

    >>> number(float("nan")), number(None), number(1234.5, 1), number(2e-4, 0, 1e6)
    ('-', '-', '1,234.5', '200')
    """
    return "-" if value is None or not math.isfinite(value) else f"{factor * value:,.{digits}f}"


def page_file(name: str) -> str:
    """The content of a file of a page: its template, style or script."""
    return (resources.files("tasoc_mpi.data") / name).read_text("utf-8")


def page_template(name: str, **filters: Any) -> Template:
    """A page's template, with the filter `number` and further ones.

    Raises
    ------
    ImportError
        If jinja2 is not installed.
    """
    import jinja2

    # Everything that comes from files is escaped.
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(page_file),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters.update(number=number, **filters)
    return environment.get_template(name)
