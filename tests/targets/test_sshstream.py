"""Whether what a host prints instead of a shell becomes the right sentence."""

from __future__ import annotations

import re

import pytest

from harness.targets.connection import Sudo
from harness.targets.sshstream import command, marks, not_root

WHO = "deploy@web1"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("sudo: a password is required", "sudo on deploy@web1 asks for a password"),
        ("sudo: a terminal is required to read the password; either use the -S option", "sudo on deploy@web1 asks for a password"),
        ("sudo: sorry, you must have a tty to run sudo", "sudo on deploy@web1 wants a terminal (requiretty)"),
        ("deploy is not in the sudoers file.  This incident will be reported.", "sudo on deploy@web1 does not let deploy become root"),
        (
            "Sorry, user deploy is not allowed to execute '/bin/bash' as root on web1.",
            "sudo on deploy@web1 does not let deploy become root",
        ),
        ("/usr/bin/env: sudo: No such file or directory", "deploy@web1 has no sudo"),
        ("env: can't execute 'sudo': No such file or directory", "deploy@web1 has no sudo"),
        ("sudo: /bin/bash: command not found", "deploy@web1 has no /bin/bash"),
        ("/usr/bin/env: '/bin/bash': No such file or directory", "deploy@web1 has no /bin/bash"),
        ("This account is currently not available.", "the log-in shell of deploy@web1 runs no commands"),
        (
            'Welcome\nPlease login as the user "ec2-user" rather than the user "root".',
            'no shell on deploy@web1 by sudo: exit code 1: Please login as the user "ec2-user"',
        ),
        ("", "no shell on deploy@web1 by sudo: exit code 1"),
    ],
)
def test_each_refusal_is_told_in_one_line_with_a_hint(said: str, told: str) -> None:
    error = not_root("exit code 1", said.encode(), WHO, Sudo.AUTO)
    assert str(error).startswith(told)
    assert error.hint
    assert "\n" not in f"{error}{error.hint}"


@pytest.mark.parametrize("sudo", list(Sudo))
@pytest.mark.parametrize("user", ["root", "ec2-user"])
def test_every_log_in_shell_can_read_how_bash_is_started(user: str, sudo: Sudo) -> None:
    text = command(user, sudo, *marks())
    outside = re.sub(r"'[^']*'", "", text)
    assert re.fullmatch(r"[\w/ =.-]+", outside), "csh and fish have other quotes, variables and operators"
    assert "!" not in text
    assert ("sudo" in text) is (user != "root" and sudo is not Sudo.NONE)
