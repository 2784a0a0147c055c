"""Whether hosts of every kind are logged in to over real SSH, or refused in one clear line, and run commands as root."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness.errors import EngineError, HarnessError, TargetError, UsageError
from harness.model import Environment
from harness.targets import open_target, shell, ssh
from harness.targets.base import CommandTimeout, LostError, Target
from harness.targets.connection import Connection, Sudo
from harness.targets.ssh import SshTarget, open_uri
from harness.targets.sshlink import Bastions
from tests.sshworld import Network, World, free_port

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

PASSWORD = "pass word$1"  # noqa: S105 - of a user who lives as long as this file


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    try:
        world = World.begin(tmp_path_factory.mktemp("world"))
    except EngineError as error:
        pytest.skip(f"no container engine: {error}")
    try:
        world.people()
        yield world
    finally:
        world.end()


@pytest.fixture(scope="module")
def port(world: World) -> int:
    """Return an sshd as most are."""
    return world.sshd("Banner /etc/ssh/world_banner", "AcceptEnv LANG LC_*", "RekeyLimit 4M")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the user of the test an empty home, and no agent."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir(mode=0o700)
    return tmp_path


@pytest.fixture
def ways(world: World, home: Path) -> Connection:  # noqa: ARG001 - nothing is read from a real home
    """Return what logs in: one key, new hosts accepted."""
    return Connection(identities=(world.keys["ed25519"],), accept_new=True)


def uri(user: str, port: int) -> str:
    return f"ssh://{user}@127.0.0.1:{port}"


def whoami(target: Target) -> str:
    return target.run("id -un", timeout=30).out.strip()


@pytest.mark.parametrize("user", ["root", "ec2-user", "plain", "dashing", "noisy"])
def test_commands_run_as_root_whatever_the_log_in_shell_is_and_says(port: int, ways: Connection, user: str) -> None:
    with open_target(uri(user, port), ways) as target:
        assert isinstance(target, SshTarget)
        assert target.environment is Environment.HOST
        done = target.run('id -un; echo "$HOME $LC_ALL $PWD $PATH"; printf x >&2; exit 3', timeout=30)
        assert (done.returncode, done.err) == (3, "x")
        assert done.out == "root\n/root C / /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        assert target.run("echo ${BASH_ENV-none} ${TMOUT-none}", timeout=30).out == "none none\n"
        assert target.uri == uri(user, port)
        assert target.facts["user"] == user
        assert target.facts["server"].startswith("SSH-2.0-OpenSSH")


def test_a_target_keeps_its_promises(port: int, ways: Connection) -> None:
    with open_uri(uri("ec2-user", port), ways) as target:
        assert target.run("cat", stdin=b"\0given\n", timeout=30).stdout == b"\0given\n"
        lines: list[tuple[str, str]] = []
        target.run("echo a; echo b >&2", timeout=30, on_line=lambda *line: lines.append(line))
        assert sorted(lines) == [("stderr", "b"), ("stdout", "a")]
        large = target.run("head -c 20000000 /dev/zero", timeout=60)
        assert large.stdout == bytes(20_000_000)
        data = os.urandom(3_000_000)
        target.put(data, "/root/carried", mode=0o640)
        assert target.get("/root/carried") == data
        assert target.run("stat -c '%a %U' /root/carried", timeout=30).out == "640 root\n"
        with pytest.raises(FileNotFoundError):
            target.get("/none")
        with pytest.raises(CommandTimeout) as caught:
            target.run("echo begun; sleep 4321 & sleep 4321", timeout=1)
        assert caught.value.stdout == b"begun\n"
        assert target.run("pgrep -f 'sleep 4321' | grep -vx $$ || echo none", timeout=30).out == "none\n"
        assert whoami(target) == "root"


def test_the_script_of_an_audit_is_of_any_size(port: int, ways: Connection) -> None:
    script = "".join(f"echo {'x' * 100} {number}\n" for number in range(5000))
    with open_uri(uri("ec2-user", port), ways) as target:
        assert len(target.run(script, timeout=60).out.splitlines()) == 5000


def test_the_first_answer_takes_three_round_trips_after_the_log_in(port: int, ways: Connection) -> None:
    with Network(port, delay=0.03) as network, open_uri(uri("ec2-user", network.port), ways) as target:
        before = network.turns
        target.run("id", timeout=30)
        assert network.turns - before <= 3
        before = network.turns
        target.run("id", timeout=30)
        assert network.turns - before <= 1


@pytest.mark.parametrize(
    ("user", "said", "hint"),
    [
        ("asks", "asks for a password", "--sudo password"),
        ("stranger", "asks for a password", "NOPASSWD"),
        ("ttys", "wants a terminal", "!requiretty"),
        ("closed", "runs no commands", "another user"),
    ],
)
def test_who_cannot_become_root_is_told_why(port: int, ways: Connection, user: str, said: str, hint: str) -> None:
    with open_uri(uri(user, port), ways) as target, pytest.raises(TargetError, match=said) as caught:
        target.run("id", timeout=30)
    assert hint in (caught.value.hint or "")
    assert user in str(caught.value)


def test_start_up_files_that_wait_are_named(port: int, ways: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "START_SECONDS", 1.0)
    with open_uri(uri("hung", port), ways) as target, pytest.raises(TargetError, match=r"no answer within 1 s: waiting for you") as caught:
        target.run("id", timeout=30)
    assert "bashrc" in (caught.value.hint or "")


def test_a_host_without_sudo_says_so(world: World, ways: Connection) -> None:
    lonely = world.sshd("SetEnv PATH=/usr/local/nothing")
    with open_uri(uri("ec2-user", lonely), ways) as target, pytest.raises(TargetError, match="has no sudo"):
        target.run("id", timeout=30)
    with open_uri(uri("ec2-user", lonely), replace(ways, sudo=Sudo.NONE)) as target:
        assert whoami(target) == "ec2-user"


def test_sudo_takes_a_password_that_appears_nowhere(world: World, port: int, ways: Connection) -> None:
    asked: list[str] = []

    def ask(who: str) -> str:
        asked.append(who)
        return PASSWORD

    with open_uri(uri("asks", port), replace(ways, sudo=Sudo.PASSWORD, password=ask)) as target:
        done = target.run("id -un; tr '\\0' ' ' </proc/[0-9]*/cmdline | grep -c 'pass wor[d]'; cat", stdin=b"in", timeout=30)
        assert done.out == "root\n0\nin"
        assert whoami(target) == "root"
    assert asked == [f"asks@127.0.0.1:{port}"]
    assert "pass wor" not in world.sh("cat /run/sshd/*.log /var/log/* 2>/dev/null || true")
    # Nothing was left behind that lets others become root without it.
    with open_uri(uri("asks", port), ways) as target, pytest.raises(TargetError, match="asks for a password"):
        target.run("id", timeout=30)


def test_a_wrong_password_is_tried_once(port: int, ways: Connection) -> None:
    asked: list[str] = []

    def ask(who: str) -> str:
        asked.append(who)
        return "wrong"

    ways = replace(ways, sudo=Sudo.PASSWORD, password=ask)
    with open_uri(uri("asks", port), ways) as target, pytest.raises(TargetError, match="does not take the password"):
        target.run("id", timeout=30)
    assert len(asked) == 1


@pytest.mark.parametrize("user", ["root", "ec2-user"])
def test_a_password_that_is_not_needed_is_never_sent(port: int, ways: Connection, user: str) -> None:
    with open_uri(uri(user, port), replace(ways, sudo=Sudo.PASSWORD, password=lambda _: "touch /root/executed")) as target:
        assert whoami(target) == "root"
        assert target.run("test -e /root/executed", timeout=30).returncode == 1


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


def test_a_sshd_that_allows_only_new_algorithms_lets_us_in(world: World, ways: Connection) -> None:
    hardened = world.sshd("KexAlgorithms curve25519-sha256", "Ciphers aes256-gcm@openssh.com", "MACs hmac-sha2-512-etm@openssh.com")
    with open_uri(uri("root", hardened), ways) as target:
        assert whoami(target) == "root"
    foreign = world.sshd("Ciphers chacha20-poly1305@openssh.com")
    with pytest.raises(TargetError, match="no common algorithm"):
        open_uri(uri("root", foreign), ways)


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


@pytest.mark.usefixtures("home")
def test_a_read_only_host_without_systemd_is_asked_all_the_same(world: World) -> None:
    options = ("--read-only", "--tmpfs=/run", "--tmpfs=/root")
    other = World.begin(world.folder, options=options)
    try:
        public = world.keys["rsa"].with_name("rsa.pub").read_text()
        other.sh(f"install -d -m 0700 /root/.ssh; cat >/root/.ssh/authorized_keys <<'END'\n{public}END")
        other.sh("install -d -m 0755 /run/sshd; ssh-keygen -q -t ed25519 -N '' -f /run/sshd/key")
        port = other.sshd("HostKey /run/sshd/key", "UsePAM no", keys=())
        with open_uri(uri("root", port), Connection(accept_new=True, identities=(world.keys["rsa"],))) as target:
            assert target.run("touch /etc/x; ls -d /run/systemd/system", timeout=30).returncode == 2
            assert whoami(target) == "root"
            with pytest.raises(HarnessError, match="does not restart"):
                target.restart()
    finally:
        other.end()


def test_a_host_is_waited_for_while_it_restarts(world: World, ways: Connection) -> None:
    """The system of this host is a script; its sshd and the connections to it really go and come back."""
    port = world.sshd()
    config = f"/run/sshd/world_{port}"
    world.sh(f"""
