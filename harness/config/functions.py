"""The functions that expressions may call, with the meaning they have in Packer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Value: TypeAlias = object
"""None, bool, int, float, str, list of values, or dict from text to value."""

LARGEST = 10**40
"""Numbers above are refused; nothing in a configuration is that large."""
WIDEST = 1000
"""Padding that `format` may be asked for."""
LONGEST = 1 << 20
"""Characters of one text and items of one list: `replace` and `format` multiply, and a mistake must not eat the memory."""


class FunctionError(Exception):
    """A call that cannot be answered; `key` is the value it stumbled over, kept apart as it may be a secret."""

    def __init__(self, message: str, key: Value = None) -> None:
        """Say what is wrong without repeating any value."""
        super().__init__(message)
        self.message, self.key = message, key


def kind(value: Value) -> str:
    """Name the type of a value as HCL does."""
    if value is None:
        return "null"
    names: dict[type, str] = {bool: "bool", int: "number", float: "number", str: "string", list: "list", dict: "map"}
    return names.get(type(value), type(value).__name__)


def number_text(value: float) -> str:
    """Write a number as HCL does: 3, 0.5, never 3.0 or 1e+16."""
    if isinstance(value, int):
        return str(value)
    return str(int(value)) if value.is_integer() else repr(value)


def as_text(value: Value, what: str) -> str:
    """Turn a primitive value into text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number_text(value)
    if isinstance(value, str):
        return value
    raise FunctionError(f"{what} must be a string, it is a {kind(value)}")


def as_number(value: Value, what: str) -> float:
    """Turn a number, or text that is one, into a number."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,30}(\.[0-9]{1,30})?", value):
        number = float(value)
        return number if "." in value and not number.is_integer() else int(value.split(".")[0])
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FunctionError(f"{what} must be a number, it is a {kind(value)}")
    return value


def as_bool(value: Value, what: str) -> bool:
    """Turn a bool, or the texts `true` and `false`, into a bool."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in {"true", "false"}:
        return value == "true"
    raise FunctionError(f"{what} must be a bool, it is a {kind(value)}")


def as_list(value: Value, what: str) -> list[Value]:
    """Insist on a list."""
    if not isinstance(value, list):
        raise FunctionError(f"{what} must be a list, it is a {kind(value)}")
    return value


def as_map(value: Value, what: str) -> dict[str, Value]:
    """Insist on a map."""
    if not isinstance(value, dict):
        raise FunctionError(f"{what} must be a map, it is a {kind(value)}")
    return value


