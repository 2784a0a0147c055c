"""Questions that can be asked together: one `stat`, one `systemctl show`, one reading of all files, whatever the number of checks.

A check asks one question at a time, in the words of harness.suite. A group knows these words: it makes one command of many
questions, and of its output the very answer that each would have had alone. What does not come out exactly (a file that changes
under its eyes, a name that is odd) has no answer here, and is asked again by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Parts: TypeAlias = tuple[int, bytes, bytes]
"""Exit code, standard output, standard error."""
Answers: TypeAlias = Iterator[tuple[str, Parts]]

STAT = "%a|%U|%G|%F"
UNIT = "systemctl show -p LoadState -p ActiveState -p UnitFileState -- "
READ = "if [ -e {0} ]; then cat -- {0}; else exit 66; fi"
TEXTS = (
    "LC_ALL=C; for f in ",
    """; do [ -f "$f" ] || continue; printf '\\036%s\\n' "$f"; cat -- "$f" || exit; echo; done""",
)
PATHS = (
    "LC_ALL=C; set --; for p in ",
    """; do if [ -e "$p" ] || [ -L "$p" ]; then set -- "$@" "$p"; fi; done; [ $# = 0 ] || stat -c '%a|%U|%G|%F|%n' -- "$@\"""",
)
"""The questions of harness.suite, text by text; it builds its own from these."""

