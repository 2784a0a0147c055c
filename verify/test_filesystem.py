"""Whether files belong to whom they should, and nothing lies around that others could write or run with another's rights."""

from __future__ import annotations

import re

import pytest

from harness.suite import AS_NOBODY, CannotTell, Host, Parameters, PathFacts, ask, expect, key_values, path, paths, read, rule, units, walk

EXACT = {
    "filesystem-root-home": ("/root", 0o700),
    "filesystem-passwd": ("/etc/passwd", 0o644),
    "filesystem-passwd-backup": ("/etc/passwd-", 0o644),
    "filesystem-group": ("/etc/group", 0o644),
    "filesystem-group-backup": ("/etc/group-", 0o644),
    "filesystem-shadow": ("/etc/shadow", 0),
    "filesystem-shadow-backup": ("/etc/shadow-", 0),
    "filesystem-gshadow": ("/etc/gshadow", 0),
    "filesystem-gshadow-backup": ("/etc/gshadow-", 0),
    "filesystem-hosts": ("/etc/hosts", 0o644),
    "filesystem-services": ("/etc/services", 0o644),
    "filesystem-crontab": ("/etc/crontab", 0o600),
    "filesystem-cron-hourly": ("/etc/cron.hourly", 0o700),
    "filesystem-cron-daily": ("/etc/cron.daily", 0o700),
    "filesystem-cron-weekly": ("/etc/cron.weekly", 0o700),
    "filesystem-cron-monthly": ("/etc/cron.monthly", 0o700),
    "filesystem-cron-d": ("/etc/cron.d", 0o700),
}
"""A path that has exactly this mode and belongs to root; all but those in MUST may be absent."""

MUST = {"/root", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/hosts"}

AT_MOST = {
    "filesystem-cron-files": ("/etc/cron.d/*", 0o600),
    "filesystem-cron-commands": ("/usr/bin/crontab /usr/bin/at", 0o750),
    "filesystem-boot-loader": ("/boot/grub2/grub.cfg /boot/grub2/user.cfg", 0o600),
    "filesystem-inetd": ("/etc/inetd.conf /etc/xinetd.conf /etc/xinetd.d/*", 0o600),
    "filesystem-hosts-lpd": ("/etc/hosts.lpd", 0o600),
    "filesystem-exports": ("/etc/exports /etc/exports.d/*", 0o644),
    "filesystem-environment": (
        "/etc/profile /etc/profile.d/* /etc/bashrc /etc/bash.bashrc /etc/environment /etc/csh.cshrc /etc/csh.login",
        0o755,
    ),
}
"""Files that, where they exist, have nothing beyond this mode and belong to root."""

KNOWN = " ".join((*(name for name, _ in EXACT.values()), *(names for names, _ in AT_MOST.values())))

STARTUP = ("/etc/rc.d/", "/etc/init.d/", "/etc/systemd/", "/usr/lib/systemd/")


def known(host: Host) -> dict[str, PathFacts]:
    """Return the facts of the known paths; of a link, those of its target, whose mode is what protects."""
    found: dict[str, PathFacts] = {}
    for name, facts in paths(host, KNOWN).items():
        target = path(host, name) if facts.kind == "symbolic link" else facts
        if target is not None:
            found[name] = target
    return found


@pytest.mark.parametrize(("name", "mode"), [pytest.param(*wanted, id=name, marks=rule(name)) for name, wanted in EXACT.items()])
def test_exact(host: Host, name: str, mode: int) -> None:
    facts = known(host).get(name)
    if facts is None and name not in MUST:
        expect(name, None, equals=None, expected=f"absent, or {mode:04o} root:root")
    else:
        expect(name, f"{facts.octal} {facts.owner}:{facts.group}" if facts else None, equals=f"{mode:04o} root:root")


@pytest.mark.parametrize(("names", "mode"), [pytest.param(*wanted, id=name, marks=rule(name)) for name, wanted in AT_MOST.items()])
def test_at_most(host: Host, names: str, mode: int) -> None:
    patterns = [re.compile(re.escape(name).replace(r"\*", "[^/]*")) for name in names.split()]
    found = {
        name: facts
        for name, facts in known(host).items()
        if facts.kind != "directory" and any(pattern.fullmatch(name) for pattern in patterns)
    }
    loose = [f"{name} {facts.octal} {facts.owner}" for name, facts in found.items() if facts.beyond(mode) or facts.owner != "root"]
    expect(f"of {names}, beyond {mode:04o} or not root's", loose, equals=[])


@pytest.mark.parametrize(
    "name",
    [pytest.param("cron", id="cron", marks=rule("filesystem-cron-allow")), pytest.param("at", id="at", marks=rule("filesystem-at-allow"))],
)
def test_allow_file(host: Host, name: str) -> None:
    found = paths(host, "/etc/cron.allow /etc/cron.deny /etc/at.allow /etc/at.deny")
    facts = found.get(f"/etc/{name}.allow")
    expect(f"/etc/{name}.allow", f"{facts.octal} {facts.owner}:{facts.group}" if facts else None, equals="0600 root:root")
    expect(f"/etc/{name}.deny", "there" if f"/etc/{name}.deny" in found else None, equals=None)


@rule("filesystem-cron-spool")
def test_cron_spool(host: Host) -> None:
    script = (
        "for d in /var/spool/cron /var/spool/at; do if [ -d $d ]; then "
        r"find $d \( -type f -o -path $d \) -perm /0077 -printf '%m %p\n' || exit; fi; done"
    )
    expect("spools of cron and at that others can read or write", ask(host, script).splitlines(), equals=[])


@rule("filesystem-setuid")
def test_setuid(host: Host, parameters: Parameters) -> None:
    found = [each for each in walk(host) if each.kind == "f" and each.mode & 0o6000]
    others = [str(each) for each in found if each.path not in parameters.words("filesystem_setuid_allowed")]
    expect("set-UID and set-GID programs beside those of filesystem_setuid_allowed", others, equals=[])


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        pytest.param("f", "files that everybody can write", id="files", marks=rule("filesystem-world-writable-files")),
        pytest.param("d", "folders where everybody can delete", id="folders", marks=rule("filesystem-world-writable-folders")),
    ],
)
def test_world_writable(host: Host, parameters: Parameters, kind: str, what: str) -> None:
    allowed = parameters.words("filesystem_world_writable_allowed")
    found = [each for each in walk(host) if each.kind == kind and each.mode & 0o2 and not (kind == "d" and each.mode & 0o1000)]
    expect(what, [str(each) for each in found if each.path not in allowed], equals=[])


