"""Drift: what became worse, better, new or gone between two runs, and by what each was judged.

Pure, but for `read`, which takes a run from its file or from its evidence folder, where a signature can be verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.model import Result, Run, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from securesystemslib.signer import Key

SCHEMA = "isms-golden-ami/drift/1"
BAD = frozenset({Status.FAIL, Status.ERROR})
SHOWN = 300
"""Characters of an observed value in the text; the JSON has them all."""


class Kind(StrEnum):
    """What became of a rule; the order is the order in which people are told."""

    WORSE = "worse"
    """It was in order, not judged or accepted, and now is a finding; or it failed, and now cannot even be judged."""
    UNWAIVED = "unwaived"
    """What was accepted is a finding again: the waiver has expired, or was taken away."""
    NEW = "new"
    """The older run has no result of it."""
    GONE = "gone"
    """The newer run has no result of it."""
    WAIVED = "waived"
    """A finding of now that somebody has accepted since."""
    BETTER = "better"
    """A finding, accepted or not, that passes now."""
    CHANGED = "changed"
    """Another status that is neither better nor worse, such as a rule that is not judged any more."""
    VALUE = "value"
    """The same status for another observed or expected value."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One rule that is not as it was."""

    kind: Kind
    rule: str
    old: Result | None
    new: Result | None
    latest: Result
    """The newer of the two that there are."""

    @property
    def finding(self) -> bool:
        """Tell whether it is something worse: a finding of now that the older run did not have, or that was accepted there."""
        return self.kind in {Kind.WORSE, Kind.UNWAIVED} or (self.kind is Kind.NEW and self.new is not None and self.new.status in BAD)


@dataclass(frozen=True, slots=True)
class Source:
    """A run, and what vouches for it."""

    run: Run
    path: Path
    evidence: str
    """How far its file can be believed, for people: signed by whom, or not signed."""
    trusted: bool = False
    """Whether a signature of a given key holds."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Two runs, compared."""

    old: Run
    new: Run
    differences: tuple[Difference, ...]
    judged: tuple[str, ...]
    """In what the two were judged differently, a line each; empty when every difference is the host's own."""

    @property
    def worse(self) -> tuple[Difference, ...]:
        """Return what decides the exit code."""
        return tuple(difference for difference in self.differences if difference.finding)

    @property
    def same(self) -> int:
        """Count the rules of both runs whose results do not differ."""
        return len({result.rule for result in self.old.results} & {result.rule for result in self.new.results}) - sum(
            difference.old is not None and difference.new is not None for difference in self.differences
        )


def compare(old: Run, new: Run) -> Drift:
    """Compare two runs rule by rule, the gravest differences first."""
    before = {result.rule: result for result in old.results}
    after = {result.rule: result for result in new.results}
    found = [
        Difference(kind, rule, before.get(rule), after.get(rule), after.get(rule) or before[rule])
        for rule in dict.fromkeys((*before, *after))
        if (kind := kind_of(before.get(rule), after.get(rule))) is not None
    ]
    order, severities = list(Kind), ("high", "medium", "low")
    found.sort(key=lambda each: (not each.finding, order.index(each.kind), severities.index(each.latest.severity)))
    return Drift(old, new, tuple(found), tuple(judged_differently(old, new)))


def kind_of(old: Result | None, new: Result | None) -> Kind | None:
    """Name what became of a rule; None when nothing did."""
    if old is None or new is None:
        return Kind.NEW if old is None else Kind.GONE
    if new.status is Status.WAIVED:
        return Kind.WAIVED if old.status is not Status.WAIVED else values_of(old, new)
    if old.status is Status.WAIVED and new.status in BAD:
        return Kind.UNWAIVED
    if old.status is new.status:
        return values_of(old, new)
    if new.status in BAD and not (old.status is Status.ERROR and new.status is Status.FAIL):
        return Kind.WORSE
    if new.status is Status.PASS and old.status is not Status.NOT_APPLICABLE:
        return Kind.BETTER
    return Kind.CHANGED


def values_of(old: Result, new: Result) -> Kind | None:
    """Tell whether the same status stands for other values."""
    return Kind.VALUE if (old.observed, old.expected, old.was) != (new.observed, new.expected, new.was) else None


def judged_differently(old: Run, new: Run) -> Iterator[str]:
    """Name everything but the host in which two runs differ."""
    if old.baseline != new.baseline:
        yield f"baseline: {old.baseline}, now {new.baseline}"
    elif old.digests.get("baseline") != new.digests.get("baseline"):
        yield f"baseline {new.baseline}: its file is another one now"
    for name in sorted({*old.parameters, *new.parameters}):
        if old.parameters.get(name) != new.parameters.get(name):
            yield f"parameter {name}: {old.parameters.get(name, 'not set')}, now {new.parameters.get(name, 'not set')}"
    for what in sorted({*old.digests, *new.digests} - {"baseline"}):
        if old.digests.get(what) != new.digests.get(what):
            yield f"{what}: other ones judged the newer run"
    if old.harness_version != new.harness_version:
        yield f"harness: {old.harness_version}, now {new.harness_version}"
    for what in ("environment", "user"):
        if what in old.target and what in new.target and old.target[what] != new.target[what]:
            yield f"{what}: {old.target[what]}, now {new.target[what]}"


