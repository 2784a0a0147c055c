"""Questions that can be asked together: one `stat`, one `systemctl show`, one reading of all files, whatever the number of checks.

A check asks one question at a time, in the words of harness.suite. A group knows these words: it makes one command of many
questions, and of its output the very answer that each would have had alone. What does not come out exactly (a file that changes
under its eyes, a name that is odd) has no answer here, and is asked again by itself.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

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
DATABASE = "if [ -e %s ]; then awk %s %s; else exit 66; fi"
KIND = r"""function kind(p) {
  if (p == "" || p == "x") return p
  if (match(p, /^[!*]+/)) return substr(p, 1, RLENGTH) kind(substr(p, RLENGTH + 1))
  if (match(p, /^\$[0-9a-z]+\$(rounds=[0-9]+\$)?/)) return substr(p, 1, RLENGTH) "[redacted password-hash]"
  return "[redacted password-hash]"
}
BEGIN { FS = OFS = ":" } NF > 1 { $2 = kind($2) } { print }"""
"""For awk: a password field is turned into its kind, on the host: locked, empty, in shadow, or the algorithm of the hash."""
SSHD = "sshd -T -C "
"""The questions of harness.suite, text by text; it builds its own from these."""

NAME = re.compile(r"[A-Za-z0-9_./@+,:=-]+")
PATTERNS = re.compile(r"""[^;|&<>()$`\\\n#]+""")
CAT = re.compile(r"cat /proc/[a-z]+")
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
        (units_of, units),
        (kernel_of, kernel),
        (database_of, lambda found: databases(found, token)),
        (connection_of, lambda found: connections(found, token)),
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
    """Recognise `read` of what the kernel shows, as `sysctl` does, and `cat` of it: such files have no length."""
    if CAT.fullmatch(text):
        return (text.removeprefix("cat "),)
    name = read_of(text)
    return (name,) if name is not None and name.startswith("/proc/sys/") else None


def kernel(members: Mapping[str, tuple[str, ...]]) -> Group:
    """Read many files of the kernel; their text always ends with a line end, and holds a zero byte nowhere."""
    names = " ".join(name for (name,) in members.values())
    text = (
        f"for f in {names}; do [ -e $f ] || echo $f; done; printf '\\0'\n"
        f"for f in {names}; do read -r -n 1 c <$f || [ ! -r $f ] || echo $f; done 2>/dev/null; printf '\\0'\n"
        f"grep -aHZ '' -- {names} 2>/dev/null; :"
    )

    def answers(parts: Parts) -> Answers:
        absent, _, more = parts[1].partition(b"\0")
        empty, _, lines = more.partition(b"\0")
        gone, bare = set(absent.decode("utf-8", "replace").split()), set(empty.decode("utf-8", "replace").split())
        said: dict[str, bytes] = {}
        for line in lines.splitlines(keepends=True):
            file, zero, value = line.partition(b"\0")
            if zero:
                key = file.decode("utf-8", "replace")
                said[key] = said.get(key, b"") + value
        for command, (name,) in members.items():
            whole = CAT.fullmatch(command)
            if name in said:
                yield command, (0, said[name], b"")
            elif whole and name in bare:
                yield command, (0, b"", b"")
            elif name in gone and not whole:
                yield command, (MISSING, b"", b"")

    return Group(text, tuple(members), answers)


def database_of(text: str) -> tuple[str, ...] | None:
    """Recognise `database`."""
    name = text.removeprefix("if [ -e ").partition(" ")[0]
    return (name,) if NAME.fullmatch(name) and text == DATABASE % (name, shlex.quote(KIND), name) else None


def databases(members: Mapping[str, tuple[str, ...]], token: str) -> Group:
    """Read many files whose second field is a password, in one process."""
    names = " ".join(name for (name,) in members.values())
    kind = f'FNR == 1 {{ print "={token} " FILENAME }}\n{KIND}'
    text = (
        f"set --; for f in {names}; do if [ -e $f ]; then set -- \"$@\" $f; else echo $f; fi; done; printf '\\0'\n"
        f'[ $# = 0 ] || exec awk {shlex.quote(kind)} "$@"'
    )

    def answers(parts: Parts) -> Answers:
        code, out, err = parts
        absent, zero, lines = out.partition(b"\0")
        if code != 0 or err or not zero:
            return
        gone = set(absent.decode("utf-8", "replace").split())
        pieces = re.split(rb"^=" + token.encode() + rb" (.*)\n", lines, flags=re.MULTILINE)
        said = dict(zip(pieces[1::2], pieces[2::2], strict=True))
        for command, (name,) in members.items():
            yield command, (MISSING, b"", b"") if name in gone else (0, said.get(name.encode(), b""), b"")

    return Group(text, tuple(members), answers)


def connection_of(text: str) -> tuple[str, ...] | None:
    """Recognise `sshd`, and return for whom it asks."""
    name = text.removeprefix(SSHD)
    return (name,) if text.startswith(SSHD) and NAME.fullmatch(name) else None


PLAIN = """\
plain() {
  local k v p f
  while read -r k v || [ "$k" ]; do
    case $k in
    '#'*) ;;
    [Ii][Nn][Cc][Ll][Uu][Dd][Ee])
      case $v in *[!a-zA-Z0-9/._*[:blank:]-]*) return 1 ;; esac
      for p in $v; do
        case $p in /*) ;; *) p=/etc/ssh/$p ;; esac
        for f in $p; do [ ! -e "$f" ] || plain "$f" || return 1; done
      done ;;
    [Mm][Aa][Tt][Cc][Hh]* | [Ii][Nn][Cc][Ll][Uu][Dd][Ee]* | *[!a-zA-Z0-9]*) return 1 ;;
    esac
  done <"$1"
}
"""
# sshd's configuration is the same for everybody unless it holds a Match; whatever is written oddly counts as one.


def connections(members: Mapping[str, tuple[str, ...]], token: str) -> Group:
    """Ask sshd how it treats several users: once where its configuration tells no user from another."""
    (first,), *others = members.values()
    text = (
        f"{PLAIN}ask() {{ {SSHD}\"$1\"; printf '\\0={token} %s\\0' $?; printf '\\0={token} \\0' >&2; }}\n"
        f"ask {first}; plain /etc/ssh/sshd_config 2>/dev/null || for c in {' '.join(name for (name,) in others)}; do ask $c; done; :"
    )

    def answers(parts: Parts) -> Answers:
        outs, errs = (re.split(rb"\0=" + token.encode() + rb" (\d*)\0", stream) for stream in parts[1:])
        said = list(zip(map(int, outs[1::2]), outs[:-1:2], errs[:-1:2], strict=False))
        if len(said) == 1:
            said *= len(members)
        if len(said) == len(members):
            yield from zip(members, said, strict=True)

    return Group(text, tuple(members), answers)


def files_of(text: str) -> tuple[str, str] | None:
    """Recognise `read`, `texts`, `paths` and `path`; return the kind and the patterns."""
    name = read_of(text)
    if name is not None:
        return None if name.startswith(("/proc/", "/sys/")) else ("read_", name)
    for kind, follow in (("behind", True), ("facts", False)):
        if found := stat_of(text, follow=follow):
            return kind, found[0]
    for kind, (head, tail) in (("texts", TEXTS), ("paths", PATHS)):
        if text.startswith(head) and text.endswith(tail):
            patterns = text[len(head) : -len(tail)]
            return (kind, patterns) if PATTERNS.fullmatch(patterns) else None
    return None


FUNCTIONS = """\
LC_ALL=C; declare -A s=() t=() u=(); a=(); b=(); c=(); o=()
texts() { for f; do if [ -f "$f" ]; then o+=("$f"); [ "${s[$f]}" ] || { s[$f]=1; a+=("$f"); }; fi; done; o+=(''); }
read_() { if [ -f "$1" ]; then texts "$1"; else [ ! -e "$1" ] || o+=('!'); o+=(''); fi; }
facts() { [ "${t[$1]}" ] || { t[$1]=1; b+=("$1"); }; o+=(''); }
behind() { [ "${u[$1]}" ] || { u[$1]=1; c+=("$1"); }; o+=(''); }
paths() { for f; do if [ -e "$f" ] || [ -L "$f" ]; then o+=("$f"); [ "${t[$f]}" ] || { t[$f]=1; b+=("$f"); }; fi; done; o+=(''); }
"""
# Each member notes the names that it found and an empty one; every name is looked at once, whoever asked for it.

FINISH = """\
printf '%s\\0' "${o[@]}"
[ ${#b[@]} = 0 ] || stat --printf='%a|%U|%G|%F|%n\\0' -- "${b[@]}"; printf '\\0'
[ ${#a[@]} = 0 ] && [ ${#c[@]} = 0 ] || stat -L --printf='%a|%U|%G|%F|%s|%n\\0' -- "${a[@]}" "${c[@]}"; printf '\\0'
[ ${#a[@]} = 0 ] || exec awk 'FNR == 1 { print "=@TOKEN@ " FILENAME } { print }' "${a[@]}"
"""


def files(members: Mapping[str, tuple[str, str]], token: str) -> Group:
    """Read many files and the facts of many paths, in three processes."""
    calls = "".join(f"{kind} {patterns}\n" for kind, patterns in members.values())
    text = FUNCTIONS + calls + FINISH.replace("@TOKEN@", token)

    def answers(parts: Parts) -> Answers:
        found = contents(parts[1], members, token)
        if found is None:
            return
        gone = {absent[1]: absent[0] for absent in ABSENT.finditer(parts[2])}
        for (command, (kind, pattern)), names in zip(members.items(), found.lists, strict=True):
            if kind in {"facts", "behind"}:
                there, name = (found.facts if kind == "facts" else found.behind), pattern.encode()
                if name in there:
                    yield command, (0, there[name] + b"\n", b"")
                elif name in gone:
                    yield command, (1, b"", gone[name] + b"\n")
            elif kind == "paths":
                if all(name in found.facts for name in names):
                    yield command, (0, b"".join(found.facts[name] + b"|" + name + b"\n" for name in names), b"")
            elif all(name in found.bodies for name in names):
                if kind == "texts":
                    yield command, (0, b"".join(b"\x1e" + name + b"\n" + found.bodies[name] + b"\n" for name in names), b"")
                else:
                    yield command, (0, found.bodies[names[0]], b"") if names else (MISSING, b"", b"")

    return Group(text, tuple(members), answers)


class Contents(NamedTuple):
    """What `files` brought back."""

    lists: list[list[bytes]]
    """The names that each member found."""
    facts: dict[bytes, bytes]
    """Mode, owner, group and kind by path."""
    behind: dict[bytes, bytes]
    """The same of what a link leads to."""
    bodies: dict[bytes, bytes]
    """Text by file."""


def contents(out: bytes, members: Mapping[str, tuple[str, str]], token: str) -> Contents | None:
    """Take the output of `files` apart. None when it is not whole."""
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
    *lists, stated, followed = lists
    facts: dict[bytes, bytes] = {}
    for line in stated:
        *parts, name = line.split(b"|", 4)
        facts[name] = b"|".join(parts)
    behind: dict[bytes, bytes] = {}
    sizes: dict[bytes, int] = {}
    for line in followed:
        *parts, size, name = line.split(b"|", 5)
        behind[name], sizes[name] = b"|".join(parts), int(size)
    pieces = re.split(rb"^=" + token.encode() + rb" (.*)\n", out[at:], flags=re.MULTILINE)
    said = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    read = {name for names, (kind, _) in zip(lists, members.values(), strict=True) if kind in {"texts", "read_"} for name in names}
    bodies = {name: exact(said.get(name, b""), sizes[name]) for name in read if name in sizes}
    return Contents(lists, facts, behind, {name: body for name, body in bodies.items() if body is not None})


def exact(body: bytes, size: int) -> bytes | None:
    """Return a file's text as it is, without the line end that awk adds to a last line; None when it is not what stat has seen."""
    if len(body) == size or b"[redacted " in body:
        return body
    return body[:-1] if len(body) == size + 1 and body.endswith(b"\n") else None
