"""The folder of a fleet's audit: which hosts it has, by what they are judged, and one evidence folder per host that was judged.

`fleet.json` names the hosts before the first one is asked. A host's folder appears in one rename when it is whole, so that an
interruption at any moment leaves hosts that are finished, and hosts that are not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import __version__, evidence, site, suites
from harness.errors import Location, UsageError
from harness.evidence import Evidence
from harness.inventory import Entry
from harness.model import Run, Severity, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.audit import Plan
    from harness.capture import Capture
    from harness.errors import HarnessError

SCHEMA = "isms-golden-ami/fleet/1"
NAME = "fleet.json"
HOSTS = "hosts"
FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,80}")


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that is not in order on a host."""

    rule: str
    status: str
    severity: str


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one host."""

    name: str
    uri: str
    groups: tuple[str, ...] = ()
    baseline: str = ""
    run: str = ""
    """Id of the run; empty when the host could not be judged."""
    folder: str = ""
    """Its evidence, below the fleet's folder."""
    counts: Mapping[str, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    error: str = ""
    """Why it could not be judged: status `error` for the whole host."""
    hint: str = ""
    code: int = 0
    """Exit code of that error."""
    seconds: float = 0.0
    round_trips: int = 0

    @property
    def judged(self) -> bool:
        """Tell whether there is a verdict."""
        return not self.error

    @property
    def bad(self) -> bool:
        """Tell whether the verdict has findings."""
        return bool(self.findings)

    def failed(self, severity: str) -> int:
        """Count the failed rules of a severity."""
        return sum(finding.status == Status.FAIL and finding.severity == severity for finding in self.findings)


@cache
def finding(rule: str, status: str, severity: str) -> Finding:
    """Return a finding, the same one for all hosts: a large fleet has many thousands of them."""
    return Finding(rule, status, severity)


@cache
def finding_data(found: Finding) -> dict[str, str]:
    """Return a finding as data, which nobody may change."""
    return asdict(found)


def row_of(entry: Entry, run: Run, folder: str, seconds: float, round_trips: int) -> Row:
    """Return the row of a host that was judged."""
    order = list(Severity)
    bad = [result for result in run.results if result.status in {Status.FAIL, Status.ERROR}]
    bad.sort(key=lambda result: (order.index(result.severity), result.status is Status.ERROR))
    return Row(
        name=entry.name,
        uri=entry.uri,
        groups=entry.groups,
        baseline=run.baseline,
        run=run.id,
        folder=folder,
        counts=run.counts(),
        findings=tuple(finding(result.rule, result.status.value, result.severity.value) for result in bad),
        seconds=round(seconds, 3),
        round_trips=round_trips,
    )


def judges(plan: Plan) -> dict[str, Any]:
    """Return what judges a fleet, as data: hosts that were judged by something else do not belong into the same one."""
    return {
        "harness": __version__,
        "baseline": plan.baseline,
        "rules": sorted(plan.rules),
        "parameters": dict(sorted(plan.overrides.items())),
        "suites": suites.digest(plan.folders),
        "baselines": {baseline.name: site.digests(plan.content, baseline) for baseline in plan.content.baselines.values()},
    }


class Store:
    """One fleet's folder."""

    def __init__(self, folder: Path, entries: Sequence[Entry], by: Mapping[str, Any], started: datetime) -> None:
        """Take a folder that is there."""
        self.folder, self.entries, self.by, self.started = folder, tuple(entries), dict(by), started
        self._names = {entry.uri: name for entry, name in zip(entries, folder_names(entries), strict=True)}
        self._lock = threading.Lock()

    @classmethod
    def create(cls, parent: Path, entries: Sequence[Entry], by: Mapping[str, Any]) -> Store:
        """Make a folder below `parent`, for the owner's eyes only. Raises UsageError when that cannot be done."""
        started = datetime.now(UTC)
        made = Evidence.open(parent, evidence.run_id("fleet", started))
        (made.folder / HOSTS).mkdir(mode=0o700)
        store = cls(made.folder, entries, by, started)
        store.write((), None)
        return store

    @classmethod
    def resume(cls, folder: Path, by: Mapping[str, Any]) -> Store:
        """Take up an audit that was interrupted. Raises UsageError when the folder is none, or other rules judge now."""
        path = folder / NAME
        try:
            data = json.loads(path.read_text("utf-8"))
            entries = [entry_from(each) for each in data["inventory"]]
            started, before = datetime.fromisoformat(data["started"]), dict(data["judged_by"])
            schema = data["schema"]
        except OSError as error:
            hint = "name the folder that the interrupted audit printed, such as evidence/20261124T020000Z-fleet-…"
            raise UsageError(f"{folder} is no audit to resume: {error.strerror}", hint=hint) from None
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"this is no fleet: {type(error).__name__} {error}", at=Location(path)) from None
        if schema != SCHEMA:
            raise UsageError(f"the schema is {schema!r}, not {SCHEMA!r}", at=Location(path))
        if other := [name for name in {**before, **by} if before.get(name) != by.get(name)]:
            hint = "begin anew, without --resume; or resume with the options and the version of then"
            raise UsageError(f"other {', '.join(other)} judge now than when the audit began", hint=hint, at=Location(path))
        return cls(folder, entries, by, started)

    def finished(self) -> dict[str, Row]:
        """Return the rows of the hosts that have a verdict already, by URI; what is not whole is not there."""
        from harness.reports import schema

        rows: dict[str, Row] = {}
        for entry in self.entries:
            folder = self.folder / HOSTS / self._names[entry.uri]
            if not (folder / "manifest.json").exists():
                continue
            try:
                run = schema.read((folder / "run.json").read_bytes())
            except (OSError, ValueError):
                continue
            seconds = (run.finished - run.started).total_seconds()
            rows[entry.uri] = row_of(entry, run, f"{HOSTS}/{folder.name}", seconds, 0)
        return rows

    def keep(self, entry: Entry, capture: Capture, run: Run) -> str:
        """Keep a host's evidence; returns where, below the fleet's folder. Raises UsageError when it cannot be written."""
        from harness.reports import json as runs

        part = self._begin(entry)
        place = Evidence(part)
        try:
            place.capture(capture)
            # On one line and without a JUnit report, which `harness report` makes of it: for a host these two cost more than judging it.
            (part / "run.json").write_text(json.dumps(runs.as_data(run), ensure_ascii=False) + "\n", "utf-8")
            place.manifest()
        except OSError as error:
            raise UsageError(f"the evidence of {entry.name} cannot be written: {error.strerror}") from None
        return self._end(entry, part)

    def miss(self, entry: Entry, error: HarnessError) -> None:
        """Keep why a host could not be judged; it is asked again when the audit is resumed."""
        part = self._begin(entry)
        Evidence(part).failure(str(error), error.hint)
        self._end(entry, part)

    def _begin(self, entry: Entry) -> Path:
        part = self.folder / HOSTS / f".{self._names[entry.uri]}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        return part

    def _end(self, entry: Entry, part: Path) -> str:
        name = self._names[entry.uri]
        whole = self.folder / HOSTS / name
        if whole.exists():
            shutil.rmtree(whole)
        part.replace(whole)
        return f"{HOSTS}/{name}"

    def write(self, rows: Sequence[Row], finished: datetime | None) -> None:
        """Write fleet.json anew."""
        data = as_data(self, rows, finished)
        new = self.folder / f".{NAME}.new"
        with self._lock:
            new.write_text(json.dumps(data, ensure_ascii=False, indent=2) + "\n", "utf-8")
            os.replace(new, self.folder / NAME)  # noqa: PTH105 - one way to write it as the other stores do


