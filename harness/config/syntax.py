"""The syntax of a configuration file as data: bodies, blocks, assignments and expressions, each with its line."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple, TypeAlias, get_args


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, `true`, `false`, `null`, or text without anything to fill in."""

    value: str | float | bool | None
    line: int


@dataclass(frozen=True, slots=True)
class Template:
    """Text with `${…}` in it; literal text and expressions in their order."""

    parts: tuple[str | Expression, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Name:
    """A bare word: the start of a reference such as `var`."""

    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Attribute:
    """`of.name`."""

    of: Expression
    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Index:
    """`of[key]`, and the older spelling `of.0`."""

    of: Expression
    key: Expression
    line: int


@dataclass(frozen=True, slots=True)
class Call:
    """`name(arguments)`; `expand` when the last argument carries `...`."""

    name: str
    arguments: tuple[Expression, ...]
    expand: bool
    line: int


@dataclass(frozen=True, slots=True)
class Unary:
    """`-x` or `!x`."""

    operator: str
    operand: Expression
    line: int


@dataclass(frozen=True, slots=True)
class Binary:
    """`left operator right`."""

    operator: str
    left: Expression
    right: Expression
    line: int


@dataclass(frozen=True, slots=True)
class Conditional:
    """`condition ? yes : no`."""

    condition: Expression
    yes: Expression
    no: Expression
    line: int


@dataclass(frozen=True, slots=True)
class ListOf:
    """`[a, b]`."""

    items: tuple[Expression, ...]
    line: int


@dataclass(frozen=True, slots=True)
class ObjectOf:
    """`{ key = value }`; a bare key is a Literal."""

    pairs: tuple[tuple[Expression, Expression], ...]
    line: int


Expression: TypeAlias = Literal | Template | Name | Attribute | Index | Call | Unary | Binary | Conditional | ListOf | ObjectOf


@dataclass(frozen=True, slots=True)
class Assignment:
    """`name = expression` in a body."""

    name: str
    expression: Expression
    line: int


@dataclass(frozen=True, slots=True)
class Block:
    """`kind "label" { body }`."""

    kind: str
    labels: tuple[str, ...]
    body: Body
    line: int


class Entry(NamedTuple):
    """One thing in a body, as far as its name is concerned."""

    name: str
    line: int
    is_block: bool


@dataclass(frozen=True, slots=True)
class Body:
    """What stands between two braces, or in a whole file."""

    assignments: tuple[Assignment, ...]
    blocks: tuple[Block, ...]

    def entries(self) -> tuple[Entry, ...]:
        """Return the names of everything in the body."""
        blocks = (Entry(block.kind, block.line, is_block=True) for block in self.blocks)
        return (*(Entry(item.name, item.line, is_block=False) for item in self.assignments), *blocks)


def children(node: Expression) -> tuple[Expression, ...]:
    """Return the expressions directly inside of one."""
    found: list[Expression] = []
    pending: list[object] = [getattr(node, field.name) for field in reversed(fields(node))]
    while pending:
        part = pending.pop()
        if isinstance(part, tuple):
            pending.extend(reversed(part))
        elif isinstance(part, get_args(Expression)):
            found.append(part)
    return tuple(found)


def references(expression: Expression, root: str) -> dict[str, int]:
    """Return the names used as `root.NAME` anywhere inside, each with the line of its first use."""
    found: dict[str, int] = {}
    pending = [expression]
    while pending:
        node = pending.pop()
        if isinstance(node, Attribute) and node.of == Name(root, node.of.line):
            found.setdefault(node.name, node.line)
        pending.extend(reversed(children(node)))
    return found
