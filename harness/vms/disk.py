"""A hardened container becomes a disk: its root file system, what a virtual machine needs beside it, and a list of exactly that."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

from harness.errors import TargetError
from harness.vms import tools

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.engine import Engine
    from harness.vms.kernel import Kernel

EXPORT_SECONDS = 300.0
FORMAT_SECONDS = 300.0
ROOM = 2 << 30
"""Bytes that the disk has beyond its content; it is sparse."""
SPARE = 1 << 30
"""Bytes that must stay free on the disk of this machine while a guest runs: its overlay, its memory in a snapshot."""
LEFT_BY_ENGINES = (".dockerenv", "run/.containerenv")
SHIMS, SHIMS_MARK = "standin-container-shims", "usr/libexec/standin/auditd-container"
HOSTS = "127.0.0.1 localhost localhost.localdomain\n::1 localhost localhost.localdomain\n"
"""An engine mounts this file over the image's, so that the exported one is empty."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A user who is let in by a key."""

    user: str
    public_key: str
    """One line, as in authorized_keys."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A raw disk with one ext4 file system and no partition table, and everything in it that the container did not have."""

    path: Path
    injected: tuple[str, ...]
    admitted: str
    """The user whose key is in; empty where the image has no such user."""


def from_container(engine: Engine, container: str, kernel: Kernel, admit: Admitted, folder: Path) -> Disk:
    """Make `folder`/disk.img from the root file system of a container, which may run on. Takes seconds, and no loop device.

    Raises TargetError when this machine lacks a tool, the right to set owners, or space.
    """
    require(folder)
    tree = folder / "tree"
    tree.mkdir()
    try:
        unpack(engine, container, tree)
        injected = inject(tree, kernel, admit)
        return Disk(formatted(tree, folder / "disk.img"), injected, admit.user if any("authorized_keys" in one for one in injected) else "")
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def require(folder: Path, needed: int = 0) -> None:
    """Raise TargetError where no disk can be made; `needed` bytes are for its content."""
    tools.require("mke2fs", "tar", "qemu-img")
    if os.geteuid() != 0:
        raise TargetError("a container becomes a disk by root only, since its files belong to several users", hint="run it with sudo")
    room(folder, needed)


def room(folder: Path, needed: int = 0) -> None:
    """Raise TargetError where there is no space for what a guest writes, and `needed` bytes beside it."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise TargetError(
            f"a virtual machine needs {(needed + SPARE) / (1 << 30):.1f} GiB of free space in {folder}, {free / (1 << 30):.1f} are there",
            hint="free some space, or set XDG_CACHE_HOME to a folder elsewhere",
        )


def unpack(engine: Engine, container: str, tree: Path) -> None:
    """Unpack the root file system of a container, with owners, modes, extended attributes and capabilities."""
    words = ["tar", "-xp", "-C", str(tree), "--numeric-owner", "--xattrs", "--xattrs-include=*"]
    pipe = subprocess.PIPE
    with (
        engine.popen("export", container, stdin=subprocess.DEVNULL) as exporter,
        subprocess.Popen(words, stdin=exporter.stdout, stdout=subprocess.DEVNULL, stderr=pipe) as reader,
    ):
        cast("IO[bytes]", exporter.stdout).close()
        try:
            _, complaint = reader.communicate(timeout=EXPORT_SECONDS)
            code = exporter.wait(timeout=EXPORT_SECONDS)
        except BaseException:
            exporter.kill()
            reader.kill()
            raise
        said = cast("IO[bytes]", exporter.stderr).read()
    if code != 0:
        raise engine.refusal("export", said)
    if reader.returncode != 0:
        raise TargetError(f"the container's files cannot be unpacked: {complaint.decode('utf-8', 'replace').strip()[-300:]}")


def inject(tree: Path, kernel: Kernel, admit: Admitted) -> tuple[str, ...]:
    """Add what the guest needs, remove what the engine left, and return each of it as a sentence part for the evidence."""
    told = [f"/usr/lib/modules/{kernel.version} ({kernel.package})"]
    modules = inside(tree, "lib/modules")
    modules.mkdir(parents=True, exist_ok=True)
    linked(kernel.modules, modules / kernel.version)
    for name in LEFT_BY_ENGINES:
        path = tree / name
        if path.exists():
            path.unlink()
            told.append(f"/{name} removed")
    for name, text in (("hosts", HOSTS), ("resolv.conf", ""), ("hostname", "")):
        path = inside(tree, f"etc/{name}")
        if not path.exists() or (not path.read_bytes() and text):
            path.write_text(text, "ascii")
            path.chmod(0o644)
            told.append(f"/etc/{name} ({'localhost' if text else 'empty'}: the engine mounts its own over the image's)")
    told += born(tree)
    told += shims(tree)
    told += key(tree, admit)
    return tuple(told)


def born(tree: Path) -> list[str]:
    """Date the machine's birth a second earlier: mke2fs keeps whole seconds, and what was made in the same second would seem older."""
    path = inside(tree, "etc/machine-id")
    if not path.is_file():
        return []
    seconds = int(path.stat().st_mtime) - 1
    os.utime(path, (seconds, seconds))
    return ["/etc/machine-id dated a second earlier: the disk keeps whole seconds"]


