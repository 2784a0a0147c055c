"""What a guest is made of, as data: the machine that qemu emulates, what boots it, and the command line that says so."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM = "qemu-system-x86_64"
ARGUMENTS = "console=ttyS0 root=/dev/vda rw net.ifnames=0 quiet loglevel=4 tsc=reliable no_timer_check"
"""The kernel's. Nothing here masks a unit, and no mitigation is switched off; the last two say that an emulated clock is to be trusted."""
EMULATED = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt"
"""The processor that is emulated: an old AMD, which Meltdown does not concern. Its kernel does not change page tables at every system call,
which it does on an old Intel and costs a third more; no mitigation is switched off. Amazon Linux 2023 needs the four (x86-64-v2)."""
CONSOLE, MONITOR = "console.log", "qmp.sock"
VARIABLES = "variables.qcow2"
"""The guest's own copy of its firmware's variables, in a form that a snapshot takes in."""
SHELLS = (("shell0.out", "shell0.err"), ("shell1.out", "shell1.err"), ("shell2.out", "shell2.err"))
"""Sockets of the second channel: a shell for each processor, and one through which a command that hangs is killed."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """How qemu runs the guest's code here."""

    name: str
    """`kvm` or `tcg`."""
    why: str

    @property
    def options(self) -> list[str]:
        """The options of qemu."""
        if self.name == "kvm":
            return ["-accel", "kvm", "-cpu", "host"]
        return ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", EMULATED]


@dataclass(frozen=True, slots=True)
class Machine:
    """One guest. File names are relative to its folder, so that the folder may lie anywhere."""

    accelerator: str
    disk: str = "overlay.qcow2"
    kernel: str | None = None
    """None: the disk has a boot loader of its own, and the firmware starts it."""
    firmware: str | None = None
    """Path of a UEFI firmware; None: the BIOS that qemu brings."""
    initrd: str = "initrd"
    arguments: str = ARGUMENTS
    seed: str | None = None
    """A NoCloud seed for cloud-init."""
    shells: bool = True
    """Whether attendants sit at its virtio-serial ports for certain; on a disk image its cloud-init has to start them first."""
    network: bool = False
    """Whether the guest reaches the networks of this machine, by address translation."""
    memory: int = 768
    """MiB."""
    cpus: int = 2

    def command(self, name: str, *, snapshot: str | None = None) -> list[str]:
        """Return qemu's command line, to be run in the guest's folder; the host's SSH port is of its own choice."""
        boot = ["-kernel", self.kernel, "-initrd", self.initrd, "-append", self.arguments] if self.kernel else []
        return [
            PROGRAM,
            *("-name", name, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
            *("-M", "q35,usb=off,sata=off,smbus=off,vmport=off"),
            *Accelerator(self.accelerator, "").options,
            *("-smp", str(self.cpus), "-m", str(self.memory)),
            *boot,
            *(flash(self.firmware) if self.firmware else ()),
            *drive("d0", self.disk, "qcow2", "cache=unsafe"),
            *(drive("s0", self.seed, "raw", "readonly=on") if self.seed else ()),
            *("-netdev", f"user,id=n0,restrict={'off' if self.network else 'on'},ipv6=off,hostfwd=tcp:127.0.0.1:0-:22"),
            *("-device", "virtio-net-pci,netdev=n0,romfile="),
            *("-device", "virtio-rng-pci"),
            *("-chardev", f"file,id=console,path={CONSOLE},append=on", "-serial", "chardev:console"),
            *ports(),
            *("-qmp", f"unix:{MONITOR},server=on,wait=off"),
            *(("-loadvm", snapshot) if snapshot else ()),
        ]


def drive(name: str, path: str, form: str, options: str) -> list[str]:
    """Return the options of one disk."""
    return ["-drive", f"file={path},format={form},if=none,id={name},{options}", "-device", f"virtio-blk-pci,drive={name}"]


def flash(firmware: str) -> list[str]:
    """Return the options of a UEFI firmware and its variables."""
    code = f"if=pflash,unit=0,format=raw,readonly=on,file={firmware}"
    return ["-drive", code, "-drive", f"if=pflash,unit=1,format=qcow2,file={VARIABLES}"]


def ports() -> list[str]:
    """Return the options of the second channel."""
    options = ["-device", "virtio-serial-pci,max_ports=8"]
    for number, name in enumerate((name for pair in SHELLS for name in pair), start=1):
        options += ["-chardev", f"socket,id=p{number},path={name}.sock,server=on,wait=off"]
        options += ["-device", f"virtserialport,nr={number},chardev=p{number},name={name}"]
    return options


@dataclass(frozen=True, slots=True)
class Record:
    """What guest.json remembers, so that another process can take the guest up again."""

    name: str
    machine: Machine
    user: str = ""
    """Who is let in by the key beside it; empty: nobody."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Whose it is, as of a container of a run."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the evidence must say: kernel, accelerator, what was injected."""
    pid: int = 0
    """qemu's; 0 while it is off."""
    started: str = ""
    """When that process started, since process ids are used again."""
    snapshot: str = ""
    """Name of the newest snapshot; empty: none."""

    def as_data(self) -> dict[str, Any]:
        """Turn it into plain data."""
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Record:
        """Read it back. Raises TypeError or KeyError for what is none."""
        return cls(**{**data, "machine": Machine(**data["machine"])})
