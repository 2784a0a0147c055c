"""What the user's ssh_config says of a host: the keywords that a log-in needs, read as OpenSSH reads them."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import re
import subprocess
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from harness.errors import ConfigError, Location

SYSTEM = Path("/etc/ssh/ssh_config")
DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
EXEC_SECONDS = 15.0
DEEPEST = 16
"""Includes within includes, as in OpenSSH."""
TOKEN = re.compile(r'"([^"]*)"|\'([^\']*)\'|([^\s"\']+)')
LISTS = frozenset({"identityfile", "certificatefile"})
"""Keywords that add up; of all others the first value wins."""
ALIASES = {"userknownhostsfile2": "userknownhostsfile", "globalknownhostsfile2": "globalknownhostsfile"}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "": 1}


@dataclass(frozen=True, slots=True)
class HostConfig:
    """How a host is reached and logged in to."""

    alias: str
    hostname: str
    port: int
    user: str
    identities: tuple[Path, ...] = ()
    """Private keys that ssh_config names, or the default ones when it names none."""
    named: bool = False
    """Whether ssh_config named them."""
    certificates: tuple[Path, ...] = ()
    identities_only: bool = False
    agent: str | None = None
    """Socket of the agent; None: SSH_AUTH_SOCK. Empty: no agent."""
    jumps: tuple[str, ...] = ()
    proxy_command: str | None = None
    host_key_alias: str | None = None
    known_hosts: tuple[Path, ...] = ()
    """The user's files; a new key goes to the first."""
    system_known_hosts: tuple[Path, ...] = ()
    hash_known_hosts: bool = False
    connect_seconds: float | None = None


@dataclass(slots=True)
class Block:
    """Lines under one `Host` or `Match`, with the blocks that must match as well because an Include stands in them."""

    keyword: str
    arguments: list[str]
    at: Location
    within: Block | None = None
    entries: list[tuple[str, str, Location]] = field(default_factory=list)


@dataclass(slots=True)
class Lookup:
    """The values of one host in the making."""

    alias: str
    values: dict[str, str]
    lists: dict[str, list[str]] = field(default_factory=dict)
    final: bool = False
    """Whether this is the second pass, which `Match final` waits for."""
    wants_final: bool = False

    @property
    def hostname(self) -> str:
        """Return the name to connect to."""
        name = first(self.values.get("hostname", "%h"))
        return name.replace("%%", "\0").replace("%h", self.alias).replace("%n", self.alias).replace("\0", "%")

    @property
    def user(self) -> str:
        """Return who logs in."""
        return first(self.values.get("user", "")) or getpass.getuser()

    def take(self, keyword: str, value: str) -> None:
        """Take a line that applies."""
        if keyword in LISTS:
            self.lists.setdefault(keyword, []).append(value)
        elif keyword in {"proxyjump", "proxycommand"}:
            if not {"proxyjump", "proxycommand"} & self.values.keys():
                self.values[keyword] = value
        else:
            self.values.setdefault(keyword, value)


