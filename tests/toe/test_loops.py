"""A loop goes through exactly the values that its document names."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from harness.toe.loops import DELIMITERS, For, ForEach, ForEachOf, never_ends, values

SMALL = st.integers(-40, 40)


@given(SMALL, SMALL, st.integers(-7, 7))
def test_counting_includes_both_ends(start: int, end: int, update_by: int) -> None:
    assume(not never_ends(start, end, update_by))
    expected, current = [], start
    while current <= end if update_by > 0 else current >= end:
        expected.append(str(current))
        current += update_by
    assert list(values(For(None, start, end, update_by), str)) == expected
    assert expected[0] == str(start)


@given(SMALL, SMALL)
def test_what_never_ends(start: int, end: int) -> None:
    assert never_ends(start, end, 0)
    assert never_ends(start, end, 1) is (end < start)
    assert never_ends(start, end, -1) is (end > start)


@given(st.sampled_from(DELIMITERS), st.lists(st.text(alphabet="abc"), min_size=1))
def test_parts_of_a_text(delimiter: str, parts: list[str]) -> None:
    assert list(values(ForEachOf(None, delimiter.join(parts), delimiter), str)) == parts


def test_values_are_resolved_before_the_first_iteration() -> None:
    assert list(values(ForEach(None, ("a", "b")), str.upper)) == ["A", "B"]
    assert list(values(ForEachOf(None, "a,b"), str.upper)) == ["A", "B"]
