"""Whether hosts are reached as ssh_config says, through others and over bad lines, and what is said when they are not."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness import audit, catalog
from harness.audit import Plan
from harness.errors import TargetError
from harness.targets import shell
from harness.targets.base import CommandTimeout, LostError
from harness.targets.connection import Connection
from harness.targets.ssh import open_uri
from harness.targets.sshlink import Bastions
from tests.sshworld import Network, World, free_port, uri, whoami

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


def test_ssh_config_leads_the_way(world: World, port: int, home: Path) -> None:
    alias = "stand-in " + world.known(port, "ed25519").partition(" ")[2]
    (home / "keys").write_text(alias)
    (home / ".ssh/config").write_text(
        f"Host web1\n  HostName 127.0.0.1\n  Port {port}\n  User ec2-user\n  IdentityFile {world.keys['rsa']}\n"
        f"  HostKeyAlias stand-in\n  UserKnownHostsFile {home}/keys\n"
    )
    with open_uri("ssh://web1") as target:
        assert whoami(target) == "root"
        assert (target.name, target.uri, target.facts["log_in_key"]) == (f"web1:{port}", "ssh://web1", str(world.keys["rsa"]))


def test_hosts_behind_hosts_are_reached_and_share_the_way(world: World, port: int, home: Path) -> None:
    first, second = world.sshd(), world.sshd()
    (home / ".ssh/config").write_text(
        f"IdentityFile {world.keys['ed25519']}\n"
        f"Host first\n  HostName 127.0.0.1\n  Port {first}\n  User ec2-user\n"
        f"Host near\n  HostName 127.0.0.1\n  Port {port}\n  ProxyJump first\n"
        f"Host far\n  HostName 127.0.0.1\n  Port {port}\n  ProxyJump first,plain@127.0.0.1:{second}\n"
        "Host circle\n  ProxyJump circle2\nHost circle2\n  ProxyJump circle\n"
    )
    bastions, ways = Bastions(), Connection(accept_new=True)
    try:
        for name in ("near", "far", "far"):
            with open_uri(f"ssh://root@{name}", ways, bastions) as target:
                assert whoami(target) == "root"
                assert target.facts["through"].startswith("first")
    finally:
        bastions.close()
    # `near` and `far` differ in where they go from the first host, and share it.
    assert world.log(first).count("Accepted publickey for ec2-user") == 1
    assert world.log(second).count("Accepted publickey for plain") == 1
    with pytest.raises(TargetError, match="behind more than 8 hosts"):
        open_uri("ssh://root@circle", ways)


def test_a_bastion_that_does_not_forward_is_told(world: World, port: int, ways: Connection, home: Path) -> None:
    closed = world.sshd("AllowTcpForwarding no")
    (home / ".ssh/config").write_text(f"Host behind\n  HostName 127.0.0.1\n  Port {port}\n  ProxyJump ec2-user@127.0.0.1:{closed}\n")
    with pytest.raises(TargetError, match=r"cannot be reached through 127\.0\.0\.1") as caught:
        open_uri("ssh://root@behind", ways)
    assert "AllowTcpForwarding" in (caught.value.hint or "")


def test_a_proxy_command_is_run_and_ended(port: int, ways: Connection, home: Path) -> None:
    relay = home / "relay.py"
    relay.write_text(
        "import os,socket,sys,threading\n"
        "s=socket.create_connection((sys.argv[1],int(sys.argv[2])))\n"
        "def up():\n    while d:=os.read(0,65536): s.sendall(d)\n    s.shutdown(1)\n"
        "threading.Thread(target=up,daemon=True).start()\n"
        "open(sys.argv[3],'w').write(str(os.getpid()))\n"
        "while d:=s.recv(65536): os.write(1,d)\n"
    )
    config = home / ".ssh/config"
    config.write_text(f"Host web1\n  ProxyCommand env FOO='a b' {sys.executable} {relay} 127.0.0.1 {port} {home}/pid\n")
    with open_uri("ssh://root@web1", ways) as target:
        assert whoami(target) == "root"
        process = int((home / "pid").read_text())
        os.kill(process, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    other = replace(ways, config=home / "other")
    (home / "other").write_text("Host web1\n  ProxyCommand sh -c 'echo no session manager >&2; exit 1'\n")
    with pytest.raises(TargetError, match=r"does not speak SSH with us: the other side hung up; its ProxyCommand says: no session manager"):
        open_uri("ssh://root@web1", other)


def test_a_connection_that_drops_in_the_middle_keeps_what_came(port: int, ways: Connection) -> None:
    with Network(port) as network, open_uri(uri("ec2-user", network.port), ways) as target:
        target.run("true", timeout=30)
        seen = threading.Event()

        def watch(_: str, line: str) -> None:
            if line == "now":
                seen.set()

        def cut() -> None:
            seen.wait(30)
            network.cut()

        cutter = threading.Thread(target=cut)
        cutter.start()
        with pytest.raises(LostError, match="the connection was lost") as caught:
            target.run("echo out; echo err >&2; sleep 0.2; echo now; sleep 60", timeout=30, on_line=watch)
        cutter.join()
        assert (caught.value.stdout, caught.value.stderr) == (b"out\nnow\n", b"err\n")
        assert caught.value.exit_code == 3
        # The next command logs in again.
        assert whoami(target) == "root"


def test_hosts_that_cannot_be_reached_are_told_apart(ways: Connection) -> None:
    quick = replace(ways, connect_seconds=0.5)
    with pytest.raises(TargetError, match="refuses connections on port"):
        open_uri(uri("root", free_port()), quick)
    with pytest.raises(TargetError, match=r"the name nowhere\.invalid is not known"):
        open_uri("ssh://root@nowhere.invalid", quick)
    with pytest.raises(TargetError, match=r"the name a\.\.b is not known"):
        open_uri("ssh://root@a..b", quick)
    with speaking(b"") as silent, pytest.raises(TargetError, match=r"no answer within 0\.5 s"):
        open_uri(uri("root", silent), quick)
    with speaking(b"HTTP/1.1 400 Bad Request\r\n\r\n", hang_up=True) as web, pytest.raises(TargetError, match="does not speak SSH"):
        open_uri(uri("root", web), quick)
    with speaking(b"", hang_up=True) as mute, pytest.raises(TargetError, match="hung up"):
        open_uri(uri("root", mute), quick)


@pytest.mark.parametrize("cut_after", range(1, 8))
def test_a_line_that_breaks_at_any_point_is_one_clear_error(port: int, ways: Connection, cut_after: int) -> None:
    """From the greeting over the keys and the log-in to the shell: the connection ends in each of these."""
    with Network(port) as network:
        network.cut_after = cut_after
        with pytest.raises(TargetError) as caught, open_uri(uri("ec2-user", network.port), ways) as target:
            target.run("true", timeout=30)
    assert caught.value.exit_code == 3
    assert any(
        words in str(caught.value) for words in ("does not speak SSH", "hung up", "the host opens no session", "the connection was lost")
    ), caught.value


def test_a_line_that_goes_silent_ends_in_time(port: int, ways: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = replace(ways, connect_seconds=1.0)
    with Network(port) as network, open_uri(uri("ec2-user", network.port), quick) as target:
        target.run("true", timeout=30)
        network.frozen.set()
        with pytest.raises(CommandTimeout):
            target.run("true", timeout=0.5)
        # The host is logged in to anew, in vain.
        with pytest.raises(TargetError):
            target.run("true", timeout=0.5)
    plan = Plan(catalog.load(), rules=("ssh-root-login",))
    with Network(port) as network, open_uri(uri("ec2-user", network.port), quick) as target:
        target.run("true", timeout=30)
        network.frozen.set()
        with pytest.raises(TargetError, match=rf"^{uri('ec2-user', network.port)} was not done within 0\.5 s$") as caught:
            audit.audited(target, plan, 0.5)
        assert "--timeout" in (caught.value.hint or "")
    monkeypatch.setattr(shell, "START_SECONDS", 1.0)
    with Network(port) as network, open_uri(uri("ec2-user", network.port), quick) as target:
        network.frozen.set()
        with pytest.raises(TargetError, match=r"the host opens no session: Timeout|no answer within 1 s"):
            target.run("true", timeout=30)
    with silent_after_keys(port) as half, pytest.raises(TargetError, match=r"does not answer within 1 s while ec2-user logs in"):
        open_uri(uri("ec2-user", half), quick)


@contextlib.contextmanager
def silent_after_keys(port: int) -> Generator[int]:
    """Open a way to an sshd that goes silent once the keys are exchanged."""
    with Network(port) as network:
        network.freeze_after = 3
        yield network.port


def test_ipv6_addresses_are_reached_and_known_in_brackets(world: World, ways: Connection, home: Path) -> None:
    if not ipv6():
        pytest.skip("this machine has no ::1")
    port = world.sshd("ListenAddress ::1")
    (home / ".ssh/config").write_text("HashKnownHosts no\n")
    with open_uri(f"ssh://ec2-user@[::1]:{port}", ways) as target:
        assert whoami(target) == "root"
    assert (home / ".ssh/known_hosts").read_text().startswith(f"[::1]:{port} ssh-ed25519 ")
    (home / ".ssh/config").write_text(f"Host far\n  HostName ::1\n  Port {port}\n  ProxyJump ec2-user@[::1]:{port}\n")
    with open_uri("ssh://ec2-user@far", replace(ways, accept_new=False)) as target:
        assert whoami(target) == "root"


def ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


def test_ssh_config_of_every_shape_leads_to_the_same_host(world: World, port: int, home: Path) -> None:
    """Include, Match by exec and final, patterns, negation, tokens, several words, quotes, CRLF and no line end."""
    (home / ".ssh/parts").mkdir()
    (home / ".ssh/parts/keys").write_text(
        f'Host *\r\n  IdentityFile "{world.keys["rsa"].parent}/%%d-no"\r\n  IdentityFile "{world.keys["rsa"]}"'
    )
    relay = home / "to.py"
    relay.write_text(
        "import os,socket,sys,threading\n"
        "s=socket.create_connection(('127.0.0.1',int(sys.argv[1])))\n"
        "def up():\n    while d:=os.read(0,65536): s.sendall(d)\n    s.shutdown(1)\n"
        "threading.Thread(target=up,daemon=True).start()\n"
        f"open('{home}/seen','a').write(' '.join(sys.argv[2:])+'\\n')\n"
        "while d:=s.recv(65536): os.write(1,d)\n"
    )
    (home / ".ssh/config").write_text(
        f"Include parts/*\nHost web* !web9 db?\n  HostName %h.internal\n  User=ec2-user\nMatch final host *.internal\n  Port {port}\n"
        f'Match exec "test %n = web1 -a %r = ec2-user"\n  HostKeyAlias one\nMatch host *.internal\n'
        f"  ProxyCommand {sys.executable} {relay} %p %h %n %r\nHost web9\n  HostName 127.0.0.1\n  Port {port}\n  User ec2-user\n"
    )
    for name in ("web1", "db2", "web9"):
        with open_uri(f"ssh://{name}", Connection(accept_new=True)) as target:
            assert whoami(target) == "root"
            assert target.facts["log_in_key"] == str(world.keys["rsa"])
    assert (home / "seen").read_text() == "web1.internal web1 ec2-user\ndb2.internal db2 ec2-user\n"


@contextlib.contextmanager
def speaking(words: bytes, *, hang_up: bool = False) -> Generator[int]:
    """Open a port that says something that is not SSH."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        links: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                links.append(server.accept()[0])
                links[-1].sendall(words)
                if hang_up:
                    links[-1].close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            thread.join()
        for link in links:
            link.close()
