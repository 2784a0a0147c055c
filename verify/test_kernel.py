"""Whether the kernel refuses what a server in EC2 never needs, now and after the next boot."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import pytest

from harness.suite import REMEMBERED, Host, Parameters, ask, expect, key_values, rule, texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BOOT = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
"""Folders of sysctl.d in systemd's order: of two files with one name, the first folder's counts (sysctl.d(5))."""

SYSTEM = ("/run", "/etc", "/usr/local/lib", "/usr/lib", "/lib")
"""The same in procps' order, before version 4 (sysctl(8))."""

FILES = " ".join(f"{folder}/sysctl.d/*.conf" for folder in BOOT) + " /etc/sysctl.conf"


class Setting(NamedTuple):
    """What a rule asks of a key under /proc/sys; `*` stands for `all`, `default` and every interface."""

    rule: str
    key: str
    value: str
    """A number, or the name of the parameter that holds it."""
    or_more: bool = False

    def wanted(self, parameters: Parameters) -> int:
        """Return the number."""
        return int(self.value) if self.value.isdigit() else parameters.integer(self.value)

    def judge(self, what: str, observed: str | None, wanted: int) -> None:
        """Compare one value."""
        if self.or_more:
            expect(what, observed, at_least=wanted)
        else:
            expect(what, observed, equals=str(wanted))


NETWORK = (
    Setting("kernel-ip-forward", "net/ipv4/ip_forward", "kernel_ip_forward"),
    Setting("kernel-ipv6-forward", "net/ipv6/conf/all/forwarding", "kernel_ipv6_forward"),
    Setting("kernel-send-redirects", "net/ipv4/conf/*/send_redirects", "0"),
    Setting("kernel-accept-redirects", "net/ipv4/conf/*/accept_redirects", "0"),
    Setting("kernel-ipv6-accept-redirects", "net/ipv6/conf/*/accept_redirects", "0"),
    Setting("kernel-secure-redirects", "net/ipv4/conf/*/secure_redirects", "0"),
    Setting("kernel-source-route", "net/ipv4/conf/*/accept_source_route", "0"),
    Setting("kernel-ipv6-source-route", "net/ipv6/conf/*/accept_source_route", "0"),
    Setting("kernel-reverse-path", "net/ipv4/conf/*/rp_filter", "kernel_reverse_path"),
    Setting("kernel-log-martians", "net/ipv4/conf/*/log_martians", "1"),
    Setting("kernel-ipv6-router-advertisements", "net/ipv6/conf/*/accept_ra", "kernel_router_advertisements"),
    Setting("kernel-icmp-broadcasts", "net/ipv4/icmp_echo_ignore_broadcasts", "1"),
    Setting("kernel-icmp-bogus-errors", "net/ipv4/icmp_ignore_bogus_error_responses", "1"),
    Setting("kernel-syn-cookies", "net/ipv4/tcp_syncookies", "1"),
)
"""A container has a network of its own, so both the running and the persisted value can be judged anywhere."""

SYSTEM_WIDE = (
    Setting("kernel-address-randomization", "kernel/randomize_va_space", "2"),
    Setting("kernel-kptr-restrict", "kernel/kptr_restrict", "1", or_more=True),
    Setting("kernel-dmesg-restrict", "kernel/dmesg_restrict", "1"),
    Setting("kernel-ptrace-scope", "kernel/yama/ptrace_scope", "kernel_ptrace_scope", or_more=True),
    Setting("kernel-sysrq", "kernel/sysrq", "kernel_sysrq"),
    Setting("kernel-unprivileged-bpf", "kernel/unprivileged_bpf_disabled", "1", or_more=True),
    Setting("kernel-setuid-dumpable", "fs/suid_dumpable", "0"),
    Setting("kernel-protected-hardlinks", "fs/protected_hardlinks", "1"),
    Setting("kernel-protected-symlinks", "fs/protected_symlinks", "1"),
    Setting("kernel-protected-fifos", "fs/protected_fifos", "1", or_more=True),
    Setting("kernel-protected-regular", "fs/protected_regular", "1", or_more=True),
)
"""The kernel is shared with a container's host: the files are judged anywhere, the running values where it is our own."""

