"""An audit: the suites' questions asked on a host that is at work, in as few round trips as can be, and judged as a run.

    plan = Plan(catalog.load(), baseline="al2")
    capture = captured(target, plan)      # live; read-only
    run = evaluated(capture, plan)        # pure; now or next year
    capture, run = audited(target, plan)  # both; judges only once

Whoever does not have a `Target`, such as a fan-out over SSM, drives a Dialogue himself: it says what to run and takes what came back.
Nothing here prints.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING

from harness import __version__, controls, evidence, learned, redaction, suites
from harness.batch import batch
from harness.capture import Answer, Capture, totals
from harness.errors import TargetError, UsageError
from harness.judge import Scope
from harness.model import Environment, Run
from harness.recall import Memory
from harness.suite import Parameters, key_values
from harness.targets.base import CommandTimeout, Completed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from harness.batch import Batch
    from harness.catalog import Baseline, Catalog
    from harness.judge import Outcome
    from harness.model import Rule
    from harness.suites import Check
    from harness.targets.base import Target
    from harness.testinfra_backend import Backend

SYSTEM = "if [ -e /etc/os-release ]; then cat -- /etc/os-release; else exit 66; fi"
USER = 'id -un; echo "$EUID"'
CONTAINED = (
    "if [ -e /run/.containerenv ]; then echo podman; "
    "elif command -v systemd-detect-virt >/dev/null; then exec systemd-detect-virt --container; "
    "elif [ -e /.dockerenv ]; then echo docker; else echo none; fi"
)
IMAGE = r"""f=/run/cloud-init/instance-data.json; [ ! -e $f ] || exec sed -n 's/.*"ami[-_]id": *"\(ami-[0-9a-f]*\)".*/\1/p' $f"""
"""What cloud-init wrote down of the instance's metadata at its start; readable by everybody, secrets left out by cloud-init."""
FIRST = (SYSTEM, USER, CONTAINED, IMAGE)
"""Asked of every host: what it is, as whom we ask, whether it is a container, whose kernel and clock are another's, and its AMI."""
MOST_ROUNDS = 12
"""Beyond this a check asks something new each time, and will never come to its end."""


