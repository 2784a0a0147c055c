"""Whether this machine works as a target, and files arrive whole."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from harness.errors import TargetError, UsageError
from harness.model import Environment
from harness.targets import SCHEMES, available, open_target
from harness.targets.base import Completed, Target
from harness.targets.files import failure
from harness.targets.local import LocalTarget

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@pytest.fixture
def local() -> Generator[LocalTarget]:
    with LocalTarget() as target:
        yield target


def test_it_is_a_target(local: LocalTarget) -> None:
    assert isinstance(local, Target)
    assert (local.uri, local.environment) == ("local://", Environment.HOST)
    assert local.facts["kernel"] == os.uname().release


def test_the_environment_of_the_user_stays_outside(local: LocalTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert b"secret" not in local.run("env", timeout=20).stdout


@pytest.mark.parametrize("name", ["plain", "with blank", "-dash", "quote'\"", "한글", "new\nline", "$HOME`x`"])
def test_a_file_goes_there_and_back(local: LocalTarget, tmp_path: Path, name: str) -> None:
    data = bytes(range(256)) * 3
    path = tmp_path / name
    local.put(data, str(path), mode=0o640)
    assert local.get(str(path)) == path.read_bytes() == data
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    local.put(b"", str(path))
    assert local.get(str(path)) == b""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [name], "nothing else is left in the folder"


def test_a_file_is_replaced_in_one_rename(local: LocalTarget, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with path.open() as reader:
        local.put(b"new", str(path))
        assert reader.read() == "old"
    link = tmp_path / "link"
    link.symlink_to(path)
    local.put(b"own", str(link))
    assert (path.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"new", b"own", False)


def test_what_cannot_be_carried_is_the_error_that_python_would_raise(local: LocalTarget, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError):
        local.get(str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError):
        local.put(b"", str(tmp_path / "absent" / "file"))
    with pytest.raises(IsADirectoryError):
        local.get(str(tmp_path / "folder"))
    with pytest.raises(IsADirectoryError):
        local.put(b"", str(tmp_path / "folder"))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_takes_no_file_is_told_in_one_line(local: LocalTarget) -> None:
    with pytest.raises((TargetError, OSError)) as caught:
        local.put(b"x", "/proc/file-of-harness")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("cat: /x: Permission denied", PermissionError),
        ("mktemp: failed to create file via template: No such file or directory", FileNotFoundError),
        ("cat: write error: No space left on device", TargetError),
        ("mv: cannot move: Device or resource busy", TargetError),
    ],
)
def test_what_a_tool_says_becomes_the_error_that_python_would_raise(said: str, kind: type[Exception]) -> None:
    assert type(failure(Completed("x", 1, b"", said.encode(), 0.0), "/x")) is kind


def test_this_machine_is_not_restarted(local: LocalTarget) -> None:
    with pytest.raises(TargetError) as caught:
        local.restart()
    assert caught.value.hint


def test_uris() -> None:
    assert {"podman", "docker", "local"} <= set(available())
    with open_target("local://") as target:
        assert target.run("echo on", timeout=20).out == "on\n"


@pytest.mark.parametrize("uri", ["", "podman", "telnet://x", "podman:/x", "local://elsewhere", "podman://", "docker://a/b"])
def test_a_uri_that_cannot_be_meant_is_a_usage_error(uri: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_target(uri)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_kind_that_is_not_there_yet_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEMES, "moon", "harness.targets.moon:open_uri")
    with pytest.raises(UsageError, match="moon:// are not available yet"):
        open_target("moon://base")
