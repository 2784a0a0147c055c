"""The commands of publishing: parse, call, print, exit code; nothing else, and nothing heavy until one of them runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from harness.errors import UsageError
from harness.options import Config, Format, Output, Quiet, Var, VarFile, settings_from
from publish.cli_rehearse import rehearse

if TYPE_CHECKING:
    from harness.gate import Decision
    from publish.pipeline import Pipeline

Target = Annotated[str | None, typer.Option("--target", metavar="NAME", help="Source whose build is meant; default: the first.")]
Evidence = Annotated[Path | None, typer.Option("--evidence", metavar="DIR", help="A run's folder, or the one above; default: evidence.")]
Endpoint = Annotated[str | None, typer.Option("--endpoint-url", metavar="URL", help="Instead of AWS; default: AWS_ENDPOINT_URL.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it; without, it is only shown.")]
Despite = Annotated[
    str | None, typer.Option("--despite-gate", metavar="REASON", help="Publish though the gate is closed; the reason becomes a tag.")
]
Which = Annotated[str | None, typer.Argument(metavar="[IMAGE]", help="ARN, 1.0.0/1 or 1.0.0; default: the newest.")]
pipeline_app = typer.Typer(name="pipeline", help="Run and follow the image pipeline.", no_args_is_help=True, rich_markup_mode=None)
export_app = typer.Typer(name="export", help="Write what is published for other tools.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (plan, publish, destroy, promote, rehearse):
        app.command()(command)
    app.add_typer(pipeline_app)
    app.add_typer(export_app)


def plan(
    *,
    target: Target = None,
    evidence: Evidence = None,
    detailed: Annotated[bool, typer.Option("--detailed-exitcode", help="Exit 1 when there is something to do.")] = False,
    endpoint_url: Endpoint = None,
    config: Config = None,
    var: Var = None,
    var_file: VarFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Show what publishing would change in AWS; reads only."""
    from publish import session

    settings, now = settings_from(config, var, var_file), session.utc_now()
    decision = session.decide(settings, target, evidence, now)
    what = session.publication(settings, target, now, decision)
    found = session.plan(session.cloud_of(settings, endpoint_url), what, now)
    if not decision.open:
        found.notes.append(f"the gate is closed: {len(decision.reasons)} reasons, see `harness gate`")
    sys.stdout.write(found.as_json() if output is Format.JSON else found.as_text())
    raise typer.Exit(1 if detailed and not found.empty else 0)


def publish(
    *,
    target: Target = None,
    evidence: Evidence = None,
    yes: Yes = False,
    despite_gate: Despite = None,
    print_iam_policy: Annotated[bool, typer.Option("--print-iam-policy", help="Print what the publisher must be allowed to do.")] = False,
    endpoint_url: Endpoint = None,
    config: Config = None,
    var: Var = None,
    var_file: VarFile = None,
    output: Output = Format.TEXT,
    quiet: Quiet = False,
) -> None:
    """Bring AWS to what was verified, once the gate is open. Exit 1: the gate is closed, or AWS refused."""
    from harness.console import Progress
    from publish import session

    settings, now = settings_from(config, var, var_file), session.utc_now()
    if print_iam_policy:
        from publish import iam

        place = session.place_of(session.cloud_of(settings, endpoint_url))
        what = session.publication(settings, target, now)
        policy = iam.policy(
            project=what.publish.project_name,
            account=place.account,
            region=place.region,
            partition=place.partition,
            log_prefix=what.values.get("agent_log_group_prefix", "ISMS-GoldenAMI"),
            log_bucket=what.publish.log_bucket,
        )
        sys.stdout.write(iam.text(policy))
        return
    why = session.reason(despite_gate) if despite_gate is not None else ""
    decision = session.decide(settings, target, evidence, now)
    if not decision.open and not why:
        refuse(decision)
    what = session.publication(settings, target, now, decision, "" if decision.open else why)
    cloud = session.cloud_of(settings, endpoint_url)
    found = session.plan(cloud, what, now)
    sys.stdout.write(found.as_json() if output is Format.JSON else found.as_text())
    if found.empty:
        return
    if not yes:
        raise UsageError("nothing was changed", hint="add --yes to do what the plan says")
    session.apply(cloud, what, found, now, Progress(quiet=quiet))
    if output is Format.TEXT:
        sys.stdout.write(f"published  {what.stem}  documents {what.digest}\n")


