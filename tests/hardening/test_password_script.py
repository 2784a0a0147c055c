"""password.sh on real machines: as they come, after others have been there, and with real people who type passwords."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hardening.ways_in import by_key, key_and_sudo_work

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine

PAM = "/etc/pam.d"
LOGIN_DEFS = "/etc/login.defs"
QUALITY = "/etc/security/pwquality.conf"
GOOD, OTHER = "Tr1al-of-words!q", "An0ther:phrase?zk"
SAVE = f"rm -rf /run/pam; cp -a {PAM} /run/pam"
RESTORE = f"rm -rf {PAM}; cp -a /run/pam {PAM}"


@pytest.fixture(scope="module")
def parameters(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters of this subject."""
    return {name: value for name, value in values.items() if name.startswith("password_")}


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return one machine for the file; its sudo asks trial for a password, once per call, so that one wrong word counts once."""
    machine = start()
    # In the file itself: the worn base reads no sudoers.d, and lets the group wheel in without a password.
    machine.sh("printf 'Defaults:trial passwd_tries=1\\ntrial ALL=(ALL) ALL\\n' >>/etc/sudoers")
    return machine


def hardened(machine: Machine, parameters: dict[str, str]) -> None:
    """Apply twice, check, and log in."""
    machine.apply("password", parameters)
    checked = machine.script("password", "check", parameters)
    assert (checked.code, checked.rules("fail")) == (0, set()), checked.out
    assert key_and_sudo_work(machine)


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


def people(machine: Machine) -> None:
    """Make `trial`, who has a password, in a state in which it may be changed today."""
    machine.sh("getent passwd trial >/dev/null || useradd -m -G wheel trial; faillock --user trial --reset")
    machine.sh(f": >/etc/security/opasswd; echo 'trial:{GOOD}' | chpasswd -c SHA512; chage -m 0 -M 90 -d $(date +%F) trial")


def try_sudo(machine: Machine, password: str) -> str:
    """Let trial become root with a password over the system-auth stack."""
    return machine.sh(f"su -s /bin/sh trial -c 'echo {password} | sudo -k -S -p \"\" id -un 2>&1'", check=False)


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
