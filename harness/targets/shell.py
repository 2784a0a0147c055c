"""One bash for a whole run: every command in a subshell of its own, for the price of a fork instead of a connection.

The shell reads its requests from standard input. A request is program text that runs the command in a subshell and then prints
an end marker, random for each command, on both output streams. Nothing of it is written to the target, no variable or function
of it is visible to the command. A command that leaves something running in the background cannot disturb the next one:
the shell then gives way to a new one, and what the old one still prints is thrown away.
"""

from __future__ import annotations

import base64
import re
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import TargetError
from harness.targets.base import CommandTimeout, Completed, LostError
from harness.targets.frames import Frame, Lines
from harness.targets.stream import ERR, OUT, Process, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    OnLine = Callable[[str, str], None]
    Explain = Callable[[str, bytes], TargetError]

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
START_SECONDS = 30.0
KILL_SECONDS = 10.0
SETTLE_SECONDS = 5.0
"""How long a shell may take to say that its killed command has ended, before it is given up."""
MOST_RETIRED = 8
"""How many earlier shells are kept for what commands left running; beyond that the oldest loses its output pipes."""
NO_FORK = "code 254"
"""How bash ends when the kernel refuses it a process."""
PREFIX = b"unset -v __request __input; "
INLINE = 32_768
"""Longest command text that bash parses from its input, which it reads byte by byte; longer ones arrive through `head`."""

PROLOGUE = """\
while IFS= read -r __request; do eval "$__request"; done
exec 3>&2 2>/dev/null; set -m; umask 022; cd /; unset -v BASH_ENV ENV CDPATH GLOBIGNORE OLDPWD
export HOME=/root PATH={path} LC_ALL=C; printf '\\000{token}\\000'; printf '\\000{token}\\000' >&3
"""
# The loop makes bash count the lines of each command from 1 in its messages. Job control (set -m) puts every command into a process
# group of its own. The shell's own remarks ("Killed") go to /dev/null.

REQUEST = """\
if {busy}; then printf '\\000{token} =busy\\000'; printf '\\000{token} =\\000' >&3; exec cat >/dev/null; fi; \
{before}printf '\\000{token}\\000' >&3; \
( printf '\\000{token} %s\\000' "$BASHPID"; export HARNESS_COMMAND={cookie}; {text} ) {redirections} 2>&3 3>&-; \
__request=$?; printf '\\000{token} =%s\\000' "$__request"; printf '\\000{token} =\\000' >&3; unset -v __input
"""
# A shell that gives way reads on as `cat`: what was already sent to it is swallowed, and the streams stay open for what still runs.

KILL = """\
exec 2>/dev/null
for round in 1 2 3 4 5 6 7 8; do
  found=
  family=" {pid} "
  while [[ {pid} != none ]]; do
    grown=
    for stat in /proc/[0-9]*/stat; do
      read -r line <$stat || continue
      process=${line%% *}; rest=${line##*) }; set -- $rest
      case $family in *" $process "*) continue ;; esac
      if [[ $family == *" $2 "* || $3 == {pid} ]]; then family="$family$process "; grown=1; fi
    done
    [[ $grown ]] || break
  done
  for environ in $(grep -lsaF "HARNESS_COMMAND={cookie}" /proc/[0-9]*/environ); do
    process=${environ#/proc/}; family="$family${process%/environ} "
  done
  for process in $family; do
    read -r line </proc/$process/stat || continue
    [[ ${line##*) } == Z* ]] || { kill -KILL $process && found=1; }
  done
  [[ $found ]] || break
  sleep 0.05
done
exit
"""
# Descendants, members of the process group, and whoever inherited the cookie, which finds daemons too. Again until none is left.


class Gone(Exception):  # noqa: N818 - internal: the shell has ended
    """The other side ended before its end marker."""


@dataclass(slots=True)
class Running:
    """One command on its way."""

    command: str
    cookie: str
    frames: dict[str, Frame]
    lines: tuple[Lines, Lines]

    @property
    def complete(self) -> bool:
        """Tell whether both end markers have been seen."""
        return all(frame.end is not None for frame in self.frames.values())

    @property
    def busy(self) -> bool:
        """Tell whether the shell refused, because something of the command before still runs."""
        return self.frames[OUT].end == b"busy"

    @property
    def pid(self) -> str:
        """Process and process group of the subshell; empty before it has told."""
        told = (self.frames[OUT].start or b"").decode("ascii", "replace")
        return told if re.fullmatch(r"[1-9]\d+|[2-9]", told) else ""

    def output(self, stream: str) -> bytes:
        """Return what has arrived so far."""
        return b"".join(self.frames[stream].pieces)