cat >/usr/local/sbin/systemctl <<'END'
#!/bin/bash
case $1 in
reboot)
  (sleep 0.3; pkill -f '^/usr/sbin/sshd -f {config} '; pkill -f '^sshd: '; sleep 1.5
  touch /run/sshd/rebooted; /usr/sbin/sshd -f {config} -E {config}.log) </dev/null >/dev/null 2>&1 & ;;
is-system-running) [ -e /run/sshd/asked ] && echo running || echo starting; touch /run/sshd/asked ;;
esac
END
chmod 0755 /usr/local/sbin/systemctl""")
    with open_uri(uri("ec2-user", port), ways) as target:
        assert target.run("systemctl is-system-running", timeout=30).out == "starting\n"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ssh, "BOOTED", "stat -c %Y /run/sshd/rebooted 2>/dev/null || echo before")
            target.restart()
        assert whoami(target) == "root"
    assert world.log(port).count("Accepted publickey") == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ssh://", "does not name a host"),
        ("ssh://a b/c", "does not name a host"),
        ("ssh://root:secret@web1", "a password does not belong"),
        ("ssh://root@web1:0", "is no port"),
        ("ssh://root@web1:99999", "is no port"),
    ],
)
def test_uris_that_cannot_be_meant_are_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        open_uri(text)
    assert "secret" not in f"{caught.value}{caught.value.hint}"
