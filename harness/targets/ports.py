"""Two sockets as a stream: the shell that a guest of qemu offers on its serial ports, one for its output and one for its errors."""

from __future__ import annotations

import secrets
import select
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.errors import TargetError
from harness.targets.stream import CHUNK, ERR, OUT
from harness.vms.qmp import connect

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

CONNECT_SECONDS = 10.0
SLICE_SECONDS = 0.2
STALE_SECONDS = 1.0
"""How long a guest may take at first; then it is let go and asked again with twice the patience, since an older shell, as a snapshot
always has one, may have eaten the word."""
GAP_SECONDS = 1.0
"""How long the ports stay without a listener then: an older shell of the guest finds its input ended, and goes."""


class Ports:
    """A fresh shell of the guest as a Stream, for one caller at a time."""

    def __init__(
        self, out: Path, err: Path, *, alive: Callable[[], bool], seconds: float, closed: Callable[[], None] = lambda: None
    ) -> None:
        """Ask the guest for a shell, for at most `seconds`. Raises TargetError when there is none, or the guest ends (`alive`)."""
        self._paths = (out, err)
        self._alive, self._closed = alive, closed
        self._links: dict[str, socket.socket] = {}
        self._queue = b""
        self._draining: threading.Thread | None = None
        self._ending = threading.Event()
        try:
            self._ask(seconds)
        except BaseException:
            self._hang_up()
            raise

    def send(self, data: bytes) -> None:
        """See Stream."""
        self._queue += data
        self._flush()

    def receive(self, timeout: float | None) -> list[tuple[str, bytes]]:
        """See Stream."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._links:
            left = SLICE_SECONDS if deadline is None else min(SLICE_SECONDS, max(0.0, deadline - time.monotonic()))
            got = self._arrived(left)
            if got:
                return got
            if not self._alive():
                return [(OUT, b""), (ERR, b"")]
            if deadline is not None and time.monotonic() >= deadline:
                return []
        return [(OUT, b""), (ERR, b"")]

    def ended(self) -> str:
        """See Stream."""
        return "its port was closed" if self._alive() else "the guest has ended"

    def drain(self) -> None:
        """See Stream."""
        self._draining = threading.Thread(target=self._discard, name="drain", daemon=True)
        self._draining.start()

    def close(self) -> None:
        """Hang up: the guest's shell then finds its input ended."""
        self._ending.set()
        if self._draining is not None:
            self._draining.join()
        self._hang_up()
        self._closed()

    def _discard(self) -> None:
        while self._links and not self._ending.is_set():
            self.receive(SLICE_SECONDS)

    def _ask(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        patience = STALE_SECONDS
        while not self._answered(min(deadline, time.monotonic() + patience)):
            if time.monotonic() > deadline:
                raise TargetError(f"the guest offers no shell within {seconds:g} s")
            patience *= 2

    def _answered(self, deadline: float) -> bool:
        """Connect, ask for a shell by a word of our own, and wait for the word."""
        self._hang_up()
        for stream, path in zip((OUT, ERR), self._paths, strict=True):
            self._links[stream] = connect(path, CONNECT_SECONDS)
            self._links[stream].setblocking(False)  # noqa: FBT003 - the socket module's own signature
        word = secrets.token_hex(8).encode()
        self._queue = b""
        self.send(b"shell " + word + b"\n")
        heard = b""
        while time.monotonic() < deadline:
            if not self._alive():
                raise TargetError("the guest has ended")
            for stream, data in self._arrived(SLICE_SECONDS):
                heard += data if stream == OUT else b""
                if not data:
                    return False
            if word + b" ready\n" in heard:
                return True
        self._hang_up()
        time.sleep(GAP_SECONDS)
        return False

    def _arrived(self, seconds: float) -> list[tuple[str, bytes]]:
        """Wait for what can be read, and send meanwhile what is queued."""
        writing = [self._links[OUT]] if self._queue and OUT in self._links else []
        readable, writable, _ = select.select(list(self._links.values()), writing, [], seconds)
        if writable:
            self._flush()
        got = []
        for stream, link in list(self._links.items()):
            if link in readable:
                try:
                    data = link.recv(CHUNK)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                if not data:
                    self._links.pop(stream).close()
                got.append((stream, data))
        return got

    def _flush(self) -> None:
        link = self._links.get(OUT)
        try:
            while self._queue and link is not None:
                self._queue = self._queue[link.send(self._queue) :]
        except BlockingIOError:
            pass
        except OSError:
            self._queue = b""

    def _hang_up(self) -> None:
        for link in self._links.values():
            with suppress(OSError):
                link.close()
        self._links.clear()
