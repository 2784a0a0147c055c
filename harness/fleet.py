"""A fleet: many hosts asked at a time from one process, each judged as its answers come, its evidence kept at once.

    store = Store.create(Path("evidence"), entries, judges(plan))
    fleet = Fleet(plans, store, Options(jobs=16))
    for row in fleet.ask(entries):      # in the order in which hosts answer
        ...

A host that cannot be asked is a row with an error, and no other host waits for it. What has been kept survives an interruption:
`Store.resume` knows it, and only the rest is asked again. Nothing here prints.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from harness.audit import Dialogue, described
from harness.errors import HarnessError, TargetError
from harness.fleet_store import Finding, Row, row_of
from harness.model import Environment
from harness.targets.base import CommandTimeout, Completed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from harness.audit import Plan
    from harness.capture import Capture
    from harness.fleet_store import Store
    from harness.inventory import Entry
    from harness.model import Run
    from harness.targets.base import Target

    Kept = Callable[[Entry, Capture, Run], None]
    Missed = Callable[[Entry, HarnessError], None]

SSM = "ssm://"
DEFECT = "unexpected"


class Plans:
    """One plan per baseline that an inventory names; the suites of all are loaded once."""

    def __init__(self, plan: Plan) -> None:
        """Begin with the plan of the command."""
        self._plans = {plan.baseline: plan}
        self._first = plan
        self._lock = threading.Lock()
        self._learned: set[str | None] = set()

    def of(self, entry: Entry) -> Plan:
        """Return the plan of a host: its own baseline, else the command's. Raises UsageError for a baseline that is not known."""
        name = entry.baseline or self._first.baseline
        with self._lock:
            if name not in self._plans:
                self._plans[name] = replace(self._first, baseline=name)
            return self._plans[name]

    def prepare(self, entries: Iterable[Entry]) -> None:
        """Load suites and questions before the first host is asked, so that no two threads do it. Raises UsageError and ContentError."""
        for plan in {id(plan): plan for plan in map(self.of, entries)}.values():
            _ = plan.checks
            plan.first(Environment.HOST)

    def learn(self, entry: Entry) -> None:
        """Take over what the first host was asked in a second round, so that the others are asked it in the first."""
        plan = self.of(entry)
        with self._lock:
            if plan.baseline in self._learned:
                return
            self._learned.add(plan.baseline)
        fresh = replace(plan)
        _ = fresh.checks
        fresh.first(Environment.HOST)
        with self._lock:
            self._plans[plan.baseline] = fresh


@dataclass(frozen=True, slots=True)
class Options:
    """How a fleet is asked."""

    jobs: int = 16
    """Hosts at a time."""
    seconds: float = 300.0
    """For one host, from the first byte to the last answer."""


