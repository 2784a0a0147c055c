"""Whether tools that fail, hang or are missing are told in one line, and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from harness.errors import ImageError
from harness.images.standin.commands import Journal, private_chroot, require_tools


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int) -> bool:
    """Wait until a process is gone; a loaded machine takes its time to end what was killed."""
    deadline = time.monotonic() + 60
    while alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_missing_tools_are_named_with_what_to_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match="mmdebstrap") as caught:
        require_tools()
    assert "apt-get install" in str(caught.value.hint)
    assert "mmdebstrap" in str(caught.value.hint)
    assert caught.value.exit_code == 3


def test_a_failing_tool_says_its_last_line_and_where_the_rest_is(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "logs" / "log")
    with pytest.raises(ImageError, match=r"sh failed \(exit 4\): the reason") as caught:
        journal.run(["sh", "-c", "echo first; echo the reason >&2; exit 4"], seconds=30)
    assert str(journal.path) in str(caught.value.hint)
    assert "first\n" in journal.path.read_text()


def test_a_hanging_tool_ends_with_its_children(tmp_path: Path) -> None:
    journal, note = Journal(tmp_path / "log"), tmp_path / "pid"
    with pytest.raises(ImageError, match="was not done after"):
        journal.run(["sh", "-c", f"sleep 600 & echo $! > {note}; wait"], seconds=1)
    assert gone(int(note.read_text()))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a mount namespace here")
def test_a_private_chroot_mounts_nothing_here_and_ends_when_it_is_killed() -> None:
    before = Path("/proc/self/mounts").read_text()
    mark = f"{600 + os.getpid() / 1e7:.7f}"
    words = private_chroot(Path("/"), "sleep", mark)
    with subprocess.Popen(words) as process:
        deadline = time.monotonic() + 20
        while mark not in running() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert mark in running()
        assert Path("/proc/self/mounts").read_text() == before
        process.kill()
    while mark in running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert mark not in running()
    assert Path("/proc/self/mounts").read_text() == before


def running() -> str:
    """Return the command lines of the processes that sleep."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"sleep"):
            found.append(b" ".join(words).decode())
    return "\n".join(found)
