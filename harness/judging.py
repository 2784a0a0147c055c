"""One pass of the suites over an open target: ask what they want to know in one round trip, judge, keep what was answered.

The suites that come with harness hold plain functions, which are called here directly: that saves pytest's cost for each of them, and lets
the checks that log in be tried all over one connection. A user's suites may use all that pytest has, so pytest runs them.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Self

from harness import audit, suites
from harness.errors import ContentError, TargetError
from harness.judge import call, results
from harness.login import Login
from harness.suite import Parameters
from harness.targets import sshlink
from harness.targets.lanes import lanes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from harness.catalog import Baseline, Catalog
    from harness.evidence import Evidence
    from harness.judge import Outcome, Scope
    from harness.model import Result, Rule
    from harness.suite import Host
    from harness.suites import Check
    from harness.targets.base import Target

MOST_ROUNDS = 2
"""What an answer leads to leads once more to something new, and no further."""


@dataclass(frozen=True)
class Task:
    """What is judged, whatever the target."""

    content: Catalog
    baseline: Baseline
    overrides: Mapping[str, str]
    """Parameters that the configuration sets."""
    chosen: tuple[str, ...] = ()
    """Judge only these rules; none means all."""
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @cached_property
    def plan(self) -> audit.Plan:
        """Return the same as an audit's plan, so that what is asked and judged is decided in one place; the suites are loaded once."""
        return audit.Plan(self.content, self.baseline.name, self.overrides, self.chosen)

    @property
    def rules(self) -> Mapping[str, Rule]:
        """Return the rules that get a result."""
        return self.plan.judged_rules

    @property
    def values(self) -> dict[str, str]:
        """Return the value of every parameter."""
        return dict(self.content.values(self.baseline, self.overrides))


def judged(task: Task, target: Target, host: Host, kept: Evidence, *, capture: str = "capture") -> tuple[Result, ...]:
    """Judge a target through a `host` on it, and keep what it was asked under the name `capture`, also when it is lost on the way.

    A second pass over the same target takes the same `host`, which forgets its answers before. Raises ContentError when a suite cannot be
    loaded, TargetError when the target is lost on the way, KeyboardInterrupt on Ctrl-C.
    """
    scope = task.plan.scope(task.baseline, target.environment)
    try:
        checks = asked(task, scope, host)
        outcomes = [*ours(task, target, host, checks), *users(task, target, host, scope)]
    finally:
        kept.capture(audit.recorded(target, host.backend, task.started), capture)
    return results(scope, outcomes)


def asked(task: Task, scope: Scope, host: Host) -> Sequence[Check]:
    """Ask in one round trip what our checks want to know, as far as it is known; return those that apply, loaded meanwhile."""
    rules = {rule for rule in scope.rules if scope.not_applicable(scope.rules[rule]) is None}

    def loaded() -> Sequence[Check]:
        checks = [check for check in suites.load((suites.SUITES,), task.content.rules) if check.rule in rules]
        if any(check.others for check in checks):
            sshlink.transport_class()
        return checks

    questions: Sequence[str] = audit.FIRST
    with suppress(ContentError):  # of a suite that cannot be loaded, whoever is to run it says more
        questions = task.plan.first(scope.environment)
    with ThreadPoolExecutor(1) as beside:
        loading = beside.submit(loaded)
        host.backend.prepare(questions)
        checks = loading.result()
    if lanes_of(host.backend.target) > 1:
        further(task, scope, host)
    return checks


def further(task: Task, scope: Scope, host: Host) -> None:
    """Ask together what the answers lead to, where a question by itself costs much: an emulated processor starts its programs slowly."""
    try:
        checks = dict(enumerate(task.plan.checks))
    except ContentError:  # as above
        return
    memory = task.plan.memory(task.baseline, scope.environment, "", "")
    for _ in range(MOST_ROUNDS):
        replay, _ = memory.judged(host.backend.known, checks, note=True)
        if not replay.missing:
            return
        host.backend.prepare(list(replay.missing))


