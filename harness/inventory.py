"""Inventories: which hosts an audit asks, and how each is reached; from a list, from Ansible's INI or from YAML."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config.suggestions import did_you_mean
from harness.errors import ConfigError, Location, UsageError
from harness.inventory_reading import EVERY, REST, Groups, Value, Variables, check, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NAMES: Mapping[str, str] = {
    "host": "host",
    "ansible_host": "host",
    "ansible_ssh_host": "host",
    "user": "user",
    "ansible_user": "user",
    "ansible_ssh_user": "user",
    "port": "port",
    "ansible_port": "port",
    "ansible_ssh_port": "port",
    "sudo": "sudo",
    "ansible_become": "sudo",
    "identity_file": "identity_file",
    "ansible_private_key_file": "identity_file",
    "ansible_ssh_private_key_file": "identity_file",
    "proxy_jump": "proxy_jump",
    "baseline": "baseline",
    "tags": "tags",
    "ansible_connection": "connection",
    "ansible_ssh_common_args": "arguments",
    "ansible_ssh_extra_args": "arguments",
}
"""Variables that mean something here, ours and Ansible's, to what they mean. All others are Ansible's business."""
OURS = ("host", "user", "port", "sudo", "identity_file", "proxy_jump", "baseline", "tags")
SECRETS = frozenset({"ansible_password", "ansible_ssh_pass", "ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"})
SSH = frozenset({"ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh", "ansible.builtin.paramiko_ssh"})
CONNECTIONS: Mapping[str, str] = {
    "local": "local",
    "ansible.builtin.local": "local",
    "podman": "podman",
    "containers.podman.podman": "podman",
    "docker": "docker",
    "community.docker.docker": "docker",
    "community.docker.docker_api": "docker",
}
YES, NO = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})
URI = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<rest>.*)")
ADDRESS = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_](?:[A-Za-z0-9_.@\\-]*[A-Za-z0-9_.\\-])?)@)?(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\])(?::(?P<port>[0-9]+))?"
)
JUMP = re.compile(r"(?:-J\s*|-o\s*[\"']?ProxyJump[= ]\s*)(?P<hosts>[^\s\"']+)")
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]*")
HIGHEST_PORT = 65535
LONGEST = 253
"""Letters of a name in the DNS."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One host of an inventory, with everything that its groups say of it."""

    name: str
    uri: str
    at: Location | None = None
    groups: tuple[str, ...] = ()
    baseline: str | None = None
    """None: the host's own os-release decides."""
    sudo: bool | None = None
    """None: as the command says."""
    identity_file: Path | None = None
    proxy_jump: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inventory:
    """The hosts of a file in its order, each once."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    """What the reader should know though it prevents nothing: duplicates, a password that is not read."""


def load(path: Path) -> Inventory:
    """Read an inventory file. Raises UsageError, ConfigError or ContentError, each with file and line where there is one."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"the inventory {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"the inventory {path} is not text in UTF-8") from None
    if text.startswith("#!"):
        raise UsageError(
            f"{path} is a program, not an inventory", hint=f"let it write one: `{path} --list`, or `ansible-inventory --list --yaml`"
        )
    return parse(text, path)


def parse(text: str, path: Path) -> Inventory:
    """Read an inventory from text; `path` is what errors name, and its ending tells the format."""
    groups = read(text, path)
    check(groups)
    reading = Reading(groups, path)
    entries = [reading.entry(name) for name in reading.places]
    if not entries:
        raise ConfigError("the inventory names no host", hint="one host a line, such as ec2-user@10.0.0.5", at=Location(path))
    return Inventory(tuple(reading.once(entries)), tuple(dict.fromkeys(reading.notes)))


