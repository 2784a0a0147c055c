"""The way into a virtual machine by SSH: its port on the loopback address, its key, and the host keys that it shows the first time."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from harness.errors import TargetError
from harness.targets.connection import Connection

if TYPE_CHECKING:
    from harness.targets.ssh import SshTarget
    from harness.targets.stream import Stream
    from harness.vms.guest import Guest

CONNECT_SECONDS = 60.0
"""For each phase of a log-in; an emulated sshd takes its time."""
CONFIG = "IdentitiesOnly yes\nIdentityAgent none\n"

BANNER_SECONDS = 3.0


def answers(guest: Guest) -> bool:
    """Tell whether the guest's sshd says its first line; qemu's port takes every connection long before."""
    try:
        with socket.create_connection(("127.0.0.1", guest.port()), BANNER_SECONDS) as link:
            link.settimeout(BANNER_SECONDS)
            return link.recv(4) == b"SSH-"
    except (OSError, TargetError):
        return False


class Way:
    """Logs in when it is first needed, and again after it was closed."""

    def __init__(self, guest: Guest) -> None:
        """Prepare; nothing happens yet."""
        self._guest = guest
        self._target: SshTarget | None = None

    def open(self) -> Stream:
        """Return a bash of root by sudo. Raises TargetError when the guest lets nobody in (yet)."""
        from harness.targets import ssh

        guest = self._guest
        if not guest.record.user:
            raise TargetError(f"{guest.name} has no user whom a key lets in")
        if self._target is None:
            config, known = guest.folder / "ssh_config", guest.folder / "known_hosts"
            config.write_text(CONFIG, "ascii")
            known.unlink(missing_ok=True)  # the port is another one after each start, and leads to this guest only
            connection = Connection(
                accept_new=True, identities=(guest.folder / "key",), config=config, known_hosts=(known,), connect_seconds=CONNECT_SECONDS
            )
            self._target = ssh.open_uri(f"ssh://{guest.record.user}@127.0.0.1:{guest.port()}", connection)
        return self._target.stream()

    def close(self) -> None:
        """Log out."""
        if self._target is not None:
            self._target.close()
            self._target = None
