"""testinfra on top of a target: every command goes through the target once, and is kept as evidence."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from harness.targets.base import CommandTimeout, Completed

if TYPE_CHECKING:
    from harness.targets.base import Target

__all__ = ["Backend", "Record", "host_for"]

SECONDS = 120.0
"""Limit for one command of a check; a search through a whole file system takes its time."""


@dataclass(frozen=True, slots=True)
class Record:
    """A command that was really run on the target, and its answer."""

    completed: Completed
    moment: int
    """Which judging pass it belongs to, counted from 0; `forget` starts the next."""
    timed_out: bool = False

    def as_json(self) -> dict[str, object]:
        """Return it in the form of a capture file; output that is not UTF-8 as base64."""
        done = self.completed
        told: dict[str, object] = {
            "command": done.command,
            "exit_code": done.returncode,
            "stdout": as_text(done.stdout),
            "stderr": as_text(done.stderr),
            "seconds": round(done.seconds, 4),
            "moment": self.moment,
        }
        return {**told, "timed_out": True} if self.timed_out else told


class Backend(BaseBackend):  # type: ignore[misc]  # testinfra ships no types
    """The back end of one target. Within one judging pass a command text has one answer, however often it is asked."""

    NAME = "harness"

    def __init__(self, target: Target) -> None:
        """Take an open target."""
        super().__init__(target.name)
        self.target = target
        self.asked: list[str] = []
        """Every command text in the order in which it was asked, answered from memory or not."""
        self._answers: dict[str, Completed | CommandTimeout] = {}
        self._records: list[Record] = []
        self._moment = 0

    def run(self, command: str, *args: str, **kwargs: Any) -> CommandResult:  # noqa: ANN401, ARG002 - testinfra's signature
        """Answer a command. Raises CommandTimeout after two minutes, TargetError when the target is lost."""
        text = self.get_command(command, *args)
        self.asked.append(text)
        answer = self._answers.get(text)
        if answer is None:
            answer = self._answers[text] = self._run(text)
        if isinstance(answer, CommandTimeout):
            raise answer
        return self.result(answer.returncode, text.encode("utf-8", "surrogateescape"), answer.stdout, answer.stderr)

    def _run(self, text: str) -> Completed | CommandTimeout:
        try:
            completed = self.target.run(text, timeout=SECONDS)
        except CommandTimeout as timeout:
            partial = Completed(text, -1, timeout.stdout, timeout.stderr, timeout.seconds)
            self._records.append(Record(partial, self._moment, timed_out=True))
            return timeout
        self._records.append(Record(completed, self._moment))
        return completed

    def forget(self) -> None:
        """Start a new judging pass: what was true before a restart has to be asked again. The records stay."""
        self._answers.clear()
        self._moment += 1

    def records(self) -> list[dict[str, object]]:
        """Return every command that was run, in order, for the evidence."""
        return [record.as_json() for record in self._records]

    def get_encoding(self) -> str:
        """Return UTF-8, since targets run with LC_ALL=C; testinfra would ask a Python on the target."""
        return "UTF-8"

    def decode(self, data: bytes) -> str:
        """Decode an answer; bytes that are no UTF-8 stay visible as replacement characters."""
        return data.decode("utf-8", "replace")


def as_text(data: bytes) -> str | dict[str, str]:
    """Return text as text and anything else as `{"base64": …}`."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def host_for(target: Target) -> Host:
    """Return testinfra's host on an open target; its `backend` is a Backend."""
    return Host(Backend(target))
