"""Whether the host follows one trusted clock, serves it to nobody, and keeps at it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.suite import Host, Parameters, ask, expect, has_package, path, rule, texts, units

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = "/etc/chrony.conf /etc/chrony.d/*.conf /etc/chrony.d/*.sources /run/chrony.d/*.sources"
RIVALS = ("ntpd.service", "ntpdate.service", "sntp.service", "openntpd.service", "ntpsec.service", "systemd-timesyncd.service")
UTC = {"UTC", "Etc/UTC", "UCT", "Etc/UCT", "Universal", "Etc/Universal", "Zulu", "Etc/Zulu"}


def directives(host: Host) -> Iterator[list[str]]:
    """Yield the words of each directive of chronyd's main file and of the folders that it names."""
    files = texts(host, FILES)
    main = list(words(files.get("/etc/chrony.conf", "")))
    yield from main
    folders = {folder.rstrip("/") for line in main if line[0] in {"confdir", "sourcedir"} for folder in line[1:]}
    for name, text in files.items():
        if name.rpartition("/")[0] in folders:
            yield from words(text)


def words(text: str) -> Iterator[list[str]]:
    """Yield the words of each line that is no comment, the keyword in lower case (chrony.conf(5))."""
    for line in text.splitlines():
        found = line.split()
        if found and found[0][0] not in "!;#%":
            yield [found[0].lower(), *found[1:]]


@rule("time-chrony-installed")
def test_chrony_installed(host: Host) -> None:
    expect("package chrony", has_package(host, "chrony"), equals=True)


@rule("time-chrony-enabled")
def test_chrony_enabled(host: Host) -> None:
    found = units(host, ("chronyd.service", *RIVALS))["chronyd.service"]
    expect("chronyd.service at boot", found.file, equals="enabled")
    expect("chronyd.service now", found.active, equals="active")


@rule("time-source")
def test_source(host: Host, parameters: Parameters) -> None:
    sources = [line[1] for line in directives(host) if line[0] in {"server", "pool", "peer"} and len(line) > 1]
    expect("time sources of chronyd", sources, includes=parameters.words("time_servers"))


@rule("time-step")
def test_step(host: Host) -> None:
    steps = [" ".join(line[1:3]) for line in directives(host) if line[0] == "makestep"]
    expect("makestep of chronyd", steps[-1] if steps else None, matches=r"^(?!0+(\.0*)? )\d+(\.\d+)? (-1|[1-9]\d*)$")


@rule("time-user")
def test_user(host: Host) -> None:
    users = [line[1] for line in directives(host) if line[0] == "user" and len(line) > 1]
    expect("user that chronyd changes to", users[-1] if users else None, equals="chrony")
    running = ask(host, "ps -C chronyd -o user=", accept=(0, 1)).split()
    expect("users that chronyd runs as", running, lacks=["root"])


@rule("time-not-served")
def test_not_served(host: Host) -> None:
    served = [" ".join(line) for line in directives(host) if line[0] in {"allow", "cmdallow"}]
    expect("directives of chronyd that serve others", served, equals=[])


@rule("time-key-file")
def test_key_file(host: Host) -> None:
    facts = path(host, "/etc/chrony.keys")
    if facts is None:
        expect("/etc/chrony.keys", None, equals=None, expected="absent, or 0640 or less")
    else:
        expect("mode of /etc/chrony.keys", facts.octal, equals=facts.octal if not facts.beyond(0o640) else "0640", expected="0640 or less")


@rule("time-single-daemon")
def test_single_daemon(host: Host) -> None:
    found = units(host, ("chronyd.service", *RIVALS))
    expect("other time services that run or can start", [name for name in RIVALS if not found[name].off], equals=[])


@rule("time-zone")
def test_zone(host: Host, parameters: Parameters) -> None:
    wanted = parameters["time_zone"]
    link = ask(
        host, "if [ -L /etc/localtime ]; then readlink /etc/localtime; elif [ -e /etc/localtime ]; then echo a file; else echo UTC; fi"
    )
    name = re.sub(r"^.*/zoneinfo/", "", link)
    if wanted in UTC:
        expect("time zone", name, one_of=sorted(UTC))
    else:
        expect("time zone", name, equals=wanted or name, expected=wanted or "anything: time_zone is empty")


@rule("time-synchronised")
def test_synchronised(host: Host) -> None:
    # Over the loopback interface: without -h, chronyc makes itself a socket in /run/chrony.
    said = ask(host, "chronyc -h 127.0.0.1,::1 -n -c tracking").split(",")
    expect("leap status of chronyd", said[-1], equals="Normal")
