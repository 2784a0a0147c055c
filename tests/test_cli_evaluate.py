"""Whether a folder of captures is judged as each of them would be, with one summary."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from harness.capture import Answer
from harness.cli import app
from harness.cli_evaluate import captures_in
from harness.errors import UsageError
from tests.proof import CAPTURE

if TYPE_CHECKING:
    from pathlib import Path

    from harness.capture import Capture

SSHD = "sshd -T -C user=root,host=client.example,addr=10.0.0.1,laddr=10.0.0.2,lport=22"


def host(root: str) -> Capture:
    """Return a capture of a host that lets root in, or not."""
    system = {"ID": "amzn", "VERSION_ID": "2"}
    return replace(CAPTURE, system=system, answers=(Answer(SSHD, 0, f"permitrootlogin {root}\n".encode()),))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    fleet = tmp_path / "fleet" / "hosts"
    for name in ("web", "db", ".half.part"):
        (fleet / name).mkdir(parents=True)
        host("no" if name == "db" else "yes").write(fleet / name / "capture.json.zst")
    (tmp_path / "fleet" / "late.json.zst").write_bytes(b"no capture")
    return tmp_path / "fleet"


def judged(*arguments: str) -> tuple[int, Any]:
    done = CliRunner().invoke(app, ["evaluate", "--rule", "ssh-root-login", "--format", "json", *arguments])
    return done.exit_code, json.loads(done.stdout)


def test_a_folder_is_judged_as_its_captures_are_and_summed_up(folder: Path) -> None:
    code, told = judged(str(folder))
    assert code == 1
    assert told["summary"] == {"captures": 3, "judged": 2, "failing": 1, "error": 1}
    assert [(row["name"], row["status"]) for row in told["captures"]] == [("web", "fail"), ("late", "error"), ("db", "pass")]
    assert told["rules"] == [{"rule": "ssh-root-login", "severity": "high", "hosts": 1}]
    assert "not a capture" in told["captures"][1]["error"]
    for row in told["captures"][::2]:
        alone, run = judged(row["uri"].removeprefix("capture://"))
        assert alone == (row["status"] == "fail")
        assert run["summary"] == row["counts"]


def test_only_what_is_in_order_ends_with_0_and_evidence_is_kept_for_each(folder: Path) -> None:
    (folder / "late.json.zst").unlink()
    code, told = judged(str(folder / "hosts" / "db"), "--evidence", "kept")
    assert (code, told["summary"]["judged"]) == (0, 1)
    (kept,) = (folder.parent / "kept").iterdir()
    assert kept.name in told["captures"][0]["folder"]
    said = CliRunner().invoke(app, ["evaluate", "--rule", "ssh-root-login", str(folder)])
    assert said.exit_code == 1
    assert "2 hosts: 1 without findings, 1 failing, 0 not judged" in said.stdout
    assert "1  ssh-root-login  (high)" in said.stdout


def test_a_folder_without_captures_is_a_mistake_and_names_are_short(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no capture"):
        captures_in([tmp_path / "empty"])
    assert list(captures_in([folder, tmp_path / "one.json.zst"]).values()) == ["db", "web", "late", "one"]
