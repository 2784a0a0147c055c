"""Input variables: their declarations, and where their values come from.

Later wins: the default, HARNESS_VAR_name, terraform.tfvars, *.auto.tfvars by name, --var-file in order, --var.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config import hcl
from harness.config.constraints import ANY, Constraint, MismatchError, convert, infer, parse_constraint
from harness.config.expressions import Evaluation, Known, Scope
from harness.config.suggestions import did_you_mean
from harness.errors import ConfigError, Location

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.config.functions import Value
    from harness.config.syntax import Block, Body, Expression

PREFIX = "HARNESS_VAR_"
KEYS = ("type", "default", "description", "sensitive", "validation")
ONLY_LITERALS = "a file of variables holds plain values: text in quotes, numbers, lists and maps"


@dataclass(frozen=True, slots=True)
class Validation:
    """A condition that the value must meet."""

    condition: Expression
    message: Expression
    line: int


@dataclass(frozen=True, slots=True)
class Declaration:
    """One `variable` block."""

    name: str
    constraint: Constraint
    default: Value
    required: bool
    sensitive: bool
    validations: tuple[Validation, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Given:
    """A value from outside, not yet converted, and where it was given."""

    value: Value
    at: Location


def declarations(body: Body, path: Path, environ: Mapping[str, str]) -> dict[str, Declaration]:
    """Read the `variable` blocks of a file."""
    found: dict[str, Declaration] = {}
    for block in body.blocks:
        if block.kind != "variable":
            continue
        if len(block.labels) != 1:
            raise ConfigError("a variable has one name", hint='variable "name" { default = "" }', at=Location(path, block.line))
        name = block.labels[0]
        if name in found:
            message = f"the variable `{name}` is declared twice, first on line {found[name].line}"
            raise ConfigError(message, hint="remove one of the two", at=Location(path, block.line))
        found[name] = _declaration(name, block, path, environ)
    return found


def _declaration(name: str, block: Block, path: Path, environ: Mapping[str, str]) -> Declaration:
    expressions = {item.name: item for item in block.body.assignments}
    for word, line, is_block in block.body.entries():
        if word not in KEYS or is_block != (word == "validation"):
            raise ConfigError(f"a variable has no `{word}`", hint=did_you_mean(word, KEYS, what="keys"), at=Location(path, line))
    scope = Scope(path, {}, environ, dict.fromkeys(("var", "local"), "a variable's own settings can use functions, yet no other variable"))
    sensitive = _flag(expressions["sensitive"].expression, scope) if "sensitive" in expressions else False
    # A default that belongs to a sensitive variable is itself a secret: no error may repeat it.
    default = Evaluation(scope, sensitive).value(expressions["default"].expression) if "default" in expressions else None
    if "description" in expressions and not isinstance(Evaluation(scope).value(expressions["description"].expression), str):
        raise ConfigError("a description is a text", hint='description = "…"', at=Location(path, expressions["description"].line))
    constraint = parse_constraint(expressions["type"].expression, path) if "type" in expressions else infer(default)
    try:
        default = convert(default, constraint, f"the default of `{name}`")
    except MismatchError as error:
        hint = "change the default or the type"
        raise ConfigError(str(error), hint=hint, at=Location(path, expressions["default"].line)) from None
    validations = tuple(_validation(inner, path) for inner in block.body.blocks)
    return Declaration(name, constraint, default, "default" not in expressions, sensitive, validations, block.line)


def _flag(expression: Expression, scope: Scope) -> bool:
    value = Evaluation(scope).value(expression)
    if isinstance(value, bool):
        return value
    raise ConfigError("`sensitive` must be true or false", hint="sensitive = true", at=Location(scope.path, expression.line))


def _validation(block: Block, path: Path) -> Validation:
    known = {item.name: item.expression for item in block.body.assignments}
    keys = ("condition", "error_message")
    for word, line, is_block in block.body.entries():
        if word not in keys or is_block:
            raise ConfigError(f"a validation has no `{word}`", hint=did_you_mean(word, keys, what="keys"), at=Location(path, line))
    for key in keys:
        if key not in known:
            raise ConfigError(f"the validation has no `{key}`", hint="it needs condition and error_message", at=Location(path, block.line))
    return Validation(known["condition"], known["error_message"], block.line)


def resolve(declared: Mapping[str, Declaration], given: Mapping[str, Given], path: Path, environ: Mapping[str, str]) -> dict[str, Known]:
    """Give every variable its value, converted to its type and validated."""
    values: dict[str, Known] = {}
    for name, declaration in declared.items():
        if name not in given and declaration.required:
            hint = f"--var {name}=…, {PREFIX}{name}, or `{name} = …` in terraform.tfvars; or give it a default"
            raise ConfigError(f"the variable `{name}` has no value", hint=hint, at=Location(path, declaration.line))
        value, at = declaration.default, Location(path, declaration.line)
        if name in given:
            at = given[name].at
            try:
                value = convert(given[name].value, declaration.constraint, f"`{name}`")
            except MismatchError as error:
                hint = f"declared at {Location(path, declaration.line)}"
                raise ConfigError(str(error), hint=hint, at=at) from None
        values[name] = Known(value, declaration.sensitive)
        _validate(declaration, values[name], at, Scope(path, {"var": {name: values[name]}}, environ))
    return values


def _validate(declaration: Declaration, known: Known, at: Location, scope: Scope) -> None:
    for validation in declaration.validations:
        holds = Evaluation(scope).value(validation.condition)
        if holds is True:
            continue
        if holds is not False:
            raise ConfigError(
                "the condition of a validation must be true or false", hint="compare something", at=Location(scope.path, validation.line)
            )
        evaluation = Evaluation(scope)
        message = evaluation.value(validation.message)
        shown = "the value is not valid" if known.sensitive and evaluation.sensitive else str(message)
        hint = f"rule at {Location(scope.path, validation.line)}"
        raise ConfigError(f"`{declaration.name}`: {shown}", hint=hint, at=at)


def collect(
    declared: Mapping[str, Declaration], folder: Path, variables: Mapping[str, str], var_files: Sequence[Path], environ: Mapping[str, str]
) -> dict[str, Given]:
    """Gather the values from the environment, the files beside the configuration, --var-file and --var, later ones winning.

    An environment variable that nothing declares is ignored, as in Terraform, since it may be meant for another folder;
    everywhere else an undeclared name is an error, because it is a typing mistake.
    """
    given: dict[str, Given] = {}
    for name, declaration in declared.items():
        if PREFIX + name in environ:
            given[name] = _from_text(environ[PREFIX + name], declaration, f"{PREFIX}{name}")
    for file in (*_beside(folder), *var_files):
        given.update(_from_file(file, declared, environ))
    for name, text in variables.items():
        if name not in declared:
            hint = did_you_mean(name, declared, what="declared variables") + f'; or declare it: variable "{name}" {{}}'
            raise ConfigError(f"--var {name}: no such variable is declared", hint=hint)
        given[name] = _from_text(text, declared[name], f"--var {name}")
    return given


def _beside(folder: Path) -> Iterator[Path]:
    """Yield the variable files that are read without being asked for."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return
    for name in names:
        if name == "terraform.tfvars.json" or name.endswith(".auto.tfvars.json"):
            raise ConfigError("variable files in JSON are not read", hint="write it as HCL: name = value", at=Location(folder / name))
    if "terraform.tfvars" in names:
        yield folder / "terraform.tfvars"
    yield from (folder / name for name in names if name.endswith(".auto.tfvars"))


