"""A YAML text as a tree that keeps line numbers and every scalar's own spelling, so that `0777` stays `0777`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from harness.errors import DocumentError, Location

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import yaml

MAX_NODES: Final = 50_000
"""Aliases can blow a small text up; no document within the service's size limit has as many nodes."""
MAX_DEPTH: Final = 40

QUOTE_HINT: Final = "a value that starts with {{ is a map to YAML; put it in quotes: '{{ name }}'"
_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")
_OPENING_REFERENCE: Final = re.compile(r"(?:^|[:\-,\[])\s*\{\{")


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as written."""

    text: str
    line: int
    tag: str
    """YAML's reading of an unquoted text: `str`, `int`, `float`, `bool`, `null` …; `str` when quoted."""
    literal: bool = False
    """Whether it stands in a `|` block, whose lines are the lines of the file."""

    def line_of(self, position: int) -> int:
        """Return the line of the file on which a character of the text stands, as well as YAML lets us know."""
        return self.line + 1 + self.text.count("\n", 0, position) if self.literal else self.line

    @property
    def kind(self) -> str:
        """What to call it in a message."""
        return {"str": "text", "int": "a number", "float": "a number", "bool": "true or false", "null": "nothing"}.get(self.tag, self.tag)


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    line: int
    kind: str = "a list"

    def __iter__(self) -> Iterator[Node]:
        """Iterate over the items."""
        return iter(self.items)


@dataclass(frozen=True, slots=True)
class Entries:
    """A map; its keys are unique."""

    entries: Mapping[Scalar, Node]
    line: int
    kind: str = "a map"

    def get(self, name: str) -> Node | None:
        """Return the value of a key, or None where the key is absent."""
        return next((node for key, node in self.entries.items() if key.text == name), None)

    def key(self, name: str) -> Scalar | None:
        """Return the key itself, for its line."""
        return next((key for key in self.entries if key.text == name), None)

    @property
    def names(self) -> tuple[str, ...]:
        """The keys in the order of the text."""
        return tuple(key.text for key in self.entries)


Node: TypeAlias = Scalar | Items | Entries
Plain: TypeAlias = "str | tuple[Plain, ...] | Mapping[str, Plain]"
"""A value without its place: text, a list or a map, all the way down."""


def plain(node: Node) -> Plain:
    """Drop the places; null reads as empty text, as in Go."""
    if isinstance(node, Scalar):
        return "" if node.tag == "null" else node.text
    if isinstance(node, Items):
        return tuple(plain(item) for item in node)
    return {key.text: plain(value) for key, value in node.entries.items()}


def scalars(node: Node) -> Iterator[Scalar]:
    """Walk over every value, not the keys, in the order of the text."""
    if isinstance(node, Scalar):
        yield node
    elif isinstance(node, Items):
        for item in node:
            yield from scalars(item)
    else:
        for value in node.entries.values():
            yield from scalars(value)


def parse(text: str, path: Path) -> Node:
    """Read one YAML document. Raises DocumentError with the line for everything that is not one, duplicate keys included."""
    import yaml

    try:
        # The pure Python loader: its recursion ends in RecursionError, where libyaml's may end the process.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise _not_yaml(error, text, path) from None
    except RecursionError:
        message = "the document is nested too deeply"
        raise DocumentError(message, at=Location(path)) from None
    if root is None:
        message = "the document is empty"
        raise DocumentError(message, hint="a component document has schemaVersion and phases", at=Location(path))
    return _Reader(path).node(root, 0)


def _not_yaml(error: yaml.YAMLError, text: str, path: Path) -> DocumentError:
    import yaml

    line, what = None, str(error)
    if isinstance(error, yaml.reader.ReaderError):
        line, what = text.count("\n", 0, error.position) + 1, f"character {error.character!r}: {error.reason}"
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        what = error.problem or error.context or what
    lines = text.splitlines()
    hint = None
    if line is not None and line <= len(lines):
        content = lines[line - 1]
        if _OPENING_REFERENCE.search(content):
            hint = QUOTE_HINT
        elif "\t" in content[: len(content) - len(content.lstrip())]:
            hint = "indent with spaces; YAML allows no tab there"
        elif "undefined alias" in what:
            hint = "a value that starts with * or & needs quotes"
        elif "mapping values are not allowed" in what:
            hint = "a text that holds ': ' needs quotes, or its own lines under `|`"
    return DocumentError(f"not YAML: {what}", hint=hint, at=Location(path, line))


class _Reader:
    """Turns PyYAML's nodes into ours and refuses what a component document never holds."""

    def __init__(self, path: Path) -> None:
        from yaml import nodes

        self.path = path
        self.count = 0
        self.scalar, self.sequence = nodes.ScalarNode, nodes.SequenceNode

    def error(self, message: str, line: int, hint: str | None = None) -> DocumentError:
        return DocumentError(message, hint=hint, at=Location(self.path, line))

    def node(self, node: yaml.Node, depth: int) -> Node:
        line = node.start_mark.line + 1
        self.count += 1
        if self.count > MAX_NODES or depth > MAX_DEPTH:
            message = "the document is too large or nested too deeply once its aliases are followed"
            raise self.error(message, line)
        if isinstance(node, self.scalar):
            if _SURROGATES.search(node.value):
                raise self.error("half of a surrogate pair is no character", line)
            return Scalar(str(node.value), line, _tag(node), literal=node.style == "|")
        if isinstance(node, self.sequence):
            return Items(tuple(self.node(item, depth + 1) for item in node.value), line)
        return self.entries(node, line, depth)

    def entries(self, node: yaml.Node, line: int, depth: int) -> Entries:
        found: dict[Scalar, Node] = {}
        merged: dict[Scalar, Node] = {}
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            if not isinstance(key_node, self.scalar):
                raise self.error("a key must be text", key_line, None if isinstance(key_node, self.sequence) else QUOTE_HINT)
            if key_node.tag.endswith(":merge"):
                merged.update(self.merge(value_node, key_line, depth))
                continue
            key = Scalar(str(key_node.value), key_line, "str" if key_node.style else _tag(key_node))
            if key.text in seen:
                raise self.error(f"key `{key.text}` is given twice, first on line {seen[key.text]}", key_line)
            seen[key.text] = key_line
            found[key] = self.node(value_node, depth + 1)
        return Entries({**{key: value for key, value in merged.items() if key.text not in seen}, **found}, line)

    def merge(self, node: yaml.Node, line: int, depth: int) -> dict[Scalar, Node]:
        """Read what stands behind `<<`: a map, or a list of maps of which the first wins."""
        value = self.node(node, depth + 1)
        sources = value.items if isinstance(value, Items) else (value,)
        result: dict[str, tuple[Scalar, Node]] = {}
        for source in sources:
            if not isinstance(source, Entries):
                raise self.error("`<<` merges maps only", line)
            for key, item in source.entries.items():
                result.setdefault(key.text, (key, item))
        return dict(result.values())


def _tag(node: yaml.Node) -> str:
    return str(node.tag).rsplit(":", 1)[-1].lstrip("!") or "str"
