"""Stage one: the neutral base, a tree of Debian binaries that only rpm knows of, shared by all layouts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from urllib.parse import unquote

from harness.images.standin.debian import fetch, unpack
from harness.images.standin.definition import Base, Package, claimed_debs, load_base
from harness.images.standin.rpms import gather, rpmbuild, write_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from harness.images.standin.commands import Journal
    from harness.images.standin.debian import Deb

SKELETON = {
    "dev": 0o755,
    "proc": 0o555,
    "sys": 0o555,
    "run": 0o755,
    "tmp": 0o1777,
    "var/tmp": 0o1777,
    "root": 0o550,
    "usr/bin": 0o755,
    "usr/sbin": 0o755,
}
MERGED = ("bin", "sbin", "lib", "lib64")
RPM_MACROS = "%_dbpath /var/lib/rpm\n%_db_backend sqlite\n"


def make_base(target: Path, journal: Journal, say: Callable[[str], None]) -> None:
    """Fill the folder `target` with tree.tar.zst, debs/ (what the layouts still need) and about.json."""
    base, claimed = load_base(), claimed_debs()
    work = target / "work"
    work.mkdir()
    say("stand-in: fetching Debian packages")
    fetch({*base.request, *claimed}, base.suite, work / "debs", journal)
    archives = sorted((work / "debs").glob("*.deb"))
    kept = [path for path in archives if not any(fnmatchcase(path.name.split("_")[0], pattern) for pattern in base.drop)]
    say(f"stand-in: unpacking {len(kept)} Debian packages")
    debs = unpack([path for path in kept if path.name.split("_")[0] not in claimed], work / "unpacked", base.leave)
    say("stand-in: packing the base as RPMs")
    rpms = _pack(base, debs, work, journal)
    say("stand-in: installing the base")
    tree = work / "tree"
    _install(rpms, tree, journal)
    journal.run(["tar", "--numeric-owner", "-C", tree, "-I", "zstd -3 -T0", "-cf", target / "tree.tar.zst", "."], seconds=300)
    about = {"built": datetime.now(UTC).isoformat(timespec="seconds"), "suite": base.suite, "debian": [unquote(path.stem) for path in kept]}
    (target / "about.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    (target / "debs").mkdir()
    for path in kept:
        if path.name.split("_")[0] in claimed:
            path.rename(target / "debs" / path.name)
    shutil.rmtree(work)


def _pack(base: Base, debs: Mapping[str, Deb], work: Path, journal: Journal) -> list[Path]:
    defined = {deb for package in base.packages.values() for deb in package.debs}
    packages = [*base.packages.values(), *(Package(name=name, debs=(name,)) for name in debs if name not in defined)]
    # What Debian's own packages need of each other is settled by apt; rpm would ask for Perl modules that nothing here calls.
    packages = [replace(package, auto=False) for package in packages]
    root = work / "buildroot"
    gathered = [gather(package, debs, "common", root) for package in packages]
    spec = work / "base.spec"
    # Not compressed: these files live for seconds.
    write_spec(gathered, spec, payload="w0.gzdio")
    return rpmbuild(spec, root, work / "rpms", journal)


def _install(rpms: list[Path], tree: Path, journal: Journal) -> None:
    for name, mode in SKELETON.items():
        (tree / name).mkdir(parents=True, exist_ok=True)
        (tree / name).chmod(mode)
    for name in MERGED:
        (tree / "usr" / name).mkdir(exist_ok=True)
        (tree / name).symlink_to(f"usr/{name}")
    macros = tree / "etc/rpm/macros.standin"
    macros.parent.mkdir(parents=True)
    macros.write_text(RPM_MACROS, encoding="ascii")
    options = ["--root", str(tree), "--define", "_dbpath /var/lib/rpm", "--define", "_db_backend sqlite", "--nodeps", "--noscripts"]
    journal.run(["rpm", *options, "-i", *rpms], seconds=300)
    journal.run(["chroot", tree, "/sbin/ldconfig"], seconds=60)