@dataclass(frozen=True)
class Plan:
    """What is judged, the same for every host of an audit. Make one per process: the suites are loaded once."""

    content: Catalog
    baseline: str | None = None
    """None: each host's os-release decides."""
    overrides: Mapping[str, str] = field(default_factory=dict)
    """Parameters that the configuration sets."""
    rules: tuple[str, ...] = ()
    """Judge only these; none means all."""

    _first: dict[Environment, tuple[str, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _memories: dict[tuple[str, Environment, bool, str], Memory] = field(default_factory=dict, init=False, repr=False, compare=False)
    _digests: dict[str, Mapping[str, str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Return the folders of the suites: ours, and a user's."""
        return suites.SUITES, *self.content.suites

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """Return the checks of the rules. Raises ContentError for a suite that cannot be loaded."""
        chosen = set(self.rules)
        return tuple(check for check in suites.load(self.folders, self.content.rules) if not chosen or check.rule in chosen)

    @property
    def judged_rules(self) -> Mapping[str, Rule]:
        """Return the rules that get a result."""
        return {rule: self.content.rule(rule) for rule in self.rules} or dict(self.content.rules)

    @cached_property
    def suites_digest(self) -> str:
        """Return a digest of the suites' texts."""
        return suites.digest(self.folders)

    @cached_property
    def baselines(self) -> tuple[Baseline, ...]:
        """Return those that a host may turn out to need."""
        return (self.content.baseline(self.baseline),) if self.baseline else tuple(self.content.baselines.values())

    def first(self, environment: Environment) -> tuple[str, ...]:
        """Return what a host is asked first: everything that earlier hosts were asked, or that can be foreseen."""
        if environment not in self._first:
            commands = dict.fromkeys(FIRST)
            for baseline in self.baselines:
                known = learned.recall(self.key(baseline, environment))
                commands |= dict.fromkeys(known or self.foreseen(baseline, environment))
            self._first[environment] = tuple(commands)
        return self._first[environment]

    def learn(self, baseline: Baseline, environment: Environment, commands: Iterable[str]) -> None:
        """Keep what the checks of a baseline asked: the next host, or the next pass, is asked it first."""
        new = dict.fromkeys(commands)
        learned.remember(self.key(baseline, environment), new)
        self._first[environment] = tuple(dict.fromkeys([*self.first(environment), *new]))

    def ready(self, environment: Environment) -> None:
        """Load all that a host of an environment is asked and judged by, so that nobody waits for it later. Raises ContentError."""
        import testinfra.host  # noqa: F401 - the first judgement would

        _ = self.checks
        self.first(environment)

    def key(self, baseline: Baseline, environment: Environment) -> str:
        """Name what the questions depend on: the suites, the rules that are judged, the system and the values."""
        values = self.content.values(baseline, self.overrides)
        return learned.key(
            __version__,
            environment.value,
            self.suites_digest,
            *self.rules,
            baseline.name,
            baseline.os_id,
            baseline.os_version,
            *map(str, values.items()),
        )

    def foreseen(self, baseline: Baseline, environment: Environment) -> Iterable[str]:
        """Return what the checks would ask a host on which nothing is installed."""
        replay, _ = self.memory(baseline, environment, "", "").judged({}, dict(enumerate(self.checks)), note=True)
        return replay.missing

    def digests(self, baseline: Baseline) -> Mapping[str, str]:
        """Return the digests of what judges, computed once."""
        if baseline.name not in self._digests:
            if self.content.site is None:
                own = evidence.digests(self.content.folder / "baselines" / f"{baseline.name}.yaml", suites.SUITES)
            else:
                from harness import site

                own = site.digests(self.content, baseline)
            self._digests[baseline.name] = own
        return self._digests[baseline.name]

    def scope(self, baseline: Baseline, environment: Environment, container: str = "") -> Scope:
        """Return what is judged on a host; `container` names what contains one that says it is in a container."""
        return Scope(rules=self.judged_rules, excluded=baseline.excluded, environment=environment, contained=bool(container))

    def memory(self, baseline: Baseline, environment: Environment, container: str, user: str) -> Memory:
        """Return what judges a host as it judged those before it; `container` and `user` as a capture has them."""
        key = (baseline.name, environment, bool(container), user)
        memory = self._memories.get(key)
        if memory is None:
            parameters = Parameters(self.content.values(baseline, self.overrides))
            # Another thread may have been quicker.
            memory = self._memories.setdefault(key, Memory(self.scope(baseline, environment, container), parameters, user))
        return memory

    def baseline_of(self, where: str, system: Mapping[str, str]) -> Baseline:
        """Return the baseline for a system. Raises UsageError where there is none, or the chosen one is for another system."""
        words = f"{system.get('ID', '')} {system.get('VERSION_ID', '')}".strip() or "a system without os-release"
        for baseline in self.baselines:
            if (system.get("ID"), system.get("VERSION_ID")) == (baseline.os_id, baseline.os_version):
                return baseline
        if self.baseline:
            chosen = self.baselines[0]
            raise UsageError(
                f"{where} runs `{words}`, and the baseline {chosen.name} is for `{chosen.os_id} {chosen.os_version}`",
                hint="without --baseline the host's own os-release decides",
            )
        raise UsageError(
            f"{where} runs `{words}`, for which there is no baseline", hint=f"known baselines: {', '.join(self.content.baselines)}"
        )


class Dialogue:
    """The capture of one host in the making, without any input or output: what to run next, and what came of it.

    `while (batch := dialogue.batch()) is not None: dialogue.take(target.run(batch.text, timeout=batch.seconds))`
    The first batch asks every host of a plan the same.
    """

    def __init__(self, plan: Plan, target: Mapping[str, str]) -> None:
        """Begin; `target` holds `uri`, `name`, `environment` and whatever else is known of it."""
        self.plan, self.target = plan, dict(target)
        self.started = self.finished = datetime.now(UTC)
        self.rounds = 0
        self.known: dict[str, Answer] = {}
        self._asked: Batch | None = None
        self._alone: set[str] = set()
        self._redacted: list[Mapping[str, int]] = []
        self._outcomes: dict[int, Outcome] = {}
        self._baseline: Baseline | None = None

    def batch(self) -> Batch | None:
        """Return what to run next; None when every question is answered. Raises UsageError for a system without a baseline."""
        wanted = list(self._wanted())
        if not wanted:
            return None
        if self.rounds >= MOST_ROUNDS:
            raise TargetError(f"{self.target['uri']}: after {self.rounds} rounds of questions there still are new ones", hint=wanted[0])
        # What was asked in a group and has no answer is asked by itself.
        self._asked = batch(wanted, together=not self._alone.intersection(wanted))
        return self._asked

    def _wanted(self) -> Iterable[str]:
        if self.rounds == 0:
            return self.plan.first(self.environment)
        if unknown := [text for text in FIRST if text not in self.known]:
            return unknown
        return self._judge()

    def _judge(self) -> Iterable[str]:
        """Judge what has all its answers; return the questions of the rest."""
        self._baseline = self._baseline or self.plan.baseline_of(self.target["uri"], self.system)
        pending = {place: check for place, check in enumerate(self.plan.checks) if place not in self._outcomes}
        container, user = container_of(self.environment, self.known), user_of(self.known)
        memory = self.plan.memory(self._baseline, self.environment, container, user)
        replay, outcomes = memory.judged(self.known, pending, note=True)
        self._outcomes |= {index: outcome for index, outcome in zip(pending, outcomes, strict=True) if outcome is not None}
        return replay.missing

    def asks(self, questions: Batch) -> None:
        """Put a batch that was made elsewhere: of another host with the same questions, or of a part of them."""
        self._asked = questions

    def take(self, completed: Completed) -> None:
        """Take what the batch printed. Raises TargetError when nothing of it is there, since the host then did not run it."""
        asked, self._asked = self._asked, None
        if asked is None:
            raise TargetError(f"{self.target['uri']}: an answer without a question")
        answers, redacted = asked.answers(completed)
        if not answers:
            last = ["no output", *(line[:200] for line in (completed.err or completed.out).splitlines() if line.strip())][-1]
            raise TargetError(
                f"{self.target['uri']}: the questions were not answered (exit code {completed.returncode}): {last}",
                hint="the host needs bash 4, sed and awk",
            )
        for text in asked.commands:
            if text in answers:
                self.known[text] = answers[text]
            elif text in self._alone or text in asked.rest:
                self.known[text] = Answer(text, -1, b"", b"no answer came back", timed_out=True)
            else:
                self._alone.add(text)
        self._redacted.append(redacted)
        self.rounds += 1
        self.finished = datetime.now(UTC)

    @property
    def environment(self) -> Environment:
        """What kind of target it is."""
        return Environment(self.target["environment"])

    @property
    def system(self) -> Mapping[str, str]:
        """Return the fields of os-release."""
        return system_of(self.known)

    def capture(self) -> Capture:
        """Return the capture, after the last batch."""
        found = {"container": container_of(self.environment, self.known), "ami": image_of(self.known)}
        return Capture(
            target={**self.target, **{key: value for key, value in found.items() if value}},
            system=dict(self.system),
            user=user_of(self.known),
            started=self.started,
            finished=self.finished,
            harness_version=__version__,
            answers=tuple(self.known.values()),
            redacted=totals(self._redacted),
            round_trips=self.rounds,
        )

    def run(self) -> Run:
        """Return the verdict, after the last batch."""
        if self._baseline is None or len(self._outcomes) < len(self.plan.checks):
            return evaluated(self.capture(), self.plan)
        used = (command for outcome in self._outcomes.values() for command in outcome.commands)
        learned.remember(self.plan.key(self._baseline, self.environment), used)
        return told(self.plan, self._baseline, self.capture(), [self._outcomes[index] for index in sorted(self._outcomes)])


def system_of(known: Mapping[str, Answer]) -> Mapping[str, str]:
    """Read os-release."""
    answer = known.get(SYSTEM)
    return key_values(answer.stdout.decode("utf-8", "replace")) if answer is not None and answer.exit_code == 0 else {}


def user_of(known: Mapping[str, Answer]) -> str:
    """Read as whom the questions were asked."""
    answer = known.get(USER)
    return " ".join(answer.stdout.decode("utf-8", "replace").split()) if answer is not None else ""


def container_of(environment: Environment, known: Mapping[str, Answer]) -> str:
    """Read what contains a host at work, such as `podman`; empty where nothing does, or where nobody can tell."""
    answer = known.get(CONTAINED) if environment is Environment.HOST else None
    said = answer.stdout.decode("utf-8", "replace").strip() if answer is not None else ""
    return "" if said == "none" else said


def image_of(known: Mapping[str, Answer]) -> str:
    """Read the AMI that an instance was started from; empty where it is none, or does not say."""
    answer = known.get(IMAGE)
    said = set(answer.stdout.decode("utf-8", "replace").split()) if answer is not None else set()
    return said.pop() if len(said) == 1 else ""


def memory_of(plan: Plan, baseline: Baseline, capture: Capture) -> Memory:
    """Return what judges a capture."""
    return plan.memory(baseline, capture.environment, capture.target.get("container", ""), capture.user)


def told(plan: Plan, baseline: Baseline, capture: Capture, outcomes: Iterable[Outcome]) -> Run:
    """Make the run."""
    run = Run(
        id=evidence.run_id(baseline.name, capture.started),
        started=capture.started,
        finished=capture.finished,
        harness_version=__version__,
        target={**capture.target, "user": capture.user, "captured_by": capture.harness_version},
        base={"kind": "existing", "label": "an existing target, as it was", "reference": "", "digest": "", "why": ""},
        baseline=baseline.name,
        parameters=plan.content.values(baseline, plan.overrides),
        documents=(),
        results=memory_of(plan, baseline, capture).results(outcomes),
        digests=plan.digests(baseline),
    )
    return controls.onto(run, plan.content, baseline)


def evaluated(capture: Capture, plan: Plan) -> Run:
    """Judge a capture, without any host. What the capture does not answer is an `error` of the rules that ask for it.

    Raises UsageError when there is no baseline for the system, or the named one is for another.
    """
    latest = {answer.command: answer for answer in capture.answers}
    baseline = plan.baseline_of(capture.target["uri"], capture.system)
    _, outcomes = memory_of(plan, baseline, capture).judged(latest, dict(enumerate(plan.checks)), note=False)
    return told(plan, baseline, capture, [outcome for outcome in outcomes if outcome is not None])


def asked(target: Target, plan: Plan, seconds: float = inf) -> Dialogue:
    """Ask an open target everything within this time; see `captured`."""
    dialogue = Dialogue(plan, described(target))
    deadline = time.monotonic() + seconds
    while (questions := dialogue.batch()) is not None:
        left = deadline - time.monotonic()
        try:
            completed = target.run(questions.text, timeout=max(0.0, min(questions.seconds, left)))
        except CommandTimeout as timeout:
            if time.monotonic() >= deadline:
                raise TargetError(f"{target.uri} was not done within {seconds:g} s", hint="--timeout gives a host more time") from None
            completed = Completed(questions.text, -1, timeout.stdout, timeout.stderr, timeout.seconds)
        dialogue.take(completed)
    return dialogue


def recorded(target: Target, backend: Backend, started: datetime) -> Capture:
    """Return the capture of a live back end, as a verification leaves it; it was asked FIRST before anything else."""
    known = {answer.command: answer for answer in backend.records()}
    return Capture(
        target=described(target),
        system=dict(system_of(known)),
        user=user_of(known),
        started=started,
        finished=datetime.now(UTC),
        harness_version=__version__,
        answers=backend.records(),
        redacted=redaction.counted(part for answer in backend.records() for part in (answer.stdout, answer.stderr)),
        round_trips=backend.round_trips,
    )


def described(target: Target) -> dict[str, str]:
    """Return what a capture says of its target."""
    return {"uri": target.uri, "name": target.name, "environment": target.environment.value, **target.facts}


def captured(target: Target, plan: Plan, seconds: float = inf) -> Capture:
    """Ask an open target everything that the plan's checks want to know.

    Raises TargetError when it is lost on the way, or not done within the given time.
    """
    dialogue = asked(target, plan, seconds)
    dialogue.run()
    return dialogue.capture()


def audited(target: Target, plan: Plan, seconds: float = inf) -> tuple[Capture, Run]:
    """Capture and judge. Same errors as the two."""
    dialogue = asked(target, plan, seconds)
    return dialogue.capture(), dialogue.run()
