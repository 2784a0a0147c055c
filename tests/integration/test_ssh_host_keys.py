"""Whether the key that a host shows is compared with what is known, whatever form that has, and never taken on trust."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness.errors import TargetError
from harness.targets.ssh import open_uri
from tests.sshworld import World, uri, whoami

if TYPE_CHECKING:
    from pathlib import Path

    from harness.targets.connection import Connection


def test_an_unknown_host_is_accepted_on_request_only_and_a_changed_key_never(world: World, port: int, ways: Connection, home: Path) -> None:
    known = home / ".ssh/known_hosts"
    (home / ".ssh/config").write_text("HashKnownHosts no\n")
    with pytest.raises(TargetError, match="is not known: ssh-ed25519 SHA256:") as caught:
        open_uri(uri("root", port), replace(ways, accept_new=False))
    assert "--accept-new" in (caught.value.hint or "")
    assert not known.exists()
    open_uri(uri("root", port), ways).close()
    assert known.read_text() == world.known(port, "ed25519")
    open_uri(uri("root", port), replace(ways, accept_new=False)).close()

    known.write_text(known.read_text().replace("AAAAC3NzaC1lZDI1NTE5AAAAI", "AAAAC3NzaC1lZDI1NTE5AAAAJ"))
    before = known.read_bytes()
    with pytest.raises(TargetError, match=r"known_hosts:1: the host key of 127.0.0.1:\d+ has changed"):
        open_uri(uri("root", port), ways)
    assert known.read_bytes() == before

    known.write_text(world.known(port, "ed25519") + "@revoked * " + world.known(port, "ed25519").partition(" ")[2])
    with pytest.raises(TargetError, match="revoked"):
        open_uri(uri("root", port), ways)
    known.write_text("@cert-authority * " + world.known(port, "rsa").partition(" ")[2])
    with pytest.raises(TargetError, match="certificate authority"):
        open_uri(uri("root", port), ways)


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_the_host_is_asked_for_the_key_that_we_know(world: World, port: int, ways: Connection, home: Path, kind: str) -> None:
    (home / ".ssh/known_hosts").write_text(world.known(port, kind))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(home / ".ssh/known_hosts")], check=True, timeout=30, capture_output=True)
    with open_uri(uri("root", port), replace(ways, accept_new=False)) as target:
        assert kind in target.facts["host_key"]


def test_a_sshd_that_allows_only_new_algorithms_lets_us_in(world: World, ways: Connection) -> None:
    hardened = world.sshd("KexAlgorithms curve25519-sha256", "Ciphers aes256-gcm@openssh.com", "MACs hmac-sha2-512-etm@openssh.com")
    with open_uri(uri("root", hardened), ways) as target:
        assert whoami(target) == "root"
    foreign = world.sshd("Ciphers chacha20-poly1305@openssh.com")
    with pytest.raises(TargetError, match="no common algorithm"):
        open_uri(uri("root", foreign), ways)


def test_a_changed_key_is_told_with_its_line_though_it_stands_hashed_behind_others(
    world: World, port: int, ways: Connection, home: Path
) -> None:
    known = home / ".ssh/known_hosts"
    other = world.known(port, "ed25519").replace("AAAAC3NzaC1lZDI1NTE5AAAAI", "AAAAC3NzaC1lZDI1NTE5AAAAJ")
    known.write_text("# hosts\n\nweb1,10.0.0.5 ssh-rsa AAAA\n" + other)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, timeout=30, capture_output=True)
    assert "127.0.0.1" not in known.read_text()
    number = 1 + next(index for index, line in enumerate(known.read_text().splitlines()) if line.endswith(other.split()[2]))
    with pytest.raises(TargetError, match=rf"{known}:{number}: the host key of 127\.0\.0\.1:{port} has changed") as caught:
        open_uri(uri("root", port), ways)
    assert "remove the line" in (caught.value.hint or "")


def test_a_port_belongs_to_the_name_and_a_name_without_one_counts_where_nothing_else_is_known(
    world: World, port: int, ways: Connection, home: Path
) -> None:
    known, strict = home / ".ssh/known_hosts", replace(ways, accept_new=False)
    plain = world.known(port, "ed25519").partition(" ")[2]
    known.write_text(f"[127.0.0.1]:{port + 1} {plain}")
    with pytest.raises(TargetError, match="is not known"):
        open_uri(uri("root", port), strict)
    for names in ("127.0.0.1", f"[127.0.0.1]:{port}", "[127.0.0.*]:*", f"web1,[127.0.0.1]:{port}"):
        known.write_text(f"{names} {plain}")
        with open_uri(uri("root", port), strict) as target:
            assert whoami(target) == "root"


def test_a_host_with_a_certificate_of_its_own_shows_its_plain_key(world: World, ways: Connection, home: Path) -> None:
    """Host certificates are not read; a host that has one is reached by its key, and one known by an authority only is refused."""
    folder = world.folder
    if not (folder / "hosts").exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "hosts"], check=True, timeout=30)
    public = world.sh("cat /etc/ssh/world_ed25519.pub")
    (folder / "host.pub").write_text(public)
    sign = ["ssh-keygen", "-q", "-s", str(folder / "hosts"), "-I", "web1", "-h", "-n", "127.0.0.1", str(folder / "host.pub")]
    subprocess.run(sign, check=True, timeout=30)
    world.sh(f"cat >/etc/ssh/world_host-cert.pub <<'END'\n{(folder / 'host-cert.pub').read_text()}END")
    port = world.sshd("HostCertificate /etc/ssh/world_host-cert.pub", keys=("ed25519",))
    authority = f"@cert-authority * {(folder / 'hosts.pub').read_text()}"
    (home / ".ssh/known_hosts").write_text(authority)
    with pytest.raises(TargetError, match=r"known_hosts:1: .* certificate authority only") as caught:
        open_uri(uri("root", port), ways)
    assert "ssh-keyscan" in (caught.value.hint or "")
    (home / ".ssh/known_hosts").write_text(authority + world.known(port, "ed25519"))
    with open_uri(uri("root", port), replace(ways, accept_new=False)) as target:
        assert whoami(target) == "root"