@rule("filesystem-unowned")
def test_unowned(host: Host) -> None:
    # `find` prints a number where no name is known.
    expect("files without an owner", [str(each) for each in walk(host) if each.user == each.uid or each.group == each.gid], equals=[])


@rule("filesystem-startup-files")
def test_startup_files(host: Host) -> None:
    found = [each for each in walk(host) if each.path.startswith(STARTUP) and (each.mode & 0o022 or each.uid != "0")]
    expect("start-up files that are not root's or that others can write", list(map(str, found)), equals=[])


@rule("filesystem-device-files")
def test_device_files(host: Host) -> None:
    script = r"find /dev -xdev \( -path /dev/shm -o -path /dev/mqueue -o -path /dev/hugepages \) -prune -o -type f -print"
    expect("files among the devices", ask(host, script).splitlines(), equals=[])


@rule("filesystem-hidden")
def test_hidden(host: Host, parameters: Parameters) -> None:
    script = (
        "LC_ALL=C; command -v rpm >/dev/null || exit 127; "
        + AS_NOBODY.replace('exec "$@" ', "")
        + "exec find $(for d in /dev /etc /usr/bin /usr/sbin /usr/libexec /usr/local/bin /usr/local/sbin; do [ -d $d ] && echo $d; done)"
        r""" -xdev \( -path /dev/shm -o -path /dev/mqueue \) -prune -o -name '.?*' """
        r"""-exec "$@" rpm -qf --nodigest --nosignature -- {} + 2>&1"""
    )
    known = {"/etc/.pwd.lock", "/etc/.updated", *parameters.words("filesystem_hidden_allowed")}
    # What rpm may not look at, it does not own either.
    strays = re.findall(
        r"^(?:error: )?file (/.*?)(?: is not owned by any package|: Permission denied)$", ask(host, script, accept=(0, 1)), re.MULTILINE
    )
    expect("hidden files that no package brought", [name for name in strays if name not in known], equals=[])


@rule("filesystem-tmp-sticky")
def test_tmp_sticky(host: Host) -> None:
    for name, facts in paths(host, "/tmp /var/tmp").items():
        expect(name, f"{facts.octal} {facts.owner}:{facts.group}", equals="1777 root:root")


def tmp_options(parameters: Parameters) -> list[str]:
    """Return the options that /tmp is to have."""
    return ["nosuid", "nodev", *(["noexec"] if parameters.flag("filesystem_tmp_noexec") else [])]


def fstab(host: Host, name: str) -> list[str] | None:
    """Return the options that fstab gives a mount point; None where it does not name it."""
    lines = [line.split() for line in (read(host, "/etc/fstab") or "").splitlines() if not line.lstrip().startswith("#")]
    found = [line[3].split(",") for line in lines if len(line) > 3 and line[1] == name]
    return found[-1] if found else None


@rule("filesystem-tmp-mount")
def test_tmp_mount(host: Host, parameters: Parameters) -> None:
    options = fstab(host, "/tmp")
    if options is None:
        unit = units(host, ("tmp.mount",))["tmp.mount"]
        expect("tmp.mount at boot", unit.file, one_of=("enabled", "static", "generated"))
        options = key_values(ask(host, "systemctl cat -- tmp.mount")).get("Options", "").split(",")
    expect("options of /tmp at the next boot", options, includes=tmp_options(parameters))


@rule("filesystem-dev-shm-mount")
def test_dev_shm_mount(host: Host) -> None:
    options = fstab(host, "/dev/shm")
    if options is None:
        name = "isms-dev-shm.service"
        expect(f"{name} at boot", units(host, (name,))[name].file, equals="enabled")
        command = key_values(ask(host, f"systemctl cat -- {name}")).get("ExecStart", "")
        options = re.split(r"[ ,]", command)
    expect("options of /dev/shm at the next boot", options, includes=["nosuid", "nodev", "noexec"])


def live(host: Host, name: str) -> list[str] | None:
    """Return the options that a mount point has now; None where nothing is mounted on it."""
    lines = [line.split() for line in ask(host, "cat /proc/mounts").splitlines()]
    if not lines:
        raise CannotTell("/proc/mounts is empty")
    found = [line[3].split(",") for line in lines if line[1] == name]
    return found[-1] if found else None


@rule("filesystem-tmp-options")
def test_tmp_options(host: Host, parameters: Parameters) -> None:
    expect("options of /tmp now", live(host, "/tmp"), includes=tmp_options(parameters))


@rule("filesystem-dev-shm-options")
def test_dev_shm_options(host: Host) -> None:
    expect("options of /dev/shm now", live(host, "/dev/shm"), includes=["nosuid", "nodev", "noexec"])