class SshConfig:
    """One or more ssh_config files, parsed once and asked for many hosts."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        """Read the files that are there. Raises ConfigError, with file and line, for what cannot be read or understood."""
        self._blocks: list[Block] = []
        for path in files:
            self._read(path, None, 0)

    def lookup(self, alias: str, *, user: str | None = None, port: int | None = None) -> HostConfig:
        """Return what holds for a host; user and port of the caller win. Raises ConfigError."""
        given = {"user": user, "port": None if port is None else str(port)}
        state = Lookup(alias, {name: value for name, value in given.items() if value is not None})
        self._apply(state)
        if state.wants_final:
            state.final = True
            state.lists.clear()
            self._apply(state)
        return resolved(state)

    def _apply(self, state: Lookup) -> None:
        met: dict[int, bool] = {}
        for block in self._blocks:
            if matched(block, state, met):
                for keyword, value, _ in block.entries:
                    state.take(keyword, value)

    def _read(self, path: Path, within: Block | None, depth: int) -> None:
        """Parse a file into blocks."""
        try:
            text = path.read_text("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", hint="--ssh-config FILE names another", at=Location(path)) from error
        block = self._open(Block("all", [], Location(path), within))
        for number, line in enumerate(text.splitlines(), 1):
            at = Location(path, number)
            keyword, value = split(line, at)
            if not keyword:
                continue
            if keyword in {"host", "match"}:
                block = self._open(Block(keyword, words(value), at, within))
            elif keyword == "include":
                for included in included_files(value, path):
                    if depth >= DEEPEST:
                        raise ConfigError("files include each other", hint="one of them names a file that names it again", at=at)
                    self._read(included, block, depth + 1)
                # What follows belongs to the block that the Include stands in.
                block = self._open(Block(block.keyword, block.arguments, block.at, within))
            else:
                block.entries.append((ALIASES.get(keyword, keyword), value, at))

    def _open(self, block: Block) -> Block:
        self._blocks.append(block)
        return block


def load(config: Path | None) -> SshConfig:
    """Return a parsed configuration: the named file, or the user's and the system's; parsed once for the hosts of a fleet.

    Raises ConfigError when the named file is not there.
    """
    if config is not None and not config.exists():
        raise ConfigError("there is no such file", hint="--ssh-config names it", at=Location(config))
    files = (config,) if config is not None else (Path.home() / ".ssh/config", SYSTEM)
    return parsed(files, tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in files))


@lru_cache(maxsize=8)
def parsed(files: tuple[Path, ...], _changed: tuple[int, ...]) -> SshConfig:
    """Parse files, again when one has changed."""
    return SshConfig(files)


def split(line: str, at: Location) -> tuple[str, str]:
    """Split a line into keyword (lower case) and the rest; empty for comments."""
    line = line.strip()
    if not line or line.startswith("#"):
        return "", ""
    found = re.match(r"([A-Za-z0-9]+)(?:\s*=\s*|\s+)(.+)", line)
    if not found:
        raise ConfigError(f"`{line[:80]}` is no line of an ssh_config", hint="a keyword and its value", at=at)
    return found[1].lower(), found[2].strip()


def words(value: str) -> list[str]:
    """Split a value at blanks, quotes taken away, up to a comment."""
    found: list[str] = []
    for part in TOKEN.finditer(value):
        word = next(group for group in part.groups() if group is not None)
        if word.startswith("#") and part[3]:
            break
        found.append(word)
    return found


def first(value: str) -> str:
    """Return the first word of a value."""
    return next(iter(words(value)), "")


def included_files(value: str, path: Path) -> list[Path]:
    """Return the files of an Include; a relative name starts in ~/.ssh, or in /etc/ssh for the system's own file."""
    base = Path.home() / ".ssh" if not path.is_relative_to(SYSTEM.parent) else SYSTEM.parent
    found: list[Path] = []
    for word in words(value):
        whole = (base / Path(word).expanduser()).resolve() if not any(sign in word for sign in "*?[") else base / Path(word).expanduser()
        anchor = Path(whole.anchor)
        found += sorted(anchor.glob(str(whole.relative_to(anchor))))
    return found


def matched(block: Block, state: Lookup, met: dict[int, bool]) -> bool:
    """Tell whether the lines of a block apply. A block that was met stays met, since its values may change what it asks."""
    if block.within is not None and not matched(block.within, state, met):
        return False
    key = id(block.arguments)
    if key not in met:
        match block.keyword:
            case "host":
                met[key] = listed(block.arguments, state.alias)
            case "match":
                met[key] = criteria(block, state)
            case _:
                met[key] = True
    return met[key]


