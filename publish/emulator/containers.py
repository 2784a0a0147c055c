"""A builder whose instances are containers: components run for real, what they made is kept as an image and tested in a fresh container."""

from __future__ import annotations

import json
import secrets
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from harness import leftovers
from harness.errors import HarnessError, UnreachableError
from harness.targets.container import ContainerTarget
from harness.toe import Runner, Semantics
from publish.emulator.builder import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from harness.engine import Engine
    from harness.targets.base import Target
    from harness.toe import DocumentOutcome
    from publish.emulator.builder import Instance, Order, OrderedComponent, Progress

REPOSITORY: Final = "localhost/isms-rehearsal"
"""What images between build and test are called; none outlives its process for long."""
LABEL: Final = "org.isms.rehearsal"
COMMIT_SECONDS: Final = 600.0
UDEV_SECONDS: Final = 60.0
UDEV: Final = r"""
cat /etc/udev/rules.d/*.rules 2>/dev/null | sed -n 's/^ACTION=="add", SUBSYSTEM=="net", RUN+="\([^"]*\)"$/\1/p' | while read -r command; do
	for path in /sys/class/net/*/; do name=${path%/}; eval "${command//\$name/${name##*/}}" </dev/null; done
done
"""
"""A machine that boots has udev, which runs the image's own rules for each network interface; a container has none."""


@dataclass(frozen=True, slots=True)
class OrderedInstance:
    """A target on which the components of one order run."""

    target: Target
    order: Order
    logs: Path

    def run(self, component: OrderedComponent, phases: Sequence[str], progress: Progress) -> DocumentOutcome:
        """Run the phases, from the recipe's working directory, with the runner that hardens local targets as well."""
        semantics = Semantics(working_directory=self.order.working_directory)
        runner = Runner(self.target, self.logs, say=progress.tell, on_line=progress.line, semantics=semantics)
        return runner.run(component.document, phases, component.parameters)


@dataclass(slots=True)
class Containers:
    """A builder on a container engine. `parent` is what every recipe's parent image is taken for."""

    engine: Engine
    parent: str
    logs: Path
    """Every document gets its folder in here, with AWSTOE's files."""
    say: Callable[[str], None] = lambda _: None
    run: str = field(default_factory=lambda: secrets.token_hex(16))
    running: dict[str, str] = field(default_factory=dict)
    """Name of the container that an order has at work."""
    kept: dict[str, str] = field(default_factory=dict)
    """Image that was made for an order."""
    cancelled: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def build_instance(self, order: Order) -> Iterator[Instance]:
        """Start a fresh container of the parent image. Raises HarnessError, or CancelledError when the order was cancelled."""
        with self._instance(order, self.parent) as instance:
            yield instance

    @contextmanager
    def test_instance(self, order: Order) -> Iterator[Instance]:
        """Start a fresh container of the image that was made. Raises HarnessError, or CancelledError when the order was cancelled."""
        with self._instance(order, self.kept[order.arn]) as instance:
            yield instance

    @contextmanager
    def _instance(self, order: Order, image: str) -> Iterator[Instance]:
        name = f"harness-rehearsal-{secrets.token_hex(4)}"
        with self.lock:
            if order.arn in self.cancelled:
                raise CancelledError
            self.running[order.arn] = name
        try:
            with ContainerTarget.start(self.engine, image, name=name, say=self.say) as target:
                # A cancellation while it started found nothing to remove, or removed the first of two tries.
                if order.arn in self.cancelled:
                    raise CancelledError
                target.run(UDEV, timeout=UDEV_SECONDS)
                yield OrderedInstance(target, order, self.logs)
        except HarnessError:
            if order.arn in self.cancelled:
                raise CancelledError from None
            raise
        finally:
            with self.lock:
                self.running.pop(order.arn, None)

    def snapshot(self, order: Order, instance: Instance) -> None:
        """Keep the container's disk as an image. Raises HarnessError."""
        del instance
        reference = f"{REPOSITORY}:{secrets.token_hex(8)}"
        told = {LABEL: "true", **leftovers.labels(self.run)}
        changes = [f"--change=LABEL {key}={json.dumps(value)}" for key, value in told.items()]
        name = self.running[order.arn]
        # Not every kernel lets a container be paused; what is written meanwhile is a log line at worst.
        paused = self.engine.call("commit", "--pause=true", *changes, name, reference, timeout=COMMIT_SECONDS, check=False)
        if paused.returncode != 0:
            self.engine.call("commit", "--pause=false", *changes, name, reference, timeout=COMMIT_SECONDS)
        self.kept[order.arn] = reference

    def cancel(self, order: Order) -> None:
        """Remove the order's container, whatever runs on it."""
        with self.lock:
            self.cancelled.add(order.arn)
            name = self.running.get(order.arn)
        if name is not None:
            leftovers.discard(self.engine, [name])

    def discard(self, order: Order) -> None:
        """Remove the image that was made."""
        reference = self.kept.pop(order.arn, None)
        if reference is not None and not drop(self.engine, reference):
            self.say(f"the image {reference} could not be removed; try `{self.engine.name} rmi -f {reference}`")


def drop(engine: Engine, reference: str) -> bool:
    """Remove an image and whatever runs of it; tell whether it is gone."""
    try:
        return engine.call("rmi", "-f", reference, timeout=leftovers.REMOVAL_SECONDS * 2, check=False).returncode == 0
    except UnreachableError:
        return False


def sweep(engine: Engine, say: Callable[[str], None]) -> None:
    """Remove the images that crashed rehearsals left behind; never one of a living process."""
    listed = engine.call("images", "-q", "--no-trunc", "--filter", f"label={LABEL}=true", timeout=30, check=False).stdout.decode().split()
    if not listed:
        return
    found: list[dict[str, Any]] = json.loads(engine.call("image", "inspect", *sorted(set(listed)), timeout=30, check=False).stdout or b"[]")
    for entry in found:
        labels = (entry.get("Config") or {}).get("Labels") or {}
        left = leftovers.Leftover(entry["Id"], next(iter(entry.get("RepoTags") or []), entry["Id"]), running=False, labels=labels)
        if left.owner() is leftovers.Owner.GONE and drop(engine, left.id):
            say(f"removed the image {left.name}: an earlier rehearsal left it behind")
