"""What is added to an image on its way to a disk, and that nothing leads out of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from harness.errors import TargetError
from harness.vms import disk
from harness.vms.disk import Admitted, inject, inside
from harness.vms.kernel import Kernel

if TYPE_CHECKING:
    from pathlib import Path

ADMITTED = Admitted("ec2-user", "ssh-ed25519 AAAA run")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    for folder in ("etc", "usr/lib", "home/ec2-user", "run"):
        (tree / folder).mkdir(parents=True)
    (tree / "lib").symlink_to("usr/lib")
    (tree / "etc/passwd").write_text("root:x:0:0::/root:/bin/bash\nec2-user:x:0:0::/home/ec2-user:/bin/bash\n", "utf-8")
    return tree


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    folder = tmp_path / "kernel" / "modules" / "6.1"
    folder.mkdir(parents=True)
    (folder / "modules.dep").write_text("", "utf-8")
    return Kernel("6.1", "linux-image 6.1", tmp_path / "kernel")


def test_all_that_is_injected_is_told(tree: Path, kernel: Kernel) -> None:
    (tree / ".dockerenv").touch()
    (tree / "etc/hosts").touch()
    told = inject(tree, kernel, ADMITTED)
    assert (tree / "usr/lib/modules/6.1/modules.dep").exists()
    assert not (tree / ".dockerenv").exists()
    assert (tree / "etc/hosts").read_text("ascii") == disk.HOSTS
    assert (tree / "home/ec2-user/.ssh/authorized_keys").read_text("ascii") == "ssh-ed25519 AAAA run\n"
    assert (tree / "home/ec2-user/.ssh/authorized_keys").stat().st_mode & 0o7777 == 0o600
    for word in ("/usr/lib/modules/6.1", "/.dockerenv removed", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "authorized_keys"):
        assert any(word in one for one in told), word
    assert len(told) == 6


def test_what_the_image_has_stays(tree: Path, kernel: Kernel) -> None:
    for name in ("hosts", "hostname", "resolv.conf"):
        (tree / "etc" / name).write_text("its own\n", "ascii")
    keys = tree / "home/ec2-user/.ssh"
    keys.mkdir()
    (keys / "authorized_keys").write_text("older\n", "ascii")
    told = inject(tree, kernel, ADMITTED)
    assert (tree / "etc/hosts").read_text("ascii") == "its own\n"
    assert (keys / "authorized_keys").read_text("ascii") == "older\nssh-ed25519 AAAA run\n"
    assert len(told) == 2


def test_what_was_made_in_the_second_of_the_machine_s_birth_does_not_seem_older(tree: Path, kernel: Kernel) -> None:
    born, key = tree / "etc/machine-id", tree / "etc/ssh_host_key"
    for path, moment in ((born, 1_700_000_000_200_000_000), (key, 1_700_000_000_700_000_000)):
        path.write_text("x\n", "ascii")
        os.utime(path, ns=(moment, moment))
    told = inject(tree, kernel, ADMITTED)
    assert int(born.stat().st_mtime) < int(key.stat().st_mtime)
    assert any("/etc/machine-id" in one for one in told)


def test_nobody_is_let_in_where_the_user_is_not_there(tree: Path, kernel: Kernel) -> None:
    told = inject(tree, kernel, Admitted("nobody-of-that-name", "key"))
    assert not any("authorized_keys" in one for one in told)


@pytest.mark.parametrize(
    ("link", "name", "wanted"),
    [
        ("usr/lib", "etc/link/x", "etc/usr/lib/x"),
        ("/usr/lib", "etc/link/x", "usr/lib/x"),
        ("../../../../../etc", "etc/link/passwd", "etc/passwd"),
        ("/", "etc/link/etc/passwd", "etc/passwd"),
        ("link", "etc/link", "etc/link"),
    ],
)
def test_no_link_leads_out_of_the_tree(tree: Path, link: str, name: str, wanted: str) -> None:
    (tree / "etc/link").symlink_to(link)
    assert inside(tree, name) == tree / wanted


def test_too_little_space_is_told_before_anything_is_made(tree: Path) -> None:
    with pytest.raises(TargetError, match="GiB of free space"):
        disk.require(tree, needed=1 << 60)
