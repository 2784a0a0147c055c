"""What came of a document, its phases and its steps, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from harness.toe.tree import Plain


class Status(StrEnum):
    """How far a step, phase or document came; the spelling is the one of detailedoutput.json."""

    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    IGNORED_FAILURE = "ignoredFailure"
    SUCCESS_WITH_IGNORED_FAILURE = "successWithIgnoredFailure"
    SKIPPED = "skipped"

    @property
    def ok(self) -> bool:
        """Whether the service would go on building the image."""
        return self not in {Status.FAILED, Status.RUNNING}


def united(statuses: Sequence[Status]) -> Status:
    """Return the status of a whole from those of its parts; nothing at all is a success, as for AWSTOE."""
    if Status.FAILED in statuses:
        return Status.FAILED
    if {Status.IGNORED_FAILURE, Status.SUCCESS_WITH_IGNORED_FAILURE} & set(statuses):
        return Status.SUCCESS_WITH_IGNORED_FAILURE
    return Status.SUCCESS


@dataclass(frozen=True, slots=True)
class Line:
    """One line that a step printed."""

    stream: str
    """`stdout` or `stderr`."""
    text: str


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """One step as it ran."""

    phase: str
    name: str
    action: str
    status: Status
    started: datetime
    finished: datetime
    attempts: int = 0
    """How often it was tried; 0 when it was skipped."""
    reboots: int = 0
    exit_code: int | None = None
    """Of the last command that ended badly, or of ExecuteBash and ExecuteBinary."""
    message: str = ""
    """Why it failed; empty otherwise."""
    inputs: tuple[Mapping[str, Plain], ...] = ()
    """As resolved for the last attempt, secrets masked; empty under `disableLogging`."""
    outputs: tuple[Mapping[str, str], ...] = ()
    """What later steps can refer to, secrets masked; empty under `disableLogging`."""
    printed: tuple[Line, ...] = ()
    """Everything that its commands printed, all attempts together; empty under `disableLogging`."""

    @property
    def seconds(self) -> float:
        """How long it took, reboots included."""
        return (self.finished - self.started).total_seconds()

    @property
    def stdout(self) -> str:
        """Everything printed to standard output."""
        return "".join(f"{line.text}\n" for line in self.printed if line.stream == "stdout")

    def tail(self, lines: int = 20) -> tuple[str, ...]:
        """Return the last lines of both streams."""
        return tuple(line.text for line in self.printed[-lines:])


@dataclass(frozen=True, slots=True)
class PhaseOutcome:
    """One phase as it ran."""

    name: str
    status: Status
    started: datetime
    finished: datetime
    message: str = ""
    steps: tuple[StepOutcome, ...] = ()


@dataclass(frozen=True, slots=True)
class DocumentOutcome:
    """One document as it ran."""

    name: str
    status: Status
    execution_id: str
    started: datetime
    finished: datetime
    log_folder: Path
    message: str = ""
    phases: tuple[PhaseOutcome, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    @property
    def steps(self) -> tuple[StepOutcome, ...]:
        """Every step that was reached, in order."""
        return tuple(step for phase in self.phases for step in phase.steps)

    @property
    def executed(self) -> int:
        """How many steps ran; skipped ones did not."""
        return sum(step.status is not Status.SKIPPED for step in self.steps)

    @property
    def failed(self) -> int:
        """How many steps failed and count."""
        return sum(step.status is Status.FAILED for step in self.steps)

    @property
    def ignored(self) -> int:
        """How many failures were ignored."""
        return sum(step.status is Status.IGNORED_FAILURE for step in self.steps)

    @property
    def failed_step(self) -> StepOutcome | None:
        """The first step that failed and counts."""
        return next((step for step in self.steps if step.status is Status.FAILED), None)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.finished - self.started).total_seconds()

    def lines(self, start: str = "") -> Iterator[str]:
        """Go through what all steps printed to standard output, or the lines of it that begin with `start`: `changed `."""
        for step in self.steps:
            yield from (line.text for line in step.printed if line.stream == "stdout" and line.text.startswith(start))

    def summary(self) -> dict[str, str | int]:
        """Return what `awstoe run` prints when it ends."""
        return {
            "executionId": self.execution_id,
            "status": self.status.value,
            "failedStepCount": self.failed,
            "executedStepCount": self.executed,
            "ignoredFailedStepCount": self.ignored,
            "failureMessage": self.message,
            "logUrl": str(self.log_folder),
        }
