"""Tables of text."""

from __future__ import annotations

from tasoc_mpi.core.tables import number, text_table


def test_columns_are_flush_right_but_for_the_first_ones():
    assert text_table([["a", "bb"], ["ccc", "d"]]) == ["  a  bb", "ccc   d"]
    assert text_table([["a", "bb"], ["ccc", 1]], indent=" ", left=1) == [" a    bb", " ccc   1"]
    assert text_table([["a", "bb"], ["ccc", ""]], left=2) == ["a    bb", "ccc"]


def test_a_number_that_is_not_known_is_a_dash():
    assert [number(x, 1) for x in (2.04, float("nan"), float("inf"))] == ["2.0", "-", "-"]
    assert number(0.4) == "0"
