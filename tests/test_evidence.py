"""Evidence: the bytes that ran, digests of every file, and no secret anywhere."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import zstandard

from harness import evidence
from harness.capture import Answer
from harness.components import Rendered
from harness.errors import UsageError
from tests.proof import CAPTURE
from tests.reports.test_json import RUN

if TYPE_CHECKING:
    from pathlib import Path

HASH = "$6$rounds=5000$saltsalt$kJ9vYwQbqz1hVn0Zr5x0c7W2m3T4u5V6w7X8y9Z0a1B2c3D4"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU=\n-----END OPENSSH PRIVATE KEY-----"


def test_run_ids_sort_by_time_and_never_repeat() -> None:
    first = evidence.run_id("al2", datetime(2026, 11, 24, 2, 0, 0, tzinfo=UTC))
    second = evidence.run_id("al2", datetime(2026, 11, 24, 2, 0, 1, tzinfo=UTC))
    assert first.startswith("20261124T020000Z-al2-")
    assert first < second
    assert evidence.run_id("al2", datetime.now(UTC)) != evidence.run_id("al2", datetime.now(UTC))


def test_a_whole_run_leaves_a_manifest_of_every_file(tmp_path: Path) -> None:
    kept = evidence.Evidence.open(tmp_path, RUN.id)
    document = Rendered(name="demo", data="name: demo # 가\n".encode(), subjects=(), parameters={})
    kept.documents([document])
    kept.capture(CAPTURE)
    kept.run(RUN.__class__(**{**{name: getattr(RUN, name) for name in RUN.__slots__}, "results": RUN.results[:1]}))
    manifest = json.loads((kept.folder / "manifest.json").read_text("utf-8"))["files"]
    files = {path.relative_to(kept.folder).as_posix() for path in kept.folder.rglob("*") if path.is_file()} - {"manifest.json"}
    assert set(manifest) == files == {"documents/demo.yml", "capture.json.zst", "run.json", "reports/junit.xml"}
    assert manifest["documents/demo.yml"] == document.sha256 == hashlib.sha256(document.data).hexdigest()
    assert kept.folder.stat().st_mode & 0o077 == 0


def test_hashes_and_keys_never_reach_a_capture_or_a_failure(tmp_path: Path) -> None:
    kept = evidence.Evidence.open(tmp_path, "run")
    kept.capture(replace(CAPTURE, answers=(Answer("cat", 0, f"root:{HASH}:19000\n{KEY}\nrest".encode()),)))
    kept.failure(f"it printed {HASH}", None)
    text = zstandard.decompress((kept.folder / "capture.json.zst").read_bytes()).decode()
    for secret in ("saltsalt", "b3BlbnNzaC1rZXk"):
        assert secret not in text
        assert secret not in (kept.folder / "failure.json").read_text("utf-8")
    assert "root:$6$rounds=5000$[redacted password-hash]:19000" in text
    assert "rest" in text


def test_a_folder_that_cannot_be_made_is_told_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(UsageError, match="cannot be made"):
        evidence.Evidence.open(tmp_path / "file", "run")
