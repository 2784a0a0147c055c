"""When images on their way take their next step: by hand in tests, each in a thread of its own in a rehearsal."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Scheduler(Protocol):
    """Takes the lives of images and walks through them. A life yields whenever its image has entered a state."""

    def submit(self, life: Iterator[None]) -> None:
        """Begin with a life; must not take a step before it returns."""
        ...

    def close(self) -> None:
        """Take no further steps, and return when no step is under way."""
        ...


@dataclass(slots=True)
class Stepped:
    """Nothing happens until somebody asks for it; the caller's thread does the work."""

    lives: list[Iterator[None]] = field(default_factory=list)

    def submit(self, life: Iterator[None]) -> None:
        """Put a life into the queue."""
        self.lives.append(life)

    def advance(self) -> bool:
        """Let every image take one step; tell whether any is still on its way."""
        for life in list(self.lives):
            if next(life, self) is self:
                self.lives.remove(life)
        return bool(self.lives)

    def drain(self) -> None:
        """Bring every image to its end."""
        while self.advance():
            pass

    def close(self) -> None:
        """Forget the lives."""
        self.lives.clear()


@dataclass(slots=True)
class Threaded:
    """Each image has a thread."""

    pause: Callable[[], None] = lambda: None
    """Called in each state that is not the last, so that people can watch them pass."""
    threads: list[threading.Thread] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def submit(self, life: Iterator[None]) -> None:
        """Start a thread for a life."""
        self.threads = [thread for thread in self.threads if thread.is_alive()]
        thread = threading.Thread(target=self._walk, args=(life,), name="image", daemon=True)
        self.threads.append(thread)
        thread.start()

    def _walk(self, life: Iterator[None]) -> None:
        self.pause()
        for _ in life:
            if self.closing.is_set():
                return
            self.pause()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for every image; tell whether all came to their end in `timeout` seconds each."""
        for thread in list(self.threads):
            thread.join(timeout)
        return not any(thread.is_alive() for thread in self.threads)

    def close(self) -> None:
        """Let running steps end, and wait for them. New lives can be submitted afterwards."""
        self.closing.set()
        self.join()
        self.closing.clear()
