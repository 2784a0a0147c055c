"""Where guests live, a folder each below the cache folder: made from a container, found again, swept up after a crash."""

from __future__ import annotations

import secrets
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness import leftovers
from harness.engine_trial import cache_folder
from harness.errors import ImageError, TargetError, UsageError
from harness.images.cache import Cache
from harness.vms import disk, initrd, kernel, probe, seed, tools
from harness.vms import image as images
from harness.vms.guest import RECORD, Guest
from harness.vms.machine import ARGUMENTS, PROGRAM, VARIABLES, Machine, Record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.engine import Engine

USER = "ec2-user"
IMAGE_MEMORY = 1024
"""MiB for a disk image: a package manager that reads a whole repository needs more than a started system."""
SEEDED = ("three root shells on virtio-serial ports, started at each boot by the seed", "the host name that the seed gives")
ABANDONED_SECONDS = 3600.0
"""Age of a folder that never got its record, after which nobody can still be making it."""


def folder() -> Path:
    """Return the folder of all guests."""
    return cache_folder() / "vms"


def guests() -> list[Guest]:
    """List the guests that are there, kept ones and those of runs going on."""
    found = []
    for path in sorted(folder().glob("*")):
        with suppress(TargetError):  # gone meanwhile, or never finished
            found.append(Guest.load(path))
    return found


def find(name: str) -> Guest:
    """Return a guest by its name. Raises TargetError when there is none."""
    if name not in {guest.name for guest in guests()}:
        raise TargetError(
            f"there is no virtual machine {name}", hint="`harness vm list` lists them; `harness verify --vm --keep` leaves one"
        )
    return Guest.load(folder() / name)


@dataclass(frozen=True, slots=True)
class Key:
    """A key pair of one guest."""

    private: bytes
    """PEM, as OpenSSH writes it."""
    public: str
    """One line, as in authorized_keys."""