@dataclass(slots=True)
class Fleet:
    """The hosts of one audit."""

    plans: Plans
    store: Store
    options: Options
    opened: Callable[[Entry, float], Target]
    """Opens the target of a host that is reached by itself, within the given seconds."""
    finish: Callable[[Run], Run] = lambda run: run
    """What happens to each verdict before it is kept: waivers, controls."""
    managed: Callable[[Sequence[Entry], Kept, Missed], None] | None = None
    """Asks all hosts behind AWS Systems Manager together; it calls one of the two for each of them."""
    _done: SimpleQueue[Row] = field(default_factory=SimpleQueue)
    _ending: threading.Event = field(default_factory=threading.Event)

    def ask(self, entries: Sequence[Entry]) -> Iterator[Row]:
        """Ask hosts and yield what became of each as it is known. Ends early when the caller stops; what was kept stays."""
        alone = [entry for entry in entries if not entry.uri.startswith(SSM)]
        fanned = [entry for entry in entries if entry.uri.startswith(SSM)]
        self.plans.prepare(entries)
        waiting: SimpleQueue[Entry] = SimpleQueue()
        for entry in alone:
            waiting.put(entry)
        threads = [threading.Thread(target=self._work, args=(waiting,), daemon=True) for _ in range(min(self.options.jobs, len(alone)))]
        if fanned:
            threads.append(threading.Thread(target=self._fan_out, args=(fanned,), daemon=True))
        try:
            for thread in threads:
                thread.start()
            for _ in entries:
                yield self._done.get()
        finally:
            self._ending.set()

    def _work(self, waiting: SimpleQueue[Entry]) -> None:
        while not self._ending.is_set():
            try:
                entry = waiting.get_nowait()
            except Empty:
                return
            self._done.put(self._asked(entry))

    def _asked(self, entry: Entry) -> Row:
        """Ask one host. Whatever happens is a row: a defect of ours on one host must not end the others."""
        started = time.monotonic()
        try:
            capture, run = self._conversation(entry, started + self.options.seconds)
            return self._kept(entry, capture, run, time.monotonic() - started)
        except HarnessError as error:
            return self._missed(entry, error, time.monotonic() - started)
        except Exception as error:  # noqa: BLE001 - told in the row
            return self._missed(entry, defect(error), time.monotonic() - started)

    def _conversation(self, entry: Entry, deadline: float) -> tuple[Capture, Run]:
        """Log in, ask round by round, judge. Raises TargetError when the time is over."""
        plan = self.plans.of(entry)
        with self.opened(entry, self.options.seconds) as target:
            dialogue = Dialogue(plan, {**described(target), "inventory": entry.name})
            while (questions := dialogue.batch()) is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self._late(entry)
                try:
                    completed = target.run(questions.text, timeout=min(questions.seconds, left))
                except CommandTimeout as timeout:
                    if time.monotonic() >= deadline:
                        raise self._late(entry) from None
                    completed = Completed(questions.text, -1, timeout.stdout, timeout.stderr, timeout.seconds)
                dialogue.take(completed)
        return dialogue.capture(), dialogue.run()

    def _late(self, entry: Entry) -> TargetError:
        return TargetError(f"{entry.uri} was not done within {self.options.seconds:g} s", hint="--timeout gives a host more time")

    def _fan_out(self, entries: Sequence[Entry]) -> None:
        """Ask what is behind Systems Manager; each host gets its row, whatever happens."""
        left = {entry.uri: entry for entry in entries}
        started = time.monotonic()

        def keep(entry: Entry, capture: Capture, run: Run) -> None:
            try:
                row = self._kept(entry, capture, run, time.monotonic() - started)
            except HarnessError as error:
                row = self._missed(entry, error, time.monotonic() - started)
            left.pop(entry.uri, None)
            self._done.put(row)

        def miss(entry: Entry, error: HarnessError) -> None:
            left.pop(entry.uri, None)
            self._done.put(self._missed(entry, error, time.monotonic() - started))

        problem: HarnessError = TargetError("nothing was heard of it")
        try:
            if self.managed is not None:
                self.managed(entries, keep, miss)
        except HarnessError as error:
            problem = error
        except Exception as error:  # noqa: BLE001 - told in the rows
            problem = defect(error)
        for entry in list(left.values()):
            miss(entry, problem)

    def _kept(self, entry: Entry, capture: Capture, run: Run, seconds: float) -> Row:
        if capture.round_trips > 1:
            self.plans.learn(entry)
        run = self.finish(run)
        folder = self.store.keep(entry, capture, run)
        return row_of(entry, run, folder, seconds, capture.round_trips)

    def _missed(self, entry: Entry, error: HarnessError, seconds: float) -> Row:
        # A full disk, say, must not leave the caller waiting for a row.
        with suppress(OSError, HarnessError):
            self.store.miss(entry, error)
        hint, took = error.hint or "", round(seconds, 3)
        return Row(entry.name, entry.uri, entry.groups, error=str(error), hint=hint, code=error.exit_code, seconds=took)


def defect(error: Exception) -> HarnessError:
    """Tell a defect of ours in the words of an error."""
    return TargetError(f"{DEFECT} {type(error).__name__}: {error}", hint="this is a defect of harness; please report it")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a fleet looks like."""

    rows: tuple[Row, ...]
    """What needs somebody first."""
    rules: tuple[tuple[Finding, int], ...]
    """Findings by rule, with the number of hosts: the gravest first, then the most frequent."""
    errors: tuple[tuple[str, int], ...]
    """Why hosts could not be judged, with the number of hosts."""
    waiting: int
    """Hosts of the inventory that nobody asked, because the audit was interrupted."""
    finished: datetime

    @property
    def judged(self) -> int:
        """Count the hosts that were judged."""
        return sum(row.judged for row in self.rows)

    @property
    def failing(self) -> int:
        """Count the hosts with findings."""
        return sum(row.bad for row in self.rows)


def summary(rows: Sequence[Row], total: int, finished: datetime | None = None) -> Summary:
    """Unite the rows of a fleet of `total` hosts."""
    by_rule: dict[str, list[Finding]] = {}
    reasons: dict[str, int] = {}
    for row in rows:
        for finding in row.findings:
            by_rule.setdefault(finding.rule, []).append(finding)
        if row.error:
            reason = row.error.replace(row.uri, "…")
            reasons[reason] = reasons.get(reason, 0) + 1
    severities = ("high", "medium", "low")
    rules = [(max(found, key=lambda each: each.status == "fail"), len(found)) for found in by_rule.values()]
    rules.sort(key=lambda pair: (severities.index(pair[0].severity), -pair[1], pair[0].rule))
    ordered = sorted(rows, key=lambda row: (not row.bad, row.judged, [-row.failed(severity) for severity in severities], row.name))
    errors = sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
    return Summary(tuple(ordered), tuple(rules), tuple(errors), total - len(rows), finished or datetime.now(UTC))


def exit_code(rows: Iterable[Row]) -> int:
    """Return 1 for findings, else the code of what could not be judged, a mistake of the caller before a host that is away, else 0."""
    found = list(rows)
    if any(row.bad for row in found):
        return 1
    return min((row.code for row in found if not row.judged), default=0)


def counted(rows: Iterable[Row]) -> Mapping[str, int]:
    """Count for the progress: done, failing, not reached."""
    found = list(rows)
    return {"done": len(found), "failing": sum(row.bad for row in found), "missed": sum(not row.judged for row in found)}
