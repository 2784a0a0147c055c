"""The ways into a machine that hardening must leave open, tried for real: SSH with a key, sudo, su, passwords."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.hardening.machine import Machine

ADMIT = """
set -e
user={user}; home=$(getent passwd "$user" | cut -d: -f6)
[ -s /run/trial-key ] || ssh-keygen -q -t ed25519 -N '' -f /run/trial-key
install -d -m 0700 -o "$user" "$home/.ssh"
install -m 0600 -o "$user" /run/trial-key.pub "$home/.ssh/authorized_keys"
"""
SSH = (
    "ssh -n -i /run/trial-key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=10 "
    "-o LogLevel=ERROR {user}@127.0.0.1 {command}"
)


def by_key(machine: Machine, command: str = "'id -un; sudo -n id -un'", user: str = "ec2-user") -> str:
    """Log in over the real sshd with a fresh key and return what the command printed, errors included."""
    machine.sh(ADMIT.format(user=user))
    return machine.sh(SSH.format(user=user, command=command), check=False)


def key_and_sudo_work(machine: Machine) -> bool:
    """Tell whether ec2-user gets in with a key and becomes root without a password."""
    return by_key(machine) == "ec2-user\nroot\n"