def listed(patterns: list[str], name: str) -> bool:
    """Tell whether a name is meant by patterns of which none may be negated by `!`."""
    found = False
    for pattern in patterns:
        if fnmatchcase(name.lower(), pattern.removeprefix("!").lower().replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def criteria(block: Block, state: Lookup) -> bool:
    """Tell whether all criteria of a Match hold; they are asked in order, up to the first that does not."""
    rest = list(block.arguments)
    while rest:
        name, _, joined = rest.pop(0).partition("=")
        negated, name = name.startswith("!"), name.removeprefix("!").lower()
        if name in {"all", "final", "canonical"}:
            state.wants_final |= name == "final"
            holds = {"all": True, "final": state.final, "canonical": state.final}[name]
        else:
            argument = joined or (rest.pop(0) if rest else "")
            holds = criterion(name, argument, block.at, state)
        if holds == negated:
            return False
    return True


def criterion(name: str, argument: str, at: Location, state: Lookup) -> bool:
    """Judge one criterion that has an argument."""
    subjects = {
        "host": lambda: state.hostname,
        "originalhost": lambda: state.alias,
        "user": lambda: state.user,
        "localuser": getpass.getuser,
    }
    if name in subjects:
        return listed(argument.split(","), subjects[name]())
    if name == "exec":
        command, null = shell(expanded(argument, state, at)), subprocess.DEVNULL
        try:
            return subprocess.run(command, timeout=EXEC_SECONDS, check=False, stdin=null, stdout=null, stderr=null).returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            return False
    raise ConfigError(f"harness does not understand `Match {name}`", hint="--ssh-config FILE names another configuration", at=at)


def shell(command: str) -> list[str]:
    """Return the argument list that runs a command of ssh_config as ssh does: by the user's shell."""
    return [os.environ.get("SHELL") or "/bin/sh", "-c", command]


def expanded(text: str, state: Lookup, at: Location | None = None) -> str:
    """Replace the tokens of ssh_config. Raises ConfigError for one that is not known."""
    local = platform.node()
    port, user, jump = first(state.values.get("port", "22")), state.user, first(state.values.get("proxyjump", ""))
    values = {
        "%": "%",
        "C": hashlib.sha1(f"{local}{state.hostname}{port}{user}{jump}".encode(), usedforsecurity=False).hexdigest(),
        "d": str(Path.home()),
        "h": state.hostname,
        "i": str(os.getuid()),
        "j": jump,
        "k": first(state.values.get("hostkeyalias", "")) or state.alias,
        "L": local.partition(".")[0],
        "l": local,
        "n": state.alias,
        "p": port,
        "r": user,
        "u": getpass.getuser(),
    }

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise ConfigError(f"`{found[0]}` in `{text}` is not known", hint="see TOKENS in `man ssh_config`", at=at)
        return values[found[1]]

    return re.sub(r"%(.)", value, text)


def file(text: str, state: Lookup) -> Path:
    """Return a path with `~`, `${NAME}` and tokens replaced."""
    text = re.sub(r"\$\{(\w+)\}", lambda found: os.environ.get(found[1], ""), expanded(text, state))
    return Path(text).expanduser()


def seconds(text: str) -> float | None:
    """Read a time such as `10` or `1m30s`; None for `none` and what is no time."""
    parts = re.findall(r"(\d+)([smhdw]?)", text.lower())
    return float(sum(int(number) * UNITS[unit] for number, unit in parts)) or None if parts else None


def agent_socket(text: str, state: Lookup) -> str | None:
    """Read IdentityAgent: a socket, the name of a variable that holds it, or `none`."""
    if text == "SSH_AUTH_SOCK":
        return None
    if text.lower() == "none":
        return ""
    return os.environ.get(text.strip("${}"), "") if text.startswith("$") and "/" not in text else str(file(text, state))


def resolved(state: Lookup) -> HostConfig:
    """Turn the values into a HostConfig."""
    values, ssh = state.values, Path.home() / ".ssh"

    def files(keyword: str, default: tuple[Path, ...]) -> tuple[Path, ...]:
        names = words(values[keyword]) if keyword in values else []
        return tuple(file(name, state) for name in names if name.lower() != "none") if names else default

    named = [file(first(text), state) for text in state.lists.get("identityfile", []) if first(text).lower() != "none"]
    jump, command = expanded(first(values.get("proxyjump", "none")), state), values.get("proxycommand", "none")
    try:
        port = int(first(values.get("port", "22")))
    except ValueError as error:
        raise ConfigError(f"the port of {state.alias} is `{values['port']}`", hint="a number from 1 to 65535") from error
    return HostConfig(
        alias=state.alias,
        hostname=state.hostname,
        port=port,
        user=state.user,
        identities=tuple(named) if "identityfile" in state.lists else tuple(ssh / name for name in DEFAULT_KEYS),
        named="identityfile" in state.lists,
        certificates=tuple(file(first(text), state) for text in state.lists.get("certificatefile", [])),
        identities_only=first(values.get("identitiesonly", "no")).lower() in {"yes", "true"},
        agent=agent_socket(first(values.get("identityagent", "SSH_AUTH_SOCK")), state),
        jumps=tuple(hop for hop in jump.split(",") if hop) if jump.lower() != "none" else (),
        proxy_command=expanded(command, state) if command.lower() != "none" else None,
        host_key_alias=first(values["hostkeyalias"]) if "hostkeyalias" in values else None,
        known_hosts=files("userknownhostsfile", (ssh / "known_hosts", ssh / "known_hosts2")),
        system_known_hosts=files("globalknownhostsfile", (Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))),
        hash_known_hosts=first(values.get("hashknownhosts", "no")).lower() == "yes",
        connect_seconds=seconds(first(values.get("connecttimeout", "none"))),
    )
