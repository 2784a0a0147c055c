"""Whether accounts are who they should be, can become only what they should, and their shells begin closed."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import pytest

from harness.suite import REMEMBERED, CannotTell, Host, Parameters, ask, database, expect, facts_of, key_values, path, read, rule, texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from harness.suite import PathFacts

PASSWD, SHADOW, GROUP, LOGIN_DEFS = "/etc/passwd", "/etc/shadow", "/etc/group", "/etc/login.defs"
START_UP = "/etc/profile /etc/bashrc /etc/bash.bashrc /etc/csh.cshrc /etc/csh.login /etc/profile.d/*.sh /etc/profile.d/*.csh"
NEEDLESS = frozenset({"lp", "uucp", "nuucp", "games", "ftp", "gopher", "news"})
"""Accounts that KISA's guide names as examples of needless ones."""
UMASK = re.compile(r"(?:^|[\s;&|({])umask\s+(?P<mask>0?[0-7]{2,3})(?=[\s;&|)}]|$)")
PROBE = r"""exec >&3 3>&-; umask; printf '%s\n' "${TMOUT:-}"; (unset TMOUT) 2>/dev/null && echo changeable || echo readonly
printf '%s\n' "$PATH"; set --; IFS=:; for d in $PATH; do case $d in /*) [ ! -e "$d/." ] || set -- "$@" "${d%/}/." ;; esac; done
[ $# = 0 ] || stat -c '%a|%U|%G|%F|%n' -- "$@"
"""
"""What a log-in shell is asked: mask, idle limit, whether the limit can be taken away, search path, and the folders of it."""
HOMES = r"""LC_ALL=C; set --
while IFS=: read -r _ _ _ _ _ h s; do
  case $s in */nologin | */false) continue ;; esac
  for f in "${h%/}/." "${h%/}"/.[!.]*; do if [ -e "$f" ] || [ -L "$f" ]; then set -- "$@" "$f"; fi; done
done </etc/passwd
[ $# = 0 ] || stat -c '%a|%U|%G|%F|%n' -- "$@"
"""
"""The homes of everybody with a shell, and what in them begins with a dot."""


@dataclass(frozen=True, slots=True)
class Account:
    """One line of /etc/passwd."""

    name: str
    password: str
    uid: int
    gid: int
    home: str
    shell: str

    @property
    def has_shell(self) -> bool:
        """Tell whether somebody could log in to a shell; an empty field means /bin/sh."""
        return not self.shell.endswith(("/nologin", "/false"))


def lines(host: Host, name: str) -> list[list[str]]:
    """Return the fields of a database's lines. Raises CannotTell when there is no such file."""
    found = database(host, name)
    if found is None:
        message = f"there is no {name}"
        raise CannotTell(message)
    return found


def accounts(host: Host) -> Sequence[Account]:
    """Return every account, `+` lines left out."""
    return accounts_of(tuple(map(tuple, lines(host, PASSWD))))


@lru_cache(REMEMBERED)
def accounts_of(lines: tuple[tuple[str, ...], ...]) -> Sequence[Account]:
    """Read the lines of passwd."""
    found = []
    for fields in lines:
        if fields[0].startswith("+"):
            continue
        try:
            name, password, uid, gid, _, home, shell = fields
            found.append(Account(name, password, int(uid), int(gid), home, shell.strip()))
        except ValueError as error:
            message = f"{PASSWD} has a line that is no account: {':'.join(fields)}"
            raise CannotTell(message) from error
    return found


def system_accounts(host: Host) -> list[Account]:
    """Return the accounts of services: a UID outside of the range for people, root left out."""
    limits = key_values(read(host, LOGIN_DEFS), " ")
    low, high = int(limits.get("UID_MIN", "1000")), int(limits.get("UID_MAX", "60000"))
    return [account for account in accounts(host) if account.uid and not low <= account.uid <= high]


def people(host: Host) -> list[Account]:
    """Return root and everybody else who can log in."""
    system = system_accounts(host)
    return [account for account in accounts(host) if account.has_shell and account not in system]


def hashes(host: Host) -> dict[str, str]:
    """Return the password field of every account in shadow, or rather its kind."""
    return {fields[0]: fields[1] for fields in lines(host, SHADOW) if not fields[0].startswith("+") and len(fields) > 1}


def usable(field: str) -> bool:
    """Tell whether a password field holds something that a password can match."""
    return not field.startswith(("!", "*"))


