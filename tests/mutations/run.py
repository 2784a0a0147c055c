"""Tries the mutations on hardened machines and tells which rules saw theirs: `python -m tests.mutations.run`.

Mutations of different settings share a round, since asking every question takes its time: each is judged by its own rule
just before and just after it is made; at the end of the round all rules are judged, and whatever reports beyond those is
tracked down to the mutation that makes it. `--alone` gives every mutation a round of its own.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from harness import catalog, suites
from harness.errors import HarnessError
from harness.judge import Scope
from harness.model import Environment, Status
from tests.mutations import virtual
from tests.mutations.machine import Machine, NotAppliedError, hardened
from tests.mutations.reading import BASELINES, Mutation, load

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from harness.suites import Check

SIZE = 40
"""Mutations in one round."""
SAME = 5
"""Mutations of one subject in one round, each of another rule."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one mutation showed."""

    mutation: Mutation
    detected: bool
    problem: str = ""
    others: tuple[str, ...] = ()
    """What other rules say, of which the mutation does not speak."""


@dataclass
class Tally:
    """What the mutations of one baseline showed."""

    baseline: str
    wanted: frozenset[str]
    """The rules that ought to have a mutation."""
    findings: list[Finding] = field(default_factory=list)
    unclean: list[str] = field(default_factory=list)
    """Where a machine could not be put back."""
    seconds: float = 0.0
    quick: bool = False
    """Nobody asked the other rules."""
    untried: dict[str, str] = field(default_factory=dict)
    """What can be broken in EC2 only, since it does not hold elsewhere, with what the rule says of it here."""

    @property
    def covered(self) -> set[str]:
        """Rules with a mutation."""
        return {finding.mutation.rule for finding in self.findings} & self.wanted

    @property
    def missed(self) -> list[Finding]:
        """Mutations that were not seen."""
        return [finding for finding in self.findings if not finding.detected]

    @property
    def detected(self) -> set[str]:
        """Rules of which every mutation was seen."""
        return self.covered - {finding.mutation.rule for finding in self.missed}

    @property
    def false(self) -> list[Finding]:
        """Mutations that other rules reported."""
        return [finding for finding in self.findings if finding.others]

    @property
    def good(self) -> bool:
        """Tell whether every rule has a mutation, every mutation was seen, and nobody else spoke up."""
        return self.detected == self.wanted and not self.missed and not self.false and not self.unclean


def rounds(mutations: Sequence[Mutation], seed: int, *, alone: bool) -> list[list[Mutation]]:
    """Put the mutations together so that those of one round have nothing to do with each other."""
    order = list(mutations)
    Random(seed).shuffle(order)  # noqa: S311 - which ones meet is no secret
    subjects = Counter(each.subject for each in order)
    order.sort(key=lambda each: -subjects[each.subject])
    found: list[list[Mutation]] = []
    for each in order:
        if alone or each.alone:
            found.append([each])
            continue
        for group in found:
            if fits(each, group):
                group.append(each)
                break
        else:
            found.append([each])
    return found


def fits(mutation: Mutation, group: Sequence[Mutation]) -> bool:
    """Tell whether a mutation may join a round: nothing in it speaks of the same rule, and not too much of the same subject."""
    same = sum(other.subject == mutation.subject for other in group)
    spoken = {mutation.rule, *mutation.also}
    return not group[0].alone and len(group) < SIZE and same < SAME and not any({other.rule, *other.also} & spoken for other in group)


