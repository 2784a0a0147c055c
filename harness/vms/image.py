"""A disk image that somebody brings: what it is, whether a firmware can start it, and which one; the image itself is only read."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from harness.errors import TargetError, UsageError
from harness.vms import tools

Boot: TypeAlias = Literal["bios", "uefi"]

SECONDS = 60.0
SECTOR = 512
FORMATS = frozenset({"qcow2", "raw"})
HEAD = 2 * SECTOR + 128 * 128
"""Bytes of a disk that hold its boot code and its partition table: a GPT has 128 entries of 128 bytes."""
CODE = 440
"""Bytes of boot code in the first sector."""
SIGNATURE = b"\x55\xaa"
ESP = bytes.fromhex("28732ac11ff8d211ba4b00a0c93ec93b")
"""The GPT type of an EFI system partition, C12A7328-F81F-11D2-BA4B-00A0C93EC93B, as it lies on the disk."""
ESP_IN_MBR = 0xEF
DESCRIPTORS = (Path("/etc/qemu/firmware"), Path("/usr/share/qemu/firmware"))
"""Where packages of firmware describe it, as qemu's docs/interop/firmware.json says; the first folder wins, then the first name."""


@dataclass(frozen=True, slots=True)
class DiskImage:
    """A disk image that can be started."""

    path: Path
    format: str
    boot: Boot


@dataclass(frozen=True, slots=True)
class Firmware:
    """A UEFI firmware of this machine."""

    code: Path
    variables: Path
    """What its variables are at first; each guest has a copy."""


def examined(path: Path) -> DiskImage:
    """Find out what an image is. Raises UsageError, in one line, for what cannot be started, TargetError where qemu-img is missing."""
    tools.require("qemu-img")
    if not path.is_file():
        raise UsageError(f"there is no disk image {path}")
    with path.open("rb") as file:
        if not file.read(1):
            raise UsageError(f"{path} is empty")
    try:
        facts: dict[str, Any] = json.loads(tools.run(["qemu-img", "info", "--output=json", str(path)], seconds=SECONDS))
    except TargetError as error:
        raise UsageError(f"{path} is no disk image that can be read: {error.message}") from None
    refuse(path, facts)
    boots = firmwares(head(path, facts["format"]))
    if not boots:
        raise UsageError(
            f"{path} cannot be started: no boot code and no EFI system partition are on it",
            hint="a disk with a boot loader is meant, such as Amazon's images for KVM; not a file system, an archive or an ISO image",
        )
    # Every qemu brings a BIOS, and it is through sooner.
    return DiskImage(path.resolve(), facts["format"], "bios" if "bios" in boots else "uefi")


def refuse(path: Path, facts: dict[str, Any]) -> None:
    """Raise UsageError for what qemu could open and harness does not start."""
    kind, special = facts["format"], facts.get("format-specific", {}).get("data", {})
    if facts.get("encrypted") or kind == "luks":
        raise UsageError(f"{path} is encrypted, and harness asks for no passphrase", hint="decrypt it with `qemu-img convert` first")
    if kind not in FORMATS:
        raise UsageError(
            f"{path} is a disk image of the format {kind}, only qcow2 and raw are started",
            hint=f"qemu-img convert -O qcow2 {path} NEW.qcow2",
        )
    other = facts.get("backing-filename") or special.get("data-file")
    if other:
        # Whoever made the image chooses that name, and the guest would read the file.
        raise UsageError(f"{path} rests on another file, {other}", hint=f"qemu-img convert -O qcow2 {path} NEW.qcow2 makes one of both")
    if special.get("corrupt"):
        raise UsageError(f"{path} is marked as corrupt", hint=f"qemu-img check {path}")


def head(path: Path, form: str) -> bytes:
    """Return the beginning of the disk that an image holds."""
    with tempfile.TemporaryDirectory(prefix="harness-disk-") as folder:
        out = Path(folder) / "head"
        try:
            tools.run(
                ["qemu-img", "dd", "-f", form, "-O", "raw", f"bs={SECTOR}", f"count={HEAD // SECTOR}", f"if={path}", f"of={out}"],
                seconds=SECONDS,
            )
        except TargetError as error:
            raise UsageError(f"{path} cannot be read: {error.message}") from None
        return out.read_bytes()


def firmwares(data: bytes) -> frozenset[Boot]:
    """Tell from the beginning of a disk which firmware finds something to start on it."""
    if data[SECTOR - 2 : SECTOR] != SIGNATURE:
        return frozenset()
    found: set[Boot] = set()
    if any(data[:CODE]):
        found.add("bios")
    types = {data[446 + 16 * number + 4] for number in range(4)}
    entries = data[2 * SECTOR :] if data[SECTOR : SECTOR + 8] == b"EFI PART" else b""
    if ESP_IN_MBR in types or any(entries[start : start + 16] == ESP for start in range(0, len(entries), 128)):
        found.add("uefi")
    return frozenset(found)


def uefi(folders: tuple[Path, ...] = DESCRIPTORS) -> Firmware:
    """Return the UEFI firmware of this machine, one that starts unsigned loaders too. Raises TargetError, with what to install."""
    for path in (path for folder in folders for path in sorted(folder.glob("*.json"))):
        try:
            found = described(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # of something else, or for a newer qemu
        if found is not None and found.code.is_file() and found.variables.is_file():
            return found
    raise TargetError("the image starts by UEFI only, and this machine has no UEFI firmware for guests", hint=tools.installation(["ovmf"]))


def described(raw: dict[str, Any]) -> Firmware | None:
    """Return the firmware that a descriptor speaks of, if it fits our machine."""
    mapping, features = raw["mapping"], set(raw["features"])
    fits = any(one["architecture"] == "x86_64" and any("q35" in name for name in one["machines"]) for one in raw["targets"])
    if "uefi" not in raw["interface-types"] or not fits or features & {"requires-smm", "enrolled-keys"} or mapping["device"] != "flash":
        return None
    code, variables = mapping["executable"], mapping["nvram-template"]
    if (code["format"], variables["format"]) != ("raw", "raw"):
        return None
    return Firmware(Path(code["filename"]), Path(variables["filename"]))


def digest(path: Path) -> str:
    """Return `sha256:…` of the file as it is."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
