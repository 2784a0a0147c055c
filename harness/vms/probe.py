"""Which accelerator really starts a guest on this machine: found out by starting one, and remembered."""

from __future__ import annotations

import json
import os
import platform
import secrets
import select
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from harness import engine_trial
from harness.vms import initrd, tools
from harness.vms.machine import PROGRAM, Accelerator

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.vms.kernel import Kernel

SCHEMA = 1
DEVICE = Path("/dev/kvm")
SECONDS = 10.0
"""A guest that is accelerated says its word within one second; a device that opens may still hold one that never does."""
EMULATED = Accelerator("tcg", "there is no /dev/kvm that can be used: every instruction is emulated")


def accelerator(kernel: Kernel | None, say: Callable[[str], None], *, memory: Path | None = None) -> Accelerator:
    """Return how guests run here: with KVM where a tiny guest really starts by it within ten seconds, else emulated.

    `memory` is the file that remembers (default: in the user's cache folder). Raises TargetError where qemu is missing.
    """
    tools.require(PROGRAM)
    if not usable():
        return EMULATED
    store = engine_trial.Memory(memory)
    known = recalled(memory)
    if known is not None:
        return known
    if kernel is None:
        return Accelerator("tcg", "whether KVM starts a guest was not tried")
    say("finding out whether KVM starts a guest on this machine")
    why = trial(kernel)
    found = Accelerator("kvm", "a guest starts by it") if why is None else Accelerator("tcg", f"/dev/kvm is there, but {why}")
    store.remember(key(), {"name": found.name, "why": found.why})
    return found


def recalled(memory: Path | None = None) -> Accelerator | None:
    """Return what an earlier trial found out, without trying; None when nothing holds for this machine as it is."""
    raw = engine_trial.Memory(memory).recall(key()) or {}
    name, why = raw.get("name"), raw.get("why")
    return Accelerator(name, why) if name in {"kvm", "tcg"} and isinstance(why, str) else None


def usable() -> bool:
    """Tell whether the device is there and may be opened, which proves nothing yet."""
    return os.access(DEVICE, os.R_OK | os.W_OK)


def key() -> str:
    """Name the circumstances under which a trial holds."""
    path = shutil.which(PROGRAM) or ""
    changed = 0
    with suppress(OSError):
        changed = Path(path).stat().st_mtime_ns
    return json.dumps(["accelerator", SCHEMA, path, changed, platform.release(), os.geteuid()])


def trial(kernel: Kernel, *, seconds: float = SECONDS) -> str | None:
    """Start the smallest guest by KVM. Returns None when it says its word, else why it counts as not working."""
    word = f"harness-{secrets.token_hex(8)}"
    with tempfile.TemporaryDirectory(prefix="harness-vm-trial-") as folder:
        path = Path(folder) / "initrd"
        path.write_bytes(initrd.trial(kernel, word))
        command = [
            *(PROGRAM, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-M", "q35,usb=off,sata=off"),
            *Accelerator("kvm", "").options,
            *("-m", "256", "-kernel", str(kernel.image), "-initrd", str(path), "-append", "console=ttyS0 quiet panic=-1"),
            *("-serial", "stdio"),
        ]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT, start_new_session=True) as process:
            try:
                said = heard(cast("IO[bytes]", process.stdout), word.encode(), seconds)
            finally:
                process.kill()
    if word.encode() in said:
        return None
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    return f"no guest starts by it within {seconds:g} s" + (f" ({lines[-1][:120]})" if lines else "")


def heard(stream: IO[bytes], word: bytes, seconds: float) -> bytes:
    """Read until the word comes, the stream ends, or the time is over."""
    deadline = time.monotonic() + seconds
    said = b""
    while word not in said and (left := deadline - time.monotonic()) > 0:
        if not select.select([stream], [], [], left)[0]:
            break
        data = os.read(stream.fileno(), 4096)
        if not data:
            break
        said += data
    return said
