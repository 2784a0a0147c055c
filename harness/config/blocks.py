"""Turns the blocks of a configuration into settings; every mistake is named with its line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pydantic import ValidationError

from harness.config.expressions import Evaluation, Scope
from harness.config.functions import FunctionError, Value, as_text, kind
from harness.config.settings import Build, Choice, Component, Distribution, Gate, Off, Publish, Schedule, Section, Site, Source
from harness.config.suggestions import did_you_mean
from harness.errors import ConfigError, Location

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pydantic_core import ErrorDetails

    from harness.config.expressions import Known
    from harness.config.syntax import Assignment, Block

S = TypeVar("S", bound=Section)

INTERNAL = {"line", "kind", "name", "region", "rule"}
"""Fields that come from the block's head, never from its body."""
EXPECTED = {
    "string": "a string", "bool": "true or false", "tuple": "a list", "mapping": "a map", "dict": "a map", "int": "a whole number",
}  # fmt: skip
MISSION_KEYS = ("aws_region", "project_name", "environment", "vpc_id", "subnet_id", "kms_key_id", "instance_types", "allowed_principals")
ELSEWHERE = {
    "provisioner": 'a component does that work: component "name" { source = "./name.yml" }',
    "post-processor": "the publish block does that work",
    "post-processors": "the publish block does that work",
    "packer": "remove it: harness needs no plugins",
    "data": "use a variable",
    "resource": "this is no Terraform file; see `harness init`",
    "module": "this is no Terraform file; see `harness init`",
    "provider": "this is no Terraform file; see `harness init`",
    "output": "remove it",
    "terraform": "remove it",
}
"""Blocks of Packer and Terraform that people will try, and what stands in their place."""


