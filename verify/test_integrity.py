"""Whether a change of a file that should not change would be noticed, and soon."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from harness.suite import Host, expect, has_package, path, rule, texts, unit

if TYPE_CHECKING:
    from collections.abc import Mapping

DATABASE = "/var/lib/aide/aide.db.gz"
STRONG = frozenset({"sha256", "sha512"})
BUILT_IN = {"R": "p+u+g+s+c+m+i+n+md5", "L": "p+u+g+i+n", ">": "p+u+g+i+n+S", "H": "md5+sha1+sha256+sha512"}
"""Groups that AIDE knows by itself, as far as a check here depends on them."""

WATCHED = (
    "/boot/vmlinuz",
    "/etc/passwd",
    "/etc/ssh/sshd_config",
    "/etc/sudoers",
    "/usr/bin/sudo",
    "/usr/sbin/sshd",
    "/usr/lib/os-release",
    "/usr/lib64/libc.so.6",
)
TOOLS = tuple(f"/usr/sbin/{name}" for name in ("auditctl", "auditd", "ausearch", "aureport", "autrace", "augenrules"))
VOLATILE = (
    "/etc/machine-id",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/sudoers.d/90-cloud-init-users",
    "/etc/adjtime",
)
TIMERS = ("isms-aide-check.timer", "aidecheck.timer", "aide-check.timer", "dailyaidecheck.timer")
CRON = "/etc/crontab /etc/cron.d/* /etc/cron.daily/* /var/spool/cron/root /var/spool/cron/crontabs/root"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files a configuration selects, and what it compares of them."""

    rules: tuple[tuple[str, frozenset[str]], ...]
    excluded: tuple[str, ...]

    def attributes(self, name: str) -> frozenset[str] | None:
        """Return what is compared of a file; None when it is not watched. The last rule that matches counts."""
        if any(re.match(pattern, name) for pattern in self.excluded):
            return None
        found = [attributes for pattern, attributes in self.rules if re.match(pattern, name)]
        return found[-1] if found else None


def expanded(text: str, groups: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Read `p+u+Group-m`."""
    found: set[str] = set()
    for sign, word in re.findall(r"([+-]?)\s*([A-Za-z0-9_>]+)", text):
        attributes = groups.get(word, frozenset({word.lower()}))
        found = found - attributes if sign == "-" else found | attributes
    return frozenset(found)


def selection(text: str) -> Selection:
    """Read aide.conf; most specific rules come first in ours, so among several matches the longest pattern decides."""
    groups = {name: frozenset(value.split("+")) for name, value in BUILT_IN.items()}
    rules: list[tuple[str, frozenset[str]]] = []
    excluded: list[str] = []
    for raw in text.splitlines():
        line = raw.strip()
        if found := re.match(r"([A-Za-z0-9_]+)\s*=\s*([A-Za-z0-9_>+-]+)$", line):
            groups[found[1]] = expanded(found[2], groups)
        elif line.startswith("!/"):
            excluded.append(line[1:].split()[0])
        elif found := re.match(r"=?(/\S*)\s+(\S+)", line):
            rules.append((found[1], expanded(found[2], groups)))
    return Selection(tuple(sorted(rules, key=lambda each: len(each[0]))), tuple(excluded))


def selected(host: Host) -> Selection:
    """Return what the host's configuration selects; nothing when there is none."""
    return selection("\n".join(texts(host, "/etc/aide.conf /etc/aide.local.conf").values()))


@rule("integrity-aide-installed")
def test_installed(host: Host) -> None:
    expect("package aide", has_package(host, "aide"), equals=True)


@rule("integrity-config-valid")
def test_config_valid(host: Host) -> None:
    result = host.run("if type aide >/dev/null 2>&1; then aide --config-check 2>&1; else exit 127; fi")
    expect("aide --config-check", {0: "valid", 127: None}.get(result.rc, result.stdout.strip()[-300:]), equals="valid")


@rule("integrity-paths")
def test_paths(host: Host) -> None:
    chosen = selected(host)
    unwatched = [name for name in (*WATCHED, "/root/.bashrc") if chosen.attributes(name) is None]
    expect("files that are not watched", unwatched, equals=[])


@rule("integrity-checksums")
def test_checksums(host: Host) -> None:
    chosen = selected(host)
    found = {name: attributes for name in WATCHED if (attributes := chosen.attributes(name)) is not None}
    expect("watched files", len(found), at_least=1)
    expect("watched files without a strong checksum", [name for name, attributes in found.items() if not STRONG & attributes], equals=[])


@rule("integrity-audit-tools")
def test_audit_tools(host: Host) -> None:
    """A group of their own: a path that is watched as part of /usr/sbin keeps neither inode nor times."""
    chosen = selected(host)
    lacking = [
        name for name in TOOLS if not {"p", "i", "n", "u", "g", "s", "b", "acl", "xattrs"} <= (chosen.attributes(name) or frozenset())
    ]
    expect("audit tools that are not watched in every respect", lacking, equals=[])
    weak = [name for name in TOOLS if not STRONG & (chosen.attributes(name) or frozenset())]
    expect("audit tools without a strong checksum", weak, equals=[])


@rule("integrity-quiet")
def test_quiet(host: Host) -> None:
    chosen = selected(host)
    expect("rules", len(chosen.rules), at_least=1)
    expect(
        "files that change on every instance and are watched", [name for name in VOLATILE if chosen.attributes(name) is not None], equals=[]
    )


@rule("integrity-database-planned")
def test_database_planned(host: Host) -> None:
    there = path(host, DATABASE) is not None
    planned = unit(host, "isms-aide-init.service").file == "enabled"
    ways = [name for name, is_so in (("the database is there", there), ("isms-aide-init.service is enabled", planned)) if is_so]
    expect("where the reference comes from", ways, that=bool, expected="a database, or a unit that builds it at the first boot")


@rule("integrity-database")
def test_database(host: Host) -> None:
    facts = path(host, DATABASE)
    expect(DATABASE, facts and facts.kind, equals="regular file")


@rule("integrity-daily-check")
def test_daily_check(host: Host) -> None:
    timers = [name for name in TIMERS if unit(host, name).file == "enabled"]
    jobs = [
        name for name, text in texts(host, CRON).items() if re.search(r"^[^#]*\baide\b.*(--check|-C|isms-aide check)", text, re.MULTILINE)
    ]
    expect("what starts the check", timers + jobs, that=bool, expected="a timer or a cron job")


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        pytest.param("/etc/aide.conf", 0o600, marks=rule("integrity-config-permissions")),
        pytest.param("/var/lib/aide", 0o700, marks=rule("integrity-database-permissions")),
        pytest.param("/var/log/aide", 0o700, marks=rule("integrity-log-permissions")),
    ],
)
def test_permissions(host: Host, name: str, allowed: int) -> None:
    facts = path(host, name)
    expect(name, facts and f"{facts.owner}:{facts.group}", equals="root:root")
    if facts:
        expect(f"permission bits beyond {allowed:04o}", f"{facts.beyond(allowed):04o}", equals="0000")
