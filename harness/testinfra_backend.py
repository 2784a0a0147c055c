"""testinfra on top of a target or of a capture: a question has one answer, however often it is asked, and each is kept as evidence."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from harness import grouping
from harness.batch import batch
from harness.capture import Answer
from harness.suite import CannotTell
from harness.targets.base import CommandTimeout
from harness.targets.lanes import lanes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.batch import Batch
    from harness.targets.base import Completed, Target

__all__ = ["Backend", "Replay", "host_for"]

SECONDS = 120.0
"""Limit for one command that is asked by itself; a search through a whole file system takes its time."""
LONG = re.compile(r"\b(aide|find|getent|grep|rpm|sshd|yum)\b")
"""What takes as long as everything else together, and stays out of the way of it where two commands run at a time."""


class Answering(BaseBackend):  # type: ignore[misc]  # testinfra ships no types
    """What a target and a capture have in common: a command text has one answer."""

    NAME = "harness"

    def __init__(self, name: str) -> None:
        """Begin without answers."""
        super().__init__(name)
        self.asked: list[str] = []
        """Every command text in the order in which it was asked, answered from memory or not."""
        self.known: dict[str, Answer] = {}

    def run(self, command: str, *args: str, **kwargs: Any) -> CommandResult:  # noqa: ANN401, ARG002 - testinfra's signature
        """Answer a command. Raises CommandTimeout after its time, TargetError when the target is lost."""
        text = self.get_command(command, *args)
        self.asked.append(text)
        answer = self.known.get(text)
        if answer is None:
            answer = self.find(text)
        if answer.timed_out:
            raise CommandTimeout(text, answer.seconds or SECONDS, answer.stdout, answer.stderr)
        return self.result(answer.exit_code, text.encode("utf-8", "surrogateescape"), answer.stdout, answer.stderr)

    def find(self, text: str) -> Answer:
        """Answer what is not known yet."""
        raise NotImplementedError

    def get_encoding(self) -> str:
        """Return UTF-8, since targets run with LC_ALL=C; testinfra would ask a Python on the target."""
        return "UTF-8"

    def decode(self, data: bytes) -> str:
        """Decode an answer; bytes that are no UTF-8 stay visible as replacement characters."""
        return data.decode("utf-8", "replace")


class Backend(Answering):
    """The back end of one open target. What it prints goes through the blotting out of secrets on the target, as in an audit."""

    def __init__(self, target: Target) -> None:
        """Take an open target."""
        super().__init__(target.name)
        self.target = target
        self.round_trips = 0
        self._records: list[Answer] = []
        self._moment = 0
        self._lock = threading.Lock()
        self._asking: dict[str, threading.Lock] = {}

    def prepare(self, commands: Sequence[str]) -> None:
        """Ask many questions at once, so that the checks find their answers; what took too long is asked again when a check wants it."""
        new = [text for text in dict.fromkeys(commands) if text not in self.known]
        if lanes_of(self.target) == 1:
            self._prepare(new)  # in this thread, which Ctrl-C reaches
            return
        parts = shares(new)
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(self._prepare, parts))

    def _prepare(self, new: Sequence[str]) -> None:
        if new:
            answers, _ = self._answered(batch(new))
            self._keep(answers[text] for text in new if text in answers and not answers[text].timed_out)

    def find(self, text: str) -> Answer:
        """Ask the target, unless somebody else has just done so."""
        with self._lock:
            own = self._asking.setdefault(text, threading.Lock())
        with own:
            return self.known.get(text) or self._ask(text)

    def _answered(self, asked: Batch) -> tuple[Mapping[str, Answer], Completed]:
        with self._lock:
            self.round_trips += 1
        completed = self.target.run(asked.text, timeout=asked.seconds)
        return asked.answers(completed)[0], completed

    def _ask(self, text: str) -> Answer:
        answers, completed = self._answered(batch([text], limit=SECONDS))
        answer = answers.get(text)
        if answer is None:
            raise CannotTell(f"no answer came back to `{text}`: {completed.err.strip()[-300:]}")
        self._keep([replace(answer, seconds=completed.seconds)])
        return self.known[text]

    def _keep(self, answers: Iterable[Answer]) -> None:
        with self._lock:
            for answer in answers:
                self.known[answer.command] = replace(answer, moment=self._moment)
                self._records.append(self.known[answer.command])

    def forget(self) -> None:
        """Start a new judging pass: what was true before a restart has to be asked again. The records stay."""
        self.known.clear()
        self._moment += 1

    def records(self) -> tuple[Answer, ...]:
        """Return every question that the target was asked, in order, for the evidence."""
        return tuple(self._records)


class Beside(Answering):
    """A second asker of the same target, for a thread of its own: what one knows the other knows, but each notes what itself asked."""

    def __init__(self, backend: Backend) -> None:
        """Ask through an open target's back end."""
        super().__init__(backend.target.name)
        self.known = backend.known
        self._backend = backend

    def find(self, text: str) -> Answer:
        """Ask the target."""
        return self._backend.find(text)


class Replay(Answering):
    """The back end of a capture. What the capture does not hold makes the rule an error, or is noted down to be asked."""

    def __init__(self, name: str, answers: Mapping[str, Answer], *, note: bool = False) -> None:
        """Take the answers. With `note`, a check goes on with a plausible answer, to show what else it would ask; its outcome is void."""
        super().__init__(name)
        self.known = dict(answers)
        self.missing: dict[str, None] = {}
        self.lacked = False
        """Set when an answer was missing; whoever calls a check clears it before."""
        self._note = note

    def find(self, text: str) -> Answer:
        """Note down a question, or say that nobody knows."""
        if not self._note:
            raise CannotTell(f"the capture holds no answer to `{text}`")
        self.missing[text] = None
        self.lacked = True
        return Answer(text, *grouping.placeholder(text))


def shares(questions: Sequence[str]) -> list[list[str]]:
    """Divide questions for two lanes; none of them changes what another one looks at."""
    long = [text for text in questions if LONG.search(text)]
    return [part for part in ([text for text in questions if text not in set(long)], long) if part] or [[]]


def host_for(target: Target) -> Host:
    """Return testinfra's host on an open target; its `backend` is a Backend."""
    return Host(Backend(target))
