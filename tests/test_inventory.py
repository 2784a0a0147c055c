"""Inventories in their three forms: the same hosts, each mistake with its line, duplicates said."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import inventory
from harness.errors import HarnessError, UsageError
from harness.inventory import Entry, Inventory, limited

PLAIN, YAML, INI = Path("hosts"), Path("hosts.yaml"), Path("hosts.ini")


def read(text: str, path: Path = PLAIN) -> Inventory:
    return inventory.parse(text, path)


def uris(text: str, path: Path = PLAIN) -> list[str]:
    return [entry.uri for entry in read(text, path).entries]


def test_a_plain_list_takes_names_addresses_and_uris() -> None:
    text = """
# the web servers
web1
ec2-user@10.0.0.5:2222    # behind the balancer
[2001:db8::7]:22
2001:db8::8
admin@[fe80::1%eth0]
ssh://ec2-user@10.0.0.6/
ssm://i-0123456789abcdef0
ssm://tag:Role=web
podman://trial
; local:// is not asked
"""
    assert uris(text) == [
        "ssh://web1",
        "ssh://ec2-user@10.0.0.5:2222",
        "ssh://[2001:db8::7]:22",
        "ssh://[2001:db8::8]",
        "ssh://admin@[fe80::1%eth0]",
        "ssh://ec2-user@10.0.0.6",
        "ssm://i-0123456789abcdef0",
        "ssm://tag:Role=web",
        "podman://trial",
    ]


def test_ranges_keep_their_width_and_multiply() -> None:
    assert uris("web[08:11].internal") == [f"ssh://web{n}.internal" for n in ("08", "09", "10", "11")]
    assert uris("r[1:2]-db[a:c]") == [f"ssh://r{r}-db{d}" for r in "12" for d in "abc"]
    assert uris("n[0:9:3]:2222") == [f"ssh://n{n}:2222" for n in (0, 3, 6, 9)]
    assert uris("10.0.0.[9:11]") == ["ssh://10.0.0.9", "ssh://10.0.0.10", "ssh://10.0.0.11"]


ANSIBLE = """
bastion ansible_host=10.0.0.1 ansible_port=2200

[web]
web[1:2].example.com ansible_user=deploy
[db]
db1 ansible_host="10.1.0.1" ansible_ssh_private_key_file=keys/db   # the old one
db2 ansible_host=10.1.0.2 ansible_port=22
[prod:children]
web
db
[prod:vars]
ansible_user = ec2-user
ansible_ssh_common_args = '-o ProxyJump=bastion -o Foo=bar'
[db:vars]
ansible_become=no
http_port=80
[all:vars]
ansible_port=2222
baseline=al2
"""
SAME = """
all:
  vars: {port: 2222, baseline: al2}
  hosts:
    bastion: {host: 10.0.0.1, port: 2200}
  children:
    prod:
      vars: {user: ec2-user, proxy_jump: bastion}
      children:
        web:
          hosts:
            web[1:2].example.com: {user: deploy}
        db:
          vars: {sudo: false, http_port: 80}
          hosts:
            db1: {host: 10.1.0.1, identity_file: keys/db}
            db2: {host: 10.1.0.2, port: 22}
