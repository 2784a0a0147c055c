"""Whether the kernel records who did what, and whether nobody can make it stop."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from harness.suite import (
    REMEMBERED,
    CannotTell,
    Host,
    Parameters,
    ask,
    expect,
    has_package,
    key_values,
    path,
    read,
    rule,
    texts,
    unit,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

USERS = frozenset({"auid>=1000", "auid!=unset"})
TOOLS = ("/sbin/auditctl", "/sbin/auditd", "/sbin/augenrules", "/sbin/ausearch", "/sbin/aureport", "/sbin/autrace")
CRON = ("/etc/crontab", "/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly", "/var/spool/cron")
LEGACY = frozenset({"chmod", "chown", "lchown", "creat", "open", "unlink", "rename"})
"""System calls that x86 has and arm64 never had."""


WATCHES: Sequence[tuple[tuple[str, ...], str, str]] = (
    (("/etc/localtime", "/etc/chrony.conf"), "wa", "auditd-rules-time-change"),
    (
        ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/security/opasswd", "/etc/nsswitch.conf", "/etc/pam.d"),
        "wa",
        "auditd-rules-identity",
    ),
    (
        ("/etc/issue", "/etc/issue.net", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/sysconfig/network"),
        "wa",
        "auditd-rules-system-locale",
    ),
    (("/etc/selinux", "/usr/share/selinux"), "wa", "auditd-rules-mac-policy"),
    (("/var/log/lastlog", "/var/run/faillock"), "wa", "auditd-rules-logins"),
    (("/var/run/utmp", "/var/log/wtmp", "/var/log/btmp"), "wa", "auditd-rules-session"),
    (("/etc/sudoers", "/etc/sudoers.d"), "wa", "auditd-rules-sudo-scope"),
    (("/var/log/sudo.log",), "wa", "auditd-rules-sudo-log"),
    (("/etc/modprobe.d",), "wa", "auditd-rules-modules"),
    (("/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d"), "wa", "auditd-rules-sshd"),
    (("/etc/audit", "/etc/libaudit.conf"), "wa", "auditd-rules-audit-config"),
    (TOOLS, "x", "auditd-rules-audit-tools"),
    ((*CRON, "/etc/systemd/system"), "wa", "auditd-rules-scheduled"),
)
"""Paths, what of them is watched, and the rule that asks for it."""
THERE = f"""for p in {" ".join(name for names, _, _ in WATCHES for name in names)}; do
[ ! -d "${{p%/*}}" ] || printf '%s\\n' "$p"; done"""
"""Which of them lie in a folder that exists: what lies in none cannot be watched."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One `-a always,exit` rule or watch, in one form."""

    arch: str | None
    calls: frozenset[str]
    filters: frozenset[str]
    """`-F` and `-C` conditions other than arch, path, dir and perm; an event must meet all of them."""
    target: str | None
    permissions: frozenset[str]

    def sees(self, call: str, arch: str, filters: frozenset[str]) -> bool:
        """Tell whether it records this call at least for the events that `filters` describe."""
        return self.target is None and self.arch in {arch, None} and bool({call, "all"} & self.calls) and self.filters <= filters


def words_of(line: str) -> Recording | None:
    """Read one line of audit.rules; None for control lines and for what records nothing."""
    words = line.split()
    arch, target = None, None
    calls: set[str] = set()
    filters: set[str] = set()
    permissions: set[str] = set()
    always = False
    for option, value in pairwise(words):
        match option:
            case "-a" | "-A":
                always = set(value.split(",")) == {"always", "exit"}
            case "-S":
                calls |= set(value.split(","))
            case "-F" if found := re.fullmatch(r"(arch|path|dir|perm)=(.+)", value):
                arch = found[2] if found[1] == "arch" else arch
                target = found[2] if found[1] in {"path", "dir"} else target
                permissions |= set(found[2]) if found[1] == "perm" else set()
            case "-F" | "-C":
                filters.add(re.sub(r"=(4294967295|-1)$", "=unset", value))
            case "-w":
                always, target = True, value
            case "-p":
                permissions |= set(value)
    if not always:
        return None
    everything = frozenset("rwxa") if target else frozenset[str]()
    target = target.rstrip("/") if target else None
    return Recording(arch, frozenset(calls), frozenset(filters), target, frozenset(permissions) or everything)


