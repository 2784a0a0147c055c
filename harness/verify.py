"""The main job: a fresh target, hardened by the component documents, judged by the suites, told as a run with evidence."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness import __version__, attestation, controls, evidence, site, toe, waivers
from harness.builds import chosen_build, documents, overrides_of
from harness.errors import BuildError, HarnessError, UsageError
from harness.judging import Task, judged
from harness.model import DocumentRun, Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from securesystemslib.signer import Signer

    from harness.catalog import Baseline, Catalog
    from harness.components import Rendered
    from harness.config.settings import Build, Settings, Source
    from harness.console import Progress
    from harness.evidence import Evidence
    from harness.images.base import BaseImage
    from harness.model import Result
    from harness.targets.base import Target
    from harness.targets.container import ContainerTarget

DETECT = '. /etc/os-release && printf "%s %s" "$ID" "$VERSION_ID"'
QUESTION_SECONDS = 60.0
BASES = ("auto", "registry", "standin")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    target: str | None = None
    """Name of a source in the configuration, or the URI of a target that exists already."""
    base: str = "auto"
    """`auto`, `registry`, `standin`, or the path of a disk image."""
    as_is: bool = False
    """Judge the base as it comes, without hardening."""
    keep: bool = False
    vm: bool = False
    """Boot what the container was hardened into, and judge that too, twice."""
    post_cleanup: bool = False
    """Clean the container as Image Builder does before its snapshot, start it anew, and judge it once more."""
    evidence: Path = Path("evidence")
    rules: tuple[str, ...] = ()
    """Judge only these rules; none means all."""
    waivers: Path | None = None
    """None: waivers.yaml beside the configuration, if there is one."""
    signer: Signer | None = None
    """Who signs the evidence; None leaves it unsigned."""

    @property
    def disk(self) -> Path | None:
        """The disk image that is to be booted; None for a container."""
        return None if self.base in BASES else Path(self.base)


@dataclass(frozen=True, slots=True)
class Opened:
    """A target that is ready, and what it was made from."""

    target: Target
    source: Source | None
    base: BaseImage | None
    baseline: Baseline


def verify(settings: Settings, options: Options, say: Progress) -> tuple[Run, Evidence]:
    """Harden a fresh target (or the named one), judge every rule, and keep the evidence.

    Raises the errors of harness.errors; what was found until then stays in the evidence folder.
    """
    content = site.content(settings)
    for rule in options.rules:
        content.rule(rule)
    accepted = waivers.of(options.waivers, Path.cwd() if settings.bundled else settings.path.parent, content.rules)
    if not options.as_is:
        readable(settings)
    if options.disk is not None:
        check_disk(options, options.disk)
    if options.post_cleanup and (options.vm or "://" in (options.target or "")):
        raise UsageError("--post-cleanup takes host keys and machine-id away: it is for a fresh container, and not for --vm")
    started = datetime.now(UTC)
    if options.vm and options.disk is None:
        from harness import booted

        booted.require()
    with opened(settings, options, content, say) as place:
        if options.vm and options.disk is None:
            container_of(place.target)
        build = chosen_build(settings, place.source)
        rendered = () if options.as_is else documents(content, place.baseline, build)
        kept = evidence.Evidence.open(options.evidence, evidence.run_id(place.baseline.name, started))
        say(f"evidence goes to {kept.folder}")
        try:
            run = carried_out(content, place, build, rendered, options, kept, say, started)
        except HarnessError as error:
            kept.failure(str(error), error.hint)
            raise
        except KeyboardInterrupt:
            kept.failure("interrupted", None)
            raise
        run, warnings = waivers.onto(run, accepted)
        run = controls.onto(run, content, place.baseline)
        for warning in warnings:
            say(f"warning: {warning}")
        kept.run(run)
        if options.signer is not None:
            say(f"evidence is signed by the key {attestation.attest(kept.folder, run, options.signer)[:16]}")
    return run, kept


def check_disk(options: Options, disk: Path) -> None:
    """Refuse what does not go together with a disk image. Raises UsageError."""
    if not disk.is_file():
        raise UsageError(f"--base {disk}: neither {', '.join(BASES)} nor a disk image that is there")
    if "://" in (options.target or ""):
        raise UsageError(f"--base {disk} is booted anew, and {options.target} exists already", hint="name a source, such as --target al2")
    if not options.vm:
        raise UsageError(f"--base {disk} is a disk image, which only a virtual machine starts", hint="add --vm")


def readable(settings: Settings) -> None:
    """Refuse a user's document that AWSTOE would refuse, before anything is started. Raises DocumentError."""
    for build in settings.builds:
        for component in build.components:
            if component.source is not None:
                toe.load(component.source)


