"""Scripts before a file that cannot be replaced, with another tool's marks in it: they say which, leave nothing half done, and go on later.

Half of the subjects meet an immutable file on one system, the others a read-only mount on the other one; HARNESS_TEST_KILLS=2 tries all.
What else is hostile (nothing there, CRLF, lines twice, Match blocks, links, tools of others) is with each script's own tests.
"""

from __future__ import annotations

import os
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from harness.images import standin
from harness.images.cache import Cache
from tests.hardening.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Generator

    from harness.engine import Engine

ALL = int(os.environ.get("HARNESS_TEST_KILLS", "1")) > 1
FILES = {
    "accounts": "/etc/login.defs",
    "agent": "/opt/aws/amazon-cloudwatch-agent/etc/isms-cwagent.json",
    "auditd": "/etc/audit/auditd.conf",
    "banner": "/etc/issue",
    "crypto": "/etc/crypto-policies/config",
    "filesystem": "/etc/cron.allow",
    "hygiene": "/root/.bash_history",
    "integrity": "/etc/aide.conf",
    "kernel": "/etc/sysctl.d/99-zz-isms.conf",
    "logging": "/etc/systemd/journald.conf.d/zz-isms.conf",
    "password": "/etc/security/pwquality.conf",
    "services": "/etc/systemd/resolved.conf.d/zz-isms.conf",
    "ssh": "/etc/ssh/sshd_config",
    "sudo": "/etc/sudoers",
    "time": "/etc/chrony.conf",
}
MARKS = "# BEGIN ANSIBLE MANAGED BLOCK\\n# END ANSIBLE MANAGED BLOCK\\n# Managed by Chef; local changes are lost\\n"
OBSTACLES = {
    "al2": ("chattr +i {}", "chattr -i {}"),
    "al2023": ("mount --bind {0} {0} && mount -o remount,ro,bind {0}", "umount {}"),
}


@pytest.fixture(scope="module")
def machine(engine: Engine, baseline: str) -> Generator[Machine]:
    """Return a machine that may make files immutable and mount things."""
    name = f"isms-script-{uuid.uuid4().hex[:8]}"
    image = standin.build(baseline, engine, Cache(), print).reference
    options = ["--cap-add=LINUX_IMMUTABLE", "--cap-add=SYS_ADMIN", *(["--systemd=always"] if engine.name == "podman" else [])]
    engine.call("run", "-d", f"--name={name}", *engine.run_options, *options, image, "/sbin/init")
    try:
        machine = Machine(engine, name)
        deadline = time.monotonic() + 120
        while (state := machine.sh("systemctl is-system-running", check=False).strip()) not in {"running", "degraded"}:
            assert time.monotonic() < deadline, state
            time.sleep(0.2)
        machine.push()
        yield machine
    finally:
        engine.call("rm", "-f", name, check=False)


@pytest.mark.parametrize("subject", FILES)
def test_a_file_that_cannot_be_replaced(machine: Machine, baseline: str, values: dict[str, str], subject: str) -> None:
    if not ALL and (list(FILES).index(subject) % 2 == 0) != (baseline == "al2"):
        pytest.skip("tried on the other system; HARNESS_TEST_KILLS=2 tries both")
    path = FILES[subject]
    if subject == "crypto" and baseline == "al2":
        pytest.skip("Amazon Linux 2 has no crypto policies")
    parameters = {name: value for name, value in values.items() if name.startswith(f"{subject}_")}
    wrong = "LEGACY\\n" if subject == "crypto" else ""
    machine.sh(f"mkdir -p $(dirname {path}); printf '{wrong}{MARKS}' >>{path}; [ {subject} != filesystem ] || chmod 0666 {path}")
    if subject == "agent":  # it reads logs that rsyslog writes
        machine.script("logging", "apply", {name: value for name, value in values.items() if name.startswith("logging_")})
    before = machine.sh(f"cat {path}")
    placed, removed = OBSTACLES[baseline]
    machine.sh(placed.format(path))
    said = machine.script(subject, "apply", parameters)
    machine.sh(removed.format(path))
    assert said.code != 0, said
    assert path.rsplit("/", 1)[1] in said.err, said
    assert machine.sh(f"cat {path}") == before
    machine.sh("sshd -t; visudo -cqf /etc/sudoers; su ec2-user -c true")
    after = machine.script(subject, "apply", parameters)
    assert after.code == 0, after
    checked = machine.script(subject, "check", parameters)
    assert (checked.code, checked.rules("fail")) == (0, set()), checked
