"""People with passwords on a machine: their accounts, their typing, and a password stack to try them on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.hardening.ways_in import key_and_sudo_work

if TYPE_CHECKING:
    from tests.hardening.machine import Machine

GOOD, OTHER = "Tr1al-of-words!q", "An0ther:phrase?zk"


def asked_by_sudo(machine: Machine) -> Machine:
    """Let sudo ask trial for a password, once per call, so that one wrong word counts once."""
    # In the file itself: the worn base reads no sudoers.d, and lets the group wheel in without a password.
    machine.sh("printf 'Defaults:trial passwd_tries=1\\ntrial ALL=(ALL) ALL\\n' >>/etc/sudoers")
    return machine


def hardened(machine: Machine, parameters: dict[str, str]) -> None:
    """Apply twice, check, and log in."""
    machine.apply("password", parameters)
    checked = machine.script("password", "check", parameters)
    assert (checked.code, checked.rules("fail")) == (0, set()), checked.out
    assert key_and_sudo_work(machine)


def people(machine: Machine) -> None:
    """Make `trial`, who has a password, in a state in which it may be changed today."""
    machine.sh("getent passwd trial >/dev/null || useradd -m -G wheel trial; faillock --user trial --reset")
    machine.sh(f": >/etc/security/opasswd; echo 'trial:{GOOD}' | chpasswd -c SHA512; chage -m 0 -M 90 -d $(date +%F) trial")


def try_sudo(machine: Machine, password: str) -> str:
    """Let trial become root with a password over the system-auth stack."""
    return machine.sh(f"su -s /bin/sh trial -c 'echo {password} | sudo -k -S -p \"\" id -un 2>&1'", check=False)