class Reader:
    """Reads the blocks of one file, within one scope."""

    def __init__(self, scope: Scope) -> None:
        """Take what expressions may refer to."""
        self.scope = scope

    def fail(self, message: str, line: int, hint: str) -> NoReturn:
        """Refuse, at a line of the file."""
        raise ConfigError(message, hint=hint, at=Location(self.scope.path, line))

    def source(self, block: Block) -> Source:
        """Read `source "container" "NAME" { … }`."""
        self._labels(block, 2, 'source "container" "al2" { … }')
        self._only(block, ())
        if block.labels[0] != "container":
            self.fail(f"unknown kind of source `{block.labels[0]}`", block.line, did_you_mean(block.labels[0], ["container"], what="kinds"))
        return self._section(Source, block, kind=block.labels[0], name=block.labels[1])

    def build(self, block: Block, sources: Sequence[Source]) -> Build:
        """Read `build "NAME" { sources = […] component … }`."""
        self._labels(block, 1, 'build "golden" { … }')
        self._only(block, ("component",))
        components = tuple(self._component(inner) for inner in block.body.blocks)
        names = [component.name for component in components]
        for component in components:
            if names.count(component.name) > 1:
                self.fail(f"the component `{component.name}` is in the build twice", component.line, "remove one of the two")
        build = self._section(Build, block, name=block.labels[0], components=components)
        addresses = [source.address for source in sources]
        line = next(item.line for item in block.body.assignments if item.name == "sources")
        for address in build.sources:
            if address not in addresses:
                self.fail(f"no source `{address}` is declared", line, did_you_mean(address, addresses, what="declared sources"))
        if len(set(build.sources)) != len(build.sources):
            self.fail("a source is named twice", line, "remove one of the two")
        return build

    def publish(self, block: Block, variables: Mapping[str, Known]) -> Publish:
        """Read `publish "imagebuilder" { … }`; the mission's variables fill in what the block leaves out."""
        self._labels(block, 1, 'publish "imagebuilder" { … }')
        self._only(block, ("schedule", "distribution"))
        if block.labels[0] != "imagebuilder":
            self.fail(f"unknown way to publish `{block.labels[0]}`", block.line, 'the known one is publish "imagebuilder"')
        schedules = [inner for inner in block.body.blocks if inner.kind == "schedule"]
        if len(schedules) > 1:
            self.fail("a pipeline has one schedule", schedules[1].line, "remove one of the two")
        distributions = tuple(self._distribution(inner) for inner in block.body.blocks if inner.kind == "distribution")
        regions = [item.region for item in distributions]
        for item in distributions:
            if regions.count(item.region) > 1:
                self.fail(f"the region {item.region} is given twice", item.line, "one distribution block per region")
        for inner in schedules:
            self._labels(inner, 0, "schedule { … }")
            self._only(inner, ())
        schedule = self._section(Schedule, schedules[0]) if schedules else None
        written = {item.name for item in block.body.assignments}
        filled = {key: variables[key].value for key in MISSION_KEYS if key in variables and key not in written}
        given = {key: value for key, value in filled.items() if value is not None}
        return self._section(Publish, block, kind=block.labels[0], schedule=schedule, distributions=distributions, **given)

    def gate(self, block: Block, sources: Sequence[Source]) -> Gate:
        """Read `gate { … }`; its targets are sources of the file."""
        self._labels(block, 0, "gate { … }")
        self._only(block, ())
        gate = self._section(Gate, block)
        names = [source.name for source in sources]
        for target in gate.targets:
            if target not in names:
                line = next(item.line for item in block.body.assignments if item.name == "targets")
                self.fail(f"no source `{target}` is declared", line, did_you_mean(target, names, what="declared sources"))
        return gate

    def site(self, block: Block) -> Site:
        """Read `site { folder = "./site" }`."""
        self._labels(block, 0, "site { … }")
        self._only(block, ())
        items = {item.name: item for item in block.body.assignments}
        if "folder" not in items:
            self.fail("`site` needs `folder`", block.line, Site.written)
        evaluation = Evaluation(self.scope)
        value = evaluation.value(items["folder"].expression)
        line = items["folder"].line
        if not isinstance(value, str) or not value or "\0" in value:
            self.fail(f"`folder` must be the path of a folder, given is a {kind(value)}", line, Site.written)
        folder = (self.scope.path.parent / value).absolute()
        if not folder.is_dir():
            self.fail(f"there is no folder {evaluation.shown(value)}", line, f"paths are relative to {self.scope.path.parent}")
        return self._section(Site, block, folder=folder)

    def baseline(self, block: Block) -> Choice:
        """Read `baseline "NAME" { editions = […] off "RULE" { reason = "…" } }`."""
        self._labels(block, 1, 'baseline "al2" { … }')
        self._only(block, ("off",))
        for inner in block.body.blocks:
            self._labels(inner, 1, Off.written)
            self._only(inner, ())
        off = tuple(self._section(Off, inner, rule=inner.labels[0]) for inner in block.body.blocks)
        for one in off:
            if [other.rule for other in off].count(one.rule) > 1:
                self.fail(f"{one.rule} is switched off twice", one.line, "remove one of the two")
        return self._section(Choice, block, name=block.labels[0], off=off)

    def _distribution(self, block: Block) -> Distribution:
        self._labels(block, 1, 'distribution "ap-northeast-2" { … }')
        self._only(block, ())
        return self._section(Distribution, block, region=block.labels[0])

    def _component(self, block: Block) -> Component:
        self._labels(block, 1, 'component "isms_security_hardening" {}')
        self._only(block, ())
        items = {item.name: item for item in block.body.assignments}
        made: dict[str, Any] = {}
        if "parameters" in items:
            made["parameters"] = self._parameters(items["parameters"])
        if "source" in items and (source := self._file(items["source"])):
            made["source"] = source
        return self._section(Component, block, name=block.labels[0], **made)

    def _file(self, item: Assignment) -> Path | None:
        evaluation = Evaluation(self.scope)
        value = evaluation.value(item.expression)
        if value is None:
            return None
        if not isinstance(value, str) or not value or "\0" in value:
            self.fail(
                f"`source` must be the path of a component document, given is a {kind(value)}",
                item.line,
                'source = "./components/name.yml"',
            )
        path = (self.scope.path.parent / value).absolute()
        try:
            there = path.is_file()
        except OSError:
            there = False
        if not there:
            self.fail(f"there is no file {evaluation.shown(value)}", item.line, f"paths are relative to {self.scope.path.parent}")
        return path

    def _parameters(self, item: Assignment) -> dict[str, str]:
        """Turn values into the text that component documents carry: 3 → "3", true → "true", ["a", "b"] → "a,b"."""
        evaluation = Evaluation(self.scope)
        value = evaluation.value(item.expression)
        if evaluation.sensitive:
            hint = "component documents, reports and the recipe in AWS show them: let the host read the secret at run time"
            self.fail("`parameters` cannot hold a sensitive value", item.line, hint)
        if not isinstance(value, dict):
            self.fail(f"`parameters` must be a map, given is a {kind(value)}", item.line, "parameters = { ssh_max_auth_tries = 3 }")
        return {name: self._parameter(name, given, item.line) for name, given in value.items() if given is not None}

    def _parameter(self, name: str, value: Value, line: int) -> str:
        try:
            if not isinstance(value, list):
                return as_text(value, f"the parameter `{name}`")
            words = [as_text(word, f"an item of the parameter `{name}`") for word in value]
        except FunctionError as error:
            self.fail(error.message, line, "a parameter is a string, a number, true or false, or a list of these")
        if any("," in word for word in words):
            self.fail(f"an item of the parameter `{name}` holds a comma", line, "commas separate the items; make two items of it")
        return ",".join(words)

    def _labels(self, block: Block, count: int, written: str) -> None:
        if len(block.labels) != count:
            self.fail(
                f"a `{block.kind}` block has {count} name{'' if count == 1 else 's'}, here are {len(block.labels)}", block.line, written
            )

    def _only(self, block: Block, kinds: Sequence[str]) -> None:
        for inner in block.body.blocks:
            if inner.kind not in kinds:
                self.unknown(inner, kinds, f" in `{block.kind}`")

    def unknown(self, block: Block, kinds: Sequence[str], where: str = "") -> NoReturn:
        """Refuse a block that cannot stand here."""
        hint = ELSEWHERE.get(block.kind) or did_you_mean(block.kind, kinds, what="blocks that can")
        self.fail(f"a `{block.kind}` block cannot stand here{where}", block.line, hint)

    def _section(self, model: type[S], block: Block, **made: Any) -> S:  # noqa: ANN401 - fields of any type, checked by the model
        """Evaluate what the block assigns and let the model check it."""
        lines: dict[str, int] = {}
        sensitive: set[str] = set()
        fields = [
            name for name in model.model_fields if name not in INTERNAL and name not in {"components", "schedule", "distributions", "off"}
        ]
        values = dict(made)
        for item in block.body.assignments:
            if item.name not in fields:
                self.fail(f"a `{block.kind}` has no `{item.name}`", item.line, did_you_mean(item.name, fields, what="keys"))
            lines[item.name] = item.line
            evaluation = Evaluation(self.scope)
            value = evaluation.value(item.expression) if item.name not in made else made[item.name]
            if evaluation.sensitive:
                sensitive.add(item.name)
            if value is not None:
                values[item.name] = value
        try:
            return model.model_validate({**values, "line": block.line})
        except ValidationError as error:
            problem = min(error.errors(), key=lambda one: lines.get(str(one["loc"][0]), block.line))
            self._refuse(model, block, problem, lines, sensitive)

    def _refuse(self, model: type[Section], block: Block, problem: ErrorDetails, lines: Mapping[str, int], sensitive: set[str]) -> NoReturn:
        name = str(problem["loc"][0])
        line = lines.get(name, block.line)
        what = f"`{name}`" if len(problem["loc"]) == 1 else f"an item of `{name}`"
        if name not in lines and name in MISSION_KEYS:
            what = f"the variable `{name}`, which `{block.kind}` uses,"
        given, word = problem["input"], problem["type"]
        # A mission's variable may be declared sensitive as well; only what the block itself assigns is shown.
        shown = repr(given) if isinstance(given, str) and name in lines and name not in sensitive else f"a {kind(given)}"
        if name in INTERNAL and isinstance(given, str):
            shown = repr(given)
        if word == "missing":
            self.fail(f"`{block.kind}` needs `{name}`", line, model.written)
        if word == "literal_error":
            known = str(problem.get("ctx", {}).get("expected", ""))
            hint = did_you_mean(str(given), known.replace("'", "").replace(" or ", ", ").split(", "), what="allowed")
            self.fail(f"{what} is {shown}, allowed is {known}", line, hint)
        if word == "string_pattern_mismatch":
            self.fail(f"{what} is {shown}, which it cannot be", line, f"for example: {model.written}")
        if word == "value_error":
            self.fail(f"{what} {str(problem['msg']).removeprefix('Value error, ')}", line, model.written)
        expected = EXPECTED.get(word.split("_", maxsplit=1)[0])
        if expected and word.endswith(("_type", "_parsing")):
            self.fail(f"{what} must be {expected}, given is a {kind(given)}", line, model.written)
        self.fail(f"{what}: {problem['msg']}", line, model.written)
