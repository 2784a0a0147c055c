"""The cache folder: content under the hash of what it is made from, made once even when two processes ask at the same time."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness.engine_trial import cache_folder
from harness.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY_LENGTH = 16
"""Hexadecimal digits of a key: 64 bits, where a handful of entries live."""
ABANDONED_SECONDS = 24 * 3600.0
"""Age of an unfinished entry after which nobody can still be working on it."""
UNFINISHED = ".unfinished-"


def key(*parts: str | bytes) -> str:
    """Return the content key of `parts`; where one part ends and the next begins matters."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()[:KEY_LENGTH]


class Cache:
    """Entries `<kind>/<key><suffix>` in a folder: files or folders that are complete or not there."""

    def __init__(self, folder: Path | None = None) -> None:
        """Use `folder`, by default `images` in the user's cache folder of harness."""
        self.folder = folder or cache_folder() / "images"

    def path(self, kind: str, content_key: str, suffix: str = "") -> Path:
        """Return where an entry is, or would be."""
        return self.folder / kind / f"{content_key}{suffix}"

    def entry(self, kind: str, content_key: str, build: Callable[[Path], None], say: Callable[[str], None], *, suffix: str = "") -> Path:
        """Return an entry, after `build(path)` has made it if it is not there.

        `build` makes a file or fills a folder at a path that does not exist yet; the entry appears in one rename, or, when
        `build` raises, not at all. A second process that wants the same entry waits for the first.
        """
        final = self.path(kind, content_key, suffix)
        if not final.exists():
            with self.lock(f"{kind}-{content_key}", say):
                if not final.exists():
                    self._make(final, build)
        with contextlib.suppress(OSError):  # in a cache that may only be read, nothing is pruned either
            os.utime(final)
        return final

    def _make(self, final: Path, build: Callable[[Path], None]) -> None:
        with self._writable():
            final.parent.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=final.parent))
        try:
            made = work / final.name
            build(made)
            with self._writable():
                made.rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    @contextlib.contextmanager
    def lock(self, name: str, say: Callable[[str], None]) -> Iterator[None]:
        """Hold the lock `name` among all processes of this user; the system frees it even when a process is killed."""
        with self._writable():
            folder = self.folder / "locks"
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for another process that makes {name}")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def prune(self, kind: str, keep: int) -> list[Path]:
        """Remove all but the `keep` entries of a kind that were used last, and what crashed processes left unfinished."""
        folder = self.folder / kind
        finished: list[tuple[float, Path]] = []
        doomed: list[Path] = []
        for path in folder.iterdir() if folder.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):  # another process prunes as well
                used = path.stat().st_mtime
                if not path.name.startswith(UNFINISHED):
                    finished.append((used, path))
                elif time.time() - used > ABANDONED_SECONDS:
                    doomed.append(path)
        doomed += [path for _, path in sorted(finished, reverse=True)[keep:]]
        for path in doomed:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return doomed

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = f"the cache folder {self.folder} cannot be used: {error.strerror}"
            raise ImageError(message, hint="free some space, or set XDG_CACHE_HOME to a folder that can be written") from None
