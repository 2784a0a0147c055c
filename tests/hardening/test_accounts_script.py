"""accounts.sh on real machines: as they come, and after others have been there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hardening.ways_in import by_key, key_and_sudo_work

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine


@pytest.fixture(scope="module")
def parameters(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters of this subject."""
    return {name: value for name, value in values.items() if name.startswith("accounts_")}


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return one machine for the file."""
    return start()


def hardened(machine: Machine, parameters: dict[str, str]) -> None:
    """Apply twice, check, and log in."""
    machine.apply("accounts", parameters)
    checked = machine.script("accounts", "check", parameters)
    assert (checked.code, checked.rules("fail")) == (0, set()), checked.out
    assert key_and_sudo_work(machine)


def test_fresh_machine(machine: Machine, parameters: dict[str, str]) -> None:
    broken = machine.script("accounts", "check", parameters).rules("fail")
    assert {"accounts-su", "accounts-tmout", "accounts-tmout-readonly", "accounts-inactive"} <= broken
    hardened(machine, parameters)


def test_shells_begin_closed(machine: Machine, parameters: dict[str, str]) -> None:
    machine.apply("accounts", parameters)
    assert machine.sh("bash -lc 'umask; echo $TMOUT'") == "0027\n600\n"
    # `ssh host command` is no log-in shell; one that is asked for is.
    assert by_key(machine, "'bash -lc \"umask; echo \\$TMOUT\"'") == "0027\n600\n"
    assert machine.sh("su - ec2-user -c 'umask; touch fresh; stat -c %a fresh; rm fresh'") == "0027\n640\n"
    assert "readonly" in machine.sh("bash -lc 'TMOUT=0'", check=False)


def test_a_stricter_choice_stays(machine: Machine, parameters: dict[str, str]) -> None:
    machine.write("/etc/profile.d/company.sh", "umask 077\nTMOUT=300\n")
    machine.sh("sed -i 's/^UMASK.*/UMASK 077/' /etc/login.defs")
    machine.apply("accounts", parameters)
    assert machine.sh("bash -lc 'umask; echo $TMOUT'") == "0077\n300\n"
    assert machine.sh("grep ^UMASK /etc/login.defs") == "UMASK 077\n"
    machine.sh("rm /etc/profile.d/company.sh")


def test_start_up_files_of_others(machine: Machine, parameters: dict[str, str]) -> None:
    """CRLF, limits switched off in an if, a mask in a one-liner, `.` in root's PATH; comments and structure stay."""
    machine.sh("cp -a /root/.bash_profile /run/bash_profile")
    machine.write(
        "/etc/profile.d/company.sh",
        '# umask 000\r\nif [ -z "$TMOUT" ]; then\r\n  export TMOUT=0\r\nfi\r\n[ "$UID" -gt 0 ] && umask 002; TMOUT=3600\r\nunset TMOUT\r\n',
    )
    machine.write("/root/.bash_profile", 'PATH=".:$PATH:"\nPATH=$PATH::/opt/bin:.\numask 022\nexport PATH\n')
    broken = machine.script("accounts", "check", parameters).rules("fail")
    assert {"accounts-umask", "accounts-umask-files", "accounts-root-path"} <= broken
    hardened(machine, parameters)
    assert machine.sh("cat /etc/profile.d/company.sh") == (
        '# umask 000\nif [ -z "$TMOUT" ]; then\n  export TMOUT=600\nfi\n[ "$UID" -gt 0 ] && umask 027; TMOUT=600\n:\n'
    )
    assert machine.sh("head -n 2 /root/.bash_profile") == 'PATH="$PATH"\nPATH=$PATH:/opt/bin\n'
    machine.sh("rm /etc/profile.d/company.sh; cp -a /run/bash_profile /root/.bash_profile")


def test_accounts_of_others(machine: Machine, parameters: dict[str, str]) -> None:
    """An open shell, passwords where none belong, an empty one, one in passwd itself, `+` lines, strangers in groups."""
    modes = machine.sh("stat -c '%a %U:%G %n' /etc/passwd /etc/shadow /etc/group")
    machine.sh(
        "useradd -r -s /bin/bash service; echo service:Secret-77-words | chpasswd -c SHA512;"
        "useradd -m stranger; usermod -aG wheel,root stranger;"
        "useradd -m empty; sed -i 's/^empty:[^:]*:/empty::/' /etc/shadow; useradd -m old; sed -i 's/^old:x:/old:$1$abc$def:/' /etc/passwd;"
        "echo '+::::::' >>/etc/passwd; echo '+:::' >>/etc/group; echo root:Secret-77-words | chpasswd -c SHA512"
    )
    broken = machine.script("accounts", "check", parameters).rules("fail")
    assert {
        "accounts-system-shells",
        "accounts-system-passwords",
        "accounts-admin-members",
        "accounts-root-group-members",
        "accounts-empty-passwords",
        "accounts-shadowed",
        "accounts-legacy-entries",
        "accounts-root-password",
    } <= broken
    hardened(machine, parameters)
    assert machine.sh("stat -c '%a %U:%G %n' /etc/passwd /etc/shadow /etc/group") == modes
    assert machine.sh("id -nG stranger; getent passwd service | cut -d: -f7") == "stranger\n/sbin/nologin\n"
    assert machine.sh("getent shadow empty service root | cut -d: -f2 | cut -c1") == "!\n!\n!\n"
    assert machine.sh("getent passwd ec2-user sync | cut -d: -f7") == "/bin/bash\n/bin/sync\n"


