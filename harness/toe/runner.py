"""Runs component documents on a target, as AWSTOE does on the build instance."""

from __future__ import annotations

import posixpath
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from harness.errors import DocumentError, HarnessError
from harness.targets.base import CommandTimeout
from harness.toe.attempt import Attempt, Failure
from harness.toe.conditions import Branch, evaluate
from harness.toe.document import OnFailure
from harness.toe.expressions import ExpressionError
from harness.toe.logs import RunLog
from harness.toe.outcome import DocumentOutcome, PhaseOutcome, Status, StepOutcome, united
from harness.toe.reading import load
from harness.toe.scope import Scope, names
from harness.toe.semantics import Semantics
from harness.toe.session import ActionError, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from harness.targets.base import Target
    from harness.toe.document import Document, Phase, Step
    from harness.toe.expressions import Resolver
    from harness.toe.session import Storage

MAX_NESTING: Final = 3
"""How deep documents may call each other below the first one."""
CLEANING_SECONDS: Final = 60


@dataclass(slots=True)
class Runner:
    """Runs documents one after the other on one target."""

    target: Target
    log_folder: Path
    """Every document gets its own `TOE_…` folder in here."""
    say: Callable[[str], None]
    """Told, in one line each, what begins now."""
    on_line: Callable[[str, str], None] | None = None
    """Told every line that a command prints: stream and text."""
    resolver: Resolver | None = None
    storage: Storage | None = None
    semantics: Semantics = field(default_factory=Semantics)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    new_id: Callable[[], str] = lambda: str(uuid.uuid4())
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    outcome: DocumentOutcome | None = None
    """What is known of the last document, also when its run was cut short by an exception."""

    def run(self, document: Document, phases: Sequence[str] = (), parameters: Mapping[str, str] | None = None) -> DocumentOutcome:
        """Run the phases named (none named: all of them), in the order of the document.

        A failed document is an outcome. Raises UsageError for parameters that do not fit, and lets through what ends a run before its
        time, TargetError and KeyboardInterrupt, after the logs are written.
        """
        return _Run(self, document, phases, parameters or {}, ()).run()


