"""password.sh on real machines: as they come, after others have been there, and with real people who type passwords."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hardening.people import GOOD, OTHER, asked_by_sudo, hardened, people, try_sudo
from tests.hardening.ways_in import by_key, key_and_sudo_work

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine

PAM = "/etc/pam.d"
LOGIN_DEFS = "/etc/login.defs"
QUALITY = "/etc/security/pwquality.conf"


@pytest.fixture(scope="module")
def parameters(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters of this subject."""
    return {name: value for name, value in values.items() if name.startswith("password_")}


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return one machine for the file."""
    return asked_by_sudo(start())


def test_fresh_machine(machine: Machine, parameters: dict[str, str]) -> None:
    broken = machine.script("password", "check", parameters).rules("fail")
    assert {"password-max-days", "password-lockout-module", "password-history", "password-nullok", "password-ageing-timer"} <= broken
    hardened(machine, parameters)


def test_the_tool_that_owned_the_stack_keeps_its_file(machine: Machine, baseline: str) -> None:
    """On Amazon Linux 2 authconfig may rewrite its own files, and nothing that is read changes."""
    if baseline == "al2":
        assert machine.sh(f"readlink {PAM}/system-auth {PAM}/password-auth") == "system-auth-isms\npassword-auth-isms\n"
        assert "nullok" in machine.sh(f"cat {PAM}/system-auth-ac")
    else:
        assert machine.sh(f"test ! -L {PAM}/system-auth && echo plain") == "plain\n"


def test_a_locked_account(machine: Machine, parameters: dict[str, str]) -> None:
    """The right password works; after five wrong ones it does not, for nobody but keys; reset, it works again."""
    machine.apply("password", parameters)
    people(machine)
    assert try_sudo(machine, GOOD).endswith("root\n")
    for _ in range(int(parameters["password_lockout_attempts"])):
        assert not try_sudo(machine, "Wrong-one-7").endswith("root\n")
    assert not try_sudo(machine, GOOD).endswith("root\n")
    assert machine.sh("faillock --user trial | grep -c ' V$'") == f"{parameters['password_lockout_attempts']}\n"
    assert by_key(machine, "id -un", user="trial") == "trial\n"
    machine.sh("faillock --user trial --reset")
    assert try_sudo(machine, GOOD).endswith("root\n")


def test_success_resets_the_count(machine: Machine, parameters: dict[str, str]) -> None:
    people(machine)
    for _ in range(int(parameters["password_lockout_attempts"]) - 1):
        try_sudo(machine, "Wrong-one-7")
    assert try_sudo(machine, GOOD).endswith("root\n")
    assert machine.sh("faillock --user trial | grep -c ' V$'", check=False) == "0\n"


def test_service_accounts_are_not_counted_out(machine: Machine) -> None:
    assert key_and_sudo_work(machine)
    assert machine.sh("su - ec2-user -c 'id -un'") == "ec2-user\n"


def change(machine: Machine, old: str, new: str) -> str:
    """Let trial change the password as a person does, and return what was said."""
    return machine.sh(f"printf '%s\\n' '{old}' '{new}' '{new}' | su -s /bin/sh trial -c passwd 2>&1", check=False)


@pytest.mark.parametrize(
    "weak", ["short-1A", "nouppercase-12345x", "NOLOWERCASE-12345X", "NoDigitsInThisOne-", "NoSpecials12345xyz", "Aaaaaa-bcq-991!zz"]
)
def test_a_weak_password_is_refused(machine: Machine, weak: str) -> None:
    people(machine)
    before = machine.sh("getent shadow trial")
    change(machine, GOOD, weak)
    assert machine.sh("getent shadow trial") == before


def test_a_good_password_is_taken_once(machine: Machine) -> None:
    """It is stored as SHA-512 with many rounds, and cannot come back after the next one."""
    people(machine)
    change(machine, GOOD, OTHER)
    stored = machine.sh("getent shadow trial | cut -d: -f2")
    assert stored.startswith("$6$rounds=65536$")
    machine.sh("chage -m 0 trial")
    change(machine, OTHER, GOOD)
    assert machine.sh("getent shadow trial | cut -d: -f2") == stored


def test_root_obeys_too(machine: Machine) -> None:
    people(machine)
    before = machine.sh("getent shadow trial")
    machine.sh("printf '%s\\n' weak weak | passwd trial", check=False)
    assert machine.sh("getent shadow trial") == before


def test_ageing_fits_the_account(machine: Machine, parameters: dict[str, str]) -> None:
    """Accounts with a password age; accounts without one, made by tools that read login.defs, do not and stay open."""
    machine.sh("for n in keyed typed; do userdel -r $n 2>/dev/null; done; useradd -m -G wheel keyed; useradd -m typed")
    machine.sh("echo typed:x | chpasswd -c SHA512; chage -M 99999 -m 0 typed")
    machine.sh("echo 'keyed ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/keyed; chage -m 0 -M 90 -I 30 keyed")
    assert {"password-ageing", "password-key-only-accounts"} <= machine.script("password", "check", parameters).rules("fail")
    assert set(machine.apply("password", parameters).changed) == {"password-ageing", "password-key-only-accounts"}
    assert machine.sh("getent shadow typed keyed | cut -d: -f1,4-7") == "typed:7:90:7:\nkeyed:0:99999:7:\n"
    machine.sh("chage -d 2020-01-01 keyed")
    assert by_key(machine, "'sudo -n id -un'", user="keyed") == "root\n"


def test_the_timer_repairs_what_tools_make_later(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh("userdel -r later 2>/dev/null; useradd -m later; systemctl start isms-password-ageing.service")
    assert machine.sh("getent shadow later | cut -d: -f4,5") == "0:99999\n"
    assert "isms-password-ageing.timer" in machine.sh("systemctl list-timers --all")
    assert machine.apply("password", parameters).changes == 0


def test_values_of_others(machine: Machine, parameters: dict[str, str]) -> None:
    """CRLF, duplicates and comments; weaker values go, stricter ones stay."""
    machine.sh(f"printf 'PASS_MAX_DAYS 99999\\r\\nPASS_MAX_DAYS\\t60\\r\\n#PASS_MIN_DAYS 1\\r\\n' >>{LOGIN_DEFS}")
    machine.sh(f"sed -i 's/^PASS_WARN_AGE.*/PASS_WARN_AGE 14/; s/^ENCRYPT_METHOD.*/ENCRYPT_METHOD MD5/' {LOGIN_DEFS}")
    machine.write(QUALITY, "# minlen = 9\r\nminlen=16\r\nminclass = 1\nminclass = 4\nmaxrepeat = 0\r\ndictcheck=0\n", "0666")
    broken = machine.script("password", "check", parameters).rules("fail")
    assert {"password-hash-login-defs", "password-repeats", "password-dictionary", "password-digits"} <= broken
    hardened(machine, parameters)
    text = machine.sh(f"cat {QUALITY}")
    assert ("minlen=16" in text, text.count("minclass"), "# minlen = 9" in text, "\r" in text) == (True, 1, True, False)
    assert (
        machine.sh(f"grep -c ^PASS_MAX_DAYS {LOGIN_DEFS}; grep ^PASS_WARN_AGE {LOGIN_DEFS}; stat -c %a {QUALITY}")
        == "1\nPASS_WARN_AGE 14\n644\n"
    )


def test_missing_files(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh(f"rm -f {QUALITY}")
    hardened(machine, parameters)
    assert machine.sh(f"stat -c %a {QUALITY}") == "644\n"
