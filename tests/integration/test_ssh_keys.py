"""Whether keys and certificates, from files and from an agent, log in, and what is said when none does."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness.errors import TargetError
from harness.targets.connection import Connection
from harness.targets.ssh import open_uri
from tests.sshworld import World, uri, whoami

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_keys_of_every_kind_open(world: World, port: int, ways: Connection, kind: str) -> None:
    with open_uri(uri("root", port), replace(ways, identities=(world.keys[kind],))) as target:
        assert target.facts["log_in_key"] == str(world.keys[kind])


def test_an_encrypted_key_needs_somebody_to_ask(world: World, port: int, ways: Connection) -> None:
    locked = replace(ways, identities=(world.keys["locked"],))
    with pytest.raises(TargetError, match=r"does not let root in: there is no key to try; .*encrypted, and nobody can be asked"):
        open_uri(uri("root", port), locked)
    with pytest.raises(TargetError, match="does not let root in"):
        open_uri(uri("root", port), replace(locked, passphrase=lambda _: "wrong"))
    asked: list[str] = []

    def ask(path: Path) -> str:
        asked.append(path.name)
        return "open it"

    for _ in range(2):
        with open_uri(uri("root", port), replace(locked, passphrase=ask)) as target:
            assert whoami(target) == "root"
    assert asked == ["locked"]


def test_the_default_keys_are_found(world: World, port: int, home: Path) -> None:
    (home / ".ssh/id_rsa").write_bytes(world.keys["rsa"].read_bytes())
    with open_uri(uri("root", port), Connection(accept_new=True)) as target:
        assert target.facts["log_in_key"] == str(home / ".ssh/id_rsa")


def test_an_agent_full_of_keys_does_not_use_up_the_attempts(world: World, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = world.sshd("MaxAuthTries 2")
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(home / "agent")], stdout=subprocess.DEVNULL)
    try:
        while not (home / "agent").exists():
            time.sleep(0.01)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(home / "agent"))
        for number in range(3):
            other = home / f"other{number}"
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", other.name, "-f", str(other)], check=True, timeout=30)
            subprocess.run(["ssh-add", "-q", str(other)], check=True, timeout=30, stderr=subprocess.DEVNULL)
        with pytest.raises(TargetError, match=r"other0 from the agent.*hung up") as caught:
            open_uri(uri("root", strict), Connection(accept_new=True))
        assert "IdentitiesOnly" in (caught.value.hint or "")
        (home / "askpass").write_text("#!/bin/sh\necho open it\n")
        (home / "askpass").chmod(0o700)
        environ = {**os.environ, "SSH_ASKPASS": str(home / "askpass"), "SSH_ASKPASS_REQUIRE": "force"}
        subprocess.run(["ssh-add", "-q", str(world.keys["locked"])], check=True, timeout=30, env=environ, stderr=subprocess.DEVNULL)
        for name in (world.keys["locked"], world.keys["locked"].with_suffix(".pub")):
            (home / ".ssh/config").write_text(f"IdentityFile {name}\n")
            with open_uri(uri("root", strict), Connection(accept_new=True)) as target:
                assert target.facts["log_in_key"] == f"{name} from the agent"
    finally:
        agent.kill()
        agent.wait()


@pytest.mark.usefixtures("home")
def test_what_was_tried_is_said(world: World, port: int) -> None:
    with pytest.raises(TargetError, match="there is no key to try; the host offers publickey"):
        open_uri(uri("root", port), Connection(accept_new=True))
    missing = world.folder / "missing"
    with pytest.raises(TargetError, match=f"{missing}: no such file"):
        open_uri(uri("root", port), Connection(accept_new=True, identities=(missing,)))
    with pytest.raises(TargetError, match=f"does not let nobody-here in: tried {world.keys['rsa']}"):
        open_uri(uri("nobody-here", port), Connection(accept_new=True, identities=(world.keys["rsa"],)))


def test_a_host_that_wants_more_than_a_key_says_so(world: World, ways: Connection) -> None:
    more = world.sshd("AuthenticationMethods publickey,keyboard-interactive", "KbdInteractiveAuthentication yes")
    with pytest.raises(TargetError, match="wants keyboard-interactive besides the key"):
        open_uri(uri("root", more), ways)


@contextmanager
def agent(home: Path, patch: pytest.MonkeyPatch) -> Generator[None]:
    """Run an agent that holds nothing yet."""
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(home / "keeper")], stdout=subprocess.DEVNULL)
    try:
        while not (home / "keeper").exists():
            time.sleep(0.01)
        patch.setenv("SSH_AUTH_SOCK", str(home / "keeper"))
        yield
    finally:
        process.kill()
        process.wait()


def ssh_keygen(*arguments: str | Path) -> None:
    subprocess.run(["ssh-keygen", "-q", *arguments], check=True, timeout=30)


def ssh_add(*arguments: str | Path) -> None:
    subprocess.run(["ssh-add", "-q", *arguments], check=True, timeout=30, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def authority(world: World) -> Path:
    """Return a certificate authority for users."""
    ssh_keygen("-t", "ed25519", "-N", "", "-f", world.folder / "authority")
    return world.folder / "authority"


@pytest.fixture(scope="module")
def trusting(world: World, authority: Path) -> int:
    """Return an sshd that trusts it."""
    public = authority.with_name("authority.pub").read_text()
    world.sh(f"cat >/etc/ssh/world_authority.pub <<'END'\n{public}END")
    return world.sshd("TrustedUserCAKeys /etc/ssh/world_authority.pub")


def certified(authority: Path, key: Path, *options: str, user: str = "ec2-user", kind: str = "ed25519") -> Path:
    """Make a key and its certificate; return the key."""
    ssh_keygen("-t", kind, "-N", "", "-f", key)
    ssh_keygen("-s", authority, "-I", "tester", "-n", user, *options, key.with_name(f"{key.name}.pub"))
    return key


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
@pytest.mark.parametrize("where", ["file", "agent", "named in ssh_config, held by the agent", "CertificateFile, held by the agent"])
def test_a_certificate_opens(  # noqa: PLR0913 - a table and its fixtures
    authority: Path, trusting: int, home: Path, monkeypatch: pytest.MonkeyPatch, kind: str, where: str
) -> None:
    key = certified(authority, home / "mine", kind=kind)
    config = home / ".ssh/config"
    config.write_text("")
    with agent(home, monkeypatch):
        if where != "file":
            ssh_add(key)
        if where == "file":
            config.write_text(f"IdentityFile {key}\n")
        elif where.startswith("named"):
            config.write_text(f"IdentityFile {key}\nIdentitiesOnly yes\n")
        elif where.startswith("CertificateFile"):
            ssh_add("-D")
            shutil.move(home / "mine-cert.pub", home / "elsewhere.pub")
            ssh_add(key)
            config.write_text(f"IdentityFile {key}\nCertificateFile {home}/elsewhere.pub\nIdentitiesOnly yes\n")
        key.rename(home / "hidden") if where != "file" else None
        with open_uri(uri("ec2-user", trusting), Connection(accept_new=True)) as target:
            assert whoami(target) == "root"
            assert "cert" in target.facts["log_in_key"] or "elsewhere" in target.facts["log_in_key"]


def test_a_host_that_knows_the_key_and_not_the_authority_lets_it_in(world: World, port: int, authority: Path, home: Path) -> None:
    key = home / "mine"
    for ending in ("", ".pub"):
        shutil.copy(world.keys["ed25519"].with_name(f"ed25519{ending}"), f"{key}{ending}")
    key.chmod(0o600)
    ssh_keygen("-s", authority, "-I", "tester", "-n", "ec2-user", f"{key}.pub")
    with open_uri(uri("ec2-user", port), Connection(accept_new=True, identities=(key,))) as target:
        assert target.facts["log_in_key"] == str(key)


@pytest.mark.parametrize(
    ("options", "user", "said"),
    [
        (("-V", "-3d:-1d"), "ec2-user", r"mine-cert\.pub \(it ended on 20\d\d-\d\d-\d\d \d\d:\d\d UTC\)"),
        (("-V", "+1d:+2d"), "ec2-user", r"mine-cert\.pub \(it begins on "),
        ((), "deploy", r"mine-cert\.pub \(it is for deploy\)"),
    ],
)
def test_why_a_certificate_opens_nothing_is_said(  # noqa: PLR0913 - a table and its fixtures
    authority: Path, trusting: int, home: Path, options: tuple[str, ...], user: str, said: str
) -> None:
    """A clock that is wrong looks the same, on either side."""
    key = certified(authority, home / "mine", *options, user=user)
    with pytest.raises(TargetError, match=said):
        open_uri(uri("ec2-user", trusting), Connection(accept_new=True, identities=(key,)))


def test_an_account_that_has_ended_is_told_from_a_key_that_is_wrong(world: World, port: int, ways: Connection) -> None:
    world.user("ended")
    world.sh("chage -E 1 ended")
    with pytest.raises(TargetError, match=r"does not let ended in: tried .*; then the host hung up") as caught:
        open_uri(uri("ended", port), ways)
    assert "account" in (caught.value.hint or "")
