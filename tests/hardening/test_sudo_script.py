"""sudo.sh on real machines: as they come, and after others have been there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hardening.ways_in import key_and_sudo_work

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine

MAIN = "/etc/sudoers"
DROP_IN = "/etc/sudoers.d/zz-isms"


@pytest.fixture(scope="module")
def parameters(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters of this subject."""
    return {name: value for name, value in values.items() if name.startswith("sudo_")}


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return one machine for the file."""
    return start()


def hardened(machine: Machine, parameters: dict[str, str]) -> None:
    """Apply twice, check, and become root."""
    machine.apply("sudo", parameters)
    checked = machine.script("sudo", "check", parameters)
    assert (checked.code, checked.rules("fail")) == (0, set()), checked.out
    assert key_and_sudo_work(machine)
    machine.sh("visudo -c")


def test_fresh_machine(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh("rm -f /var/log/sudo.log")
    assert {"sudo-use-pty", "sudo-logfile"} <= machine.script("sudo", "check", parameters).rules("fail")
    assert machine.apply("sudo", parameters).changes > 0
    hardened(machine, parameters)
    assert "COMMAND=" in machine.sh("cat /var/log/sudo.log")


def test_what_others_wrote(machine: Machine, parameters: dict[str, str]) -> None:
    """CRLF, our settings turned round in lists, in scopes and over two lines, NOPASSWD for a group and for users."""
    machine.sh("useradd -m trial")
    machine.write(
        MAIN,
        'Defaults env_reset, !use_pty, timestamp_timeout=-1, \\\r\n  env_keep = "COLORS, DISPLAY"\r\nDefaults:trial !authenticate\r\n'
        "Defaults secure_path=.:/usr/bin\r\nroot ALL=(ALL) ALL\r\n%wheel ALL=(ALL) NOPASSWD: ALL\r\n# %wheel ALL=(ALL) NOPASSWD: ALL\r\n"
        "ec2-user, trial ALL=(ALL) NOPASSWD: /usr/bin/id, PASSWD: /usr/bin/who\r\n#includedir /etc/sudoers.d\r\n"
        "Defaults logfile=/tmp/x\r\n",
        "0644",
    )
    machine.write("/etc/sudoers.d/50-tool", "Defaults!/usr/bin/who !use_pty\nssm-user ALL=(ALL) NOPASSWD:ALL\n", "0640")
    machine.write("/etc/sudoers.d/50.skipped", "%everybody ALL=(ALL) NOPASSWD:ALL\n", "0440")
    broken = machine.script("sudo", "check", parameters).rules("fail")
    assert {"sudo-nopasswd", "sudo-authenticate", "sudo-sudoers-mode", "sudo-dropin-modes", "sudo-secure-path", "sudo-use-pty"} <= broken
    hardened(machine, parameters)
    text = machine.sh(f"cat {MAIN}")
    assert text == (
        'Defaults env_reset, env_keep = "COLORS, DISPLAY"\nroot ALL=(ALL) ALL\n%wheel ALL=(ALL) ALL\n# %wheel ALL=(ALL) NOPASSWD: ALL\n'
        "ec2-user, trial ALL=(ALL) /usr/bin/id, PASSWD: /usr/bin/who\n#includedir /etc/sudoers.d\n"
    )
    assert machine.sh("cat /etc/sudoers.d/50-tool") == "ssm-user ALL=(ALL) NOPASSWD:ALL\n"
    assert "secure_path=/usr/sbin" in machine.sh(f"cat {DROP_IN}")
    assert machine.sh("sudo -l -U trial | grep -c NOPASSWD", check=False) == "0\n"


def test_a_good_path_of_others_stays(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh(f"sed -i '1i Defaults secure_path = /sbin:/bin:/usr/sbin:/usr/bin:/usr/local/bin' {MAIN}")
    hardened(machine, parameters)
    assert "secure_path" not in machine.sh(f"cat {DROP_IN}")


def test_no_include(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh(f"sed -i '/includedir/d' {MAIN}")
    assert "sudo-include" in machine.script("sudo", "check", parameters).rules("fail")
    hardened(machine, parameters)


def test_missing_file_and_link(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh(f"rm -f {MAIN}")
    hardened(machine, parameters)
    machine.sh(f"mv {MAIN} /etc/sudoers.real; ln -s sudoers.real {MAIN}; sed -i '1i Defaults !use_pty' /etc/sudoers.real")
    hardened(machine, parameters)
    assert machine.sh(f"readlink {MAIN}") == "sudoers.real\n"
    machine.sh(f"mv /etc/sudoers.real {MAIN}")


def test_a_broken_file_stops_the_build(machine: Machine, parameters: dict[str, str]) -> None:
    machine.write("/etc/sudoers.d/60-broken", "this is no rule at all (\n", "0440")
    assert "sudo-syntax" in machine.script("sudo", "check", parameters).rules("fail")
    said = machine.script("sudo", "apply", parameters)
    assert (said.code, "60-broken" in said.err) == (3, True)
    assert machine.sh("find /etc/sudoers* -name '.isms*'") == ""
    machine.sh("rm /etc/sudoers.d/60-broken")
    hardened(machine, parameters)
