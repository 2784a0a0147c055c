"""What our runner does where AWSTOE's own guide is silent or says two things: every such choice has a name and can be changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Semantics:
    """The choices, with the defaults that fail early rather than late."""

    missing_parameters: Literal["reject", "empty"] = "reject"
    """A parameter without value and default: `awstoe run` puts nothing in its place, the service refuses the build."""
    unknown_parameters: Literal["reject", "ignore"] = "reject"
    """A value for a parameter that the document does not declare: `awstoe run` ignores it, CreateImageRecipe refuses it."""
    missing_files: Literal["warn", "fail"] = "warn"
    """DeleteFile and DeleteFolder on a path that is not there."""
    continue_to_later_phases: bool = True
    """After a failure with `onFailure: Continue`, whether the phases after the failed one run as well."""
    retry_delay_seconds: float = 0
    """Pause between two attempts of a step."""
    max_reboots: int = 10
    """How often one step may ask for a reboot with exit code 194 before it counts as failed."""
    working_directory: str = "/tmp"  # noqa: S108 - the service's own default for recipes; a folder of ours is made inside
    """Where the folder for scripts, the working directory of every command, is made and removed again."""