def new_key(comment: str) -> Key:
    """Make a key pair."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    pair = Ed25519PrivateKey.generate()
    public = pair.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return Key(pair.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), f"{public} {comment}")


def of_container(engine: Engine, container: str, say: Callable[[str], None], *, name: str | None = None, keep: bool = False) -> Guest:
    """Make a guest from the root file system of a container, ready to be started; the container stays as it is.

    Raises TargetError when this machine cannot, ImageError when no kernel can be had; then nothing is left behind.
    """
    sweep(say)
    tools.require(*tools.PACKAGES)
    boots = kernel.ensure(Cache(), say)
    accelerator = probe.accelerator(boots, say)
    place = made(name or f"harness-{secrets.token_hex(4)}")
    guest = Guest(place, Record(place.name, Machine(accelerator.name), labels=leftovers.labels(place.name, keep=keep)))
    leftovers.watch_removal(guest.name, guest.remove)
    try:
        guest.save()  # first of all, so that a crash leaves nothing that nobody owns
        key = with_key(place)
        system = disk.from_container(engine, container, boots, disk.Admitted(USER, key.public), place)
        disk.overlay(system.path, place / "overlay.qcow2")
        (place / "initrd").write_bytes(initrd.build(boots))
        facts = {
            "engine": "qemu",
            "accelerator": accelerator.name,
            "accelerator_why": accelerator.why,
            "boots": f"{boots.package}, started directly",
            "kernel_arguments": ARGUMENTS,
            "injected": "; ".join((*system.injected, *initrd.INJECTED)),
        }
        machine = Machine(accelerator.name, kernel=str(boots.image), initrd="initrd")
        guest.record = Record(place.name, machine, user=system.admitted, labels=guest.record.labels, facts=facts)
        guest.save()
    except BaseException:
        guest.remove()
        leftovers.unwatch(guest.name)
        raise
    return guest


def of_image(image: Path, say: Callable[[str], None], *, name: str | None = None, user: str = USER, keep: bool = False) -> Guest:
    """Make a guest from a disk image with boot loader and cloud-init of its own, such as Amazon's for KVM; the image stays as it is.

    Raises TargetError where qemu or a firmware is missing, UsageError for what is no image to start from, and for a name that is taken.
    """
    sweep(say)
    found = images.examined(image)
    tools.require(PROGRAM, "qemu-img")
    firmware = images.uefi() if found.boot == "uefi" else None
    accelerator = probe.accelerator(kernel_for_trial(say), say)
    place = made(name or f"harness-{secrets.token_hex(4)}")
    code = str(firmware.code) if firmware else None
    machine = Machine(accelerator.name, kernel=None, firmware=code, seed="seed.iso", shells=False, network=True, memory=IMAGE_MEMORY)
    facts = {
        "engine": "qemu",
        "accelerator": accelerator.name,
        "accelerator_why": accelerator.why,
        "boots": f"{image.name}, by its own boot loader and {'UEFI' if firmware else 'BIOS'}",
        "injected": "; ".join((f"a NoCloud seed with a key of this machine for {user}", *SEEDED)),
        "network": "by address translation, for its package repositories",
    }
    guest = Guest(place, Record(place.name, machine, user=user, labels=leftovers.labels(place.name, keep=keep), facts=facts))
    leftovers.watch_removal(guest.name, guest.remove)
    try:
        guest.save()
        disk.room(place)
        public = with_key(place).public
        disk.overlay(found.path, place / "overlay.qcow2", kind=found.format)
        if firmware:
            tools.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(firmware.variables), str(place / VARIABLES)], seconds=60)
        seed.write(place / "seed.iso", name=place.name, user=user, public_key=public)
    except BaseException:
        guest.remove()
        leftovers.unwatch(guest.name)
        raise
    return guest


def kernel_for_trial(say: Callable[[str], None]) -> kernel.Kernel | None:
    """Return a kernel to try KVM with; None where nothing is to be tried, or no kernel can be had: a disk image starts without one."""
    if not probe.usable() or probe.recalled() is not None:
        return None
    try:
        return kernel.ensure(Cache(), say)
    except ImageError as error:
        say(f"KVM is not tried, everything is emulated: {error.message}")
        return None


def like(guest: Guest, say: Callable[[str], None]) -> Guest:
    """Make a guest that starts from the disk of another one, which is off and stays as it is as long as this one is there."""
    sweep(say)
    place = made(f"harness-{secrets.token_hex(4)}")
    made_of = f"the disk of {guest.name}, as it was shut down"
    record = replace(guest.record, name=place.name, labels=leftovers.labels(place.name), facts={**guest.record.facts, "disk": made_of})
    new = Guest(place, replace(record, pid=0, started="", snapshot=""))
    leftovers.watch_removal(new.name, new.remove)
    try:
        new.save()
        disk.room(place)
        disk.overlay(guest.folder / guest.record.machine.disk, place / new.record.machine.disk, kind="qcow2")
        for name in ("key", "initrd", "seed.iso", VARIABLES):
            if (guest.folder / name).exists():
                shutil.copy2(guest.folder / name, place / name)
    except BaseException:
        new.remove()
        leftovers.unwatch(new.name)
        raise
    return new


def with_key(place: Path) -> Key:
    """Make the key of a guest, its private half in the guest's folder for the owner's eyes only."""
    key = new_key(f"harness-{place.name}")
    private = place / "key"
    private.touch(mode=0o600)
    private.write_bytes(key.private)
    return key


def made(name: str) -> Path:
    """Make the folder of a new guest, for the owner's eyes only. Raises UsageError when there is one of that name."""
    place = folder() / name
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir(mode=0o700)
    except FileExistsError:
        raise UsageError(f"there is a virtual machine {name} already", hint=f"`harness vm remove {name}`") from None
    except OSError as error:
        raise TargetError(f"{place} cannot be made: {error.strerror}", hint="point XDG_CACHE_HOME at a folder of yours") from None
    return place


def left(guest: Guest) -> leftovers.Leftover:
    """Return whose a guest is, in the words that containers have."""
    return leftovers.Leftover(id=str(guest.folder), name=guest.name, running=guest.running(), labels=guest.record.labels)


def sweep(say: Callable[[str], None] = lambda _: None) -> list[str]:
    """Remove what crashed runs left behind, and return the names. Never one of a living process, never one that is kept."""
    removed = []
    for path in folder().glob("*"):
        with suppress(OSError):  # another process sweeps as well
            if not (path / RECORD).exists() and time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
    for guest in guests():
        one = left(guest)
        if one.kept or one.owner() is not leftovers.Owner.GONE:
            continue
        if guest.remove():
            say(f"removed virtual machine {guest.name}: an earlier run (process {one.labels.get(f'{leftovers.LABEL}.pid')}) left it behind")
            removed.append(guest.name)
        else:
            say(f"{guest.name}: left by an earlier run, cannot be removed; try `harness vm remove {guest.name}`")
    return removed
