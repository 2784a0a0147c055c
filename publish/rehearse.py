"""The rehearsal: verify, gate, publish, start and watch, on an Image Builder in memory that runs the components in containers."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.errors import BuildError, UsageError
from publish import session
from publish.aws import Cloud
from publish.pipeline import Pipeline
from publish.rehearsal import Rehearsal, policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.config.settings import Settings, Source
    from harness.console import Progress
    from harness.gate import Decision
    from publish.emulator.builder import Builder
    from publish.emulator.core import Emulator
    from publish.emulator.scheduler import Threaded
    from publish.emulator.server import Endpoint

REGION: Final = "ap-northeast-2"
"""Where it takes place when the configuration names no region."""
SEEN_SECONDS: Final = 5.0
"""How long an image waits in a state that nobody has asked for yet."""
POLL_SECONDS: Final = 0.1
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    target: str | None = None
    evidence: Path | None = None
    """Of an earlier run; None: it is verified first."""
    base: str = "auto"
    """Where fresh containers come from, when no evidence says it."""
    despite_gate: str = ""
    """Why it goes on though the gate is closed; without evidence nothing is verified then."""
    port: int = 0
    """Of the endpoint on loopback; 0: any that is free."""
    vm: bool = False
    """Whether build and test instance are virtual machines; containers otherwise."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a rehearsal stands on."""

    source: Source
    base: str
    """`auto`, `registry` or `standin`: what its evidence was made on."""
    decision: Decision | None
    exception: str
    outcome: Rehearsal


class ClosedError(Exception):
    """The gate is closed, even by the rehearsal's policy."""

    def __init__(self, decision: Decision) -> None:
        """Keep the reasons."""
        super().__init__("the gate is closed")
        self.decision = decision


def rehearse(
    settings: Settings, options: Options, say: Progress, ready: Callable[[Rehearsal, Endpoint | None], None] = lambda *_: None
) -> Rehearsal:
    """Go the whole way once. A component that fails, when it is verified or in the pipeline, is in the outcome.

    `ready` is called when all has come to its end and the endpoint is still open. Raises ClosedError, and the errors of harness.errors.
    """
    from harness import booted, engine, images, leftovers
    from publish.emulator.containers import Containers, sweep
    from publish.emulator.machines import Machines

    if options.vm:
        booted.require()
    with tempfile.TemporaryDirectory(prefix="harness-rehearsal-") as name:
        scratch, began = Path(name), time.monotonic()
        check_port(options.port)
        try:
            ground = prepared(settings, options, scratch, say)
        except BuildError as error:
            outcome = Rehearsal(settings.source(options.target or session.publish_block(settings).source).name)
            outcome.failed("VERIFYING", time.monotonic() - began, error)
            ready(outcome, None)
            return outcome
        began = time.monotonic()
        found = engine.find(ground.source.engine, say=say)
        builder = Machines(found, "", scratch / "logs", say) if options.vm else Containers(found, "", scratch / "logs", say)
        # In the main thread, so that SIGTERM and SIGHUP become an exception that closes everything on its way out.
        leftovers.watch(found, builder.run)
        try:
            sweep(found, say)
            base = images.ensure(ground.base, ground.source, found, say)
            ground.outcome.base = base.label
            if base.kind == "registry":
                builder.engine = replace(found, network="")
                if isinstance(builder, Machines):
                    builder.network = True
            builder.parent = base.reference
            with alone(), opened(builder, options.port) as endpoint:
                carry_out(settings, ground, endpoint, say)
                ground.outcome.seconds = time.monotonic() - began
                ready(ground.outcome, endpoint)
        finally:
            leftovers.unwatch(builder.run)
    return ground.outcome


def check_port(port: int) -> None:
    """Find out now that a port is taken, not after minutes of hardening. Raises UsageError."""
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError as error:
        raise UsageError(f"port {port} cannot be used: {error.strerror}", hint="choose another one, or none") from None


