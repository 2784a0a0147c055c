"""Whether a host over real SSH is a target that keeps its promises, at the price of few round trips."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from harness import audit, catalog
from harness.audit import Plan
from harness.errors import HarnessError, TargetError, UsageError
from harness.model import Environment
from harness.targets import open_target, ssh
from harness.targets.base import CommandTimeout
from harness.targets.connection import Connection
from harness.targets.ssh import SshTarget, open_uri
from tests.sshworld import Network, World, uri, whoami

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("user", ["root", "ec2-user", "plain"])
def test_commands_run_as_root(port: int, ways: Connection, user: str) -> None:
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


@pytest.mark.parametrize("delay", [0.03, 0.1])
def test_the_first_answer_takes_three_round_trips_after_the_log_in(port: int, ways: Connection, delay: float) -> None:
    """The greater delay is a round trip of 200 ms, as from another continent. Turns are counted, no times."""
    with Network(port, delay=delay) as network, open_uri(uri("ec2-user", network.port), ways) as target:
        before = network.turns
        target.run("id", timeout=30)
        assert network.turns - before <= 3
        before = network.turns
        target.run("id", timeout=30)
        assert network.turns - before <= 1


def test_an_audit_over_a_slow_line_takes_as_many_turns_as_it_says(port: int, ways: Connection, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path))
        # What one rule asks depends on the answer to another question, at the first host only.
        plan = Plan(catalog.load(), rules=("auditd-log-permissions",))
        for rounds in (2, 1):
            with Network(port, delay=0.1) as network, open_uri(uri("ec2-user", network.port), ways) as target:
                before = network.turns
                capture, _ = audit.audited(target, plan)
            assert capture.round_trips == rounds
            # Three turns are the first answer's; a large batch or answer lets the windows of SSH move meanwhile.
            assert network.turns - before <= 2 + rounds + 1
            plan = Plan(catalog.load(), rules=("auditd-log-permissions",))


def test_a_host_that_opens_one_session_only_is_asked_and_what_takes_too_long_there_is_killed(world: World, ways: Connection) -> None:
    single = world.sshd("MaxSessions 1")
    with open_uri(uri("ec2-user", single), ways) as target:
        assert whoami(target) == "root"
        with pytest.raises(CommandTimeout):
            target.run("sleep 5432", timeout=1)
        assert target.run("pgrep -f 'sleep 543[2]' || echo none", timeout=30).out == "none\n"
    none = world.sshd("MaxSessions 0")
    with open_uri(uri("ec2-user", none), ways) as target, pytest.raises(TargetError, match="opens no session") as caught:
        target.run("true", timeout=30)
    assert "MaxSessions" in (caught.value.hint or "")


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
  (sleep 0.3; pkill -f 'sshd -f {config} '; pkill -f '^sshd: ec2-user'; sleep 1.5
  touch /run/sshd/rebooted; /usr/sbin/sshd -f {config} -E {config}.log) </dev/null >/dev/null 2>&1 & ;;
is-system-running) [ -e /run/sshd/asked ] && echo running || echo starting; touch /run/sshd/asked ;;
esac
END
chmod 0755 /usr/local/sbin/systemctl""")
    try:
        with open_uri(uri("ec2-user", port), ways) as target:
            assert target.run("systemctl is-system-running", timeout=30).out == "starting\n"
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(ssh, "BOOTED", "stat -c %Y /run/sshd/rebooted 2>/dev/null || echo before")
                target.restart()
            assert whoami(target) == "root"
    finally:
        world.sh("rm -f /usr/local/sbin/systemctl /run/sshd/rebooted /run/sshd/asked")
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