def _from_file(path: Path, declared: Mapping[str, Declaration], environ: Mapping[str, str]) -> dict[str, Given]:
    if path.suffix == ".json":
        raise ConfigError("variable files in JSON are not read", hint="write it as HCL: name = value", at=Location(path))
    body = hcl.parse(hcl.read(path), path, secret=True)
    for block in body.blocks:
        hint = f"{ONLY_LITERALS}; a map is written {block.kind} = {{ … }}"
        raise ConfigError(f"a block `{block.kind}` cannot stand here", hint=hint, at=Location(path, block.line))
    scope = Scope(path, {}, environ)
    found: dict[str, Given] = {}
    for item in body.assignments:
        at = Location(path, item.line)
        if item.name not in declared:
            hint = did_you_mean(item.name, declared, what="declared variables") + f'; or declare it: variable "{item.name}" {{}}'
            raise ConfigError(f"no variable `{item.name}` is declared", hint=hint, at=at)
        found[item.name] = Given(_plain(item.expression, scope), at)
    return found


def _plain(expression: Expression, scope: Scope) -> Value:
    """Evaluate a value that may be secret, so that an error says where it stands and nothing of what it is."""
    try:
        return Evaluation(scope, sensitive=True).value(expression)
    except ConfigError as error:
        raise ConfigError("this is no plain value", hint=ONLY_LITERALS, at=error.at) from None


def _from_text(text: str, declaration: Declaration, source: str) -> Given:
    """Read the text of --var or of the environment: as it is for primitive types, as an HCL expression for others."""
    at = Location(Path(source))
    if declaration.constraint == ANY or declaration.constraint.kind in {"string", "number", "bool"}:
        return Given(text, at)
    hint = f"""`{declaration.name}` is a {declaration.constraint}: '["a", "b"]' or '{{ key = "value" }}', quoted for the shell"""
    try:
        expression = hcl.parse_expression(text, Path(source), secret=True)
        value = Evaluation(Scope(Path(source), {}, {}), sensitive=True).value(expression)
    except ConfigError:
        raise ConfigError("the value cannot be read", hint=hint, at=at) from None
    if value is not None and not isinstance(value, list | dict):
        raise ConfigError(f"`{declaration.name}` must be of type {declaration.constraint}", hint=hint, at=at)
    return Given(value, at)
