"""A process as a two-way stream: bytes in, two streams of bytes out, and a limit to every wait."""

from __future__ import annotations

import os
import select
import subprocess
import threading
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Protocol, cast

from harness.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OUT, ERR = "stdout", "stderr"
CHUNK = 1 << 18
PATIENCE = 5.0
DRAIN_SECONDS = 0.5
"""How often the draining looks whether it is to end; what is left behind may hold the pipes for ever."""


class NoRoomError(TargetError):
    """A target that is there opens no further shell."""


class Stream(Protocol):
    """What a persistent shell talks through: the local process of an engine, or a channel of an SSH connection."""

    def send(self, data: bytes) -> None:
        """Queue bytes for the other side's standard input; what does not fit now goes out while `receive` waits."""
        ...

    def receive(self, timeout: float | None) -> list[tuple[str, bytes]]:
        """Wait until something arrives and return it as (`stdout` or `stderr`, bytes); empty bytes say that this one has ended.

        An empty list says that `timeout` seconds have passed.
        """
        ...

    def ended(self) -> str:
        """Say in a few words how the other side ended; meaningful once one of its streams has ended."""
        ...

    def drain(self) -> None:
        """From now on throw away whatever arrives, so that a process left behind never blocks; only `close` may follow."""
        ...

    def close(self) -> None:
        """End it, whatever it does, within seconds."""
        ...


class Process:
    """A local process as a Stream, for one caller at a time."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches us and not it. Raises TargetError when it cannot start."""
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                list(argv), stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True, env=env
            )  # fmt: skip
        except OSError as error:
            message = f"{argv[0]} cannot be started: {error.strerror}"
            raise TargetError(message) from error
        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._outputs = (cast("IO[bytes]", self._process.stdout), cast("IO[bytes]", self._process.stderr))
        os.set_blocking(self._stdin.fileno(), False)
        self._open = dict(zip((output.fileno() for output in self._outputs), (OUT, ERR), strict=True))
        self._queue = b""
        self._poll = select.poll()
        for descriptor in self._open:
            self._poll.register(descriptor, select.POLLIN)
        self._drain: threading.Thread | None = None
        self._closing = threading.Event()

    def send(self, data: bytes) -> None:
        """See Stream."""
        self._queue += data
        self._flush()
        if self._queue:
            self._poll.register(self._stdin.fileno(), select.POLLOUT)

    def receive(self, timeout: float | None) -> list[tuple[str, bytes]]:
        """See Stream."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            ready = [descriptor for descriptor, _ in self._poll.poll(left)]
            if not ready:
                return []
            got = [(self._open[descriptor], self._read(descriptor)) for descriptor in ready if descriptor in self._open]
            if self._queue:
                self._flush()
            if got:
                return got

    def ended(self) -> str:
        """See Stream: the exit code."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        return f"exit code {self._process.returncode}"

    def drain(self) -> None:
        """See Stream."""
        self._drain = threading.Thread(target=self._discard, name="drain", daemon=True)
        self._drain.start()

    def close(self) -> None:
        """Close its input, which ends a shell, and kill it when it does not go."""
        with suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(0.3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._closing.set()
        if self._drain is not None:
            self._drain.join()
        for output in self._outputs:
            output.close()

    def _discard(self) -> None:
        while self._open and not self._closing.is_set():
            self.receive(DRAIN_SECONDS)

    def _read(self, descriptor: int) -> bytes:
        try:
            data = os.read(descriptor, CHUNK)
        except OSError:
            data = b""
        if not data:
            self._poll.unregister(descriptor)
            del self._open[descriptor]
        return data

    def _flush(self) -> None:
        sent = 0
        view = memoryview(self._queue)
        try:
            while sent < len(view):
                sent += os.write(self._stdin.fileno(), view[sent : sent + CHUNK])
        except BlockingIOError:
            pass
        except (OSError, ValueError):  # the other side is gone; `receive` will find its streams ended
            sent = len(view)
        view.release()
        self._queue = self._queue[sent:]
        if not self._queue:
            with suppress(KeyError, ValueError):
                self._poll.unregister(self._stdin.fileno())
