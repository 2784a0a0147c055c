"""Whether a host's key is compared with what is known of it as OpenSSH would, and new keys are added whole."""

from __future__ import annotations

import base64
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from harness.errors import TargetError
from harness.targets import sshhostkeys
from harness.targets.sshhostkeys import HostKey, add, address, entries, judge

if TYPE_CHECKING:
    from pathlib import Path

MINE = HostKey("ssh-ed25519", b"mine")
OTHER = HostKey("ssh-ed25519", b"other")
RSA = HostKey("ssh-rsa", b"rsa")


def line(names: str, key: HostKey, marker: str = "") -> str:
    return f"{marker} {names} {key.kind} {base64.b64encode(key.blob).decode()} comment".strip() + "\n"


@pytest.fixture
def known(tmp_path: Path) -> Path:
    return tmp_path / "known_hosts"


@pytest.mark.parametrize(
    ("names", "asked", "found"),
    [
        ("web1", "web1", True),
        ("Web1", "web1", True),
        ("web1,10.0.0.5", "10.0.0.5", True),
        ("web*", "web12", True),
        ("web?", "web12", False),
        ("*,!web1", "web1", False),
        ("!web1,*", "web2", True),
        ("[web1]:2222", "[web1]:2222", True),
        ("[web1]:2222", "web1", False),
        ("web1", "[web1]:2222", False),
        ("[::1]:2222", "[::1]:2222", True),
        ("|1|not base64|x", "web1", False),
    ],
)
def test_names_match_as_in_openssh(known: Path, names: str, asked: str, found: bool) -> None:  # noqa: FBT001 - a column of the table
    known.write_text(line(names, MINE))
    assert bool(entries([known], asked)) is found


@pytest.mark.parametrize("name", ["web1", "[127.0.0.1]:2222", "2001:db8::1"])
def test_our_hashed_names_are_found_by_ssh_keygen_and_its_by_us(known: Path, tmp_path: Path, name: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "host")], check=True, timeout=30)
    kind, blob = (tmp_path / "host.pub").read_text().split()[:2]
    key = HostKey(kind, base64.b64decode(blob))
    add(known, name, key, hashed=True)
    assert name not in known.read_text()
    told = subprocess.run(["ssh-keygen", "-l", "-F", name, "-f", str(known)], check=True, timeout=30, capture_output=True, text=True)
    assert key.fingerprint in told.stdout

    known.write_text(line(name, key))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, timeout=30, capture_output=True)
    assert name not in known.read_text()
    assert judge(entries([known], name), key, name)


def test_a_known_key_is_known_and_an_unknown_host_is_not(known: Path) -> None:
    known.write_text("# comment\n\ngarbage\nweb1 ssh-ed25519 !!!\n" + line("web1", RSA) + line("web1", MINE))
    found = entries([known, known.with_name("absent")], "web1")
    assert judge(found, MINE, "web1")
    assert not judge(entries([known], "web2"), MINE, "web2")
    assert sshhostkeys.kinds(found) == ["ssh-rsa", "ssh-ed25519"]


@pytest.mark.parametrize("shown", [OTHER, RSA])
def test_a_changed_key_is_refused_with_its_line(known: Path, shown: HostKey) -> None:
    known.write_text("\n" + line("web1", MINE))
    with pytest.raises(TargetError, match="has changed") as caught:
        judge(entries([known], "web1"), shown, "web1")
    assert str(caught.value).startswith(f"{known}:2: ")
    assert MINE.fingerprint in caught.value.message
    assert shown.fingerprint in caught.value.message


def test_a_revoked_key_is_refused_though_it_is_known(known: Path) -> None:
    known.write_text(line("web1", MINE) + line("*", MINE, "@revoked"))
    with pytest.raises(TargetError, match="revoked"):
        judge(entries([known], "web1"), MINE, "web1")
    with pytest.raises(TargetError, match="has changed"):
        judge(entries([known], "web1"), OTHER, "web1")


def test_a_certificate_authority_is_no_key_and_says_so(known: Path) -> None:
    known.write_text(line("*.example", MINE, "@cert-authority"))
    with pytest.raises(TargetError, match="certificate authority") as caught:
        judge(entries([known], "web1.example"), MINE, "web1.example")
    assert caught.value.hint is not None
    assert MINE.fingerprint in caught.value.hint
    known.write_text(line("*.example", OTHER, "@cert-authority") + line("web1.example", MINE))
    assert judge(entries([known], "web1.example"), MINE, "web1.example")


def test_new_keys_are_added_whole_by_many_at_once(known: Path) -> None:
    known.write_bytes(line("old", RSA).rstrip().encode())  # without its line end
    keys = {f"host{number}": HostKey("ssh-ed25519", bytes([number]) * 32) for number in range(40)}
    threads = [threading.Thread(target=add, args=(known, name, key)) for name, key in keys.items() for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(known.read_text().splitlines()) == 1 + len(keys)
    assert judge(entries([known], "old"), RSA, "old")
    for name, key in keys.items():
        assert judge(entries([known], name), key, name)


def test_a_key_that_another_wrote_meanwhile_is_not_overruled(known: Path) -> None:
    add(known, "web1", MINE)
    with pytest.raises(TargetError, match="has changed"):
        add(known, "web1", OTHER)
    assert "other" not in known.read_text()
    assert known.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(TargetError, match="cannot be read"):
        entries([tmp_path / "folder"], "web1")
    with pytest.raises(TargetError, match="cannot be written"):
        add(tmp_path / "folder", "web1", MINE)


def test_an_address_has_its_port_unless_it_is_ssh_s_own() -> None:
    assert address("Web1", 22) == "web1"
    assert address("10.0.0.5", 2222) == "[10.0.0.5]:2222"