def equal(left: Value, right: Value) -> bool:
    """Compare as HCL does: values of different types are never equal, 1 and 1.0 are."""
    if left is right or kind(left) != kind(right):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(equal(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    return left == right


def _bounded(text: str) -> str:
    if len(text) > LONGEST:
        raise FunctionError(f"the result is longer than {LONGEST >> 20} MiB")
    return text


def _merge(*maps: Value) -> Value:
    merged: dict[str, Value] = {}
    for value in maps:
        if value is not None:
            merged.update(as_map(value, "an argument"))
    return merged


def _concat(*lists: Value) -> Value:
    joined = [item for value in lists for item in as_list(value, "an argument")]
    if len(joined) > LONGEST:
        raise FunctionError("the result is too long")
    return joined


def _join(separator: Value, *lists: Value) -> Value:
    items = [as_text(item, "a list item") for value in lists for item in as_list(value, "an argument after the separator")]
    return _bounded(as_text(separator, "the separator").join(items))


def _replace(text: Value, old: Value, new: Value) -> Value:
    source, wanted, by = as_text(text, "the text"), as_text(old, "the searched text"), as_text(new, "the replacement")
    if source.count(wanted) * max(len(by) - len(wanted), 0) + len(source) > LONGEST:
        raise FunctionError("the result is too long")
    return source.replace(wanted, by)


VERB = re.compile(r"%([-+# 0]*)([0-9]*)(?:\.([0-9]+))?(.?)", re.DOTALL)
VERBS = "%s %v %q %d %f %e %g %x %X %o %b %t %%"


def _format(pattern: Value, *arguments: Value) -> Value:
    pending = list(arguments)

    def one(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb == "%":
            return "%"
        if verb not in set("svqdfegxXobt"):
            raise FunctionError(f"format does not know `%{verb}`; it knows {VERBS}")
        if not pending:
            raise FunctionError("format has fewer arguments than the text has verbs")
        if max(int(width or 0), int(precision or 0)) > WIDEST:
            raise FunctionError(f"format pads to at most {WIDEST} characters")
        return _pad(_verb(verb, flags, precision, pending.pop(0)), flags, int(width or 0), verb)

    text = VERB.sub(one, as_text(pattern, "the format"))
    if pending:
        raise FunctionError("format has more arguments than the text has verbs")
    return _bounded(text)


def _verb(verb: str, flags: str, precision: str | None, value: Value) -> str:
    if verb in "svqt":
        if value is None and verb == "v":
            return "null"
        text = as_text(as_bool(value, "the argument of %t") if verb == "t" else value, f"the argument of %{verb}")
        text = text[: int(precision)] if precision is not None and verb == "s" else text
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"' if verb == "q" else text
    number = as_number(value, f"the argument of %{verb}")
    sign = "+" if "+" in flags else ""
    if verb in "feg":
        return f"{number:{sign}.{precision or 6}{verb}}" if verb != "g" or precision else sign * (number >= 0) + number_text(number)
    if number != int(number):
        raise FunctionError(f"the argument of %{verb} must be a whole number")
    return f"{int(number):{sign}{verb}}"


def _pad(text: str, flags: str, width: int, verb: str) -> str:
    if "-" in flags:
        return text.ljust(width)
    return text.zfill(width) if "0" in flags and verb in "dfegxXob" else text.rjust(width)


def _lookup(mapping: Value, key: Value, *default: Value) -> Value:
    known, name = as_map(mapping, "the first argument"), as_text(key, "the key")
    if name in known:
        return known[name]
    if default:
        return default[0]
    raise FunctionError("the map has no key", key=name)


def _length(value: Value) -> Value:
    if not isinstance(value, str | list | dict):
        raise FunctionError(f"the argument must be a string, a list or a map, it is a {kind(value)}")
    return len(value)


def _contains(items: Value, wanted: Value) -> Value:
    return any(equal(item, wanted) for item in as_list(items, "the first argument"))


def _split(separator: Value, text: Value) -> Value:
    source, by = as_text(text, "the text"), as_text(separator, "the separator")
    return list(source.split(by) if by else source)


def _coalesce(*values: Value) -> Value:
    for value in values:
        if value is not None and value != "":
            return value
    raise FunctionError("every argument is null or empty")


@dataclass(frozen=True, slots=True)
class Function:
    """One function: how many arguments it takes, and what it answers."""

    call: Callable[..., Value]
    fewest: int
    most: int | None
    """None: any number."""


def table(environ: Mapping[str, str]) -> Mapping[str, Function]:
    """Return every function by name, except `try`, which must see its arguments before they are evaluated."""
    return {
        "merge": Function(_merge, 0, None),
        "concat": Function(_concat, 0, None),
        "join": Function(_join, 2, None),
        "lower": Function(lambda text: as_text(text, "the argument").lower(), 1, 1),
        "upper": Function(lambda text: as_text(text, "the argument").upper(), 1, 1),
        "replace": Function(_replace, 3, 3),
        "format": Function(_format, 1, None),
        "lookup": Function(_lookup, 2, 3),
        "length": Function(_length, 1, 1),
        "contains": Function(_contains, 2, 2),
        "split": Function(_split, 2, 2),
        "trimspace": Function(lambda text: as_text(text, "the argument").strip(), 1, 1),
        "coalesce": Function(_coalesce, 1, None),
        "env": Function(lambda name: environ.get(as_text(name, "the name"), ""), 1, 1),
    }


NAMES = (
    "coalesce",
    "concat",
    "contains",
    "env",
    "format",
    "join",
    "length",
    "lookup",
    "lower",
    "merge",
    "replace",
    "split",
    "trimspace",
    "try",
    "upper",
)
