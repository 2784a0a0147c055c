"""Turn package definitions into RPMs: gather the files, write one spec with a subpackage for each, let rpmbuild do the rest."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ImageError
from harness.images.standin.definition import FILES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.images.standin.commands import Journal
    from harness.images.standin.debian import Deb
    from harness.images.standin.definition import Package

RELEASE = "1.standin"
VENDOR = "ISMS harness STAND-IN (Debian binaries), not Amazon"
PREAMBLE = """\
%global debug_package %{{nil}}
%global __os_install_post %{{nil}}
%global _build_id_links none
%global __spec_install_pre %{{___build_pre}}
%global _unpackaged_files_terminate_build 0
%global _missing_doc_files_terminate_build 0
%global _binary_payload {payload}
%global _docdir_fmt %%{{NAME}}
Name: standin-{stem}
Version: 1
Release: {release}
Summary: Source of the stand-in packages
License: see the Debian source packages
Vendor: {vendor}
%description
Never built.
"""
"""__spec_install_pre: rpmbuild would empty the build root first, but we have filled it already."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """A package and the lines of its %files section."""

    package: Package
    version: str
    lines: tuple[str, ...]


def gather(package: Package, debs: Mapping[str, Deb], layout: str, root: Path) -> Gathered:
    """Put a package's files into the build root as hard links, and say how rpm shall own them."""
    files: dict[str, Path] = {}
    for name in package.debs:
        if name not in debs:
            raise ImageError(f"{package.name}: Debian has no package {name}", hint="see harness/images/standin/packages")
        for path in _walk(debs[name].folder):
            there = _destination(package, path)
            if there is not None:
                files[there] = debs[name].folder / path.lstrip("/")
    for part in ("common", layout):
        folder = FILES / package.name / part
        files.update({path: folder / path.lstrip("/") for path in _walk(folder)} if folder.is_dir() else {})
    lines = [_place(package, path, source, root) for path, source in sorted(files.items())]
    for path, target in package.links.items():
        link = root / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
        lines.append(_quote(path))
    for path, attributes in package.folders.items():
        (root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        lines.append(f"%dir %attr({','.join(attributes.split())}) {_quote(path)}")
    version = package.version or debs[package.debs[0]].version if package.debs else package.version or "1.0"
    return Gathered(package, version, tuple(lines))


def write_spec(gathered: Iterable[Gathered], path: Path, *, payload: str, release: str = RELEASE) -> None:
    """Write one spec file for all packages."""
    parts = [PREAMBLE.format(payload=payload, stem=path.stem, release=release, vendor=VENDOR)]
    parts += [_subpackage(each, release) for each in gathered]
    path.write_text("\n".join(parts), encoding="utf-8")


def rpmbuild(spec: Path, root: Path, output: Path, journal: Journal) -> list[Path]:
    """Build all packages of a spec from the filled build root `root`; return the RPM files."""
    top = spec.parent / f"{spec.stem}-rpmbuild"
    settings = {
        "_topdir": top,
        "_rpmdir": output,
        "_dbpath": top / "db",
        "_build_name_fmt": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
        "_tmppath": top,
        "use_source_date_epoch_as_buildtime": "0",
    }
    top.mkdir()
    words = [word for name, value in settings.items() for word in ("--define", f"{name} {value}")]
    journal.run(
        ["rpmbuild", "-bb", "--noclean", "--nodeps", "--quiet", "--target", "x86_64", "--buildroot", root, *words, spec], seconds=600
    )
    shutil.rmtree(top)
    return sorted(output.glob("*.rpm"))


def _walk(folder: Path) -> list[str]:
    """List files, links and empty folders as absolute image paths."""
    found: list[str] = []
    for here, folders, names in os.walk(folder):
        prefix = "/" + os.path.relpath(here, folder) if here != str(folder) else ""
        links = [name for name in folders if Path(here, name).is_symlink()]
        if not folders and not names and prefix:
            found.append(prefix)
        found += [f"{prefix}/{name}" for name in [*names, *links]]
    return found


def _destination(package: Package, path: str) -> str | None:
    if any(fnmatchcase(path, pattern) for pattern in package.leave):
        return None
    if package.take is None:
        return path
    for pattern, there in package.take.items():
        if fnmatchcase(path, pattern):
            return there + path.rsplit("/", 1)[1] if there.endswith("/") else there
    return None


def _place(package: Package, path: str, source: Path, root: Path) -> str:
    """Link one file into the build root; return its %files line."""
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    facts = source.lstat()
    own = package.attributes.get(path)
    if stat.S_ISDIR(facts.st_mode):
        target.mkdir(exist_ok=True)
        return f"%dir %attr({own.replace(' ', ',') if own else f'{stat.S_IMODE(facts.st_mode):04o},root,root'}) {_quote(path)}"
    target.unlink(missing_ok=True)
    if stat.S_ISLNK(facts.st_mode):
        target.symlink_to(source.readlink())
        return _quote(path)
    ours = FILES in source.parents
    if ours:
        shutil.copyfile(source, target)
        mode = 0o755 if set(path.split("/")) & {"bin", "sbin", "libexec", "cron.daily"} else 0o644
    else:
        mode = stat.S_IMODE(facts.st_mode)
        if package.rewrite:
            target.write_bytes(_rewritten(source.read_bytes(), package.rewrite))
            target.chmod(mode)
        else:
            os.link(source, target)
    attributes = own.replace(" ", ",") if own else f"{mode:04o},root,root"
    config = "%config(noreplace) " if path.startswith("/etc/") else ""
    config += "%verify(not md5 size mtime) " if path in package.volatile else ""
    return f"{config}%attr({attributes}) {_quote(path)}"


def _rewritten(data: bytes, texts: Mapping[str, str]) -> bytes:
    """Replace compiled-in texts: as they stand where the length stays, else whole C strings only, filled up with NUL bytes."""
    for old, new in texts.items():
        before, after = old.encode(), new.encode()
        if len(before) != len(after):
            before, after = b"\0" + before + b"\0", b"\0" + after.ljust(len(before), b"\0") + b"\0"
        data = data.replace(before, after)
    return data


def _quote(path: str) -> str:
    """Write a path for %files: with glob characters as sets of one, and a backslash, which rpm takes for itself, as `?`."""
    escaped = "".join(f"[{character}]" if character in "[*" else character for character in path.replace("\\", "?")).replace("%", "%%")
    return f'"{escaped}"' if " " in escaped else escaped


def _subpackage(gathered: Gathered, release: str) -> str:
    package = gathered.package
    summary = package.summary or f"Debian {', '.join(package.debs)}"
    head = [
        f"%package -n {package.name}",
        f"Version: {gathered.version}",
        f"Release: {release}",
        f"Summary: {summary}",
        f"Group: {package.group}",
    ]
    head += [f"Requires: {name}" for name in package.requires] + [f"Provides: {name}" for name in package.provides]
    head += [] if package.auto else ["AutoReq: no"]
    head += ["Requires(post): system-release"] if package.units else []
    head += ["Requires(pre): shadow-utils, setup"] if "useradd" in package.pre else []
    text = [
        *head,
        f"%description -n {package.name}",
        f"{summary}. Part of the stand-in; binaries are Debian's, the layout is Amazon Linux's.",
    ]
    post = package.post
    if package.units:
        units = " ".join(package.units)
        post += f"\nif [ $1 -eq 1 ]; then systemctl --no-reload preset {units} >/dev/null 2>&1 || :; fi"
        text += [f"%preun -n {package.name}", f"if [ $1 -eq 0 ]; then systemctl --no-reload disable --now {units} >/dev/null 2>&1 || :; fi"]
        text += [f"%postun -n {package.name}", "if [ -d /run/systemd/system ]; then systemctl daemon-reload >/dev/null 2>&1 || :; fi"]
    text += [f"%pre -n {package.name}", package.pre] if package.pre else []
    text += [f"%post -n {package.name}", post] if post else []
    return "\n".join([*text, f"%files -n {package.name}", *gathered.lines, ""])
