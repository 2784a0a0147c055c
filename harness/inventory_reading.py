"""The two ways in which an inventory is written, lists with Ansible's INI sections and YAML, read into the same groups.

Nothing is resolved here: a group is what its file says of it, with the line of each part.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness import locatedyaml
from harness.config.suggestions import did_you_mean
from harness.errors import ConfigError, ContentError, Location

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness.locatedyaml import Located

SECTION = re.compile(r"\[(?P<name>[^\]:\s]+)(?::(?P<kind>[a-z]+))?\]")
IPV6 = re.compile(r"\[[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(?:%[\w.-]+)?\]")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
KINDS = ("children", "vars")
EVERY, REST = "all", "ungrouped"
MOST = 100_000
"""Hosts that one range may stand for."""
PARTS = ("hosts", "vars", "children")


@dataclass(frozen=True, slots=True)
class Value:
    """A variable's value and where it stands."""

    value: Any
    at: Location


Variables = dict[str, Value]


@dataclass(slots=True)
class Group:
    """What a file says of a group."""

    name: str
    at: Location
    hosts: list[tuple[str, Variables, Location]] = field(default_factory=list)
    variables: Variables = field(default_factory=dict)
    children: list[tuple[str, Location]] = field(default_factory=list)
    defined: bool = True
    """False: only named so far, as the parent or child of another one."""


Groups = dict[str, Group]

RANGE = re.compile(r"\[(?P<first>[0-9]+|[A-Za-z]):(?P<last>[0-9]+|[A-Za-z])(?::(?P<step>[0-9]+))?\]")


