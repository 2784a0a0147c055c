"""One pass of the suites over an open target: ask what they want to know in one round trip, judge, keep what was answered."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness import audit, pytest_plugin, suites
from harness.errors import ContentError
from harness.judge import Scope, results

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.catalog import Baseline, Catalog
    from harness.evidence import Evidence
    from harness.model import Result, Rule
    from harness.suite import Host
    from harness.targets.base import Target


@dataclass(frozen=True, slots=True)
class Task:
    """What is judged, whatever the target."""

    content: Catalog
    baseline: Baseline
    overrides: Mapping[str, str]
    """Parameters that the configuration sets."""
    chosen: tuple[str, ...] = ()
    """Judge only these rules; none means all."""
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def rules(self) -> dict[str, Rule]:
        """Return the rules that get a result."""
        return {rule: self.content.rules[rule] for rule in self.chosen} or dict(self.content.rules)

    @property
    def values(self) -> dict[str, str]:
        """Return the value of every parameter."""
        return dict(self.content.values(self.baseline, self.overrides))


def judged(task: Task, target: Target, host: Host, kept: Evidence, *, capture: str = "capture") -> tuple[Result, ...]:
    """Judge a target through a `host` on it, and keep what it was asked under the name `capture`, also when it is lost on the way.

    A second pass over the same target takes the same `host`, which forgets its answers before. Raises what `pytest_plugin.judge` does.
    """
    scope = Scope(rules=task.rules, excluded=task.baseline.excluded, environment=target.environment)
    plan = audit.Plan(task.content, task.baseline.name, task.overrides, task.chosen)
    host.backend.prepare(audit.FIRST)
    with suppress(ContentError):  # pytest says it better
        host.backend.prepare(plan.first(target.environment))
    try:
        folders = (suites.SUITES, *task.content.suites)
        judging = pytest_plugin.judge(target, host, scope, task.values, folders, known=task.content.rules)
    finally:
        kept.capture(audit.recorded(target, host.backend, task.started), capture)
    return results(scope, judging.outcomes)
