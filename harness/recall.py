"""Checks called on answers, and their outcomes remembered: what has the same answers as before has the same outcome.

A check is a function of what it is told. So the hosts of a fleet, which tell much the same, are judged by calling a check once for
each different answer, and not once for each host.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

from harness.judge import Outcome, by_rule, call, result
from harness.model import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.capture import Answer
    from harness.judge import Scope
    from harness.model import Result
    from harness.suite import Parameters
    from harness.suites import Check
    from harness.testinfra_backend import Replay

MOST = 64
"""Different answers to one check whose outcomes are kept; beyond that each host answers as no other, and nothing is gained."""
HIDING = re.compile(r"\*|\bfind\b|2>/dev/null|\[ -[a-z] (?!/etc/[^/ ]+ \])")
"""Questions to which somebody who is not root may get less than the whole answer, and not notice: what lies in a closed folder."""

Told = tuple[bytes, ...]
"""A digest for each answer that a check was given."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Judges hosts that differ in nothing but their answers: of one baseline, environment and user."""

    scope: Scope
    parameters: Parameters
    user: str
    """Name and number of who asked; empty where it is not known."""
    _outcomes: dict[int, dict[tuple[str, ...], dict[Told, Outcome]]] = field(default_factory=dict)
    """Place of a check, questions that it asked, answers, outcome."""
    _results: dict[str, tuple[Sequence[Outcome], Result]] = field(default_factory=dict)

    def judged(self, known: Mapping[str, Answer], checks: Mapping[int, Check], *, note: bool) -> tuple[Replay, list[Outcome | None]]:
        """Call checks on answers, or tell what the same answers led to.

        With `note`, the outcome of a check that lacks an answer is None, and the back end knows what is missing. `checks` have their
        place among all checks of the plan.
        """
        from testinfra.host import Host

        from harness.testinfra_backend import Replay

        applies = {rule: self.scope.not_applicable(self.scope.rules[rule]) is None for rule in self.scope.rules}
        replay = Replay("capture", known, note=note)
        host, told = Host(replay), Digests(known)
        outcomes: list[Outcome | None] = []
        for place, check in checks.items():
            outcome = self._remembered(place, told)
            if outcome is None:
                replay.lacked, before = False, len(replay.asked)
                outcome = self._called(check, host, applies=applies.get(check.rule, False))
                commands = tuple(dict.fromkeys(replay.asked[before:]))
                outcome = None if replay.lacked else seen_whole(replace(outcome, commands=commands), self.user)
                if outcome is not None:
                    self._keep(place, commands, told, outcome)
            outcomes.append(outcome)
        return replay, outcomes

    def _called(self, check: Check, host: object, *, applies: bool) -> Outcome:
        if not applies:
            return Outcome(check.rule, Status.NOT_APPLICABLE)
        if check.verify_only is not None:
            return Outcome(check.rule, Status.NOT_APPLICABLE, f"no part of an audit: {check.verify_only}")
        return call(check.rule, partial(check, host, self.parameters), check.folder)

    def _remembered(self, place: int, told: Digests) -> Outcome | None:
        # A check that asked these questions and was told this goes the same way again.
        for commands, outcomes in self._outcomes.get(place, {}).items():
            digests = told.of(commands)
            if digests is not None and (outcome := outcomes.get(digests)) is not None:
                return outcome
        return None

    def _keep(self, place: int, commands: tuple[str, ...], told: Digests, outcome: Outcome) -> None:
        digests = told.of(commands)
        if digests is None:
            return
        ways = self._outcomes.setdefault(place, {})
        outcomes = ways.setdefault(commands, {})
        if len(ways) > MOST or len(outcomes) >= MOST:
            ways.clear()
            outcomes = ways.setdefault(commands, {})
        outcomes[digests] = outcome

    def results(self, outcomes: Iterable[Outcome]) -> tuple[Result, ...]:
        """Unite the outcomes as `judge.results` does; the same outcomes give the very same result."""
        united = by_rule(outcomes)
        return tuple(self._result(rule, united.get(rule, [])) for rule in self.scope.rules)

    def _result(self, rule: str, outcomes: Sequence[Outcome]) -> Result:
        before = self._results.get(rule)
        if before is not None and len(before[0]) == len(outcomes) and all(map(same, before[0], outcomes)):
            return before[1]
        found = result(self.scope, self.scope.rules[rule], outcomes)
        self._results[rule] = (outcomes, found)
        return found


def same(one: object, other: object) -> bool:
    """Tell whether two are one thing."""
    return one is other


class Digests:
    """The answers of one host, each as a digest that is made when it is first wanted."""

    def __init__(self, known: Mapping[str, Answer]) -> None:
        """Take the answers."""
        self._known = known
        self._made: dict[str, bytes | None] = {}

    def of(self, commands: Sequence[str]) -> Told | None:
        """Return the digests of the answers to questions; None where one is missing, or was cut off by a limit."""
        found = [self._of(command) for command in commands]
        return None if None in found else tuple(filter(None, found))

    def _of(self, command: str) -> bytes | None:
        if command not in self._made:
            answer = self._known.get(command)
            self._made[command] = None if answer is None or answer.timed_out else digest(answer)
        return self._made[command]


def digest(answer: Answer) -> bytes:
    """Return what an answer is told apart by; not when it was given, or how long it took."""
    made = blake2b(f"{answer.exit_code} {len(answer.stdout)} ".encode(), digest_size=16)
    made.update(answer.stdout)
    made.update(answer.stderr)
    return made.digest()


def seen_whole(outcome: Outcome, user: str) -> Outcome:
    """Take back a pass that rests on what only root sees whole; a finding stays one."""
    if outcome.status is not Status.PASS or not user or user.endswith(" 0") or not any(map(HIDING.search, outcome.commands)):
        return outcome
    reason = f"asked as {user.split(maxsplit=1)[0]}, who may not see all of it; become root, see --sudo"
    return replace(outcome, status=Status.ERROR, reason=reason)
