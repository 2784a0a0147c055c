"""Run the tools that make the stand-in, one log per build, every failure one line that names the log."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from signal import SIGKILL, SIGTERM
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

    def run(self, arguments: Sequence[str | Path], *, seconds: float, environment: Mapping[str, str] | None = None) -> None:
        """Run a tool to its end; what it prints goes to the log.

        Raises ImageError when it fails or is not done after `seconds`; the tool and what it started are ended then.
        """
        words = [str(argument) for argument in arguments]
        self._write(f"$ {shlex.join(words)}\n".encode())
        settings = {**os.environ, "LC_ALL": "C", **(environment or {})}
        # A session of its own, so that a tool ends together with all that it started.
        with subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=settings, start_new_session=True
        ) as process:
            try:
                stdout, stderr = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                _end(process)
                message = f"{words[0]} was not done after {seconds:g} s"
                raise ImageError(message, hint=f"its output is in {self.path}") from None
            except BaseException:
                _end(process)
                raise
        self._write(stdout + stderr)
        if process.returncode != 0:
            message = f"{words[0]} failed (exit {process.returncode}): {_last_line(stderr or stdout)}"
            raise ImageError(message, hint=f"its output is in {self.path}")

    def _write(self, data: bytes) -> None:
        with self.path.open("ab") as log:
            log.write(data)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a tool and its children: politely, since mmdebstrap cleans up behind itself, then for good."""
    for signal in (SIGTERM, SIGKILL):
        try:
            os.killpg(process.pid, signal)
            process.wait(10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def private_chroot(root: Path, *command: str) -> list[str]:
    """Return the words that run `command` inside `root`, with a /proc that only it sees and that ends with it.

    The mount lives in a mount and process namespace of its own: when the command ends, or when we are killed, nothing is left mounted.
    """
    inside = ["chroot", str(root), "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin", "HOME=/root", "LC_ALL=C.UTF-8", *command]
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={root}/proc", *inside]


def _last_line(output: bytes) -> str:
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it printed nothing"
