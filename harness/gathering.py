"""Gather what the gate decides on: the newest run of each target, its keys, and what would be published now."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from harness import attestation, site, tampering
from harness.errors import ConfigError, UsageError
from harness.gate import Expectation, Facts, Policy
from harness.model import Severity
from harness.reports import schema

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securesystemslib.signer import Key

    from harness.catalog import Catalog
    from harness.config.settings import Settings, Source
    from harness.gate import Decision

RUN_NAME = re.compile(r"(?P<moment>[0-9]{8}T[0-9]{6}Z)-(?P<baseline>.+)-[0-9a-f]+")
MARKS = (tampering.RUN, tampering.MANIFEST, attestation.NAME, "failure.json")
"""A folder with one of these is a run's."""


def policy(settings: Settings) -> Policy:
    """Return the policy of a configuration; without a `gate` block everything that a build hardens needs signed evidence."""
    hardened = tuple(source.name for source in settings.sources if settings.builds_of(source))
    gate = settings.gate
    if gate is None:
        return Policy(targets=hardened)
    return Policy(
        targets=tuple(dict.fromkeys(gate.targets)) or hardened,
        block=frozenset(Severity(word) for word in gate.block),
        max_age=timedelta(hours=gate.max_age_hours),
        signature_required=gate.signature == "required",
        keys_known=bool(gate.keys),
        allow_standin=gate.allow_standin,
        environments=frozenset(gate.environments),
    )


def keys(settings: Settings) -> tuple[Key, ...]:
    """Load the public keys that the policy trusts. Raises ConfigError, at the block, for one that cannot be read."""
    gate = settings.gate
    if gate is None:
        return ()
    loaded: list[Key] = []
    for name in gate.keys:
        try:
            loaded.append(attestation.load_key(name if name.startswith(attestation.KMS) else str(settings.path.parent / name)))
        except UsageError as error:
            raise ConfigError(error.message, hint=error.hint, at=settings.at(gate)) from None
    return tuple(loaded)


def facts(settings: Settings, content: Catalog, folder: Path | None, targets: Sequence[str] | None = None) -> tuple[Facts, ...]:
    """Return for each target, those of the policy unless others are named, its newest run beside what is expected of it.

    `folder` is a run's own or the one above; None means that there is no evidence yet.
    """
    trusted = keys(settings)
    found = candidates(folder) if folder is not None else []
    gathered = []
    for name in policy(settings).targets if targets is None else targets:
        source = settings.source(name)
        if not settings.builds_of(source):
            at = settings.at(settings.gate) if settings.gate else None
            raise ConfigError(f"the gate asks for {name}, which no build hardens", hint="add it to the sources of a build", at=at)
        mine = sorted((one for one in found if one.of(source)), key=lambda one: (one.moment, one.folder.name))
        whole = [one for one in mine if one.whole]
        newest = tampering.examine(whole[-1].folder, trusted) if whole else None
        unfinished = mine[-1].folder.name if mine and not mine[-1].whole else None
        gathered.append(Facts(name, expectation(settings, content, source), newest, unfinished))
    return tuple(gathered)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run's folder, before anybody looked at all of it."""

    folder: Path
    moment: datetime
    source: str | None
    """None where run.json cannot be read."""
    baseline: str | None
    whole: bool
    """Whether the run came to its end and left run.json, readable or not."""

    def of(self, source: Source) -> bool:
        """Tell whether it is of a source; what cannot be read may be of any with its baseline, so that it hides nothing."""
        if self.source is not None:
            return self.source == source.name
        return self.baseline in {None, source.baseline}


def candidates(folder: Path) -> list[Candidate]:
    """Return the runs of a folder: itself when it is one's, else those right below it. Raises UsageError where it cannot be read."""
    try:
        if any((folder / name).exists() for name in MARKS):
            return [candidate(folder)]
        below = [path for path in folder.iterdir() if path.is_dir()]
    except OSError as error:
        hint = "`harness verify` makes it; --evidence names another one"
        raise UsageError(f"the evidence folder {folder} cannot be read: {error.strerror}", hint=hint) from None
    return [candidate(path) for path in below if RUN_NAME.fullmatch(path.name) or any((path / name).exists() for name in MARKS)]


def candidate(folder: Path) -> Candidate:
    """Find out whose run a folder holds: from run.json, else from the folder's name."""
    path = folder / tampering.RUN
    try:
        run = schema.read(path.read_bytes())
    except (OSError, ValueError):
        named = RUN_NAME.fullmatch(folder.resolve().name)
        moment = datetime.min.replace(tzinfo=UTC)
        if named:
            try:
                moment = datetime.strptime(named["moment"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            except ValueError:
                named = None
        whole = any((folder / name).exists() for name in (tampering.RUN, tampering.MANIFEST, attestation.NAME))
        return Candidate(folder, moment, None, named["baseline"] if named else None, whole)
    return Candidate(folder, run.started, run.target.get("source", ""), run.baseline, whole=True)


def expectation(settings: Settings, content: Catalog, source: Source) -> Expectation:
    """Render what would be published now for a source, and name what must have judged it."""
    from harness.builds import chosen_build, documents, overrides_of

    baseline = content.baseline(source.baseline)
    build = chosen_build(settings, source)
    rendered = documents(content, baseline, build)
    return Expectation(
        image=source.image,
        baseline=baseline.name,
        parameters=content.values(baseline, overrides_of(build)),
        documents={document.name: document.sha256 for document in rendered},
        document_parameters={document.name: dict(document.parameters) for document in rendered},
        digests=site.digests(content, baseline),
        rules=content.rules,
        excluded=baseline.excluded,
    )


def as_data(decision: Decision, gathered: Sequence[Facts]) -> dict[str, Any]:
    """Tell a decision as plain data."""
    return {
        "schema": "isms-golden-ami/gate/1",
        "open": decision.open,
        "evidence": [
            {
                "target": one.target,
                "folder": str(one.newest.folder) if one.newest else None,
                "manifest": one.newest.manifest if one.newest else None,
                "signed_by": list(one.newest.verified) if one.newest else [],
            }
            for one in gathered
        ],
        "reasons": [
            {"code": reason.code, "target": reason.target, "message": reason.message, "hint": reason.hint} for reason in decision.reasons
        ],
    }


def as_text(decision: Decision, gathered: Sequence[Facts]) -> str:
    """Tell a decision for people: what it stands on, then every reason with its hint."""
    lines = []
    for one in gathered:
        if one.newest is not None:
            by = f"signed by {', '.join(key[:16] for key in one.newest.verified)}" if one.newest.verified else "no trusted signature"
            lines.append(f"evidence  {one.target}: {one.newest.folder} ({by})")
    for reason in decision.reasons:
        lines.append(f"closed    {f'{reason.target}: ' if reason.target else ''}{' '.join(reason.message.split())}")
        lines.append(f"          hint: {' '.join(reason.hint.split())}")
    count = len(decision.reasons)
    lines.append("gate      open" if decision.open else f"gate      closed: {count} reason{'s' if count > 1 else ''}")
    return "".join(f"{line}\n" for line in lines)
