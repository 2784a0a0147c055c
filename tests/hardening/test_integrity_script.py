"""integrity.sh and the program it installs, on real machines with a real AIDE."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine


@pytest.fixture(scope="module")
def parameters(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters of this subject."""
    return {name: value for name, value in values.items() if name.startswith("integrity_")}


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return one machine for the file."""
    return start()


def test_fresh_machine(machine: Machine, parameters: dict[str, str]) -> None:
    first = machine.apply("integrity", parameters)
    assert {"integrity-paths", "integrity-daily-check", "integrity-database-planned"} <= set(first.changed)
    assert machine.script("integrity", "check", parameters).code == 0
    machine.sh("aide --config-check")
    assert machine.sh("ls /var/lib/aide").strip() == "", "a database from the build is wrong on every instance"
    assert (
        machine.sh("systemctl show -p ConditionPathExists -p After isms-aide-init.service 2>&1 | grep -c multi-user.target").strip() == "1"
    )


def test_the_unit_builds_the_database_once(machine: Machine) -> None:
    machine.sh(
        "systemctl start isms-aide-init; for i in $(seq 300); do [ -s /var/lib/aide/aide.db.gz ] && break; sleep 0.2; done; sleep 0.3"
    )
    before = machine.sh("stat -c '%Y %i %a' /var/lib/aide/aide.db.gz")
    assert before.split()[2] == "600"
    machine.sh("systemctl start isms-aide-init; sleep 0.3")
    assert machine.sh("stat -c '%Y %i %a' /var/lib/aide/aide.db.gz") == before


def test_what_the_check_says(machine: Machine) -> None:
    """Differences are no error of the check, and reach syslog and the report; then they can be accepted."""
    assert machine.sh("/usr/libexec/isms-aide check").strip() == "no difference to the reference database"
    machine.sh("echo x >/etc/unexpected.conf; echo x >>/etc/issue; rm -f /etc/logrotate.d/aide")
    machine.sh("touch /etc/adjtime /etc/ssh/ssh_host_test_key")
    assert "(new removed changed)" in machine.sh("/usr/libexec/isms-aide check")
    report = machine.sh("cat /var/log/aide/aide.log")
    assert "/etc/unexpected.conf" in report
    assert "/etc/issue" in report
    assert "ssh_host_test_key" not in report
    assert "/etc/adjtime" not in report
    assert "files differ from the reference database" in machine.sh("journalctl -t isms-aide")
    assert machine.sh("stat -c %a /var/log/aide/aide.log").strip() == "600"
    machine.sh("/usr/libexec/isms-aide accept")
    assert machine.sh("/usr/libexec/isms-aide check").strip() == "no difference to the reference database"


def test_an_error_of_aide_is_an_error(machine: Machine) -> None:
    machine.sh("cp -p /etc/aide.conf /root/; echo 'no such thing' >>/etc/aide.conf")
    said = machine.sh("/usr/libexec/isms-aide check; echo rc=$?")
    machine.sh("mv /root/aide.conf /etc/aide.conf")
    assert said.endswith("rc=1\n")
    assert "the check failed" in said


def test_a_configuration_that_others_wrote(machine: Machine, parameters: dict[str, str]) -> None:
    """It stays beside ours, once; rules of one's own have a file that is never changed."""
    machine.write("/etc/aide.conf", "/opt/theirs R\r\n", "0644")
    machine.write("/etc/aide.local.conf", "/srv Access\n", "0666")
    machine.sh("chmod 0755 /var/lib/aide; chown nobody /var/log/aide")
    broken = machine.script("integrity", "check", parameters)
    assert {"integrity-config-permissions", "integrity-database-permissions", "integrity-log-permissions"} <= broken.rules("fail")
    machine.apply("integrity", parameters)
    assert machine.sh("cat /etc/aide.conf.before-isms") == "/opt/theirs R\r\n"
    assert machine.sh("cat /etc/aide.local.conf; stat -c %a /etc/aide.local.conf") == "/srv Access\n600\n"
    assert "/srv" in machine.sh("mkdir -p /srv && touch /srv/new; /usr/libexec/isms-aide check; cat /var/log/aide/aide.log")


def test_a_local_file_that_aide_refuses(machine: Machine, parameters: dict[str, str]) -> None:
    """The configuration in place is never one that AIDE refuses."""
    before = machine.sh("cat /etc/aide.conf")
    machine.sh("echo 'nonsense here' >>/etc/aide.local.conf")
    said = machine.script("integrity", "apply", parameters)
    machine.sh(": >/etc/aide.local.conf")
    assert (said.code, "AIDE refuses" in said.err) == (3, True)
    assert machine.sh("cat /etc/aide.conf; ls -A /etc | grep -c '^.isms' || :") == before + "0\n"


def test_units_that_were_switched_off(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh("systemctl disable -q isms-aide-init.service; rm -f /usr/libexec/isms-aide; systemctl stop isms-aide-check.timer")
    assert {"integrity-database-planned", "integrity-daily-check"} <= set(machine.apply("integrity", parameters).changed)
    later = parameters | {"integrity_check_time": "23:15"}
    assert set(machine.apply("integrity", later).changed) == {"integrity-daily-check"}
    assert "OnCalendar=*-*-* 23:15:00" in machine.sh("systemctl cat isms-aide-check.timer")
