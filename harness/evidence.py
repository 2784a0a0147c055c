"""The evidence folder of a run: what ran, what was asked and answered, the verdict, and a digest of every file."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import redaction
from harness.errors import UsageError
from harness.reports import base as reports

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    from harness.capture import Capture
    from harness.components import Rendered
    from harness.model import Run

MANIFEST_SCHEMA = "isms-golden-ami/manifest/1"
OUTSIDE = frozenset({"manifest.json", "attestation.dsse.json"})
"""Files that a manifest cannot name: itself, and what is signed afterwards."""


def run_id(baseline: str, started: datetime) -> str:
    """Return a new id: sorts by time, names the baseline, never repeats."""
    return f"{started:%Y%m%dT%H%M%SZ}-{baseline}-{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A folder that is filled while a run goes on, so that a run that breaks leaves what it had."""

    folder: Path

    @classmethod
    def open(cls, parent: Path, run: str) -> Evidence:
        """Make the folder of a run below `parent`, for the owner's eyes only."""
        folder = parent / run
        try:
            folder.mkdir(parents=True, mode=0o700)
        except OSError as error:
            raise UsageError(
                f"the evidence folder {folder} cannot be made: {error.strerror}", hint="name another one with --evidence"
            ) from None
        return cls(folder)

    @property
    def logs(self) -> Path:
        """Where the component runner writes its logs."""
        return self.folder / "logs"

    @property
    def documents_folder(self) -> Path:
        """Where the component documents are kept."""
        return self.folder / "documents"

    def documents(self, rendered: Iterable[Rendered]) -> None:
        """Keep the very bytes that run."""
        self.documents_folder.mkdir(exist_ok=True)
        for document in rendered:
            (self.documents_folder / document.file_name).write_bytes(document.data)

    def capture(self, capture: Capture, name: str = "capture") -> None:
        """Keep every question that was asked on a target and its answer, compressed, without secrets."""
        capture.write(self.folder / f"{name}.json.zst")

    def failure(self, message: str, hint: str | None) -> None:
        """Say why there is no run.json."""
        data = {
            "schema": "isms-golden-ami/failure/1",
            "message": redaction.redacted(message),
            "hint": redaction.redacted(hint) if hint else None,
        }
        (self.folder / "failure.json").write_text(json.dumps(data, ensure_ascii=False, indent=2) + "\n", "utf-8")

    def run(self, run: Run) -> None:
        """Keep the verdict, its JUnit report, and last of all the digests of everything."""
        (self.folder / "run.json").write_bytes(reports.render(run, "json"))
        (self.folder / "reports").mkdir(exist_ok=True)
        (self.folder / "reports" / "junit.xml").write_bytes(reports.render(run, "junit"))
        self.manifest()

    def manifest(self) -> None:
        """Write down the digest of every file that is there."""
        outside = {self.folder / name for name in OUTSIDE}
        files = sorted(path for path in self.folder.rglob("*") if path.is_file() and path not in outside)
        manifest = {
            "schema": MANIFEST_SCHEMA,
            "files": {path.relative_to(self.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        }
        (self.folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


def digests(baseline: Path, suites: Path) -> dict[str, str]:
    """Return the SHA-256 of a baseline's file, and of the suites as `sha256sum *.py | sha256sum` gives it in their folder."""
    lines = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(suites.glob("*.py")))
    return {
        "baseline": hashlib.sha256(baseline.read_bytes()).hexdigest(),
        "suites": hashlib.sha256("".join(lines).encode()).hexdigest(),
    }
