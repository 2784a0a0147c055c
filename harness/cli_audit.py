"""`harness audit` and `harness capture`: parse, call, print, exit code."""

from __future__ import annotations

import json
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import HarnessError, UnreachableError, UsageError
from harness.model import Environment
from harness.options import Config, Format, Output, Quiet, Var, VarFile, settings_from
from harness.targets.connection import Connection, Sudo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.audit import Plan
    from harness.capture import Capture
    from harness.config.settings import Settings
    from harness.model import Run, Waiver
    from harness.targets.base import Target

SCHEMA = "isms-golden-ami/audit/1"

Targets = Annotated[
    list[str] | None,
    typer.Argument(metavar="TARGET…", help="podman://NAME, docker://NAME, ssh://USER@HOST, vm://NAME, local:// or capture://FILE."),
]
BaselineName = Annotated[str | None, typer.Option("--baseline", metavar="NAME", help="Default: the host's own os-release decides.")]
Rules = Annotated[list[str] | None, typer.Option("--rule", metavar="ID", help="Judge only this rule; may be repeated.")]
Waivers = Annotated[
    Path | None, typer.Option("--waivers", metavar="FILE", help="Default: waivers.yaml beside the configuration, if there is one.")
]
Folder = Annotated[
    Path | None, typer.Option("--evidence", metavar="DIR", help="Keep capture, verdict and reports in a folder per host; default: do not.")
]

