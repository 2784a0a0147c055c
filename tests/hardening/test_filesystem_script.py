"""filesystem.sh on real machines: as they come, and after others have been there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine


@pytest.fixture(scope="module")
def parameters(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters of this subject."""
    return {name: value for name, value in values.items() if name.startswith("filesystem_")}


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return one machine for the file."""
    return start()


def agrees(machine: Machine, parameters: dict[str, str]) -> None:
    """Let `check` find nothing."""
    checked = machine.script("filesystem", "check", parameters)
    assert (checked.code, checked.rules("fail")) == (0, set()), checked


def modes(machine: Machine, *names: str) -> list[str]:
    """Return the modes and owners of files."""
    return machine.sh(f"stat -L -c '%a %U:%G' {' '.join(names)}").splitlines()


def test_fresh_machine(machine: Machine, parameters: dict[str, str]) -> None:
    assert machine.script("filesystem", "check", parameters).code == 1
    machine.apply("filesystem", parameters)
    agrees(machine, parameters)
    assert modes(machine, "/etc/shadow", "/root", "/etc/passwd") == ["0 root:root", "700 root:root", "644 root:root"]
    machine.sh("sudo -n true; su - ec2-user -c 'sudo -n id -u; passwd -S' ; systemctl daemon-reload")
    assert machine.sh("systemctl --failed --no-legend").strip() == ""


def test_modes_that_others_left(machine: Machine, parameters: dict[str, str]) -> None:
    """Too wide, too narrow, somebody else's, behind a link."""
    machine.write("/etc/cron.d/site job", "# not a job\n", "0666")
    machine.write("/var/spool/cron/ec2-user", "# no job either\n", "0644")
    machine.write("/var/spool/at/a00001", "#!/bin/sh\n", "0755")
    machine.sh(
        "chmod 0666 /etc/passwd; chmod 0600 /etc/group; chown ec2-user /etc/services; chmod 0755 /root; "
        "touch /etc/hosts.lpd /etc/cron.deny; ln -sfn /nowhere /etc/at.deny; echo alice >/etc/cron.allow; chmod 0644 /etc/cron.allow; "
        "mkdir -p /etc/site /etc/xinetd.d; touch /etc/xinetd.d/echo; "
        "cp -a /etc/crontab /etc/site/crontab; chmod 0644 /etc/site/crontab; ln -sfn site/crontab /etc/crontab; "
        "touch '/etc/profile.d/a b.sh'; chmod 0777 '/etc/profile.d/a b.sh'"
    )
    machine.apply("filesystem", parameters)
    agrees(machine, parameters)
    assert modes(machine, "/etc/passwd", "/etc/group", "/etc/services", "/root") == ["644 root:root"] * 3 + ["700 root:root"]
    assert machine.sh("readlink /etc/crontab; cat /etc/cron.allow").split() == ["site/crontab", "alice"]
    assert modes(machine, "/etc/crontab", "/etc/cron.allow", "'/etc/cron.d/site job'") == ["600 root:root"] * 3
    assert modes(machine, "'/etc/profile.d/a b.sh'") == ["755 root:root"]
    assert modes(machine, "/var/spool/cron/ec2-user", "/var/spool/at/a00001") == ["600 root:root", "700 root:root"]
    assert machine.sh("ls /etc/at.deny /etc/cron.deny", check=False).count("No such file") == 2


