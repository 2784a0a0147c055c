"""The nouns of harness: controls, rules, baselines, results and runs, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime


class Severity(StrEnum):
    """How much a finding matters; KISA's 상, 중, 하."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Status(StrEnum):
    """Outcome of one rule on one target. Order of `worst` is the order in which they hide each other."""

    PASS = "pass"  # noqa: S105 - a status word, no password
    FAIL = "fail"
    ERROR = "error"
    NOT_APPLICABLE = "not_applicable"
    WAIVED = "waived"

    @classmethod
    def worst(cls, statuses: Sequence[Self]) -> Self:
        """Unite the outcomes of several tests of one rule: what is not known or bad wins."""
        order = (cls.ERROR, cls.FAIL, cls.WAIVED, cls.PASS, cls.NOT_APPLICABLE)
        return min(statuses, key=order.index)


SWITCHED_OFF = "switched off by the configuration: "
"""How the reason of a `not_applicable` begins whose rule a user has switched off."""


class Answer(StrEnum):
    """How a control is answered: by rules alone, by rules and a person, or not on an image at all."""

    AUTOMATED = "automated"
    PARTLY = "partly"
    NOT_APPLICABLE = "not_applicable"


class Verdict(StrEnum):
    """What a run says of a control, in the words of KISA's reports."""

    GOOD = "good"
    """양호."""
    VULNERABLE = "vulnerable"
    """취약; a waiver does not change that."""
    MANUAL = "manual"
    """수동점검: nothing bad was found, and a person decides what the rules cannot see."""
    ERROR = "error"
    """오류: a rule could not be judged, and none failed."""
    NOT_APPLICABLE = "not_applicable"
    """해당없음, always with its reason."""


class Environment(StrEnum):
    """What kind of target a rule is judged on: a container has no kernel of its own, an AMI build no traffic."""

    CONTAINER = "container"
    VM = "vm"
    AMI = "ami"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Control:
    """One requirement of a standard; the edition is part of its name, because standards renumber."""

    standard: str
    """`ISMS-P`, `KISA Unix` or `CIS Amazon Linux 2` …"""
    edition: str
    id: str

    def __str__(self) -> str:
        return f"{self.standard} {self.id} ({self.edition})"


@dataclass(frozen=True, slots=True)
class Title:
    """What a rule is called, in the two languages of the reports."""

    ko: str
    en: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One setting that is enforced and checked."""

    id: str
    """Words, never numbers: `ssh-root-login`. `site-…` belongs to users."""
    subject: str
    """The stem shared by rules/, scripts/ and verify/."""
    title: Title
    severity: Severity
    rationale: str
    fix: str
    """What to type or change by hand, for a host that was not built by us."""
    controls: tuple[Control, ...]
    applies_to: frozenset[Environment]
    elsewhere: str | None
    """Why the rule is not judged outside `applies_to`; given exactly if one environment is left out."""
    parameters: tuple[str, ...]
    """The baseline parameters whose values this rule enforces."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One comparison that a check made."""

    what: str
    expected: str
    observed: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of one rule on one target, with everything a reader needs to believe it."""

    rule: str
    status: Status
    severity: Severity
    expected: str = ""
    observed: str = ""
    reason: str = ""
    """Why it is `error`, `not_applicable` or `waived`, or which waiver of a `fail` has expired; empty otherwise."""
    controls: tuple[str, ...] = ()
    subject: str = ""
    title: Title = field(default=Title("", ""))
    fix: str = ""
    commands: tuple[str, ...] = ()
    """What was asked on the target to judge the rule."""
    was: Status | None = None
    """The true status of a `waived` result, `fail` or `error`; None for every other status."""
    where: tuple[str, ...] = ()
    """Where it was judged, in a run on more than one target: `container`, `vm`, `vm restarted`. Empty in any other run."""


@dataclass(frozen=True, slots=True)
class ControlResult:
    """What a run says of one control of one edition."""

    standard: str
    edition: str
    id: str
    title: Title
    severity: Severity | None
    """As the standard has it; None where it has none."""
    answer: Answer
    status: Verdict
    rules: tuple[str, ...]
    """Those that give evidence for it, each with a result in the run unless it judged some rules only."""
    reason: Title = field(default=Title("", ""))
    """Why it is `not_applicable`, what a person must ask where it is `manual`, which rules decided where it is neither good nor that."""


@dataclass(frozen=True, slots=True)
class Waiver:
    """A dated, owned, reasoned acceptance of one rule that does not pass."""

    rule: str
    target: str
    """Shell pattern for the names of a target: source, baseline, URI or host."""
    reason: str
    category: str
    owner: str
    """Who answers for the risk."""
    approver: str
    ticket: str
    expires: date
    """The last day on which it holds, to the end of that day in `timezone`."""
    timezone: str
    """IANA name."""


@dataclass(frozen=True, slots=True)
class DocumentRun:
    """One component document as it ran on the target."""

    name: str
    sha256: str
    status: str
    changes: int
    """Settings that the first run changed."""
    changes_again: int | None
    """Settings that a second run changed: 0 in a good document; None where there was no second run."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """The values that it was given; what it declares beside them had its default."""


@dataclass(frozen=True, slots=True)
class Run:
    """One verification or audit of one target."""

    id: str
    started: datetime
    finished: datetime
    harness_version: str
    target: Mapping[str, str]
    base: Mapping[str, str]
    baseline: str
    parameters: Mapping[str, str]
    documents: tuple[DocumentRun, ...]
    results: tuple[Result, ...]
    waivers: tuple[Waiver, ...] = ()
    """Those that name this target and a rule that was judged, expired ones included."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of what judged: `baseline` (its file) and `suites` (names and contents)."""
    controls: tuple[ControlResult, ...] = ()
    """Every control of the editions that count, in their order."""

    def counts(self) -> dict[str, int]:
        """Count the results per status, every status named."""
        return {status.value: sum(result.status is status for result in self.results) for status in Status}

    def clean(self) -> bool:
        """Tell whether nothing is left to do: no fail, no error, and no document changed something twice."""
        bad = any(result.status in {Status.FAIL, Status.ERROR} for result in self.results)
        return not bad and not any(document.changes_again for document in self.documents)
