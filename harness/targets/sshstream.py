"""A channel of an SSH connection as a stream, with the step from the user to root in front of its shell."""

from __future__ import annotations

import secrets
import select
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.errors import TargetError
from harness.targets.connection import Sudo
from harness.targets.stream import CHUNK, ERR, OUT, PATIENCE, NoRoomError

if TYPE_CHECKING:
    import paramiko

BASH = "/bin/bash --noprofile --norc"
WORD = "isms"
SHELL = f"{BASH} -s {WORD}"
STRANGE = 97
GUARD = f'test "$1" = {WORD} || exit {STRANGE}\nset --\n'.encode()
"""What the shell reads first. A start-up file that ends in `exec zsh`, or `exec bash`, throws away our command, and its shell would
take what follows: as the user instead of root."""
PACKET = 1 << 15
PROMPT_SECONDS = 30.0
FULL_SECONDS = 0.02
"""How often a channel whose window is full is tried again."""
DRAIN_SECONDS = 0.5


def command(user: str, sudo: Sudo, prompt: str = "", ready: str = "") -> str:
    """Return what starts our bash. The user's log-in shell reads it, be it csh, fish or dash: plain words only, sudo's in English."""
    if user == "root" or sudo is Sudo.NONE:
        return f"/usr/bin/env -i {SHELL}"
    if sudo is Sudo.AUTO:
        return f"/usr/bin/env LC_ALL=C sudo -n {SHELL}"
    # -k: no time stamp is written that would let others become root without the password.
    return f"/usr/bin/env LC_ALL=C sudo -k -S -p {prompt} {BASH} -c 'printf {ready}; exec {SHELL}'"


class ChannelStream:
    """A shell at the other end of an SSH channel as a Stream, for one caller at a time."""

    def __init__(self, transport: paramiko.Transport, text: str, seconds: float) -> None:
        """Open a channel and start a command, without waiting for the host's word that it has. Raises TargetError."""
        import paramiko

        try:
            self._channel = transport.open_session(timeout=seconds)
            request = paramiko.Message()
            request.add_byte(bytes([paramiko.common.MSG_CHANNEL_REQUEST]))
            request.add_int(self._channel.remote_chanid)
            request.add_string("exec")
            request.add_boolean(False)  # noqa: FBT003 - paramiko's own signature; True would cost a round trip
            request.add_string(text)
            transport._send_user_message(request)  # type: ignore[attr-defined]  # noqa: SLF001 - exec_command waits for the answer
        except paramiko.ChannelException as error:
            raise NoRoomError(f"the host opens no session: {error.text}", hint="MaxSessions of its sshd may be too low") from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise TargetError(f"the host opens no session: {str(error) or 'the connection was lost'}") from error
        self._transport = transport
        self._channel.settimeout(0.0)
        self._poll = select.poll()
        self._poll.register(self._channel.fileno(), select.POLLIN)
        self._queue = bytearray()
        self._drain: threading.Thread | None = None
        self._closing = threading.Event()

    def guard(self) -> None:
        """Let a shell end that is not the one which was started; sent with what comes next. Only when sudo reads no password any more."""
        self._queue += GUARD

    def send(self, data: bytes) -> None:
        """See Stream."""
        self._queue += data
        self._flush()

    def receive(self, timeout: float | None) -> list[tuple[str, bytes]]:
        """See Stream."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            # In this order: what arrives between the two questions must not be taken for the end.
            over = self._channel.eof_received or self._channel.closed
            got = self._arrived()
            if got:
                return got
            if over:
                return [(OUT, b""), (ERR, b"")]
            if self._queue:
                self._flush()
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if left == 0.0:
                return []
            if self._queue:
                left = FULL_SECONDS if left is None else min(FULL_SECONDS, left)
            self._poll.poll(None if left is None else left * 1000)

    def ended(self) -> str:
        """See Stream: the exit code, or that the connection was lost."""
        self._channel.status_event.wait(PATIENCE)
        code = self._channel.exit_status
        if code >= 0:
            return f"exit code {code}"
        if not self._transport.is_active():
            why = self._transport.get_exception()
            return f"the connection was lost{f': {why}' if why and str(why) else ''}"
        return "it was killed"

    def drain(self) -> None:
        """See Stream."""
        self._drain = threading.Thread(target=self._discard, name="drain", daemon=True)
        self._drain.start()

    def close(self) -> None:
        """Close the channel: the shell at the other end finds its input ended."""
        self._closing.set()
        if self._drain is not None:
            self._drain.join()
        with suppress(OSError, EOFError):
            self._channel.close()

    def authorize(self, prompt: str, ready: str, password: str, who: str) -> None:
        """Answer sudo's question, once. Raises TargetError when it is asked again, or nothing comes."""
        heard = {OUT: b"", ERR: b""}
        deadline = time.monotonic() + PROMPT_SECONDS
        answered = False
        while ready.encode() not in heard[OUT]:
            arrived = self.receive(max(0.0, deadline - time.monotonic()))
            for name, data in arrived:
                heard[name] += data
            if not arrived:
                said = last_line((heard[OUT] + b"\n" + heard[ERR]).replace(prompt.encode(), b""))
                hint = "it wants something else than a password, or a start-up file such as ~/.bashrc waits"
                raise TargetError(f"sudo on {who} does not answer within {PROMPT_SECONDS:g} s{said}", hint=hint)
            asked = heard[ERR].count(prompt.encode())
            if asked > 1:
                raise TargetError(f"sudo on {who} does not take the password", hint="it was tried once only, so that no account is locked")
            if asked and not answered:
                self.send(password.encode() + b"\n")
                answered = True
            if any(not data for _, data in arrived):
                raise not_root(self.ended(), (heard[OUT] + b"\n" + heard[ERR]).replace(prompt.encode(), b""), who, Sudo.PASSWORD)

    def _arrived(self) -> list[tuple[str, bytes]]:
        got = []
        if self._channel.recv_ready():
            got.append((OUT, self._channel.recv(CHUNK)))
        if self._channel.recv_stderr_ready():
            got.append((ERR, self._channel.recv_stderr(CHUNK)))
        return [(name, data) for name, data in got if data]

    def _discard(self) -> None:
        while not self._closing.is_set():
            if not all(data for _, data in self.receive(DRAIN_SECONDS)):
                return

    def _flush(self) -> None:
        try:
            while self._queue:
                del self._queue[: self._channel.send(bytes(self._queue[:PACKET]))]
        except TimeoutError:
            pass  # the window is full; `receive` tries again
        except (OSError, EOFError):
            self._queue.clear()  # the other side is gone; `receive` finds the end


