"""Whether somebody who logs in becomes root by sudo of every kind, or is told in one clear line why not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.errors import TargetError
from harness.targets import sshstream
from harness.targets.connection import Connection, Sudo
from harness.targets.ssh import open_uri
from tests.sshworld import NOPASSWD, World, uri, whoami

PASSWORD = "pass word$1"  # noqa: S105 - of a user who lives as long as this file


@pytest.fixture(scope="module", autouse=True)
def people(world: World) -> None:
    world.user("asks", sudo="asks ALL=(ALL) ALL", password=PASSWORD)
    world.user("stranger", sudo="", password=PASSWORD)
    world.user("ttys", sudo=NOPASSWD + "\nDefaults:ttys requiretty")
    world.user("lectured", sudo="lectured ALL=(ALL) ALL\nDefaults:lectured lecture=always,insults,use_pty,!tty_tickets", password=PASSWORD)
    world.user("limited", sudo="limited ALL=(ALL) NOPASSWD: /usr/bin/id")
    world.user("asked-limited", sudo="asked-limited ALL=(ALL) /usr/bin/id", password=PASSWORD)
    world.user(
        "reading", sudo="reading ALL=(ALL) ALL", password=PASSWORD, files={".bashrc": "echo pick a project; read x; echo $x >/tmp/read"}
    )
    world.user("overdue", files={".bashrc": ""})
    world.sh("chage -d 0 overdue")


@pytest.mark.parametrize(
    ("user", "said", "hint"),
    [
        ("asks", "asks for a password", "--sudo password"),
        ("lectured", "asks for a password", "--sudo password"),
        ("stranger", "asks for a password", "NOPASSWD"),
        ("limited", "asks for a password", "NOPASSWD"),
        ("ttys", "wants a terminal", "!requiretty"),
        ("overdue", "the password of overdue.* has expired", "chage -M -1 overdue"),
    ],
)
def test_who_cannot_become_root_is_told_why(port: int, ways: Connection, user: str, said: str, hint: str) -> None:
    with open_uri(uri(user, port), ways) as target, pytest.raises(TargetError, match=said) as caught:
        target.run("id", timeout=30)
    assert hint in (caught.value.hint or "")
    assert user in str(caught.value)


def test_a_host_whose_sudo_is_gone_says_so_and_another_user_does_not_need_it(world: World, port: int, ways: Connection) -> None:
    world.sh("mv /usr/bin/sudo /usr/bin/sudo.away")
    try:
        with open_uri(uri("ec2-user", port), ways) as target, pytest.raises(TargetError, match="has no sudo") as caught:
            target.run("id", timeout=30)
        assert "--sudo none" in (caught.value.hint or "")
        for sudo in (Sudo.AUTO, Sudo.PASSWORD):
            with open_uri(uri("root", port), replace(ways, sudo=sudo, password=lambda _: "never")) as target:
                assert whoami(target) == "root"
    finally:
        world.sh("mv /usr/bin/sudo.away /usr/bin/sudo")


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("stranger", "does not let stranger become root"),
        ("asked-limited", "does not let asked-limited become root"),
        ("ttys", "wants a terminal"),
        ("overdue", "has expired"),
    ],
)
def test_a_password_does_not_help_everybody(port: int, ways: Connection, user: str, said: str) -> None:
    with (
        open_uri(uri(user, port), replace(ways, sudo=Sudo.PASSWORD, password=lambda _: PASSWORD)) as target,
        pytest.raises(TargetError, match=said) as caught,
    ):
        target.run("id", timeout=30)
    assert PASSWORD not in f"{caught.value}{caught.value.hint}"


def test_a_lecture_and_a_terminal_of_sudo_s_own_do_no_harm(port: int, ways: Connection) -> None:
    with open_uri(uri("lectured", port), replace(ways, sudo=Sudo.PASSWORD, password=lambda _: PASSWORD)) as target:
        done = target.run("id -un; echo err >&2; cat", stdin=b"\0in", timeout=30)
        assert (done.stdout, done.stderr) == (b"root\n\0in", b"err\n")


def test_a_start_up_file_that_reads_never_gets_the_password(
    world: World, port: int, ways: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sshstream, "PROMPT_SECONDS", 1.0)
    with (
        open_uri(uri("reading", port), replace(ways, sudo=Sudo.PASSWORD, password=lambda _: PASSWORD)) as target,
        pytest.raises(TargetError, match=r"does not answer within 1 s: pick a project") as caught,
    ):
        target.run("id", timeout=30)
    assert "bashrc" in (caught.value.hint or "")
    assert PASSWORD not in world.sh("cat /tmp/read 2>/dev/null || true")


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
