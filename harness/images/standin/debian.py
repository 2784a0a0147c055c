"""Fetch Debian packages with apt's own resolution and signature checks, and unpack each into a folder of its own."""

from __future__ import annotations

import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from harness.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from harness.images.standin.commands import Journal

MERGED = r"flags=rhS;s,^\./\(bin\|sbin\|lib\|lib64\)/,./usr/\1/,"
"""GNU tar: what Debian 12 still packs under /bin, /sbin and /lib goes under /usr, where it is on every merged system; link targets stay."""


@dataclass(frozen=True, slots=True)
class Deb:
    """One Debian package, unpacked."""

    name: str
    version: str
    """Without epoch and Debian revision, with characters that rpm takes."""
    full_version: str
    folder: Path
    """Its files, laid out below `/usr` as on a merged system."""


def fetch(names: Iterable[str], suite: str, folder: Path, journal: Journal) -> None:
    """Download `names` and all they depend on into `folder`, in versions that fit together, whatever release this machine runs.

    mmdebstrap sets up a private apt of the suite with its security updates, this machine's proxies and Debian's keys; nothing is installed.
    """
    folder.mkdir(parents=True)
    options = (
        f"-qq --yes --download-only -oDir::Cache::archives={shlex.quote(str(folder))} -oDebug::NoLocking=1 -oAPT::Install-Recommends=false"
    )
    hook = f'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get {options} install {shlex.join(sorted(names))}'
    # /dev/null with format null: the product is the folder that the hook filled.
    journal.run(
        ["mmdebstrap", "--mode=root", "--variant=custom", "--format=null", f"--customize-hook={hook}", suite, "/dev/null"],
        seconds=900,
    )


def unpack(archives: Sequence[Path], folder: Path, leave: Sequence[str]) -> dict[str, Deb]:
    """Unpack every archive into `folder/<package>`, without the files that match `leave`; return them by package name."""

    def one(archive: Path) -> Deb:
        name, version, _architecture = unquote(archive.stem).split("_")
        target = folder / name
        target.mkdir(parents=True)
        reader = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE)
        excludes = [f"--exclude={pattern}" for pattern in leave]
        words = ["tar", "-xp", "-C", str(target), "--anchored", "--wildcards", f"--transform={MERGED}", *excludes]
        writer = subprocess.run(words, stdin=reader.stdout, capture_output=True, timeout=300, check=False)
        if reader.stdout:
            reader.stdout.close()
        if reader.wait(timeout=60) != 0 or writer.returncode != 0:
            message = f"cannot unpack {archive.name}: {writer.stderr.decode('utf-8', 'replace').strip()}"
            raise ImageError(message, hint="the download may be cut short; try again")
        for merged in ("bin", "sbin", "lib", "lib64"):
            if (target / merged).is_dir() and not (target / merged).is_symlink():
                (target / merged).rmdir()
        upstream = version.split(":")[-1].rsplit("-", 1)[0].replace("-", ".")
        return Deb(name, upstream, version, target)

    with ThreadPoolExecutor(max_workers=2) as pool:
        return {deb.name: deb for deb in pool.map(one, archives)}
