"""The command of the rehearsal: parse, call, print, exit code."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import BuildError
from harness.options import Config, Format, Output, Quiet, Var, VarFile, settings_from

if TYPE_CHECKING:
    from publish.emulator.server import Endpoint
    from publish.rehearsal import Rehearsal


class Base(StrEnum):
    """Where a fresh container comes from."""

    AUTO = "auto"
    REGISTRY = "registry"
    STANDIN = "standin"


def rehearse(
    *,
    target: Annotated[str | None, typer.Option("--target", metavar="NAME", help="Source whose build is meant; default: the first.")] = None,
    evidence: Annotated[
        Path | None, typer.Option("--evidence", metavar="DIR", help="Of an earlier run; default: it is verified first.")
    ] = None,
    base: Annotated[Base, typer.Option("--base", help="Where fresh containers come from, when no evidence says it.")] = Base.AUTO,
    despite_gate: Annotated[
        str | None,
        typer.Option("--despite-gate", metavar="REASON", help="Go on though the gate is closed; without evidence nothing is verified."),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Of the endpoint on 127.0.0.1; default: a free one.")
    ] = 0,
    vm: Annotated[
        bool, typer.Option("--vm", help="Build and test in virtual machines: restarts are real, the test is on another boot.")
    ] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="Leave the endpoint open afterwards, for `aws --endpoint-url`, until Ctrl-C.")
    ] = False,
    config: Config = None,
    var: Var = None,
    var_file: VarFile = None,
    output: Output = Format.TEXT,
    quiet: Quiet = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every line of the image's log.")] = False,
) -> None:
    """Go the whole way to AWS on an Image Builder in memory. The components run for real, and no account is needed.

    Exit 1: the gate is closed, or the image failed.
    """
    from harness.console import Progress
    from publish import rehearse as rehearsing
    from publish import session

    def told(outcome: Rehearsal, endpoint: Endpoint | None) -> None:
        sys.stdout.write(outcome.as_json() if output is Format.JSON else outcome.as_text())
        if endpoint is None or not serve:
            return
        region = endpoint.emulator.default_region
        sys.stdout.flush()
        sys.stderr.write(f"serving {endpoint.url} until Ctrl-C; any credentials do:\n")
        sys.stderr.write(f"  aws imagebuilder list-image-pipelines --region {region} --endpoint-url {endpoint.url}\n")
        with suppress(KeyboardInterrupt):
            threading.Event().wait()

    why = session.reason(despite_gate) if despite_gate is not None else ""
    options = rehearsing.Options(target, evidence, base.value, why, port, vm)
    try:
        outcome = rehearsing.rehearse(settings_from(config, var, var_file), options, Progress(quiet=quiet, verbose=verbose), told)
    except rehearsing.ClosedError as closed:
        from publish.cli import refuse

        refuse(closed.decision)
    if outcome.reason:
        raise BuildError(outcome.reason, hint=outcome.hint or "run again with --verbose to see the whole log")
