"""Whether the output of one command is found whatever it is, and however it is cut into pieces."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from harness.targets.frames import Frame, Lines

MARKER = b"\0" + b"0123456789abcdef" * 2
PIECES = st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([b"\0", MARKER[:9], MARKER[:-1], MARKER[1:], b"\n"])), max_size=12).map(
    b"".join
)
BYTES = PIECES.filter(lambda data: MARKER not in data)


def fed(data: bytes, cuts: list[int]) -> Frame:
    frame = Frame(MARKER, lambda _: None)
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in pairwise(places):
        frame.take(data[start:end])
    return frame


@given(content=BYTES, before=BYTES, after=BYTES, cuts=st.lists(st.integers(min_value=0), max_size=30))
def test_what_stands_between_the_markers_comes_out(content: bytes, before: bytes, after: bytes, cuts: list[int]) -> None:
    frame = fed(before + MARKER + b" 42\0" + content + MARKER + b" =7\0" + after, cuts)
    assert (frame.start, frame.end, b"".join(frame.pieces)) == (b"42", b"7", content)
    assert bool(frame.stray) == bool(before + after)


@given(content=BYTES, cuts=st.lists(st.integers(min_value=0), max_size=30))
def test_what_has_arrived_is_there_before_the_end(content: bytes, cuts: list[int]) -> None:
    frame = fed(MARKER + b" 42\0" + content, cuts)
    got = b"".join(frame.pieces)
    assert frame.end is None
    assert content.startswith(got)
    assert MARKER.startswith(content[len(got) :]), "only the beginning of a marker is held back"


def test_an_end_without_a_start_is_an_end() -> None:
    frame = fed(b"bash: fork: no\n" + MARKER + b" =255\0", [3, 20])
    assert (frame.start, frame.end, frame.stray) == (None, b"255", b"bash: fork: no\n")


@given(text=st.text(alphabet=st.sampled_from("a한\n\r "), max_size=30), cuts=st.lists(st.integers(min_value=0), max_size=10))
def test_lines_are_whole_and_complete(text: str, cuts: list[int]) -> None:
    told: list[tuple[str, str]] = []
    lines = Lines("stdout", lambda stream, line: told.append((stream, line)))
    data = text.encode()
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in pairwise(places):
        lines.feed(data[start:end])
    lines.finish()
    expected = text.split("\n")
    assert told == [("stdout", line) for line in (expected if expected[-1] else expected[:-1])]