def carried_out(  # noqa: PLR0913 - the parts of one run
    content: Catalog,
    place: Opened,
    build: Build | None,
    rendered: Sequence[Rendered],
    options: Options,
    kept: Evidence,
    say: Progress,
    started: datetime,
) -> Run:
    """Harden, harden again, judge."""
    kept.documents(rendered)
    ran = hardened(place.target, rendered, kept, say)
    task = Task(content, place.baseline, overrides_of(build), options.rules, started)
    judges = site.digests(content, place.baseline)
    found, machine = results_of(task, place, options, kept, say)
    return Run(
        id=kept.folder.name,
        started=started,
        finished=datetime.now(UTC),
        harness_version=__version__,
        target={
            "uri": place.target.uri,
            "environment": place.target.environment.value,
            "source": place.source.name if place.source else "",
            **place.target.facts,
            **machine,
        },
        base=base_facts(place.base),
        baseline=place.baseline.name,
        parameters=task.values,
        documents=ran,
        results=found,
        digests=judges,
    )


def results_of(task: Task, place: Opened, options: Options, kept: Evidence, say: Progress) -> tuple[tuple[Result, ...], dict[str, str]]:
    """Judge the target and, where it is asked for, the virtual machine that it becomes; return the results and the machine's facts."""
    from harness.testinfra_backend import host_for

    if options.disk is not None:
        return results_of_disk(task, place, options, kept, say)
    host = host_for(place.target)

    def here() -> tuple[Result, ...]:
        say(f"judging {len(task.rules)} rules")
        return judged(task, place.target, host, kept)

    if options.post_cleanup:
        from harness import booted, cleanup

        built = booted.Stage("as built", here())
        say("cleaning up as Image Builder does, and starting anew")
        cleanup.simulate(place.target)
        host.backend.forget()
        return booted.united((built, booted.Stage("cleaned up and started anew", here()))), {"cleanup": "simulated"}
    if not options.vm:
        return here(), {}
    from harness import booted

    # The machine boots while the container is judged.
    with booted.booting(container_of(place.target), say, keep=options.keep) as target:
        stages = (booted.Stage("container", here()), *booted.stages(task, target, kept, say))
        if options.keep:
            target.guest.snapshot()
        facts = {f"vm_{name}": value for name, value in target.facts.items()}
        return booted.united(stages), {"environments": "container, vm", "vm_uri": target.uri, **facts}


def results_of_disk(
    task: Task, place: Opened, options: Options, kept: Evidence, say: Progress
) -> tuple[tuple[Result, ...], dict[str, str]]:
    """Judge a disk image as an instance of it would be: started anew after the hardening, and restarted once more."""
    from harness import booted
    from harness.targets.vm import VmTarget

    assert isinstance(place.target, VmTarget)  # noqa: S101 - `opened` made it of the disk
    if not options.as_is:
        say("restarting what was hardened")
        place.target.restart()
    stages = booted.stages(task, place.target, kept, say)
    if options.keep:
        place.target.guest.snapshot()
    return booted.united(stages), {"environments": "vm"}


def container_of(target: Target) -> ContainerTarget:
    """Return a target that can become a virtual machine. Raises UsageError for any other."""
    from harness.targets.container import ContainerTarget

    if not isinstance(target, ContainerTarget):
        raise UsageError(f"--vm boots what a container was hardened into, and {target.uri} is none")
    return target


