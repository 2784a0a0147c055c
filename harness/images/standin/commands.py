"""Run the tools that make the stand-in, one log per build, every failure one line that names the log."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from harness.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TOOLS: Mapping[str, str] = {
    "mmdebstrap": "mmdebstrap",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "rpm": "rpm",
    "rpmbuild": "rpm",
    "rpmsign": "rpm",
    "createrepo_c": "createrepo-c",
    "modifyrepo_c": "createrepo-c",
    "gpg": "gnupg",
    "unshare": "util-linux",
    "tar": "tar",
    "zstd": "zstd",
}
"""What a build calls → the Debian package that brings it."""


def require_tools() -> None:
    """Raise ImageError when this machine cannot make a stand-in, and say what to type."""
    missing = sorted(tool for tool in TOOLS if shutil.which(tool) is None)
    if missing:
        packages = " ".join(sorted({TOOLS[tool] for tool in missing}))
        message = f"the stand-in cannot be built here, missing: {', '.join(missing)}"
        raise ImageError(message, hint=f"apt-get install -y --no-install-recommends {packages}")
    if os.geteuid() != 0:
        message = "the stand-in is built by root only, since its files belong to several users"
        raise ImageError(message, hint="run the same command once with sudo, or use a registry image (--base registry)")


class Journal:
    """The log of one build: what was run, and all that it printed."""

    def __init__(self, path: Path) -> None:
        """Begin an empty log at `path`."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")

    def run(self, arguments: Sequence[str | Path], *, seconds: float, environment: Mapping[str, str] | None = None) -> str:
        """Run a tool and return its standard output; both outputs go to the log.

        Raises ImageError when it fails or is not done after `seconds`; the tool and what it started are ended then.
        """
        words = [str(argument) for argument in arguments]
        settings = {**os.environ, "LC_ALL": "C", **(environment or {})}
        self._write(f"$ {' '.join(words)}\n".encode())
        try:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, env=settings, check=False)  # noqa: S603
        except subprocess.TimeoutExpired as hanging:
            self._write((hanging.stdout or b"") + (hanging.stderr or b""))
            message = f"{words[0]} was not done after {seconds:g} s"
            raise ImageError(message, hint=f"its output is in {self.path}") from None
        self._write(done.stdout + done.stderr)
        if done.returncode != 0:
            raise ImageError(f"{words[0]} failed (exit {done.returncode}): {_last_line(done.stderr or done.stdout)}", hint=f"its output is in {self.path}")
        return done.stdout.decode("utf-8", "replace")

    def _write(self, data: bytes) -> None:
        with self.path.open("ab") as log:
            log.write(data)


def private_chroot(root: Path, *command: str) -> list[str]:
    """Return the words that run `command` inside `root`, with a /proc that only it sees and that ends with it.

    The mount lives in a mount and process namespace of its own: when the command ends, or when we are killed, nothing is left mounted.
    """
    inside = ["chroot", str(root), "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin", "HOME=/root", "LC_ALL=C.UTF-8", *command]
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={root}/proc", *inside]


def _last_line(output: bytes) -> str:
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it printed nothing"
