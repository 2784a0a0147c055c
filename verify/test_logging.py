"""Whether the system writes down what happens, for long enough, and for the right eyes only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from harness.suite import Host, Parameters, ask, expect, has_package, key_values, path, rule, texts, unit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RSYSLOG = "/etc/rsyslog.conf /etc/rsyslog.d/*.conf"
JOURNALD = (
    "/usr/lib/systemd/journald.conf /etc/systemd/journald.conf "
    "/usr/lib/systemd/journald.conf.d/*.conf /run/systemd/journald.conf.d/*.conf /etc/systemd/journald.conf.d/*.conf"
)
FACILITY = r"(?:\*|auth|authpriv|cron|daemon|kern|lpr|mail|mark|news|security|syslog|user|uucp|local[0-7])"
SELECTOR = re.compile(rf"^\s*(?P<selector>{FACILITY}(?:,{FACILITY})*\.[a-z*=!]+\S*)\s+(?P<action>\S.*)$", re.IGNORECASE)
FILE = re.compile(r"""^-?(?P<plain>/[^\s;]+)|file="(?P<named>[^"]+)\"""")
MODE = re.compile(r"""filecreatemode\s*=?\s*"?(?P<mode>[0-7]{3,4})""", re.IGNORECASE)
DAYS = {"hourly": 1 / 24, "after 1 days": 1, "daily": 1, "weekly": 7, "monthly": 30, "yearly": 365}
SYSTEM_LOGS = (
    r"-name messages -o -name secure -o -name cron -o -name maillog -o -name spooler -o -name boot.log -o -name sudo.log "
    r"-o -name 'cloud-init*.log' -o -name yum.log -o -name 'dnf*.log' -o -name hawkey.log -o -name wtmp -o -name btmp -o -name lastlog"
)


@dataclass(frozen=True, slots=True)
class Selector:
    """One line of rsyslog that sends messages somewhere, with the mode in force for files made by it."""

    selector: str
    action: str
    mode: int

    @property
    def file(self) -> str | None:
        """The file it writes; None for other actions."""
        found = FILE.search(self.action)
        return (found["plain"] or found["named"]) if found else None

    def takes(self, facility: str) -> bool:
        """Tell whether messages of this facility come through from priority `info` on."""
        verdict = False
        for part in self.selector.lower().split(";"):
            facilities, _, priority = part.partition(".")
            if "*" in facilities.split(",") or facility in facilities.split(","):
                verdict = priority in {"*", "debug", "info"}
        return verdict


def wants_rsyslog(parameters: Parameters) -> bool:
    """Record it when the baseline has the journal as its only log: then the rules on rsyslog ask for nothing."""
    if parameters.flag("logging_rsyslog"):
        return True
    expect("logging_rsyslog", parameters["logging_rsyslog"], equals="false")
    return False


def rsyslog(host: Host) -> str:
    """Return what rsyslog reads, its drop-ins at the place where they are included, without comments."""
    files = texts(host, RSYSLOG)
    dropins = "\n".join(text for name, text in files.items() if name.startswith("/etc/rsyslog.d/"))
    lines: list[str] = []
    for line in files.get("/etc/rsyslog.conf", "").splitlines():
        if re.match(r"\s*(\$IncludeConfig\s|include\().*/etc/rsyslog\.d/", line, re.IGNORECASE):
            lines.extend(dropins.splitlines())
        else:
            lines.append(line)
    return "\n".join(line.split("#", 1)[0].rstrip() for line in lines)


def selectors(host: Host) -> Iterator[Selector]:
    """Walk through the configuration as rsyslog does: a mode counts for the lines after it."""
    mode = 0o644
    for line in rsyslog(host).splitlines():
        if line.lstrip().lower().startswith(("$filecreatemode", "module(")) and (found := MODE.search(line)):
            mode = int(found["mode"], 8)
        elif found := SELECTOR.match(line):
            own = MODE.search(found["action"])
            yield Selector(found["selector"], found["action"], int(own["mode"], 8) if own else mode)


def journald(host: Host) -> Mapping[str, str]:
    """Return journald's settings as systemd merges them: drop-ins by file name over the main file, /etc over /run over /usr."""
    files = texts(host, JOURNALD)
    main = next((text for name, text in reversed(list(files.items())) if ".d/" not in name), "")
    dropins: dict[str, str] = {}
    for name, text in files.items():
        if ".d/" in name:
            dropins[name.rsplit("/", 1)[1]] = text
    return key_values("\n".join([main, *(dropins[name] for name in sorted(dropins))]))


