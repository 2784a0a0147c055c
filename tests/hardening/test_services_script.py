"""services.sh on real machines: as they come, and after others have been there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine

SLEEP = "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n"
SOCKET = "[Socket]\nListenStream=127.0.0.1:2323\nAccept=yes\n[Install]\nWantedBy=sockets.target\n"


@pytest.fixture(scope="module")
def parameters(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters of this subject."""
    return {name: value for name, value in values.items() if name.startswith("services_")}


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return one machine for the file."""
    return start()


def agrees(machine: Machine, parameters: dict[str, str]) -> None:
    """Let `check` find nothing, and systemd neither."""
    checked = machine.script("services", "check", parameters)
    assert (checked.code, checked.rules("fail")) == (0, set()), checked
    assert machine.sh("systemctl --failed --no-legend").strip() == ""


def test_fresh_machine(machine: Machine, parameters: dict[str, str]) -> None:
    assert machine.apply("services", parameters).changes > 0
    agrees(machine, parameters)
    machine.sh("systemctl is-active sshd")


def test_units_in_every_state(machine: Machine, parameters: dict[str, str]) -> None:
    """Running, enabled only, masked while it runs, written by hand into /etc, static behind an alias, waiting behind a socket."""
    machine.sh("cd /etc/systemd/system && rm -f vsftpd.service squid.service named.service snmpd.service bluetooth.service telnet.socket")
    machine.write("/usr/lib/systemd/system/vsftpd.service", SLEEP)
    machine.write("/usr/lib/systemd/system/squid.service", SLEEP)
    machine.write("/usr/lib/systemd/system/named.service", SLEEP)
    machine.write("/etc/systemd/system/snmpd.service", SLEEP)
    machine.write("/usr/lib/systemd/system/bluetooth.service", "[Service]\nExecStart=/bin/sleep 1000\n")
    machine.write("/usr/lib/systemd/system/telnet.socket", SOCKET)
    machine.write("/usr/lib/systemd/system/telnet@.service", "[Service]\nExecStart=/bin/cat\nStandardInput=socket\n")
    machine.sh(
        "ln -sfn /usr/lib/systemd/system/bluetooth.service /etc/systemd/system/dbus-org.bluez.service; systemctl daemon-reload; "
        "systemctl -q enable squid vsftpd snmpd telnet.socket; "
        "systemctl start vsftpd named snmpd bluetooth telnet.socket; systemctl -q mask named"
    )
    failing = machine.script("services", "check", parameters).rules("fail")
    wanted = {"services-ftp", "services-proxy", "services-dns", "services-snmp", "services-bluetooth", "services-telnet"}
    assert failing == wanted
    assert set(machine.apply("services", parameters).changed) == wanted
    agrees(machine, parameters)
    for name in ("vsftpd.service", "squid.service", "named.service", "snmpd.service", "bluetooth.service", "telnet.socket"):
        assert machine.sh(f"systemctl is-enabled {name}; systemctl is-active {name}", check=False).split()[:2] == ["masked", "inactive"], (
            name
        )
        assert "masked" in machine.sh(f"systemctl start {name}", check=False)
    assert machine.sh("cat /etc/systemd/system/snmpd.service.isms-off") == SLEEP


def test_units_that_are_kept(machine: Machine, parameters: dict[str, str]) -> None:
    machine.write("/usr/lib/systemd/system/nginx.service", SLEEP)
    machine.sh("systemctl daemon-reload; systemctl -q enable --now nginx")
    kept = parameters | {"services_kept": "httpd.service,nginx.service"}
    assert machine.apply("services", kept).changes == 0
    agrees(machine, kept)
    assert machine.sh("systemctl is-active nginx").strip() == "active"
    assert machine.apply("services", parameters).changed == ["services-web"]


def test_mail_server_on_all_interfaces(machine: Machine, parameters: dict[str, str]) -> None:
    machine.write("/etc/postfix/main.cf", "myhostname = x\r\ninet_interfaces = all\r\n#inet_interfaces = localhost\n")
    assert "services-mail-transfer" in machine.script("services", "check", parameters).rules("fail")
    machine.apply("services", parameters)
    agrees(machine, parameters)
    assert "inet_interfaces = loopback-only\n#inet_interfaces" in machine.sh("cat /etc/postfix/main.cf")
    machine.sh("rm -r /etc/postfix")


def test_resolver_drop_ins(machine: Machine, parameters: dict[str, str]) -> None:
    machine.write("/etc/systemd/resolved.conf.d/10-site.conf", "[Resolve]\nLLMNR=yes\nMulticastDNS=resolve\n")
    machine.apply("services", parameters)
    agrees(machine, parameters)
