"""Many read-only commands in one round trip: the program text that runs them, and their answers taken apart again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.capture import Answer
    from harness.targets.base import Completed


@dataclass(frozen=True, slots=True)
class Batch:
    """One round trip. Its text is bash for `Target.run`, or for a file that `/bin/bash` runs; both output streams belong to it."""

    text: str
    seconds: float
    """How long it may take at most; each command has its own, shorter limit that holds on the host."""
    commands: tuple[str, ...]

    def answers(self, completed: Completed) -> tuple[Mapping[str, Answer], Mapping[str, int]]:
        """Return the answer of each command that has one, and how many secrets of each kind were blotted out on the host."""
        raise NotImplementedError


def batch(commands: Sequence[str]) -> Batch:
    """Put commands into one batch, grouping what can be asked together."""
    raise NotImplementedError