class Reading:
    """Groups on their way to hosts."""

    def __init__(self, groups: Groups, path: Path) -> None:
        """Find out which hosts there are, and where each stands."""
        self.groups, self.path = groups, path
        self.notes: list[str] = []
        self.places: dict[str, list[tuple[str, Variables, Location]]] = {}
        for each in groups.values():
            seen: dict[str, Location] = {}
            for name, variables, at in each.hosts:
                if name in seen:
                    self.notes.append(f"{at}: {name} stands in line {seen[name].line} already; it is asked once")
                seen.setdefault(name, at)
                self.places.setdefault(name, []).append((each.name, variables, at))
        for each in groups.values():
            self.note(each.variables)

    @cached_property
    def depths(self) -> dict[str, int]:
        """Return how deep each group lies: what is deeper wins."""
        depths = dict.fromkeys(self.groups, 1)
        if EVERY in depths:
            depths[EVERY] = 0
        # Groups form no circle, so that as many passes as there are groups are enough.
        for _ in self.groups:
            before = dict(depths)
            for each in self.groups.values():
                for child, _ in each.children:
                    depths[child] = max(depths[child], depths[each.name] + 1)
            if depths == before:
                break
        return depths

    @cached_property
    def parents(self) -> dict[str, list[str]]:
        """Return the groups right above each group."""
        found: dict[str, list[str]] = {name: [] for name in self.groups}
        for each in self.groups.values():
            for child, _ in each.children:
                found[child].append(each.name)
        return found

    def around(self, direct: Iterable[str]) -> list[str]:
        """Return all groups that a host is in by those that name it, the outermost first."""
        found: set[str] = {EVERY} & set(self.groups)
        waiting = list(direct)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.parents[name]
        return sorted(found, key=lambda name: (self.depths[name], name))

    def entry(self, name: str) -> Entry:
        """Make a host of everything that is said of it."""
        places = self.places[name]
        around = self.around(place[0] for place in places)
        given: Variables = {}
        for group in around:
            given |= meanings(self.groups[group].variables)
        for _, variables, _ in places:
            self.note(variables)
            given |= meanings(variables)
        at = places[0][2]
        identity = text_of(given.get("identity_file"))
        return Entry(
            name=name,
            uri=uri_of(name, given, at),
            at=at,
            groups=tuple(group for group in around if group not in {EVERY, REST}),
            baseline=text_of(given.get("baseline")),
            sudo=flag_of(given.get("sudo")),
            identity_file=(self.path.parent / Path(identity).expanduser()) if identity else None,
            proxy_jump=text_of(given.get("proxy_jump")) or jump_of(given.get("arguments")),
            tags=tags_of(given.get("tags")),
        )

    def note(self, variables: Variables) -> None:
        """Note a variable that is not read though its author may think so."""
        for name, value in variables.items():
            if name in SECRETS:
                self.notes.append(f"{value.at}: {name} is not read; a password for sudo comes from a prompt or a file descriptor")
            elif name not in NAMES and not name.startswith("ansible_") and (near := get_close_matches(name, OURS, n=1, cutoff=0.8)):
                self.notes.append(f"{value.at}: the variable {name} means nothing here; did you mean `{near[0]}`?")

    def once(self, entries: Iterable[Entry]) -> Iterable[Entry]:
        """Yield the hosts, but one that is reached by the same URI as an earlier one."""
        known: dict[str, Entry] = {}
        for each in entries:
            first = known.setdefault(each.uri, each)
            if first is each:
                yield each
            else:
                self.notes.append(f"{each.at}: {each.name} is {first.uri}, as {first.name} in line {line_of(first)} is; it is asked once")


def line_of(entry: Entry) -> int | None:
    """Return the line where a host stands."""
    return entry.at.line if entry.at else None


def meanings(variables: Variables) -> Variables:
    """Return what of some variables means something here, by its meaning."""
    return {NAMES[name]: value for name, value in variables.items() if name in NAMES}


