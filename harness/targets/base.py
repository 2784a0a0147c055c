"""What every target can do: run a command, carry a file, restart, go away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from harness.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.model import Environment


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command left behind."""

    command: str
    returncode: int
    stdout: bytes
    stderr: bytes
    seconds: float

    @property
    def out(self) -> str:
        """Standard output as text; bytes that are no UTF-8 stay visible as replacement characters."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def err(self) -> str:
        """Standard error as text."""
        return self.stderr.decode("utf-8", "replace")


class CommandTimeout(Exception):  # noqa: N818 - a fact about one command; the caller decides whether it is an error
    """The command was still running after its time and was killed with all it had started."""

    def __init__(self, command: str, seconds: float, stdout: bytes, stderr: bytes) -> None:
        """Keep what was printed so far, since it is the only evidence of a hang."""
        super().__init__(f"timed out after {seconds:g} s: {command.splitlines()[0] if command else ''}")
        self.command, self.seconds, self.stdout, self.stderr = command, seconds, stdout, stderr


class LostError(TargetError):
    """The target went away in the middle of a command; what had arrived by then is kept."""

    def __init__(self, message: str, stdout: bytes, stderr: bytes, *, hint: str | None = None) -> None:
        """Keep what was printed so far."""
        super().__init__(message, hint=hint)
        self.stdout, self.stderr = stdout, stderr


@runtime_checkable
class Target(Protocol):
    """Something that commands run on, as root unless the URI says otherwise."""

    @property
    def name(self) -> str:
        """Short name for people: the container's, the host's."""
        ...

    @property
    def uri(self) -> str:
        """What `--target` and `audit` take to come back here: `podman://NAME`."""
        ...

    @property
    def environment(self) -> Environment:
        """Which rules can be judged here."""
        ...

    @property
    def facts(self) -> Mapping[str, str]:
        """What a reader of the evidence must know: engine, runtime, image, kernel, limits found out."""
        ...

    def run(
        self,
        command: str,
        *,
        stdin: bytes | None = None,
        timeout: float | None = None,
        on_line: Callable[[str, str], None] | None = None,
    ) -> Completed:
        """Run `command` as bash text in a fresh subshell with an empty (or the given) standard input.

        The subshell starts in `/` with `HOME=/root`, a fixed PATH and `LC_ALL=C`, and leaves nothing on the target.
        Raises CommandTimeout after `timeout` seconds (None: no limit), LostError when the target goes away meanwhile, and TargetError
        when it cannot be reached.
        """
        ...

    def put(self, data: bytes, path: str, *, mode: int = 0o600) -> None:
        """Write `data` to `path` on the target with `mode`, owner root, replacing what is there in one rename."""
        ...

    def get(self, path: str) -> bytes:
        """Read a file. Raises FileNotFoundError or PermissionError of the target."""
        ...

    def restart(self) -> None:
        """Restart the target's system and wait until it can run commands again."""
        ...

    def close(self) -> None:
        """End the connection; a target that harness made itself is removed unless it is to be kept."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


class Closing:
    """A target that a `with` block closes at its end."""

    def close(self) -> None:
        """See Target; where there is nothing to end, nothing happens."""

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()
