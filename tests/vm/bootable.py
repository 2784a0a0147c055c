"""Makes a disk image as a company brings one: a partition table, a loader for BIOS and UEFI, cloud-init of Debian on the stand-in.

Nothing of harness is on it: what lets it in has to come from the seed. No loop device is needed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import struct
import subprocess
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import engine, images
from harness.config import load as configuration
from harness.images import cache as caches
from harness.images.cache import Cache
from harness.vms import disk, initrd, kernel
from harness.vms.disk import Admitted

if TYPE_CHECKING:
    from collections.abc import Sequence

SUITE = "bookworm"
PACKAGES = (
    *(
        "cloud-init",
        "python3-configobj",
        "python3-six",
        "python3-jinja2",
        "python3-markupsafe",
        "python3-jsonpatch",
        "python3-json-pointer",
    ),
    *("python3-jsonschema", "python3-attr", "python3-pyrsistent", "python3-netifaces", "python3-oauthlib", "python3-requests"),
    *("python3-urllib3", "python3-certifi", "python3-chardet", "python3-idna", "python3-serial", "python3-yaml", "libyaml-0-2"),
    *("python3-pkg-resources", "grub-common", "grub-pc-bin", "grub-efi-amd64-bin", "libdevmapper1.02.1", "mtools"),
)
FETCH = 'cd {folder} && APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -qq download {packages}'
LOADERS = "grub-common", "grub-pc-bin", "grub-efi-amd64-bin", "libdevmapper1.02.1", "mtools"
SECTOR = 512
CORE, ESP, ROOT = 2048, 4096, 20480
"""Where the partitions begin, in sectors."""
TAIL = 40
"""Sectors for the second copy of the partition table."""
BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
SYSTEM = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
ARGUMENTS = "root=/dev/vda3 rw console=ttyS0 net.ifnames=0 quiet"
GRUB = f"""\
serial --unit=0
terminal_output serial
linux /boot/vmlinuz {ARGUMENTS}
initrd /boot/initrd
boot
"""
INIT = """\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in {modules}; do insmod /modules/$module.ko; done
until [ -b /dev/vda3 ]; do sleep 0.1; done
mount -t ext4 /dev/vda3 /sysroot
for folder in dev sys proc; do mount --move /$folder /sysroot/$folder; done
exec switch_root /sysroot /sbin/init
"""
NETWORK = "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\n"
CLOUD = "datasource_list: [NoCloud, Ec2, None]\nnetwork: {config: disabled}\nsystem_info: {distro: debian}\n"
"""As on the images for KVM; the others ask EC2 alone. The programs are Debian's, and so are the modes that its sshd asks of host keys."""


@dataclass(frozen=True)
class Parts:
    """What the disk is made of beside the stand-in."""

    cloud: Path
    loaders: Path


def image(folder: Path, baseline: str = "al2023") -> Path:
    """Make `folder`/disk.qcow2. Needs root and a Debian mirror, the latter once."""
    parts = fetched()
    source = configuration(None, variables={}, var_files=(), environ={}, cwd=Path("/")).source(baseline)
    found = engine.find(source.engine, say=print)
    base = images.ensure("standin", source, found, print)
    tree, raw, name = folder / "tree", folder / "disk.raw", f"isms-bootable-{secrets.token_hex(4)}"
    tree.mkdir()
    found.call("create", "--name", name, base.reference, timeout=60)
    try:
        disk.unpack(found, name, tree)
    finally:
        found.call("rm", "-f", name, timeout=60)
    try:
        furnished(tree, parts)
        assembled(tree, raw, parts)
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, folder / "disk.qcow2")
    finally:
        shutil.rmtree(tree)
        raw.unlink(missing_ok=True)
    return folder / "disk.qcow2"