def uri_of(name: str, given: Variables, at: Location) -> str:
    """Return the URI of a host: its own, or one made of its address, user, port and way of connecting."""
    from harness.targets import SCHEMES

    if found := URI.fullmatch(name):
        if found["scheme"] not in SCHEMES:
            raise ConfigError(f"`{name}`: there are no targets of the kind {found['scheme']}://", hint=schemes(), at=at)
        if found["scheme"] == "ssm":
            instance_at(name, at)
        if found["scheme"] != "ssh":
            return name
        name = found["rest"].rstrip("/")
    how = given.get("connection")
    connection = text_of(how) or "ssh"
    if connection not in SSH:
        scheme = CONNECTIONS.get(connection)
        if scheme is None:
            hint = f"{', '.join(('ssh', *CONNECTIONS))}; or the URI of a target in place of the host"
            raise ConfigError(f"hosts cannot be asked by the connection `{connection}`", hint=hint, at=how.at if how else at)
        return f"{scheme}://" if scheme == "local" else f"{scheme}://{text_of(given.get('host')) or name}"
    place = given.get("host")
    at = place.at if place else at
    address = text_of(place) or name
    if ":" in address and re.fullmatch(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", address):
        address = f"[{address}]"
    parts = ADDRESS.fullmatch(address)
    if parts is None or len(parts["host"]) > LONGEST:
        raise ConfigError(
            f"`{address[:80]}` is no host", hint="HOST, USER@HOST:PORT, [IPv6]:PORT, or a URI such as ssm://i-0123456789abcdef0", at=at
        )
    user, said = parts["user"] or text_of(given.get("user")), given.get("user")
    if user and not USER.fullmatch(user):
        # It may reach the shell of a ProxyCommand, by %r.
        raise ConfigError(f"`{user[:80]}` is no name of a user", hint="letters, digits and . _ - @", at=said.at if said else at)
    port = port_of(Value(parts["port"], at) if parts["port"] else given.get("port"))
    return f"ssh://{f'{user}@' if user else ''}{parts['host']}{f':{port}' if port else ''}"


def instance_at(uri: str, at: Location) -> None:
    """Raise ConfigError, with its place, for a URI that names neither an instance nor a tag."""
    from harness.targets import ssm

    try:
        ssm.parsed(uri)
    except UsageError as error:
        raise ConfigError(error.message, hint=error.hint, at=at) from None


def schemes() -> str:
    """List what targets there are."""
    from harness.targets import available

    return f"schemes: {', '.join(f'{name}://' for name in available())}"


def text_of(given: Value | None) -> str | None:
    """Return a variable as text; None where it is not set, or empty. Raises ConfigError for what would have to be worked out first."""
    if given is None or given.value is None:
        return None
    if isinstance(given.value, dict | list):
        raise ConfigError("a text is expected here", at=given.at)
    text = str(given.value).strip()
    if "{{" in text or "{%" in text:
        hint = "write the value itself, or let `ansible-inventory --list --yaml` work it out"
        raise ConfigError(f"`{text}`: templates are not worked out", hint=hint, at=given.at)
    return text or None


def port_of(given: Value | None) -> int | None:
    """Return a port."""
    text = text_of(given)
    if text is None or given is None:
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= HIGHEST_PORT:
        raise ConfigError(f"`{text}` is no port", hint=f"1 to {HIGHEST_PORT}", at=given.at)
    return int(text)


def flag_of(given: Value | None) -> bool | None:
    """Return a flag, in the words of YAML and of Ansible."""
    text = text_of(given)
    if text is None or given is None:
        return None
    if text.lower() not in YES | NO:
        raise ConfigError(f"`{text}` is neither true nor false", at=given.at)
    return text.lower() in YES


def jump_of(given: Value | None) -> str | None:
    """Return the jump host that options for OpenSSH name."""
    text = text_of(given)
    found = JUMP.search(text) if text else None
    return found["hosts"] if found else None


def tags_of(given: Value | None) -> dict[str, str]:
    """Return tags: a mapping in YAML, `Role=web,Env=prod` in a list."""
    if given is None or given.value is None:
        return {}
    if isinstance(given.value, dict):
        return {str(name): str(value) for name, value in given.value.items()}
    pairs = [part.partition("=") for part in str(given.value).split(",") if part.strip()]
    if any(not equals for _, equals, _ in pairs):
        raise ConfigError(f"`{given.value}` is no list of tags", hint="tags=Role=web,Env=prod", at=given.at)
    return {name.strip(): value.strip() for name, _, value in pairs}


def limited(entries: Sequence[Entry], patterns: Sequence[str]) -> tuple[Entry, ...]:
    """Return the hosts that a pattern names: a group, a name, a URI or a tag `Role=web`, with `*`; `!web` takes away.

    Patterns may be joined by commas. Raises UsageError for one that names nothing.
    """
    words = [word.strip() for pattern in patterns for word in pattern.split(",") if word.strip()]
    chosen = {entry.uri for entry in entries} if all(word.startswith("!") for word in words) else set()
    for word in words:
        found = {entry.uri for entry in entries if named(entry, word.removeprefix("!"))}
        if not found:
            known = dict.fromkeys((*(group for entry in entries for group in entry.groups), *(entry.name for entry in entries)))
            raise UsageError(f"--limit {word} names no host of the inventory", hint=did_you_mean(word, known, what="groups and hosts"))
        chosen = chosen - found if word.startswith("!") else chosen | found
    left = tuple(entry for entry in entries if entry.uri in chosen)
    if not left:
        raise UsageError(f"--limit {','.join(words)} leaves no host")
    return left


def named(entry: Entry, word: str) -> bool:
    """Tell whether a pattern names a host."""
    place = entry.uri.partition("://")[2].rpartition("@")[2]
    names = (
        EVERY,
        *entry.groups,
        entry.name,
        entry.uri,
        place,
        re.sub(r":[0-9]+$", "", place),
        *(f"{k}={v}" for k, v in entry.tags.items()),
    )
    return any(fnmatchcase(name, word) for name in names)
