"""What can be started is told from what cannot, in one line, by real images that qemu-img made."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import TargetError, UsageError
from harness.vms import image

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 1 << 20
pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed (qemu-utils)")


def disk(*, code: bytes = b"", signature: bytes = b"\x55\xaa", mbr: int = 0, esp: bool = False) -> bytes:
    """Make the beginning of a disk, as partitioning tools do."""
    data = bytearray(SIZE)
    data[: len(code)] = code
    data[450] = mbr
    data[510:512] = signature
    if esp:
        data[512:520] = b"EFI PART"
        data[1024 + 128 : 1024 + 144] = image.ESP
    return bytes(data)


def made(folder: Path, data: bytes, form: str, *options: str) -> Path:
    raw, path = folder / "disk.raw", folder / f"disk.{form}"
    raw.write_bytes(data)
    if form != "raw":
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", form, *options, raw, path], check=True, capture_output=True, timeout=60)
    return path


@pytest.mark.parametrize("form", ["raw", "qcow2"])
@pytest.mark.parametrize(
    ("data", "boot"),
    [
        (disk(code=b"\xeb\x63"), "bios"),
        (disk(mbr=0xEE, esp=True), "uefi"),
        (disk(mbr=0xEF), "uefi"),
        (disk(code=b"\xeb\x63", mbr=0xEE, esp=True), "bios"),
    ],
    ids=["boot code", "GPT with an ESP", "MBR with an ESP", "both"],
)
def test_a_disk_with_something_to_start_is_taken_and_the_firmware_chosen(tmp_path: Path, form: str, data: bytes, boot: str) -> None:
    path = made(tmp_path, data, form)
    before = path.read_bytes()
    found = image.examined(path)
    assert (found.path, found.format, found.boot) == (path, form, boot)
    assert path.read_bytes() == before


@pytest.mark.parametrize("form", ["raw", "qcow2"])
@pytest.mark.parametrize("data", [disk(), disk(code=b"\xeb\x63", signature=b"\0\0")], ids=["no loader", "no signature"])
def test_a_disk_with_nothing_to_start_is_refused(tmp_path: Path, form: str, data: bytes) -> None:
    with pytest.raises(UsageError, match="cannot be started: no boot code"):
        image.examined(made(tmp_path, data, form))


@pytest.mark.parametrize("form", ["vmdk", "vpc", "vhdx", "vdi"])
def test_a_format_of_another_hypervisor_is_refused_with_the_command_that_converts_it(tmp_path: Path, form: str) -> None:
    with pytest.raises(UsageError, match=f"format {form}, only qcow2 and raw") as caught:
        image.examined(made(tmp_path, disk(code=b"x"), form))
    assert "qemu-img convert -O qcow2" in str(caught.value.hint)


def test_an_encrypted_image_is_refused(tmp_path: Path) -> None:
    # The older kind, since LUKS measures for seconds how slow it has to be; qemu-img says `encrypted` of both.
    path, secret = tmp_path / "secret.qcow2", ("--object", "secret,id=s,data=word")
    options = ("-o", "encrypt.format=aes,encrypt.key-secret=s")
    subprocess.run(["qemu-img", "create", *secret, "-f", "qcow2", *options, path, "1M"], check=True, capture_output=True, timeout=60)
    with pytest.raises(UsageError, match="is encrypted"):
        image.examined(path)


def test_a_disk_that_is_luks_as_a_whole_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret.raw"
    path.write_bytes(b"LUKS\xba\xbe\x00\x01".ljust(SIZE, b"\0"))
    with pytest.raises(UsageError, match=r"secret\.raw"):
        image.examined(path)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "note.txt"
    with pytest.raises(UsageError, match="there is no disk image"):
        image.examined(text)
    text.touch()
    with pytest.raises(UsageError, match="is empty"):
        image.examined(text)
    text.write_text("not a disk\n" * 100, "utf-8")
    with pytest.raises(UsageError, match="no boot code"):
        image.examined(text)


def test_a_broken_or_borrowing_image_is_refused(tmp_path: Path) -> None:
    whole = made(tmp_path, disk(code=b"x"), "qcow2")
    broken = tmp_path / "broken.qcow2"
    broken.write_bytes(whole.read_bytes()[:100])
    with pytest.raises(UsageError, match=r"broken\.qcow2"):
        image.examined(broken)
    above = tmp_path / "above.qcow2"
    subprocess.run(["qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", whole, above], check=True, capture_output=True, timeout=60)
    with pytest.raises(UsageError, match="rests on another file"):
        image.examined(above)


def descriptor(folder: Path, name: str, **changed: Any) -> None:  # noqa: ANN401 - JSON
    code, variables = folder / f"{name}.code", folder / f"{name}.variables"
    code.touch()
    variables.touch()
    told = {
        "interface-types": ["uefi"],
        "mapping": {
            "device": "flash",
            "executable": {"filename": str(code), "format": "raw"},
            "nvram-template": {"filename": str(variables), "format": "raw"},
        },
        "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}],
        "features": ["acpi-s3"],
    }
    (folder / f"{name}.json").write_text(json.dumps({**told, **changed}), "utf-8")


def test_a_firmware_is_found_by_its_descriptor_one_that_asks_for_no_signature(tmp_path: Path) -> None:
    (tmp_path / "00-broken.json").write_text("{", "utf-8")
    descriptor(tmp_path, "10-secure", features=["secure-boot", "requires-smm"])
    descriptor(tmp_path, "20-arm", targets=[{"architecture": "aarch64", "machines": ["virt-*"]}])
    descriptor(tmp_path, "30-bios", **{"interface-types": ["bios"]})
    descriptor(tmp_path, "40-plain")
    descriptor(tmp_path, "50-later")
    assert image.uefi((tmp_path / "missing", tmp_path)).code == tmp_path / "40-plain.code"


def test_without_a_firmware_it_is_said_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no UEFI firmware") as caught:
        image.uefi((tmp_path,))
    assert "ovmf" in str(caught.value.hint)