def test_what_only_a_person_can_repair(machine: Machine, parameters: dict[str, str]) -> None:
    """A second root and shared numbers are named by the check and left alone."""
    machine.sh("useradd -o -u 0 -M toor; useradd -o -u 1000 -M twin; groupadd -o -g 1000 twins; usermod -L toor")
    before = machine.sh("cat /etc/passwd /etc/group")
    machine.apply("accounts", parameters)
    assert machine.sh("cat /etc/passwd /etc/group") == before
    failed = machine.script("accounts", "check", parameters).rules("fail")
    assert {"accounts-uid-zero", "accounts-duplicate-uids", "accounts-duplicate-gids"} <= failed
    machine.sh("sed -i '/^toor:/d;/^twin/d' /etc/passwd /etc/shadow /etc/group /etc/gshadow; rm -rf /home/toor /home/twin")


def test_homes_of_others(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh("getent passwd stranger >/dev/null || useradd -m stranger")
    linked = machine.sh("stat -c '%a %U' /etc/passwd")
    machine.sh(
        "chmod 0777 /home/stranger; chown nobody /home/stranger; cd /home/stranger;"
        "echo x >.bashrc; chmod 0666 .bashrc; chown nobody .bashrc;"
        "touch .rhosts .netrc .forward /etc/hosts.equiv; ln -s /etc/passwd .linked; useradd -M homeless"
    )
    broken = machine.script("accounts", "check", parameters).rules("fail")
    assert {"accounts-home-modes", "accounts-dot-files", "accounts-trust-files", "accounts-netrc", "accounts-homes-exist"} <= broken
    hardened(machine, parameters)
    assert machine.sh(
        "cd /home/stranger; stat -c '%a %U' . .bashrc /home/homeless; ls -A | grep -c -e rhosts -e netrc; stat -c '%a %U' /etc/passwd",
        check=False,
    ) == ("750 stranger\n644 stranger\n700 homeless\n0\n" + linked)


def test_su_is_for_wheel(machine: Machine, parameters: dict[str, str]) -> None:
    """Tried for real: root becomes anybody, a stranger with the right password becomes nobody."""
    machine.apply("accounts", parameters)
    machine.sh("getent passwd stranger >/dev/null || useradd -m stranger")
    machine.sh("getent passwd goal >/dev/null || useradd -m goal; echo goal:Right-password-7 | chpasswd -c SHA512")
    assert machine.sh("su - ec2-user -c 'id -un'") == "ec2-user\n"
    attempt = "echo Right-password-7 | su -s /bin/sh {user} -c 'su goal -c \"id -un\"' 2>&1"
    assert "goal" not in machine.sh(attempt.format(user="stranger"), check=False)
    assert machine.sh(attempt.format(user="ec2-user"), check=False).endswith("goal\n")


@pytest.mark.parametrize(
    "stack",
    [
        (
            "auth sufficient pam_rootok.so\r\nauth sufficient pam_wheel.so trust use_uid\r\n"
            "auth substack system-auth\r\naccount include system-auth\r\n"
        ),
        (
            "auth sufficient pam_rootok.so\nauth required pam_wheel.so\n#auth required pam_wheel.so use_uid\n"
            "auth include system-auth\naccount include system-auth\n"
        ),
        "#%PAM-1.0\nauth include system-auth\naccount include system-auth\n",
    ],
)
def test_stacks_of_su_of_others(machine: Machine, parameters: dict[str, str], stack: str) -> None:
    machine.sh("cp -a /etc/pam.d/su /run/su")
    machine.write("/etc/pam.d/su", stack)
    machine.apply("accounts", parameters)
    text = machine.sh("cat /etc/pam.d/su")
    assert text.count("pam_wheel.so") == 1
    assert text.index("pam_wheel.so use_uid") < text.index("system-auth")
    assert "\r" not in text
    assert machine.script("accounts", "check", parameters).code == 0
    machine.sh("cp -a /run/su /etc/pam.d/su")


def test_a_login_su_that_includes_su(machine: Machine, parameters: dict[str, str]) -> None:
    """Tabs between the words: it inherits the guard and keeps pam_rootok in front of it."""
    text = "#%PAM-1.0\nauth\t\tinclude\t\tsu\naccount\t\tinclude\t\tsu\npassword\tinclude\t\tsu\nsession\t\tinclude\t\tsu\n"
    machine.write("/etc/pam.d/su-l", text)
    machine.apply("accounts", parameters)
    assert machine.sh("cat /etc/pam.d/su-l") == text
    assert machine.sh("su - ec2-user -c 'id -un'") == "ec2-user\n"


def test_behind_a_link(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh("mv /etc/pam.d/su /etc/pam.d/su-real; ln -s su-real /etc/pam.d/su; sed -i 's/^auth.*wheel.*/#&/' /etc/pam.d/su-real")
    hardened(machine, parameters)
    assert machine.sh("readlink /etc/pam.d/su") == "su-real\n"
