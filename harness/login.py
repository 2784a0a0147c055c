"""Log in to a target over real SSH with a fresh key, and leave nothing behind.

This is the proof that a hardened image still lets its users in. The key pair lives in memory; its public half is added to
the user's authorized_keys for the time of the check and the file is put back exactly as it was.
"""

from __future__ import annotations

import shlex
from base64 import b64decode
from contextlib import nullcontext, suppress
from io import StringIO
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from harness.errors import TargetError
from harness.expecting import CannotTell, Unexpected
from harness.targets import sshlink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import paramiko

    from harness.targets.base import Target

SECONDS = 20.0
"""Limit for each phase of a log-in; sshd's own LoginGraceTime is 60 s in the baselines."""


@runtime_checkable
class Proxied(Protocol):
    """A target whose sshd is reached through a command's standard input and output."""

    def proxy_command(self) -> Sequence[str]:
        """Return the command."""
        ...


class Login:
    """Opens SSH sessions on a target; one connection per user, kept until the end. Who was refused once is not tried again."""

    def __init__(self, target: Target) -> None:
        """Prepare for a target; nothing happens before the first log-in."""
        self.target = target
        self._clients: dict[str, paramiko.SSHClient] = {}
        self._refused: dict[str, CannotTell | Refused] = {}
        self._ends: list[Callable[[], str]] = []
        self._undo: list[str] = []

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close every session and put the key files back."""
        for client in self._clients.values():
            close(client)
        try:
            # Where a target that is lost ended the pass, that is what is told.
            with suppress(TargetError) if exc[0] is not None else nullcontext():
                for command in reversed(self._undo):
                    self.target.run(command, timeout=SECONDS)
        finally:
            for end in self._ends:
                end()

    def __call__(self, user: str, command: str) -> tuple[int, str, str]:
        """Run a command as `user` over SSH, with nothing to read, and return exit code, standard output and standard error.

        Raises CannotTell when the target has no way in to try, and Refused when sshd does not let the key in.
        """
        _, stdout, stderr = self._client(user).exec_command(command, timeout=SECONDS)
        stdout.channel.shutdown_write()
        out, err = stdout.read().decode("utf-8", "replace"), stderr.read().decode("utf-8", "replace")
        return stdout.channel.recv_exit_status(), out, err

    def banner(self, user: str) -> str:
        """Return what sshd showed `user` before the log-in; empty when it showed nothing. Raises as a log-in does."""
        transport = self._client(user).get_transport()
        shown = transport.get_banner() if transport is not None else None
        return (shown or b"").decode("utf-8", "replace")

    def _client(self, user: str) -> paramiko.SSHClient:
        """Return the connection of a user, made when it is first asked for."""
        if user in self._refused:
            raise self._refused[user]
        if user not in self._clients:
            try:
                self._clients[user] = self._open(user)
            except (CannotTell, Refused) as error:
                self._refused[user] = error
                raise
        return self._clients[user]

    def _open(self, user: str) -> paramiko.SSHClient:
        """Log in, trusting only the host keys that the target itself shows."""
        if not isinstance(self.target, Proxied):
            raise CannotTell(f"{self.target.uri} gives no way to reach its sshd")
        # Not paramiko's own ProxyCommand, which does not notice that sshd hung up, and would wait for its whole time.
        sock, end = sshlink.proxied(shlex.join(self.target.proxy_command()), self.target.name)
        self._ends.append(end)
        transport = sshlink.transport_class()
        import paramiko

        private, hosts = self._admit(user)
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        for kind, blob in hosts:
            client.get_host_keys().add("target", kind, paramiko.PKey.from_type_string(kind, b64decode(blob)))
        try:
            client.connect(
                "target",
                username=user,
                pkey=paramiko.Ed25519Key.from_private_key(private),
                sock=sock,
                allow_agent=False,
                look_for_keys=False,
                timeout=SECONDS,
                banner_timeout=SECONDS,
                auth_timeout=SECONDS,
                transport_factory=transport,  # type: ignore[arg-type]  # the stubs leave out that a Transport takes what connect gives
            )
        except (paramiko.SSHException, OSError, EOFError) as error:
            close(client)
            raise Refused(f"{user} cannot log in with a key: {error}") from error
        return client

    def _admit(self, user: str) -> tuple[StringIO, list[list[str]]]:
        """Add a fresh public key for `user`; return a file-like object with the private half, and kind and text of each host key."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
            PublicFormat,
        )

        pair = Ed25519PrivateKey.generate()
        public = pair.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        admitted = self.target.run(ADMIT.format(user=shlex.quote(user), key=shlex.quote(public)), timeout=SECONDS)
        if admitted.returncode != 0:
            raise CannotTell(f"no key can be added for {user}: {admitted.err.strip() or admitted.out.strip()}")
        self._undo.append(EXPEL.format(user=shlex.quote(user)))
        hosts = [line.split()[:2] for line in admitted.out.splitlines() if " " in line]
        return StringIO(pair.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()), hosts


def close(client: paramiko.SSHClient) -> None:
    """Close a connection and wait for its thread, which still speaks to the command behind it."""
    transport = client.get_transport()
    client.close()
    if transport is not None:
        transport.join(SECONDS)


class Refused(Unexpected):
    """sshd did not let the key in."""


ADMIT = """\
set -eu
home=$(getent passwd {user} | cut -d: -f6); test -d "$home"; group=$(id -g {user})
saved=/run/isms-login-{user}; rm -rf "$saved"; mkdir -m 0700 "$saved"
if [ -d "$home/.ssh" ]; then cp -a "$home/.ssh" "$saved/ssh"; else install -d -m 0700 -o {user} -g "$group" "$home/.ssh"; fi
printf '%s\\n' {key} >> "$home/.ssh/authorized_keys"
chmod 0600 "$home/.ssh/authorized_keys"; chown {user}:"$group" "$home/.ssh/authorized_keys"
cat /etc/ssh/ssh_host_*_key.pub || :
"""

EXPEL = """\
home=$(getent passwd {user} | cut -d: -f6); saved=/run/isms-login-{user}
rm -rf "$home/.ssh"; if [ -d "$saved/ssh" ]; then cp -a "$saved/ssh" "$home/.ssh"; fi; rm -rf "$saved"
"""
