"""The errors of harness, drawn once, each with a hint and the exit code it ends in.

HarnessError               2
├── UsageError             2  a command was called wrongly
├── ConfigError            2  harness.hcl, tfvars, a variable
├── ContentError           2  a rule, baseline, control or script of ours or of the user does not fit together
├── DocumentError          2  a component document that AWSTOE would refuse
├── BuildError             1  a document ran and failed on the target
├── PublishError           1  AWS refused, or somebody else changed what we were about to change
└── UnreachableError       3  something outside is missing or does not answer
    ├── EngineError        3  no container engine, or it refuses to start a container
    ├── ImageError         3  a base image that cannot be had
    └── TargetError        3  a target that died, hangs or cannot be logged in to

Only the command line catches them: it prints `error: <message>` and `hint: <hint>`, each on one line, and exits with `exit_code`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Location:
    """Where in a file the mistake stands."""

    path: Path
    line: int | None = None
    """1-based; None where only the file is known."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line is not None else str(self.path)


class HarnessError(Exception):
    """Anything that harness refuses or cannot do, told in one line."""

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, hint: str | None = None, at: Location | None = None) -> None:
        """Put the place first and keep the text on one line, since CI systems show the first line only."""
        self.message = " ".join(message.split())
        self.hint = " ".join(hint.split()) if hint else None
        self.at = at
        super().__init__(f"{at}: {self.message}" if at else self.message)


class UsageError(HarnessError):
    """A command was called with options that do not fit together."""


class ConfigError(HarnessError):
    """The configuration says something that cannot be meant."""


class ContentError(HarnessError):
    """Rules, baselines, controls, scripts and suites do not fit together."""


class DocumentError(HarnessError):
    """A component document that EC2 Image Builder would refuse."""


class BuildError(HarnessError):
    """A component document ran and failed."""

    exit_code: ClassVar[int] = 1


class PublishError(HarnessError):
    """AWS did not do what was planned; running again goes on where this stopped."""

    exit_code: ClassVar[int] = 1


class UnreachableError(HarnessError):
    """Something outside of harness is missing, refuses or does not answer."""

    exit_code: ClassVar[int] = 3


class EngineError(UnreachableError):
    """No container engine is there, or it cannot start a container."""


class ImageError(UnreachableError):
    """A base image cannot be pulled or built."""


class TargetError(UnreachableError):
    """A target does not answer, died, or refuses the log-in."""
