"""What publishing changes: one entry per resource with the fields that differ, printed for people and for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from botocore.model import Shape

Json = dict[str, Any]

DEFAULTS: Final[Mapping[str, object]] = {
    "terminateInstanceOnFailure": True,
    "enhancedImageMetadataEnabled": True,
    "status": "ENABLED",
    "imageTestsConfiguration": {"imageTestsEnabled": True, "timeoutMinutes": 720},
    "imageTestsConfiguration.timeoutMinutes": 720,
    "schedule.timezone": "UTC",
    "schedule.autoDisablePolicy": {"failureCount": 5},
    "schedule.pipelineExecutionStartCondition": "EXPRESSION_MATCH_AND_DEPENDENCY_UPDATES_AVAILABLE",
    "workingDirectory": "/tmp",  # noqa: S108 - on the build instance
    "imageScanningConfiguration": {"imageScanningEnabled": False},
    "imageScanningConfiguration.imageScanningEnabled": False,
}
"""What the service fills in for what is left out; not a difference."""
UNSET: Final[tuple[object, ...]] = (None, "", [], {}, False)
IDENTITY: Final = frozenset({"name", "clientToken", "tags", "dryRun", "semanticVersion"})
SHOWN: Final = 60
"""Characters of a value in the text of a plan."""
LATER: Final = "(known after apply)"


class Action(StrEnum):
    """What happens to a resource."""

    CREATE = "create"
    UPDATE = "update"
    KEEP = "keep"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class Field:
    """One value that changes."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one resource."""

    action: Action
    kind: str
    name: str
    arn: str = ""
    fields: tuple[Field, ...] = ()
    note: str = ""


@dataclass(slots=True)
class Plan:
    """Everything that publishing does, in its order, and what a reader should know."""

    account: str
    region: str
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    next_runs: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return all(change.action is Action.KEEP for change in self.changes)

    def counts(self) -> dict[str, int]:
        """Count the resources per action."""
        return {action.value: sum(change.action is action for change in self.changes) for action in Action}

    def as_json(self) -> str:
        """Return the plan for programs."""
        data = {
            "schema": "isms-golden-ami/plan/1",
            "account": self.account,
            "region": self.region,
            "changes": [asdict(change) for change in self.changes],
            "summary": self.counts(),
            "notes": self.notes,
            "next_runs": self.next_runs,
        }
        return json.dumps(data, ensure_ascii=False, indent=2) + "\n"

    def as_text(self) -> str:
        """Return the plan for people."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"account {self.account}, region {self.region}"
        width = max((len(change.kind) for change in self.changes), default=0)
        signs = {Action.CREATE: "+", Action.UPDATE: "~", Action.KEEP: "=", Action.RETIRE: "-"}
        for change in self.changes:
            note = f"  ({change.note})" if change.note else ""
            yield f"{signs[change.action]} {change.action.value:6} {change.kind:{width}}  {change.name}{note}"
            if change.action is Action.UPDATE or change.fields:
                for one in change.fields:
                    yield f"      {one.path}: {shown(one.before)} → {shown(one.after)}"
        yield ", ".join(f"{count} to {action}" for action, count in self.counts().items())
        yield from (f"note: {note}" for note in self.notes)
        if self.next_runs:
            yield f"next runs: {', '.join(self.next_runs)}"


def shown(value: object) -> str:
    """Return a value for a line of text."""
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


@cache
def members(operation: str) -> frozenset[str]:
    """Return what one may say in a request of Image Builder: the rest of an answer is the service's own."""
    return frozenset(_input(operation).members) - IDENTITY  # type: ignore[attr-defined]


@cache
def _input(operation: str) -> Shape:
    import botocore.session

    shape = botocore.session.Session().get_service_model("imagebuilder").operation_model(operation).input_shape
    if shape is None:  # pragma: no cover - every Create operation has an input
        raise KeyError(operation)
    return shape


def differences(operation: str, wanted: Mapping[str, Any], there: Mapping[str, Any]) -> tuple[Field, ...]:
    """Return every field in which a resource is not what the request of `operation` would make of it.

    What the service fills in is no difference, and what it knows on top is none either: only what a request may say counts.
    """
    known = members(operation)
    left = {name: value for name, value in wanted.items() if name in known}
    right = {name: value for name, value in there.items() if name in known}
    return tuple(_differ(left, right, ""))


def _differ(wanted: Any, there: Any, path: str) -> Iterator[Field]:  # noqa: ANN401 - any JSON
    if isinstance(wanted, dict) and isinstance(there, dict):
        for name in dict.fromkeys([*wanted, *there]):
            inner = f"{path}.{name}" if path else name
            if name not in wanted:
                if there[name] not in UNSET and there[name] != DEFAULTS.get(_plain(inner), ...):
                    yield Field(inner, there[name], None)
            elif name not in there:
                if wanted[name] not in UNSET and wanted[name] != DEFAULTS.get(_plain(inner), ...):
                    yield Field(inner, None, wanted[name])
            else:
                yield from _differ(wanted[name], there[name], inner)
    elif isinstance(wanted, list) and isinstance(there, list) and len(wanted) == len(there):
        for index, (left, right) in enumerate(zip(wanted, there, strict=True)):
            yield from _differ(left, right, f"{path}[{index}]")
    elif wanted != there:
        yield Field(path, there, wanted)


def _plain(path: str) -> str:
    return "".join(part.partition("]")[2] if "]" in part else part for part in path.split("["))


def with_volatile(wanted: Any, there: Any, volatile: frozenset[str]) -> Any:  # noqa: ANN401 - any JSON
    """Return what is wanted with the volatile tags as they are there, at whatever depth, so that they alone make no difference."""
    if isinstance(wanted, dict) and isinstance(there, dict):
        kept = {name: with_volatile(value, there.get(name), volatile) for name, value in wanted.items()}
        return {name: there[name] if name in volatile and name in there else value for name, value in kept.items()}
    if isinstance(wanted, list) and isinstance(there, list) and len(wanted) == len(there):
        return [with_volatile(left, right, volatile) for left, right in zip(wanted, there, strict=True)]
    return wanted


def tag_fields(wanted: Mapping[str, str], there: Mapping[str, str]) -> tuple[Field, ...]:
    """Return the tags that change."""
    return tuple(Field(f"tags.{key}", there.get(key), value) for key, value in wanted.items())
