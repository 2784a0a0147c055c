"""A builder whose instances are virtual machines: a component that restarts one really does, and tests run on a boot of their own."""

from __future__ import annotations

import secrets
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from harness import leftovers
from harness.errors import HarnessError, TargetError
from harness.targets.base import CommandTimeout
from harness.targets.container import ContainerTarget
from harness.targets.vm import VmTarget
from harness.vms import store
from publish.emulator.builder import CancelledError
from publish.emulator.containers import OrderedInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.engine import Engine
    from harness.vms.guest import Guest
    from publish.emulator.builder import Instance, Order

QUESTION_SECONDS: Final = 60.0
SHUTDOWN_SECONDS: Final = 120.0
NAMES: Final = "[ -s /etc/resolv.conf ] || echo nameserver 10.0.2.3 >/etc/resolv.conf"
"""Where qemu answers a guest that may ask for names."""


@dataclass(slots=True)
class Machines:
    """A builder on qemu. `parent` is an image of the engine, and what every recipe's parent image is taken for."""

    engine: Engine
    parent: str
    logs: Path
    """Every document gets its folder in here, with AWSTOE's files."""
    say: Callable[[str], None] = lambda _: None
    network: bool = False
    """Whether the build instance reaches the network: a base image from a registry takes its packages from there."""
    run: str = field(default_factory=lambda: secrets.token_hex(16))
    ending: dict[str, Callable[[], object]] = field(default_factory=dict)
    """How to end what an order has at work."""
    kept: dict[str, Guest] = field(default_factory=dict)
    """The machine, switched off, that was built for an order."""
    cancelled: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def build_instance(self, order: Order) -> Iterator[Instance]:
        """Boot a machine that a fresh container of the parent image becomes. Raises HarnessError, CancelledError when cancelled."""
        with self._cancellable(order):
            guest = self._made(order)
            if self.network:
                guest.record = replace(guest.record, machine=replace(guest.record.machine, network=True))
            with self._booted(order, guest) as target:
                if self.network:
                    target.run(NAMES, timeout=QUESTION_SECONDS)
                yield OrderedInstance(target, order, self.logs)

    @contextmanager
    def test_instance(self, order: Order) -> Iterator[Instance]:
        """Boot a fresh machine from the disk that was kept. Raises HarnessError, or CancelledError when the order was cancelled."""
        with self._cancellable(order), self._booted(order, store.like(self.kept[order.arn], self.say)) as target:
            yield OrderedInstance(target, order, self.logs)

    def snapshot(self, order: Order, instance: Instance) -> None:
        """Shut the build instance down and keep its disk. Raises HarnessError when it does not go."""
        assert isinstance(instance, OrderedInstance)  # noqa: S101 - the only kind that this builder gives
        target = instance.target
        assert isinstance(target, VmTarget)  # noqa: S101 - as above
        with suppress(CommandTimeout, TargetError):  # the shell goes with the machine
            target.run("systemctl poweroff", timeout=QUESTION_SECONDS)
        if not target.guest.ended(SHUTDOWN_SECONDS):
            raise TargetError(f"the build instance does not shut down within {SHUTDOWN_SECONDS:g} s")
        self.kept[order.arn] = target.guest

    def cancel(self, order: Order) -> None:
        """End what the order has at work, whatever runs on it."""
        with self.lock:
            self.cancelled.add(order.arn)
            end = self.ending.get(order.arn)
        if end is not None:
            end()

    def discard(self, order: Order) -> None:
        """Remove the machine that was built."""
        guest = self.kept.pop(order.arn, None)
        if guest is None:
            return
        if guest.remove():
            leftovers.unwatch(guest.name)
        else:
            self.say(f"virtual machine {guest.name} could not be removed; try `harness vm remove {guest.name}`")

    def _made(self, order: Order) -> Guest:
        """Make a machine of a fresh container, which is gone afterwards."""
        name = f"harness-rehearsal-{secrets.token_hex(4)}"
        self._at_work(order, lambda: leftovers.discard(self.engine, [name]))
        with ContainerTarget.start(self.engine, self.parent, name=name, say=self.say):
            return store.of_container(self.engine, name, self.say)

    @contextmanager
    def _booted(self, order: Order, guest: Guest) -> Iterator[VmTarget]:
        """Boot a machine, and remove it afterwards unless its disk was kept meanwhile."""
        target = VmTarget.boot(guest, say=self.say)
        try:
            self._at_work(order, guest.kill)
            target.come_up()
            yield target
        finally:
            if self.kept.get(order.arn) is guest:
                target.let_go()
            else:
                target.remove()

    def _at_work(self, order: Order, end: Callable[[], object]) -> None:
        """Say how a cancellation ends what begins now. Raises CancelledError when it came before."""
        with self.lock:
            self.ending[order.arn] = end
            if order.arn in self.cancelled:
                raise CancelledError

    @contextmanager
    def _cancellable(self, order: Order) -> Iterator[None]:
        """Take whatever breaks in a cancelled order for the cancellation."""
        try:
            yield
        except HarnessError:
            if order.arn in self.cancelled:
                raise CancelledError from None
            raise
        finally:
            with self.lock:
                self.ending.pop(order.arn, None)
