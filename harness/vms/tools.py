"""The programs that virtual machines need: whether they are there, and one way to run them."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from harness import engine_trial
from harness.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGES = {
    # program: package in Debian and its kin, package in Fedora and its kin
    "qemu-system-x86_64": ("qemu-system-x86", "qemu-system-x86-core"),
    "qemu-img": ("qemu-utils", "qemu-img"),
    "mke2fs": ("e2fsprogs", "e2fsprogs"),
    "tar": ("tar", "tar"),
}
FIRMWARE = {"ovmf": ("ovmf", "edk2-ovmf")}
"""For disk images that start by UEFI only."""


def missing() -> list[str]:
    """Return the programs that are not there."""
    return [program for program in PACKAGES if shutil.which(program) is None]


def require(*programs: str) -> None:
    """Raise TargetError where one of the programs is missing, and say what to type."""
    absent = [program for program in programs if shutil.which(program) is None]
    if absent:
        raise TargetError(f"no virtual machine can run here, missing: {', '.join(absent)}", hint=installation(absent))


def installation(programs: Sequence[str]) -> str:
    """Return the command that installs programs on this machine."""
    debian = engine_trial.installation_command(packages=("x",)).startswith("apt-get")
    return engine_trial.installation_command(
        packages=tuple(dict.fromkeys({**PACKAGES, **FIRMWARE}[name][0 if debian else 1] for name in programs))
    )


def run(words: Sequence[str], *, seconds: float) -> bytes:
    """Run a program to its end and return what it printed. Raises TargetError with its last words."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
    except OSError as error:
        raise TargetError(f"{words[0]} cannot be started: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise TargetError(f"{words[0]} was not done after {seconds:g} s") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        raise TargetError(f"{words[0]}: {said[-1] if said else f'exit code {done.returncode}'}")
    return done.stdout