Sudoing = Annotated[Sudo, typer.Option("--sudo", help="How to become root: sudo without a password, not at all, or with one.")]
PasswordFd = Annotated[
    int | None, typer.Option("--sudo-password-fd", metavar="N", help="With --sudo password: read it from this descriptor; default: ask.")
]
AcceptNew = Annotated[
    bool, typer.Option("--accept-new", help="Write down the key of a host that is not known yet; a changed key is refused.")
]
User = Annotated[str | None, typer.Option("--user", metavar="NAME", help="Who logs in where neither URI nor ssh_config says it.")]
Identities = Annotated[list[Path] | None, typer.Option("--identity", metavar="FILE", help="A private key to try first; may be repeated.")]
Seconds = Annotated[float, typer.Option("--timeout", min=1, metavar="SECONDS", help="For each host, to answer everything.")]
SshConfig = Annotated[Path | None, typer.Option("--ssh-config", metavar="FILE", help="Read this instead of ~/.ssh/config.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("audit")(audit)
    app.command("capture")(capture)


@dataclass(frozen=True, slots=True)
class Judge:
    """What all hosts of a command are judged by."""

    plan: Plan
    waivers: Sequence[Waiver]


@dataclass(frozen=True, slots=True)
class Judged:
    """A host that was judged."""

    run: Run
    warnings: Sequence[str]
    evidence: Path | None


@dataclass(frozen=True, slots=True)
class Missed:
    """A host that could not be judged."""

    uri: str
    error: HarnessError


def audit(
    hosts: Targets = None,
    *,
    inventory: Annotated[
        Path | None,
        typer.Option("--inventory", "-i", metavar="FILE", help="Many hosts: a list, YAML or Ansible's INI."),
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option("--limit", "-l", metavar="GROUP|PATTERN", help="Only these hosts of the inventory; may be repeated.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=256, help="Hosts of an inventory that are asked at a time.")] = 16,
    timeout: Seconds = 300,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="Go on with an interrupted audit of an inventory: its evidence folder.")
    ] = None,
    ssm_bucket: Annotated[
        str | None,
        typer.Option("--ssm-bucket", metavar="NAME", envvar="HARNESS_SSM_BUCKET", help="S3 bucket for long answers of ssm://."),
    ] = None,
    print_iam_policy: Annotated[
        bool, typer.Option("--print-iam-policy", help="Print what an audit of ssm:// hosts must be allowed to do, and stop.")
    ] = False,
    user: User = None,
    sudo: Sudoing = Sudo.AUTO,
    sudo_password_fd: PasswordFd = None,
    accept_new: AcceptNew = False,
    identity: Identities = None,
    ssh_config: SshConfig = None,
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
    """Judge running hosts, only reading. Exit 0: clean, 1: findings, 3: a host could not be reached and nothing else is worse."""
    from harness import audit as auditing
    from harness import console

    if print_iam_policy:
        from harness.targets import ssm

        sys.stdout.write(json.dumps(ssm.policy(ssm_bucket), indent=2) + "\n")
        raise typer.Exit
    say = console.Progress(quiet=quiet)
    judge = judge_of(configured(config, var, var_file), baseline, rule, waivers)
    connection = connection_of(user, sudo, sudo_password_fd, identity, ssh_config, accept_new=accept_new)
    hosts = hosts or []
    managed = [uri for uri in hosts if uri.startswith("ssm://")]
    if limit and not (inventory or resume):
        raise UsageError("--limit chooses among the hosts of an inventory", hint="--inventory FILE, or --resume DIR")
    if inventory or resume or len(managed) > 1 or any(uri.startswith("ssm://tag:") for uri in managed):
        from harness import cli_fleet

        many = cli_fleet.Request(
            plan=judge.plan,
            finish=lambda run: accepted(judge, run)[0],
            connection=connection,
            inventory=inventory,
            hosts=tuple(hosts),
            limit=tuple(limit or ()),
            jobs=jobs,
            seconds=timeout,
            evidence=evidence,
            resume=resume,
            bucket=ssm_bucket,
        )
        raise typer.Exit(cli_fleet.carry_out(many, output, say))
    if not hosts:
        raise UsageError("no host is named", hint="harness audit ssh://USER@HOST, or --inventory FILE")
    found: list[Judged | Missed] = []
    for uri in hosts:
        try:
            if uri.startswith("capture://"):
                taken = captured_in(uri)
                run = auditing.evaluated(taken, judge.plan)
            elif uri.startswith("ssm://"):
                taken, run = by_systems_manager(uri, judge.plan, ssm_bucket, timeout)
            else:
                with opened(uri, connection, judge.plan) as target:
                    console.load()
                    taken, run = auditing.audited(target, judge.plan, timeout)
                say(f"{uri}: {len(taken.answers)} questions in {told(taken.round_trips)}")
            found.append(kept(judge, run, taken, evidence))
        except HarnessError as error:
            if len(hosts) == 1:
                raise
            found.append(Missed(uri, error))
    show(found, output, several=len(hosts) > 1)


def by_systems_manager(uri: str, plan: Plan, bucket: str | None, seconds: float) -> tuple[Capture, Run]:
    """Ask one instance by Run Command."""
    from harness import fleet_ssm
    from harness.targets.runcommand import RunCommand

    return fleet_ssm.single(uri, plan, lambda: RunCommand(bucket), seconds)


def told(round_trips: int) -> str:
    """Count round trips in words."""
    return f"{round_trips} round trip{'' if round_trips == 1 else 's'}"


def capture(
    host: Annotated[str, typer.Argument(metavar="TARGET", help="podman://NAME, ssh://USER@HOST, …")],
    *,
    to: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Gets the capture; its name ends in .json.zst.")],
    timeout: Seconds = 300,
    user: User = None,
    sudo: Sudoing = Sudo.AUTO,
    sudo_password_fd: PasswordFd = None,
    accept_new: AcceptNew = False,
    identity: Identities = None,
    ssh_config: SshConfig = None,
    baseline: BaselineName = None,
    config: Config = None,
    var: Var = None,
    var_file: VarFile = None,
    quiet: Quiet = False,
) -> None:
    """Keep a host's answers in a file, without secrets. Judges nothing."""
    from harness import audit as auditing
    from harness import console

    say = console.Progress(quiet=quiet)
    judge = judge_of(configured(config, var, var_file), baseline, None, None)
    connection = connection_of(user, sudo, sudo_password_fd, identity, ssh_config, accept_new=accept_new)
    with opened(host, connection, judge.plan) as target:
        taken = auditing.captured(target, judge.plan, timeout)
    taken.write(to)
    blotted = ", ".join(f"{number} {kind}" for kind, number in taken.redacted.items()) or "nothing"
    say(f"{len(taken.answers)} answers in {told(taken.round_trips)}; blotted out: {blotted}")
    sys.stdout.write(f"{to}\n")


def configured(config: Path | None, var: Sequence[str] | None, var_file: Sequence[Path] | None) -> Settings | None:
    """Load the configuration; None where nobody has one, since the bundled one changes nothing of what is judged."""
    from harness.config import NAME

    own = config or var or var_file or Path(NAME).exists() or Path(NAME).is_symlink()
    return settings_from(config, var, var_file) if own else None


def judge_of(settings: Settings | None, baseline: str | None, rules: Sequence[str] | None, accepted: Path | None) -> Judge:
    """Load rules, values and waivers."""
    from harness import catalog
    from harness import waivers as waiving
    from harness.audit import Plan

    if settings is None:
        content, overrides = catalog.load(), dict[str, str]()
    else:
        from harness import site
        from harness.builds import chosen_build, overrides_of

        content, overrides = site.content(settings), overrides_of(chosen_build(settings, None))
    for name in rules or ():
        content.rule(name)
    folder = Path.cwd() if settings is None or settings.bundled else settings.path.parent
    return Judge(Plan(content, baseline, overrides, tuple(rules or ())), waiving.of(accepted, folder, content.rules))


def connection_of(
    user: str | None,
    sudo: Sudo,
    descriptor: int | None,
    identities: Sequence[Path] | None,
    config: Path | None,
    *,
    accept_new: bool,
) -> Connection:
    """Say how to log in and become root. A password is asked for when the first host wants it, or read from the descriptor now."""
    from harness.targets import asking

    if descriptor is not None and sudo is not Sudo.PASSWORD:
        raise UsageError("--sudo-password-fd is for --sudo password")
    return Connection(
        user=user,
        sudo=sudo,
        password=asking.sudo_password(descriptor) if sudo is Sudo.PASSWORD else None,
        passphrase=asking.passphrases(),
        accept_new=accept_new,
        identities=tuple(identities or ()),
        config=config,
    )


class Opening(threading.Thread):
    """A host on its way: to log in is to wait for the network, in which time the suites can load."""

    def __init__(self, uri: str, connection: Connection) -> None:
        """Set out."""
        super().__init__(name="opening", daemon=True)
        self._uri, self._connection = uri, connection
        self._target: Target | None = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Open the host, or keep why that failed."""
        from harness import targets

        try:
            self._target = targets.open_target(self._uri, self._connection)
        except BaseException as error:  # noqa: BLE001 - raised where somebody waits for it
            self._error = error

    def target(self) -> Target:
        """Wait for the host. Raises what opening it raised."""
        self.join()
        if self._error is not None:
            raise self._error
        assert self._target is not None  # noqa: S101 - one of the two is there when the thread has ended
        return self._target


def opened(uri: str, connection: Connection, plan: Plan) -> Target:
    """Open a host, and load meanwhile what it is asked and judged by. Raises what either raises."""
    opening = Opening(uri, connection)
    try:
        plan.ready(Environment.HOST)
    except BaseException:
        with suppress(HarnessError):
            opening.target().close()
        raise
    return opening.target()


def captured_in(uri: str) -> Capture:
    """Read the file of `capture://FILE`."""
    from harness import capture as captures

    return captures.read(Path(uri.removeprefix("capture://")))


def accepted(judge: Judge, run: Run) -> tuple[Run, Sequence[str]]:
    """Return a run after the waivers, and the warnings about them."""
    from harness import waivers as waiving

    return waiving.onto(run, judge.waivers)


def kept(judge: Judge, run: Run, taken: Capture, folder: Path | None) -> Judged:
    """Apply the waivers and keep the evidence, where it is wanted."""
    from harness.evidence import Evidence

    run, warnings = accepted(judge, run)
    if folder is None:
        return Judged(run, warnings, None)
    place = Evidence.open(folder, run.id)
    place.capture(taken)
    place.run(run)
    return Judged(run, warnings, place.folder)


def show(found: Sequence[Judged | Missed], output: Format, *, several: bool) -> None:
    """Print what was found, and end: 1 for findings, else the code of what could not be judged, else 0."""
    from harness import console
    from harness.reports.json import as_data, render

    for one in found:
        for warning in one.warnings if isinstance(one, Judged) else ():
            sys.stderr.write(f"warning: {warning}\n")
    if output is Format.JSON and not several and isinstance(found[0], Judged):
        sys.stdout.write(render(found[0].run).decode())
    elif output is Format.JSON:
        data = {
            "schema": SCHEMA,
            "runs": [as_data(one.run) for one in found if isinstance(one, Judged)],
            "missed": [{"uri": one.uri, "error": str(one.error), "hint": one.error.hint} for one in found if isinstance(one, Missed)],
        }
        sys.stdout.write(json.dumps(data, ensure_ascii=False, indent=2) + "\n")
    else:
        for one in found:
            if isinstance(one, Judged):
                console.show(one.run)
                sys.stdout.write(f"evidence  {one.evidence}\n" if one.evidence else "")
    for one in found:
        if isinstance(one, Missed):
            sys.stderr.write(f"error: {one.uri}: {one.error}\n" + (f"hint: {one.error.hint}\n" if one.error.hint else ""))
    raise typer.Exit(code_of(found))


def code_of(found: Sequence[Judged | Missed]) -> int:
    """Return the exit code: findings are worse than a mistake of the caller, and that is worse than a host that is away."""
    if any(isinstance(one, Judged) and not one.run.clean() for one in found):
        return 1
    missed = {one.error.exit_code for one in found if isinstance(one, Missed)}
    if not missed:
        return 0
    return UnreachableError.exit_code if missed == {UnreachableError.exit_code} else UsageError.exit_code