def prepared(settings: Settings, options: Options, scratch: Path, say: Progress) -> Ground:
    """Bring evidence, or make it, and ask the gate. Raises ClosedError."""
    from harness import gate, gathering, site

    source = settings.source(options.target or session.publish_block(settings).source)
    outcome = Rehearsal(source.name)
    evidence, key = options.evidence, None
    if evidence is None and options.despite_gate:
        outcome.evidence = f"none: {options.despite_gate}"
        return Ground(source, options.base, None, options.despite_gate, outcome)
    if evidence is None:
        evidence, key = verified(settings, source, options.base, scratch, say)
    rules = policy(settings, source, key)
    facts = gathering.facts(rules.settings, site.content(settings), evidence, (source.name,))
    decision = gate.decide(gathering.policy(rules.settings), facts, session.utc_now())
    outcome.policy = rules.differs
    if not decision.open and not options.despite_gate:
        raise ClosedError(decision)
    newest = facts[0].newest
    outcome.evidence = "made for it, and gone with it" if key else str(newest.folder if newest else evidence)
    kind = newest.run.base.get("kind", "") if newest and newest.run else ""
    base = kind if kind in {"registry", "standin"} else options.base
    return Ground(source, base, decision, "" if decision.open else options.despite_gate, outcome)


def verified(settings: Settings, source: Source, base: str, scratch: Path, say: Progress) -> tuple[Path, Path]:
    """Verify a source; return the folder of the evidence, and the public half of the ephemeral key that signed it."""
    from harness import attestation
    from harness.verify import Options as Verification
    from harness.verify import verify

    secret = scratch / "ephemeral.pem"
    public, _ = attestation.keygen(secret, None)
    signer = attestation.load_signer(str(secret), lambda: None)
    wanted = settings.gate.environments if settings.gate else ()
    chosen = Verification(target=source.name, base=base, vm="vm" in wanted, evidence=scratch / "evidence", signer=signer)
    run, _ = verify(settings, chosen, say)
    say(f"verified: {', '.join(f'{count} {status}' for status, count in run.counts().items() if count)}")
    return scratch / "evidence", public


@contextmanager
def alone() -> Iterator[None]:
    """Let no credentials, profile or endpoint of the user take part, and no proxy stand between this process and itself."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "rehearsal",
        "AWS_SECRET_ACCESS_KEY": "rehearsal",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    bypass = ",".join(filter(None, (LOOPBACK, before.get("no_proxy") or before.get("NO_PROXY"))))
    os.environ |= {"no_proxy": bypass, "NO_PROXY": bypass}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def opened(builder: Builder, port: int) -> Iterator[Endpoint]:
    """Open AWS in memory on loopback; its images wait in each state until somebody has seen it. Raises OSError for a taken port."""
    from publish.emulator.core import Emulator
    from publish.emulator.scheduler import Threaded
    from publish.emulator.server import Endpoint

    scheduler = Threaded()
    emulator = Emulator(builder=builder, scheduler=scheduler)
    scheduler.pause = lambda: until_seen(emulator, scheduler)
    endpoint = Endpoint(emulator, port=port).open()
    try:
        yield endpoint
    finally:
        endpoint.close()


def until_seen(emulator: Emulator, scheduler: Threaded) -> None:
    """Wait until somebody has asked for an image, for a while."""
    before, end = len(emulator.calls), time.monotonic() + SEEN_SECONDS
    while time.monotonic() < end and not scheduler.closing.is_set():
        if any(name == "GetImage" for name, _ in emulator.calls[before:]):
            return
        time.sleep(POLL_SECONDS / 5)


def carry_out(settings: Settings, ground: Ground, endpoint: Endpoint, say: Progress) -> None:
    """Publish, start and watch; what becomes of it goes into the outcome."""
    from publish.emulator import company

    outcome, now = ground.outcome, session.utc_now()
    block = session.publish_block(settings)
    region = block.aws_region or REGION
    cloud = Cloud(region, endpoint.url, sleep=lambda seconds: time.sleep(min(seconds, POLL_SECONDS)))
    settled, outcome.notes = company.settle(block.model_copy(update={"aws_region": region}), cloud.client)
    what = session.publication(settings.model_copy(update={"publish": settled}), ground.source.name, now, ground.decision, ground.exception)
    planned = session.plan(cloud, what, now)
    outcome.counts, outcome.published = planned.counts(), f"{what.stem}  documents {what.digest}"
    if what.exception:
        outcome.notes.append(f"published though the gate is closed: {what.exception}")
    session.apply(cloud, what, planned, now, say)
    pipeline = Pipeline(cloud, session.place_of(cloud), what.stem)
    with session.answers():
        arn = pipeline.start()
        try:
            outcome.amis = dict(pipeline.watch(arn, say, say.line).amis)
        except BuildError as error:
            # The error's own hint names a command that would ask AWS.
            outcome.reason = error.message
        outcome.states, outcome.status, outcome.image = pipeline.passed, pipeline.passed[-1][0], pipeline.image(arn).version