def members(host: Host, group: str) -> list[str]:
    """Return who is listed in a group."""
    return [name for fields in lines(host, GROUP) if fields[0] == group for name in fields[3].strip().split(",") if name]


def repeated(values: Iterable[object]) -> list[str]:
    """Return what comes more than once."""
    return [str(value) for value, times in Counter(values).items() if times > 1]


@rule("accounts-uid-zero")
def test_uid_zero(host: Host) -> None:
    expect("accounts with UID 0", [account.name for account in accounts(host) if account.uid == 0], within=["root"])


@rule("accounts-duplicate-uids")
def test_duplicate_uids(host: Host) -> None:
    # A second UID 0 has a rule of its own.
    expect("UIDs that come twice", repeated(account.uid for account in accounts(host) if account.uid), equals=[])


@rule("accounts-duplicate-users")
def test_duplicate_users(host: Host) -> None:
    expect("accounts that come twice", repeated(account.name for account in accounts(host)), equals=[])


@rule("accounts-duplicate-gids")
def test_duplicate_gids(host: Host) -> None:
    expect("GIDs that come twice", repeated(fields[2] for fields in lines(host, GROUP) if not fields[0].startswith("+")), equals=[])


@rule("accounts-duplicate-groups")
def test_duplicate_groups(host: Host) -> None:
    expect("groups that come twice", repeated(fields[0] for fields in lines(host, GROUP) if not fields[0].startswith("+")), equals=[])


@rule("accounts-primary-groups")
def test_primary_groups(host: Host) -> None:
    known = {fields[2] for fields in lines(host, GROUP) if not fields[0].startswith("+")}
    expect("accounts whose group does not exist", [each.name for each in accounts(host) if str(each.gid) not in known], equals=[])


@rule("accounts-empty-groups")
def test_empty_groups(host: Host, parameters: Parameters) -> None:
    limits = key_values(read(host, LOGIN_DEFS), " ")
    low, high = int(limits.get("GID_MIN", "1000")), int(limits.get("GID_MAX", "60000"))
    primary = {account.gid for account in accounts(host)}
    found = [
        name
        for name, _, gid, users in (fields[:4] for fields in lines(host, GROUP) if not fields[0].startswith("+"))
        if low <= int(gid) <= high and not users.strip() and int(gid) not in primary
    ]
    expect("groups of people without a member", found, within=parameters.words("accounts_allowed_groups"))


@rule("accounts-needless")
def test_needless(host: Host) -> None:
    fields = hashes(host)
    usable_ones = [
        account.name
        for account in accounts(host)
        if account.name in NEEDLESS and (account.has_shell or usable(fields.get(account.name, "!")))
    ]
    expect("default accounts that could be used", usable_ones, equals=[])
    # No judgement: the list that a person compares with the account register.
    names = sorted(account.name for account in people(host))
    expect("accounts that can log in", names, equals=names, expected="as the account register has them")


@rule("accounts-shadowed")
def test_shadowed(host: Host) -> None:
    expect("accounts whose password is not in shadow", [each.name for each in accounts(host) if each.password != "x"], equals=[])  # noqa: S105 - the mark for "in shadow"


@rule("accounts-empty-passwords")
def test_empty_passwords(host: Host) -> None:
    expect("accounts with an empty password", [name for name, field in hashes(host).items() if not field], equals=[])


@rule("accounts-legacy-entries")
def test_legacy_entries(host: Host) -> None:
    found = [name for name in (PASSWD, SHADOW, GROUP) if any(fields[0].startswith("+") for fields in lines(host, name))]
    expect("files with lines that begin with +", found, equals=[])


@rule("accounts-system-shells")
def test_system_shells(host: Host, parameters: Parameters) -> None:
    exempt = parameters.words("accounts_login_shell_users")
    found = {each.name: each.shell for each in system_accounts(host) if each.has_shell and each.name not in exempt}
    expect("system accounts with a log-in shell", found, equals={})


@rule("accounts-system-passwords")
def test_system_passwords(host: Host) -> None:
    fields = hashes(host)
    # An empty field has a rule of its own.
    found = [each.name for each in system_accounts(host) if fields.get(each.name) and usable(fields[each.name])]
    expect("system accounts with a password", found, equals=[])


def root(host: Host) -> Account | None:
    """Return root's line."""
    return next((account for account in accounts(host) if account.name == "root"), None)


@rule("accounts-root-password")
def test_root_password(host: Host) -> None:
    field = hashes(host).get("root")
    # An empty field has a rule of its own.
    expect("root's password", "usable" if field and usable(field) else "locked", equals="locked")


