"""Several shells on one target, so that several commands run at a time where it has the processors for them."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.targets.base import Completed, Target
    from harness.targets.shell import PersistentShell


@runtime_checkable
class Several(Protocol):
    """A target that runs several commands at a time."""

    @property
    def lanes(self) -> int:
        """How many."""
        ...


def lanes_of(target: Target) -> int:
    """Return how many commands a target runs at a time; what does not say so runs one."""
    return target.lanes if isinstance(target, Several) else 1


class Lanes:
    """Shells of one target, to be used like one by any number of threads; a shell is opened when all before it are busy."""

    def __init__(self, shells: Sequence[PersistentShell]) -> None:
        """Take the shells."""
        self._shells = tuple(shells)
        self._free = set(range(len(self._shells)))
        self._changed = threading.Condition()

    def run(
        self,
        command: str,
        *,
        stdin: bytes | None = None,
        timeout: float | None = None,
        on_line: Callable[[str, str], None] | None = None,
    ) -> Completed:
        """See PersistentShell. `timeout` does not count the wait for a shell."""
        with self._lane() as shell:
            return shell.run(command, stdin=stdin, timeout=timeout, on_line=on_line)

    def reopen(self) -> None:
        """See PersistentShell."""
        for shell in self._shells:
            shell.reopen()

    def close(self) -> None:
        """See PersistentShell."""
        for shell in self._shells:
            shell.close()

    @contextmanager
    def _lane(self) -> Iterator[PersistentShell]:
        """Take the first shell that is free."""
        with self._changed:
            self._changed.wait_for(lambda: self._free)
            number = min(self._free)
            self._free.remove(number)
        try:
            yield self._shells[number]
        finally:
            with self._changed:
                self._free.add(number)
                self._changed.notify()
