"""`harness rules`: parse, call, print, exit code."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from harness.errors import UsageError
from harness.model import Severity
from harness.options import Config, Var, VarFile, settings_from


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rules")(rules)


class Listing(StrEnum):
    """How rules and controls are printed."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


def rules(
    which: Annotated[str | None, typer.Argument(metavar="[ID|U-01|2.6.2|SUBJECT]", help="A rule, a control, or a subject.")] = None,
    *,
    subject: Annotated[str | None, typer.Option("--subject", metavar="NAME", help="Only rules of this subject.")] = None,
    control: Annotated[str | None, typer.Option("--control", metavar="ID", help="Only rules that answer it: U-01, 2.6.2.")] = None,
    edition: Annotated[
        str | None, typer.Option("--edition", metavar="KEY", help="isms-p, kisa-unix-2026, kisa-unix-2021, cis-al2 or cis-al2023.")
    ] = None,
    severity: Annotated[Severity | None, typer.Option("--severity", help="Only rules of this severity.")] = None,
    controls: Annotated[bool, typer.Option("--controls", help="List the controls with their answers instead.")] = False,
    baseline: Annotated[str, typer.Option("--baseline", metavar="NAME", help="Whose values the JSON shows.")] = "al2",
    config: Config = None,
    var: Var = None,
    var_file: VarFile = None,
    output: Annotated[Listing, typer.Option("--format", help="markdown: of the controls only.")] = Listing.TEXT,
) -> None:
    """List the rules, or explain those of an id, subject or control."""
    from zoneinfo import ZoneInfo

    from harness import explain, site

    content = site.content(settings_from(config, var, var_file))
    if controls:
        if which or subject or control or severity:
            raise UsageError("--controls lists every control", hint="--edition KEY chooses an edition")
        chosen_editions = [each for key, each in content.editions.items() if edition in {None, key}]
        if not chosen_editions:
            raise UsageError(f"there is no list of `{edition}`", hint=f"editions: {', '.join(content.editions)}")
        if output is Listing.JSON:
            sys.stdout.write(json.dumps(explain.controls_data(content, chosen_editions), ensure_ascii=False, indent=2) + "\n")
            return
        tell = explain.controls_markdown if output is Listing.MARKDOWN else explain.controls_text
        sys.stdout.write(tell(content, chosen_editions))
        return
    if output is Listing.MARKDOWN:
        raise UsageError("--format markdown is for --controls", hint="text or json")
    found = explain.select(content, which, explain.Filters(subject, control, severity, edition))
    if output is Listing.JSON:
        sys.stdout.write(json.dumps(explain.as_data(content, found, baseline), ensure_ascii=False, indent=2) + "\n")
    elif which is None:
        sys.stdout.write(explain.as_list(found))
    else:
        sys.stdout.write(explain.as_text(content, which, found, datetime.now(ZoneInfo("Asia/Seoul")).date(), edition))
