"""The attempts of one step: its time, its loop, its reboots, and what it leaves for later steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.targets.base import CommandTimeout
from harness.toe import loops
from harness.toe.actions import ACTIONS
from harness.toe.actions.base import Done, InputError, Resume
from harness.toe.conditions import evaluate
from harness.toe.document import NO_TIMEOUT
from harness.toe.expressions import ExpressionError
from harness.toe.scope import Iteration
from harness.toe.session import ActionError, TimeUp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.toe.document import Step
    from harness.toe.logs import RunLog
    from harness.toe.scope import Scope
    from harness.toe.session import Session
    from harness.toe.tree import Plain


class Failure(Exception):  # noqa: N818 - the outcome of a step, no error of ours
    """A step did not succeed in any of its attempts."""


class Attempt:
    """Runs one step until it succeeds or its attempts are used up."""

    def __init__(self, step: Step, session: Session, scope: Scope, log: RunLog) -> None:
        """Start with nothing tried."""
        self.step, self.session, self.scope, self.log = step, session, scope, log
        self.number = 0
        self.reboots = 0
        self.exit_code: int | None = None
        self.inputs: tuple[Mapping[str, Plain], ...] = ()
        self.outputs: tuple[Mapping[str, str], ...] = ()

    def all(self) -> None:
        """Try up to `maxAttempts` times. Raises Failure with the last reason; an interruption of the run goes through."""
        steps = f"{self.step.phase}.{self.step.name}"
        while True:
            self.number += 1
            self._start_clock()
            try:
                self.outputs = self._once()
            except (ActionError, ExpressionError, InputError) as error:
                message = str(error)
                self.exit_code = error.exit_code if isinstance(error, ActionError) else None
            except (CommandTimeout, TimeUp):
                message, self.exit_code = f"timed out after {self.step.timeout_seconds} s", None
            else:
                self.scope.taken[steps], self.scope.left[steps] = self.inputs, self.outputs
                return
            finally:
                self.scope.iteration = None
            self.scope.taken[steps] = self.inputs
            if self.number >= self.step.max_attempts:
                raise Failure(message + (f" (in each of {self.number} attempts)" if self.number > 1 else ""))
            self.log.tell(f"Attempt {self.number} of {self.step.max_attempts} failed: {message}", "Warn")
            self.session.sleep(self.session.semantics.retry_delay_seconds)

    def _start_clock(self) -> None:
        seconds = self.step.timeout_seconds
        self.session.deadline = None if seconds == NO_TIMEOUT else self.session.clock() + seconds

    def _once(self) -> tuple[Mapping[str, str], ...]:
        if self.step.loop is None:
            return self._action()
        collected: list[tuple[Mapping[str, str], ...]] = []
        for index, value in enumerate(loops.values(self.step.loop, self.scope.text)):
            self.scope.iteration = Iteration(self.step.loop, index, value)
            try:
                collected.append(self._action())
            except ActionError as error:
                raise ActionError(f"iteration {index} ({value}) failed: {error}", error.exit_code) from None
        return merged(collected)

    def _action(self) -> tuple[Mapping[str, str], ...]:
        if self.step.assertion is not None:
            if not evaluate(self.step.assertion, self.scope.text, self.session.ask):
                raise ActionError("the assertion does not hold")
            return ()
        model = ACTIONS[self.step.action]
        self.inputs = tuple({key: self.scope.all(value) for key, value in element.items()} for element in self.step.inputs)
        elements = [model.build(element) for element in self.inputs]
        while True:
            done = model.run_all(elements, self.session)
            self.exit_code = done.exit_code
            if done.reboot is None:
                return done.outputs
            self._reboot(done)
            if done.reboot is Resume.NEXT_STEP:
                return done.outputs

    def _reboot(self, done: Done) -> None:
        if done.reboot is Resume.SAME_STEP and self.reboots >= self.session.semantics.max_reboots:
            raise ActionError(f"asked for a reboot more than {self.session.semantics.max_reboots} times", done.exit_code)
        self.reboots += 1
        self.log.tell(f"Reboot {self.reboots} of step {self.step.name}")
        self.session.target.restart()
        self._start_clock()


def merged(iterations: Sequence[tuple[Mapping[str, str], ...]]) -> tuple[Mapping[str, str], ...]:
    """Unite the outputs of iterations: per element and key, one line after the other."""
    if not iterations:
        return ()
    return tuple(
        {key: "\n".join(outputs[position][key] for outputs in iterations if position < len(outputs)) for key in element}
        for position, element in enumerate(iterations[0])
    )