@contextmanager
def opened(settings: Settings, options: Options, content: Catalog, say: Progress) -> Iterator[Opened]:
    """Open the target that the options name: an existing one by URI, or a fresh container of a source."""
    from harness import engine, images, targets
    from harness.targets.container import ContainerTarget

    if options.target is not None and "://" in options.target:
        with targets.open_target(options.target) as target:
            yield Opened(target, None, None, detected(target, content))
        return
    source = settings.source(options.target)
    baseline = content.baseline(source.baseline)
    if options.disk is not None:
        with of_disk(options.disk, source, baseline, content, options, say) as place:
            yield place
        return
    found = engine.find(source.engine, say=say)
    say(f"engine {found.name} {found.version}")
    base = images.ensure(options.base, source, found, say)
    say(f"base {base.label}: {base.why}")
    if base.kind == "registry":
        # Its packages come from a repository on the network; the engine's own network still is a namespace of its own.
        found = replace(found, network="")
    with ContainerTarget.start(found, base.reference, keep=options.keep, say=say) as target:
        yield Opened(target, source, base, baseline)


@contextmanager
def of_disk(  # noqa: PLR0913 - the parts of one place
    disk: Path, source: Source, baseline: Baseline, content: Catalog, options: Options, say: Progress
) -> Iterator[Opened]:
    """Boot a disk image. Raises UsageError when it runs another system than the source's baseline is for."""
    from harness import booted
    from harness.images.base import BaseImage
    from harness.vms import image

    digest = image.digest(image.examined(disk).path)
    with booted.imported(disk, say, keep=options.keep) as target:
        found = detected(target, content)
        if found.name != baseline.name:
            raise UsageError(
                f"{disk} runs {found.name}, and the source {source.name} is for {baseline.name}", hint=f"--target {found.name}"
            )
        why = "it was named, and booted by its own boot loader"
        yield Opened(target, source, BaseImage("disk", str(disk), digest, baseline.name, f"disk image {disk.name}", why), baseline)


def detected(target: Target, content: Catalog) -> Baseline:
    """Return the baseline for the system that a target says it runs."""
    words = target.run(DETECT, timeout=QUESTION_SECONDS).out.split()
    for baseline in content.baselines.values():
        if words == [baseline.os_id, baseline.os_version]:
            return baseline
    raise UsageError(
        f"{target.uri} runs `{' '.join(words) or 'a system without os-release'}`, for which there is no baseline",
        hint=f"known baselines: {', '.join(content.baselines)}",
    )


def hardened(target: Target, rendered: Sequence[Rendered], kept: Evidence, say: Progress) -> tuple[DocumentRun, ...]:
    """Run every document's build and validate phases, then the build phases again: a good document changes nothing twice."""
    runner = toe.Runner(target, kept.logs, say, on_line=say.line)
    ran: list[DocumentRun] = []
    with ThreadPoolExecutor(1) as beside:  # the next documents are read while one runs
        loading = [beside.submit(toe.load, document.data, name=kept.documents_folder / document.file_name) for document in rendered]
        for document, parsed in zip(rendered, loading, strict=True):
            outcome = runner.run(parsed.result(), phases=("build", "validate"), parameters=document.parameters)
            refuse_failure(document.name, outcome)
            changes, parameters = changes_in(outcome), dict(document.parameters)
            ran.append(DocumentRun(document.name, document.sha256, outcome.status.value, changes, None, parameters))
    for index, (document, parsed) in enumerate(zip(rendered, loading, strict=True)):
        say(f"{document.name} again: a second run must change nothing")
        outcome = runner.run(parsed.result(), phases=("build",), parameters=document.parameters)
        refuse_failure(document.name, outcome)
        ran[index] = replace(ran[index], changes_again=changes_in(outcome))
    return tuple(ran)


def changes_in(outcome: toe.DocumentOutcome) -> int:
    """Count what the scripts say they changed."""
    return sum(1 for _ in outcome.lines("changed "))


def refuse_failure(name: str, outcome: toe.DocumentOutcome) -> None:
    """Turn a failed document into one line that names the component, the phase and the step."""
    step = outcome.failed_step
    if step is None:
        return
    last = [line for line in step.tail() if line.strip()]
    raise BuildError(
        f"{name}: phase {step.phase}, step {step.name}: {step.message}",
        hint=f"last output: {last[-1]}" if last else "run again with --verbose --keep to look at it",
    )


def base_facts(base: BaseImage | None) -> Mapping[str, str]:
    """Return what the evidence says of the base image."""
    if base is None:
        return {"kind": "existing", "label": "an existing target, as it was", "reference": "", "digest": "", "why": ""}
    return {"kind": base.kind, "label": base.label, "reference": base.reference, "digest": base.digest, "why": base.why}
