"""What the suites ask of a host: facts that more than one of them needs, each read in one careful command."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from harness import grouping
from harness.expecting import CannotTell

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

Host: TypeAlias = Any
"""testinfra's `Host`; testinfra ships no types, so it is named once here."""

REMEMBERED = 512
"""Answers whose reading is remembered: many checks ask the same of one host, and many hosts of a fleet answer the same."""


def ask(host: Host, command: str, *arguments: str, accept: Collection[int] = (0,)) -> str:
    """Run a read-only command and return its standard output without the trailing newline.

    Arguments fill the `%s` of the command, quoted. Raises CannotTell when the exit code is not in `accept`.
    """
    result = host.run(command, *arguments)
    if result.rc not in accept:
        raise CannotTell(f"`{result.command}` ended with {result.rc}: {(result.stderr or result.stdout).strip()[:300]}")
    return str(result.stdout).rstrip("\n")


def read(host: Host, name: str) -> str | None:
    """Return a file's text; None when there is no such file. Raises CannotTell when it is there and cannot be read."""
    result = host.run(grouping.READ.format("%s"), name, name)
    if result.rc == grouping.MISSING:
        return None
    if result.rc != 0:
        raise CannotTell(f"{name} cannot be read: {result.stderr.strip()[:300]}")
    return str(result.stdout)


def texts(host: Host, patterns: str) -> Mapping[str, str]:
    """Return the texts of the files that shell patterns name, in the patterns' order and sorted by name within each.

    Missing files are left out. A check passes a constant: nothing is quoted.
    """
    return texts_of(ask(host, patterns.join(grouping.TEXTS)))


@lru_cache(REMEMBERED)
def texts_of(answer: str) -> Mapping[str, str]:
    """Take the answer of `texts` apart."""
    found = (part.partition("\n") for part in answer.split("\x1e")[1:])
    return MappingProxyType({name: body for name, _, body in found})


@dataclass(frozen=True, slots=True)
class PathFacts:
    """What `stat` says of a path itself (a link is not followed)."""

    kind: str
    """`regular file`, `directory`, `symbolic link` …"""
    mode: int
    owner: str
    group: str

    @property
    def octal(self) -> str:
        """The mode as people write it: `0600`."""
        return f"{self.mode:04o}"

    def beyond(self, allowed: int) -> int:
        """Return the permission bits that are set though `allowed` lacks them."""
        return self.mode & ~allowed & 0o7777


def path(host: Host, name: str, *, follow: bool = True) -> PathFacts | None:
    """Return the facts of a path, of the link's target unless `follow` is false; None when it does not exist."""
    flag = "-L " if follow else ""
    result = host.run(f"stat {flag}-c '{grouping.STAT.replace('%', '%%')}' -- %s", name)
    if result.rc != 0:
        if "No such file or directory" in result.stderr:
            return None
        raise CannotTell(f"stat {name}: {result.stderr.strip()[:300]}")
    mode, owner, group, kind = result.stdout.strip().split("|", 3)
    return PathFacts(kind=kind, mode=int(mode, 8), owner=owner, group=group)


def paths(host: Host, patterns: str) -> Mapping[str, PathFacts]:
    """Return the facts of everything that shell patterns name, links not followed, sorted by name within each pattern.

    What does not exist is left out. A check passes a constant: nothing is quoted.
    """
    return facts_of(ask(host, patterns.join(grouping.PATHS)))


@lru_cache(REMEMBERED)
def facts_of(answer: str) -> Mapping[str, PathFacts]:
    """Read lines of `stat -c '%a|%U|%G|%F|%n'`."""
    found: dict[str, PathFacts] = {}
    for line in answer.splitlines():
        mode, owner, group, kind, name = line.split("|", 4)
        found[name] = PathFacts(kind=kind, mode=int(mode, 8), owner=owner, group=group)
    return MappingProxyType(found)


@dataclass(frozen=True, slots=True)
class Unit:
    """A systemd unit as systemd itself sees it, by its full name: `sshd.service`."""

    load: str
    active: str
    file: str

    @property
    def exists(self) -> bool:
        """Tell whether a unit file is there; a masked unit counts as there."""
        return self.load != "not-found"

    @property
    def off(self) -> bool:
        """Tell whether it neither runs nor starts at the next boot."""
        return not self.exists or (self.active not in {"active", "activating", "reloading"} and self.file in {"disabled", "masked", ""})


def unit(host: Host, name: str) -> Unit:
    """Ask systemd for a unit. Raises CannotTell where systemd does not answer."""
    return units(host, (name,))[name]


def units(host: Host, names: Sequence[str]) -> Mapping[str, Unit]:
    """Ask systemd for many units at once. Raises CannotTell where systemd does not answer for each of them."""
    text = ask(host, grouping.UNIT + " ".join(["%s"] * len(names)), *names)
    return units_of(text, tuple(names))


@lru_cache(REMEMBERED)
def units_of(answer: str, names: tuple[str, ...]) -> Mapping[str, Unit]:
    """Read what `systemctl show` says of units."""
    blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in answer.split("\n\n")]
    if len(blocks) != len(names):
        raise CannotTell(f"systemctl answered for {len(blocks)} of {len(names)} units")
    return MappingProxyType(
        {
            name: Unit(load=each["LoadState"], active=each["ActiveState"], file=each["UnitFileState"])
            for name, each in zip(names, blocks, strict=True)
        }
    )


def sysctl(host: Host, key: str) -> str | None:
    """Return a kernel parameter's running value, blanks normalised; None when this kernel has no such key."""
    text = read(host, "/proc/sys/" + key.replace(".", "/"))
    return None if text is None else " ".join(text.split())


