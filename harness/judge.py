"""Judge checks: from rules, a baseline, an environment and what the checks found to one result per rule.

Pure: nothing here talks to a host. pytest calls it through the plug-in; a fleet audit may call the same functions directly.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.model import Environment, Observation, Result, Rule, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["Outcome", "Scope", "by_rule", "call", "result", "results"]


@dataclass(frozen=True, slots=True)
class Scope:
    """What is judged, and where."""

    rules: Mapping[str, Rule]
    """Every rule of the baseline, also those that it leaves out: they get a result too."""
    excluded: Mapping[str, str]
    environment: Environment
    contained: bool = False
    """A host at work that is itself a container: what a container cannot show is not judged there either."""

    def not_applicable(self, rule: Rule) -> str | None:
        """Return the declared reason why a rule is not judged here; None when it is."""
        if rule.id in self.excluded:
            return self.excluded[rule.id]
        for environment in (self.environment, *([Environment.CONTAINER] if self.contained else [])):
            if environment not in rule.applies_to:
                return rule.elsewhere or f"not judged on a {environment}"
        return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check of a rule found."""

    rule: str
    status: Status
    reason: str = ""
    seen: tuple[Observation, ...] = ()
    commands: tuple[str, ...] = ()


def call(rule_id: str, check: Callable[[], object], *suites: Path) -> Outcome:
    """Run one check and classify how it ends; it never raises, except for what ends the whole process.

    `suites` are the folders of the suites: an assertion counts as a failure of the rule only when it stands in one. An
    assertion that fails inside a library means that the question could not be asked.
    """
    from harness.expecting import observations

    seen: list[Observation] = []
    token = observations.set(seen)
    try:
        check()
    except Exception as error:  # noqa: BLE001 - whatever a check raises is a status, by law 6
        return Outcome(rule_id, *classify(error, *suites), seen=tuple(seen))
    finally:
        observations.reset(token)
    return Outcome(rule_id, Status.PASS, seen=tuple(seen))


def classify(error: BaseException, *suites: Path) -> tuple[Status, str]:
    """Tell a failed rule from a question that could not be answered."""
    from harness.expecting import CannotTell, Unexpected

    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Unexpected):
        return Status.FAIL, ""
    if isinstance(error, CannotTell):
        return Status.ERROR, text
    if isinstance(error, AssertionError):
        frames = traceback.extract_tb(error.__traceback__)
        if frames and any(Path(frames[-1].filename).is_relative_to(folder) for folder in suites):
            return Status.FAIL, text.split(" assert ", 1)[0][:300]
    return Status.ERROR, f"{type(error).__name__}: {text}"[:500]


def results(scope: Scope, outcomes: Iterable[Outcome]) -> tuple[Result, ...]:
    """Unite the outcomes to one result per rule, in the rules' order; a rule that nothing judged is an error."""
    united = by_rule(outcomes)
    return tuple(result(scope, rule, united.get(rule.id, [])) for rule in scope.rules.values())


def by_rule(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """Sort outcomes by the rule that they are of."""
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.rule, []).append(outcome)
    return found


def result(scope: Scope, rule: Rule, outcomes: Sequence[Outcome]) -> Result:
    """Make the result of one rule."""
    reason = scope.not_applicable(rule)
    if reason is not None:
        return filled(rule, Status.NOT_APPLICABLE, reason=reason)
    if not outcomes:
        return filled(rule, Status.ERROR, reason="no test judged this rule")
    status = Status.worst([outcome.status for outcome in outcomes])
    decisive = [outcome for outcome in outcomes if outcome.status is status]
    shown = [seen for outcome in decisive for seen in outcome.seen if seen.ok is not (status is Status.FAIL)]
    return filled(
        rule,
        status,
        reason="; ".join(dict.fromkeys(outcome.reason for outcome in decisive if outcome.reason)),
        expected="; ".join(f"{seen.what}: {seen.expected}" for seen in shown),
        observed="; ".join(f"{seen.what}: {seen.observed}" for seen in shown),
        commands=tuple(dict.fromkeys(command for outcome in outcomes for command in outcome.commands)),
    )


def filled(  # noqa: PLR0913 - the parts of a result
    rule: Rule,
    status: Status,
    *,
    reason: str = "",
    expected: str = "",
    observed: str = "",
    commands: tuple[str, ...] = (),
) -> Result:
    """Return a result that carries what a reader needs of its rule."""
    return Result(
        rule=rule.id,
        status=status,
        severity=rule.severity,
        expected=expected,
        observed=observed,
        reason=reason,
        controls=tuple(map(str, rule.controls)),
        subject=rule.subject,
        title=rule.title,
        fix=rule.fix,
        commands=commands,
    )