def fetched() -> Parts:
    """Fetch and unpack Debian's packages; the cache keeps them."""

    def make(target: Path) -> None:
        archives = target / "archives"
        archives.mkdir(parents=True)
        hook = FETCH.format(folder=archives, packages=" ".join(PACKAGES))
        run("mmdebstrap", "--mode=root", "--variant=custom", "--format=null", f"--customize-hook={hook}", SUITE, "/dev/null")
        for archive in archives.iterdir():
            part = "loaders" if archive.name.partition("_")[0] in LOADERS else "cloud"
            run("dpkg-deb", "-x", archive, target / part)
        shutil.rmtree(archives)

    entry = Cache().entry("test-bootable", caches.key("1", SUITE, *PACKAGES), make, print)
    return Parts(entry / "cloud", entry / "loaders")


def furnished(tree: Path, parts: Parts) -> None:
    """Make the stand-in's root file system one that a firmware starts: kernel, cloud-init, a network. Nobody is let in yet."""
    boots = kernel.ensure(Cache(), print)
    disk.inject(tree, boots, Admitted("", ""))
    amazons = (tree / "etc/cloud/cloud.cfg").read_bytes()
    for name, target in (("usr", "usr"), ("etc/cloud", "etc/cloud"), ("lib", "usr/lib")):
        run("cp", "-a", "--remove-destination", f"{parts.cloud / name}/.", tree / target)
    (tree / "etc/cloud/cloud.cfg").write_bytes(amazons)
    # As installed packages are; else the first boot would compile them, on a processor that is emulated.
    run(
        "chroot",
        tree,
        "python3",
        "-m",
        "compileall",
        "-q",
        "-x",
        "(test|idlelib|lib2to3)/",
        "/usr/lib/python3/dist-packages",
        "/usr/lib/python3.11",
    )
    run("chroot", tree, "userdel", "-r", "ec2-user")
    run(
        "chroot", tree, "groupdel", "ssh_keys"
    )  # where there is one, cloud-init lets it read the host keys, which only Amazon's sshd accepts
    (tree / "etc/sudoers.d/90-cloud-init-users").unlink()
    (tree / "etc/cloud/cloud.cfg.d/98-image.cfg").write_text(CLOUD, "ascii")
    for late in (
        "cloud-config.service",
        "cloud-final.service",
    ):  # nothing of the seed waits for them, and each takes its time at every boot
        (tree / "etc/systemd/system" / late).symlink_to("/dev/null")
    (tree / "etc/systemd/network/10-eth0.network").write_text(NETWORK, "ascii")
    (tree / "boot/grub").mkdir(parents=True)
    (tree / "boot/grub/grub.cfg").write_text(GRUB, "ascii")
    shutil.copyfile(boots.image, tree / "boot/vmlinuz")
    (tree / "boot/initrd").write_bytes(start(boots))


def start(boots: kernel.Kernel) -> bytes:
    """Make an initrd that only finds the disk."""
    found = {name: initrd.module(boots.modules, name) for name in initrd.MODULES if name != "virtio_console"}
    there = {name: path for name, path in found.items() if path is not None}
    return initrd.newc(
        (
            *(initrd.Entry(each, initrd.DIRECTORY) for each in ("bin", "dev", "modules", "proc", "sys", "sysroot")),
            initrd.Entry("bin/busybox", initrd.FILE, boots.busybox.read_bytes()),
            *(initrd.Entry(f"bin/{each}", initrd.LINK, b"busybox") for each in initrd.APPLETS),
            *(initrd.Entry(f"modules/{name}.ko", initrd.FILE, path.read_bytes()) for name, path in there.items()),
            initrd.Entry("init", initrd.FILE, INIT.format(modules=" ".join(there)).encode()),
        )
    )


