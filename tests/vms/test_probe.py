"""An accelerator counts when a guest really started by it, and the answer is remembered for this machine as it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import engine_trial
from harness.errors import ImageError
from harness.vms import probe, store
from harness.vms.kernel import Kernel
from harness.vms.machine import PROGRAM, Accelerator

if TYPE_CHECKING:
    from collections.abc import Callable

QEMU = pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"{PROGRAM} is not installed (qemu-system-x86)")


def test_what_was_found_out_is_recalled_for_these_circumstances_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = tmp_path / "engine.json"
    assert probe.recalled(memory) is None
    engine_trial.Memory(memory).remember(probe.key(), {"name": "tcg", "why": "it was slow"})
    assert probe.recalled(memory) == Accelerator("tcg", "it was slow")
    monkeypatch.setattr("platform.release", lambda: "another kernel")
    assert probe.recalled(memory) is None


def test_a_memory_that_makes_no_sense_is_none(tmp_path: Path) -> None:
    memory = tmp_path / "engine.json"
    for value in ({"name": "hvf", "why": "?"}, {"name": "kvm"}, {"name": "kvm", "why": 7}):
        engine_trial.Memory(memory).remember(probe.key(), value)
        assert probe.recalled(memory) is None


@pytest.fixture
def silent(tmp_path: Path) -> Kernel:
    """Give a kernel that qemu can load and that never says a word."""
    folder = tmp_path / "kernel"
    (folder / "modules" / "0").mkdir(parents=True)
    (folder / "busybox").touch()
    data = bytearray(8192)
    data[0x1FE:0x200] = b"\x55\xaa"
    data[0x200:0x208] = b"\xeb\xfeHdrS\x03\x02"  # its first instruction jumps to itself; then the head of a kernel, version 2.03
    data[0x211] = 1
    data[0x22C:0x230] = (0x37FFFFFF).to_bytes(4, "little")
    (folder / "vmlinuz").write_bytes(data)
    return Kernel("0", "none", folder)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pretend a device that may be opened, which is all that its existence shows."""
    path = tmp_path / "kvm"
    path.touch()
    monkeypatch.setattr(probe, "DEVICE", path)
    return path


def test_without_the_device_nothing_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: Kernel) -> None:
    monkeypatch.setattr(probe, "DEVICE", tmp_path / "none")
    monkeypatch.setattr(probe, "trial", never)
    monkeypatch.setattr("harness.vms.tools.require", lambda *_: None)
    assert probe.accelerator(silent, print, memory=tmp_path / "memory") is probe.EMULATED


def never(*_: object, **__: object) -> str:
    pytest.fail("something was tried")


@QEMU
def test_a_device_by_which_no_guest_starts_counts_as_none_and_is_not_tried_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: Path, silent: Kernel
) -> None:
    memory, told = tmp_path / "memory", list[str]()
    monkeypatch.setattr(probe.trial, "__kwdefaults__", {"seconds": 3.0})
    found = probe.accelerator(silent, told.append, memory=memory)
    assert device.exists()
    assert found.name == "tcg"
    assert "/dev/kvm is there, but no guest starts by it within 3 s" in found.why
    assert told == ["finding out whether KVM starts a guest on this machine"]
    assert probe.accelerator(silent, told.append, memory=memory) == found
    assert len(told) == 1


@QEMU
@pytest.mark.parametrize("options", [["-accel", "tcg"], ["-accel", "nonsense"]], ids=["silent", "qemu refuses"])
def test_a_guest_that_never_speaks_is_ended_in_time(monkeypatch: pytest.MonkeyPatch, silent: Kernel, options: list[str]) -> None:
    monkeypatch.setattr(Accelerator, "options", property(lambda _: options))
    assert str(probe.trial(silent, seconds=1.0)).startswith("no guest starts by it within 1 s")
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if ours(path)]


def ours(path: Path) -> bool:
    """Tell whether a process is a qemu that this one started for a trial."""
    try:
        return b"harness-vm-trial-" in path.read_bytes() and parent(path.parent) in {1, os.getpid()}
    except OSError:
        return False


def parent(folder: Path) -> int:
    return int((folder / "stat").read_text("utf-8").rpartition(") ")[2].split()[1])


def test_a_disk_image_is_emulated_where_no_kernel_can_be_had_for_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: Path
) -> None:
    assert device.exists()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("harness.vms.kernel.ensure", refusing)
    told = list[str]()
    assert store.kernel_for_trial(told.append) is None
    assert told == ["KVM is not tried, everything is emulated: no mirror"]


def refusing(_cache: object, _say: Callable[[str], None]) -> Kernel:
    raise ImageError("no mirror")
