"""Talk to a running qemu through its monitor (QMP): one command, one answer, a limit to every wait."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from harness.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLL_SECONDS = 0.02


@contextmanager
def short(path: Path) -> Iterator[str]:
    """Give a name for a socket that fits into the 107 bytes that the kernel allows, wherever it lies."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def connect(path: Path, seconds: float) -> socket.socket:
    """Connect to a socket of qemu, which makes it within moments of its start. Raises TargetError when it does not."""
    deadline = time.monotonic() + seconds
    while True:
        link = socket.socket(socket.AF_UNIX)
        try:
            with short(path) as name:
                link.connect(name)
        except OSError as error:
            link.close()
            if time.monotonic() > deadline:
                raise TargetError(f"qemu does not listen on {path}: {error.strerror}") from error
            time.sleep(POLL_SECONDS)
        else:
            return link


class Monitor:
    """A connection to qemu's monitor, for one caller at a time."""

    def __init__(self, path: Path, *, seconds: float = 30.0) -> None:
        """Connect and say hello. Raises TargetError when qemu does not answer within `seconds`."""
        self._link = connect(path, seconds)
        self._link.settimeout(seconds)
        self._data = b""
        try:
            self._receive()
            self("qmp_capabilities")
        except BaseException:
            self._link.close()
            raise

    def __call__(self, command: str, *, seconds: float = 30.0, **arguments: object) -> Any:  # noqa: ANN401 - JSON
        """Run a command and return what it returns. Raises TargetError when qemu refuses, goes away or is silent."""
        self._link.settimeout(seconds)
        request = {"execute": command, **({"arguments": arguments} if arguments else {})}
        try:
            self._link.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise TargetError(f"qemu is gone: {error.strerror}") from error
        while True:
            answer = self._receive()
            if "error" in answer:
                raise TargetError(f"qemu refuses {command}: {answer['error'].get('desc', answer['error'])}")
            if "return" in answer:
                return answer["return"]

    def human(self, command: str, *, seconds: float = 60.0) -> str:
        """Run a command of the monitor for people; raises TargetError when it complains."""
        said = str(self("human-monitor-command", seconds=seconds, **{"command-line": command})).strip()
        if said.startswith("Error"):
            raise TargetError(f"qemu refuses `{command}`: {said.splitlines()[0]}")
        return said

    def close(self) -> None:
        """End the connection."""
        with suppress(OSError):
            self._link.close()

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()

    def _receive(self) -> dict[str, Any]:
        while b"\n" not in self._data:
            try:
                data = self._link.recv(1 << 16)
            except TimeoutError:
                raise TargetError("qemu does not answer") from None
            except OSError as error:
                raise TargetError(f"qemu is gone: {error.strerror}") from error
            if not data:
                raise TargetError("qemu has ended")
            self._data += data
        line, _, self._data = self._data.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer
