"""The `loop` of a step: its model, and the values that it goes through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DELIMITERS: Final = (".", ",", ";", ":", "\n", "\t", " ", "-", "_")


@dataclass(frozen=True, slots=True)
class For:
    """Whole numbers from `start` to `end`, both included."""

    name: str | None
    start: int
    end: int
    update_by: int


@dataclass(frozen=True, slots=True)
class ForEach:
    """The texts of a list."""

    name: str | None
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForEachOf:
    """The parts of one text."""

    name: str | None
    text: str
    delimiter: str = ","


Loop: TypeAlias = For | ForEach | ForEachOf


def never_ends(start: int, end: int, update_by: int) -> bool:
    """Tell whether counting this way would miss the end."""
    return update_by == 0 or (end - start) * update_by < 0


def values(loop: Loop, resolve: Callable[[str], str]) -> Iterable[str]:
    """List the values once, before the first iteration, since the guide promises that later changes do not show."""
    if isinstance(loop, For):
        return _count(loop)
    if isinstance(loop, ForEach):
        return tuple(resolve(item) for item in loop.items)
    return tuple(resolve(loop.text).split(loop.delimiter))


def _count(loop: For) -> Iterator[str]:
    beyond = 1 if loop.update_by > 0 else -1
    return map(str, range(loop.start, loop.end + beyond, loop.update_by))