RUNNING = (
    f"for f in {' '.join(f'/proc/sys/{setting.key}' for setting in (*NETWORK, *SYSTEM_WIDE))}; do "
    "if read -r value 2>/dev/null <$f; then echo $f=$value; elif [ -e $f ]; then echo $f cannot be read >&2; exit 1; fi; done"
)
"""One command for all; a network interface that vanishes meanwhile is no matter."""

MODULES = "dccp sctp rds tipc cramfs freevxfs hfs hfsplus jffs2 udf usb-storage"


def canonical(key: str) -> str:
    """Write a key as a path: of `.` and `/`, the one that comes first separates and the other stands for itself."""
    key = key.removeprefix("-")
    found = re.search(r"[./]", key)
    return key.translate(str.maketrans("./", "/.")) if found and found[0] == "." else key


def assignments(text: str) -> Iterable[tuple[str, str]]:
    """Yield the keys and values of a sysctl.d file; without `=` a line only excludes a key from a pattern."""
    for raw in text.splitlines():
        line = raw.strip()
        if "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            yield canonical(key.strip()), value.strip()


def in_order(files: Mapping[str, str], folders: Iterable[str], part: str) -> list[str]:
    """Return the texts of drop-in files in the order of their names; a folder hides files of the same name in later ones."""
    chosen: dict[str, str] = {}
    for folder in folders:
        for path, text in files.items():
            parent, _, name = path.rpartition("/")
            if parent == f"{folder}/{part}":
                chosen.setdefault(name, text)
    return [chosen[name] for name in sorted(chosen)]