class _Run:
    """One document on its way."""

    def __init__(
        self, runner: Runner, document: Document, phases: Sequence[str], parameters: Mapping[str, str], above: tuple[str, ...]
    ) -> None:
        self.runner, self.document, self.above = runner, document, above
        values, warnings = names(document, parameters, runner.semantics)
        self.phases, missing = _selection(document, phases)
        self.warnings = (*warnings, *missing)
        self.id = runner.new_id()
        self.log = RunLog(runner.log_folder, self.id, document, runner.now)
        self.scope = Scope(values, runner.resolver, self.log.hide)
        self.session = Session(
            target=runner.target,
            log=self.log,
            semantics=runner.semantics,
            folder=posixpath.join(runner.semantics.working_directory, f"TOE_{self.id}"),
            clock=runner.clock,
            sleep=runner.sleep,
            nested=self._nested,
            storage=runner.storage,
            on_line=runner.on_line,
        )
        self.started = runner.now()
        self.done: list[PhaseOutcome] = []

    def run(self) -> DocumentOutcome:
        self._record(Status.RUNNING)
        for warning in self.warnings:
            self.runner.say(warning)
            self.log.tell(warning, "Warn")
        self.log.tell(f"Document {self.document.name} from {self.document.path}")
        try:
            self._phases()
        except BaseException as error:
            # Nothing is swallowed: the logs are brought to an end, then the interruption goes its way.
            reason = str(error) or type(error).__name__
            self._end(Status.FAILED, f"the run was cut short: {reason}")
            raise
        status = united([phase.status for phase in self.done])
        return self._end(status, _because(self.done, self.document.name) if status is Status.FAILED else "")

    def _phases(self) -> None:
        for phase in self.phases:
            outcome = self._phase(phase)
            abort = any(
                step.status is Status.FAILED and self.document.step(phase.name, step.name).on_failure is OnFailure.ABORT
                for step in outcome.steps
            )
            if abort or (outcome.status is Status.FAILED and not self.runner.semantics.continue_to_later_phases):
                return

    def _phase(self, phase: Phase) -> PhaseOutcome:
        started, steps = self.runner.now(), list[StepOutcome]()
        self.log.tell(f"Phase {phase.name}")
        self.done.append(PhaseOutcome(phase.name, Status.RUNNING, started, started))
        for step in phase.steps:
            try:
                outcome = self._step(step)
            except _CutShort as cut:
                self._phase_so_far(phase, started, [*steps, cut.outcome], Status.FAILED)
                raise cut.reason from None
            steps.append(outcome)
            self._phase_so_far(phase, started, steps, Status.RUNNING)
            self._record(Status.RUNNING)
            if outcome.status is Status.FAILED and step.on_failure is OnFailure.ABORT:
                break
        return self._phase_so_far(phase, started, steps, united([step.status for step in steps]))

    def _phase_so_far(self, phase: Phase, started: datetime, steps: Sequence[StepOutcome], status: Status) -> PhaseOutcome:
        failed = next((step for step in steps if step.status is Status.FAILED), None)
        message = f"step {failed.name} failed: {failed.message}" if failed and status is Status.FAILED else ""
        self.done[-1] = PhaseOutcome(phase.name, status, started, self.runner.now(), message, tuple(steps))
        return self.done[-1]

    def _step(self, step: Step) -> StepOutcome:
        self.runner.say(f"{self.document.name}: {step.phase}: {step.name} ({step.action})")
        self.log.tell(f"Step {step.name} ({step.action})")
        session, attempt = self.session, Attempt(step, self.session, self.scope, self.log)
        session.quiet, session.printed = step.disable_logging, []
        started, status, message = self.runner.now(), Status.FAILED, ""
        try:
            branch = self._branch(step)
            if branch is Branch.SKIP:
                status = Status.SKIPPED
            elif branch is Branch.ABORT:
                message = "the condition of the step asked to abort"
            else:
                attempt.all()
                status = Status.SUCCESS
        except Failure as error:
            message = str(error)
        except BaseException as error:  # noqa: BLE001 - raised again by the phase, once the step is in the books
            raise _CutShort(self._outcome(attempt, started, Status.FAILED, str(error) or type(error).__name__), error) from None
        if status is Status.FAILED and step.on_failure is OnFailure.IGNORE:
            status = Status.IGNORED_FAILURE
        if message:
            self.log.tell(f"Step {step.name} failed: {message}", "Error")
        return self._outcome(attempt, started, status, message)

    def _branch(self, step: Step) -> Branch:
        """Evaluate the step's `if`, once, whatever happens to the step afterwards."""
        if step.condition is None:
            return Branch.EXECUTE
        self.session.deadline = None
        try:
            holds = evaluate(step.condition.condition, self.scope.text, self.session.ask)
        except (ExpressionError, ActionError, CommandTimeout) as error:
            raise Failure(f"the condition cannot be evaluated: {error}") from None
        branch = step.condition.then if holds else step.condition.otherwise
        self.log.tell(f"Condition of step {step.name} is {str(holds).lower()}: {branch}")
        return branch

    def _outcome(self, attempt: Attempt, started: datetime, status: Status, message: str) -> StepOutcome:
        step = attempt.step
        return StepOutcome(
            phase=step.phase,
            name=step.name,
            action=step.action,
            status=status,
            started=started,
            finished=self.runner.now(),
            attempts=attempt.number,
            reboots=attempt.reboots,
            exit_code=attempt.exit_code,
            message=self.log.masked(message),
            inputs=() if step.disable_logging else self.log.deep_masked(attempt.inputs),
            outputs=() if step.disable_logging else self.log.deep_masked(attempt.outputs),
            printed=tuple(self.session.printed),
        )

    def _record(self, status: Status, message: str = "") -> DocumentOutcome:
        outcome = DocumentOutcome(
            name=self.document.name,
            status=status,
            execution_id=self.id,
            started=self.started,
            finished=self.runner.now(),
            log_folder=self.log.folder,
            message=self.log.masked(message),
            phases=tuple(self.done),
            warnings=self.warnings,
        )
        silent = {f"{phase.name}.{step.name}" for phase in self.document.phases for step in phase.steps if step.disable_logging}
        self.log.record(outcome, {steps: values for steps, values in self.scope.chaining().items() if steps not in silent})
        if not self.above:
            self.runner.outcome = outcome
        return outcome

    def _end(self, status: Status, message: str) -> DocumentOutcome:
        try:
            outcome = self._record(status, message)
            self.log.tell(f"Document {self.document.name} ended: {status} {message}".rstrip())
            self._clean()
        finally:
            self.log.close()
        return outcome

    def _clean(self) -> None:
        """Remove our folder from the target; one that is dead or hangs has lost more than that."""
        self.session.deadline = None
        try:
            self.runner.target.run(f"rm -rf -- '{self.session.folder}'", timeout=CLEANING_SECONDS)
        except (HarnessError, CommandTimeout) as error:
            self.log.tell(f"{self.session.folder} could not be removed: {error}", "Warn")

    def _nested(self, source: str, phases: Sequence[str], parameters: Mapping[str, str]) -> tuple[bool, Mapping[str, str]]:
        """Run another document for ExecuteDocument. Raises ActionError when it cannot be had or must not be run."""
        above = (*self.above, str(self.document.path))
        if len(above) > MAX_NESTING:
            raise ActionError(f"documents call each other more than {MAX_NESTING} levels deep")
        if source in above:
            raise ActionError(f"documents call each other in a circle: {' → '.join((*above, source))}")
        try:
            document = load(self._fetch(source), name=source)
            outcome = _Run(self.runner, document, phases, parameters, above).run()
        except HarnessError as error:
            if isinstance(error, DocumentError) or error.exit_code == 2:  # noqa: PLR2004 - what the caller wrote; a dead target goes its way
                raise ActionError(str(error)) from None
            raise
        if not self.session.quiet:
            self.session.printed.extend(line for step in outcome.steps for line in step.printed)
        return outcome.status.ok, {key: str(value) for key, value in outcome.summary().items()}

    def _fetch(self, source: str) -> bytes:
        if source.startswith("s3://"):
            bucket, _, key = source.removeprefix("s3://").partition("/")
            if self.session.storage is None:
                raise ActionError("this run has no access to S3")
            try:
                return self.session.storage.get(bucket, key, owner=None)
            except OSError as error:
                raise ActionError(f"{source}: {error}") from None
        if source.startswith("arn:"):
            raise ActionError(f"{source} is a component of an account, which this run cannot fetch")
        return self.session.check('exec cat -- "$1"', source, echo=False).stdout


class _CutShort(Exception):  # noqa: N818 - carries an interruption past the bookkeeping of its phase
    def __init__(self, outcome: StepOutcome, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.outcome, self.reason = outcome, reason


def _selection(document: Document, names: Sequence[str]) -> tuple[tuple[Phase, ...], tuple[str, ...]]:
    """Choose phases in the order of the document; a name that is not there runs nothing, as for AWSTOE, but is told."""
    there = {phase.name for phase in document.phases}
    missing = tuple(f"{document.name} has no phase `{name}`" for name in names if name not in there)
    return tuple(phase for phase in document.phases if not names or phase.name in names), missing


def _because(phases: Sequence[PhaseOutcome], document: str) -> str:
    failed = next((phase for phase in phases if phase.status is Status.FAILED), None)
    return f"Document {document} failed in phase {failed.name}: {failed.message}" if failed else ""
