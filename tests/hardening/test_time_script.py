"""time.sh on real machines: as they come, and after others have been there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine

CONF = "/etc/chrony.conf"
SERVER = "server 169.254.169.123 prefer iburst minpoll 4 maxpoll 4\n"


@pytest.fixture(scope="module")
def parameters(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters of this subject."""
    return {name: value for name, value in values.items() if name.startswith("time_")}


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return one machine for the file."""
    return start()


def agrees(machine: Machine, parameters: dict[str, str]) -> None:
    """Let `check` find nothing, and chronyd run as an ordinary user."""
    checked = machine.script("time", "check", parameters)
    assert (checked.code, checked.rules("fail")) == (0, set()), checked
    assert machine.sh("systemctl is-active chronyd; ps -C chronyd -o user=").split() == ["active", "chrony"]


def test_fresh_machine(machine: Machine, parameters: dict[str, str]) -> None:
    machine.apply("time", parameters)
    agrees(machine, parameters)
    machine.sh(f"chronyd -p -f {CONF}")


def test_configuration_that_others_wrote(machine: Machine, parameters: dict[str, str]) -> None:
    """CRLF, the server in a comment, an open door, a step that never happens, root, twice; the file behind a link."""
    machine.sh("mkdir -p /etc/site")
    machine.write(
        "/etc/site/chrony.conf",
        "#server 169.254.169.123\r\nPOOL 2.pool.ntp.org iburst\r\nallow 10.0.0.0/8\r\nmakestep 0 0\r\n"
        "user root\r\nuser root\r\ndriftfile /var/lib/chrony/drift\r\n",
        "0640",
    )
    machine.sh(f"ln -sfn site/chrony.conf {CONF}; chmod 0666 /etc/chrony.keys")
    assert machine.script("time", "check", parameters).code == 1
    machine.apply("time", parameters)
    agrees(machine, parameters)
    assert machine.sh(f"cat {CONF}") == (
        "#server 169.254.169.123\nPOOL 2.pool.ntp.org iburst\n# isms: allow 10.0.0.0/8\n# isms: makestep 0 0\nuser chrony\n"
        "driftfile /var/lib/chrony/drift\n" + SERVER + "makestep 1.0 3\n"
    )
    assert machine.sh(f"readlink {CONF}; stat -c %a /etc/site/chrony.conf /etc/chrony.keys").split() == ["site/chrony.conf", "640", "640"]


def test_masked_and_stopped(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh("systemctl -q disable --now chronyd; systemctl -q mask chronyd")
    machine.apply("time", parameters)
    agrees(machine, parameters)
    assert machine.sh("systemctl is-enabled chronyd").strip() == "enabled"


def test_package_is_missing(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh("rpm -e chrony --nodeps")
    assert machine.script("time", "check", parameters).rules("fail") == {"time-chrony-installed"}
    machine.apply("time", parameters)
    agrees(machine, parameters)


def test_rival_and_zone(machine: Machine, parameters: dict[str, str]) -> None:
    machine.write("/usr/lib/systemd/system/ntpd.service", "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n")
    machine.sh("systemctl daemon-reload; systemctl -q unmask ntpd; systemctl -q enable ntpd")
    machine.sh("cp --remove-destination -L /usr/share/zoneinfo/Asia/Seoul /etc/localtime")
    assert {"time-single-daemon", "time-zone"} == machine.script("time", "check", parameters).rules("fail")
    machine.apply("time", parameters)
    agrees(machine, parameters)
    assert machine.sh("readlink /etc/localtime; date +%Z").split() == ["../usr/share/zoneinfo/UTC", "UTC"]
    machine.apply("time", parameters | {"time_zone": "Asia/Seoul"})
    assert machine.sh("date +%Z").strip() == "KST"
    assert machine.apply("time", parameters | {"time_zone": ""}).changes == 0
    assert machine.script("time", "apply", parameters | {"time_zone": "Asia/Nowhere"}).code == 3


def test_refuses_what_chronyd_refuses(machine: Machine, parameters: dict[str, str]) -> None:
    before = machine.sh(f"cat {CONF}")
    said = machine.script("time", "apply", parameters | {"time_servers": "169.254.169.123 -bad"})
    assert said.code in {0, 3}
    machine.sh(f"chronyd -p -f {CONF} >/dev/null; systemctl is-active chronyd")
    machine.sh(f"cat >{CONF}", stdin=before.encode())
