"""An audit: the suites' questions asked on a host that is at work, in as few round trips as can be, and judged as a run.

    plan = Plan.of(catalog.load(), baseline="al2")
    capture = captured(target, plan)      # live; read-only
    run = evaluated(capture, plan)        # pure; now or next year
    capture, run = audited(target, plan)  # both; judges only once

Whoever does not have a `Target`, such as a fan-out over SSM, drives a Dialogue himself: it says what to run and takes what came back.
Nothing here prints.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.pytest_plugin import SUITES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.batch import Batch
    from harness.capture import Capture
    from harness.catalog import Catalog
    from harness.model import Run
    from harness.targets.base import Completed, Target


@dataclass(frozen=True, slots=True)
class Plan:
    """What is judged, the same for every host of an audit. Make one per process: the suites are loaded once."""

    content: Catalog
    baseline: str | None = None
    """None: each host's os-release decides."""
    overrides: Mapping[str, str] = field(default_factory=dict)
    """Parameters that the configuration sets."""
    rules: tuple[str, ...] = ()
    """Judge only these; none means all."""
    suites: tuple[Path, ...] = (SUITES,)


class Dialogue:
    """The capture of one host in the making, without any input or output: what to run next, and what came of it.

    `while (batch := dialogue.batch()) is not None: dialogue.take(target.run(batch.text, timeout=batch.seconds))`
    The first batch is the same object content for every host of a plan but for its random marks.
    """

    def __init__(self, plan: Plan, target: Mapping[str, str]) -> None:
        """Begin; `target` holds `uri`, `name`, `environment` and whatever else is known of it."""
        raise NotImplementedError

    def batch(self) -> Batch | None:
        """Return what to run next; None when every question is answered."""
        raise NotImplementedError

    def take(self, completed: Completed) -> None:
        """Take what the batch printed. Raises TargetError when it is not the output of that batch."""
        raise NotImplementedError

    def capture(self) -> Capture:
        """Return the capture, after the last batch."""
        raise NotImplementedError

    def run(self) -> Run:
        """Return the verdict, after the last batch. Raises UsageError for a system without a baseline."""
        raise NotImplementedError


def captured(target: Target, plan: Plan) -> Capture:
    """Ask an open target everything that the plan's checks want to know. Raises TargetError when it is lost on the way."""
    raise NotImplementedError


def evaluated(capture: Capture, plan: Plan) -> Run:
    """Judge a capture, without any host. What the capture does not answer is an `error` of the rules that ask for it.

    Raises UsageError when there is no baseline for the system, or the named one is for another.
    """
    raise NotImplementedError


def audited(target: Target, plan: Plan) -> tuple[Capture, Run]:
    """Capture and judge. Same errors as the two."""
    raise NotImplementedError
