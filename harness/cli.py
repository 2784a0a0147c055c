"""The command line: parse, call, print, exit code; nothing else."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from harness import __version__, cli_audit, cli_drift, cli_evaluate, cli_evidence, cli_rules, cli_toe, cli_vm
from harness.cli_evidence import SignKey, signer_of
from harness.errors import HarnessError, UnreachableError, UsageError
from harness.options import Config, Format, Output, Quiet, Var, VarFile, settings_from
from publish import cli as publishing

INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""

ADMINISTRATORS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where runc, chroot and mke2fs live, and what a user's PATH, cron's and `sudo`'s often lack."""


class Commands(TyperGroup):
    """The commands; Ctrl-C and a request to end have the exit codes that shells expect, where typer would say 1."""

    def invoke(self, ctx: Any) -> object:  # noqa: ANN401 - the type is private to typer
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interruption:
            sys.stderr.write("interrupted\n")
            sys.exit(getattr(interruption, "exit_code", INTERRUPTED))


app = typer.Typer(
    name="harness",
    cls=Commands,
    help="Harden an Amazon Linux image, prove it rule by rule, and publish the same bytes to EC2 Image Builder.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show every line that the hardening prints.")]


@app.command()
def verify(
    *,
    target: Annotated[
        str | None, typer.Option("--target", metavar="NAME|URI", help="A source of the configuration, or podman://NAME.")
    ] = None,
    base: Annotated[
        str,
        typer.Option("--base", metavar="auto|registry|standin|FILE", help="Where a fresh container comes from; a disk image with --vm."),
    ] = "auto",
    as_is: Annotated[bool, typer.Option("--as-is", help="Judge the base as it comes, without hardening.")] = False,
    vm: Annotated[bool, typer.Option("--vm", help="Boot the result in a virtual machine as well; judge, restart, judge again.")] = False,
    post_cleanup: Annotated[bool, typer.Option("--post-cleanup", help="Clean up as Image Builder does, start anew, judge again.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the target running and print its URI.")] = False,
    evidence: Annotated[Path, typer.Option("--evidence", metavar="DIR", help="Folder that gets one folder per run.")] = Path("evidence"),
    rule: Annotated[list[str] | None, typer.Option("--rule", metavar="ID", help="Judge only this rule; may be repeated.")] = None,
    waivers: Annotated[
        Path | None, typer.Option("--waivers", metavar="FILE", help="Default: waivers.yaml beside the configuration, if there is one.")
    ] = None,
    sign_key: SignKey = None,
    config: Config = None,
    var: Var = None,
    var_file: VarFile = None,
    output: Output = Format.TEXT,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Harden a fresh target, judge every setting, keep the evidence. Exit 0: clean, 1: findings."""
    from harness import console
    from harness.verify import Options
    from harness.verify import verify as carry_out

    say = console.Progress(quiet=quiet, verbose=verbose)
    options = Options(
        target=target,
        base=base,
        as_is=as_is,
        keep=keep,
        vm=vm,
        post_cleanup=post_cleanup,
        evidence=evidence,
        rules=tuple(rule or ()),
        waivers=waivers,
        signer=signer_of(sign_key) if sign_key else None,
    )
    run, kept = carry_out(settings_from(config, var, var_file), options, say)
    if output is Format.JSON:
        from harness.reports.json import render

        sys.stdout.write(render(run).decode())
    else:
        console.show(run)
        sys.stdout.write(f"evidence  {kept.folder}\n")
        if keep or (target and "://" in target):
            sys.stdout.write("".join(f"target    {run.target[name]}\n" for name in ("uri", "vm_uri") if name in run.target))
    raise typer.Exit(0 if run.clean() else 1)


@app.command()
def gate(
    *,
    evidence: Annotated[
        Path | None,
        typer.Option("--evidence", metavar="DIR", help="A run's folder, or the one above (default: evidence); the newest run counts."),
    ] = None,
    config: Config = None,
    var: Var = None,
    var_file: VarFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Decide whether the evidence allows publishing. Every reason is told. Exit 0: open, 1: closed."""
    from harness import gathering, site
    from harness.gate import decide

    settings = settings_from(config, var, var_file)
    folder = Path("evidence") if evidence is None else evidence
    facts = gathering.facts(settings, site.content(settings), folder if evidence is not None or folder.exists() else None)
    decision = decide(gathering.policy(settings), facts, datetime.now(UTC))
    if output is Format.JSON:
        sys.stdout.write(json.dumps(gathering.as_data(decision, facts), ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write(gathering.as_text(decision, facts))
    raise typer.Exit(0 if decision.open else 1)


@app.command()
def doctor(*, output: Output = Format.TEXT) -> None:
    """Say what this machine can run, and what to install."""
    from dataclasses import asdict

    from harness.doctor import examine

    findings = examine()
    if output is Format.JSON:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=2) + "\n")
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            hint = f"\n{'':9}{'':{width}}  {finding.hint}" if finding.hint else ""
            sys.stdout.write(f"{finding.state:8} {finding.name:{width}}  {finding.value}{hint}\n")
    raise typer.Exit(3 if any(finding.state == "missing" and finding.needed for finding in findings) else 0)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's evidence folder, or its run.json.")],
    *,
    output: Annotated[str, typer.Option("--format", metavar="FORMAT", help="junit or json.")],
    to: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: standard output.")] = None,
) -> None:
    """Write a report of an earlier run."""
    from harness.reports import base as reports
    from harness.reports import json as runs

    data = reports.render(runs.load(run / "run.json" if run.is_dir() else run), output)
    if to is None:
        sys.stdout.buffer.write(data)
    else:
        to.write_bytes(data)


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where to write the two files.")] = Path()) -> None:
    """Write a commented harness.hcl and waivers.yaml to start from."""
    from harness.config import BUNDLED

    paths = (folder / "harness.hcl", folder / "waivers.yaml")
    for path in paths:
        if os.path.lexists(path):
            raise UsageError(f"{path} exists already", hint="name another folder, or edit that file")
    for path in paths:
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(BUNDLED.with_name(path.name).read_text("utf-8"))
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from None
        sys.stdout.write(f"{path}\n")


for part in (cli_rules, cli_audit, cli_evaluate, cli_drift, publishing, cli_evidence, cli_vm, cli_toe):
    part.register(app)


def version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        sys.stdout.write(f"harness {__version__}\n")
        raise typer.Exit


@app.callback()
def common(
    *,
    _version: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Take what every command has."""
    if debug:
        os.environ["HARNESS_DEBUG"] = "1"


def main() -> None:
    """Run the command line; every error is one line and a hint, and ends in the exit code of its class."""
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*path, *(folder for folder in ADMINISTRATORS if folder not in path)])
    try:
        app(prog_name="harness")
    except HarnessError as error:
        if os.environ.get("HARNESS_DEBUG"):
            raise
        sys.stderr.write(f"error: {error}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away (`| head`); there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        # A defect of ours: not a finding (1), and nothing that the user typed (2).
        if os.environ.get("HARNESS_DEBUG"):
            raise
        sys.stderr.write(f"error: unexpected {type(error).__name__}: {' '.join(str(error).split())}\n")
        sys.stderr.write("hint: this is a defect of harness; with --debug it shows where\n")
        sys.exit(UnreachableError.exit_code)
