"""The configuration of harness: packer-style HCL2 in, frozen settings out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.config.settings import Settings

__all__ = ["BUNDLED", "NAME", "load"]

NAME = "harness.hcl"
PACKAGE = Path(__file__).resolve().parent.parent
BUNDLED = next((path for path in (PACKAGE / NAME, PACKAGE.parent / NAME) if path.is_file()), PACKAGE / NAME)
"""The configuration that comes with harness: inside of the package when it is installed, else at the top of the checkout."""


def load(path: Path | None, *, variables: Mapping[str, str], var_files: Sequence[Path], environ: Mapping[str, str], cwd: Path) -> Settings:
    """Read `path`, else `harness.hcl` in `cwd`, else the configuration that comes with harness.

    `variables` are the values of --var, `var_files` those of --var-file, both in their order; `environ` answers `env()` and
    HARNESS_VAR_name. terraform.tfvars and *.auto.tfvars are read beside the file, and in `cwd` for the one of harness.
    Raises ConfigError: one line, with file, line and hint, and never a sensitive value in it.
    """
    # The parser and pydantic take a third of a second to import: `harness --help` must not.
    from harness.config import loading

    return loading.load(path, variables, var_files, environ, cwd)
