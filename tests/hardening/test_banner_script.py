"""banner.sh on real machines: as they come, and after others have been there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine

FILES = "/etc/issue /etc/issue.net /etc/motd"


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return one machine for the file."""
    return start()


def hardened(machine: Machine) -> None:
    """Apply twice and check."""
    machine.apply("banner", {})
    checked = machine.script("banner", "check", {})
    assert (checked.code, checked.rules("fail")) == (0, set()), checked.out
    assert machine.sh(f"stat -c '%F %a %U' {FILES}") == "regular file 644 root\n" * 3
    assert machine.sh(f"grep -l 경고 {FILES} | wc -l; grep -li warning {FILES} | wc -l") == "3\n3\n"


def test_fresh_machine(machine: Machine) -> None:
    assert {"banner-issue", "banner-version"} <= machine.script("banner", "check", {}).rules("fail")
    assert machine.apply("banner", {}).changes >= 3
    hardened(machine)


def test_the_link_of_update_motd(machine: Machine) -> None:
    """What the link leads to stays the tool's own; the tool is told to stop."""
    machine.sh("mkdir -p /var/lib/update-motd; rm -f /var/lib/update-motd/disabled; echo vendor >/var/lib/update-motd/motd")
    machine.sh("ln -sfn /var/lib/update-motd/motd /etc/motd")
    assert "banner-update-motd" in machine.script("banner", "check", {}).rules("fail")
    hardened(machine)
    assert machine.sh("cat /var/lib/update-motd/motd; ls /var/lib/update-motd") == "vendor\ndisabled\nmotd\n"


def test_parts_of_the_vendor(machine: Machine) -> None:
    machine.write("/usr/lib/motd.d/30-banner", "Amazon Linux\n")
    assert machine.script("banner", "check", {}).rules("fail") == {"banner-motd-parts"}
    assert machine.apply("banner", {}).changed == ["banner-motd-parts"]
    assert machine.sh("cat /etc/motd.d/30-banner; cat /usr/lib/motd.d/30-banner") == "Amazon Linux\n"


def test_files_of_others(machine: Machine) -> None:
    machine.sh(
        "rm -f /etc/issue.net; printf 'Welcome\\r\\n\\\\S \\\\r\\n' >/etc/issue; chmod 0666 /etc/issue /etc/motd; chown nobody /etc/motd"
    )
    broken = machine.script("banner", "check", {}).rules("fail")
    assert {"banner-issue", "banner-issue-net", "banner-version", "banner-issue-mode", "banner-motd-mode"} <= broken
    hardened(machine)
