"""`harness drift`: parse, call, print, exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.options import Format, Output


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("drift")(drift)


def drift(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A run.json or evidence folder: an earlier run, or that of the golden image.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The run.json or evidence folder of now.")],
    *,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="PUB|awskms:ID", help="Public key that must have signed OLD; of several one is enough."),
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """Say what became worse, better, new or gone between two runs. Exit 0: nothing worse, 1: something worse."""
    from harness import attestation
    from harness import drift as drifting
    from harness.errors import UsageError

    keys = [attestation.load_key(name) for name in key or ()]
    before, after = drifting.read(old, keys), drifting.read(new)
    if keys and not before.trusted:
        raise UsageError(f"{old} is not signed by a given key: {before.evidence}", hint="`harness evidence sign` signs a run's folder")
    found = drifting.compare(before.run, after.run)
    if output is Format.JSON:
        sys.stdout.write(json.dumps(drifting.as_data(found, before, after), ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write(drifting.as_text(found, before, after))
    raise typer.Exit(1 if found.worse else 0)
