"""Evaluates expressions: references, text with `${…}`, conditionals, operators, indexing, lists, maps, functions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from harness.config import functions
from harness.config.functions import LARGEST, FunctionError, Value, as_bool, as_number, as_text, equal, kind
from harness.config.suggestions import did_you_mean
from harness.config.syntax import (
    Attribute,
    Binary,
    Call,
    Conditional,
    Expression,
    Index,
    ListOf,
    Literal,
    Name,
    ObjectOf,
    Template,
    Unary,
    children,
    references,
)
from harness.errors import ConfigError, Location

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

LONGEST_SHOWN = 60
"""Characters of a value that an error repeats."""


@dataclass(frozen=True, slots=True)
class Known:
    """A value that expressions may refer to."""

    value: Value
    sensitive: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """What can be referred to: `roots["var"]["name"]` answers `var.name`."""

    path: Path
    roots: Mapping[str, Mapping[str, Known]]
    environ: Mapping[str, str]
    missing: Mapping[str, str] = field(default_factory=dict)
    """Per root that is not usable here: why."""


@dataclass(slots=True)
class Evaluation:
    """One evaluation; afterwards `sensitive` tells whether a sensitive value went into it."""

    scope: Scope
    sensitive: bool = False

    def value(self, node: Expression) -> Value:
        """Return the value of an expression. Raises ConfigError at the line of the part that has none."""
        handlers: dict[type, Callable[..., Value]] = {
            Literal: self._literal, Template: self._template, Name: self._name, Attribute: self._attribute, Index: self._index,
            Call: self._call, Unary: self._unary, Binary: self._binary, Conditional: self._conditional, ListOf: self._list,
            ObjectOf: self._object,
        }  # fmt: skip
        return handlers[type(node)](node)

    def shown(self, value: Value) -> str:
        """Return a value for an error message; nothing of it when a sensitive value had part in it."""
        if self.sensitive:
            return "(sensitive)"
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
        return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"

    def _fail(self, message: str, line: int, hint: str) -> NoReturn:
        raise ConfigError(message, hint=hint, at=Location(self.scope.path, line))

    def _checked(self, convert: Callable[[Value, str], Value], value: Value, what: str, line: int) -> Value:
        try:
            return convert(value, what)
        except FunctionError as error:
            self._fail(error.message, line, "check the types")

    def _number(self, node: Expression, what: str) -> float:
        value = self._checked(as_number, self.value(node), what, node.line)
        assert isinstance(value, int | float)  # noqa: S101 - what as_number promises
        return value

    def _literal(self, node: Literal) -> Value:
        return node.value

    def _template(self, node: Template) -> Value:
        if len(node.parts) == 1 and not isinstance(node.parts[0], str):
            return self.value(node.parts[0])
        pieces = []
        for part in node.parts:
            piece = part if isinstance(part, str) else self._checked(as_text, self.value(part), "a value inside ${…}", part.line)
            pieces.append(str(piece))
        if sum(map(len, pieces)) > functions.LONGEST:
            self._fail("the text becomes too long", node.line, "take it apart")
        return "".join(pieces)

    def _name(self, node: Name) -> Value:
        if node.name in self.scope.missing:
            self._fail(f"`{node.name}` cannot be used here", node.line, self.scope.missing[node.name])
        if node.name in self.scope.roots:
            self._fail(f"`{node.name}` alone is no value", node.line, f"name one: {node.name}.NAME")
        hint = did_you_mean(node.name, self.scope.roots, what="references begin with")
        self._fail(f"unknown name `{node.name}`", node.line, f'{hint} (text stands in double quotes: "{node.name}")')

    def _attribute(self, node: Attribute) -> Value:
        if isinstance(node.of, Name) and node.of.name in self.scope.roots:
            return self._reference(node.of.name, node.name, node.line)
        if isinstance(node.of, Name) and node.of.name == "source":
            self._fail("a source is named by text", node.line, 'put it in quotes: "source.container.NAME"')
        return self._entry(self.value(node.of), node.name, node.line)

    def _reference(self, root: str, name: str, line: int) -> Value:
        known = self.scope.roots[root]
        if name not in known:
            what = {"var": "variable", "local": "local"}.get(root, root)
            declare = f'; declare it: variable "{name}" {{}}' if root == "var" else ""
            self._fail(f"unknown {what} `{root}.{name}`", line, did_you_mean(name, known, what=f"known {what}s") + declare)
        self.sensitive = self.sensitive or known[name].sensitive
        return known[name].value

    def _entry(self, of: Value, name: str, line: int) -> Value:
        if not isinstance(of, dict):
            self._fail(f"`.{name}` asks for an entry of a map, this is a {kind(of)}", line, "maps have entries, lists have [0]")
        if name not in of:
            hint = "the keys are sensitive" if self.sensitive else did_you_mean(name, of, what="keys")
            self._fail(f"the map has no key {self.shown(name)}", line, hint)
        return of[name]

    def _index(self, node: Index) -> Value:
        of, key = self.value(node.of), self.value(node.key)
        if isinstance(of, dict):
            return self._entry(of, str(self._checked(as_text, key, "the key of a map", node.line)), node.line)
        if not isinstance(of, list):
            self._fail(f"a {kind(of)} cannot be indexed", node.line, "only lists and maps can")
        position = self._checked(as_number, key, "the index of a list", node.line)
        if not isinstance(position, int) or not 0 <= position < len(of):
            self._fail(f"the list has no item {self.shown(key)}: it has {len(of)}", node.line, "items are counted from 0")
        return of[position]

    def _list(self, node: ListOf) -> Value:
        return [self.value(item) for item in node.items]

    def _object(self, node: ObjectOf) -> Value:
        made: dict[str, Value] = {}
        for key_node, value_node in node.pairs:
            key = str(self._checked(as_text, self.value(key_node), "the key of a map", key_node.line))
            if key in made:
                self._fail(f"the key {self.shown(key)} is given twice", key_node.line, "remove one of the two")
            made[key] = self.value(value_node)
        return made

    def _conditional(self, node: Conditional) -> Value:
        condition = self._checked(as_bool, self.value(node.condition), "the condition", node.condition.line)
        return self.value(node.yes if condition else node.no)

    def _unary(self, node: Unary) -> Value:
        if node.operator == "!":
            return not self._checked(as_bool, self.value(node.operand), "what follows `!`", node.line)
        return -self._number(node.operand, "what follows `-`")

    def _binary(self, node: Binary) -> Value:
        operator = node.operator
        if operator in {"&&", "||"}:
            left = self._checked(as_bool, self.value(node.left), f"the left side of `{operator}`", node.left.line)
            if left is (operator == "||"):
                return left
            return self._checked(as_bool, self.value(node.right), f"the right side of `{operator}`", node.right.line)
        if operator in {"==", "!="}:
            return equal(self.value(node.left), self.value(node.right)) is (operator == "==")
        left_number = self._number(node.left, f"the left side of `{operator}`")
        right_number = self._number(node.right, f"the right side of `{operator}`")
        if operator in COMPARISONS:
            return COMPARISONS[operator](left_number, right_number)
        if operator in {"/", "%"} and not right_number:
            self._fail("division by zero", node.line, "check the right side")
        result = ARITHMETIC[operator](left_number, right_number)
        if abs(result) > LARGEST:
            self._fail("the result is too large", node.line, "nothing here needs such a number")
        return int(result) if result == int(result) else result

    def _call(self, node: Call) -> Value:
        if node.name == "try":
            return self._try(node)
        known = functions.table(self.scope.environ)
        if node.name not in known:
            self._unsupported(node)
        function = known[node.name]
        arguments = self._arguments(node)
        if len(arguments) < function.fewest or (function.most is not None and len(arguments) > function.most):
            most = "or more" if function.most is None else f"to {function.most}"
            takes = str(function.fewest) if function.most == function.fewest else f"{function.fewest} {most}"
            self._fail(f"{node.name} takes {takes} arguments, {len(arguments)} are given", node.line, "check the arguments")
        try:
            return function.call(*arguments)
        except FunctionError as error:
            key = "" if error.key is None else f" {self.shown(error.key)}"
            self._fail(f"{node.name}: {error.message}{key}", node.line, "check the arguments")

    def _arguments(self, node: Call) -> list[Value]:
        values = [self.value(argument) for argument in node.arguments]
        if not node.expand:
            return values
        last = values.pop()
        if not isinstance(last, list):
            self._fail(f"`...` needs a list, this is a {kind(last)}", node.line, "remove the dots")
        return [*values, *last]

    def _try(self, node: Call) -> Value:
        """Return the first argument that has a value, as in HCL; a misspelt name or function is no reason to fall back."""
        if node.expand or not node.arguments:
            self._fail("try takes 1 or more arguments, written out", node.line, "try(var.x.y, null)")
        for argument in node.arguments:
            self._spelt(argument)
        for argument in node.arguments[:-1]:
            try:
                return self.value(argument)
            except ConfigError:
                continue
        return self.value(node.arguments[-1])

    def _spelt(self, argument: Expression) -> None:
        """Refuse functions and references that exist nowhere."""
        for root in self.scope.roots:
            for name, line in references(argument, root).items():
                if name not in self.scope.roots[root]:
                    self._reference(root, name, line)
        pending = [argument]
        while pending:
            part = pending.pop()
            pending.extend(children(part))
            if isinstance(part, Call) and part.name not in functions.NAMES:
                self._unsupported(part)

    def _unsupported(self, node: Call) -> NoReturn:
        near = did_you_mean(node.name, functions.NAMES, what="supported functions")
        hint = near if near.startswith("supported") else f"{near} supported functions: {', '.join(functions.NAMES)}"
        self._fail(f"unsupported function `{node.name}`", node.line, hint)


COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": lambda left, right: left < right,
    ">": lambda left, right: left > right,
    "<=": lambda left, right: left <= right,
    ">=": lambda left, right: left >= right,
}
ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
    # HCL's remainder has the sign of the left side, as in Go; Python's has the right side's.
    "%": lambda left, right: abs(left) % abs(right) * (-1 if left < 0 else 1),
}