def assembled(tree: Path, raw: Path, parts: Parts) -> None:
    """Put the root file system, GRUB for both firmwares and a partition table on a disk."""
    size = sum(each.lstat().st_blocks * SECTOR for each in tree.rglob("*"))
    sectors = (size * 5 // 4 + (1 << 30)) // SECTOR // 2048 * 2048
    run("mke2fs", "-q", "-F", "-t", "ext4", "-L", "/", "-m", "0", "-E", f"offset={ROOT * SECTOR}", "-d", tree, raw, f"{sectors // 2}k")
    grub = parts.loaders / "usr/lib/grub"
    core = built(parts, "i386-pc", raw.with_name("core.img"), "biosdisk")
    efi = built(parts, "x86_64-efi", raw.with_name("BOOTX64.EFI"))
    boot = bytearray((grub / "i386-pc/boot.img").read_bytes())
    struct.pack_into("<Q", boot, 0x5C, CORE)  # where the rest of the loader is
    struct.pack_into("<Q", core, 500, CORE + 1)  # and where the rest of that
    end = ROOT + sectors + TAIL
    with raw.open("r+b") as file:
        file.truncate(end * SECTOR)
        parts_ = [(BIOS_BOOT, CORE, ESP - 1), (SYSTEM, ESP, ROOT - 1), (LINUX, ROOT, ROOT + sectors - 1)]
        for place, data in table(end, parts_, bytes(boot[:440])):
            file.seek(place * SECTOR)
            file.write(data)
        file.seek(CORE * SECTOR)
        file.write(core)
    partition = f"{raw}@@{ESP * SECTOR}"
    tools = parts.loaders / "usr/bin"
    run(tools / "mformat", "-i", partition, "-T", str(ROOT - ESP), "-h", "16", "-s", "63", "::")
    run(tools / "mmd", "-i", partition, "::/EFI", "::/EFI/BOOT")
    run(tools / "mcopy", "-i", partition, efi_file(raw, bytes(efi)), "::/EFI/BOOT/BOOTX64.EFI")


def efi_file(raw: Path, data: bytes) -> Path:
    path = raw.with_name("BOOTX64.EFI")
    path.write_bytes(data)
    return path


def built(parts: Parts, platform: str, path: Path, *modules: str) -> bytearray:
    """Make GRUB's own image for one firmware."""
    folder = parts.loaders / "usr/lib/grub" / platform
    common = ("part_gpt", "ext2", "normal", "linux", "serial", "terminal", "boot", "configfile")
    words: list[str | Path] = [
        "env",
        f"LD_LIBRARY_PATH={parts.loaders / 'lib/x86_64-linux-gnu'}",
        parts.loaders / "usr/bin/grub-mkimage",
        "-d",
        folder,
        "-O",
        platform,
        "-p",
        "(hd0,gpt3)/boot/grub",
        "-o",
        path,
    ]
    run(*words, *common, *modules)
    return bytearray(path.read_bytes())


def table(end: int, parts: Sequence[tuple[str, int, int]], code: bytes) -> list[tuple[int, bytes]]:
    """Return a protective MBR with boot code and both copies of a GPT, as sectors and data."""
    entries = b"".join(
        uuid.UUID(kind).bytes_le + uuid.uuid4().bytes_le + struct.pack("<QQQ", first, last, 0) + bytes(72) for kind, first, last in parts
    ).ljust(128 * 128, b"\0")
    ident = uuid.uuid4().bytes_le

    def header(mine: int, other: int, at: int) -> bytes:
        def packed(crc: int) -> bytes:
            head = struct.pack("<8sIIIIQQQQ16s", b"EFI PART", 0x10000, 92, crc, 0, mine, other, 34, end - 34, ident)
            return head + struct.pack("<QIII", at, 128, 128, zlib.crc32(entries))

        return packed(zlib.crc32(packed(0)))

    protective = bytes([0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF]) + struct.pack("<II", 1, end - 1)
    mbr = code.ljust(446, b"\0") + protective.ljust(64, b"\0") + b"\x55\xaa"
    return [(0, mbr), (1, header(1, end - 1, 2)), (2, entries), (end - 33, entries), (end - 1, header(end - 1, 1, end - 33))]


def run(*words: str | Path) -> None:
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "MTOOLS_SKIP_CHECK": "1"},
    )
    assert done.returncode == 0, f"{words[0]}: {done.stderr}"
