"""The kernel that boots the disks we make: Debian's cloud kernel with its modules, fetched once and kept by the cache."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import ImageError
from harness.images import cache as caches
from harness.images.standin.commands import Journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.images.cache import Cache

SUITE = "bookworm"
METAPACKAGE = "linux-image-cloud-amd64"
HELPERS = ("busybox-static", "kmod", "libc6", "liblzma5", "libssl3", "libzstd1")
"""busybox for the initrd; kmod and the libraries that it is linked to, for the index of the modules."""
TOOLS = {"mmdebstrap": "mmdebstrap", "apt-get": "apt", "dpkg-deb": "dpkg"}
KIND = "vm-kernel"
SCHEMA = "1"
SPACE = 600_000_000
"""Bytes that the making needs for a while."""
FETCH = """\
set -e
cd {folder}
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
images=$(apt-cache depends {metapackage} | sed -n 's/^ *Depends: \\(linux-image-.*\\)$/\\1/p')
apt-get -qq download {helpers} $images
"""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that is there, and what belongs to it."""

    version: str
    """As `uname -r` says it."""
    package: str
    """Package and version, as the archive calls them."""
    folder: Path

    @property
    def image(self) -> Path:
        """The kernel itself, as qemu boots it."""
        return self.folder / "vmlinuz"

    @property
    def modules(self) -> Path:
        """The folder that belongs at /lib/modules/VERSION, indexed."""
        return self.folder / "modules" / self.version

    @property
    def busybox(self) -> Path:
        """A busybox that needs no library."""
        return self.folder / "busybox"


def ensure(cache: Cache, say: Callable[[str], None]) -> Kernel:
    """Return the kernel, fetched from a Debian mirror when this machine has none yet.

    Raises ImageError when it cannot be had here: tools missing, not root, no space, no mirror.
    """
    folder = cache.entry(KIND, caches.key(SCHEMA, SUITE, METAPACKAGE, *HELPERS), lambda path: _make(path, cache, say), say)
    version = next(path.name for path in (folder / "modules").iterdir())
    return Kernel(version, (folder / "package").read_text("utf-8").strip(), folder)


def _make(target: Path, cache: Cache, say: Callable[[str], None]) -> None:
    """Fill a cache entry: vmlinuz, busybox, modules/VERSION with its index, and the package's name."""
    _require()
    if shutil.disk_usage(target.parent).free < SPACE:
        raise ImageError(
            f"a kernel for virtual machines needs {SPACE // 10**6} MB of free space in {cache.folder}",
            hint="free some space, or set XDG_CACHE_HOME to a folder elsewhere",
        )
    say("fetching a kernel for virtual machines from Debian")
    journal = Journal(cache.folder / "logs" / "vm-kernel.log")
    archives, root = target / "archives", target / "root"
    archives.mkdir(parents=True)
    root.mkdir()
    hook = FETCH.format(folder=archives, metapackage=METAPACKAGE, helpers=" ".join(HELPERS))
    journal.run(
        ["mmdebstrap", "--mode=root", "--variant=custom", "--format=null", f"--customize-hook={hook}", SUITE, "/dev/null"], seconds=600
    )
    found = sorted(archives.glob("*.deb"))
    for archive in found:
        journal.run(["dpkg-deb", "-x", archive, root], seconds=120)
    image = next(archive for archive in found if archive.name.startswith("linux-image-"))
    (version,) = (path.name for path in (root / "lib/modules").iterdir())
    journal.run(["chroot", root, "/sbin/depmod", "-a", version], seconds=120)
    (target / "modules").mkdir()
    (root / "lib/modules" / version).rename(target / "modules" / version)
    (root / "boot" / f"vmlinuz-{version}").rename(target / "vmlinuz")
    (root / "bin/busybox").rename(target / "busybox")
    (target / "package").write_text(" ".join(image.stem.split("_")[:2]) + "\n", "utf-8")
    shutil.rmtree(archives)
    shutil.rmtree(root)


def _require() -> None:
    """Raise ImageError where the kernel cannot be fetched, and say what to type."""
    if platform.machine() != "x86_64":
        raise ImageError(f"containers become virtual machines on x86_64 only, this machine is {platform.machine()}")
    missing = sorted(tool for tool in TOOLS if shutil.which(tool) is None)
    if missing:
        packages = " ".join(sorted(TOOLS[tool] for tool in missing))
        raise ImageError(
            f"no kernel for virtual machines can be fetched, missing: {', '.join(missing)}",
            hint=f"apt-get install -y --no-install-recommends {packages}",
        )
    if os.geteuid() != 0:
        raise ImageError("a kernel for virtual machines is fetched by root only", hint="run the same command once with sudo")
