"""Whether ssh_config means to us what it means to ssh: `ssh -G` is asked where it can be."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from harness.errors import ConfigError
from harness.targets.connection import Connection
from harness.targets.ssh import configured
from harness.targets.sshconfig import HostConfig, SshConfig

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """\
# what people write
Host web1 web2 !web2
    HostName = 10.0.0.5
    User "ec2-user"
    Port 2222
    IdentityFile ~/.ssh/first
    IdentitiesOnly yes

Host *.internal
  HostName %h.example
  ProxyJump admin@bastion:2200,inner
  IdentityFile ~/.ssh/second

Host proxied
  ProxyCommand nc -x "a b" %h %p %r # not a comment
  ProxyJump never

Match originalhost matched user special
  Port 4444
Match host 10.0.0.5 !user special
  HostKeyAlias alias
Match exec "test %n = execed"
  Port 5555
match all
  ConnectTimeout 1m30s
  HashKnownHosts yes

Host *
  User fallback
  Port 22
  IdentityFile ~/.ssh/%n-%r
  UserKnownHostsFile /a/known ~/.ssh/known
  IdentityAgent none
"""
NAMES = ["web1", "web2", "db.internal", "proxied", "matched", "execed", "special@matched", "other"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/sh")
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def lookup(home: Path, text: str, name: str, **given: int) -> HostConfig:
    path = home / ".ssh/config"
    path.write_text(text)
    user, _, alias = name.rpartition("@")
    return SshConfig((path,)).lookup(alias, user=user or None, port=given.get("port"))


def ssh_says(path: Path, name: str) -> dict[str, list[str]]:
    """Return what OpenSSH itself makes of a configuration."""
    done = subprocess.run(["ssh", "-G", "-F", str(path), name], check=True, timeout=30, capture_output=True, text=True)
    said: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        said.setdefault(keyword, []).append(value)
    return said


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh on this machine")
@pytest.mark.parametrize("name", NAMES)
def test_it_means_what_it_means_to_ssh(home: Path, name: str) -> None:
    ours = lookup(home, CONFIG, name)
    theirs = ssh_says(home / ".ssh/config", name)
    assert [ours.hostname, str(ours.port), ours.user] == [theirs["hostname"][0], theirs["port"][0], theirs["user"][0]]
    assert ours.jumps == tuple(hop for value in theirs.get("proxyjump", []) for hop in value.split(","))
    assert ours.host_key_alias == next(iter(theirs.get("hostkeyalias", [])), None)
    assert ("yes" if ours.identities_only else "no") == theirs["identitiesonly"][0]
    assert ours.connect_seconds == float(theirs["connecttimeout"][0])
    # ssh -G shows most paths as they are written; its home is the one of the account, whatever HOME says.
    account = pwd.getpwuid(os.getuid()).pw_dir
    written = {f"{account}/.ssh": f"{home}/.ssh", "~": str(home), "%n": ours.alias, "%r": ours.user}
    assert [str(path) for path in ours.identities] == [replaced(path, written) for path in theirs["identityfile"]]
    assert [str(path) for path in ours.known_hosts] == [replaced(path, written) for path in theirs["userknownhostsfile"][0].split()]
    if "proxycommand" in theirs:
        assert ours.proxy_command == replaced(theirs["proxycommand"][0], {"%h": ours.hostname, "%p": str(ours.port), "%r": ours.user})


def replaced(text: str, values: dict[str, str]) -> str:
    for old, new in values.items():
        text = text.replace(old, new)
    return text


def test_the_caller_s_user_and_port_win(home: Path) -> None:
    found = lookup(home, CONFIG, "root@web1", port=22)
    assert (found.user, found.port, found.hostname) == ("root", 22, "10.0.0.5")


def test_without_a_file_there_are_defaults(home: Path) -> None:
    found = SshConfig((home / "none",)).lookup("web1")
    assert (found.hostname, found.port, found.named, found.agent) == ("web1", 22, False, None)
    assert found.identities[0] == home / ".ssh/id_ed25519"
    assert found.known_hosts[0] == home / ".ssh/known_hosts"


def test_includes_stand_in_their_block(home: Path) -> None:
    (home / ".ssh/parts").mkdir()
    (home / ".ssh/parts/a.conf").write_text("User from-a\nHost web1\n  Port 1111\n")
    (home / ".ssh/parts/b.conf").write_text("Host *\n  HostName included\n")
    text = "Host web*\n  Include parts/*.conf\n  ConnectTimeout 7\nHost *\n  User last\n"
    web1, other = lookup(home, text, "web1"), lookup(home, text, "db")
    assert (web1.user, web1.port, web1.hostname, web1.connect_seconds) == ("from-a", 1111, "included", 7)
    assert (other.user, other.port, other.hostname, other.connect_seconds) == ("last", 22, "db", None)
    assert lookup(home, text, "web2").port == 22


def test_a_final_match_sees_the_host_s_name(home: Path) -> None:
    text = "Match final host 10.0.0.5\n  User late\nHost web1\n  HostName 10.0.0.5\n"
    assert lookup(home, text, "web1").user == "late"
    assert lookup(home, text, "web2").user != "late"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Host *\n  Port\n", ":2: `Port` is no line"),
        ("Match tagged x\n  Port 1\n", ":1: harness does not understand `Match tagged`"),
        ("Host *\n  Port abc\n", "the port of web1 is `abc`"),
        ("IdentityFile ~/%Z\n", "`%Z`"),
        ("Include config\n", "include each other"),
    ],
)
def test_what_is_not_understood_is_said(home: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        lookup(home, text, "web1")
    assert said in str(caught.value)
    assert caught.value.hint


def test_a_match_that_is_not_understood_harms_no_other_host(home: Path) -> None:
    assert lookup(home, "Match originalhost other tagged x\n  Port 1\nHost *\n  Port 7\n", "web1").port == 7


def test_the_agent_is_the_one_that_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_AGENT", "/run/mine")
    assert lookup(home, "IdentityAgent SSH_AUTH_SOCK\n", "web1").agent is None
    assert lookup(home, "IdentityAgent none\n", "web1").agent == ""
    assert lookup(home, "IdentityAgent $MY_AGENT\n", "web1").agent == "/run/mine"
    assert lookup(home, 'IdentityAgent "~/agent socket"\n', "web1").agent == str(home / "agent socket")


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("ssh://web1", ("me", "web1", 22)),
        ("ssh://root@Web1/", ("root", "Web1", 22)),
        ("ssh://root@[2001:db8::1]:2222", ("root", "2001:db8::1", 2222)),
        ("ssh://name%40domain@10.0.0.5:22", ("name@domain", "10.0.0.5", 22)),
    ],
)
def test_a_uri_names_user_host_and_port(home: Path, uri: str, found: tuple[str, str, int]) -> None:
    (home / "config").touch()
    config = configured(uri, Connection(user="me", config=home / "config"))
    assert (config.user, config.hostname, config.port) == found


def test_a_file_that_is_named_must_be_there(home: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        configured("ssh://web1", Connection(config=home / "none"))