class PersistentShell:
    """A bash on a target, opened when first needed and again when it was lost. Several threads may use it, one command at a time."""

    def __init__(self, opening: Sequence[str] | Callable[[], Stream], *, name: str = "the target", explain: Explain | None = None) -> None:
        """Take the command line of a bash that reads its standard input, or a function that opens a stream to one.

        `explain` makes the error of a shell that does not start from how it ended and what was printed instead.
        """
        self._open_stream: Callable[[], Stream] = opening if callable(opening) else lambda: Process(opening)
        self._name = name
        self._explain: Explain = explain or self._mute
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._previous = ""
        self._retired: list[Stream] = []
        self._closed = False

    def run(
        self,
        command: str,
        *,
        stdin: bytes | None = None,
        timeout: float | None = None,
        on_line: OnLine | None = None,
    ) -> Completed:
        """Run bash text as Target.run promises. Raises CommandTimeout, TargetError, and ValueError for text with a zero byte.

        `on_line` gets `stdout` or `stderr` and a line without its end, as it arrives. When it raises, the command is killed.
        """
        if "\0" in command:
            message = "a command cannot hold a zero byte"
            raise ValueError(message)
        with self._lock:
            began = time.monotonic()
            deadline = None if timeout is None else began + timeout
            running = expected(command, on_line)
            try:
                done = self._attempt(running, stdin, deadline)
                while done and running.busy:
                    self._retire()
                    running = expected(command, on_line)
                    done = self._attempt(running, stdin, deadline)
                if not done:
                    self._kill(running)
                for lines in running.lines:
                    lines.finish()
            except Gone as gone:
                raise self._lost(running) from gone
            except BaseException:
                self._abandon(running)
                raise
            if not done:
                raise CommandTimeout(command, timeout or 0.0, running.output(OUT), running.output(ERR))
            self._settle(running)
            code = int(running.frames[OUT].end or b"")
            return Completed(command, code, running.output(OUT), running.output(ERR), time.monotonic() - began)

    def reopen(self) -> None:
        """Let the present process go, as after a restart of the target; the next command opens a new one."""
        with self._lock:
            self._discard()

    def close(self) -> None:
        """End the shell and whatever is left of earlier ones."""
        with self._lock:
            self._closed = True
            self._discard()
            while self._retired:
                self._retired.pop().close()

    def _attempt(self, running: Running, stdin: bytes | None, deadline: float | None) -> bool:
        """Send a command to the shell, which is opened if need be, and read its output. False when the time is over."""
        if self._stream is None:
            self._start(running, stdin)
        else:
            self._stream.send(request(running, stdin, self._previous))
        return self._follow(running, deadline)

    def _start(self, running: Running, stdin: bytes | None) -> None:
        """Open a stream, send the command after the prologue, and wait for the shell's first sign. Raises TargetError when none comes."""
        if self._closed:
            message = f"{self._name} is closed"
            raise TargetError(message)
        stream = self._open_stream()
        try:
            greeted = greeting(stream, request(running, stdin, ""))
        except BaseException:
            stream.close()
            raise
        if isinstance(greeted, Silence):
            stream.close()
            raise self._explain(greeted.reason, greeted.said)
        self._stream, self._previous = stream, ""
        for name, data in greeted.early.items():
            running.frames[name].take(data)
        if greeted.over and not running.complete:
            raise Gone

    def _follow(self, running: Running, deadline: float | None) -> bool:
        """Read until both end markers are there. Returns False when the time is over, raises Gone when the shell ended."""
        while not running.complete:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            if self._stream is None:
                raise Gone
            arrived = self._stream.receive(left)
            for name, data in arrived:
                running.frames[name].take(data)
            # A shell that gives way closes one stream right behind its last mark on the other.
            if not all(data for _, data in arrived) and not running.complete:
                raise Gone
        return True

    def _settle(self, running: Running) -> None:
        """Remember whose process group must be empty before the next command."""
        self._previous = running.pid
        if any(frame.stray for frame in running.frames.values()):
            self._retire()

    def _retire(self) -> None:
        """Leave the present process to what still runs in its background."""
        if self._stream is not None:
            self._stream.drain()
            self._retired.append(self._stream)
        if len(self._retired) > MOST_RETIRED:
            self._retired.pop(0).close()
        self._stream, self._previous = None, ""

    def _discard(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream, self._previous = None, ""

    def _kill(self, running: Running) -> None:
        """Kill what the command started; the shell itself goes on if it then answers. One that nothing reaches any more is let go."""
        try:
            self._slay(running)
        except TargetError:
            self._discard()
            return
        with suppress(Gone):
            if self._follow(running, time.monotonic() + SETTLE_SECONDS):
                self._previous = ""  # all of it is dead, though its corpses may keep the process group for a while
                return
        self._discard()

    def _abandon(self, running: Running) -> None:
        """Stop a command that nobody waits for any more, as after Ctrl-C."""
        if self._stream is not None and not running.complete:
            with suppress(TargetError):
                self._slay(running)
        self._discard()

    def _slay(self, running: Running) -> None:
        """Run the killing through a second shell, since the first one waits for the command."""
        self._meet(running)
        script = KILL.replace("{pid}", running.pid or "none").replace("{cookie}", running.cookie)
        stream = self._open_stream()
        try:
            stream.send(script.encode())
            deadline = time.monotonic() + KILL_SECONDS
            arrived = stream.receive(KILL_SECONDS)
            while arrived and all(data for _, data in arrived):
                arrived = stream.receive(max(0.0, deadline - time.monotonic()))
        finally:
            stream.close()

    def _meet(self, running: Running) -> None:
        """Wait for the process of a command that was slow to begin: before it has told its number, nothing of it can be found."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self._stream is not None and not running.pid and not running.complete:
            arrived = self._stream.receive(max(0.0, deadline - time.monotonic()))
            for name, data in arrived:
                running.frames[name].take(data)
            if not arrived or not all(data for _, data in arrived):
                return

    def _mute(self, reason: str, said: bytes) -> TargetError:
        """Say why there is no shell."""
        return TargetError(f"no shell on {self._name}: {reason}{last_line(said)}", hint="the target must run, and have /bin/bash")

    def _lost(self, running: Running) -> LostError:
        """Say what ran when the shell ended."""
        reason = self._stream.ended() if self._stream else "closed"
        self._discard()
        first = next(iter(running.command.strip().splitlines()), "")
        hint = "it could not start a process; is the target out of memory, or of process ids?" if reason.endswith(NO_FORK) else None
        message = f"{self._name}: the shell ended ({reason}) while it ran: {first[:200]}"
        return LostError(message, running.output(OUT), running.output(ERR), hint=hint)


def last_line(data: bytes) -> str:
    """Return the last thing that was said, for the end of a message; warnings of a container engine say nothing."""
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines() if "level=warning" not in line]
    said = [line for line in lines if line]
    return f": {said[-1][:300]}" if said else ""


class Greeted(NamedTuple):
    """A shell that is there."""

    early: dict[str, bytes]
    """What it printed after its first sign: the beginning of a command's output."""
    over: bool
    """Whether it has ended already."""


class Silence(NamedTuple):
    """A shell that did not start."""

    reason: str
    said: bytes
    """What was printed instead of its first sign."""


def greeting(stream: Stream, behind: bytes) -> Greeted | Silence:
    """Prepare a fresh shell, send what is to follow without waiting, which would cost a round trip, and wait for its first sign."""
    token = secrets.token_hex(16)
    frames = {name: Frame(b"\0" + token.encode(), lambda _: None) for name in (OUT, ERR)}
    deadline = time.monotonic() + START_SECONDS
    stream.send(PROLOGUE.format(path=PATH, token=token).encode() + behind)
    over = False
    while any(frame.start is None for frame in frames.values()):
        arrived = stream.receive(max(0.0, deadline - time.monotonic()))
        for name, data in arrived:
            frames[name].take(data)
        over = any(not data for _, data in arrived)
        if not arrived:
            return Silence(f"no answer within {START_SECONDS:g} s", frames[OUT].stray + frames[ERR].stray)
        if over and any(frame.start is None for frame in frames.values()):
            return Silence(stream.ended(), frames[OUT].stray + b"\n" + frames[ERR].stray)
    return Greeted({name: frame.content for name, frame in frames.items()}, over)


def expected(command: str, on_line: OnLine | None) -> Running:
    """Prepare for the output of one command, with markers that it cannot know."""
    marker = b"\0" + secrets.token_hex(16).encode()
    lines = (Lines(OUT, on_line), Lines(ERR, on_line))
    frames = {OUT: Frame(marker, lines[0].feed), ERR: Frame(marker, lines[1].feed)}
    return Running(command, secrets.token_hex(8), frames, lines)


def request(running: Running, stdin: bytes | None, previous: str) -> bytes:
    """Write the program text that runs a command, with the bytes that it reads behind the first line."""
    command = running.command.encode("utf-8", "surrogateescape")
    encoded = base64.b64encode(stdin or b"")
    before, redirections, tail = "", "</dev/null", b""
    if encoded:
        before, tail = f"__input=$(head -c {len(encoded)}); ", encoded
        redirections = '< <(printf %s "$__input" | base64 -d)'
    if len(command) <= INLINE:
        text = b"eval " + quoted(PREFIX + command)
    else:
        text = b'eval "exec 4<&-; ' + PREFIX + f'$(head -c {len(command)} <&4)"'.encode()
        redirections, tail = f"4<&0 {redirections}", tail + command
    token = running.frames[OUT].marker[1:].decode()
    busy = f"kill -0 -- -{previous}" if previous else "false"
    head, _, rest = REQUEST.partition("{text}")
    values = {"busy": busy, "token": token, "before": before, "cookie": running.cookie, "redirections": redirections}
    return head.format(**values).encode() + text + rest.format(**values).encode() + tail


def quoted(text: bytes) -> bytes:
    """Quote for bash on one line; the two control characters are those that old versions of its `read` use themselves."""
    for raw, escape in ((b"\\", rb"\\"), (b"'", rb"\'"), (b"\n", rb"\n"), (b"\x01", rb"\001"), (b"\x7f", rb"\177")):
        text = text.replace(raw, escape)
    return b"$'" + text + b"'"
