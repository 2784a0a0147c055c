"""A capture file as a target: `capture://FILE` answers what was asked when it was taken, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness import capture as captures
from harness.errors import TargetError, UsageError
from harness.targets.base import Closing, CommandTimeout, Completed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.capture import Capture
    from harness.model import Environment


class CaptureTarget(Closing):
    """The answers of a host that need not be there any more."""

    def __init__(self, path: Path, capture: Capture) -> None:
        """Take a capture that was read."""
        self.path, self.capture = path, capture
        self._answers = {answer.command: answer for answer in capture.answers}

    @property
    def name(self) -> str:
        """The name of the host."""
        return self.capture.target["name"]

    @property
    def uri(self) -> str:
        """`capture://FILE`."""
        return f"capture://{self.path}"

    @property
    def environment(self) -> Environment:
        """What kind of target it was."""
        return self.capture.environment

    @property
    def facts(self) -> Mapping[str, str]:
        """What was known of the target, and when it was asked."""
        return {**self.capture.target, "captured": self.capture.started.isoformat()}

    def run(
        self,
        command: str,
        *,
        stdin: bytes | None = None,
        timeout: float | None = None,
        on_line: Callable[[str, str], None] | None = None,
    ) -> Completed:
        """Return the answer to a command that was asked, with nothing on its standard input. Raises TargetError for any other."""
        answer = self._answers.get(command)
        if answer is None or stdin:
            raise TargetError(f"{self.uri} holds no answer to `{command}`", hint="take a new capture with `harness capture`")
        if answer.timed_out:
            raise CommandTimeout(command, timeout or answer.seconds, answer.stdout, answer.stderr)
        for name, data in (("stdout", answer.stdout), ("stderr", answer.stderr)):
            for line in data.decode("utf-8", "replace").splitlines() if on_line else ():
                if on_line:
                    on_line(name, line)
        return Completed(command, answer.exit_code, answer.stdout, answer.stderr, answer.seconds)

    def put(self, data: bytes, path: str, *, mode: int = 0o600) -> None:  # noqa: ARG002 - the protocol's
        """Refuse: what is past cannot be changed."""
        raise TargetError(f"{self.uri} cannot be written to")

    def get(self, path: str) -> bytes:
        """Return a file whose text was asked for."""
        from harness import grouping

        done = self.run(grouping.READ.format(path))
        if done.returncode == grouping.MISSING:
            raise FileNotFoundError(path)
        return done.stdout

    def restart(self) -> None:
        """Refuse."""
        raise TargetError(f"{self.uri} cannot be restarted")

    def close(self) -> None:
        """Do nothing."""


def open_uri(uri: str) -> CaptureTarget:
    """Open `capture://FILE`."""
    _, _, name = uri.partition("://")
    if not name:
        raise UsageError(f"{uri} does not name a file", hint="write capture://FILE")
    return CaptureTarget(Path(name), captures.read(Path(name)))
