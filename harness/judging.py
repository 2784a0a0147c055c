"""One pass of the suites over an open target: ask what they want to know in one round trip, judge, keep what was answered."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from harness import audit, pytest_plugin
from harness.errors import ContentError
from harness.judge import results

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.catalog import Baseline, Catalog
    from harness.evidence import Evidence
    from harness.model import Result, Rule
    from harness.suite import Host
    from harness.targets.base import Target


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

    A second pass over the same target takes the same `host`, which forgets its answers before. Raises what `pytest_plugin.judge` does.
    """
    plan = task.plan
    scope = plan.scope(task.baseline, target.environment)
    host.backend.prepare(audit.FIRST)
    with suppress(ContentError):  # pytest says it better
        host.backend.prepare(plan.first(target.environment))
    try:
        judging = pytest_plugin.judge(target, host, scope, task.values, plan.folders, known=task.content.rules)
    finally:
        kept.capture(audit.recorded(target, host.backend, task.started), capture)
    return results(scope, judging.outcomes)
