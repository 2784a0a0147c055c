"""The archive that the kernel unpacks, and the word that a guest's shell answers with."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from harness.vms import initrd
from harness.vms.initrd import DIRECTORY, FILE, LINK, Entry, newc
from harness.vms.kernel import Kernel

if TYPE_CHECKING:
    from pathlib import Path


def members(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Read an archive by the format's own description: sizes in hexadecimal, everything padded to four bytes."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * number : at + 14 + 8 * number], 16) for number in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + length - 1].decode()
        start = -(-(at + 110 + length) // 4) * 4
        at = -(-(start + size) // 4) * 4
        if name == "TRAILER!!!":
            assert at == len(archive)
            return found
        found[name] = (mode, archive[start : start + size])


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    modules = tmp_path / "modules" / "6.1" / "kernel"
    modules.mkdir(parents=True)
    for name in initrd.MODULES[:-1]:
        (modules / f"{name}.ko").write_bytes(name.encode())
    (tmp_path / "busybox").write_bytes(b"busybox")
    return Kernel("6.1", "linux-image 6.1", tmp_path)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5])
def test_whatever_the_length_the_next_member_is_found(size: int) -> None:
    entries = (Entry("a", DIRECTORY), Entry("a/b" * (size + 1), FILE, b"x" * size), Entry("link", LINK, b"a"))
    assert members(newc(entries)) == {entry.name: (entry.mode, entry.data) for entry in entries}


def test_modules_come_in_the_order_of_their_needs_and_what_is_built_in_is_left_out(kernel: Kernel) -> None:
    found = members(initrd.build(kernel))
    script = found["init"][1].decode()
    line = next(line for line in script.splitlines() if line.startswith("for module in"))
    assert line.split(";")[0].split()[3:] == list(initrd.MODULES[:-1])
    assert f"modules/{initrd.MODULES[-1]}.ko" not in found
    assert found["modules/virtio.ko"] == (FILE, b"virtio")
    assert found["bin/sh"] == (LINK, b"busybox")
    assert all(f"bin/{word}" in found for word in ("mount", "insmod", "switch_root", "setsid", "mkfifo", "poweroff"))


@pytest.mark.parametrize("name", ["init", "attendant"])
def test_the_scripts_are_shell(kernel: Kernel, name: str) -> None:
    done = subprocess.run(["bash", "-n"], input=members(initrd.build(kernel))[name][1], capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