AS_NOBODY = 'set --; [ "${EUID:-1}" != 0 ] || set -- setpriv --reuid=65534 --regid=65534 --clear-groups; exec "$@" '
"""Before a question to rpm: asked by root, it keeps its database's files up to date, which an audit must not cause."""


def packages(host: Host) -> frozenset[str]:
    """Return the names in the rpm database. Raises CannotTell when it cannot be read, or is empty."""
    # Names are not worth a check of each package's digests and signatures, which takes as long as the rest.
    names = names_of(ask(host, AS_NOBODY + r"rpm -qa --nodigest --nosignature --qf '%{NAME}\n'"))
    if not names:
        raise CannotTell("the rpm database holds no package")
    return names


@lru_cache(REMEMBERED)
def names_of(answer: str) -> frozenset[str]:
    """Read a list, a name on each line."""
    return frozenset(answer.splitlines())


def has_package(host: Host, name: str) -> bool:
    """Tell whether the rpm database holds a package of exactly this name."""
    return name in packages(host)


def sshd(host: Host, user: str = "ec2-user") -> Mapping[str, str]:
    """Return sshd's effective configuration for a log-in of `user`: lower-case keyword to value, lists joined by a blank."""
    return sshd_of(ask(host, "sshd -T -C %s", f"user={user},host=client.example,addr=10.0.0.1,laddr=10.0.0.2,lport=22"))


@lru_cache(REMEMBERED)
def sshd_of(answer: str) -> Mapping[str, str]:
    """Read what `sshd -T` says."""
    values: dict[str, str] = {}
    for line in answer.splitlines():
        keyword, _, value = line.partition(" ")
        values[keyword] = f"{values[keyword]} {value}" if keyword in values else value
    return MappingProxyType(values)


def database(host: Host, name: str) -> list[list[str]] | None:
    """Return the fields of the lines of passwd, shadow, group or gshadow, without any hash; None when there is no such file.

    Of a hash, the algorithm and the rounds stay: `$6$rounds=656000$[redacted password-hash]`; of a locked one also the mark before it.
    Raises CannotTell when the file is there and cannot be read.
    """
    result = host.run(grouping.DATABASE, name, grouping.KIND, name)
    if result.rc == grouping.MISSING:
        return None
    if result.rc != 0:
        raise CannotTell(f"{name} cannot be read: {result.stderr.strip()[:300]}")
    return [line.split(":") for line in result.stdout.splitlines() if line.strip()]


WALK = r"""ids() { while IFS=: read -r _ _ i _; do case $i in '' | *[!0-9]*) ;; *) o="$o${o:+ -o }$1 $i" ;; esac; done; }
o=; ids -uid </etc/passwd; u=$o; o=; ids -gid </etc/group; g=$o; m=
while read -r _ d t _; do case $t in xfs | ext[234] | btrfs) [ "$d" = / ] || m="$m $d" ;; esac; done </proc/mounts
exec find / $m -xdev -ignore_readdir_race \
\( -path /proc -o -path /sys -o -path /run -o -path /var/lib/docker -o -path /var/lib/containerd -o -path /var/lib/containers \) -prune -o \
! -type l \( -type f -perm /6000 -o -perm -0002 ! \( -type d -perm -1000 \) -o \
! \( $u -o ! -nouser \) -o ! \( $g -o ! -nogroup \) -o \
\( -perm /0022 -o ! -uid 0 \) \
\( -path '/etc/rc.d/*' -o -path '/etc/init.d/*' -o -path '/etc/systemd/*' -o -path '/usr/lib/systemd/*' \) \) \
-printf '%y %m %u %U %g %G %p\0'"""
"""One walk over the local file systems for every question that needs one. find looks up only those owners that the two files lack:
written as `! ( … ) -nouser` it would turn the two around, and spend most of its time on that."""


class Found(NamedTuple):
    """A file or folder that the walk brought back; a link never is."""

    kind: str
    mode: int
    user: str
    uid: str
    group: str
    gid: str
    path: str

    def __str__(self) -> str:
        return f"{self.path} ({self.mode:04o} {self.user}:{self.group})"


def walk(host: Host) -> Sequence[Found]:
    """Return what the walk found, each path once though file systems may be mounted twice.

    Programs with another's rights, what everybody can write, what nobody owns, and start-up files that are not root's alone.
    """
    return found_of(ask(host, WALK))


@lru_cache(REMEMBERED)
def found_of(answer: str) -> Sequence[Found]:
    """Read the walk."""
    found: dict[str, Found] = {}
    for entry in answer.strip("\n").split("\0"):
        if entry:
            kind, mode, user, uid, group, gid, name = entry.split(" ", 6)
            found[name] = Found(kind, int(mode, 8), user, uid, group, gid, name)
    return tuple(found.values())


@lru_cache(REMEMBERED)
def yaml_of(text: str) -> Any:  # noqa: ANN401 - YAML is any value
    """Read YAML. Raises ValueError that says what is wrong with it; the same text gives the same object, which nobody may change."""
    import yaml

    try:
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe; libyaml's is quicker
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


@lru_cache(REMEMBERED)
def key_values(text: str | None, separator: str = "=", comment: str = "#") -> Mapping[str, str]:
    """Read `key = value` lines (`separator=" "` for login.defs); the last one wins, comments and other lines do not count."""
    values: dict[str, str] = {}
    for raw in (text or "").splitlines():
        parts = raw.split(comment, 1)[0].strip().split(separator if separator.strip() else None, 1)
        if len(parts) == 2 and parts[0].strip():  # noqa: PLR2004 - a key and a value
            values[parts[0].strip()] = parts[1].strip().strip('"')
    return MappingProxyType(values)