def read(path: Path, keys: Sequence[Key] = ()) -> Source:
    """Read a run from its run.json or its evidence folder; a folder, or a file in one, is examined as a whole.

    Raises UsageError for what is no run, for a folder that was changed after it was written, and where none of the given keys has signed.
    """
    from harness import tampering
    from harness.reports import json as runs

    folder = path if path.is_dir() else path.parent
    if path.name not in {folder.name, tampering.RUN} or not (folder / tampering.MANIFEST).exists():
        if path.is_dir():
            path /= tampering.RUN
        return demanded(Source(runs.load(path), path, "a file by itself, not signed"), keys)
    examined = tampering.examine(folder, keys)
    if examined.problems or examined.run is None:
        more = f" (and {len(examined.problems) - 1} more)" if len(examined.problems) > 1 else ""
        raise UsageError(
            f"{folder} is not as it was written: {examined.problems[0]}{more}", hint="`harness evidence verify` names every problem"
        )
    return demanded(Source(examined.run, folder, tampering.signature_told(examined), trusted=bool(examined.verified)), keys)


def demanded(source: Source, keys: Sequence[Key]) -> Source:
    """Return a run, signed by one of the keys where there are any. Raises UsageError otherwise."""
    if keys and not source.trusted:
        raise UsageError(
            f"{source.path} is not signed by a given key: {source.evidence}", hint="`harness evidence sign` signs a run's folder"
        )
    return source


def as_data(drift: Drift, old: Source, new: Source) -> dict[str, Any]:
    """Return a drift as data for programs."""
    return {
        "schema": SCHEMA,
        "old": side(old),
        "new": side(new),
        "judged_differently": list(drift.judged),
        "summary": {**{kind.value: sum(each.kind is kind for each in drift.differences) for kind in Kind}, "same": drift.same},
        "worse": bool(drift.worse),
        "differences": [
            {
                "kind": each.kind.value,
                "finding": each.finding,
                "rule": each.rule,
                "severity": each.latest.severity.value,
                "subject": each.latest.subject,
                "old": result_data(each.old),
                "new": result_data(each.new),
            }
            for each in drift.differences
        ],
    }


def side(source: Source) -> dict[str, Any]:
    """Return what is said of one of the runs."""
    run = source.run
    return {
        "run": run.id,
        "target": run.target.get("uri", ""),
        "base": run.base.get("label", ""),
        "baseline": run.baseline,
        "finished": run.finished.isoformat(),
        "evidence": source.evidence,
        "signature_verified": source.trusted,
    }


def result_data(result: Result | None) -> dict[str, str | None] | None:
    """Return what a difference tells of a result."""
    if result is None:
        return None
    return {
        "status": result.status.value,
        "was": result.was.value if result.was else None,
        "expected": result.expected,
        "observed": result.observed,
        "reason": result.reason,
    }


def as_text(drift: Drift, old: Source, new: Source) -> str:
    """Tell a drift to people."""
    lines = [told(name, source) for name, source in (("old", old), ("new", new))]
    if drift.judged:
        lines += ["", "The two were not judged alike, so not every difference is the host's:", *(f"  {line}" for line in drift.judged)]
    for kind in Kind:
        mine = [each for each in drift.differences if each.kind is kind]
        if mine:
            lines += ["", f"{kind.upper()} ({len(mine)})", *(line for each in mine for line in lines_of(each))]
    counts = [f"{sum(each.kind is kind for each in drift.differences)} {kind}" for kind in Kind]
    shown = [count for count in counts if not count.startswith("0 ")]
    lines += ["", f"{', '.join(shown) or 'no difference'}; {drift.same} rules as they were"]
    return "\n".join(lines) + "\n"


def told(name: str, source: Source) -> str:
    """Tell in a line which run it is, and who vouches for it."""
    run = source.run
    documents = f", hardened by {', '.join(document.name for document in run.documents)}" if run.documents else ""
    where = f"{run.target.get('uri', '?')}  baseline {run.baseline}{documents}"
    return f"{name}  {run.finished:%Y-%m-%d %H:%M} UTC  {where}\n     {source.evidence}"


def lines_of(each: Difference) -> Iterator[str]:
    """Tell one difference."""
    old, new = each.old, each.new
    chosen = each.latest
    yield f"  {each.rule}  ({chosen.severity})  {status_of(old)} → {status_of(new)}  {chosen.title.en}".rstrip()
    if new is not None and new.expected and (each.kind is not Kind.BETTER):
        yield f"    expected  {short(new.expected)}"
    if old is not None and new is not None and old.observed != new.observed:
        yield f"    was       {short(old.observed) or '(nothing kept)'}"
    if new is not None and new.observed:
        yield f"    observed  {short(new.observed)}"
    if new is not None and new.reason:
        yield f"    reason    {short(new.reason)}"
    if new is not None and each.finding and new.fix:
        yield f"    fix       {new.fix}"


def status_of(result: Result | None) -> str:
    """Name a status for people; a waived one with what it really is."""
    if result is None:
        return "no result"
    return f"waived ({result.was})" if result.was else result.status.replace("_", " ")


def short(text: str) -> str:
    """Cut a long value."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"
