"""`harness toe`: parse, call, print, exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.options import Quiet, pairs

toe_app = typer.Typer(
    name="toe", help="Run or check any component document (AWSTOE) on any target.", no_args_is_help=True, rich_markup_mode=None
)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(toe_app)


@toe_app.command("validate")
def toe_validate(documents: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Component documents.")]) -> None:
    """Check component documents without running them; every mistake with its line. Exit 2: a document is wrong."""
    from harness import toe

    found = toe.validate_files(documents)
    for validation in found:
        for problem in validation.problems:
            sys.stdout.write(f"{problem.error()}\n" + (f"  hint: {problem.hint}\n" if problem.hint else ""))
        if not validation.problems:
            sys.stdout.write(f"{validation.path}: valid\n")
    raise typer.Exit(2 if any(validation.problems for validation in found) else 0)


@toe_app.command("run")
def toe_run(
    documents: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Component documents, run one after the other.")],
    *,
    target: Annotated[str, typer.Option("--target", metavar="URI", help="podman://NAME, docker://NAME or local://.")],
    phases: Annotated[str, typer.Option("--phases", "-p", metavar="A,B", help="Phases to run; default: all of them.")] = "",
    parameters: Annotated[list[str] | None, typer.Option("--parameters", metavar="NAME=VALUE", help="A value; may be repeated.")] = None,
    log_directory: Annotated[Path, typer.Option("--log-directory", "-l", metavar="DIR", help="Where the log folders go.")] = Path(),
    quiet: Quiet = False,
) -> None:
    """Run component documents as AWSTOE does, and print its summary as JSON. Exit 1: a document failed."""
    from harness import console, targets, toe

    values = pairs(parameters, "--parameters")
    say = console.Progress(quiet=quiet, verbose=True)
    with targets.open_target(target) as opened:
        runner = toe.Runner(opened, log_directory, say, on_line=say.line)
        summary = toe.run_files(runner, documents, phases=tuple(filter(None, phases.split(","))), parameters=values)
    sys.stdout.write(json.dumps(summary.as_json(), indent=2) + "\n")
    raise typer.Exit(summary.exit_code)
