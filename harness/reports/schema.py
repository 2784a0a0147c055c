"""The strict reading of run.json, for files that somebody else may have written or changed."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from harness.model import Run, Status, Verdict
from harness.reports.json import SCHEMA, from_data

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(-[a-z0-9_]+)*$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_ -]*$")]
Moment = Annotated[AwareDatetime, Field(strict=False)]


class Spec(BaseModel):
    """A part of the file: right types, and what a later version adds is no mistake."""

    model_config = ConfigDict(strict=True, extra="ignore")


class About(Spec):
    """When it ran, and by what."""

    id: Annotated[str, Field(min_length=1)]
    started: Moment
    finished: Moment
    harness: str


class Titles(Spec):
    """A rule's title."""

    ko: str
    en: str


class Document(Spec):
    """A component document that ran."""

    name: FileName
    sha256: Digest
    status: str
    changes: Annotated[int, Field(ge=0)]
    changes_again: Annotated[int, Field(ge=0)] | None
    parameters: dict[str, str] = {}


class Outcome(Spec):
    """A rule's result."""

    rule: Word
    status: Literal["pass", "fail", "error", "not_applicable", "waived"]
    severity: Literal["high", "medium", "low"]
    expected: str
    observed: str
    reason: str
    controls: list[str]
    subject: str
    title: Titles
    fix: str
    commands: list[str]
    where: list[str] = []
    was: Literal["fail", "error"] | None = None


class Accepted(Spec):
    """A waiver."""

    rule: Word
    target: str
    reason: str
    category: str
    owner: str
    approver: str
    ticket: str
    expires: str
    timezone: str


class Answered(Spec):
    """What the run says of a control."""

    standard: Annotated[str, Field(min_length=1)]
    edition: Annotated[str, Field(min_length=1)]
    id: Annotated[str, Field(min_length=1)]
    title: Titles
    severity: Literal["high", "medium", "low"] | None
    answer: Literal["automated", "partly", "not_applicable"]
    status: Literal["good", "vulnerable", "manual", "error", "not_applicable"]
    rules: list[Word]
    reason: Titles


class File(Spec):
    """The whole."""

    run: About
    target: dict[str, str]
    base: dict[str, str]
    baseline: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    parameters: dict[str, str]
    documents: list[Document]
    results: list[Outcome]
    waivers: list[Accepted] = []
    digests: dict[str, Digest] = {}
    controls: list[Answered] = []
    summary: dict[str, int]


def read(data: bytes) -> Run:
    """Read run.json, strictly. Raises ValueError that names what is wrong, in one line."""
    try:
        content: Any = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"the schema is {schema!r}, not {SCHEMA!r}")
    try:
        spec = File.model_validate(content)
        run = from_data(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a complete run: {error}") from None
    if problem := contradiction(run, spec.summary):
        raise ValueError(problem)
    return run


def contradiction(run: Run, summary: dict[str, int]) -> str | None:
    """Name what in a run cannot be true together."""
    for what, names in (("rule", [result.rule for result in run.results]), ("document", [document.name for document in run.documents])):
        if twice := next((name for name in names if names.count(name) > 1), None):
            return f"the {what} {twice} is there twice"
    if run.counts() != summary:
        return "the summary does not count the results"
    if run.finished < run.started:
        return "it finished before it started"
    for control in run.controls:
        if control.status is not Verdict.GOOD and not control.reason.en:
            return f"{control.standard} {control.id} is {control.status} without a reason"
    for result in run.results:
        if (result.status is Status.WAIVED) != (result.was is not None):
            return f"{result.rule}: `was` belongs to a waived result, and to no other"
    return None