def expanded(text: str, at: Location) -> list[str]:
    """Return the names that a text with ranges stands for: `web[01:10]`, `db-[a:c]`, `n[0:8:2]`."""
    found = RANGE.search(text)
    if found is None:
        return [text]
    first, last, step = found["first"], found["last"], int(found["step"] or 1)
    if first.isdigit() is not last.isdigit() or step < 1:
        raise ConfigError(f"`{found[0]}` is no range", hint="from a number to a number, or from a letter to a letter: web[01:10]", at=at)
    low, high = (int(first), int(last)) if first.isdigit() else (ord(first), ord(last))
    if high < low:
        raise ConfigError(f"the range `{found[0]}` goes backwards", hint=f"[{last}:{first}]", at=at)
    tails = expanded(text[found.end() :], at)
    if ((high - low) // step + 1) * len(tails) > MOST:
        raise ConfigError(f"`{text}` stands for more than {MOST:,} hosts", hint="an inventory of that size is written by a program", at=at)
    width = len(first) if first.startswith("0") else 0
    middles = [f"{number:0{width}d}" if first.isdigit() else chr(number) for number in range(low, high + 1, step)]
    return [f"{text[: found.start()]}{middle}{tail}" for middle in middles for tail in tails]


def read(text: str, path: Path) -> Groups:
    """Read an inventory; its name tells YAML from a list. Raises ConfigError or ContentError with file and line."""
    return from_yaml(locatedyaml.parse(text, path)) if path.suffix in {".yaml", ".yml"} else from_lines(text, path)


def from_lines(text: str, path: Path) -> Groups:
    """Read a list of hosts, in sections or not; a host may be followed by variables."""
    groups: Groups = {}
    current, kind = group(groups, REST, Location(path, 1)), ""
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        at, line = Location(path, number), raw.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("[") and not IPV6.match(line):
            current, kind = section(groups, line, at)
        elif kind == "vars":
            name, equals, value = line.partition("=")
            if not equals or not name.strip():
                raise ConfigError(f"`{line}` is not NAME=VALUE", hint=f"below [{current.name}:vars] each line sets a variable", at=at)
            current.variables[name.strip()] = Value(unquoted(value.strip(), at), at)
        elif kind == "children":
            child = line.split("#")[0].strip()
            current.children.append((child, at))
            group(groups, child, at, defined=False)
        else:
            host_line(current, line, at)
    return groups


def section(groups: Groups, line: str, at: Location) -> tuple[Group, str]:
    """Begin a section."""
    found = SECTION.fullmatch(line.split(" #", maxsplit=1)[0].strip())
    if found is None or not NAME.fullmatch(found["name"]):
        raise ConfigError(f"`{line}` begins no section", hint="[group], [group:children] or [group:vars]", at=at)
    if found["kind"] and found["kind"] not in KINDS:
        raise ConfigError(f"`{line}`: there is no `:{found['kind']}`", hint=did_you_mean(found["kind"], KINDS, what="known"), at=at)
    # Ansible lets a group's variables stand where the group itself does not.
    return group(groups, found["name"], at), found["kind"] or ""


def host_line(into: Group, line: str, at: Location) -> None:
    """Read a host and the variables behind it."""
    words = words_of(line, at)
    variables: Variables = {}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if not equals:
            hint = "one host a line; what follows it sets variables, such as ansible_port=2222"
            raise ConfigError(f"`{word}` after the host is not NAME=VALUE", hint=hint, at=at)
        variables[name] = Value(value, at)
    into.hosts += [(name, variables, at) for name in expanded(words[0], at)]


def words_of(line: str, at: Location) -> list[str]:
    """Split a line as Ansible does; a `#` begins a comment where a word could begin."""
    lexer = shlex.shlex(re.sub(r"\s#.*", "", line), posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        return list(lexer)
    except ValueError:
        raise ConfigError(f"`{line}` has a quote that does not end", at=at) from None


def unquoted(value: str, at: Location) -> str:
    """Return a value without its quotes and the comment behind it."""
    return " ".join(words_of(value, at)) if value else value


def from_yaml(document: Located) -> Groups:
    """Read groups as Ansible writes them in YAML; a list of hosts stands for hosts without variables."""
    groups: Groups = {}
    value = document.value
    if isinstance(value, list):
        value_of_rest = group(groups, REST, document.at())
        value_of_rest.hosts += list(yaml_hosts(document, (), value))
        return groups
    if not isinstance(value, dict):
        raise ContentError("an inventory is a list of hosts, or groups by name", hint=EXAMPLE, at=document.at())
    for name in value:
        yaml_group(document, groups, str(name), (name,), value[name])
    return groups


EXAMPLE = "web: {hosts: [web01, web02], vars: {user: ec2-user}}"


def yaml_group(document: Located, groups: Groups, name: str, place: tuple[str | int, ...], value: object) -> None:
    """Read one group and those inside of it."""
    made = group(groups, name, document.at(*place))
    if value is None:
        return
    if not isinstance(value, dict):
        raise ContentError(f"the group `{name}` has {', '.join(PARTS)}", hint=EXAMPLE, at=document.at(*place))
    for part in value:
        if part not in PARTS:
            raise ContentError(
                f"`{part}` is no part of a group", hint=did_you_mean(str(part), PARTS, what="parts"), at=document.at(*place, part)
            )
    made.hosts += list(yaml_hosts(document, (*place, "hosts"), value.get("hosts")))
    made.variables |= yaml_variables(document, (*place, "vars"), value.get("vars"))
    inner = children_of(value.get("children"), document.at(*place, "children"))
    for child in inner or {}:
        at = document.at(*place, "children", child)
        made.children.append((str(child), at))
        if inner[child] is None:
            group(groups, str(child), at, defined=False)
        else:
            yaml_group(document, groups, str(child), (*place, "children", child), inner[child])


def children_of(value: object, at: Location) -> dict[str, Any]:
    """Return the groups inside of a group by name: what is said of each, None where it is only named."""
    if isinstance(value, list):
        return {str(child): None for child in value}
    if value is not None and not isinstance(value, dict):
        raise ContentError("`children` are groups by name", hint="children: [web, db]", at=at)
    return value or {}


def yaml_hosts(document: Located, place: tuple[str | int, ...], value: object) -> Iterator[tuple[str, Variables, Location]]:
    """Read the hosts of a group: a list of texts, or host to variables."""
    if value is None:
        return
    if not isinstance(value, list | dict):
        raise ContentError("`hosts` is a list, or hosts with their variables", hint=EXAMPLE, at=document.at(*place))
    for index, host in enumerate(value):
        here: tuple[str | int, ...] = (*place, index) if isinstance(value, list) else (*place, host)
        at = document.at(*here)
        if not isinstance(host, str) or not host.strip():
            raise ContentError(f"`{host}` is no host", hint="quote what YAML does not read as text", at=at)
        variables = yaml_variables(document, here, value[host]) if isinstance(value, dict) else {}
        for name in expanded(host.strip(), at):
            yield name, variables, at


def yaml_variables(document: Located, place: tuple[str | int, ...], value: object) -> Variables:
    """Read variables by name."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ContentError("variables are NAME: VALUE", hint="{user: ec2-user, port: 2222}", at=document.at(*place))
    return {str(name): Value(value[name], document.at(*place, name)) for name in value}


def group(groups: Groups, name: str, at: Location, *, defined: bool = True) -> Group:
    """Return a group, made when it is not there."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"`{name}` is no name of a group", hint="letters, digits, `_`, `-` and `.`", at=at)
    found = groups.setdefault(name, Group(name, at, defined=False))
    found.defined = found.defined or defined
    return found


def check(groups: Mapping[str, Group]) -> None:
    """Raise ConfigError for a child that is no group, and for a group inside of itself."""
    for each in groups.values():
        for child, at in each.children:
            if not groups[child].defined:
                known = [name for name, other in groups.items() if other.defined]
                raise ConfigError(f"there is no group `{child}`", hint=did_you_mean(child, known, what="groups"), at=at)
            if each.name in below(groups, child):
                raise ConfigError(f"the group `{each.name}` is inside of itself, by `{child}`", hint="remove one of its children", at=at)


def below(groups: Mapping[str, Group], name: str) -> set[str]:
    """Return a group and all groups inside of it."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += [child for child, _ in groups[one].children]
    return found
