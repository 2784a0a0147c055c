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

from harness.errors import TargetError
from harness.targets.base import LostError
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
