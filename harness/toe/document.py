"""A component document as frozen data: what it declares, its phases, its steps, and the places where it says so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from harness.errors import DocumentError, Location

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.toe.conditions import Condition, If
    from harness.toe.loops import Loop
    from harness.toe.tree import Plain

MAX_BYTES: Final = 64 * 1024
"""The service's quota for a document that it fetches from S3 (Image Builder quotas, "component size")."""
MAX_INLINE_CHARACTERS: Final = 16_000
"""CreateComponent's limit for `data`; a longer document has to be put into S3."""
DEFAULT_TIMEOUT: Final = 7200
NO_TIMEOUT: Final = -1
BUILDING: Final = frozenset({"build", "validate"})
"""Phases that Image Builder runs on the build instance."""
TESTING: Final = frozenset({"test", "container-host-test"})
"""Phases that it runs on an instance of the finished image."""


class OnFailure(StrEnum):
    """What a failed step means for the rest."""

    ABORT = "Abort"
    CONTINUE = "Continue"
    IGNORE = "Ignore"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that a recipe may set."""

    name: str
    default: str | None
    """None: a recipe must set it. An empty text is a value."""
    description: str
    line: int


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that stays."""

    name: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Step:
    """One action with its inputs, as written: references are resolved when it runs."""

    name: str
    phase: str
    action: str
    line: int
    inputs: tuple[Mapping[str, Plain], ...] = ()
    """A map is a list of one; empty for Assert, whose inputs are `assertion`."""
    assertion: Condition | None = None
    condition: If | None = None
    loop: Loop | None = None
    loop_as_written: Mapping[str, Plain] | None = None
    timeout_seconds: int = DEFAULT_TIMEOUT
    """For one attempt, all iterations of a loop together; -1: no limit."""
    on_failure: OnFailure = OnFailure.ABORT
    max_attempts: int = 1
    disable_logging: bool = False


@dataclass(frozen=True, slots=True)
class Phase:
    """Steps that run together."""

    name: str
    steps: tuple[Step, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Document:
    """A component document that AWSTOE would accept."""

    name: str
    """As written, else the file's stem."""
    description: str
    parameters: tuple[Parameter, ...]
    constants: tuple[Constant, ...]
    phases: tuple[Phase, ...]
    source: bytes
    """The very bytes that were read."""
    path: Path

    def step(self, phase: str, name: str) -> Step:
        """Return a step by its names. Raises KeyError."""
        for candidate in self.phases:
            for step in candidate.steps:
                if (candidate.name, step.name) == (phase, name):
                    return step
        raise KeyError((phase, name))

    @property
    def component_type(self) -> str:
        """What the service makes of it: `TEST` when `test` is its only phase, else `BUILD`."""
        return "TEST" if [phase.name for phase in self.phases] == ["test"] else "BUILD"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a document."""

    at: Location
    message: str
    hint: str | None = None

    def error(self, others: int = 0) -> DocumentError:
        """Return it as the error to raise, with the number of further mistakes."""
        more = f" (and {others} more)" if others else ""
        return DocumentError(self.message + more, hint=self.hint, at=self.at)

    def __str__(self) -> str:
        return f"{self.at}: {self.message}"
