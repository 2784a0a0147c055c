"""A hardened virtual machine that can be broken, put back and restarted: what a container cannot show is tried here."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness import booted, catalog
from harness.judge import Scope
from harness.model import Environment, Status
from harness.targets.vm import VmTarget
from harness.vms import store
from tests.mutations.judging import Judge
from tests.mutations.machine import Machine, container, packages

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from harness.catalog import Catalog
    from harness.model import Result, Rule
    from harness.suites import Check
    from tests.mutations.reading import Mutation

SECONDS = 60.0
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
BOOT = "audit=1 audit_backlog_limit={auditd_backlog_limit}"
"""What the boot loader of an image says, and the machine of a container is not told: with it those rules hold, and can be broken."""


@dataclass(frozen=True, slots=True)
class Virtual:
    """A machine, and what cannot be tried on it."""

    machine: Machine
    untried: dict[str, Result]
    """Rules for instances in EC2 that do not hold outside of it, so that breaking them shows nothing."""


def widened(content: Catalog) -> dict[str, Rule]:
    """Return the rules as they are judged here: those for instances in EC2 too, as far as they hold outside of it."""
    rules = content.rules.values()
    return {
        each.id: replace(each, applies_to=each.applies_to | {Environment.VM}) if Environment.AMI in each.applies_to else each
        for each in rules
    }


def judgeable(baseline: str, mutations: Sequence[Mutation]) -> frozenset[str]:
    """Return the rules that a container cannot judge, and those of which some mutation needs a machine."""
    content = catalog.load()
    excluded = content.baseline(baseline).excluded
    container_ = Scope(content.rules, excluded, Environment.CONTAINER)
    machine = Scope(widened(content), excluded, Environment.VM)
    broken = {each.rule for each in mutations if each.needs_vm}
    possible = (rule for rule in machine.rules.values() if machine.not_applicable(rule) is None)
    return frozenset(rule.id for rule in possible if container_.not_applicable(rule) is not None or rule.id in broken)


@contextmanager
def virtual(baseline: str, base: str, known: Sequence[Check], say: Callable[[str], None]) -> Generator[Virtual]:
    """Harden a container, boot what it became, and remove both afterwards. The container goes as soon as there is a disk."""
    booted.require()
    content = catalog.load()
    chosen = content.baseline(baseline)
    values = content.values(chosen, {})
    with ExitStack() as stack:
        with container(baseline, base, content, say) as hardened:
            guest = store.of_container(hardened.engine, hardened.name, say)
            arguments = f"{guest.record.machine.arguments} {BOOT.format(**values)}"
            guest.record = replace(guest.record, machine=replace(guest.record.machine, arguments=arguments))
            target = stack.enter_context(VmTarget.boot(guest, say=say))
        target.come_up()
        booted.first_boot_done(target, say)
        judge = Judge(target, Scope(widened(content), chosen.excluded, Environment.VM), values, known)
        local = Scope(content.rules, chosen.excluded, Environment.VM)
        elsewhere = {rule for rule in judge.applicable if local.not_applicable(content.rules[rule]) is not None}
        untried = {rule: each for rule, each in judge.judge(elsewhere).items() if each.status is not Status.PASS}
        judge.applicable = [rule for rule in judge.applicable if rule not in untried]
        yield Virtual(Machine(target, judge).keep(packages(chosen.parameters["packages_removed"])), untried)


def restart(machine: Machine, say: Callable[[str], None]) -> None:
    """Restart the machine for real, and wait until it is as far as it was."""
    target = machine.target
    before = target.run(BOOT_ID, timeout=SECONDS).out
    say("restarting the virtual machine")
    target.restart()
    assert target.run(BOOT_ID, timeout=SECONDS).out != before, "the machine was not restarted"