def as_data(store: Store, rows: Sequence[Row], finished: datetime | None) -> dict[str, Any]:
    """Return a fleet as data: what fleet.json holds and `--format json` prints."""
    return {
        "schema": SCHEMA,
        "fleet": store.folder.name,
        "started": store.started.isoformat(),
        "finished": finished.isoformat() if finished else None,
        "judged_by": store.by,
        "inventory": [entry_data(entry) for entry in store.entries],
        "summary": {
            "hosts": len(store.entries),
            "judged": sum(row.judged for row in rows),
            "failing": sum(row.bad for row in rows),
            "error": sum(not row.judged for row in rows),
            "waiting": len(store.entries) - len(rows),
        },
        "hosts": rows_data(rows),
    }


def rows_data(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows as data."""
    return [
        {
            **{each.name: getattr(row, each.name) for each in fields(row)},
            "counts": dict(row.counts),
            "findings": [finding_data(found) for found in row.findings],
            "status": status_of(row),
        }
        for row in rows
    ]


def status_of(row: Row) -> str:
    """Return a host's status in the words of a rule's."""
    return "error" if not row.judged else "fail" if row.bad else "pass"


def entry_data(entry: Entry) -> dict[str, Any]:
    """Return a host of the inventory as data; where it stood in a file is of no use later."""
    return {
        "name": entry.name,
        "uri": entry.uri,
        "groups": list(entry.groups),
        "baseline": entry.baseline,
        "sudo": entry.sudo,
        "identity_file": str(entry.identity_file) if entry.identity_file else None,
        "proxy_jump": entry.proxy_jump,
        "tags": dict(entry.tags),
    }


def entry_from(data: Mapping[str, Any]) -> Entry:
    """Undo `entry_data`."""
    identity = data["identity_file"]
    return Entry(
        name=str(data["name"]),
        uri=str(data["uri"]),
        groups=tuple(map(str, data["groups"])),
        baseline=data["baseline"],
        sudo=data["sudo"],
        identity_file=Path(identity) if identity else None,
        proxy_jump=data["proxy_jump"],
        tags={str(key): str(value) for key, value in data["tags"].items()},
    )


def folder_names(entries: Sequence[Entry]) -> list[str]:
    """Return a folder's name for each host: its own where that is one and nobody else's, else made of its URI."""
    taken: set[str] = set()
    names = []
    for entry in entries:
        name = entry.name
        if not FOLDER_NAME.fullmatch(name) or name.lower() in taken:
            digest = hashlib.sha256(entry.uri.encode()).hexdigest()[:8]
            name = f"{re.sub('[^A-Za-z0-9.@-]+', '-', entry.name).strip('-.@')[:60] or 'host'}-{digest}"
        taken.add(name.lower())
        names.append(name)
    return names
