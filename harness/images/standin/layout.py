"""Stage two: one layout on top of the base, installed by dnf from the repository that stays inside the image."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from harness.images.standin import repository
from harness.images.standin.commands import private_chroot
from harness.images.standin.debian import unpack
from harness.images.standin.definition import FILES, load_base, load_packages
from harness.images.standin.rpms import gather, rpmbuild, write_spec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.images.standin.commands import Journal
    from harness.images.standin.definition import Package

REPOSITORY = "usr/share/standin/repo"
ABOUT = "usr/share/standin/about.json"
"""When, and from which versions of which Debian packages, the image was made."""
PUBLIC_KEY = "etc/pki/rpm-gpg/RPM-GPG-KEY-standin"
LATEST = {"al2": None, "al2023": "2023.12.20260930"}
"""The release that has updates, where the layout locks its repository to a release; None where it does not."""
PAYLOAD = "w3.zstdio"
WORN, WEAR = "standin-worn", "usr/libexec/standin/wear"
"""The package whose script leaves traces of years of use, when all others are there. Not a scriptlet: yum goes on when one fails."""
BOOTSTRAP = ("filesystem", "setup", "system-release", "dnf", "yum")
"""What must be there before dnf can run; rpm installs it."""


def make_layout(baseline: str, base: Path, target: Path, journal: Journal, say: Callable[[str], None]) -> None:
    """Fill the folder `target` with image.tar.zst and about.json, from the base in the folder `base`."""
    packages = load_packages(baseline)
    work = target / "work"
    root = work / "root"
    root.mkdir(parents=True)
    with ThreadPoolExecutor(1) as pool:
        unpacking = pool.submit(
            journal.run, ["tar", "-xp", "--numeric-owner", "-C", root, "-I", "zstd -d", "-f", base / "tree.tar.zst"], seconds=300
        )
        say(f"stand-in {baseline}: packing {len(packages)} packages")
        rpms, updates = _pack(packages, baseline, base, work, journal)
        say(f"stand-in {baseline}: signing the repository")
        repository.sign([*rpms, *updates], work / "key", journal)
        unpacking.result()
    _repository(baseline, rpms, updates, root, journal)
    say(f"stand-in {baseline}: installing")
    _install(packages, baseline, work, root, journal)
    (root / ABOUT).write_bytes((base / "about.json").read_bytes())
    say(f"stand-in {baseline}: packing the image")
    journal.run(["tar", "--numeric-owner", "-C", root, "-I", "zstd -3 -T0", "-cf", target / "image.tar.zst", "."], seconds=300)
    shutil.copy(base / "about.json", target)
    shutil.rmtree(work)


def _pack(packages: dict[str, Package], baseline: str, base: Path, target: Path, journal: Journal) -> tuple[list[Path], list[Path]]:
    wanted = {deb for package in packages.values() for deb in package.debs}
    archives = [path for path in sorted((base / "debs").glob("*.deb")) if path.name.split("_")[0] in wanted]
    debs = unpack(archives, target / "unpacked", load_base().leave)
    buildroot = target / "buildroot"
    gathered = [gather(package, debs, baseline, buildroot) for package in packages.values()]
    write_spec(gathered, target / "layout.spec", payload=PAYLOAD)
    rpms = rpmbuild(target / "layout.spec", buildroot, target / "rpms", journal)
    demonstrators = [each for each in gathered if each.package.name in repository.UPDATES]
    write_spec(demonstrators, target / "updates.spec", payload=PAYLOAD, release=repository.UPDATE_RELEASE)
    return rpms, rpmbuild(target / "updates.spec", buildroot, target / "updates", journal)


def _repository(baseline: str, rpms: list[Path], updates: list[Path], root: Path, journal: Journal) -> None:
    """One repository with everything, or, where releases are locked, one for the image's release and one for the latest."""
    folder = root / REPOSITORY
    latest = LATEST[baseline]
    if latest is None:
        repository.copy_linked([*rpms, *updates], folder)
        repository.index(folder, journal, advisories=True)
        return
    release = load_packages(baseline)["system-release"].version
    repository.copy_linked(rpms, folder / release)
    repository.index(folder / release, journal, advisories=False)
    repository.copy_linked([*rpms, *updates], folder / latest)
    repository.index(folder / latest, journal, advisories=True)
    (folder / "latest").symlink_to(latest)


def _install(packages: dict[str, Package], baseline: str, target: Path, root: Path, journal: Journal) -> None:
    key = root / PUBLIC_KEY
    key.parent.mkdir(parents=True)
    (target / "key").rename(key)
    _seed(baseline, root)
    journal.run(private_chroot(root, "rpm", "--import", f"/{PUBLIC_KEY}"), seconds=60)
    # By name and release: the updated demonstrators must stay to be found.
    names = [name for name, package in packages.items() if baseline in package.install]
    first = [path.name for name in BOOTSTRAP if name in names for path in (target / "rpms").glob(f"{name}-[0-9]*.rpm")]
    folder = f"/{REPOSITORY}/{packages['system-release'].version if LATEST[baseline] else ''}".rstrip("/")
    journal.run(private_chroot(root, "rpm", "-i", *(f"{folder}/{name}" for name in first)), seconds=120)
    chosen = [f"{name}-1.0-1.standin" if name in repository.UPDATES else name for name in names if name not in BOOTSTRAP]
    journal.run(private_chroot(root, "yum", "--assumeyes", "--quiet", "--setopt=best=False", "install", *chosen), seconds=600)
    journal.run(private_chroot(root, "ldconfig"), seconds=60)
    if baseline in packages[WORN].install:
        journal.run(private_chroot(root, f"/{WEAR}"), seconds=60)
    for stamp in ("etc/.updated", "var/.updated"):
        (root / stamp).touch()
    (root / "etc/machine-id").write_bytes(b"")


def _seed(baseline: str, root: Path) -> None:
    """Lay out the accounts before the first package that names one; the package `setup` then finds its own files."""
    for name in ("passwd", "group"):
        (root / "etc" / name).write_bytes((FILES / "setup" / baseline / "etc" / name).read_bytes())
