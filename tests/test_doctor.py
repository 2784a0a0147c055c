"""Whether the doctor says what is there, what is not, and what to type."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from harness import doctor
from harness.doctor import Finding, examine, install
from tests.fake_engine import IDLE_DOCKER, podman, program

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder on PATH, which holds nothing but bash and cat."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("bash", "cat"):
        (folder / tool).symlink_to(str(shutil.which(tool)))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    return folder


def named(findings: list[Finding]) -> dict[str, Finding]:
    assert len({finding.name for finding in findings}) == len(findings)
    return {finding.name: finding for finding in findings}


def test_a_bare_machine(path: Path, tmp_path: Path) -> None:
    assert path.is_dir()
    found = named(examine(cache=tmp_path / "cache"))
    assert (found["engine"].state, found["engine"].needed) == ("missing", True)
    assert (found["podman"].state, found["docker"].state) == ("missing", "missing")
    assert found["stand-in tools"].state == "missing"
    assert "mmdebstrap" in found["stand-in tools"].value
    assert "podman" in found["to install"].value
    assert "createrepo" in found["to install"].value
    assert found["python"].state == found["kernel"].state == "ok"
    assert not (tmp_path / "cache").exists(), "it only looks"


def test_an_idle_docker_beside_a_podman_that_works(path: Path, tmp_path: Path) -> None:
    podman(path)
    program(path, "docker", IDLE_DOCKER)
    for tool in doctor.TOOLS:
        program(path, tool, "#!/bin/bash\n")
    found = named(examine(cache=tmp_path / "cache"))
    assert found["podman"].value == "9.9.9 (rootless), used"
    assert found["docker"].state == "warn"
    assert "daemon is not running" in found["docker"].value
    assert "engine" not in found
    assert found["containers"].value == "none left over"
    assert "to install" not in found, "nothing is missing that is needed"


def test_what_was_lowered_and_what_is_missing_is_shown(path: Path, tmp_path: Path) -> None:
    podman(path, refused="*AUDIT*")
    found = named(examine(cache=tmp_path / "cache"))
    assert found["capabilities"].state == "warn"
    assert "AUDIT_WRITE, AUDIT_CONTROL" in found["capabilities"].hint
    podman(path, refused="*ulimit*) : ;; *")
    found = named(examine(cache=tmp_path / "other"))
    assert "nofile=" in found["container limits"].value


def test_little_space_is_a_warning(tmp_path: Path) -> None:
    assert doctor.disk("cache", tmp_path / "not" / "there", 0.0).state == "ok"
    short = doctor.disk("cache", tmp_path, 10.0**9)
    assert (short.state, short.hint) == ("warn", "1e+09 GiB are wanted")


@pytest.mark.parametrize(
    ("os_release", "command"),
    [
        ("ID=debian\n", "apt-get install -y mmdebstrap rpm createrepo-c zstd"),
        ("ID=fedora\n", "dnf install -y mmdebstrap rpm rpm-build createrepo_c zstd"),
    ],
)
def test_one_command_installs_what_is_missing(path: Path, os_release: str, command: str) -> None:
    assert path.is_dir()
    assert [finding.value for finding in install([], os_release)] == [command]
