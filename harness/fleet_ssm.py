"""A fleet behind AWS Systems Manager: hosts that are to be asked the same are asked by the same command, fifty in each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.audit import Dialogue
from harness.batch import batch
from harness.errors import HarnessError, TargetError
from harness.model import Environment
from harness.targets import ssm
from harness.targets.runcommand import CutError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.audit import Plan
    from harness.batch import Batch
    from harness.capture import Capture
    from harness.fleet import Plans
    from harness.inventory import Entry
    from harness.model import Run
    from harness.targets.base import Completed
    from harness.targets.runcommand import RunCommand

MOST_PIECES = 8
"""Into how many commands the questions are split at most from the beginning, where no bucket takes long answers."""
FEW = 16
"""Questions that are not split before an answer was cut."""


def entries(listed: Sequence[Entry], fan: Callable[[], RunCommand]) -> tuple[Entry, ...]:
    """Return the hosts with each tag replaced by its instances, each once. Raises TargetError for a tag of none."""
    if not any(entry.uri.startswith("ssm://tag:") for entry in listed):
        return tuple(listed)
    found = ssm.expanded((entry.uri for entry in listed if entry.uri.startswith("ssm://")), fan())
    made: dict[str, Entry] = {}
    for entry in listed:
        for instance in found.get(entry.uri, ()):
            uri = f"ssm://{instance.id}"
            made.setdefault(uri, replace(entry, name=instance.id, uri=uri, tags={**entry.tags, "host": instance.name}))
        if entry.uri not in found:
            made.setdefault(entry.uri, entry)
    return tuple(made.values())


class Asking:
    """The conversations with all instances of an audit, side by side."""

    def __init__(
        self,
        plans: Plans,
        fan: RunCommand,
        seconds: float,
        keep: Callable[[Entry, Capture, Run], None],
        miss: Callable[[Entry, HarnessError], None],
    ) -> None:
        """`keep` or `miss` is called once for each host."""
        self._plans, self._fan, self._seconds = plans, fan, seconds
        self._keep, self._miss = keep, miss
        self._talks: dict[str, tuple[Entry, Dialogue]] = {}
        self._pieces = 1 if fan.bucket else 2

    def ask(self, listed: Sequence[Entry]) -> None:
        """Ask until each host is judged or given up. Raises TargetError when AWS refuses everything."""
        ids: dict[str, Entry] = {}
        for entry in listed:
            try:
                which = ssm.parsed(entry.uri)
                ids[which if isinstance(which, str) else entry.uri] = entry
            except HarnessError as error:
                self._miss(entry, error)
        known = {instance.id: instance for instance in self._fan.managed(list(ids))}
        for instance, entry in ids.items():
            found = known.get(instance)
            problem = ssm.refusal(found, instance)
            if problem is not None or found is None:
                self._miss(entry, problem or TargetError(f"{instance} is not known"))
                continue
            target = {"uri": entry.uri, "name": entry.name, "environment": Environment.HOST.value, **ssm.facts(found, self._fan.bucket)}
            self._talks[instance] = (entry, Dialogue(self._plans.of(entry), target))
        waiting = self._next(list(self._talks))
        while waiting:
            again: list[str] = []
            for questions, instances in waiting:
                again += self._asked(questions, instances)
            waiting = self._next(again)

    def _next(self, instances: Sequence[str]) -> list[tuple[Batch, list[str]]]:
        """Return what to ask next, with the instances that are asked the same; those with nothing left are judged and kept."""
        groups: dict[tuple[tuple[str, ...], bool], tuple[Batch, list[str]]] = {}
        for instance in instances:
            if (questions := self._questions(instance)) is not None:
                key = (questions.commands, bool(questions.groups))
                groups.setdefault(key, (questions, []))[1].append(instance)
        return list(groups.values())

    def _questions(self, instance: str) -> Batch | None:
        """Return what an instance is to be asked; None when it is judged, or given up."""
        entry, dialogue = self._talks[instance]
        try:
            questions = dialogue.batch()
            if questions is None:
                self._keep(entry, dialogue.capture(), dialogue.run())
                del self._talks[instance]
        except HarnessError as error:
            self._give_up(instance, error)
            return None
        return questions

    def _give_up(self, instance: str, error: HarnessError) -> None:
        entry, _ = self._talks.pop(instance)
        self._miss(entry, error)

    def _asked(self, questions: Batch, instances: Sequence[str]) -> list[str]:
        """Ask, in as many pieces as answers need where no bucket takes them; return those that may have more to tell."""
        left = list(instances)
        pieces = self._split(questions)
        for piece in pieces:
            cut: list[str] = []
            for instance, outcome in self._fan.run(left, piece.text, min(piece.seconds, self._seconds)):
                if isinstance(outcome, CutError) and len(piece.commands) > 1:
                    cut.append(instance)
                else:
                    self._heard(instance, piece, outcome, last=piece is pieces[-1])
            if cut:
                self._pieces = min(self._pieces * 2, MOST_PIECES)
                for half in (piece.commands[::2], piece.commands[1::2]):
                    cut = self._asked(batch(half, together=bool(piece.groups)), cut)
            left = [instance for instance in left if instance in self._talks]
        return left

    def _heard(self, instance: str, piece: Batch, outcome: Completed | TargetError, *, last: bool) -> None:
        """Take what an instance answered; after the last piece it is judged and kept at once, if nothing is left to ask."""
        _, dialogue = self._talks[instance]
        try:
            if isinstance(outcome, TargetError):
                raise outcome
            dialogue.asks(piece)
            dialogue.take(outcome)
        except HarnessError as error:
            self._give_up(instance, error)
            return
        if last:
            self._questions(instance)

    def _split(self, questions: Batch) -> list[Batch]:
        """Split questions into pieces that are about as large as each other; few questions stay together."""
        number = min(self._pieces, len(questions.commands) // FEW)
        if number <= 1:
            return [questions]
        parts = [questions.commands[start::number] for start in range(number)]
        return [batch(part, together=bool(questions.groups)) for part in parts]


def single(uri: str, plan: Plan, fan: Callable[[], RunCommand], seconds: float) -> tuple[Capture, Run]:
    """Ask one instance, as `audit.audited` does with a target. Raises UsageError and TargetError."""
    from harness.fleet import Plans
    from harness.inventory import Entry

    found: list[tuple[Capture, Run]] = []
    problems: list[HarnessError] = []

    def keep(_: Entry, capture: Capture, run: Run) -> None:
        found.append((capture, run))

    def miss(_: Entry, error: HarnessError) -> None:
        problems.append(error)

    ssm.parsed(uri)
    Asking(Plans(plan), fan(), seconds, keep, miss).ask([Entry(uri, uri)])
    for problem in problems:
        raise problem
    return found[0]
