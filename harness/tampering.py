"""Whether an evidence folder is what the run left there: digests, missing and foreign files, run.json, the attestation."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import attestation, evidence
from harness.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securesystemslib.signer import Key

    from harness.model import Run

MANIFEST = "manifest.json"
RUN = "run.json"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a folder."""

    where: str
    """The file, as the manifest names it."""
    what: str

    def __str__(self) -> str:
        return f"{self.where if self.where.isprintable() else ascii(self.where)}: {self.what}"


@dataclass(frozen=True, slots=True)
class Examined:
    """An evidence folder after a look at all of it."""

    folder: Path
    run: Run | None
    """None where run.json cannot be read; `problems` then say why."""
    problems: tuple[Problem, ...]
    signatures: tuple[str, ...] = ()
    """Ids of the keys that an attestation names, whether or not it holds; none: not signed."""
    verified: tuple[str, ...] = ()
    """Ids of those keys of the caller whose signatures hold."""
    manifest: str = ""
    """SHA-256 of manifest.json: the digest of the whole evidence."""


def examine(folder: Path, keys: Sequence[Key] = ()) -> Examined:
    """Look at every file of a run's folder; signatures are verified by `keys`. Raises UsageError where there is no folder."""
    if not folder.is_dir():
        raise UsageError(
            f"there is no evidence folder {folder}", hint="name the folder of one run, such as evidence/20261124T020000Z-al2-…"
        )
    digests, problems = listed(folder)
    if RUN not in digests:
        problems.append(Problem(RUN, f"is missing{broken(folder)}"))
    manifest = content(folder, MANIFEST, digests)
    if manifest is None:
        problems.append(Problem(MANIFEST, "is missing"))
    else:
        problems += against(manifest, digests)
    run_json = content(folder, RUN, digests)
    run: Run | None = None
    if run_json is None and RUN in digests:
        problems.append(Problem(RUN, "changes while it is read"))
    elif run_json is not None:
        from harness.reports import schema

        try:
            run = schema.read(run_json)
        except ValueError as error:
            problems.append(Problem(RUN, str(error)))
    if run is not None:
        problems += documents(run, digests)
    made = Examined(folder, run, (), manifest=attestation.sha256(manifest) if manifest is not None else "")
    if attestation.NAME not in digests:
        return replaced(made, problems, (), ())
    signatures, verified, more = signed(folder, run, run_json or b"", manifest or b"", keys)
    return replaced(made, problems + more, signatures, verified)


def replaced(made: Examined, problems: list[Problem], signatures: tuple[str, ...], verified: tuple[str, ...]) -> Examined:
    """Return the whole with its problems in the order of the files."""
    order = tuple(dict.fromkeys(sorted(problems, key=lambda problem: problem.where)))
    return Examined(made.folder, made.run, order, signatures, verified, made.manifest)


def listed(folder: Path) -> tuple[dict[str, str], list[Problem]]:
    """Return the SHA-256 of every regular file; whatever else lies there is a problem, a link too, since it leads away."""
    digests: dict[str, str] = {}
    problems: list[Problem] = []

    def refused(error: OSError) -> None:
        problems.append(Problem(str(error.filename), f"cannot be read: {error.strerror}"))

    for parent, folders, files in os.walk(folder, onerror=refused):
        for name in (*folders, *files):
            path = Path(parent, name)
            place = path.relative_to(folder).as_posix()
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                problems.append(Problem(place, "is no regular file"))
            elif path.is_file():
                try:
                    with path.open("rb") as file:
                        digests[place] = hashlib.file_digest(file, "sha256").hexdigest()
                except OSError as error:
                    refused(error)
    return digests, problems


def content(folder: Path, name: str, digests: dict[str, str]) -> bytes | None:
    """Return a file that is there as it was when it was digested; None otherwise."""
    if name not in digests:
        return None
    data = (folder / name).read_bytes()
    return data if attestation.sha256(data) == digests[name] else None


def broken(folder: Path) -> str:
    """Return why a run left no run.json, where it said so."""
    try:
        message = json.loads((folder / "failure.json").read_bytes())["message"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return f", since the run broke: {' '.join(str(message).split())}"


def against(manifest: bytes, digests: dict[str, str]) -> list[Problem]:
    """Compare the files with the manifest."""
    named = files_of(manifest)
    if named is None:
        return [Problem(MANIFEST, "is no manifest that this version of harness knows")]
    found = [Problem(name, "is missing") for name in named if name not in digests]
    found += [
        Problem(name, "is not what was written: another digest") for name in named if name in digests and digests[name] != named[name]
    ]
    return found + [
        Problem(name, "was not there when the run ended") for name in digests if name not in named and name not in evidence.OUTSIDE
    ]


def files_of(manifest: bytes) -> dict[str, str] | None:
    """Return file to digest as a manifest says; None for what is no manifest."""
    try:
        data = json.loads(manifest)
        named = data["files"]
        known = data["schema"] == evidence.MANIFEST_SCHEMA and all(re.fullmatch("[0-9a-f]{64}", digest) for digest in named.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return dict(named) if known else None


def documents(run: Run, digests: dict[str, str]) -> list[Problem]:
    """Compare the kept documents with those that ran."""
    ran = {f"documents/{document.name}.yml": document.sha256 for document in run.documents}
    found = [Problem(name, "ran, and is not kept") for name in ran if name not in digests]
    found += [Problem(name, "is not the document that ran") for name in ran if name in digests and digests[name] != ran[name]]
    return found + [Problem(name, "never ran") for name in digests if name.startswith("documents/") and name not in ran]


def signed(
    folder: Path, run: Run | None, run_json: bytes, manifest: bytes, keys: Sequence[Key]
) -> tuple[tuple[str, ...], tuple[str, ...], list[Problem]]:
    """Return whom the attestation names, whose signatures hold, and what is wrong with it."""
    try:
        envelope = attestation.parse((folder / attestation.NAME).read_bytes())
    except (ValueError, OSError) as error:
        return (), (), [Problem(attestation.NAME, str(error))]
    signatures = tuple(envelope.signatures)
    verified = attestation.verified(envelope, keys)
    problems = [] if signatures else [Problem(attestation.NAME, "carries no signature")]
    if keys and signatures and not verified:
        problems.append(
            Problem(attestation.NAME, f"no signature by a given key holds; it names {', '.join(key[:16] for key in signatures)}")
        )
    if run is not None:
        problems += [Problem(attestation.NAME, what) for what in attestation.differences(envelope, run, run_json, manifest)]
    return signatures, verified, problems


def signature_told(examined: Examined) -> str:
    """Say in a few words who signed, and whether that was verified."""
    if examined.verified:
        return f"signed by {', '.join(examined.verified)}"
    if examined.signatures:
        return f"with a signature that names {', '.join(examined.signatures)} and was not verified: give its public key with --key"
    return "not signed: whoever can write here can change it unseen"
