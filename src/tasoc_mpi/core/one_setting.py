"""One setting: its default, its possible values, and its meaning."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Setting"]

#: Characters of a free text at most: a FITS card has room for them.
_LONGEST = 68
_ADDRESS = re.compile(r"https?://[A-Za-z0-9\[][\w.:\[\]-]*(/[\w./~%+-]*)?", re.ASCII)


@dataclass(frozen=True)
class Setting:
    """One setting."""

    section: str
    key: str
    default: int | float | str  #: Values are of its type
    low: int | float  #: The smallest value; 0 for words
    high: int | float  #: The largest value; 0 for words
    reason: str  #: The meaning of the value, with its unit, and the reason of the default
    words: tuple[str, ...] = ()  #: The possible values of a setting that is a word; none for a free text

    @property
    def _is_address(self) -> bool:
        return isinstance(self.default, str) and _ADDRESS.fullmatch(self.default) is not None

    @property
    def values(self) -> str:
        """The possible values, described."""
        if self.words:
            return f"one of {', '.join(self.words)}"
        if self._is_address:
            return "an address that begins with https:// or http://"
        if isinstance(self.default, str):
            return f"a text of 1 to {_LONGEST} printable ASCII characters without quotation marks"
        kind = "an integer" if isinstance(self.default, int) else "a number"
        return f"{kind} from {self.low:g} to {self.high:g}"

    @property
    def shown(self) -> str:
        """The default as it is written in a file."""
        return self.default if isinstance(self.default, str) else repr(self.default)

    def parse(self, text: str) -> int | float | str:
        """The value of a text.

        Raises
        ------
        ValueError
            If it is no possible value; the message is `values`.

        Examples
        --------
        >>> Setting("run", "target_timeout", 300.0, 0.1, 1e7, "").parse("60")
        60.0
        """
        if isinstance(self.default, str):
            if self.words:
                possible = text in self.words
            elif self._is_address:
                possible = _ADDRESS.fullmatch(text) is not None
            else:
                possible = text.isascii() and text.isprintable() and "'" not in text
            if not possible or not 0 < len(text) <= _LONGEST:
                raise ValueError(self.values)
            return text.rstrip("/") if self._is_address else text
        try:
            # Python's own forms of numbers (1_000, digits of other scripts) are not those of other programs.
            value = type(self.default)(text.replace("_", "x") if text.isascii() else "")
        except ValueError:
            raise ValueError(self.values) from None
        if not self.low <= value <= self.high:  # nor is NaN
            raise ValueError(self.values)
        return value
