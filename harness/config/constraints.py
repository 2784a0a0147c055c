"""Type constraints of variables, `list(string)` and the like, and the conversions that HCL makes between types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.config.functions import FunctionError, Value, as_bool, as_number, as_text, kind
from harness.config.suggestions import did_you_mean
from harness.config.syntax import Call, Expression, ListOf, Literal, Name, ObjectOf
from harness.errors import ConfigError, Location

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PRIMITIVES = ("string", "number", "bool", "any")
COLLECTIONS = ("list", "set", "map")
NAMES = (*PRIMITIVES, "list(string)", "map(string)", "set(string)", "object({…})", "tuple([…])")


@dataclass(frozen=True, slots=True)
class Constraint:
    """One type; `of` for collections, `fields` for objects, `items` for tuples."""

    kind: str
    of: Constraint | None = None
    fields: Mapping[str, Constraint] | None = None
    items: tuple[Constraint, ...] | None = None

    def __str__(self) -> str:
        if self.of is not None:
            return f"{self.kind}({self.of})"
        if self.fields is not None:
            return "object({" + ", ".join(f"{name} = {field}" for name, field in self.fields.items()) + "})"
        if self.items is not None:
            return "tuple([" + ", ".join(map(str, self.items)) + "])"
        return self.kind


ANY = Constraint("any")


class MismatchError(Exception):
    """A value that the type does not allow; its text names types only, never the value."""


def parse_constraint(node: Expression, path: Path) -> Constraint:
    """Read what stands behind `type =`. The word may be in quotes, as Terraform before 0.12 wrote it."""

    def refuse(word: str) -> ConfigError:
        return ConfigError(f"unknown type `{word}`", hint=did_you_mean(word, NAMES, what="types"), at=Location(path, node.line))

    match node:
        case Name(name=name) | Literal(value=str(name)):
            if name in PRIMITIVES:
                return Constraint(name)
            if name in COLLECTIONS:
                return Constraint(name, ANY)
            raise refuse(name)
        case Call(name=name, arguments=(inner,), expand=False) if name in COLLECTIONS:
            return Constraint(name, parse_constraint(inner, path))
        case Call(name="object", arguments=(ObjectOf(pairs=pairs),)):
            return Constraint("object", fields={_key(key, path): parse_constraint(value, path) for key, value in pairs})
        case Call(name="tuple", arguments=(ListOf(items=items),)):
            return Constraint("tuple", items=tuple(parse_constraint(item, path) for item in items))
        case Call(name=name):
            raise refuse(f"{name}(…)")
    raise ConfigError("a type is a word, not a value", hint=f"types: {', '.join(NAMES)}", at=Location(path, node.line))


def _key(node: Expression, path: Path) -> str:
    if isinstance(node, Literal) and isinstance(node.value, str):
        return node.value
    raise ConfigError("the fields of an object type are plain words", hint="object({ name = string })", at=Location(path, node.line))


def infer(value: Value) -> Constraint:
    """Return the type of a variable that has a default and no `type`: the default's, as in Packer."""
    word = kind(value)
    if word in {"list", "map"}:
        return Constraint(word, ANY)
    return Constraint(word) if word in PRIMITIVES else ANY


def convert(value: Value, to: Constraint, what: str = "the value") -> Value:
    """Convert as HCL does: 3 to "3", "3" to 3, "true" to true, deep into collections; null fits every type.

    Raises MismatchError that says what is expected and what is given.
    """
    if value is None or to.kind == "any":
        return value
    if to.kind in {"string", "number", "bool"}:
        primitive = {"string": as_text, "number": as_number, "bool": as_bool}[to.kind]
        try:
            return primitive(value, what)
        except FunctionError:
            raise MismatchError(_expected(to, value, what)) from None
    if to.kind in {"list", "set"} and isinstance(value, list) and to.of is not None:
        items = [convert(item, to.of, f"item {index} of {what}") for index, item in enumerate(value)]
        return items if to.kind == "list" else [item for index, item in enumerate(items) if item not in items[:index]]
    if to.kind == "map" and isinstance(value, dict) and to.of is not None:
        return {key: convert(item, to.of, f"an entry of {what}") for key, item in value.items()}
    if to.fields is not None and isinstance(value, dict):
        return _object(value, to.fields, what)
    if to.items is not None and isinstance(value, list) and len(value) == len(to.items):
        return [convert(item, of, f"item {index} of {what}") for index, (item, of) in enumerate(zip(value, to.items, strict=True))]
    raise MismatchError(_expected(to, value, what))


def _object(value: dict[str, Value], fields: Mapping[str, Constraint], what: str) -> Value:
    missing = [name for name in fields if name not in value]
    if missing:
        raise MismatchError(f"{what} has no `{missing[0]}`, which its type asks for")
    return {name: convert(value[name], field, f"`{name}` of {what}") for name, field in fields.items()}


def _expected(to: Constraint, value: Value, what: str) -> str:
    return f"{what} must be of type {to}, given is a {kind(value)}"
