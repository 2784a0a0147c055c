"""Whether log-in shells and start-up files of every kind do no harm, or are named when they do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.errors import TargetError
from harness.targets import open_target, shell
from harness.targets.connection import Connection, Sudo
from harness.targets.ssh import open_uri
from tests.sshworld import World, uri, whoami

FORCED = """
sed -i 's|^|command="echo Please login as the user ec2-user rather than the user forced.;sleep 1;exit 142" |' ~forced/.ssh/authorized_keys
"""
"""What cloud-init writes in front of root's keys."""
NOISE = """
echo "Welcome to this host"; echo "it is monitored" >&2; printf 'no line end'
export LANG=ko_KR.EUC-KR LC_ALL=ko_KR.EUC-KR BASH_ENV=~/.bashrc TMOUT=1
alias sudo=false; sudo() { false; }; set -u; stty -echo; trap 'echo bye' EXIT
"""
SHELLS = {
    "dash": {".profile": "echo never read"},
    "tcsh": {".cshrc": "echo welcome; setenv LC_ALL ko_KR.EUC-KR; alias sudo false; set noclobber; setenv PATH /usr/bin:/bin"},
    "zsh": {".zshenv": "echo welcome; alias sudo=false; setopt nounset noclobber; export LANG=ko_KR.EUC-KR"},
    "fish": {".config/fish/config.fish": "echo welcome; function sudo; false; end; set -x LC_ALL ko_KR.EUC-KR"},
}
FOLDERS = {"fish": ("/usr/share/fish",)}
REPLACED = {"execs-zsh": "zsh", "execs-tcsh": "tcsh", "execs-bash": "bash"}


@pytest.fixture(scope="module", autouse=True)
def people(world: World) -> None:
    world.user("noisy", files={".bashrc": NOISE})
    world.user("flooding", files={".bashrc": "head -c 3000000 /dev/urandom; head -c 3000000 /dev/zero >&2"})
    world.user("reader", files={".bashrc": "read -p 'pick a project: ' x; echo got $x"})
    world.user("hung", files={".bashrc": "echo waiting for you; cat >/dev/null; sleep 60"})
    world.user("quits", files={".bashrc": '[ -n "$PS1" ] || exit'})
    world.user("talks", files={".bashrc": "echo interactive only >&2; exit 3"})
    world.user("closed", "/sbin/nologin")
    world.user("false", "/bin/false")
    world.sh("printf '#!/bin/bash\\necho \"%% Invalid input at marker\"\\n' >/usr/local/bin/appliance; chmod 755 /usr/local/bin/appliance")
    world.user("appliance", "/usr/local/bin/appliance")
    world.user("forced")
    world.sh(FORCED)
    world.user("homeless", sudo="homeless ALL=(ALL) NOPASSWD: ALL")
    world.sh("install -D -m 0644 ~homeless/.ssh/authorized_keys /etc/ssh/world_keys/homeless; rm -rf ~homeless")


@pytest.mark.parametrize("shell_name", SHELLS)
@pytest.mark.parametrize("sudo", [Sudo.AUTO, Sudo.PASSWORD, Sudo.NONE])
def test_every_log_in_shell_starts_ours(world: World, port: int, ways: Connection, shell_name: str, sudo: Sudo) -> None:
    place, user = world.lend(shell_name, *FOLDERS.get(shell_name, ())), f"of-{shell_name}"
    if not world.sh(f"id {user} 2>/dev/null || true"):
        world.user(user, place, sudo=f"{user} ALL=(ALL) ALL\n{user} ALL=(ALL) NOPASSWD: /bin/bash", files=SHELLS[shell_name])
    with open_target(uri(user, port), replace(ways, sudo=sudo, password=lambda _: "not asked for")) as target:
        done = target.run('id -un; echo "$HOME $LC_ALL $PWD $PATH $#"; printf x >&2; exit 3', timeout=30)
        who = user if sudo is Sudo.NONE else "root"
        assert (done.returncode, done.err) == (3, "x")
        assert done.out == f"{who}\n/root C / /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin 0\n"


@pytest.mark.parametrize("user", ["noisy", "flooding", "reader"])
def test_what_start_up_files_print_and_read_does_no_harm(port: int, ways: Connection, user: str) -> None:
    with open_target(uri(user, port), ways) as target:
        done = target.run('id -un; echo "$LC_ALL ${BASH_ENV-none} ${TMOUT-none}"; echo e >&2', timeout=30)
        assert (done.out, done.err) == ("root\nC none none\n", "e\n")
        assert target.run("cat", stdin=b"in", timeout=30).out == "in"


def test_a_banner_of_ten_kilobytes_and_a_user_without_a_home_do_no_harm(world: World, ways: Connection) -> None:
    world.sh("for i in {1..200}; do echo 'Unauthorised use of this system is prohibited.  무단 사용 금지'; done >/etc/ssh/world_long")
    port = world.sshd("Banner /etc/ssh/world_long", "AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/world_keys/%u")
    with open_target(uri("homeless", port), ways) as target:
        assert whoami(target) == "root"


@pytest.mark.parametrize("user", REPLACED)
def test_a_shell_that_replaced_ours_runs_no_command(world: World, port: int, ways: Connection, user: str) -> None:
    """It would run as the user, who is not root, and as another shell than the one that the commands are written for."""
    other = "/bin/bash" if REPLACED[user] == "bash" else world.lend(REPLACED[user])
    world.user(user, files={".bashrc": f"exec {other}\n"})
    with open_target(uri(user, port), ways) as target, pytest.raises(TargetError, match="another shell than ours") as caught:
        target.run("touch /tmp/ran-in-another-shell", timeout=30)
    assert "exec" in (caught.value.hint or "")
    assert not world.sh("ls /tmp/ran-in-another-shell 2>/dev/null || true")


@pytest.mark.parametrize(
    ("user", "said", "hint"),
    [
        ("closed", "the log-in shell of closed@.* runs no commands", "another user"),
        ("false", "no shell on false@.* by sudo: exit code 1$", "the log-in shell of false"),
        ("quits", "no shell on quits@.* by sudo: exit code 1$", r"~/.bashrc"),
        ("talks", "no shell on talks@.*: exit code 3: interactive only$", "shows what it says"),
        ("appliance", "no shell on appliance@.*: % Invalid input at marker$", "shows what it says"),
        ("forced", "exit code 142: Please login as the user ec2-user", "ssh://NAME@HOST"),
    ],
)
def test_who_gets_no_shell_is_told_why(port: int, ways: Connection, user: str, said: str, hint: str) -> None:
    with open_uri(uri(user, port), ways) as target, pytest.raises(TargetError, match=said) as caught:
        target.run("id", timeout=30)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("line", "said"),
    [("ForceCommand internal-sftp", "allows sftp connections only"), ("ForceCommand /bin/true", "exit code 0")],
)
def test_an_sshd_that_runs_something_else_is_told(world: World, ways: Connection, line: str, said: str) -> None:
    with open_uri(uri("ec2-user", world.sshd(line)), ways) as target, pytest.raises(TargetError, match=said):
        target.run("id", timeout=30)


def test_start_up_files_that_wait_are_named(port: int, ways: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "START_SECONDS", 1.0)
    with open_uri(uri("hung", port), ways) as target, pytest.raises(TargetError, match=r"no answer within 1 s: waiting for you") as caught:
        target.run("id", timeout=30)
    assert "bashrc" in (caught.value.hint or "")