def persisted(files: Mapping[str, str]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return what the files say at boot (systemd-sysctl) and when somebody types `sysctl --system`, which reads sysctl.conf last."""
    return said_by(tuple(files.items()))


@lru_cache(REMEMBERED)
def said_by(named: tuple[tuple[str, str], ...]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Read the files; all of the two dozen rules go by the same."""
    files = dict(named)
    boot = in_order(files, BOOT, "sysctl.d")
    system = [*in_order(files, SYSTEM, "sysctl.d"), files.get("/etc/sysctl.conf", "")]
    first, second = (dict(pair for text in view for pair in assignments(text)) for view in (boot, system))
    return first, second


def told(said: Mapping[str, str], key: str) -> str | None:
    """Return the value for a key: an exact line beats a pattern such as `net.ipv4.conf.*.rp_filter`."""
    parts = key.split("/")
    pattern = "/".join([*parts[:3], "*", *parts[4:]]) if parts[2:3] == ["conf"] else key
    return said.get(key, said.get(pattern))


def judge_files(host: Host, parameters: Parameters, setting: Setting) -> None:
    """Judge what the files say for `all` and `default`, and that no line makes an exception for one interface."""
    wanted = setting.wanted(parameters)
    keys = [setting.key.replace("*", part) for part in ("all", "default")] if "*" in setting.key else [setting.key]
    for view, said in zip(("at boot", "by sysctl --system"), persisted(texts(host, FILES)), strict=True):
        for key in keys:
            setting.judge(f"{key} {view}", told(said, key), wanted)
        family = re.compile(re.escape(setting.key).replace(r"\*", r"[^/*]+"))
        for key, value in said.items():
            if family.fullmatch(key) and key not in keys:
                setting.judge(f"{key} {view}", value, wanted)


def running(host: Host) -> dict[str, str]:
    """Return the running values of every key and interface that a rule speaks of."""
    return {key.removeprefix("/proc/sys/"): value for key, _, value in (line.partition("=") for line in ask(host, RUNNING).splitlines())}


def judge_running(host: Host, parameters: Parameters, setting: Setting) -> None:
    """Judge the running value, of every interface if it is a matter of interfaces; a kernel without the key has nothing to judge."""
    family = re.compile(re.escape(setting.key).replace(r"\*", r"[^/]+"))
    for key, value in running(host).items():
        if family.fullmatch(key):
            setting.judge(f"/proc/sys/{key}", value, setting.wanted(parameters))


@pytest.mark.parametrize("setting", [pytest.param(setting, id=setting.rule, marks=rule(setting.rule)) for setting in NETWORK])
def test_network(host: Host, parameters: Parameters, setting: Setting) -> None:
    judge_files(host, parameters, setting)
    judge_running(host, parameters, setting)


@pytest.mark.parametrize("setting", [pytest.param(setting, id=setting.rule, marks=rule(setting.rule)) for setting in SYSTEM_WIDE])
def test_system_wide(host: Host, parameters: Parameters, setting: Setting) -> None:
    judge_files(host, parameters, setting)


@rule("kernel-running-values")
def test_running_values(host: Host, parameters: Parameters) -> None:
    for setting in SYSTEM_WIDE:
        judge_running(host, parameters, setting)


@rule("kernel-new-interfaces")
def test_new_interfaces(host: Host, parameters: Parameters) -> None:
    lines = [line for text in texts(host, "/etc/udev/rules.d/*.rules").values() for line in text.splitlines()]
    found = [line for line in lines if 'SUBSYSTEM=="net"' in line and not line.startswith("#")]
    for setting in NETWORK:
        if "*" in setting.key:
            assignment = f"{setting.key.replace('*', '$name')}={setting.wanted(parameters)}"
            expect("udev rules for network interfaces", " ".join(found), includes=[assignment])


@pytest.mark.parametrize("module", [pytest.param(module, id=module, marks=rule(f"kernel-module-{module}")) for module in MODULES.split()])
def test_module(host: Host, parameters: Parameters, module: str) -> None:
    if module not in parameters.words("kernel_disabled_modules"):
        expect(module, "left alone", equals="left alone", expected="nothing: kernel_disabled_modules does not name it")
        return
    files = texts(host, " ".join(f"{folder}/modprobe.d/*.conf" for folder in BOOT))
    lines = [line.split() for text in in_order(files, BOOT, "modprobe.d") for line in text.splitlines()]
    name = module.replace("-", "_")
    installs = [" ".join(words[2:]) for words in lines if words[:1] == ["install"] and words[1].replace("-", "_") == name]
    # Of several install lines, modprobe takes the first.
    expect(f"how modprobe loads {module}", installs[0] if installs else None, matches=r"^(/usr)?/bin/(false|true)$")
    # By an alias, that is for a device or a socket, it is loaded unless it is on the black list.
    hidden = {words[1].replace("-", "_") for words in lines if words[:1] == ["blacklist"]}
    expect("black list of modprobe", hidden, includes=[name])


@rule("kernel-modules-unloaded")
def test_modules_unloaded(host: Host, parameters: Parameters) -> None:
    loaded = {line.split()[0] for line in ask(host, "cat /proc/modules").splitlines()}
    disabled = {module.replace("-", "_") for module in parameters.words("kernel_disabled_modules")}
    expect("loaded modules that are disabled", loaded & disabled, equals=set())


@rule("kernel-core-limit")
def test_core_limit(host: Host) -> None:
    files = texts(host, "/etc/security/limits.conf /etc/security/limits.d/*.conf")
    lines = [line.split() for text in files.values() for line in text.splitlines() if not line.lstrip().startswith("#")]
    hard = [(words[0], words[3]) for words in lines if len(words) >= 4 and words[1] in {"hard", "-"} and words[2] == "core"]
    expect("hard limit for everybody's core files", dict(hard).get("*"), equals="0")
    expect("hard limits for core files", [value for _, value in hard], within=["0"])


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        pytest.param("Storage", "none", id="storage", marks=rule("kernel-core-storage")),
        pytest.param("ProcessSizeMax", "0", id="backtrace", marks=rule("kernel-core-backtrace")),
    ],
)
def test_core_dump(host: Host, key: str, wanted: str) -> None:
    folders = [f"{folder}/systemd" for folder in BOOT]
    files = texts(host, "/etc/systemd/coredump.conf " + " ".join(f"{folder}/coredump.conf.d/*.conf" for folder in folders))
    said = [files.get("/etc/systemd/coredump.conf", ""), *in_order(files, folders, "coredump.conf.d")]
    expect(f"{key} of systemd-coredump", key_values("\n".join(said)).get(key), equals=wanted)
