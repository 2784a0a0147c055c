"""How actions reach the target: commands in the run's own folder, within the step's time, with every printed line noted."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from harness.toe.outcome import Line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.targets.base import Completed, Target
    from harness.toe.logs import RunLog
    from harness.toe.semantics import Semantics


class ActionError(Exception):
    """An action did not succeed; the attempt has failed."""

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        """Keep the exit code of the command, where there is one."""
        super().__init__(message)
        self.exit_code = exit_code


class TimeUp(Exception):  # noqa: N818 - a fact about an attempt, as CommandTimeout is
    """The attempt used up its time between two commands."""


class Storage(Protocol):
    """S3, or something that stands for it."""

    def list(self, bucket: str, prefix: str, *, owner: str | None) -> Sequence[str]:
        """Return the keys below a prefix. Raises OSError with a text for people when that fails."""
        ...

    def get(self, bucket: str, key: str, *, owner: str | None) -> bytes:
        """Return an object. Raises OSError."""
        ...

    def put(self, bucket: str, key: str, data: bytes, *, owner: str | None) -> None:
        """Write an object. Raises OSError."""
        ...


class Nested(Protocol):
    """Runs another document in the middle of a step."""

    def __call__(self, source: str, phases: Sequence[str], parameters: Mapping[str, str]) -> tuple[bool, Mapping[str, str]]:
        """Return whether it succeeded, and what ExecuteDocument hands on."""
        ...


@dataclass(slots=True)
class Session:
    """One document's way to its target. Everything that a step's commands print passes through here."""

    target: Target
    log: RunLog
    semantics: Semantics
    folder: str
    """The run's own folder on the target: the working directory of every command, made when needed, removed at the end."""
    clock: Callable[[], float]
    """Monotonic seconds."""
    sleep: Callable[[float], None]
    nested: Nested
    storage: Storage | None = None
    on_line: Callable[[str, str], None] | None = None
    deadline: float | None = None
    quiet: bool = False
    """Set by `disableLogging`: nothing of what is printed is kept."""
    printed: list[Line] = field(default_factory=list)

    def run(self, script: str, *arguments: str, stdin: bytes | None = None, echo: bool = True) -> Completed:
        """Run a bash text with its positional parameters. Raises CommandTimeout, TimeUp and TargetError."""
        folder = shlex.quote(self.folder)
        enter = f"mkdir -p -m 700 -- {folder} && cd -- {folder} || exit 1\n"
        given = f"set -- {shlex.join(arguments)}\n" if arguments else ""
        if "\0" in script or "\0" in given:
            raise ActionError("a command cannot hold a zero byte, which an earlier step must have printed")
        return self.target.run(f"{enter}{given}{script}", stdin=stdin, timeout=self._remaining(), on_line=self.line if echo else None)

    def check(self, script: str, *arguments: str, stdin: bytes | None = None, echo: bool = True) -> Completed:
        """Run as `run` does. Raises ActionError with what the command complained about when it does not end with 0."""
        done = self.run(script, *arguments, stdin=stdin, echo=echo)
        if done.returncode != 0:
            complaint = done.err.strip().splitlines()
            raise ActionError(complaint[-1] if complaint else f"exit code {done.returncode}", done.returncode)
        return done

    def ask(self, script: str) -> str:
        """Run a question that changes nothing and is not to be seen in the log."""
        return self.check(script, echo=False).out

    def line(self, stream: str, text: str) -> None:
        """Note a printed line."""
        if self.quiet:
            return
        text = self.log.masked(text.rstrip("\r\n"))
        self.printed.append(Line(stream, text))
        self.log.console(text)
        if self.on_line is not None:
            self.on_line(stream, text)

    def warn(self, text: str) -> None:
        """Note something that a reader should know and that is no failure."""
        self.log.tell(text, "Warn")
        self.line("stderr", f"warning: {text}")

    def _remaining(self) -> float | None:
        if self.deadline is None:
            return None
        if (left := self.deadline - self.clock()) <= 0:
            raise TimeUp
        return left
