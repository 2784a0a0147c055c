"""YAML that remembers the line of every value and refuses duplicate keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from harness.errors import ContentError, Location

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Place: TypeAlias = tuple[str | int, ...]
"""The way from the top of a document to a value: `("rules", 3, "title", "ko")`."""

# libyaml's loader is about eight times as fast; it is in every wheel of PyYAML, yet not in every distribution's build.
LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Located:
    """A document and where its parts stand."""

    path: Path
    value: Any
    lines: Mapping[Place, int]

    def at(self, *place: str | int) -> Location:
        """Return the location of a value, or of the nearest thing around it that has one."""
        while place and place not in self.lines:
            place = place[:-1]
        return Location(self.path, self.lines.get(place, 1))


def load(path: Path) -> Located:
    """Read one YAML document. Raises ContentError with file and line for what is not YAML."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise ContentError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ContentError(str(error), at=Location(path)) from None
    return parse(text, path)


def parse(text: str, path: Path) -> Located:
    """Read one YAML document from text; `path` is what errors name."""
    lines: dict[Place, int] = {}
    constructor = yaml.constructor.SafeConstructor()

    def build(node: yaml.Node, place: Place) -> Any:  # noqa: ANN401 - YAML is any value
        lines[place] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            mapping: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                key = constructor.construct_object(key_node, deep=True)
                if key in mapping:
                    raise ContentError(
                        f"`{key}` is given twice", hint="remove one of the two", at=Location(path, key_node.start_mark.line + 1)
                    )
                mapping[key] = build(value_node, (*place, key))
                lines[*place, key] = key_node.start_mark.line + 1
            return mapping
        if isinstance(node, yaml.SequenceNode):
            return [build(item, (*place, index)) for index, item in enumerate(node.value)]
        try:
            return constructor.construct_object(node, deep=True)
        except ValueError as error:  # 2026-02-30 looks like a date, and is none
            raise ContentError(f"`{node.value}`: {error}", at=Location(path, node.start_mark.line + 1)) from None

    try:
        root = yaml.compose(text, Loader=LOADER)
        value = None if root is None else build(root, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ContentError(f"not YAML: {error.problem or error.context}", at=Location(path, mark.line + 1 if mark else None)) from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ContentError(f"not YAML: {str(error).splitlines()[0] if str(error) else type(error).__name__}", at=Location(path)) from None
    return Located(path=path, value=value, lines=lines)
