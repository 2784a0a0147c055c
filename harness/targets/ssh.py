"""A host over SSH as a target: one connection, one persistent shell as root, and nothing left behind."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote

from harness.errors import TargetError, UsageError
from harness.model import Environment
from harness.targets import asking, files, relay, sshconfig, sshlink, sshstream
from harness.targets.base import Closing, CommandTimeout
from harness.targets.connection import Connection, Sudo
from harness.targets.shell import PersistentShell
from harness.targets.sshlink import Bastions
from harness.targets.stream import NoRoomError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.targets.base import Completed
    from harness.targets.sshconfig import HostConfig
    from harness.targets.sshlink import Link
    from harness.targets.stream import Stream

URI = re.compile(
    r"ssh://(?:(?P<user>[^@/:]+)(?P<password>:[^@/]*)?@)?(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^@/:?#\[\]]+)(?::(?P<port>\d{1,5}))?/?"
)
BOOT_SECONDS = 300.0
POLL_SECONDS = 1.0
QUESTION_SECONDS = 30.0
BOOTED = "cat /proc/sys/kernel/random/boot_id; cut -d' ' -f22 /proc/1/stat"
"""What differs after a restart; in a container, only the start of its first process."""


class SshTarget(Closing):
    """A host that is logged in to; commands run as root by sudo, unless the connection says otherwise."""

    environment = Environment.HOST

    def __init__(self, uri: str, config: HostConfig, connection: Connection, bastions: Bastions | None = None) -> None:
        """Log in. `bastions` are shared with other targets and stay open; without them this target has its own. Raises TargetError."""
        self.uri = uri
        self.name = sshlink.place(config)
        self.config = config
        self._connection = connection
        self._shared = bastions is not None
        self._bastions = bastions or Bastions()
        self._who = f"{config.user}@{self.name}"
        self._closed = False
        self._shell = PersistentShell(self.stream, name=self._who, explain=self._explain)
        try:
            self._link: Link = sshlink.opened(config, connection, self._bastions)
        except BaseException:
            if not self._shared:
                self._bastions.close()
            raise

    @property
    def facts(self) -> Mapping[str, str]:
        """Address, port, user, the keys of host and user, the server's version, hosts in between, and how root was become."""
        return {**self._link.facts, "sudo": "not needed" if self.config.user == "root" else self._connection.sudo.value}

    def run(
        self,
        command: str,
        *,
        stdin: bytes | None = None,
        timeout: float | None = None,
        on_line: Callable[[str, str], None] | None = None,
    ) -> Completed:
        """See Target. The first command costs three round trips, each further one."""
        return self._shell.run(command, stdin=stdin, timeout=timeout, on_line=on_line)

    def put(self, data: bytes, path: str, *, mode: int = 0o600) -> None:
        """See Target."""
        files.put(self, data, path, mode)

    def get(self, path: str) -> bytes:
        """See Target."""
        return files.get(self, path)

    def restart(self) -> None:
        """Reboot the host, log in again once it is up, and wait for its systemd. Raises TargetError when it does not come back."""
        before = self.run(BOOTED, timeout=QUESTION_SECONDS).out
        with suppress(CommandTimeout, TargetError):
            done = self.run("systemctl reboot", timeout=QUESTION_SECONDS)
            if done.returncode != 0:
                raise UsageError(f"{self._who} does not restart: {done.err.strip() or f'exit code {done.returncode}'}")
        deadline = time.monotonic() + BOOT_SECONDS
        while self._booted() in {"", before}:
            if time.monotonic() > deadline:
                raise TargetError(f"{self._who} does not come back within {BOOT_SECONDS:g} s after a restart")
            time.sleep(POLL_SECONDS)
        while self.run("systemctl is-system-running", timeout=QUESTION_SECONDS).out.strip() in {"initializing", "starting"}:
            if time.monotonic() > deadline:
                raise TargetError(f"{self._who} is still starting {BOOT_SECONDS:g} s after a restart")
            time.sleep(POLL_SECONDS)

    def proxy_command(self) -> list[str]:
        """Return a command whose standard input and output are connected to the host's sshd. Raises TargetError where there is none."""
        if sshlink.route(self.config, self._connection):
            raise TargetError(f"{self._who} is behind another host, through which harness tries no further log-in")
        if self.config.proxy_command:
            return sshconfig.shell(f"exec {self.config.proxy_command}")
        return relay.command(self.config.hostname, self.config.port)

    def close(self) -> None:
        """See Target."""
        if self._closed:
            return
        self._closed = True
        with suppress(TargetError):
            self._shell.close()
        self._link.close()
        if not self._shared:
            self._bastions.close()

    def stream(self) -> Stream:
        """Start a bash as root, over a new connection if the old one was lost, or has no room for a second shell (MaxSessions 1)."""
        if not self._link.alive:
            self._log_in_again()
        try:
            return self._bash()
        except NoRoomError:
            self._log_in_again()
            return self._bash()

    def _log_in_again(self) -> None:
        self._link.close()
        self._link = sshlink.opened(self.config, self._connection, self._bastions)

    def _bash(self) -> Stream:
        """Start a bash as root. Raises TargetError."""
        seconds = sshlink.patience(self.config, self._connection)
        user, sudo, ask = self.config.user, self._connection.sudo, self._connection.password
        if sudo is not Sudo.PASSWORD or user == "root":
            stream = sshstream.ChannelStream(self._link.transport, sshstream.command(user, sudo), seconds)
            stream.guard()
            return stream
        if ask is None:
            raise UsageError("there is no password for sudo", hint="give one by a prompt or a file descriptor")
        password = ask(self._who)
        prompt, ready = sshstream.marks()
        stream = sshstream.ChannelStream(self._link.transport, sshstream.command(user, sudo, prompt, ready), seconds)
        try:
            stream.authorize(prompt, ready, password, self._who)
            stream.guard()
        except BaseException:
            stream.close()
            raise
        return stream

    def _explain(self, reason: str, said: bytes) -> TargetError:
        return sshstream.not_root(reason, said, self._who, self._connection.sudo)

    def _booted(self) -> str:
        """Return what tells one start of the host from another; empty while it does not answer."""
        try:
            self._shell.reopen()
            return self.run(BOOTED, timeout=QUESTION_SECONDS).out
        except (TargetError, CommandTimeout):
            return ""


def open_uri(uri: str, connection: Connection | None = None, bastions: Bastions | None = None) -> SshTarget:
    """Log in to `ssh://[user@]host[:port]`, the host as ssh_config knows it. Raises UsageError, ConfigError and TargetError.

    Hosts that are reached through the same others share `bastions`; whoever made it closes it after the targets.
    """
    connection = connection or Connection(passphrase=asking.passphrases())
    return SshTarget(uri, configured(uri, connection), connection, bastions)


def configured(uri: str, connection: Connection) -> HostConfig:
    """Return how a host is reached: what the URI says, then what the caller says, then ssh_config."""
    found = URI.fullmatch(uri)
    if found is None:
        raise UsageError(f"{uri} does not name a host", hint="write ssh://USER@HOST:PORT; user and port may be left out")
    if found["password"] is not None:
        raise UsageError("a password does not belong into a URI, where everybody can read it", hint="harness logs in by key")
    user = unquote(found["user"]) if found["user"] else connection.user
    port = int(found["port"]) if found["port"] else None
    if port is not None and not 0 < port < 65536:  # noqa: PLR2004 - the range of TCP
        raise UsageError(f"{uri}: {port} is no port", hint="a number from 1 to 65535")
    config = sshconfig.load(connection.config)
    return config.lookup(found["host"].strip("[]"), user=user, port=port)