def kept_days(host: Host) -> Mapping[str, float]:
    """Return, per log, the days that its rotated files stay, from what logrotate itself says it would do."""
    text = ask(host, "logrotate -d /etc/logrotate.conf 2>&1", accept=(0, 1, 127))
    days: dict[str, float] = {}
    for block in re.split(r"^rotating pattern: ", text, flags=re.MULTILINE)[1:]:
        head = block.split("empty log files", 1)[0]
        found = re.search(r"(hourly|after 1 days|daily|weekly|monthly|yearly)\s+\((\d+) rotations\)", head)
        if found:
            names = head[: found.start()].replace('"', "").split()
            days.update(dict.fromkeys(names, DAYS[found[1]] * int(found[2])))
    return days


@rule("logging-rsyslog-installed")
def test_rsyslog_installed(host: Host, parameters: Parameters) -> None:
    if wants_rsyslog(parameters):
        expect("package rsyslog", has_package(host, "rsyslog"), equals=True)


@rule("logging-rsyslog-enabled")
def test_rsyslog_enabled(host: Host, parameters: Parameters) -> None:
    if wants_rsyslog(parameters):
        expect("rsyslog.service", unit(host, "rsyslog.service").file, equals="enabled")


@rule("logging-rsyslog-active")
def test_rsyslog_active(host: Host, parameters: Parameters) -> None:
    if wants_rsyslog(parameters):
        expect("rsyslog.service", unit(host, "rsyslog.service").active, equals="active")


@rule("logging-rsyslog-valid")
def test_rsyslog_valid(host: Host, parameters: Parameters) -> None:
    if wants_rsyslog(parameters):
        result = host.run("if type rsyslogd >/dev/null 2>&1; then rsyslogd -N1 2>&1; else exit 127; fi")
        expect("rsyslogd -N1", {0: "valid", 127: None}.get(result.rc, result.stdout.strip()[-300:]), equals="valid")


@pytest.mark.parametrize(
    ("facility", "file"),
    [
        pytest.param("authpriv", "/var/log/secure", marks=rule("logging-authpriv-file")),
        pytest.param("cron", "/var/log/cron", marks=rule("logging-cron-file")),
        pytest.param("daemon", "/var/log/messages", marks=rule("logging-messages-file")),
    ],
)
def test_selector(host: Host, parameters: Parameters, facility: str, file: str) -> None:
    if wants_rsyslog(parameters):
        expect(f"files with {facility} messages", [line.file for line in selectors(host) if line.takes(facility)], includes=[file])


@rule("logging-emergency-users")
def test_emergency(host: Host, parameters: Parameters) -> None:
    if wants_rsyslog(parameters):
        actions = [line.action.strip() for line in selectors(host) if re.search(r"(^|;)\*\.(emerg|\*)", line.selector)]
        expect("who is told of emergencies", actions, that=lambda found: bool({":omusrmsg:*", "*"} & set(found)), expected=":omusrmsg:*")


@rule("logging-rsyslog-file-mode")
def test_rsyslog_file_mode(host: Host, parameters: Parameters) -> None:
    if wants_rsyslog(parameters):
        allowed = int(parameters["logging_file_mode"], 8)
        wide = sorted({f"{line.file} {line.mode:04o}" for line in selectors(host) if line.file and line.mode & ~allowed})
        expect("log files made with a wider mode", wide, equals=[])


@rule("logging-rsyslog-config-permissions")
def test_rsyslog_config_permissions(host: Host, parameters: Parameters) -> None:
    if wants_rsyslog(parameters):
        search = r"find -L $p -maxdepth 1 -type f -printf '%m %U %p\n'"
        text = ask(host, f"for p in /etc/rsyslog.conf /etc/rsyslog.d; do [ ! -e $p ] || {search} || exit; done")
        files = [line.split(" ", 2) for line in text.splitlines()]
        wide = [f"{name} {mode} uid {uid}" for mode, uid, name in files if int(mode, 8) & ~0o640 or uid != "0"]
        expect("configuration files beyond 0640 or of another owner", wide, equals=[])


@rule("logging-no-remote-reception")
def test_no_remote_reception(host: Host, parameters: Parameters) -> None:
    if wants_rsyslog(parameters):
        inputs = re.findall(
            r"^\s*(?:\$ModLoad\s+(im(?:udp|tcp|ptcp|relp))|module\(\s*load=\"(im(?:udp|tcp|ptcp|relp))\"|\$(?:Input(?:TCP|PTCP|RELP)|UDP)ServerRun\s+(\S+))",
            rsyslog(host),
            re.IGNORECASE | re.MULTILINE,
        )
        expect("inputs from the network", sorted({"".join(found) for found in inputs}), equals=[])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("Storage", "persistent", marks=rule("logging-journal-persistent")),
        pytest.param("Compress", "yes", marks=rule("logging-journal-compressed")),
    ],
)
def test_journald(host: Host, key: str, value: str) -> None:
    expect(key, journald(host).get(key), equals=value)


