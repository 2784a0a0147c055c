"""packages.sh on real machines: as they come, with more to remove, and with something that is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine

ALL = "rpm -qa --qf '%{NAME}\\n' | sort"


@pytest.fixture(scope="module")
def parameters(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters of this subject."""
    return {name: value for name, value in values.items() if name.startswith("packages_")}


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return one machine for the file."""
    return start()


def test_removes_what_is_there_and_nothing_else(machine: Machine, parameters: dict[str, str]) -> None:
    installed = machine.sh("yum -y -q install telnet cups rsh-server ypbind vsftpd tftp-server >/dev/null 2>&1 || true; " + ALL).split()
    unwanted = set(installed) & {name.strip() for name in parameters["packages_removed"].split(",")}
    assert len(unwanted) >= 4
    assert machine.script("packages", "check", parameters).code == 1
    assert machine.apply("packages", parameters).changes == len(unwanted)
    assert set(installed) - set(machine.sh(ALL).split()) == unwanted
    checked = machine.script("packages", "check", parameters)
    assert (checked.code, checked.rules("fail")) == (0, set()), checked
    machine.sh("yum -q list installed >/dev/null; sudo -n true; sshd -t")


def test_what_is_needed_stops_the_build(machine: Machine, parameters: dict[str, str]) -> None:
    before = machine.sh(ALL)
    library = machine.sh("rpm -q --qf '%{NAME}' --whatprovides 'libaudit.so.1()(64bit)'").strip()
    said = machine.script("packages", "apply", {"packages_removed": f"telnet,{library}"})
    assert (said.code, "cannot be removed" in said.err) == (3, True), said
    for name in ("sudo", "openssh-server"):
        said = machine.script("packages", "apply", parameters | {"packages_removed": f"telnet {name}"})
        assert (said.code, f"names {name}, which the image needs" in said.err) == (3, True), said
    assert machine.sh(ALL) == before


def test_nothing_to_remove(machine: Machine) -> None:
    assert machine.apply("packages", {"packages_removed": ""}).changes == 0