def refuse(decision: Decision) -> NoReturn:
    """Say why the gate is closed, and stop."""
    for reason in decision.reasons:
        where = f"{reason.target}: " if reason.target else ""
        sys.stderr.write(f"closed: {where}{reason.message}\nhint: {reason.hint}\n")
    sys.stderr.write(f"error: the gate is closed: {len(decision.reasons)} reasons\nhint: `harness gate` tells them again\n")
    raise typer.Exit(1)


def destroy(
    *,
    target: Target = None,
    yes: Yes = False,
    endpoint_url: Endpoint = None,
    config: Config = None,
    var: Var = None,
    var_file: VarFile = None,
    output: Output = Format.TEXT,
    quiet: Quiet = False,
) -> None:
    """Remove what harness made in AWS. Images, AMIs, the log bucket and the log groups stay."""
    from harness.console import Progress
    from publish import session
    from publish.destroy import Demolition

    settings, now = settings_from(config, var, var_file), session.utc_now()
    what, cloud = session.publication(settings, target, now), session.cloud_of(settings, endpoint_url)
    with session.answers():
        demolition = Demolition(cloud, what, session.place_of(cloud))
        found = demolition.plan()
        sys.stdout.write(found.as_json() if output is Format.JSON else found.as_text())
        if found.empty:
            return
        if not yes:
            raise UsageError("nothing was removed", hint="add --yes to remove what is listed")
        demolition.carry_out(found, Progress(quiet=quiet))


def promote(
    image: Which = None,
    *,
    run: Annotated[Path | None, typer.Option("--run", metavar="RUN", help="Evidence of the audit of an instance of it.")] = None,
    without_audit: Annotated[
        str | None, typer.Option("--without-audit", metavar="REASON", help="Promote without one; the reason becomes a tag.")
    ] = None,
    target: Target = None,
    yes: Yes = False,
    endpoint_url: Endpoint = None,
    config: Config = None,
    var: Var = None,
    var_file: VarFile = None,
    output: Output = Format.TEXT,
    quiet: Quiet = False,
) -> None:
    """Share an image, and point the SSM parameter at it. Deprecates older ones; asks for an audit of an instance of it first."""
    from harness.console import Progress
    from harness.reports import json as runs
    from publish import session
    from publish.pipeline import Pipeline
    from publish.promote import Promotion

    settings, now = settings_from(config, var, var_file), session.utc_now()
    why = session.reason(without_audit) if without_audit is not None else ""
    what, cloud = session.publication(settings, target, now, exception=why), session.cloud_of(settings, endpoint_url)
    with session.answers():
        place = session.place_of(cloud)
        found = Pipeline(cloud, place, what.stem).image(image)
        promotion = Promotion(cloud, what, place, found, now, what.exception)
        promotion.check(runs.load(run / "run.json" if run.is_dir() else run) if run else None)
        planned = promotion.carry_out(Progress(quiet=quiet), apply=False)
        sys.stdout.write(planned.as_json() if output is Format.JSON else planned.as_text())
        if planned.empty:
            return
        if not yes:
            raise UsageError("nothing was changed", hint="add --yes to promote it")
        promotion.carry_out(Progress(quiet=quiet), apply=True)


def pipeline_of(
    config: Path | None, var: list[str] | None, var_file: list[Path] | None, target: str | None, endpoint: str | None
) -> Pipeline:
    """Return the pipeline that the options mean."""
    from publish import resources, session
    from publish.pipeline import Pipeline

    settings = settings_from(config, var, var_file)
    block = session.publish_block(settings)
    source = settings.source(target or block.source)
    cloud = session.cloud_of(settings, endpoint)
    with session.answers():
        return Pipeline(cloud, session.place_of(cloud), f"{block.project_name}-{resources.slug(source.name)}")