class Trial:
    """Tries rounds on machines of one baseline, with a new machine when one cannot be put back."""

    def __init__(self, tally: Tally, start: Callable[[], Machine], say: Callable[[str], None], *, quick: bool = False) -> None:
        """Prepare; `start` gives a hardened machine when one is needed."""
        self.tally = tally
        self.say = say
        self._start = start
        self._quick = quick
        self._machine: Machine | None = None

    def machine(self) -> Machine:
        """Return a machine on which every rule passes."""
        if self._machine is None:
            self._machine = self._start()
            if before := self._machine.judge.reported():
                raise HarnessError("a hardened machine does not pass: " + said(before.values()))
        return self._machine

    def round(self, group: Sequence[Mutation]) -> None:
        """Try the mutations of one round together; when others report, find out by whose doing; try what was not seen once more, alone."""
        findings, strangers = self.attempt(group)
        blamed = self.blamed(group, strangers) if len(group) > 1 else {group[0].title: list(strangers.values())}
        for each in findings:
            if not each.detected and len(group) > 1:
                self.round([each.mutation])
                continue
            finding = Finding(each.mutation, each.detected, each.problem, tuple(blamed.get(each.mutation.title, ())))
            self.tally.findings.append(finding)
            if not finding.detected or finding.others:
                self.say(f"!! {each.mutation.title}: {each.problem} {'; '.join(finding.others)}")

    def blamed(self, group: Sequence[Mutation], strangers: Mapping[str, str]) -> dict[str, list[str]]:
        """Return which mutations make others report: halves of the round are made again, and only the others are judged.

        What no mutation does by itself is said and not counted: it took several, or did not come again.
        """
        found: dict[str, list[str]] = {}
        for rule in strangers:
            suspects = [each for each in group if rule not in {each.rule, *each.also}]
            while len(suspects) > 1:
                half = suspects[: len(suspects) // 2]
                suspects = half if self.heard(half, rule) else suspects[len(half) :]
            words = self.heard(suspects, rule)
            if words:
                found.setdefault(suspects[0].title, []).append(words)
            else:
                self.say(f"no mutation by itself makes that {strangers[rule]}")
        return found

    def heard(self, group: Sequence[Mutation], rule: str) -> str:
        """Return what a rule says when these mutations are made; empty when it passes."""
        machine = self.machine()
        for mutation in group:
            with suppress(NotAppliedError):
                machine.apply(mutation)
        # A log-in meets the configuration of sshd that is in force, which in a round of all rules was loaded before.
        result = machine.judge.judge({rule, "survival-sshd-reload"})[rule]
        self.put_back(machine, group)
        return "" if result.status is Status.PASS else said([result])

    def attempt(self, group: Sequence[Mutation]) -> tuple[list[Finding], dict[str, str]]:
        """Break, judge and put back; return what was seen, and what others said."""
        machine = self.machine()
        findings, made = [], list[Mutation]()
        strangers: dict[str, str] = {}
        for mutation in group:
            before = machine.judge.judge([mutation.rule])[mutation.rule]
            if before.status is not Status.PASS:
                strangers[mutation.rule] = f"{mutation.rule} already {before.status}: {before.observed or before.reason}"
            made.append(mutation)
            try:
                machine.apply(mutation)
            except NotAppliedError as error:
                findings.append(Finding(mutation, detected=False, problem=str(error)))
                continue
            after = machine.judge.judge([mutation.rule])[mutation.rule]
            seen = after.status == mutation.status
            findings.append(Finding(mutation, seen, "" if seen else f"{after.status}: {after.observed or after.reason}"))
        accounted = {mutation.rule for mutation in group} | {name for mutation in group for name in mutation.also}
        for rule, result in ({} if self._quick else machine.judge.reported()).items():
            if rule not in accounted:
                strangers[rule] = f"{rule} {result.status}: {(result.observed or result.reason)[:200]}"
        self.put_back(machine, made)
        return findings, strangers

    def put_back(self, machine: Machine, made: Sequence[Mutation]) -> None:
        """Restore, and make sure of it for those rules."""
        problem = machine.restore(made)
        broken = {rule: each for rule, each in machine.judge.judge({each.rule for each in made}).items() if each.status is not Status.PASS}
        if broken or problem:
            self.tally.unclean.append(f"{' + '.join(each.title for each in made)}: {problem} {said(broken.values())}".strip())
            self.say(f"not put back: {self.tally.unclean[-1]}")
            self._machine = None

    def restarted(self, group: Sequence[Mutation], restart: Callable[[Machine], None]) -> None:
        """Try what shows after a restart only: all of it at once, since the machine is of no use afterwards."""
        machine = self.machine()
        problems: dict[str, str] = {}
        for mutation in group:
            try:
                machine.apply(mutation)
            except NotAppliedError as error:
                problems[mutation.title] = str(error)
        restart(machine)
        spoken = {name for each in group for name in (each.rule, *each.also)}
        found = machine.judge.judge({each.rule for each in group} if self._quick else ())
        for mutation in group:
            result = found[mutation.rule]
            problem = problems.get(mutation.title) or f"{result.status}: {result.observed or result.reason}"
            seen = mutation.title not in problems and result.status == mutation.status
            self.tally.findings.append(Finding(mutation, seen, "" if seen else problem))
        others = [each for each in found.values() if each.status is not Status.PASS and each.rule not in spoken]
        if others:
            self.tally.unclean.append(f"after the restart others report: {said(others)}")
        self._machine = None

    def end(self) -> None:
        """Judge the machine once more: after all of it, everything must pass."""
        if self._machine is not None and (left := self._machine.judge.reported()):
            self.tally.unclean.append(f"at the end: {said(left.values())}")


def said(results: Iterable[object]) -> str:
    """Return what results say, in short."""
    return "; ".join(f"{each.rule} {each.status}: {(each.observed or each.reason)[:150]}" for each in results)  # type: ignore[attr-defined]  # Result


def judgeable(baseline: str) -> frozenset[str]:
    """Return the rules that are judged in a container."""
    content = catalog.load()
    scope = Scope(content.rules, content.baseline(baseline).excluded, Environment.CONTAINER)
    return frozenset(rule.id for rule in content.rules.values() if scope.not_applicable(rule) is None)


def trial(
    baseline: str, mutations: Sequence[Mutation], wanted: Collection[str], options: argparse.Namespace, known: Sequence[Check]
) -> Tally:
    """Try the mutations of one baseline."""
    tally = Tally(baseline, frozenset(wanted), quick=options.quick)
    began = time.monotonic()

    def say(text: str) -> None:
        if not quiet(text):
            sys.stderr.write(f"{baseline}: {text}\n")
            sys.stderr.flush()

    with ExitStack() as stack:

        def start() -> Machine:
            stack.close()
            if not options.vm:
                return stack.enter_context(hardened(baseline, options.base, known, say))
            made = stack.enter_context(virtual.virtual(baseline, options.base, known, say))
            tally.untried = {
                rule: f"{each.status}: {each.observed or each.reason}"[:200] for rule, each in made.untried.items() if rule in wanted
            }
            return made.machine

        attempt = Trial(tally, start, say, quick=options.quick)
        attempt.machine()
        possible = [each for each in mutations if each.rule not in tally.untried]
        tally.wanted -= tally.untried.keys()
        groups = rounds([each for each in possible if not each.restarted], options.seed, alone=options.alone)
        for number, group in enumerate(groups, 1):
            attempt.round(group)
            say(f"round {number} of {len(groups)}, {len(group)} mutations, {time.monotonic() - began:.0f} s")
        attempt.end()
        if later := [each for each in possible if each.restarted]:
            attempt.restarted(later, lambda machine: virtual.restart(machine, say))
    tally.seconds = time.monotonic() - began
    return tally


def told(tally: Tally) -> str:
    """Write what the mutations of one baseline showed."""
    wanted, covered = len(tally.wanted), len(tally.covered)
    lines = [f"{finding.mutation.title}: {finding.problem}" for finding in tally.missed]
    lines = [f"  MISSED  {line}" for line in lines]
    lines += [f"  OTHERS  {finding.mutation.title}: {'; '.join(finding.others)}" for finding in tally.false]
    lines += [f"  LEFT    {text}" for text in tally.unclean]
    lines += [f"  NONE    {rule} has no mutation" for rule in sorted(tally.wanted - tally.covered)]
    lines += [
        f"  EC2     {rule} holds in EC2 only, and is not broken here: {said_here}" for rule, said_here in sorted(tally.untried.items())
    ]
    share = 100 * covered // wanted if wanted else 100
    bite = 100 * len(tally.detected) // covered if covered else 100
    seen = f"{len(tally.findings)} mutations, {bite} % of these rules detect all of theirs"
    rest = f"{'others not asked' if tally.quick else f'{len(tally.false)} reported by other rules'} · {tally.seconds:.0f} s"
    lines.append(f"{tally.baseline}: {wanted} rules, {share} % with a mutation · {seen} · {rest}")
    return "\n".join(lines)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="nox -s mutate --", description="Break every setting, and see that its rule reports it.")
    parser.add_argument("--baseline", action="append", choices=BASELINES, help="default: both, side by side")
    parser.add_argument("--subject", action="append", default=[], help="only this subject; may be repeated")
    parser.add_argument("--rule", action="append", default=[], help="only this rule; may be repeated")
    parser.add_argument("--base", default="standin", choices=("auto", "registry", "standin"), help="base image, as for harness verify")
    parser.add_argument("--alone", action="store_true", help="a round for every mutation: slow, and beyond doubt")
    parser.add_argument("--quick", action="store_true", help="judge only the rules that are broken: no proof, but soon done")
    parser.add_argument("--vm", action="store_true", help="what a container cannot show: on a virtual machine, which is restarted once")
    parser.add_argument("--seed", type=int, default=1, help="which mutations share a round")
    return parser.parse_args(arguments)


