"""The command line: parse, call, print, exit code; nothing else."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from harness import __version__, cli_audit, cli_drift, cli_vm
from harness.errors import HarnessError, UnreachableError, UsageError
from harness.model import Severity
from harness.options import Config, Format, Output, Quiet, Var, VarFile, pairs, settings_from
from publish import cli as publishing

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

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
toe_app = typer.Typer(
    name="toe", help="Run or check any component document (AWSTOE) on any target.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(toe_app)
evidence_app = typer.Typer(
    name="evidence", help="Check, sign and make keys for the evidence of a run.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(evidence_app)
cli_audit.register(app)
cli_drift.register(app)
cli_vm.register(app)
publishing.register(app)


class Base(StrEnum):
    """Where a fresh container comes from."""

    AUTO = "auto"
    REGISTRY = "registry"
    STANDIN = "standin"


SignKey = Annotated[
    str | None,
    typer.Option("--sign-key", metavar="FILE|awskms:ID", envvar="HARNESS_SIGN_KEY", help="Sign the evidence; default: unsigned."),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show every line that the hardening prints.")]


@app.command()
def verify(
    *,
    target: Annotated[
        str | None, typer.Option("--target", metavar="NAME|URI", help="A source of the configuration, or podman://NAME.")
    ] = None,
    base: Annotated[Base, typer.Option("--base", help="Where a fresh container comes from.")] = Base.AUTO,
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
        base=base.value,
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


def signer_of(key: str) -> Signer:
    """Load a signing key; its passphrase comes from the environment or from the person at the terminal."""
    from harness import attestation

    return attestation.load_signer(key, lambda: attestation.passphrase_from(os.environ, ask=sys.stdin.isatty()))


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
    """Decide whether the evidence allows publishing, with every reason. Exit 0: open, 1: closed."""
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


@evidence_app.command("verify")
def evidence_verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The evidence folder of one run.")],
    *,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="PUB|awskms:ID", help="Public key that must have signed; of several one is enough."),
    ] = None,
) -> None:
    """Check digests, files, run.json, attestation and signature; one line per problem. Exit 0: whole, 1: problems."""
    from harness import attestation, tampering

    examined = tampering.examine(folder, [attestation.load_key(name) for name in key or ()])
    problems = [str(problem) for problem in examined.problems]
    if key and not examined.signatures:
        problems.append(f"{attestation.NAME}: not signed")
    sys.stdout.write("".join(f"{problem}\n" for problem in dict.fromkeys(problems)))
    if not problems:
        sys.stdout.write(f"{folder}: as it was written, {tampering.signature_told(examined)}\n")
    raise typer.Exit(1 if problems else 0)


@evidence_app.command("sign")
def evidence_sign(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The evidence folder of one run.")],
    *,
    key: Annotated[str, typer.Option("--key", metavar="FILE|awskms:ID", envvar="HARNESS_SIGN_KEY", help="Private key that signs.")],
) -> None:
    """Sign the evidence of a run, if it is as it was written; may be done by several keys. Exit 1: it is not."""
    from harness import attestation, tampering

    examined = tampering.examine(folder)
    if examined.problems or examined.run is None:
        sys.stdout.write("".join(f"{problem}\n" for problem in examined.problems))
        raise typer.Exit(1)
    sys.stdout.write(f"{folder / attestation.NAME}: signed by {attestation.attest(folder, examined.run, signer_of(key))}\n")


@evidence_app.command("keygen")
def evidence_keygen(
    to: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Gets the private key; FILE.pub gets the public one.")],
) -> None:
    """Make an Ed25519 key that signs evidence; HARNESS_KEY_PASSPHRASE in the environment encrypts it."""
    from harness import attestation

    public, name = attestation.keygen(to, attestation.passphrase_from(os.environ, ask=False))
    sys.stdout.write(f"{to}\n{public}\nkey {name}\n")


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


class Listing(StrEnum):
    """How rules and controls are printed."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


@app.command()
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
