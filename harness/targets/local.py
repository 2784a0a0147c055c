"""This machine as a target: `local://`."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

from harness.errors import TargetError, UsageError
from harness.model import Environment
from harness.targets import files
from harness.targets.base import Closing
from harness.targets.shell import PersistentShell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.targets.base import Completed


class LocalTarget(Closing):
    """Runs commands on this machine, as the user who runs harness, without that user's environment."""

    environment = Environment.HOST
    uri = "local://"

    def __init__(self) -> None:
        """Prepare; the shell is opened by the first command."""
        self.name = platform.node() or "localhost"
        self._shell = PersistentShell(["/usr/bin/env", "-i", "/bin/bash", "--noprofile", "--norc"], name="this machine")

    @property
    def facts(self) -> Mapping[str, str]:
        """Host name, kernel and user."""
        return {"host": self.name, "kernel": platform.release(), "user": str(os.geteuid())}

    def run(
        self,
        command: str,
        *,
        stdin: bytes | None = None,
        timeout: float | None = None,
        on_line: Callable[[str, str], None] | None = None,
    ) -> Completed:
        """See Target."""
        return self._shell.run(command, stdin=stdin, timeout=timeout, on_line=on_line)

    def put(self, data: bytes, path: str, *, mode: int = 0o600) -> None:
        """See Target."""
        files.put(self, data, path, mode)

    def get(self, path: str) -> bytes:
        """See Target."""
        return files.get(self, path)

    def restart(self) -> None:
        """Refuse: harness does not restart the machine it runs on."""
        message = "this machine would have to restart, which harness does not do to the machine it runs on"
        raise TargetError(message, hint="restart it yourself, then run the same command again")

    def close(self) -> None:
        """See Target."""
        self._shell.close()


def open_uri(uri: str) -> LocalTarget:
    """Open `local://`."""
    if uri != "local://":
        message = f"{uri} names a host, but local is this machine"
        raise UsageError(message, hint="write local://")
    return LocalTarget()
