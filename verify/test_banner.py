"""Whether people are warned before and after they log in, and told nothing of use to an intruder."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from harness.suite import Host, expect, path, paths, read, rule, texts

if TYPE_CHECKING:
    from collections.abc import Mapping

FILES = ("/etc/issue", "/etc/issue.net", "/etc/motd")
# What agetty fills in: name and version of the system, machine, host, domain.
ESCAPE = re.compile(r"\\[SsmnorvO]")
SYSTEM = re.compile(r"Amazon Linux|AL20\d\d|kernel\s+\d|\b\d+\.\d+\.\d+-\d+\.|\bamzn\d", re.IGNORECASE)


def warns(text: str) -> bool:
    """Tell whether a text warns in both languages."""
    return bool(re.search("경고", text)) and bool(re.search(r"\bwarning\b|\bauthori[sz]ed\b|\bnotice\b", text, re.IGNORECASE))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("/etc/issue", marks=rule("banner-issue")),
        pytest.param("/etc/issue.net", marks=rule("banner-issue-net")),
        pytest.param("/etc/motd", marks=rule("banner-motd")),
    ],
)
def test_text(host: Host, name: str) -> None:
    expect(name, read(host, name), that=warns, expected="a warning in Korean and English")


@pytest.mark.parametrize("name", FILES)
@rule("banner-version")
def test_version(host: Host, name: str) -> None:
    text = read(host, name) or ""
    found = ESCAPE.findall(text) + [match.group() for match in SYSTEM.finditer(text)]
    expect(f"what {name} tells of the system", found, equals=[])


def parts(host: Host) -> Mapping[str, str]:
    """Return the parts of the message of the day that are shown: one in /etc hides one of the same name in /usr/lib."""
    shown = dict(texts(host, "/usr/lib/motd.d/* /run/motd.d/*"))
    hiding = {name.rsplit("/", 1)[-1] for name in paths(host, "/etc/motd.d/*")}
    shown = {name: text for name, text in shown.items() if name.rsplit("/", 1)[-1] not in hiding}
    return {**shown, **texts(host, "/etc/motd.d/*")}


@rule("banner-motd-parts")
def test_motd_parts(host: Host) -> None:
    found = [name for name, text in parts(host).items() if SYSTEM.search(text) or name.startswith("/usr/lib/")]
    expect("parts of the message of the day that tell of the system", found, equals=[])


@rule("banner-update-motd")
def test_update_motd(host: Host) -> None:
    there = paths(host, "/usr/sbin/update-motd /usr/bin/update-motd /var/lib/update-motd")
    link = path(host, "/etc/motd", follow=False)
    expect("/etc/motd", link and link.kind, that=lambda kind: kind.startswith("regular"), expected="a plain file")
    if there:
        expect("/var/lib/update-motd/disabled", path(host, "/var/lib/update-motd/disabled") and "there", equals="there")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("/etc/issue", marks=rule("banner-issue-mode")),
        pytest.param("/etc/issue.net", marks=rule("banner-issue-net-mode")),
        pytest.param("/etc/motd", marks=rule("banner-motd-mode")),
    ],
)
def test_mode(host: Host, name: str) -> None:
    facts = path(host, name)
    expect(f"owner of {name}", facts and f"{facts.owner}:{facts.group}", equals="root:root")
    expect(f"mode of {name}", facts and facts.octal, that=lambda mode: not int(mode, 8) & ~0o644, expected="0644 or less")