def lines(host: Host) -> Sequence[str]:
    """Return the active lines of the file that auditd loads at boot; none when there is no such file."""
    return lines_of(read(host, "/etc/audit/audit.rules") or "")


@lru_cache(REMEMBERED)
def lines_of(text: str) -> Sequence[str]:
    """Return the active lines of a file of audit rules."""
    return tuple(" ".join(line.split()) for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))


def recordings(host: Host) -> Sequence[Recording]:
    """Return what these lines record."""
    return recordings_of(lines(host))


@lru_cache(REMEMBERED)
def recordings_of(rules: Sequence[str]) -> Sequence[Recording]:
    """Return what lines of audit rules record."""
    return tuple(found for line in rules if (found := words_of(line)))


def arches(host: Host) -> Sequence[str]:
    """Return the ABIs whose system calls can be called on this machine."""
    return ("b64", "b32") if ask(host, "uname -m") == "x86_64" else ("b64",)


def unseen_calls(host: Host, wanted: Iterable[str], filters: frozenset[str] = frozenset()) -> list[str]:
    """Return the system calls that no rule records, per ABI."""
    rules, machine = recordings(host), arches(host)
    known = [call for call in wanted if "b32" in machine or call not in LEGACY]
    return [f"{call} ({arch})" for arch in machine for call in known if not any(each.sees(call, arch, filters) for each in rules)]


def unseen_paths(host: Host, wanted: Iterable[str], permissions: str = "wa") -> list[str]:
    """Return those of the paths of WATCHES that no rule watches."""
    there = set(ask(host, THERE).splitlines())
    rules = recordings(host)
    return [
        name
        for name in wanted
        if name in there
        and not any(
            each.target is not None and (name == each.target or name.startswith(each.target + "/")) and set(permissions) <= each.permissions
            for each in rules
        )
    ]


def control(host: Host, option: str) -> str | None:
    """Return the value of a control line (`-b 8192`); the last one counts."""
    return next((line.split()[1] for line in reversed(lines(host)) if line.startswith(option + " ")), None)


def settings(host: Host) -> dict[str, str]:
    """Return auditd.conf with lower-case keys and values."""
    return {key.lower(): value.lower() for key, value in key_values(read(host, "/etc/audit/auditd.conf")).items()}


@rule("auditd-installed")
def test_installed(host: Host) -> None:
    expect("package audit", has_package(host, "audit"), equals=True)


@rule("auditd-enabled")
def test_enabled(host: Host) -> None:
    expect("auditd.service", unit(host, "auditd.service").file, equals="enabled")


@rule("auditd-active")
def test_active(host: Host) -> None:
    expect("auditd.service", unit(host, "auditd.service").active, equals="active")


@rule("auditd-boot-argument")
def test_boot_argument(host: Host) -> None:
    expect("kernel command line", ask(host, "cat /proc/cmdline").split(), includes=["audit=1"])


@rule("auditd-boot-backlog")
def test_boot_backlog(host: Host, parameters: Parameters) -> None:
    values = key_values(ask(host, "cat /proc/cmdline").replace(" ", "\n"))
    expect(
        "audit_backlog_limit on the kernel command line",
        values.get("audit_backlog_limit"),
        at_least=parameters.integer("auditd_backlog_limit"),
    )


@pytest.mark.parametrize(
    ("key", "parameter"),
    [
        pytest.param("max_log_file", "auditd_max_log_file", marks=rule("auditd-log-size")),
        pytest.param("num_logs", "auditd_num_logs", marks=rule("auditd-log-count")),
    ],
)
def test_log_number(host: Host, parameters: Parameters, key: str, parameter: str) -> None:
    expect(key, settings(host).get(key), at_least=parameters.integer(parameter))


