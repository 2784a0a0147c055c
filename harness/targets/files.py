"""Carry a file to or from a target through its shell."""

from __future__ import annotations

import errno
import shlex
from typing import TYPE_CHECKING

from harness.errors import TargetError

if TYPE_CHECKING:
    from harness.targets.base import Completed, Target

SECONDS = 300.0
PUT = """\
set -e
file={path}
folder=$(dirname -- "$file")
new=$(mktemp -- "$folder/.harness.XXXXXXXXXX")
trap 'rm -f -- "$new"' EXIT
cat >"$new"
chmod {mode:04o} -- "$new"
if [[ $EUID == 0 ]]; then chown 0:0 -- "$new"; fi
mv -fT -- "$new" "$file"
"""
# The new file stands beside the old one, so that the last step is a rename within one file system.
KNOWN: tuple[tuple[str, type[OSError], int], ...] = (
    ("No such file or directory", FileNotFoundError, errno.ENOENT),
    ("Permission denied", PermissionError, errno.EACCES),
    ("Operation not permitted", PermissionError, errno.EPERM),
    ("Is a directory", IsADirectoryError, errno.EISDIR),
    ("cannot overwrite directory", IsADirectoryError, errno.EISDIR),
)


def put(target: Target, data: bytes, path: str, mode: int) -> None:
    """Write a file as Target.put promises. Raises FileNotFoundError (no such folder), PermissionError, or TargetError."""
    done = target.run(PUT.format(path=shlex.quote(path), mode=mode), stdin=data, timeout=SECONDS)
    if done.returncode != 0:
        raise failure(done, path)


def get(target: Target, path: str) -> bytes:
    """Read a file as Target.get promises."""
    done = target.run(f"cat -- {shlex.quote(path)}", timeout=SECONDS)
    if done.returncode != 0:
        raise failure(done, path)
    return done.stdout


def failure(done: Completed, path: str) -> OSError | TargetError:
    """Turn what a tool said into the error that Python would have raised."""
    for text, kind, number in KNOWN:
        if text in done.err:
            return kind(number, text, path)
    said = done.err.strip().splitlines()
    return TargetError(f"{path}: {said[-1] if said else f'exit code {done.returncode}'}")
