"""The options that commands share, and the settings that they lead to."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.config.settings import Settings


class Format(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Configuration; default: harness.hcl here, else the bundled one.")
]
Var = Annotated[list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="Set a variable; may be repeated.")]
VarFile = Annotated[
    list[Path] | None, typer.Option("--var-file", metavar="FILE", help="Read variables from a tfvars file; may be repeated.")
]
Output = Annotated[Format, typer.Option("--format", help="text for people, json for programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]


def settings_from(config: Path | None, var: Sequence[str] | None, var_file: Sequence[Path] | None) -> Settings:
    """Load the configuration as the common options say."""
    from harness import config as configuration

    variables = pairs(var, "--var")
    return configuration.load(config, variables=variables, var_files=tuple(var_file or ()), environ=os.environ, cwd=Path.cwd())


def pairs(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    """Read the values of an option that takes NAME=VALUE."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{option} {text} is not NAME=VALUE")
        found[name.strip()] = value
    return found