def marks() -> tuple[str, str]:
    """Return a prompt for sudo and a sign that root's shell is there, which nothing else prints."""
    return f"ask{secrets.token_hex(8)}", f"ready{secrets.token_hex(8)}"


def last_line(said: bytes) -> str:
    """Return the last thing that was printed, for the end of a message."""
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    return f": {lines[-1][:300]}" if lines else ""


def not_root(reason: str, said: bytes, who: str, sudo: Sudo) -> TargetError:
    """Say why there is no shell on a host, from how it ended and what was printed instead."""
    user = who.partition("@")[0]
    text, last = said.decode("utf-8", "replace"), last_line(said)
    if "password is required" in text or "terminal is required" in text:
        return TargetError(
            f"sudo on {who} asks for a password", hint=f"--sudo password asks you for it; or let `{user}` use sudo without (NOPASSWD)"
        )
    if "must have a tty" in text:
        return TargetError(f"sudo on {who} wants a terminal (requiretty)", hint=f"write `Defaults:{user} !requiretty` in its sudoers")
    if any(words in text for words in ("not in the sudoers file", "is not allowed to", "may not run sudo")):
        return TargetError(f"sudo on {who} does not let {user} become root{last}", hint="log in as somebody who may, or --sudo none")
    if "sudo" in text and ("No such file" in text or "not found" in text) and "/bin/bash" not in text:
        return TargetError(f"{who} has no sudo", hint="log in as root, or judge what this user can read by --sudo none")
    if "/bin/bash" in text and ("No such file" in text or "not found" in text):
        return TargetError(f"{who} has no /bin/bash", hint="harness runs its commands in bash")
    if "account is currently not available" in text or "nologin" in text:
        return TargetError(f"the log-in shell of {who} runs no commands{last}", hint="log in as another user")
    return no_shell(reason, text, last, who, by_sudo=sudo is not Sudo.NONE and user != "root")


def no_shell(reason: str, text: str, last: str, who: str, *, by_sudo: bool) -> TargetError:
    """Say it where neither sudo nor a missing program is to blame."""
    user = who.partition("@")[0]
    if "assword change required" in text or "password is expired" in text or "password has expired" in text:
        hint = f"log in by hand and change it; who has keys only is exempt by `chage -M -1 {user}`"
        return TargetError(f"the password of {who} has expired, so that no command runs{last}", hint=hint)
    if reason == f"exit code {STRANGE}":
        hint = "a start-up file such as ~/.bashrc replaces the shell by `exec`; it should for people only: [[ $- == *i* ]] && exec …"
        return TargetError(f"on {who} another shell than ours takes the commands{last}", hint=hint)
    hints = (
        (reason.startswith("no answer"), "the commands of ~/.bashrc and its like run first; do they end or wait?"),
        (reason.startswith("the connection was lost"), "the network, or the host went down"),
        ("rather than the user" in text, "ssh://NAME@HOST says who logs in"),
        (not last, f"a start-up file such as ~/.bashrc, the log-in shell of {user} or a ForceCommand ends the session"),
        (True, f"`ssh {who} /bin/bash --version` shows what it says"),
    )
    hint = next(text for holds, text in hints if holds)
    return TargetError(f"no shell on {who}{' by sudo' if by_sudo else ''}: {reason}{last}", hint=hint)
