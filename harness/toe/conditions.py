"""The comparison and logical operators of `if` and of Assert: their model, and what they evaluate to."""

from __future__ import annotations

import re
import shlex
import warnings
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from operator import eq, ge, gt, le, lt
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from harness.toe.expressions import ExpressionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_DEPTH: Final = 4
"""How deep `and`, `or` and `not` may stand in each other."""
_NUMBER: Final = re.compile(r"[-+]?([0-9]+[.])?[0-9]+", re.ASCII)

SINGLE: Final = frozenset({"stringIsEmpty", "stringIsWhitespace", "binaryExists", "fileExists", "folderExists"})
"""Operators with one operand."""
HASHES: Final = {
    "fileMD5Equals": "md5sum",
    "fileSHA1Equals": "sha1sum",
    "fileSHA256Equals": "sha256sum",
    "fileSHA512Equals": "sha512sum",
}
"""Operators that compare with the hash of the file under `path`."""
_ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "LessThan": lt,
    "LessThanEquals": le,
    "GreaterThan": gt,
    "GreaterThanEquals": ge,
}
PAIRS: Final = frozenset(
    {"stringEquals", "patternMatches", "numberEquals", *(kind + name for kind in ("string", "number") for name in _ORDERS)}
)
"""Operators that compare with what stands under `value`."""
COMPARISONS: Final = SINGLE | PAIRS | frozenset(HASHES)
LOGICAL: Final = frozenset({"and", "or", "not"})

# What Python's expressions have and RE2 refuses: look-around, atomic groups, back references, conditionals.
_NOT_RE2: Final = re.compile(r"\(\?(?:=|!|<=|<!|>|\(|P=)|(?<!\\)(?:\\\\)*\\[1-9]")

# Python knows no [[:digit:]] and would silently read it as a set of letters.
_POSIX_CLASSES: Final = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r"\t ",
    "digit": "0-9",
    "lower": "a-z",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}


class Branch(StrEnum):
    """What a step does when its `if` has been evaluated."""

    EXECUTE = "Execute"
    SKIP = "Skip"
    ABORT = "Abort"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison."""

    operator: str
    baseline: str
    other: str = ""
    """The text under `value`, or under `path` for the hashes."""


@dataclass(frozen=True, slots=True)
class Logical:
    """`and`, `or`, `not` over further conditions."""

    operator: str
    conditions: tuple[Condition, ...]


Condition: TypeAlias = Comparison | Logical


@dataclass(frozen=True, slots=True)
class If:
    """Whether a step runs."""

    condition: Condition
    then: Branch = Branch.EXECUTE
    otherwise: Branch = Branch.SKIP


def evaluate(condition: Condition, resolve: Callable[[str], str], shell: Callable[[str], str]) -> bool:
    """Evaluate, left to right and no further than needed.

    `resolve` puts values in place of references; `shell` runs a read-only command on the target and returns what it printed.
    Raises what these two raise, and ExpressionError for a pattern that is none.
    """
    if isinstance(condition, Logical):
        results = (evaluate(item, resolve, shell) for item in condition.conditions)
        return {"and": all, "or": any}[condition.operator](results) if condition.operator != "not" else not next(results)
    baseline, other = resolve(condition.baseline), resolve(condition.other)
    if condition.operator in HASHES:
        return _hash(HASHES[condition.operator], other, shell) == baseline.strip().lower()
    if question := _question(condition.operator, baseline):
        return shell(f"if {question}; then echo yes; else echo no; fi").strip() == "yes"
    if condition.operator == "patternMatches" and (problem := pattern_problem(baseline)):
        raise ExpressionError(problem)
    return compare(condition.operator, baseline, other)


def _question(operator: str, operand: str) -> str | None:
    quoted = shlex.quote(operand)
    return {
        "binaryExists": f"type -- {quoted} >/dev/null 2>&1",
        "fileExists": f"[ -f {quoted} ]",
        "folderExists": f"[ -d {quoted} ]",
    }.get(operator)


def _hash(program: str, path: str, shell: Callable[[str], str]) -> str:
    # A path that starts with a dash, and names for which the program marks the line with a backslash, are why `<` is used.
    return shell(f"{program} < {shlex.quote(path)}").split(" ", 1)[0].strip().lower()


def compare(operator: str, baseline: str, value: str) -> bool:
    """Compare two texts; `value` stands on the left of "less" and "greater".

    Numbers that cannot be read compare as false. Order of texts ignores case, equality does not (the guide's examples say so).
    """
    match operator:
        case "stringIsEmpty":
            return baseline == ""
        case "stringIsWhitespace":
            return baseline != "" and not baseline.strip(" ")
        case "stringEquals":
            return value == baseline
        case "patternMatches":
            return _compiled(baseline).search(value) is not None
        case "numberEquals":
            return _numbers(eq, value, baseline)
        case _ if operator.startswith("number"):
            return _numbers(_ORDERS[operator.removeprefix("number")], value, baseline)
        case _:
            return _ORDERS[operator.removeprefix("string")](value.casefold(), baseline.casefold())


def _compiled(pattern: str) -> re.Pattern[str]:
    """Read an expression of RE2 with Python's engine. Raises re.error and OverflowError."""
    for name, characters in _POSIX_CLASSES.items():
        pattern = pattern.replace(f"[:{name}:]", characters)
    with warnings.catch_warnings():
        # "Possible nested set": what may change its meaning in some later Python has RE2's meaning now.
        warnings.simplefilter("ignore", FutureWarning)
        return re.compile(pattern.replace(r"\z", r"\Z"), re.IGNORECASE)


def is_number(text: str) -> bool:
    """Tell whether AWSTOE reads a text as a number."""
    return _NUMBER.fullmatch(text) is not None


def _numbers(order: Callable[[Decimal, Decimal], bool], value: str, baseline: str) -> bool:
    if not (is_number(value) and is_number(baseline)):
        return False
    return order(Decimal(value), Decimal(baseline))


def pattern_problem(pattern: str) -> str | None:
    """Say why AWSTOE's RE2 would refuse a regular expression, None when it would not."""
    if found := _NOT_RE2.search(pattern):
        return f"`{found[0]}` is not part of RE2"
    try:
        _compiled(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"the regular expression cannot be read: {error}"
    return None
