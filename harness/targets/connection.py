"""How to log in to hosts and become root there: what a caller says once for all the hosts of a command."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONNECT_SECONDS = 15.0
"""Limit for each phase of a log-in (connection, key exchange, authentication) where neither option nor ssh_config says another."""


class Sudo(StrEnum):
    """How a user who is not root becomes root on the host."""

    AUTO = "auto"
    """`sudo -n`: sudo must not ask for a password."""
    NONE = "none"
    """Not at all: commands run as the user who logs in."""
    PASSWORD = "password"  # noqa: S105 - the name of a way
    """`sudo -S`: the password comes from `Connection.password` and goes through the encrypted channel only."""


@dataclass(frozen=True, slots=True)
class Connection:
    """What holds for every host that is logged in to; a URI and ssh_config say the rest."""

    user: str | None = None
    """Who logs in where the URI names nobody; None: ssh_config, else the local user's name."""
    sudo: Sudo = Sudo.AUTO
    password: Callable[[str], str] | None = field(default=None, repr=False)
    """Given `user@host`, returns the password that sudo asks for. Needed with Sudo.PASSWORD."""
    passphrase: Callable[[Path], str] | None = field(default=None, repr=False)
    """Given a key file, returns its passphrase. None: an encrypted key is passed over unless the agent holds it."""
    accept_new: bool = False
    """Write down the key of a host that is not known yet. A changed key is refused in any case."""
    identities: tuple[Path, ...] = ()
    """Private keys to try before those of ssh_config."""
    config: Path | None = None
    """An ssh_config to read instead of ~/.ssh/config and /etc/ssh/ssh_config."""
    known_hosts: tuple[Path, ...] = ()
    """Files of host keys to read instead of those that ssh_config names; new keys go to the first."""
    connect_seconds: float | None = None
    """Limit for each phase of a log-in; None: ssh_config's ConnectTimeout, else 15 s."""
