"""From a path and variables to settings: finds the file, evaluates locals in their order, reads the blocks."""

from __future__ import annotations

import os
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from harness.config import BUNDLED, NAME, hcl, variables
from harness.config.blocks import Reader
from harness.config.expressions import Evaluation, Known, Scope
from harness.config.settings import Settings
from harness.config.suggestions import did_you_mean
from harness.config.syntax import references
from harness.errors import ConfigError, Location

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.config.syntax import Assignment, Block, Body

BLOCKS = ("variable", "locals", "source", "build", "publish", "gate", "site", "baseline")
SHORTEST_SECRET = 4
"""Characters; replacing shorter values everywhere would garble messages, and their own places never show them."""


def load(path: Path | None, given: Mapping[str, str], var_files: Sequence[Path], environ: Mapping[str, str], cwd: Path) -> Settings:
    """See `harness.config.load`."""
    own = cwd / NAME
    # A link that leads nowhere is a mistake in the folder, not an invitation to use the bundled file.
    bundled = path is None and not os.path.lexists(own)
    file = cwd / path if path is not None else BUNDLED if bundled else own
    body = hcl.parse(hcl.read(file), file)
    declared = variables.declarations(body, file, environ)
    folder = cwd if bundled else file.parent
    collected = variables.collect(declared, folder, given, [cwd / name for name in var_files], environ)
    secrets = [str(one.default) for one in declared.values() if one.sensitive]
    secrets += [str(collected[name].value) for name in collected if declared[name].sensitive]
    try:
        values = variables.resolve(declared, collected, file, environ)
        roots = {"var": values, "path": {"root": Known(str(file.parent)), "cwd": Known(str(cwd))}}
        return _settings(body, _with_locals(body, Scope(file, roots, environ)), bundled=bundled)
    except ConfigError as error:
        raise _without(secrets, error) from None


def _without(secrets: Sequence[str], error: ConfigError) -> ConfigError:
    """Return the error without any sensitive value, whichever way it came in."""

    def clean(text: str) -> str:
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= SHORTEST_SECRET:
                text = text.replace(secret, "(sensitive)").replace(" ".join(secret.split()), "(sensitive)")
        return text

    return ConfigError(clean(error.message), hint=clean(error.hint) if error.hint else None, at=error.at)


def _settings(body: Body, scope: Scope, *, bundled: bool) -> Settings:
    file, values = scope.path, scope.roots["var"]
    reader = Reader(scope)
    for item in body.assignments:
        reader.fail(
            f"`{item.name}` cannot stand outside of a block",
            item.line,
            f"values of variables stand in terraform.tfvars; blocks: {', '.join(BLOCKS)}",
        )
    for block in body.blocks:
        if block.kind not in BLOCKS:
            reader.unknown(block, BLOCKS)
    sources = tuple(reader.source(block) for block in body.blocks if block.kind == "source")
    if not sources:
        raise ConfigError(
            "declares no source", hint='add source "container" "al2" { … }; `harness init` writes an example', at=Location(file)
        )
    _once(reader, "source", [(source.address, source.line) for source in sources])
    builds = tuple(reader.build(block, sources) for block in body.blocks if block.kind == "build")
    _once(reader, "build", [(build.name, build.line) for build in builds])
    baselines = tuple(reader.baseline(block) for block in body.blocks if block.kind == "baseline")
    _once(reader, "baseline", [(baseline.name, baseline.line) for baseline in baselines])
    publishing, gate, site = (_only(reader, body, kind) for kind in ("publish", "gate", "site"))
    return Settings(
        path=file,
        bundled=bundled,
        variables={name: known.value for name, known in values.items()},
        sensitive=frozenset(name for name, known in values.items() if known.sensitive),
        sources=sources,
        builds=builds,
        publish=reader.publish(publishing, values) if publishing else None,
        gate=reader.gate(gate, sources) if gate else None,
        site=reader.site(site) if site else None,
        baselines=baselines,
    )


def _once(reader: Reader, kind: str, declared: Sequence[tuple[str, int]]) -> None:
    """Refuse a name that two blocks of a kind have."""
    names = [name for name, _ in declared]
    for name, line in declared:
        if names.count(name) > 1:
            reader.fail(f"the {kind} `{name}` is declared twice", line, "remove one of the two")


def _only(reader: Reader, body: Body, kind: str) -> Block | None:
    """Return the one block of a kind; None where there is none."""
    found = [block for block in body.blocks if block.kind == kind]
    if len(found) > 1:
        reader.fail(f"there can be one {kind} block", found[1].line, "remove one of the two")
    return found[0] if found else None


def _with_locals(body: Body, scope: Scope) -> Scope:
    """Evaluate every `locals` block, in the order in which the values need each other."""
    file = scope.path
    items: dict[str, Assignment] = {}
    for block in body.blocks:
        if block.kind != "locals":
            continue
        if block.labels or block.body.blocks:
            raise ConfigError("`locals` has no name and holds no blocks", hint="locals { name = value }", at=Location(file, block.line))
        for item in block.body.assignments:
            if item.name in items:
                message = f"`local.{item.name}` is given twice, first on line {items[item.name].line}"
                raise ConfigError(message, hint="remove one of the two", at=Location(file, item.line))
            items[item.name] = item
    needs = {name: references(item.expression, "local") for name, item in items.items()}
    for used in needs.values():
        for name, line in used.items():
            if name not in items:
                hint = did_you_mean(name, items, what="known locals")
                raise ConfigError(f"unknown local `local.{name}`", hint=hint, at=Location(file, line))
    try:
        order = list(TopologicalSorter({name: list(used) for name, used in needs.items()}).static_order())
    except CycleError as error:
        circle = list(reversed(error.args[1]))
        raise ConfigError(
            f"locals need each other in a circle: {' → '.join(circle)}",
            hint="one of them must not need the next",
            at=Location(file, items[circle[0]].line),
        ) from None
    known: dict[str, Known] = {}
    scope = replace(scope, roots={**scope.roots, "local": known})
    for name in order:
        evaluation = Evaluation(scope)
        value = evaluation.value(items[name].expression)
        known[name] = Known(value, evaluation.sensitive)
    return scope