@rule("logging-journal-size")
def test_journal_size(host: Host, parameters: Parameters) -> None:
    expect("SystemMaxUse", journald(host).get("SystemMaxUse"), equals=parameters["logging_journal_max_use"])


@rule("logging-journal-forward")
def test_journal_forward(host: Host, parameters: Parameters) -> None:
    if wants_rsyslog(parameters):
        expect("ForwardToSyslog", journald(host).get("ForwardToSyslog"), equals="yes")


@rule("logging-journal-directory")
def test_journal_directory(host: Host) -> None:
    facts = path(host, "/var/log/journal")
    expect("/var/log/journal", facts and f"{facts.kind} of {facts.owner}", equals="directory of root")
    if facts:
        expect("permission bits beyond 2755", f"{facts.beyond(0o2755):04o}", equals="0000")


@rule("logging-directory")
def test_log_directory(host: Host) -> None:
    facts = path(host, "/var/log")
    expect("/var/log", facts and f"{facts.owner}:{facts.group}", equals="root:root")
    if facts:
        expect("permission bits beyond 0755", f"{facts.beyond(0o755):04o}", equals="0000")


@rule("logging-file-modes")
def test_file_modes(host: Host, parameters: Parameters) -> None:
    text = ask(host, "find /var/log -xdev -type f ! -path '/var/log/journal/*' -printf '%m %p\\n'")
    allowed = int(parameters["logging_file_mode"], 8)
    login_records = ("/var/log/wtmp", "/var/log/btmp", "/var/log/lastlog")
    files = [line.split(" ", 1) for line in text.splitlines()]
    wide = [f"{name} {mode}" for mode, name in files if int(mode, 8) & ~allowed and not name.startswith(login_records)]
    expect(f"log files beyond {allowed:04o}", sorted(wide), equals=[])


@rule("logging-file-owners")
def test_file_owners(host: Host) -> None:
    text = ask(host, f"find /var/log -maxdepth 1 -type f \\( {SYSTEM_LOGS} \\) ! -uid 0 -printf '%u %p\\n'")
    expect("system logs of another owner", sorted(text.splitlines()), equals=[])


@rule("logging-logrotate-installed")
def test_logrotate_installed(host: Host) -> None:
    expect("package logrotate", has_package(host, "logrotate"), equals=True)


@rule("logging-logrotate-scheduled")
def test_logrotate_scheduled(host: Host) -> None:
    job = path(host, "/etc/cron.daily/logrotate")
    ways = {"logrotate.timer": unit(host, "logrotate.timer").file == "enabled"}
    ways["crond and /etc/cron.daily/logrotate"] = bool(job and job.mode & 0o100) and unit(host, "crond.service").file == "enabled"
    expect("what starts logrotate", [name for name, works in ways.items() if works], that=bool, expected="logrotate.timer or cron.daily")


@rule("logging-retention")
def test_retention(host: Host, parameters: Parameters) -> None:
    days = kept_days(host)
    logs = ("/var/log/messages", "/var/log/secure", "/var/log/cron") if wants_rsyslog(parameters) else ()
    for log in logs:
        expect(f"days that {log} is kept", days.get(log), at_least=parameters.integer("logging_retention_days"))


@rule("logging-retention-logins")
def test_retention_logins(host: Host, parameters: Parameters) -> None:
    days = kept_days(host)
    for log in ("/var/log/wtmp", "/var/log/btmp"):
        expect(f"days that {log} is kept", days.get(log), at_least=parameters.integer("logging_retention_days"))


@rule("logging-sudo-rotation")
def test_sudo_rotation(host: Host, parameters: Parameters) -> None:
    expect(
        "days that /var/log/sudo.log is kept",
        kept_days(host).get("/var/log/sudo.log"),
        at_least=parameters.integer("logging_retention_days"),
    )


@pytest.mark.parametrize(
    ("name", "allowed", "reader"),
    [
        pytest.param("/var/log/btmp", 0o660, "lastb -n 1", marks=rule("logging-failed-logins")),
        pytest.param("/var/log/wtmp", 0o664, "last -n 1", marks=rule("logging-login-records")),
    ],
)
def test_login_records(host: Host, name: str, allowed: int, reader: str) -> None:
    facts = path(host, name)
    expect(name, facts and f"{facts.owner}:{facts.group}", equals="root:utmp")
    if facts:
        expect(f"permission bits of {name} beyond {allowed:04o}", f"{facts.beyond(allowed):04o}", equals="0000")
        expect(f"`{reader}`", host.run(reader).rc, equals=0)
