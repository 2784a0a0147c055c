"""password.sh on PAM stacks that others wrote: made right without locking anybody out, or left as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hardening.people import GOOD, asked_by_sudo, hardened, people, try_sudo

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine

PAM = "/etc/pam.d"
SAVE = f"rm -rf /run/pam; cp -a {PAM} /run/pam"
RESTORE = f"rm -rf {PAM}; cp -a /run/pam {PAM}"


@pytest.fixture(scope="module")
def parameters(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters of this subject."""
    return {name: value for name, value in values.items() if name.startswith("password_")}


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine], parameters: dict[str, str]) -> Machine:
    """Return one machine for the file, hardened once."""
    machine = asked_by_sudo(start())
    machine.apply("password", parameters)
    return machine


STACKS_OF_OTHERS = {
    "counted by hand, badly": """\
auth required pam_env.so
auth required pam_tally2.so deny=3
auth sufficient pam_unix.so nullok try_first_pass
auth required pam_faillock.so preauth deny=99
auth required pam_deny.so
account required pam_unix.so
password optional pam_pwquality.so retry=3 minlen=4 dcredit=1
password sufficient pam_unix.so md5 nullok remember=2 use_authtok
password required pam_deny.so
session required pam_unix.so
""".replace("\n", "\r\n"),
    "lines that jump": """\
auth required pam_env.so
auth required pam_faildelay.so delay=2000000
auth [default=1 ignore=ignore success=ok] pam_succeed_if.so uid >= 1000 quiet
auth [default=1 ignore=ignore success=ok] pam_localuser.so
auth sufficient pam_unix.so nullok
auth required pam_deny.so
account required pam_unix.so
password sufficient pam_unix.so sha256 shadow \\
  nullok use_authtok
password required pam_deny.so
session optional pam_keyinit.so revoke
-session optional pam_systemd.so
session required pam_unix.so
""",
    "tabs, brackets and full paths": """\
auth\trequired\tpam_env.so
auth\t[success=done default=ignore]\tpam_unix.so\tnullok\ttry_first_pass
auth\trequired\tpam_deny.so
account\trequired\tpam_unix.so
password\trequisite\tpam_pwquality.so\tretry=3\tminlen=4
password\tsufficient\tpam_unix.so\tmd5\tnullok\tuse_authtok\trounds=10
password\trequired\tpam_deny.so
session\trequired\tpam_unix.so
""",
    "another way in after pam_unix": """\
auth sufficient pam_unix.so nullok
auth sufficient pam_succeed_if.so user = nobody-at-all quiet
auth required pam_deny.so
account required pam_unix.so
password requisite pam_cracklib.so retry=3
password sufficient pam_unix.so shadow
password required pam_deny.so
session required pam_unix.so
""",
}


@pytest.mark.parametrize("text", STACKS_OF_OTHERS.values(), ids=STACKS_OF_OTHERS)
def test_stacks_of_others(machine: Machine, parameters: dict[str, str], text: str) -> None:
    few = {**parameters, "password_lockout_attempts": "3"}
    machine.sh(SAVE)
    for name in ("system-auth", "password-auth"):
        machine.write(f"{PAM}/{name}", text)
    hardened(machine, few)
    people(machine)
    assert try_sudo(machine, GOOD).endswith("root\n")
    for _ in range(3):
        try_sudo(machine, "Wrong-one-7")
    assert not try_sudo(machine, GOOD).endswith("root\n")
    found = machine.sh(f"cat {PAM}/system-auth")
    assert [word in found for word in ("nullok", "tally2", "md5", "minlen", "cracklib", "\r")] == [False] * 6
    machine.sh("faillock --user trial --reset")
    machine.sh(RESTORE)


def test_a_stack_behind_a_link(machine: Machine, parameters: dict[str, str]) -> None:
    """Whatever the link led to stays as it was."""
    machine.sh(SAVE)
    machine.sh(f"cd {PAM}; cp -L system-auth system-auth-tool; sed -i '/faillock/d' system-auth-tool; ln -sf system-auth-tool system-auth")
    before = machine.sh(f"cat {PAM}/system-auth-tool")
    hardened(machine, parameters)
    assert machine.sh(f"readlink {PAM}/system-auth") == "system-auth-isms\n"
    assert machine.sh(f"cat {PAM}/system-auth-tool") == before
    machine.sh(RESTORE)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("auth sufficient pam_sss.so\nauth required pam_deny.so\naccount required pam_sss.so\n", "cannot be hardened"),
        (
            "auth sufficient pam_unix.so\nauth required pam_nonsense.so\nauth required pam_deny.so\naccount required pam_unix.so\n",
            "pam_nonsense.so",
        ),
    ],
)
def test_a_stack_that_cannot_be_hardened_stays(machine: Machine, parameters: dict[str, str], text: str, reason: str) -> None:
    machine.sh(SAVE)
    machine.write(f"{PAM}/system-auth", text)
    before = machine.sh(f"cat {PAM}/system-auth")
    said = machine.script("password", "apply", parameters)
    assert (said.code, reason in said.err) == (3, True), said
    assert machine.sh(f"cat {PAM}/system-auth") == before
    assert machine.sh(f"find {PAM} -name '*.isms*' -o -name '.isms*'") == ""
    machine.sh(RESTORE)


def test_a_stack_that_breaks_sudo_is_taken_back(machine: Machine, parameters: dict[str, str], baseline: str) -> None:
    """Every line is in order, and yet nobody becomes root."""
    machine.sh(SAVE)
    machine.sh(f"sed -i '/faillock.so preauth/d' {PAM}/system-auth; mv /usr/bin/sudo /usr/bin/sudo.real")
    machine.write("/usr/bin/sudo", f'#!/bin/sh\ngrep -q preauth {PAM}/system-auth && exit 1\nexec /usr/bin/sudo.real "$@"\n', "0755")
    before = machine.sh(f"cat {PAM}/system-auth; ls -l --time-style=+ {PAM}/system-auth")
    said = machine.script("password", "apply", parameters)
    assert (said.code, "the old one is back" in said.err) == (3, True), (said, baseline)
    assert machine.sh(f"cat {PAM}/system-auth; ls -l --time-style=+ {PAM}/system-auth") == before
    machine.sh(f"mv -f /usr/bin/sudo.real /usr/bin/sudo; {RESTORE}")
    hardened(machine, parameters)