@pytest.mark.parametrize(
    ("key", "parameter"),
    [
        pytest.param("max_log_file_action", "auditd_max_log_file_action", marks=rule("auditd-log-action")),
        pytest.param("space_left_action", "auditd_space_left_action", marks=rule("auditd-space-left")),
        pytest.param("admin_space_left_action", "auditd_disk_full_action", marks=rule("auditd-disk-full")),
        pytest.param("disk_full_action", "auditd_disk_full_action", marks=rule("auditd-disk-full")),
        pytest.param("disk_error_action", "auditd_disk_full_action", marks=rule("auditd-disk-full")),
    ],
)
def test_action(host: Host, parameters: Parameters, key: str, parameter: str) -> None:
    expect(key, settings(host).get(key), equals=parameters[parameter])


@pytest.mark.parametrize("key", [pytest.param(key, marks=rule("auditd-writes")) for key in ("write_logs", "local_events")])
def test_writes(host: Host, key: str) -> None:
    """By itself auditd says yes to both; no file at all means no daemon."""
    values = settings(host)
    expect(key, values.get(key, "yes") if values else None, equals="yes")


@rule("auditd-log-permissions")
def test_log_permissions(host: Host) -> None:
    expect("log_group", settings(host).get("log_group", "root"), equals="root")
    folder = path(host, "/var/log/audit")
    expect("/var/log/audit", folder and f"{folder.owner}:{folder.group}", equals="root:root")
    text = ask(host, "find /var/log/audit -maxdepth 1 -ignore_readdir_race -printf '%m %U %y %p\\n'")
    found = [line.split(" ", 3) for line in text.splitlines()]
    wide = [
        f"{name} {mode} uid {uid}" for mode, uid, kind, name in found if int(mode, 8) & ~(0o700 if kind == "d" else 0o600) or uid != "0"
    ]
    expect("folder beyond 0700, logs beyond 0600, or of another owner", sorted(wide), equals=[])


@rule("auditd-config-permissions")
def test_config_permissions(host: Host) -> None:
    search = r"find /etc/audit -type f \( -name '*.conf' -o -name '*.rules' \) -printf '%m %U %p\n'"
    text = ask(host, f"if [ -e /etc/audit ]; then {search}; fi")
    found = [line.split(" ", 2) for line in text.splitlines()]
    wide = [f"{name} {mode} uid {uid}" for mode, uid, name in found if int(mode, 8) & ~0o640 or uid != "0"]
    expect("files", len(found), at_least=1)
    expect("files beyond 0640 or of another owner", sorted(wide), equals=[])


@rule("auditd-tool-permissions")
def test_tool_permissions(host: Host) -> None:
    tools = {name: facts for name in TOOLS if (facts := path(host, name))}
    expect("/sbin/auditctl", "there" if "/sbin/auditctl" in tools else None, equals="there")
    wide = [f"{name} {facts.octal} {facts.owner}" for name, facts in tools.items() if facts.beyond(0o755) or facts.owner != "root"]
    expect("tools beyond 0755 or of another owner", wide, equals=[])


@rule("auditd-no-never-task")
def test_no_never_task(host: Host) -> None:
    never = [line for line in lines(host) if re.match(r"-[aA] (never,task|task,never)\b", line)]
    expect("rules that switch the audit off", never, equals=[])


@rule("auditd-buffer")
def test_buffer(host: Host, parameters: Parameters) -> None:
    expect("-b", control(host, "-b"), at_least=parameters.integer("auditd_backlog_limit"))


@rule("auditd-failure-flag")
def test_failure_flag(host: Host) -> None:
    expect("-f", control(host, "-f"), one_of=("1", "2"))


