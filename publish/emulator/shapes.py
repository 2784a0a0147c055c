"""Values against the shapes of botocore's service model: every constraint, also those that botocore leaves to the service.

botocore refuses wrong types, missing and unknown members and what is too short; maximum lengths, enumerations and patterns pass it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PYTHON: Final[Mapping[str, tuple[type, ...]]] = {
    "structure": (dict,),
    "list": (list, tuple),
    "map": (dict,),
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "timestamp": (int, float, str),
    "blob": (str, bytes),
}
_NUMBERS: Final = frozenset({"integer", "long", "float", "double"})


@dataclass(frozen=True, slots=True)
class Violation:
    """One way in which a value does not fit its shape."""

    where: str
    """`distributions[0].region`; empty for the value as a whole."""
    because: str

    def __str__(self) -> str:
        return f"{self.where}: {self.because}"


def violations(shape: Shape, value: object, where: str = "") -> Iterator[Violation]:
    """List every constraint of the model that a value breaks, in the order of the value."""
    kinds = _PYTHON[shape.type_name]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        yield Violation(where, f"{_leaf(where)} must be a {shape.type_name}")
        return
    match shape:
        case StructureShape():
            yield from _structure(shape, cast("Mapping[str, object]", value), where)
        case ListShape():
            items = cast("list[object]", value)
            yield from _extent(shape, len(items), where, "number of items")
            for index, item in enumerate(items):
                yield from violations(shape.member, item, f"{where}[{index}]")
        case MapShape():
            entries = cast("Mapping[str, object]", value)
            yield from _extent(shape, len(entries), where, "number of entries")
            for key, item in entries.items():
                yield from violations(shape.key, key, f"{where}.{key}")
                yield from violations(shape.value, item, f"{where}.{key}")
        case StringShape():
            yield from _text(shape, cast("str", value), where)
        case _ if shape.type_name in _NUMBERS:
            yield from _extent(shape, cast("float", value), where, "value")
        case _:
            pass


def project(shape: Shape, value: object) -> Any:  # noqa: ANN401 - as deep and as varied as JSON
    """Return a copy that holds only what the shape knows, without members that are None."""
    match shape:
        case StructureShape():
            given = cast("Mapping[str, object]", value)
            return {name: project(member, given[name]) for name, member in shape.members.items() if given.get(name) is not None}
        case ListShape():
            return [project(shape.member, item) for item in cast("list[object]", value)]
        case MapShape():
            return {key: project(shape.value, item) for key, item in cast("Mapping[str, object]", value).items()}
        case _:
            return value


def _structure(shape: StructureShape, value: Mapping[str, object], where: str) -> Iterator[Violation]:
    for name in shape.required_members:
        if value.get(name) is None:
            yield Violation(_join(where, name), f"{name} is required")
    for name, item in value.items():
        if name not in shape.members:
            yield Violation(_join(where, name), f"{name} is not known")
        elif item is not None:
            yield from violations(shape.members[name], item, _join(where, name))


def _text(shape: StringShape, value: str, where: str) -> Iterator[Violation]:
    yield from _extent(shape, len(value), where, "length")
    if shape.enum and value not in shape.enum:
        yield Violation(where, f"{_leaf(where)} must be one of {', '.join(sorted(shape.enum))}")
    pattern = shape.metadata.get("pattern")
    if pattern and not _compiled(pattern).search(value):
        yield Violation(where, f"{_leaf(where)} must match pattern {pattern}")


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # Python's $ also matches before a line feed at the end; the service's does not.
    return re.compile(re.sub(r"(?<!\\)\$$", r"\\Z", pattern), re.ASCII)


def _extent(shape: Shape, size: float, where: str, what: str) -> Iterator[Violation]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and size < least:
        yield Violation(where, f"the {what} of {_leaf(where)} is {size}, and must be at least {least}")
    if most is not None and size > most:
        yield Violation(where, f"the {what} of {_leaf(where)} is {size}, and must be at most {most}")


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _leaf(where: str) -> str:
    return where.rpartition(".")[2] or "the request"
