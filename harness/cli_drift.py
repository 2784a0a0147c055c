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
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The run.json or evidence folder of now; or of a fleet.")],
    *,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="PUB|awskms:ID", help="Public key that must have signed OLD; of several one is enough."),
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """Say what became worse, better, new or gone between two runs. Exit 0: nothing worse, 1: something worse."""
    from harness import attestation, drift_fleet
    from harness import drift as drifting

    keys = [attestation.load_key(name) for name in key or ()]
    if drift_fleet.is_fleet(new):
        fleets = drift_fleet.compare(old, new, keys)
        told = json.dumps(drift_fleet.as_data(fleets), ensure_ascii=False, indent=2) + "\n"
        sys.stdout.write(told if output is Format.JSON else drift_fleet.as_text(fleets))
        raise typer.Exit(1 if fleets.worse else 0)
    before, after = drifting.read(old, keys), drifting.read(new)
    found = drifting.compare(before.run, after.run)
    if output is Format.JSON:
        sys.stdout.write(json.dumps(drifting.as_data(found, before, after), ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write(drifting.as_text(found, before, after))
    raise typer.Exit(1 if found.worse else 0)
