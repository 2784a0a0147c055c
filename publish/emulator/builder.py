"""Who runs the components of an image: what the state machine asks of a builder, and a builder for tests of everything else."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness.toe import Document, DocumentOutcome, PhaseOutcome, Runner, Status, StepOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from harness.targets.base import Target


class CancelledError(Exception):
    """The image was cancelled while its components ran."""


@dataclass(frozen=True, slots=True)
class OrderedComponent:
    """One component of the recipe, resolved to a build, with the values that the recipe gives it."""

    arn: str
    name: str
    version: str
    document: Document
    parameters: Mapping[str, str]

    @property
    def managed(self) -> bool:
        """Whether it is one of Amazon's."""
        return ":aws:component/" in self.arn


@dataclass(frozen=True, slots=True)
class Order:
    """An image that is to be built."""

    arn: str
    """Of the image's build version; unique, so a builder can name its things after it."""
    name: str
    version: str
    """`1.0.0/1`."""
    region: str
    parent_image: str
    platform: str
    working_directory: str
    components: tuple[OrderedComponent, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a builder tells what happens; it becomes the log of the image."""

    tell: Callable[[str], None]
    """Takes one line about what begins now. Raises CancelledError when the image was cancelled."""
    line: Callable[[str, str], None]
    """Takes a stream's name and a line that a command printed; may be called by any thread."""


class Instance(Protocol):
    """A running machine made from an image."""

    def run(self, component: OrderedComponent, phases: Sequence[str], progress: Progress) -> DocumentOutcome:
        """Run the phases of a component. A failed document is an outcome. Raises HarnessError when the machine is lost."""
        ...


class Builder(Protocol):
    """Gives instances, and keeps what was built. Each order is built by one thread; several orders may be on their way."""

    def build_instance(self, order: Order) -> AbstractContextManager[Instance]:
        """Start a fresh instance of the parent image; it ends with the context. Raises HarnessError."""
        ...

    def snapshot(self, order: Order, instance: Instance) -> None:
        """Keep the disk of a build instance, which ends afterwards. Raises HarnessError."""
        ...

    def test_instance(self, order: Order) -> AbstractContextManager[Instance]:
        """Start a fresh instance of what `snapshot` kept. Raises HarnessError."""
        ...

    def cancel(self, order: Order) -> None:
        """End the order's running instance, if there is one, from another thread: whatever runs on it may raise what it likes."""
        ...

    def discard(self, order: Order) -> None:
        """Forget what was kept; nothing happens when nothing was."""
        ...


@dataclass(frozen=True, slots=True)
class TargetInstance:
    """An instance that is a target of harness: the components run for real."""

    target: Target
    logs: Path
    """Every document gets its folder in here, with AWSTOE's files."""

    def run(self, component: OrderedComponent, phases: Sequence[str], progress: Progress) -> DocumentOutcome:
        """Run the phases with the runner that hardens local targets as well."""
        runner = Runner(self.target, self.logs, say=progress.tell, on_line=progress.line)
        return runner.run(component.document, phases, component.parameters)


@dataclass(slots=True)
class Pretence:
    """A builder that runs nothing: documents succeed, except where a failure was asked for."""

    failures: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Phase and step that fail, by the name of the component."""
    ran: list[tuple[str, str, str]] = field(default_factory=list)
    """Kind of instance, component and phase, in order."""
    kept: set[str] = field(default_factory=set)
    """Orders whose disk is there."""

    @contextmanager
    def build_instance(self, order: Order) -> Iterator[Instance]:
        """Give an instance that runs nothing."""
        del order
        yield _Pretended(self, "build")

    def snapshot(self, order: Order, instance: Instance) -> None:
        """Note that the disk was kept."""
        del instance
        self.kept.add(order.arn)

    @contextmanager
    def test_instance(self, order: Order) -> Iterator[Instance]:
        """Give another instance that runs nothing."""
        if order.arn not in self.kept:
            raise KeyError(order.arn)
        yield _Pretended(self, "test")

    def cancel(self, order: Order) -> None:
        """Do nothing: nothing runs."""

    def discard(self, order: Order) -> None:
        """Note that the disk is gone."""
        self.kept.discard(order.arn)


@dataclass(frozen=True, slots=True)
class _Pretended:
    builder: Pretence
    kind: str

    def run(self, component: OrderedComponent, phases: Sequence[str], progress: Progress) -> DocumentOutcome:
        now, done = datetime.now(UTC), list[PhaseOutcome]()
        failing = self.builder.failures.get(component.name)
        for phase in component.document.phases:
            if phase.name not in phases:
                continue
            self.builder.ran.append((self.kind, component.name, phase.name))
            steps = list[StepOutcome]()
            for step in phase.steps:
                progress.tell(f"{component.name}: {phase.name}: {step.name} ({step.action})")
                failed = failing == (phase.name, step.name)
                status, message = (Status.FAILED, "it was told to fail") if failed else (Status.SUCCESS, "")
                steps.append(StepOutcome(phase.name, step.name, step.action, status, now, now, attempts=1, message=message))
            bad = any(step.status is Status.FAILED for step in steps)
            done.append(PhaseOutcome(phase.name, Status.FAILED if bad else Status.SUCCESS, now, now, steps=tuple(steps)))
        status = Status.FAILED if any(phase.status is Status.FAILED for phase in done) else Status.SUCCESS
        nowhere = Path("/nonexistent")
        return DocumentOutcome(component.name, status, str(uuid.uuid4()), now, now, nowhere, phases=tuple(done))
