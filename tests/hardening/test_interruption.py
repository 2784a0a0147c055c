"""Scripts that are killed on their way: nothing invalid is ever in place, and the next run ends where an undisturbed one ends.

A script is killed with all it has started before its n-th command; which ones is drawn by lot, the same at every run.
HARNESS_TEST_KILLS says how many for each script, where there is time: 1 by default.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from harness import catalog

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine

FOLDER = "/usr/libexec/isms-hardening"
RESTORE = Path(__file__).parents[1] / "mutations" / "restore.sh"
WAYS_IN = ("ssh", "sudo", "password", "accounts")
OTHERS = ("agent", "auditd", "banner", "crypto", "filesystem", "hygiene", "integrity", "kernel", "logging", "services", "time", "updates")
"""Not packages: what yum does when it is killed is yum's, and what it removed cannot be put back here."""
KILLS = int(os.environ.get("HARNESS_TEST_KILLS", "1"))

TRACED = """
set -T
n=0
step() { n=$((n + 1)); [[ $n -ne ${at:-0} ]] || kill -KILL 0; }
trap step DEBUG
. %s/%s.sh apply %s
trap - DEBUG
echo "steps $n" >&2
"""
STATE = (
    "{ P='/etc /boot /root /home /opt /usr/lib/systemd /usr/lib/sysctl.d /var/spool /var/lib/aide /var/lib/update-motd'; "
    "find $P -xdev -printf '%y %m %U %G %p %l\\n'; "
    "find $P -xdev -type f ! -name audit.rules.prev -exec sha256sum {} +; } 2>/dev/null | sort"
)
VALID = """
[ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
sshd -t && visudo -cqf /etc/sudoers && su ec2-user -c true && getent passwd root >/dev/null
"""


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return a machine that nobody hardened, and that can be put back to that."""
    fresh = start()
    fresh.write("/run/isms-mutations/restore.sh", RESTORE.read_text("utf-8"), "0755")
    fresh.sh("/run/isms-mutations/restore.sh keep")
    return fresh


def command(subject: str, baseline: str) -> str:
    """Return bash text that runs a script's `apply`, counting its commands."""
    values = catalog.load().baseline(baseline).parameters
    given = " ".join(f"'{name}={value}'" for name, value in values.items() if name.startswith(f"{subject}_"))
    return TRACED % (FOLDER, subject, given)


def run(machine: Machine, subject: str, baseline: str, at: int = 0) -> str:
    """Run a script, killed before its command number `at`; return what it said."""
    machine.sh("cat >/run/traced.sh", stdin=command(subject, baseline).encode())
    return machine.sh(f"at={at} setsid --wait bash /run/traced.sh", check=False)


def pam_is_whole(machine: Machine) -> None:
    """Each stack has its lines, and each module is there."""
    text = machine.sh(
        "for f in system-auth password-auth su sudo sshd; do cat /etc/pam.d/$f; echo; done; ls /lib*/security /usr/lib*/*/security",
        check=False,
    )
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    stacks = [line for line in lines if re.match(r"-?(auth|account|password|session)\s", line)]
    modules = {module for line in stacks for module in re.findall(r"\bpam_\w+\.so\b", line)}
    assert {"auth", "account", "password", "session"} <= {line.lstrip("-").split()[0] for line in stacks}
    assert "pam_unix.so" in modules
    assert [line for line in stacks if len(line.split()) < 3] == []


def kills(subject: str, baseline: str, steps: int) -> list[int]:
    """Draw the commands before which a script is killed, other ones for each baseline."""
    return sorted(Random(f"{subject} {baseline}").sample(range(1, steps), min(KILLS, steps - 1)))  # noqa: S311 - where it is killed is no secret


@pytest.mark.parametrize("subject", [*WAYS_IN, *OTHERS])
def test_a_script_that_is_killed_leaves_nothing_invalid_and_the_next_run_ends_as_if_nothing_had_been(
    machine: Machine, baseline: str, subject: str
) -> None:
    if KILLS == 1 and subject in OTHERS and (OTHERS.index(subject) % 2 == 0) != (baseline == "al2"):
        pytest.skip("the other baseline tries this script; HARNESS_TEST_KILLS=2 tries all")
    said = run(machine, subject, baseline)
    assert "summary changes=" in said, said
    steps = int(said.rsplit("steps ", 1)[1])
    undisturbed = machine.sh(STATE)
    for at in kills(subject, baseline, steps):
        machine.sh("/run/isms-mutations/restore.sh restore", check=False)
        killed = run(machine, subject, baseline, at)
        assert "summary changes=" not in killed, f"{at} of {steps}"
        machine.sh(VALID)
        pam_is_whole(machine)
        again = machine.script(subject, "apply", parameters(subject, baseline))
        assert again.code == 0, (at, again)
        assert machine.sh(STATE).splitlines() == undisturbed.splitlines(), f"killed before command {at} of {steps}"
    machine.sh("/run/isms-mutations/restore.sh restore", check=False)


def parameters(subject: str, baseline: str) -> dict[str, str]:
    """Return the parameters of a subject."""
    return {name: value for name, value in catalog.load().baseline(baseline).parameters.items() if name.startswith(f"{subject}_")}


def test_whoever_looks_meanwhile_never_sees_anything_invalid(machine: Machine, baseline: str) -> None:
    """A second process asks sshd, visudo and PAM again and again while the scripts of the ways in run."""
    questions = "sshd -t 2>&1; visudo -cqf /etc/sudoers 2>&1 || echo sudoers; su ec2-user -c true 2>&1"
    watch = f"while [ ! -e /run/done ]; do {questions}; echo once >>/run/times; done"
    machine.sh("rm -f /run/done /run/times; [ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -A")
    machine.sh(f"({watch}) >/run/seen 2>&1 </dev/null &")
    for subject in WAYS_IN:
        assert machine.script(subject, "apply", parameters(subject, baseline)).code == 0
    machine.sh("touch /run/done; for i in $(seq 50); do sleep 0.1; [ -s /run/times ] && break; done")
    assert machine.sh("cat /run/seen") == ""
    assert len(machine.sh("cat /run/times").splitlines()) >= 3
    machine.sh("/run/isms-mutations/restore.sh restore", check=False)
