"""`harness evaluate`: captures judged offline, one by one or whole folders of them; parse, call, print, exit code."""

from __future__ import annotations

import json
import sys
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli_audit import BaselineName, Folder, Judged, Missed, Rules, Waivers, configured, judge_of, kept, show
from harness.errors import HarnessError, UsageError
from harness.options import Config, Format, Output, Quiet, Var, VarFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.cli_audit import Judge
    from harness.fleet import Summary
    from harness.fleet_store import Row

SCHEMA = "isms-golden-ami/evaluation/1"
PARTS = 10_000
"""Parts of JSON that are written at once."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


def evaluate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE|DIR…", help="Captures, and folders of them, such as a fleet's evidence.")],
    *,
    baseline: BaselineName = None,
    rule: Rules = None,
    evidence: Folder = None,
    waivers: Waivers = None,
    config: Config = None,
    var: Var = None,
    var_file: VarFile = None,
    output: Output = Format.TEXT,
    quiet: Quiet = False,
) -> None:
    """Judge captures, offline, by the rules and values of now. Exit 0: clean, 1: findings."""
    from harness import audit as auditing
    from harness import capture as captures

    judge = judge_of(configured(config, var, var_file), baseline, rule, waivers)
    if any(file.is_dir() for file in files):
        raise typer.Exit(many(judge, files, evidence, output, quiet=quiet))
    found: list[Judged | Missed] = []
    for file in files:
        try:
            taken = captures.read(file)
            found.append(kept(judge, auditing.evaluated(taken, judge.plan), taken, evidence))
        except HarnessError as error:
            if len(files) == 1:
                raise
            found.append(Missed(f"capture://{file}", error))
    show(found, output, several=len(files) > 1)


def many(judge: Judge, places: Sequence[Path], evidence: Path | None, output: Format, *, quiet: bool) -> int:
    """Judge whole folders, and print one summary; return the exit code."""
    from harness import console, fleet, fleet_report

    say, warnings = console.Progress(quiet=quiet), dict[str, None]()
    named = captures_in(places)
    rows = list(judged_rows(judge, named, evidence, warnings))
    say(f"{len(named)} captures judged")
    for warning in warnings:
        sys.stderr.write(f"warning: {warning}\n")
    found = fleet.summary(rows, len(rows))
    if output is Format.JSON:
        # As one text, the findings of a thousand hosts would be some hundred megabytes of parts.
        parts = json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(as_data(found))
        while text := "".join(islice(parts, PARTS)):
            sys.stdout.write(text)
        sys.stdout.write("\n")
    else:
        fleet_report.show(found, len(rows), judge.plan.content.rules, missed="not judged")
    return fleet.exit_code(rows)


def captures_in(places: Sequence[Path]) -> Mapping[Path, str]:
    """Return the captures that files and folders hold, each with a name for people. Raises UsageError where a folder has none."""
    from harness.capture import SUFFIX

    found: dict[Path, str] = {}
    for place in places:
        files = sorted(place.rglob(f"*{SUFFIX}")) if place.is_dir() else [place]
        # What an interruption left half written has a name that begins with a dot.
        files = [file for file in files if not any(part.startswith(".") for part in file.relative_to(place).parts)]
        if not files:
            raise UsageError(f"{place} holds no capture", hint=f"`harness capture` writes such files; their names end in {SUFFIX}")
        for file in files:
            name = file.name.removesuffix(SUFFIX)
            found[file] = file.parent.name if name == "capture" and file.parent.name else name
    return found


def judged_rows(judge: Judge, named: Mapping[Path, str], evidence: Path | None, warnings: dict[str, None]) -> Iterator[Row]:
    """Judge one capture after the other; of each only its row stays in memory."""
    from harness import audit as auditing
    from harness import capture as captures
    from harness.fleet_store import Row, row_of
    from harness.inventory import Entry

    for file, name in named.items():
        started, uri = time.monotonic(), f"capture://{file}"
        try:
            taken = captures.read(file)
            one = kept(judge, auditing.evaluated(taken, judge.plan), taken, evidence)
            warnings.update(dict.fromkeys(one.warnings))
            folder = str(one.evidence) if one.evidence else ""
            yield row_of(Entry(name, uri), one.run, folder, time.monotonic() - started, taken.round_trips)
        except HarnessError as error:
            yield Row(name, uri, error=str(error), hint=error.hint or "", code=error.exit_code)


def as_data(found: Summary) -> dict[str, Any]:
    """Return the summary as data; a row per capture, as in fleet.json."""
    from harness import fleet_report, fleet_store

    return {
        "schema": SCHEMA,
        "summary": {"captures": len(found.rows), "judged": found.judged, "failing": found.failing, "error": len(found.rows) - found.judged},
        "captures": fleet_store.rows_data(found.rows),
        **fleet_report.counted(found),
    }
