"""Many read-only commands in one round trip: the program text that runs them, and their answers taken apart again.

Each command runs in a subshell and a process group of its own, with an empty standard input and a limit of its own; whatever it
leaves running is killed before the next one begins. Random marks on both output streams say where its output begins and ends, and
how it ended. Nothing is written on the host, and everything that it prints goes through the blotting out of secrets there.
"""

from __future__ import annotations

import re
import secrets
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness import grouping, redaction
from harness.capture import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.grouping import Group
    from harness.targets.base import Completed

LIMIT = 60.0
"""Seconds for one command; a search through a large file system takes its time."""
WHOLE = 600.0
"""Seconds for a batch; a host where many commands hang is not waited for any longer."""

HEAD = r"""
__harness_watch() {
  local pid= next status
  while :; do
    if IFS= read -r -N 8 -t @LIMIT@ next; then pid=${next%% *}; continue; else status=$?; fi
    [ $status -gt 128 ] || exit 0
    printf '\000@TOKEN@ !\000'
    kill -KILL -- "-$pid"
    pid=
  done
}
__harness_ask() {
  ( unset -f __harness_ask __harness_watch; cd /; eval "$1" ) </dev/null 2>&3 3>&- 5>&- &
  printf '%-8s' $! >&5
  wait $!
  set -- $? "$2"
  ! kill -0 -- -$! || kill -KILL -- -$!
  printf '\000@TOKEN@ =%s\000\000@TOKEN@ %s\000' "$@"; printf '\000@TOKEN@ =\000\000@TOKEN@ %s\000' "$2" >&3
}
__harness_all() {
  exec 3>&2 2>/dev/null
  set -m
  printf '\000@TOKEN@ 0\000'; printf '\000@TOKEN@ 0\000' >&3
"""
TAIL = r"""
  printf '\000@TOKEN@ end\000\n'; printf '\000@TOKEN@ end\000\n' >&3
}
LC_ALL=C
{
  { __harness_all 5>&1 >&4 2>&6 4>&- 6>&- | __harness_watch >&4 2>/dev/null 4>&- 6>&-; } 6>&1 | sed -E -e @SED@ >&2 4>&-
} 4>&1 | sed -E -e @SED@
"""


# The watcher reads the process groups as they begin; when it hears of none for the time of a limit, it kills the last one.
# `sed` ends at the last mark and not at the end of the stream, which something that a log-in script left behind may keep open.


@dataclass(frozen=True, slots=True)
class Batch:
    """One round trip. Its text is bash for `Target.run`, or for a file that `/bin/bash` runs; both output streams belong to it."""

    text: str
    seconds: float
    """How long it may take at most; each command has its own, shorter limit that holds on the host."""
    commands: tuple[str, ...]
    token: str
    groups: tuple[Group, ...] = ()
    rest: tuple[str, ...] = field(default=())

    def answers(self, completed: Completed) -> tuple[Mapping[str, Answer], Mapping[str, int]]:
        """Return the answer of each command that has one, and how many secrets of each kind were blotted out on the host."""
        outs, errs = framed(completed.stdout, self.token), framed(completed.stderr, self.token)
        found: dict[str, Answer] = {}
        for number, text in enumerate([*(group.text for group in self.groups), *self.rest]):
            out, err = outs.get(number), errs.get(number)
            if out is None or err is None or out.code is None:
                continue
            if number >= len(self.groups):
                found[text] = Answer(text, out.code, out.data, err.data, timed_out=out.late)
            elif not out.late:
                for command, (code, stdout, stderr) in self.groups[number].answers((out.code, out.data, err.data)):
                    found[command] = Answer(command, code, stdout, stderr)
        return found, redaction.counted((completed.stdout, completed.stderr))


def batch(commands: Sequence[str], *, together: bool = True, limit: float = LIMIT) -> Batch:
    """Put commands into one batch, grouping what can be asked together unless told otherwise; each gets `limit` seconds."""
    token = f"mark{secrets.token_hex(16)}"
    groups, rest = grouping.grouped(commands, token) if together else ([], list(commands))
    texts = [*(group.text for group in groups), *rest]
    calls = "".join(f"__harness_ask {shlex.quote(replacing(text))} {number}\n" for number, text in enumerate(texts, 1))
    text = (HEAD + calls + TAIL).replace("@SED@", shlex.quote(redaction.SED)).replace("@TOKEN@", token).replace("@LIMIT@", f"{limit:g}")
    return Batch(text, min(WHOLE, limit * len(texts) + 30), tuple(commands), token, tuple(groups), tuple(rest))


PROGRAMS = (
    "aide|auditctl|awk|cat|chronyc|date|env|find|getent|grep|id|ip|last|lastb|logrotate|ps|readlink|rpm|rsyslogd|sed|setpriv|ss|sshd|stat|"
    "systemctl|uname|visudo"
)
SINGLE = rf"(?:{PROGRAMS}) (?:'[^']*'|\"(?:[^\"$`\\]|\$\([a-z0-9 -]+\))*\"|\\.|[23]?>/dev/null|[23]>&1|</dev/null|[^'\"\\;&|<>()\n])*"
"""One program with its arguments, and nothing that only a shell could do."""
ALONE = re.compile(SINGLE)
GUARDED = re.compile(rf"if (?:\[ -[a-z] [\w./-]+ \]|type [a-z]+ >/dev/null 2>&1); then (?P<program>{SINGLE}); (?:else exit [0-9]+; )?fi")


def replacing(text: str) -> str:
    """Let a single program take the place of its subshell, which saves the host a process."""
    if ALONE.fullmatch(text):
        return f"exec {text}"
    guarded = GUARDED.fullmatch(text)
    return f"{text[: guarded.start('program')]}exec {text[guarded.start('program') :]}" if guarded else text


@dataclass(slots=True)
class Framed:
    """What one command printed on one stream."""

    data: bytes = b""
    code: int | None = None
    late: bool = False


def framed(stream: bytes, token: str) -> dict[int, Framed]:
    """Take a stream apart at the marks; only what has both its marks counts, what stands outside of them does not."""
    pieces = re.split(b"\0" + token.encode() + b" ([^\0]*)\0", stream)
    found: dict[int, Framed] = {}
    number, current = -1, Framed()
    for mark, data in zip(pieces[1::2], pieces[2::2], strict=True):
        if mark == b"end":
            break
        if mark == b"!":
            current.late = True
            current.data += data
        elif mark.startswith(b"="):
            if number >= 0:
                current.code = int(mark[1:] or b"0")
                found[number] = current
            number, current = -1, Framed()
        else:
            number, current = int(mark), Framed(data)
    return found