NAME = re.compile(r"[A-Za-z0-9_./@+,:=-]+")
PATTERNS = re.compile(r"""[^;|&<>()$`\\\n#]+""")
MISSING = 66
WITHOUT_SYSTEMD = re.compile(rb"System has not been booted with systemd|Failed to (connect to bus|get D-Bus connection): ")
"""How systemctl refuses where no systemd runs, whatever it was asked."""
ABSENT = re.compile(rb"^stat: cannot stat.? ?['`\xe2\x80\x98]*([^'\n]*?)['\xe2\x80\x99]*: (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Group:
    """One command for several questions."""

    text: str
    members: tuple[str, ...]
    answers: Callable[[Parts], Answers]
    """Takes the group's own output apart; yields only what is certain."""


def grouped(commands: Sequence[str], token: str) -> tuple[list[Group], list[str]]:
    """Sort commands into groups and the rest. `token` is a random word that no output holds."""
    rest = list(commands)
    groups: list[Group] = []
    for recognise, make in (
        (lambda text: stat_of(text, follow=True), lambda found: stats(found, follow=True)),
        (lambda text: stat_of(text, follow=False), lambda found: stats(found, follow=False)),
        (units_of, units),
        (kernel_of, kernel),
        (files_of, lambda found: files(found, token)),
    ):
        found = {text: part for text in rest if (part := recognise(text)) is not None}
        if len(found) > 1:
            groups.append(make(found))
            rest = [text for text in rest if text not in found]
    return groups, rest


def placeholder(text: str) -> Parts:
    """Return what a question might be answered with where nothing is installed, to find out what a check asks next."""
    if stat_of(text, follow=True) or stat_of(text, follow=False):
        return 1, b"", b"stat: cannot stat: No such file or directory\n"
    if names := units_of(text):
        return 0, b"\n\n".join([b"LoadState=not-found\nActiveState=inactive\nUnitFileState="] * len(names)) + b"\n", b""
    return (MISSING if read_of(text) else 0), b"", b""


def stat_of(text: str, *, follow: bool) -> tuple[str, ...] | None:
    """Recognise `path`."""
    head = f"stat {'-L ' if follow else ''}-c '{STAT}' -- "
    name = text.removeprefix(head)
    return (name,) if text.startswith(head) and NAME.fullmatch(name) else None


def stats(members: Mapping[str, tuple[str, ...]], *, follow: bool) -> Group:
    """Ask for the facts of many paths."""
    names = dict.fromkeys(name for found in members.values() for name in found)
    text = f"stat {'-L ' if follow else ''}-c '{STAT}|%n' -- {' '.join(names)}"

    def answers(parts: Parts) -> Answers:
        _, out, err = parts
        there = {name: facts for line in out.decode("utf-8", "replace").splitlines() for facts, _, name in [line.rpartition("|")]}
        gone = {found[1].decode("utf-8", "replace"): found[0] for found in ABSENT.finditer(err)}
        for command, (name,) in members.items():
            if name in there:
                yield command, (0, f"{there[name]}\n".encode(), b"")
            elif name in gone:
                yield command, (1, b"", gone[name] + b"\n")

    return Group(text, tuple(members), answers)


def units_of(text: str) -> tuple[str, ...] | None:
    """Recognise `unit` and `units`."""
    names = text.removeprefix(UNIT).split(" ")
    return tuple(names) if text.startswith(UNIT) and all(map(NAME.fullmatch, names)) else None


def units(members: Mapping[str, tuple[str, ...]]) -> Group:
    """Ask systemd for many units."""
    names = list(dict.fromkeys(name for found in members.values() for name in found))

    def answers(parts: Parts) -> Answers:
        code, out, err = parts
        if code != 0 and not out and WITHOUT_SYSTEMD.match(err):
            yield from ((command, parts) for command in members)
            return
        blocks = out.strip(b"\n").split(b"\n\n")
        if code != 0 or len(blocks) != len(names):
            return
        of = dict(zip(names, blocks, strict=True))
        for command, found in members.items():
            yield command, (0, b"\n\n".join(of[name] for name in found) + b"\n", b"")

    return Group(UNIT + " ".join(names), tuple(members), answers)


def read_of(text: str) -> str | None:
    """Recognise `read`, and return the file's name."""
    head, _, _ = READ.partition("{0}")
    name = text.removeprefix(head).partition(" ")[0]
    return name if text.startswith(head) and NAME.fullmatch(name) and text == READ.format(name) else None


def kernel_of(text: str) -> tuple[str, ...] | None:
    """Recognise `read` of what the kernel shows, as `sysctl` does: such files have no length."""
    name = read_of(text)
    return (name,) if name is not None and name.startswith("/proc/sys/") else None


def kernel(members: Mapping[str, tuple[str, ...]]) -> Group:
    """Read many kernel parameters; their text always ends with a line end, and never holds a zero byte."""
    names = " ".join(name for (name,) in members.values())
    text = f"for f in {names}; do [ -e $f ] || echo $f; done; printf '\\0'; grep -aHZ '' -- {names} 2>/dev/null; :"

    def answers(parts: Parts) -> Answers:
        absent, _, lines = parts[1].partition(b"\0")
        gone = set(absent.decode("utf-8", "replace").split())
        said: dict[str, bytes] = {}
        for line in lines.splitlines(keepends=True):
            file, zero, value = line.partition(b"\0")
            if zero:
                key = file.decode("utf-8", "replace")
                said[key] = said.get(key, b"") + value
        for command, (name,) in members.items():
            if name in gone:
                yield command, (MISSING, b"", b"")
            elif name in said:
                yield command, (0, said[name], b"")

    return Group(text, tuple(members), answers)


def files_of(text: str) -> tuple[str, str] | None:
    """Recognise `read`, `texts` and `paths`; return the kind and the patterns."""
    name = read_of(text)
    if name is not None:
        return None if name.startswith(("/proc/", "/sys/")) else ("read", name)
    for kind, (head, tail) in (("texts", TEXTS), ("paths", PATHS)):
        if text.startswith(head) and text.endswith(tail):
            patterns = text[len(head) : -len(tail)]
            return (kind, patterns) if PATTERNS.fullmatch(patterns) else None
    return None


FUNCTIONS = """\
LC_ALL=C; declare -A s=() t=(); a=(); b=()
texts() { for f; do if [ -f "$f" ]; then printf '%s\\0' "$f"; [ "${s[$f]}" ] || { s[$f]=1; a+=("$f"); }; fi; done; printf '\\0'; }
read_() { if [ -f "$1" ]; then texts "$1"; else [ ! -e "$1" ] || printf '!\\0'; printf '\\0'; fi; }
paths() {
  for f; do if [ -e "$f" ] || [ -L "$f" ]; then printf '%s\\0' "$f"; [ "${t[$f]}" ] || { t[$f]=1; b+=("$f"); }; fi; done
  printf '\\0'
}
"""
# Each member prints the names that it found and an empty one; every name is looked at once, whoever asked for it.

FINISH = """\
[ ${#b[@]} = 0 ] || stat --printf='%a|%U|%G|%F|%n\\0' -- "${b[@]}"; printf '\\0'
[ ${#a[@]} = 0 ] || stat -L --printf='%s\\0' -- "${a[@]}"; printf '\\0'
[ ${#a[@]} = 0 ] || awk 'FNR == 1 { print "=@TOKEN@ " FILENAME } { print }' "${a[@]}"
"""


def files(members: Mapping[str, tuple[str, str]], token: str) -> Group:
    """Read many files and the facts of many paths, in three processes."""
    calls = "".join(f"{'read_' if kind == 'read' else kind} {patterns}\n" for kind, patterns in members.values())
    text = FUNCTIONS + calls + FINISH.replace("@TOKEN@", token)

    def answers(parts: Parts) -> Answers:
        found = contents(parts[1], members, token)
        if found is None:
            return
        lists, facts, bodies = found
        for (command, (kind, _)), names in zip(members.items(), lists, strict=True):
            if kind == "paths":
                if all(name in facts for name in names):
                    yield command, (0, b"".join(facts[name] + b"\n" for name in names), b"")
            elif all(name in bodies for name in names):
                if kind == "texts":
                    yield command, (0, b"".join(b"\x1e" + name + b"\n" + bodies[name] + b"\n" for name in names), b"")
                else:
                    yield command, (0, bodies[names[0]], b"") if names else (MISSING, b"", b"")

    return Group(text, tuple(members), answers)


Contents: TypeAlias = tuple[list[list[bytes]], dict[bytes, bytes], dict[bytes, bytes]]


def contents(out: bytes, members: Mapping[str, tuple[str, str]], token: str) -> Contents | None:
    """Take the output of `files` apart: names per member, facts by path, text by file. None when it is not whole."""
    lists: list[list[bytes]] = []
    at = 0
    for _ in range(len(members) + 2):
        names: list[bytes] = []
        while (end := out.find(b"\0", at)) > at:
            names.append(out[at:end])
            at = end + 1
        if end < 0:
            return None
        at += 1
        lists.append(names)
    *lists, stated, sizes = lists
    facts = {line.split(b"|", 4)[4]: line for line in stated}
    read = [names for names, (kind, _) in zip(lists, members.values(), strict=True) if kind != "paths"]
    ordered = list(dict.fromkeys(name for names in read for name in names if name != b"!"))
    if len(ordered) != len(sizes):
        return None
    pieces = re.split(rb"^=" + token.encode() + rb" (.*)\n", out[at:], flags=re.MULTILINE)
    said = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    bodies = {name: exact(said.get(name, b""), int(size)) for name, size in zip(ordered, sizes, strict=True)}
    return lists, facts, {name: body for name, body in bodies.items() if body is not None}


def exact(body: bytes, size: int) -> bytes | None:
    """Return a file's text as it is, without the line end that awk adds to a last line; None when it is not what stat has seen."""
    if len(body) == size or b"[redacted " in body:
        return body
    return body[:-1] if len(body) == size + 1 and body.endswith(b"\n") else None