@rule("auditd-rules-merged")
def test_merged(host: Host) -> None:
    """Every -a and -w line is kept by augenrules, so what rules.d has and audit.rules lacks was never merged."""
    sources = texts(host, "/etc/audit/rules.d/*.rules")
    wanted = [" ".join(line.split()) for text in sources.values() for line in text.splitlines() if re.match(r"\s*-[aAw]\s", line)]
    loaded = set(lines(host))
    expect("files in rules.d", len(sources), at_least=1)
    expect("rules of rules.d that audit.rules lacks", [line for line in wanted if line not in loaded], equals=[])


@pytest.mark.parametrize(
    ("calls", "filters"),
    [
        pytest.param(("adjtimex", "settimeofday", "clock_settime"), frozenset({"a0=0x0"}), marks=rule("auditd-rules-time-change")),
        pytest.param(("sethostname", "setdomainname"), frozenset(), marks=rule("auditd-rules-system-locale")),
        pytest.param(("chmod", "fchmod", "fchmodat"), USERS, marks=rule("auditd-rules-permissions")),
        pytest.param(("chown", "lchown", "fchown", "fchownat"), USERS, marks=rule("auditd-rules-permissions")),
        pytest.param(
            ("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"),
            USERS,
            marks=rule("auditd-rules-permissions"),
        ),
        pytest.param(("creat", "open", "openat", "truncate", "ftruncate"), USERS | {"exit=-EACCES"}, marks=rule("auditd-rules-access")),
        pytest.param(("creat", "open", "openat", "truncate", "ftruncate"), USERS | {"exit=-EPERM"}, marks=rule("auditd-rules-access")),
        pytest.param(("mount",), USERS, marks=rule("auditd-rules-mounts")),
        pytest.param(("unlink", "unlinkat", "rename", "renameat", "renameat2"), USERS, marks=rule("auditd-rules-deletion")),
        pytest.param(("execve",), frozenset({"euid!=uid", "auid!=unset"}), marks=rule("auditd-rules-user-emulation")),
        pytest.param(("init_module", "finit_module", "delete_module"), USERS, marks=rule("auditd-rules-modules")),
    ],
)
def test_calls(host: Host, calls: tuple[str, ...], filters: frozenset[str]) -> None:
    what = f" with {', '.join(sorted(filters))}" if filters else ""
    expect(f"system calls{what} that no rule records", unseen_calls(host, calls, filters), equals=[])


@pytest.mark.parametrize(("paths", "permissions"), [pytest.param(*what, marks=rule(name)) for *what, name in WATCHES])
def test_watches(host: Host, paths: tuple[str, ...], permissions: str) -> None:
    expect(f"paths without a watch ({permissions})", unseen_paths(host, paths, permissions), equals=[])


@rule("auditd-rules-privileged")
def test_privileged(host: Host) -> None:
    programs = [each.path for each in walk(host) if each.kind == "f" and each.mode & 0o6000]
    seen = {each.target for each in recordings(host) if "x" in each.permissions and each.filters <= USERS}
    expect("programs found", len(programs), at_least=1)
    expect("SUID and SGID programs that no rule records", sorted(set(programs) - seen), equals=[])


@rule("auditd-rules-locked")
def test_rules_locked(host: Host) -> None:
    found = lines(host)
    expect("last line of audit.rules", found[-1] if found else None, equals="-e 2")


@rule("auditd-loaded")
def test_loaded(host: Host) -> None:
    text = ask(host, "auditctl -l")
    loaded = [line for line in text.splitlines() if line.startswith(("-a", "-w"))]
    expect(
        "rules in the kernel that switch the audit off",
        [line for line in loaded if "never,task" in line or "task,never" in line],
        equals=[],
    )
    expect("rules in the kernel", len(loaded), at_least=max(1, sum(line.startswith(("-a", "-A", "-w")) for line in lines(host))))


@rule("auditd-locked")
def test_locked(host: Host) -> None:
    found = re.search(r"^enabled (\d)", ask(host, "auditctl -s"), re.MULTILINE)
    if not found:
        message = "auditctl -s does not say whether audit is enabled"
        raise CannotTell(message)
    expect("enabled", found[1], equals="2")
