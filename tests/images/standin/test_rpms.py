"""Whether packages become RPMs with the files, owners, modes and scriptlets that their definition says."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from harness.errors import ImageError
from harness.images.standin.commands import Journal
from harness.images.standin.debian import Deb
from harness.images.standin.definition import Package
from harness.images.standin.rpms import gather, rpmbuild, write_spec

if TYPE_CHECKING:
    from pathlib import Path

needs_rpmbuild = pytest.mark.skipif(shutil.which("rpmbuild") is None, reason="rpmbuild is not installed")


@pytest.fixture
def debs(tmp_path: Path) -> dict[str, Deb]:
    """Return one unpacked Debian package with the odd names that real ones have."""
    folder = tmp_path / "demo"
    for path, text in {
        "usr/sbin/demod": "\0/var/spool/cron/demo\0_rpc\0x_rpc\0",
        "usr/bin/[": "test",
        "usr/lib/units/a\\x2db.slice": "unit",
        "etc/demo.conf": "configuration",
        "usr/share/doc/demo": "document",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / "usr/sbin/demod").chmod(0o4755)
    (folder / "usr/bin/demo").symlink_to("../sbin/demod")
    (folder / "var/lib/demo").mkdir(parents=True)
    return {"demo": Deb("demo", "1.2", "1:1.2-3", folder)}


def query(rpm: Path, tags: str) -> list[str]:
    done = subprocess.run(["rpm", "-qp", "--nosignature", "--qf", tags, str(rpm)], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


@needs_rpmbuild
def test_a_package_becomes_an_rpm(tmp_path: Path, debs: dict[str, Deb]) -> None:
    package = Package(
        name="demo",
        summary="Demonstrates",
        debs=("demo",),
        leave=("/usr/share/doc/*",),
        take={"/usr/sbin/*": "/usr/libexec/demo/", "*": "/opt/"} | {"/usr/bin/[": "/usr/bin/["},
        attributes={"/opt/demo.conf": "0600 root root"},
        folders={"/etc/demo.d": "0750 root adm"},
        links={"/etc/link": "demo.d"},
        rewrite={"/var/spool/cron/demo": "/var/spool/at///demo", "_rpc": "rpc"},
        units=("demo.service",),
        auto=False,
    )
    root = tmp_path / "root"
    gathered = gather(package, debs, "al2", root)
    write_spec([gathered], tmp_path / "demo.spec", payload="w0.gzdio")
    (rpm,) = rpmbuild(tmp_path / "demo.spec", root, tmp_path / "out", Journal(tmp_path / "log"))
    assert rpm.name == "demo-1.2-1.standin.x86_64.rpm"
    files = query(rpm, "[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME}\n]")
    assert "/usr/libexec/demo/demod -rwsr-xr-x root root" in files
    assert "/opt/demo.conf -rw------- root root" in files
    assert "/etc/demo.d drwxr-x--- root adm" in files
    assert any(line.startswith("/etc/link l") for line in files)
    assert "/opt/a\\x2db.slice -rw-r--r-- root root" in files
    assert not [line for line in files if "doc" in line]
    assert "systemctl --no-reload preset demo.service" in "\n".join(query(rpm, "%{POSTIN}"))
    assert (root / "usr/libexec/demo/demod").read_bytes() == b"\0/var/spool/at///demo\0rpc\0\0x_rpc\0"
    assert (debs["demo"].folder / "usr/sbin/demod").read_bytes().startswith(b"\0/var/spool/cron/demo")


@needs_rpmbuild
def test_files_of_etc_survive_an_update(tmp_path: Path, debs: dict[str, Deb]) -> None:
    root = tmp_path / "root"
    write_spec([gather(Package(name="demo", debs=("demo",), auto=False), debs, "al2", root)], tmp_path / "demo.spec", payload="w0.gzdio")
    (rpm,) = rpmbuild(tmp_path / "demo.spec", root, tmp_path / "out", Journal(tmp_path / "log"))
    flags = query(rpm, "[%{FILENAMES} %{FILEFLAGS:fflags}\n]")
    assert "/etc/demo.conf cn" in flags
    assert any(line.startswith("/usr/bin/[ ") for line in flags)
    assert any(line.startswith("/var/lib/demo") for line in flags), "empty folders are owned"


def test_a_missing_debian_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="Debian has no package gone"):
        gather(Package(name="demo", debs=("gone",)), {}, "al2", tmp_path)
