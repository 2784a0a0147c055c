"""kernel.sh on real machines: as they come, and after others have been there."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine

OURS = "/etc/sysctl.d/99-zz-isms.conf"


@pytest.fixture(scope="module")
def parameters(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters of this subject."""
    return {name: value for name, value in values.items() if name.startswith("kernel_")}


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return one machine for the file."""
    return start()


def agrees(machine: Machine, parameters: dict[str, str]) -> None:
    """Let `check` find nothing."""
    checked = machine.script("kernel", "check", parameters)
    assert (checked.code, checked.rules("fail")) == (0, set()), checked
    assert len(checked.rules("pass")) > 30


def test_fresh_machine(machine: Machine, parameters: dict[str, str]) -> None:
    before = machine.script("kernel", "check", parameters)
    assert before.code == 1
    assert "kernel-ip-forward" in before.rules("fail")
    machine.apply("kernel", parameters)
    agrees(machine, parameters)
    assert machine.sh(f"stat -c '%a %U %G' {OURS}").strip() == "644 root root"


def test_later_files_and_exceptions(machine: Machine, parameters: dict[str, str]) -> None:
    """sysctl.conf is read last by `sysctl --system`; vendor files sort after ours; one interface has its own line; CRLF."""
    machine.sh(
        f"printf 'net.ipv4.ip_forward = 1\\r\\n# a comment\\nvm.swappiness=10\\nnet.ipv4.conf.eth0.send_redirects=1\\n' >/etc/sysctl.conf; "
        f"ln -sfn ../sysctl.conf /etc/sysctl.d/99-sysctl.conf; mkdir -p /run/sysctl.d; "
        f"printf 'kernel.sysrq=1\\n' >/run/sysctl.d/{OURS.rpartition('/')[2]}; "
        "printf -- '-fs/suid_dumpable = 2\\nnet/ipv6/conf/eth0.100/accept_redirects=1\\nvm.swappiness=20\\n' "
        ">/usr/lib/sysctl.d/zz-vendor.conf; "
        "printf 'kernel.kptr_restrict = 2\\n' >/etc/sysctl.d/zz-stricter.conf; ln -sfn /nowhere /etc/sysctl.d/zz-broken.conf"
    )
    failing = machine.script("kernel", "check", parameters).rules("fail")
    assert {"kernel-ip-forward", "kernel-send-redirects", "kernel-setuid-dumpable", "kernel-sysrq"} <= failing
    machine.apply("kernel", parameters)
    agrees(machine, parameters)
    assert machine.sh("cat /etc/sysctl.conf") == (
        "# isms: net.ipv4.ip_forward = 1\r\n# a comment\nvm.swappiness=10\n# isms: net.ipv4.conf.eth0.send_redirects=1\n"
    )
    assert machine.sh("readlink /etc/sysctl.d/99-sysctl.conf").strip() == "../sysctl.conf"
    assert machine.sh("cat /usr/lib/sysctl.d/zz-vendor.conf").startswith("-fs/suid_dumpable = 2")
    assert machine.sh("cat /etc/sysctl.d/zz-vendor.conf") == (
        "# isms: -fs/suid_dumpable = 2\n# isms: net/ipv6/conf/eth0.100/accept_redirects=1\nvm.swappiness=20\n"
    )
    assert machine.sh("cat /etc/sysctl.d/zz-stricter.conf") == "kernel.kptr_restrict = 2\n"
    machine.sh("rm -f /etc/sysctl.d/zz-* /usr/lib/sysctl.d/zz-vendor.conf")


@pytest.mark.parametrize(
    "spoil", [f"ln -sfn /dev/null {OURS}", f"rm -f {OURS}", f"sed -i 's/$/\\r/; s/ = 0/ = 1/' {OURS}", f"chmod 0666 {OURS}"]
)
def test_own_file_spoilt(machine: Machine, parameters: dict[str, str], spoil: str) -> None:
    machine.apply("kernel", parameters)
    machine.sh(spoil)
    assert machine.apply("kernel", parameters).changes > 0
    assert machine.sh(f"stat -c '%F %a' {OURS}").strip() == "regular file 644"
    agrees(machine, parameters)


def test_modules_that_others_load(machine: Machine, parameters: dict[str, str]) -> None:
    machine.write("/etc/modprobe.d/00-a.conf", "install usb_storage /sbin/modprobe --ignore-install usb-storage\r\noptions sctp x=1\n")
    assert "kernel-module-usb-storage" in machine.script("kernel", "check", parameters).rules("fail")
    machine.apply("kernel", parameters)
    agrees(machine, parameters)
    assert (
        machine.sh("cat /etc/modprobe.d/00-a.conf")
        == "# isms: install usb_storage /sbin/modprobe --ignore-install usb-storage\r\noptions sctp x=1\n"
    )
    machine.apply("kernel", parameters | {"kernel_disabled_modules": "dccp"})
    assert "sctp" not in machine.sh("cat /etc/modprobe.d/00-isms-modules.conf")


def test_core_dumps_that_others_want(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh(
        "printf '*  -  core  unlimited\\r\\n' >>/etc/security/limits.conf; "
        "printf '[Coredump]\\nStorage=external\\n' >/etc/systemd/coredump.conf.d/zzz.conf"
    )
    assert {"kernel-core-limit", "kernel-core-storage"} <= machine.script("kernel", "check", parameters).rules("fail")
    machine.apply("kernel", parameters)
    agrees(machine, parameters)
    assert "# isms: *  -  core" in machine.sh("cat /etc/security/limits.conf")


def test_running_values(machine: Machine, parameters: dict[str, str]) -> None:
    """Only where this machine lets a container write its own network's parameters; never the host's."""
    pid = machine.engine.call("inspect", "-f", "{{.State.Pid}}", machine.name).stdout.decode().strip()
    text = "mkdir -p /run/.p && mount -t proc proc /run/.p && mount --bind /run/.p/sys/net /proc/sys/net && umount /run/.p"
    opened = subprocess.run(["nsenter", "-t", pid, "-m", "-p", "-n", "--", "sh", "-c", text], capture_output=True, timeout=20, check=False)
    if opened.returncode:
        pytest.skip(f"/proc/sys/net stays read-only: {opened.stderr.decode().strip()}")
    machine.sh("echo 1 >/proc/sys/net/ipv6/conf/lo/accept_redirects; echo 0 >/proc/sys/net/ipv4/tcp_syncookies")
    assert {"kernel-ipv6-accept-redirects", "kernel-syn-cookies"} <= machine.script("kernel", "check", parameters).rules("fail")
    assert {"kernel-ipv6-accept-redirects", "kernel-syn-cookies"} <= set(machine.apply("kernel", parameters).changed)
    assert machine.sh("cat /proc/sys/net/ipv6/conf/lo/accept_redirects /proc/sys/net/ipv4/tcp_syncookies").split() == ["0", "1"]
    agrees(machine, parameters)