@rule("accounts-root-shell")
def test_root_shell(host: Host) -> None:
    account = root(host)
    expect("root's shell", account and account.shell, that=lambda shell: not shell.endswith(("/nologin", "/false")), expected="a shell")


@rule("accounts-root-group")
def test_root_group(host: Host) -> None:
    account = root(host)
    expect("root's primary group", account and account.gid, equals=0)


@rule("accounts-root-group-members")
def test_root_group_members(host: Host) -> None:
    extra = [name for name in members(host, "root") if name != "root"]
    low = int(key_values(read(host, LOGIN_DEFS), " ").get("UID_MIN", "1000"))
    # The distribution itself gives sync, shutdown, halt and operator this group.
    extra += [account.name for account in accounts(host) if account.gid == 0 and account.uid >= low]
    expect("others in root's group", extra, equals=[])


@rule("accounts-admin-members")
def test_admin_members(host: Host, parameters: Parameters) -> None:
    expect("members of wheel", members(host, "wheel"), within=parameters.words("accounts_admin_members"))


@rule("accounts-su")
def test_su(host: Host) -> None:
    files = texts(host, "/etc/pam.d/su /etc/pam.d/su-l")
    expect("/etc/pam.d/su", "there" if "/etc/pam.d/su" in files else None, equals="there")
    for name, text in files.items():
        stack = [line.split() for line in text.splitlines() if re.match(r"-?auth\s", line.strip())]
        if [fields for fields in stack if fields[1:] in (["include", "su"], ["substack", "su"])]:
            continue
        expect(f"who may use {name}", guard(stack), equals="members of wheel")


def guard(stack: list[list[str]]) -> str:
    """Say who passes the auth lines of su: root by pam_rootok, then whom pam_wheel lets through."""
    for _, control, module, *arguments in stack:
        if module == "pam_wheel.so" and control in {"required", "requisite"} and "use_uid" in arguments:
            limits = [each for each in arguments if each in {"deny", "trust"} or (each.startswith("group=") and each != "group=wheel")]
            return f"pam_wheel {' '.join(limits)}" if limits else "members of wheel"
        if module not in {"pam_rootok.so", "pam_env.so"} and control not in {"required", "requisite", "optional"}:
            break
    return "everybody"


@dataclass(frozen=True, slots=True)
class Shell:
    """What a log-in shell begins with."""

    mask: int
    tmout: str
    readonly: bool
    path: str
    folders: Mapping[str, PathFacts]
    """The folders of the search path that exist, each with `/.` behind it."""


def shell(host: Host, user: str = "root") -> Shell:
    """Begin a log-in shell as `user` and return what it found; no session is opened, so nothing is written down."""
    if user == "root":
        become = "env -i HOME=/root USER=root LOGNAME=root PATH=/usr/sbin:/usr/bin:/sbin:/bin bash -lc %s"
    else:
        surroundings = f"env -i HOME=/home/{user} USER={user} LOGNAME={user} PATH=/usr/bin:/bin"
        become = f'setpriv --reuid "$(id -u {user})" --regid "$(id -g {user})" --clear-groups {surroundings} bash -lc %s'
    # What the start-up files print stays on the host: nobody asked for it.
    text = ask(host, become + " </dev/null 3>&1 >/dev/null 2>&1", PROBE)
    mask, tmout, readonly, search, *folders = text.splitlines()
    return Shell(int(mask, 8), tmout, readonly == "readonly", search, facts_of("\n".join(folders)))


def open_bits(mask: int, wanted: int) -> str:
    """Write a mask, and say which wanted bits it leaves open."""
    return f"{mask:04o}" if not wanted & ~mask else f"{mask:04o}, leaves {wanted & ~mask:04o} open"


@pytest.mark.parametrize(
    "user", [pytest.param("root", marks=rule("accounts-umask")), pytest.param("ec2-user", marks=rule("accounts-umask"))]
)
def test_umask(host: Host, parameters: Parameters, user: str) -> None:
    wanted = int(parameters["accounts_umask"], 8)
    if not any(account.name == user for account in accounts(host)):
        expect(f"account {user}", None, equals=None)
        return
    mask = shell(host, user).mask
    expect(f"umask of a log-in shell of {user}", open_bits(mask, wanted), equals=f"{mask:04o}", expected=f"{wanted:04o} or stricter")