def shims(tree: Path) -> list[str]:
    """Take a stand-in's accommodations for containers away again: on a kernel of its own the real services run."""
    if not (tree / SHIMS_MARK).exists():
        return []
    tools.run(["chroot", str(tree), "/usr/bin/rpm", "-e", SHIMS], seconds=60)
    return [f"the package {SHIMS} removed (it lets auditd and chronyd run in a container)"]


def key(tree: Path, admit: Admitted) -> list[str]:
    """Let a user in; nothing happens where the image has no such user."""
    lines = [line.split(":") for line in (inside(tree, "etc/passwd")).read_text("utf-8", "replace").splitlines()]
    found = next((line for line in lines if line[0] == admit.user and len(line) > 5), None)  # noqa: PLR2004 - the home is the sixth field
    home = inside(tree, found[5].lstrip("/")) if found else None
    if found is None or home is None or not home.is_dir():
        return []
    owner = (int(found[2]), int(found[3]))
    folder = home / ".ssh"
    if not folder.exists():
        folder.mkdir(mode=0o700)
        os.chown(folder, *owner)
    file = folder / "authorized_keys"
    with file.open("a", encoding="ascii") as out:
        out.write(f"{admit.public_key}\n")
    file.chmod(0o600)
    os.chown(file, *owner)
    return [f"a key of this run in {found[5]}/.ssh/authorized_keys"]


def inside(tree: Path, name: str) -> Path:
    """Return where a name of the image lies below `tree`, links followed as the image itself would follow them.

    Nothing leads out of the tree: an absolute link of the image is one below the tree.
    """
    path, left, hops = tree, [part for part in name.split("/") if part], 0
    while left:
        part = left.pop(0)
        if part == "..":
            path = path.parent if path != tree else tree
            continue
        following = path / part
        if following.is_symlink() and hops < 40:  # noqa: PLR2004 - as many as the kernel follows
            hops += 1
            target = str(following.readlink())
            path = tree if target.startswith("/") else path
            left = [*(step for step in target.split("/") if step not in {"", "."}), *left]
        else:
            path = following
    return path


def linked(source: Path, target: Path) -> None:
    """Copy a folder by hard links, which costs nothing; by content where the two lie on different file systems."""
    try:
        shutil.copytree(source, target, copy_function=os.link, symlinks=True, dirs_exist_ok=True)
    except (OSError, shutil.Error):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, symlinks=True)


def formatted(tree: Path, path: Path) -> Path:
    """Make a disk of a tree."""
    size = sum(entry.lstat().st_blocks * 512 for entry in tree.rglob("*"))
    require(path.parent, needed=size)
    mebibytes = (size * 5 // 4 + ROOM) >> 20
    tools.run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-m", "0", "-d", str(tree), str(path), f"{mebibytes}M"], seconds=FORMAT_SECONDS
    )
    path.chmod(0o600)
    return path


def overlay(backing: Path, path: Path, *, kind: str = "raw") -> Path:
    """Make a qcow2 file that takes all changes, so that the disk below it stays as it was made."""
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b", str(backing.resolve()), str(path)], seconds=60)
    return path


def members(folder: Path) -> Sequence[Path]:
    """List the files of a guest, for whoever counts what is left."""
    return sorted(folder.iterdir()) if folder.is_dir() else []