"""


def test_the_same_hosts_in_ini_and_in_yaml() -> None:
    ini, yaml = read(ANSIBLE, INI), read(SAME, YAML)

    def facts(entry: Entry) -> tuple[object, ...]:
        return entry.name, entry.uri, entry.groups, entry.baseline, entry.sudo, entry.identity_file, entry.proxy_jump

    assert sorted(map(facts, ini.entries), key=str) == sorted(map(facts, yaml.entries), key=str)
    by_name = {entry.name: entry for entry in ini.entries}
    assert by_name["bastion"].uri == "ssh://10.0.0.1:2200"
    assert by_name["web1.example.com"].uri == "ssh://deploy@web1.example.com:2222"
    assert by_name["db2"].uri == "ssh://ec2-user@10.1.0.2:22"
    assert by_name["db1"].identity_file == Path("keys/db")
    assert (by_name["db1"].sudo, by_name["web1.example.com"].sudo) == (False, None)
    assert by_name["db1"].groups == ("prod", "db")
    assert {entry.proxy_jump for entry in ini.entries} == {"bastion", None}
    assert {entry.baseline for entry in ini.entries} == {"al2"}


def test_groups_by_name_with_lists_and_tags() -> None:
    found = read("web:\n  hosts: [w1, w2]\n  vars: {tags: {Role: web, Env: prod}}\nssm: {hosts: ['ssm://tag:Role=db']}\n", YAML)
    assert [entry.uri for entry in found.entries] == ["ssh://w1", "ssh://w2", "ssm://tag:Role=db"]
    assert found.entries[0].tags == {"Role": "web", "Env": "prod"}
    assert read("a tags=Role=web,Env=dev").entries[0].tags == {"Role": "web", "Env": "dev"}
    assert [entry.uri for entry in read("- a\n- b[1:2]\n", YAML).entries] == ["ssh://a", "ssh://b1", "ssh://b2"]


def test_ansible_connections_become_targets() -> None:
    text = "here ansible_connection=local\nbox ansible_connection=containers.podman.podman ansible_host=trial\n"
    assert uris(text) == ["local://", "podman://trial"]


def test_duplicates_are_said_and_asked_once() -> None:
    found = read("web1\nweb1\n10.0.0.5\nalias ansible_host=10.0.0.5\n")
    assert [entry.name for entry in found.entries] == ["web1", "10.0.0.5"]
    assert found.notes == (
        "hosts:2: web1 stands in line 1 already; it is asked once",
        "hosts:4: alias is ssh://10.0.0.5, as 10.0.0.5 in line 3 is; it is asked once",
    )
    # In two groups a host is usual.
    assert read("[a]\nx\n[b]\nx\n", INI).notes == ()


def test_what_is_not_read_is_said() -> None:
    notes = read("a ansible_become_password=x\nb idenity_file=k\nc http_port=80 ansible_python_interpreter=/usr/bin/python3\n").notes
    assert len(notes) == 2
    assert notes[0].startswith("hosts:1: ansible_become_password is not read")
    assert notes[1] == "hosts:2: the variable idenity_file means nothing here; did you mean `identity_file`?"


@pytest.mark.parametrize(
    ("text", "path", "told"),
    [
        ("a\nb c\n", PLAIN, "hosts:2: `c` after the host is not NAME=VALUE"),
        ("a\nb@@c\n", PLAIN, "hosts:2: `b@@c` is no host"),
        ("a:99999", PLAIN, "hosts:1: `99999` is no port"),
        ("a port=x", PLAIN, "hosts:1: `x` is no port"),
        ("a sudo=maybe", PLAIN, "hosts:1: `maybe` is neither true nor false"),
        ("a ansible_host='x", PLAIN, "hosts:1: `a ansible_host='x` has a quote that does not end"),
        ("a ansible_host='{{ ip }}'", PLAIN, "hosts:1: `{{ ip }}`: templates are not worked out"),
        ("telnet://a", PLAIN, "hosts:1: `telnet://a`: there are no targets of the kind telnet://"),
        ("a ansible_connection=winrm", PLAIN, "hosts:1: hosts cannot be asked by the connection `winrm`"),
        ("ssm://tag:Role", PLAIN, "hosts:1: ssm://tag:Role names no instance"),
        ("w[10:1]", PLAIN, "hosts:1: the range `[10:1]` goes backwards"),
        ("w[a:3]", PLAIN, "hosts:1: `[a:3]` is no range"),
        ("w[1:999999999]", PLAIN, "hosts:1: `w[1:999999999]` stands for more than 100,000 hosts"),
        ("# nobody\n", PLAIN, "hosts: the inventory names no host"),
        ("[a\nb", INI, "hosts.ini:1: `[a` begins no section"),
        ("[a:kids]\nb", INI, "hosts.ini:1: `[a:kids]`: there is no `:kids`"),
        ("[web]\na\n[all:children]\nwbe\n", INI, "hosts.ini:4: there is no group `wbe`"),
        ("[a:children]\nb\n[b:children]\na\n[b]\nx\n", INI, "is inside of itself"),
        ("[a]\nx\n[a:vars]\nport\n", INI, "hosts.ini:4: `port` is not NAME=VALUE"),
        ("web:\n  hosts: [a]\n  var: {port: 1}\n", YAML, "hosts.yaml:3: `var` is no part of a group"),
        ("web:\n  hosts: a\n", YAML, "hosts.yaml:2: `hosts` is a list"),
        ("web:\n  hosts:\n    a: {port: 0}\n", YAML, "hosts.yaml:3: `0` is no port"),
        ("web:\n  hosts: [1]\n", YAML, "hosts.yaml:2: `1` is no host"),
        ("web: {hosts: {a: [1]}}\n", YAML, "hosts.yaml:1: variables are NAME: VALUE"),
        ("web:\n  children: [db]\n", YAML, "hosts.yaml:2: there is no group `db`"),
        ("web", YAML, "hosts.yaml:1: an inventory is a list of hosts"),
        ("a: {\n", YAML, "hosts.yaml:2: not YAML"),
    ],
)
def test_each_mistake_is_one_line_with_its_place(text: str, path: Path, told: str) -> None:
    with pytest.raises(HarnessError) as caught:
        read(text, path)
    assert told in str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_or_is_a_program(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        inventory.load(tmp_path / "none")
    (tmp_path / "dynamic").write_text("#!/usr/bin/env python3\n", "utf-8")
    with pytest.raises(UsageError, match="is a program"):
        inventory.load(tmp_path / "dynamic")
    (tmp_path / "old").write_bytes(b"caf\xe9\n")
    with pytest.raises(UsageError, match="UTF-8"):
        inventory.load(tmp_path / "old")


def names(*patterns: str) -> list[str]:
    return [entry.name for entry in limited(read(ANSIBLE, INI).entries, patterns)]


def test_a_limit_takes_groups_names_addresses_and_takes_away() -> None:
    assert names("db") == ["db1", "db2"]
    assert names("prod,!db1") == ["web1.example.com", "web2.example.com", "db2"]
    assert names("!prod") == ["bastion"]
    assert names("10.1.*", "bastion") == ["bastion", "db1", "db2"]
    assert names("all") == ["bastion", "web1.example.com", "web2.example.com", "db1", "db2"]
    with pytest.raises(UsageError, match="--limit wbe names no host") as caught:
        names("wbe")
    assert caught.value.hint == "did you mean `web`?"
    with pytest.raises(UsageError, match="leaves no host"):
        names("db,!prod")


NAME = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8).map("h".__add__)


@given(st.lists(NAME, unique=True, min_size=1, max_size=20))
def test_any_list_of_names_is_read_in_its_order(hosts: list[str]) -> None:
    expected = [f"ssh://{host}" for host in hosts]
    assert uris("\n".join(hosts)) == expected
    assert uris("[g]\n" + "\n".join(hosts), INI) == expected
    assert uris("g: {hosts: [" + ", ".join(hosts) + "]}", YAML) == expected


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 4))
def test_a_range_counts_as_python_does(first: int, more: int, width: int) -> None:
    low = f"{first:0{width}d}"
    found = [entry.name for entry in read(f"w[{low}:{first + more}]").entries]
    assert len(found) == more + 1
    assert [int(name.removeprefix("w")) for name in found] == list(range(first, first + more + 1))
    if low.startswith("0") and len(low) > 1:
        assert all(len(name) >= len(low) + 1 for name in found)


@given(st.text(max_size=60), st.sampled_from([PLAIN, INI, YAML]))
def test_no_text_ends_in_anything_but_hosts_or_one_line(text: str, path: Path) -> None:
    try:
        found = read(text, path)
    except HarnessError as error:
        assert "\n" not in str(error)  # noqa: PT017 - the text that provokes it is any
        return
    assert found.entries
    assert len({entry.uri for entry in found.entries}) == len(found.entries)


@given(st.sets(st.sampled_from(["web", "db", "prod", "bastion", "db1", "web*"]), min_size=1), st.sets(st.sampled_from(["db2", "web1*"])))
def test_a_limit_never_adds_a_host_that_is_taken_away(take: set[str], away: set[str]) -> None:
    try:
        chosen = names(*take, *(f"!{word}" for word in away))
    except UsageError:
        return
    assert set(chosen) <= {entry.name for entry in read(ANSIBLE, INI).entries}
    assert not ("db2" in away and "db2" in chosen)
    assert not ("web1*" in away and "web1.example.com" in chosen)


def test_the_examples_of_the_documentation_are_read() -> None:
    page = (Path(__file__).parent.parent / "docs" / "fleets.md").read_text("utf-8")
    chapter = page.partition("### Inventories")[2].partition("## ")[0]
    examples = dict(zip((PLAIN, YAML, INI), re.findall(r"```[a-z]+\n(.*?)```", chapter, re.DOTALL), strict=True))
    assert [len(read(text, path).entries) for path, text in examples.items()] == [13, 3, 3]
    assert {entry.proxy_jump for entry in read(examples[INI], INI).entries} == {"bastion"}
    assert all(not read(text, path).notes for path, text in examples.items())


def test_files_from_other_systems_are_read_as_they_are() -> None:
    mark, ends = "\ufeff", "\r\n"
    assert uris(f"{mark}web1{ends}web[01:02] user=a{ends}{ends}[db]{ends}db1") == [
        "ssh://web1",
        "ssh://a@web01",
        "ssh://a@web02",
        "ssh://db1",
    ]
    assert uris(f"{mark}web:{ends}  hosts: [a, b]{ends}", YAML) == ["ssh://a", "ssh://b"]
    long = "web1 " + " ".join(f"note{number}={'x' * 100}" for number in range(2000))
    assert uris(long) == ["ssh://web1"]
    assert len(uris("web[01:50]")) == 50
    assert uris("web1 ansible_ssh_common_args='-o ProxyJump=\"u@b:22\"' user=\"deploy\" note='it''s'") == ["ssh://deploy@web1"]


@pytest.mark.parametrize("user", ["$(id)", "a b", "a;b", "-oX", "`id`", "a/b", "a:b"])
def test_what_a_shell_would_run_is_no_name_of_a_user(user: str) -> None:
    """The name may stand in a ProxyCommand, which a shell runs."""
    with pytest.raises(HarnessError, match="is no name of a user"):
        read(f"web1 user='{user}'")
    with pytest.raises(HarnessError, match=r"hosts:3: .* is no name of a user"):
        read(f"web1\n[all:vars]\nuser='{user}'")
    with pytest.raises(HarnessError):
        read(f"'{user}@web1'")


def test_a_name_longer_than_a_name_can_be_is_told_in_short() -> None:
    with pytest.raises(HarnessError, match="is no host") as caught:
        read("x" * 100_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "text",
    ["a: {children: [b]}\nb: {children: [c]}\nc: {children: [a], hosts: [x]}\n", "a: {hosts: [x], children: {b: {children: {a: }}}}\n"],
)
def test_groups_in_a_circle_are_told_with_their_line(text: str) -> None:
    with pytest.raises(HarnessError, match=r"hosts\.yaml:1: the group `a` is inside of itself"):
        read(text, YAML)
