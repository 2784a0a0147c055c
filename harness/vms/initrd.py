"""The tiny initrd of our guests: a static busybox, the modules of virtio, and a script that hands over to the image's own init."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from harness.vms.kernel import Kernel

MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio-rng",
    "virtio_console",
)
"""In the order in which they need each other; what is built into the kernel is left out."""
APPLETS = ("sh", "mount", "insmod", "sleep", "switch_root", "chroot", "mkdir", "mkfifo", "ip", "cat", "setsid", "date", "poweroff")
DIRECTORY, FILE, EMPTY, LINK = 0o040755, 0o100755, 0o100644, 0o120777
ALIGN = 4

INIT = """\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in {modules}; do insmod /modules/$module.ko; done
tries=0
until [ -b /dev/vda ]; do
  tries=$((tries + 1))
  [ $tries -lt 200 ] || {{ echo "initrd: no disk"; poweroff -f; }}
  sleep 0.05
done
mount -t ext4 /dev/vda /sysroot || {{ echo "initrd: the disk has no file system that can be mounted"; poweroff -f; }}
ip link set lo up
ip address add {address} dev eth0
ip link set eth0 up
ip route add default via {gateway}
mount --move /dev /sysroot/dev
mount --move /sys /sysroot/sys
mount --move /proc /sysroot/proc
mkfifo /ready /never
exec 6<>/never 7<>/ready
attendant=$(cat /attendant)
for port in 1 3 5; do
  {{ setsid chroot /sysroot /bin/bash --noprofile --norc -c "$attendant" attendant $port $((port + 1)) || echo >&7; }} &
done
read -r ready <&7
read -r ready <&7
read -r ready <&7
exec 6>&- 7>&-
echo "initrd: handing over"
exec switch_root /sysroot {init}
"""
# The network is set up here, so that the image needs no configuration for a network that exists nowhere else. The attendants live below
# the image's root before the hand-over deletes the initrd's own programs.

ATTENDANT = """\
echo >&7
exec 7>&- </dev/null >/dev/null 2>&1
while :; do
  talk=(/dev/vport*p$1) complain=(/dev/vport*p$2)
  if [[ -c ${talk[0]} ]] && exec 8<>"${talk[0]}" && read -r -u 8 hello word && [[ $hello == shell ]]; then
    echo "$word ready" >&8
    cd / && /bin/bash --noprofile --norc 0<&8 1>&8 2>"${complain[0]}" 6>&- 8>&-
  fi
  exec 8>&-
  read -r -t 0.5 -u 6
done
"""
INJECTED = (
    "a static busybox and the kernel's virtio modules in the initrd",
    "three root shells on virtio-serial ports, started by the initrd",
    "the address 10.0.2.15/24 on eth0, set by the initrd",
)
"""What the evidence must say of it."""
# A port without a listener on the host reads as ended. bash waits on a pipe that never says anything: a guest at rest starts no process.


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of the archive."""

    name: str
    mode: int
    data: bytes = b""


def newc(entries: Iterable[Entry]) -> bytes:
    """Write a cpio archive in the form that the kernel unpacks (`newc`), every member root's and dated 1970."""
    out = bytearray()
    for number, entry in enumerate((*entries, Entry("TRAILER!!!", 0)), start=1):
        name = entry.name.encode() + b"\0"
        fields = (number, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        out += bytes(-len(out) % ALIGN)
        out += entry.data
        out += bytes(-len(out) % ALIGN)
    return bytes(out)


def build(kernel: Kernel, *, init: str = "/sbin/init", address: str = "10.0.2.15/24", gateway: str = "10.0.2.2") -> bytes:
    """Make the initrd of a kernel."""
    found = {name: module(kernel.modules, name) for name in MODULES}
    there = {name: path for name, path in found.items() if path is not None}
    script = INIT.format(modules=" ".join(there), address=address, gateway=gateway, init=init)
    folders = ("bin", "dev", "modules", "proc", "sys", "sysroot")
    return newc(
        (
            *(Entry(folder, DIRECTORY) for folder in folders),
            Entry("bin/busybox", FILE, kernel.busybox.read_bytes()),
            *(Entry(f"bin/{applet}", LINK, b"busybox") for applet in APPLETS),
            *(Entry(f"modules/{name}.ko", FILE, path.read_bytes()) for name, path in there.items()),
            Entry("dev/null", EMPTY),  # busybox opens it for what runs in the background, and /dev has moved by then
            Entry("attendant", FILE, ATTENDANT.encode()),
            Entry("init", FILE, script.encode()),
        )
    )


def trial(kernel: Kernel, word: str) -> bytes:
    """Make an initrd that says one word on the console and switches off: the smallest guest that proves an accelerator."""
    script = f"#!/bin/sh\necho {word}\npoweroff -f\n"
    return newc(
        (
            Entry("bin", DIRECTORY),
            Entry("bin/busybox", FILE, kernel.busybox.read_bytes()),
            *(Entry(f"bin/{applet}", LINK, b"busybox") for applet in ("sh", "poweroff")),
            Entry("init", FILE, script.encode()),
        )
    )


def module(modules: Path, name: str) -> Path | None:
    """Return a module's file by its name; None where it is built in."""
    return next(iter(modules.rglob(f"{name}.ko")), None)