def test_strange_files(machine: Machine, parameters: dict[str, str]) -> None:
    """Names with blanks and line breaks, links to what must not change, files that vanish while the walk goes on."""
    machine.sh(
        "mkdir -p /opt/site '/opt/open folder'; touch $'/opt/site/two\\nlines' '/opt/site/with blank'; chmod 0666 /opt/site/*; "
        "cp /bin/true /opt/site/unknown; chmod 4755 /opt/site/unknown /usr/bin/newgrp; chmod 0777 '/opt/open folder'; "
        "touch /opt/site/orphan; chown 4242:4242 /opt/site/orphan; ln -s /nowhere /opt/site/dangling; touch /dev/hidden; "
        "printf '[Service]\\nExecStart=/bin/true\\n' >/etc/systemd/system/site.service; chmod 0664 /etc/systemd/system/site.service"
    )
    said = machine.script("filesystem", "check", parameters).rules("fail")
    assert said == {
        f"filesystem-{name}"
        for name in ("setuid", "world-writable-files", "world-writable-folders", "unowned", "startup-files", "device-files")
    }
    done = machine.apply("filesystem", parameters)
    assert "note /opt/site/unknown runs with its owner's rights" in done.out
    assert machine.script("filesystem", "check", parameters).rules("fail") == {"filesystem-setuid"}
    assert modes(machine, "/opt/site/unknown", "/usr/bin/newgrp", "'/opt/open folder'") == [
        "4755 root:root",
        "755 root:root",
        "1777 root:root",
    ]
    assert modes(machine, "/opt/site/orphan", "$'/opt/site/two\\nlines'", "'/opt/site/with blank'") == [
        "644 root:root",
        "664 root:root",
        "664 root:root",
    ]
    assert machine.sh("ls /dev/hidden", check=False).count("No such file") == 1
    agrees(machine, parameters | {"filesystem_setuid_allowed": parameters["filesystem_setuid_allowed"] + ",/opt/site/unknown"})
    machine.sh("rm -f /opt/site/unknown")


def test_files_that_vanish(machine: Machine, parameters: dict[str, str]) -> None:
    churn = "while [ ! -e /opt/stop ]; do mkdir -p /opt/churn/a/b; touch /opt/churn/a/b/c; rm -r /opt/churn/a; done"
    machine.sh(f"({churn}; rm -rf /opt/churn /opt/stop) >/dev/null 2>&1 &")
    codes = [machine.script("filesystem", "check", parameters).code for _ in range(3)]
    machine.sh("touch /opt/stop; while [ -e /opt/stop ]; do sleep 0.1; done")
    assert codes == [0, 0, 0]


def test_mounts(machine: Machine, parameters: dict[str, str]) -> None:
    """A site that put /tmp into fstab, a system that has it as a tmpfs, and the wish for noexec."""
    noexec = parameters | {"filesystem_tmp_noexec": "true"}
    machine.apply("filesystem", noexec)
    assert "noexec" in machine.sh("systemctl cat tmp.mount")
    machine.sh("rm -rf /etc/systemd/system/tmp.mount* /etc/systemd/system/local-fs.target.wants/tmp.mount")
    machine.write("/etc/fstab", "# devices\n/dev/vdb  /tmp  xfs  defaults,nodev  0 2\n")
    assert machine.script("filesystem", "check", parameters).rules("fail") == {"filesystem-tmp-mount"}
    machine.apply("filesystem", parameters)
    agrees(machine, parameters)
    assert machine.sh("cat /etc/fstab") == "# devices\n/dev/vdb /tmp xfs defaults,nodev,nosuid,nodev 0 2\n"
    machine.sh("echo >/etc/fstab; mkdir -p /usr/lib/systemd/system/local-fs.target.wants")
    machine.write("/usr/lib/systemd/system/tmp.mount", "[Mount]\nWhat=tmpfs\nWhere=/tmp\nType=tmpfs\nOptions=mode=1777,size=50%%\n")
    machine.sh("ln -s ../tmp.mount /usr/lib/systemd/system/local-fs.target.wants/; systemctl daemon-reload")
    machine.apply("filesystem", parameters)
    agrees(machine, parameters)
    assert machine.sh("cat /etc/systemd/system/tmp.mount.d/zz-isms.conf") == "[Mount]\nOptions=mode=1777,size=50%%,nosuid,nodev\n"


def test_never_takes_the_way_to_root(machine: Machine, parameters: dict[str, str]) -> None:
    said = machine.script("filesystem", "apply", parameters | {"filesystem_setuid_removed": "/usr/bin/newgrp,/usr/bin/sudo"})
    assert (said.code, "must keep its rights" in said.err) == (3, True), said