@pipeline_app.command("start")
def pipeline_start(
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    target: Target = None,
    endpoint_url: Endpoint = None,
    config: Config = None,
    var: Var = None,
    var_file: VarFile = None,
    output: Output = Format.TEXT,
    quiet: Quiet = False,
) -> None:
    """Start an image. Exit 1 with --wait: it failed."""
    from publish import session

    found = pipeline_of(config, var, var_file, target, endpoint_url)
    with session.answers():
        arn = found.start()
        if not wait:
            sys.stdout.write(json.dumps({"arn": arn}) + "\n" if output is Format.JSON else f"{arn}\n")
            return
    follow(found, arn, output, quiet=quiet)


@pipeline_app.command("watch")
def pipeline_watch(
    image: Which = None,
    *,
    target: Target = None,
    endpoint_url: Endpoint = None,
    config: Config = None,
    var: Var = None,
    var_file: VarFile = None,
    output: Output = Format.TEXT,
    quiet: Quiet = False,
) -> None:
    """Follow an image to its end: states, durations, log, and what failed. Exit 1: it failed."""
    follow(pipeline_of(config, var, var_file, target, endpoint_url), image, output, quiet=quiet)


def follow(found: Pipeline, which: str | None, output: Format, *, quiet: bool) -> None:
    """Follow an image and print what became of it."""
    from harness.console import Progress
    from publish import session

    say = Progress(quiet=quiet, verbose=True)
    with session.answers():
        image = found.watch(which, say, say.line)
    if output is Format.JSON:
        sys.stdout.write(json.dumps(image.as_data(), indent=2) + "\n")
    else:
        sys.stdout.write(f"{image.version}  {image.status}\n" + "".join(f"{region}  {ami}\n" for region, ami in image.amis))


@pipeline_app.command("status")
def pipeline_status(
    *,
    target: Target = None,
    endpoint_url: Endpoint = None,
    config: Config = None,
    var: Var = None,
    var_file: VarFile = None,
    output: Output = Format.TEXT,
) -> None:
    """Show the pipeline and its latest images."""
    from publish import session
    from publish.pipeline import table

    found = pipeline_of(config, var, var_file, target, endpoint_url)
    with session.answers():
        about, images = found.read(), found.images()
    if output is Format.JSON:
        sys.stdout.write(json.dumps({"pipeline": about, "images": [image.as_data() for image in images]}, indent=2, default=str) + "\n")
    else:
        sys.stdout.write(table(about, images))


@pipeline_app.command("logs")
def pipeline_logs(
    image: Which = None,
    *,
    target: Target = None,
    endpoint_url: Endpoint = None,
    config: Config = None,
    var: Var = None,
    var_file: VarFile = None,
) -> None:
    """Print the log of an image."""
    from publish import session

    found = pipeline_of(config, var, var_file, target, endpoint_url)
    with session.answers():
        for text in found.news(found.image(image)):
            sys.stdout.write(f"{text}\n")


@pipeline_app.command("cancel")
def pipeline_cancel(
    image: Which = None,
    *,
    target: Target = None,
    endpoint_url: Endpoint = None,
    config: Config = None,
    var: Var = None,
    var_file: VarFile = None,
) -> None:
    """Stop an image that is being made."""
    from publish import session

    found = pipeline_of(config, var, var_file, target, endpoint_url)
    with session.answers():
        stopped = found.cancel(image)
    sys.stdout.write(f"{stopped.version}  {stopped.status}\n")


@export_app.command("cloudformation")
def export_cloudformation(
    *,
    to: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Gets template.yaml, and documents that go to S3.")] = Path(
        "cloudformation"
    ),
    account: Annotated[str, typer.Option("--account", metavar="ID", help="Account of keys that are named without an ARN.")] = "0" * 12,
    target: Target = None,
    config: Config = None,
    var: Var = None,
    var_file: VarFile = None,
) -> None:
    """Write foundation and pipeline as one CloudFormation template; asks AWS nothing."""
    from publish import export, session
    from publish.resources import Place

    settings = settings_from(config, var, var_file)
    what = session.publication(settings, target, session.utc_now())
    place = Place(account, session.cloud_of(settings, None).region)
    files = {"template.yaml": export.template(what, place).encode(), **export.documents(what)}
    for name, data in files.items():
        path = to / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}", hint="name another folder with --output") from None
        sys.stdout.write(f"{path}\n")
