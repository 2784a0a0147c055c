"""Judges rules on a machine as `harness verify` does, but only those that are asked for, and again and again."""

from __future__ import annotations

import inspect
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from harness import suites
from harness.judge import Outcome, Scope, call, results
from harness.login import Login
from harness.model import Status
from harness.suite import CannotTell, Parameters, Unexpected
from harness.testinfra_backend import host_for

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from harness.model import Result
    from harness.suites import Check
    from harness.targets.base import Target


class Remembering:
    """A way in that is refused once is not tried again in the same pass: each try may take its whole time."""

    def __init__(self, login: Login) -> None:
        """Take a way in that nobody has tried yet."""
        self.login = login
        self.refused: dict[str, Exception] = {}

    def __call__(self, user: str, command: str) -> tuple[int, str, str]:
        """Log in and run a command, or say again why that is not possible."""
        if user in self.refused:
            raise self.refused[user]
        try:
            return self.login(user, command)
        except (CannotTell, Unexpected) as error:
            self.refused[user] = error
            raise

    def __getattr__(self, name: str) -> object:
        """Give whatever else a way in can do."""
        return getattr(self.login, name)


class Judge:
    """Judges one machine."""

    def __init__(self, target: Target, scope: Scope, values: Mapping[str, str], checks: Sequence[Check]) -> None:
        """Take an open target, every rule with what it leaves out, the parameters, and the checks."""
        self.target = target
        self.scope = scope
        self.applicable = [rule.id for rule in scope.rules.values() if scope.not_applicable(rule) is None]
        self._host = host_for(target)
        self._parameters = Parameters(values)
        # A log-in leaves a key in a home for its time, which other checks would find.
        self._checks = sorted(
            ((check, "login" in inspect.signature(check.function).parameters) for check in checks), key=lambda each: each[1]
        )
        self._questions: dict[str, dict[str, None]] = {}
        """What the checks of a rule have asked so far: it is asked in one round trip the next time."""

    def judge(self, rules: Collection[str] = ()) -> dict[str, Result]:
        """Ask anew and return the result of each rule, by default of all that can be judged here."""
        chosen = set(rules or self.applicable)
        backend = self._host.backend
        backend.forget()
        backend.prepare(list(dict.fromkeys(text for rule in chosen for text in self._questions.get(rule, ()))))
        outcomes: list[Outcome] = []
        with ExitStack() as stack:
            login: Remembering | None = None
            for check, logs_in in self._checks:
                if check.rule not in chosen:
                    continue
                if logs_in and login is None:
                    login = Remembering(stack.enter_context(Login(self.target)))
                backend.asked.clear()
                judged = partial(self._call, check, login if logs_in else None)
                outcomes.append(call(check.rule, judged, suites.SUITES))
                self._questions.setdefault(check.rule, {}).update(dict.fromkeys(backend.asked))
        scope = Scope({rule: self.scope.rules[rule] for rule in chosen}, self.scope.excluded, self.scope.environment)
        return {result.rule: result for result in results(scope, outcomes)}

    def _call(self, check: Check, login: Remembering | None) -> object:
        """Call a check with what it asks for."""
        given: dict[str, Any] = {"host": self._host, "parameters": self._parameters}
        arguments = {name: given[name] for name in check.given}
        if login is not None:
            arguments["login"] = login
        return check.function(**arguments, **check.arguments)

    def reported(self) -> dict[str, Result]:
        """Return what does not pass, of all rules."""
        return {rule: result for rule, result in self.judge().items() if result.status is not Status.PASS}