@rule("accounts-umask-files")
def test_umask_files(host: Host, parameters: Parameters) -> None:
    wanted = int(parameters["accounts_umask"], 8)
    found = {
        name: open_bits(int(match["mask"], 8), wanted)
        for name, text in texts(host, START_UP).items()
        for line in text.splitlines()
        if not line.lstrip().startswith("#")
        for match in UMASK.finditer(line)
        if wanted & ~int(match["mask"], 8)
    }
    expect("start-up files with a weaker umask", found, equals={})


@rule("accounts-umask-login-defs")
def test_umask_login_defs(host: Host, parameters: Parameters) -> None:
    value = key_values(read(host, LOGIN_DEFS), " ").get("UMASK")
    wanted = int(parameters["accounts_umask"], 8)
    expect("UMASK of login.defs", value, that=lambda text: not wanted & ~int(text, 8), expected=f"{wanted:04o} or stricter")


@rule("accounts-tmout")
def test_tmout(host: Host, parameters: Parameters) -> None:
    expect("TMOUT of a log-in shell", shell(host).tmout or None, at_least=1, at_most=parameters.integer("accounts_tmout"))


@rule("accounts-tmout-readonly")
def test_tmout_readonly(host: Host) -> None:
    expect("TMOUT", "readonly" if shell(host).readonly else "changeable", equals="readonly")


def elements(host: Host) -> list[str]:
    """Return the folders that root's shell looks through."""
    return shell(host).path.split(":")


@rule("accounts-root-path")
def test_root_path(host: Host) -> None:
    expect("relative elements of root's PATH", [repr(each) for each in elements(host) if not each.startswith("/")], equals=[])


@rule("accounts-root-path-folders")
def test_root_path_folders(host: Host) -> None:
    found = {
        name.removesuffix("/."): f"{facts.octal} {facts.owner}"
        for name, facts in shell(host).folders.items()
        if facts.mode & 0o022 or facts.owner != "root"
    }
    expect("folders of root's PATH that others can write", found, equals={})


def homes(host: Host) -> Iterator[tuple[Account, PathFacts | None]]:
    """Yield the accounts that can log in with the facts of their homes."""
    known = facts_of(ask(host, HOMES))
    for account in people(host):
        yield account, known.get(account.home.rstrip("/") + "/.")


@rule("accounts-homes-exist")
def test_homes_exist(host: Host) -> None:
    found = [f"{account.name}: {account.home}" for account, facts in homes(host) if facts is None or account.home in {"", "/"}]
    expect("accounts without a home", found, equals=[])


@rule("accounts-home-modes")
def test_home_modes(host: Host) -> None:
    # Root's home has a stricter rule of its own: filesystem-root-home.
    found = {
        account.home: f"{facts.octal} {facts.owner}"
        for account, facts in homes(host)
        if account.name != "root" and facts is not None and (facts.beyond(0o750) or facts.owner != account.name)
    }
    expect("homes beyond their owner and 0750", found, equals={})


def dot_files(host: Host) -> Iterator[tuple[Account, str, PathFacts]]:
    """Yield the regular files in homes whose names begin with a dot."""
    everybody = people(host)
    for name, facts in facts_of(ask(host, HOMES)).items():
        for account in everybody:
            if facts.kind.startswith("regular") and name.rpartition("/")[0] == account.home.rstrip("/"):
                yield account, name, facts


@rule("accounts-dot-files")
def test_dot_files(host: Host) -> None:
    found = {
        name: f"{facts.octal} {facts.owner}"
        for account, name, facts in dot_files(host)
        if facts.mode & 0o022 or facts.owner not in {account.name, "root"}
    }
    expect("start-up files that others can write", found, equals={})


@rule("accounts-trust-files")
def test_trust_files(host: Host) -> None:
    found = [name for name in ("/etc/hosts.equiv", "/etc/shosts.equiv") if path(host, name, follow=False) is not None]
    found += [name for _, name, _ in dot_files(host) if name.endswith(("/.rhosts", "/.shosts"))]
    expect("files that trust other hosts", found, equals=[])


@rule("accounts-netrc")
def test_netrc(host: Host) -> None:
    expect(
        "files with passwords or mail commands",
        [name for _, name, _ in dot_files(host) if name.endswith(("/.netrc", "/.forward"))],
        equals=[],
    )


@rule("accounts-inactive")
def test_inactive(host: Host, parameters: Parameters) -> None:
    value = key_values(read(host, "/etc/default/useradd")).get("INACTIVE")
    expect("INACTIVE of /etc/default/useradd", value, at_least=1, at_most=parameters.integer("accounts_inactive_days"))