def quiet(text: str) -> bool:
    """Tell whether progress is too detailed to be shown."""
    return ": build: " in text


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutations; 0 when every rule has one, every one is seen by its rule, and no other rule reports."""
    options = parsed(arguments)
    logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)  # a log-in that is refused is what some mutations are about
    every, known = load(), suites.load((suites.SUITES,), catalog.load().rules)
    baselines = options.baseline or list(BASELINES)
    work = []
    for baseline in baselines:
        chosen = {
            rule
            for rule in (virtual.judgeable(baseline, every) if options.vm else judgeable(baseline))
            if (not options.rule or rule in options.rule) and (not options.subject or rule.partition("-")[0] in options.subject)
        }
        mutations = [each for each in every if each.needs_vm == options.vm and baseline in each.baselines and each.rule in chosen]
        work.append((baseline, mutations, chosen, options, known))
    if not any(mutations for _, mutations, *_ in work):
        sys.stderr.write(f"error: there is no mutation of these rules for a {'virtual machine' if options.vm else 'container'}\n")
        return 2
    try:
        with ThreadPoolExecutor(1 if options.vm else len(work)) as pool:  # one virtual machine at a time
            tallies = list(pool.map(lambda each: trial(*each), work))
    except HarnessError as error:
        sys.stderr.write(f"error: {error}\n")
        return 3
    for tally in tallies:
        sys.stdout.write(told(tally) + "\n")
    return 0 if all(tally.good for tally in tallies) else 1


if __name__ == "__main__":
    sys.exit(main())
