"""What a container was hardened into, booted on a kernel of its own: judged, restarted, judged again, and united with what came before."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.errors import ContentError
from harness.judging import judged
from harness.model import Result, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from harness.console import Progress
    from harness.evidence import Evidence
    from harness.judging import Task
    from harness.targets.container import ContainerTarget
    from harness.targets.vm import VmTarget

CAPTURE = "capture-vm"
FIRST_BOOT = "systemctl list-units --all --no-legend --no-pager --plain --state=activating,running 'isms-*-init.service'"
"""Units of this name do once what an image leaves to the first start of each instance; nothing is judged before they are through."""
FIRST_BOOT_SECONDS = 300.0
CHANGING = re.compile(r"aide|isms-|systemctl|/var/|--failed|\b(find|ps|rpm)\b")
"""What such a unit may change, or be seen by: its own files, the states of units, processes, logs, a search through everything."""
POLL_SECONDS = 1.0
QUESTION_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One place, or one moment, where every rule that applies there was judged."""

    where: str
    """`container`, `vm` or `vm restarted`."""
    results: tuple[Result, ...]


def require() -> None:
    """Raise TargetError where no virtual machine can be made of a container here, before anything is started."""
    from harness.vms import disk, store, tools

    tools.require(*tools.PACKAGES)
    store.folder().mkdir(parents=True, exist_ok=True)
    disk.require(store.folder())


@contextmanager
def booting(container: ContainerTarget, say: Progress, *, keep: bool) -> Iterator[VmTarget]:
    """Make a virtual machine of a container as it is now, start it, and give it at once: `come_up` waits.

    Raises TargetError or ImageError where this machine cannot. The machine is removed at the end unless it is to be kept.
    """
    from harness.targets.vm import VmTarget
    from harness.vms import store

    began = time.monotonic()
    guest = store.of_container(container.engine, container.name, say, keep=keep)
    say(f"virtual machine {guest.name}: a disk made in {time.monotonic() - began:.1f} s, booting with {guest.record.facts['accelerator']}")
    with VmTarget.boot(guest, keep=keep, say=say) as target:
        yield target


@contextmanager
def imported(image: Path, say: Progress, *, keep: bool) -> Iterator[VmTarget]:
    """Start a disk image by its own boot loader, on a layer that takes all changes, and give it when it is up.

    Raises UsageError for what is no such image, TargetError when it does not start. Removed at the end unless it is to be kept.
    """
    from harness.targets.vm import VmTarget
    from harness.vms import store

    guest = store.of_image(image, say, keep=keep)
    say(f"virtual machine {guest.name}: {guest.record.facts['boots']}, booting with {guest.record.facts['accelerator']}")
    with VmTarget.boot(guest, keep=keep, say=say) as target:
        target.come_up()
        yield target


def stages(task: Task, target: VmTarget, kept: Evidence, say: Progress) -> tuple[Stage, ...]:
    """Judge a virtual machine after its first boot, and again after a restart, since much is only set until the next one."""
    from harness.testinfra_backend import host_for

    target.come_up()
    host = host_for(target)
    with ThreadPoolExecutor(1) as beside:
        early = beside.submit(host.backend.prepare, settled(task, target)) if pending(target) else None
        first_boot_done(target, say)
        if early is not None:
            early.result()
    say(f"judging {len(task.rules)} rules in the virtual machine")
    first = Stage("vm", judged(task, target, host, kept, capture=CAPTURE))
    say("restarting the virtual machine")
    target.restart()
    host.backend.forget()
    say(f"judging {len(task.rules)} rules in the virtual machine, restarted")
    return first, Stage("vm restarted", judged(task, target, host, kept, capture=CAPTURE))


def settled(task: Task, target: VmTarget) -> list[str]:
    """Return the questions whose answers are the same while the image finishes its first boot, so that they can be asked meanwhile."""
    try:
        return [text for text in task.plan.first(target.environment) if not CHANGING.search(text)]
    except ContentError:  # of a suite that cannot be loaded, whoever is to run it says more
        return []


def pending(target: VmTarget) -> list[str]:
    """Return the units that are not through with what they do once."""
    return target.run(FIRST_BOOT, timeout=QUESTION_SECONDS).out.split()


def first_boot_done(target: VmTarget, say: Callable[[str], None]) -> None:
    """Wait for what the image does once at its first boot; what never ends is left to the rules that ask for its outcome."""
    deadline = time.monotonic() + FIRST_BOOT_SECONDS
    told = False
    while units := pending(target):
        if time.monotonic() > deadline:
            say(f"{units[0]} is not through after {FIRST_BOOT_SECONDS:g} s; judging all the same")
            return
        if not told:
            say(f"waiting for {units[0]}")
            told = True
        time.sleep(POLL_SECONDS)


def united(stages: Sequence[Stage]) -> tuple[Result, ...]:
    """Unite the results of several stages to one per rule: what is bad anywhere is bad; it applies when it was judged anywhere."""
    return tuple(one([(stage.where, result) for stage, result in zip(stages, row, strict=True)]) for row in rows(stages))


def rows(stages: Sequence[Stage]) -> Iterator[tuple[Result, ...]]:
    """Yield the results of each rule, one per stage. Every stage has every rule, in the same order."""
    yield from zip(*(stage.results for stage in stages), strict=True)


def one(found: Sequence[tuple[str, Result]]) -> Result:
    """Unite the results of one rule. The result is the worst one's, the last stage's among equals, and says where it was judged."""
    judged_in = tuple(where for where, result in found if result.status is not Status.NOT_APPLICABLE)
    worst = Status.worst([result.status for _, result in found])
    result = [result for _, result in found if result.status is worst][-1]
    if worst in {Status.FAIL, Status.ERROR}:
        good = [name for name, other in found if other.status is Status.PASS]
        bad = [name for name, other in found if other.status is worst]
        told = f"in: {', '.join(bad)}" + (f"; passes in: {', '.join(good)}" if good else "")
        result = replace(result, reason="; ".join(filter(None, (result.reason, told))))
    commands = dict.fromkeys(command for _, each in found for command in each.commands)
    return replace(result, where=judged_in, commands=tuple(commands))