def ours(task: Task, target: Target, host: Host, checks: Sequence[Check]) -> list[Outcome]:
    """Call the checks of our own suites and return what they found, in their order.

    What does more than read comes last, when nothing is looked at any more that it might change.
    """
    caller = Caller(host, Parameters(task.values))
    numbered = list(enumerate(checks))
    before = len(host.backend.asked)
    found = {number: caller(check) for number, check in numbered if check.verify_only is None}
    task.plan.learn(task.baseline, target.environment, host.backend.asked[before:])
    probes = [(number, check) for number, check in numbered if check.verify_only is not None]
    inside = [(number, check) for number, check in probes if not check.others]
    outside = [(number, check) for number, check in probes if check.others]
    with Outside(caller.beside(), Login(target), outside) as lane:
        found |= at_once(caller, inside, lanes_of(target))
        found |= lane.outcomes()
    return [found[number] for number in sorted(found)]


def at_once(caller: Caller, checks: Sequence[tuple[int, Check]], lanes: int) -> Mapping[int, Outcome]:
    """Call numbered checks, beside each other where the target runs several commands at a time.

    The last one first, since an account that locks itself is waited for the longest. Two that ask the same wait for one answer, so that
    there is a thread for each: the target's lanes say how many run.
    """
    if lanes == 1 or not checks:
        return {number: caller(check) for number, check in checks}
    with ThreadPoolExecutor(len(checks)) as pool:
        last_first = list(reversed(checks))
        return dict(zip([number for number, _ in last_first], pool.map(lambda one: caller.beside()(one[1]), last_first), strict=True))


class Outside:
    """Calls the checks that log in, in a thread of its own: they wait for sshd and PAM, and others can be called meanwhile."""

    def __init__(self, caller: Caller, login: AbstractContextManager[Login], checks: Sequence[tuple[int, Check]]) -> None:
        """Take numbered checks, and a way in that is closed after the last of them."""
        self._caller, self._login, self._checks = caller, login, checks
        self._pool = ThreadPoolExecutor(1)
        self._first, self._over = threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        """Begin, and return after the first check: with sshd's answer there is a connection, and a reload of sshd cannot disturb it."""
        self._done = self._pool.submit(self._call)
        try:
            self._first.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        """Wait for the check that is being called, and call no other."""
        self._over.set()
        self._pool.shutdown()

    def outcomes(self) -> Mapping[int, Outcome]:
        """Wait for all and return what they found. Raises TargetError when the target was lost."""
        return self._done.result()

    def _call(self) -> dict[int, Outcome]:
        found: dict[int, Outcome] = {}
        try:
            with self._login as login:
                for number, check in self._checks:
                    if self._over.is_set():
                        break
                    found[number] = self._caller(check, login=login)
                    self._first.set()
        finally:
            self._first.set()
        return found


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls checks on one target."""

    host: Host
    parameters: Parameters

    def beside(self) -> Caller:
        """Return another for another thread."""
        from testinfra.host import Host

        from harness.testinfra_backend import Beside

        return Caller(Host(Beside(self.host.backend)), self.parameters)

    def __call__(self, check: Check, **others: object) -> Outcome:
        """Call one check and return what it found, with the commands that it asked.

        A lost target ends the pass by its TargetError, since every further answer would be a time-out.
        """
        asked, lost = self.host.backend.asked, []

        def calling() -> None:
            try:
                check(self.host, self.parameters, **others)
            except TargetError as error:
                lost.append(error)
                raise

        before = len(asked)
        outcome = call(check.rule, calling, check.folder)
        if lost:
            raise lost[0]
        return replace(outcome, commands=tuple(dict.fromkeys(asked[before:])))


def users(task: Task, target: Target, host: Host, scope: Scope) -> list[Outcome]:
    """Let pytest run the suites of the user, if there are any."""
    if not task.content.suites:
        return []
    from harness import pytest_plugin

    judging = pytest_plugin.judge(target, host, scope, task.values, task.content.suites, known=task.content.rules)
    return judging.outcomes
