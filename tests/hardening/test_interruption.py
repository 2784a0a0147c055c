"""Scripts that are killed on their way: nothing invalid is ever in place, and the next run ends where an undisturbed one ends.

Before each command of each script it is seen whether a file of the ways in has changed, and if so, whether all of them are valid: that
is every state of the disk at which a kill could leave them. A script is killed with all it has started, before a command that is drawn
by lot, the same at every run, and packages.sh at a moment, since rpm does the work. HARNESS_TEST_KILLS says how many for each script,
where there is time: 1 by default; `every` kills once in each state of the disk, which takes most of an hour.
"""

from __future__ import annotations

import logging
import os
import re
import time
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
OTHERS = (
    "agent", "auditd", "banner", "crypto", "filesystem", "hygiene", "integrity", "kernel", "logging", "services", "time", "updates",
    "packages",
)  # fmt: skip
EVERY = os.environ.get("HARNESS_TEST_KILLS") == "every"
KILLS = 1 if EVERY else int(os.environ.get("HARNESS_TEST_KILLS", "1"))
ALL = EVERY or KILLS > 1

FOLDERS = "/etc /boot /root /home /opt /usr/lib/systemd /usr/lib/sysctl.d /var/spool /var/lib/aide /var/lib/update-motd"
TRACED = r"""
set -T
traced_n=0
traced_look() {
  local file
  if [[ -n ${every:-} ]]; then
    find %(folders)s -xdev -cnewer /run/looked -print -quit >/run/found 2>/dev/null || :
    [[ -s /run/found ]] || return 0
    printf 'state %%s/%%s\n' "$traced_n" "$BASH_SUBSHELL" >>/run/states
  else
    for file in /etc/{passwd,group,shadow,nsswitch.conf,login.defs} /etc/sudoers{,.d,.d/*} /etc/ssh{,/sshd_config{,.d,.d/*}} \
      /etc/pam.d{,/*} /etc/security{,/*.conf} -; do
      [[ ! $file -nt /run/looked ]] || break
    done
    [[ $file != - ]] || return 0
  fi
  touch /run/looked
  sleep 0.008
  bash /run/valid.sh >/run/said 2>&1 </dev/null || { echo "before command $traced_n: $BASH_COMMAND"; cat /run/said; } >>/run/invalid
  echo x >>/run/looks
}
traced_step() {
  traced_n=$((traced_n + 1))
  [[ $traced_n != "${at:-}" && $traced_n/$BASH_SUBSHELL != "${at:-}" ]] || kill -KILL 0
  [[ -z ${watch:-} ]] || traced_look
}
if [[ ${at:-} == +* ]]; then { sleep "${at#+}"; kill -KILL 0; } & fi
trap traced_step DEBUG
. %(script)s apply %(given)s
trap - DEBUG
echo "steps $traced_n" >&2
[[ ${at:-} != +* ]] || kill $!
"""
"""With `watch`, it is looked at the ways in before each command; with `every`, at all files, so that each state of the disk is known."""
STATE = (
    f"{{ P='{FOLDERS}'; "
    "find $P -xdev -printf '%y %m %U %G %p %l\\n'; rpm -qa; "
    "find $P -xdev -type f ! -name audit.rules.prev -exec sha256sum {} +; } 2>/dev/null | sort"
)
VALID = """
[ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
sshd -t && visudo -cqf /etc/sudoers && su ec2-user -c true && getent passwd root >/dev/null || exit
for file in /etc/pam.d/{system-auth,password-auth}; do
  for kind in auth account password session; do
    grep -qE "^-?$kind[[:blank:]].*pam_[a-z]+\\.so" $file || { echo "$file has no $kind"; exit 1; }
  done
  grep -q 'pam_unix\\.so' $file || { echo "$file asks for no password"; exit 1; }
done
"""


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return a machine that nobody hardened, and that can be put back to that."""
    fresh = start()
    fresh.write("/run/isms-mutations/restore.sh", RESTORE.read_text("utf-8"), "0755")
    fresh.write("/run/valid.sh", VALID)
    fresh.sh("bash /run/valid.sh && /run/isms-mutations/restore.sh keep")
    return fresh


def command(subject: str, baseline: str) -> str:
    """Return bash text that runs a script's `apply`, counting its commands."""
    given = " ".join(f"'{name}={value}'" for name, value in parameters(subject, baseline).items())
    return TRACED % {"folders": FOLDERS, "script": f"{FOLDER}/{subject}.sh", "given": given}


def run(machine: Machine, subject: str, baseline: str, settings: str) -> str:
    """Run a script, killed where the settings say it; return what it said."""
    machine.sh("cat >/run/traced.sh", stdin=command(subject, baseline).encode())
    return machine.sh(f"{settings} setsid --wait bash /run/traced.sh", check=False)


def watched(machine: Machine, subject: str, baseline: str) -> tuple[int, list[str]]:
    """Run a script undisturbed and under watch; return the number of its commands, and where it had changed the disk before one."""
    machine.sh("rm -f /run/invalid /run/states /run/looks; touch /run/looked /run/states /run/looks; sleep 0.01")
    said = run(machine, subject, baseline, f"watch=1 every={'1' if EVERY else ''}")
    assert "summary changes=" in said, said
    assert machine.sh("cat /run/invalid 2>/dev/null", check=False) == ""
    assert subject not in WAYS_IN or machine.sh("cat /run/looks")
    return int(said.rsplit("steps ", 1)[1]), [line.split()[1] for line in machine.sh("cat /run/states").splitlines()]


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


def kills(subject: str, baseline: str, steps: int, states: list[str], seconds: float) -> list[str]:
    """Draw where a script is killed, other places for each baseline: before a command, or at a moment."""
    lot = Random(f"{subject} {baseline}")  # noqa: S311 - where it is killed is no secret
    if subject == "packages":
        return [f"+{lot.uniform(0.05, seconds):.2f}" for _ in range(20 if EVERY else KILLS)]
    return states if EVERY else [str(each) for each in sorted(lot.sample(range(1, steps), min(KILLS, steps - 1)))]


@pytest.mark.parametrize("subject", [*WAYS_IN, *OTHERS])
def test_a_script_that_is_killed_leaves_nothing_invalid_and_the_next_run_ends_as_if_nothing_had_been(
    machine: Machine, baseline: str, subject: str
) -> None:
    if not ALL and subject in OTHERS and (OTHERS.index(subject) % 2 == 0) != (baseline == "al2"):
        pytest.skip("the other baseline tries this script; HARNESS_TEST_KILLS=2 tries all")
    if (subject, baseline) == ("agent", "al2023"):
        pytest.skip("it wants rsyslog, which another script installs; al2 tries it")
    machine.sh("/run/isms-mutations/restore.sh restore", check=False)
    began = time.monotonic()
    steps, states = watched(machine, subject, baseline)
    seconds = time.monotonic() - began
    undisturbed = machine.sh(STATE)
    places = kills(subject, baseline, steps, states, seconds)
    logging.getLogger(__name__).info("%s %s: %d commands, killed %d times", baseline, subject, steps, len(places))
    for at in places:
        machine.sh("/run/isms-mutations/restore.sh restore", check=False)
        killed = run(machine, subject, baseline, f"at={at}")
        assert "summary changes=" not in killed or at.startswith("+"), f"{at} of {steps}"
        machine.sh("bash /run/valid.sh")
        pam_is_whole(machine)
        again = machine.script(subject, "apply", parameters(subject, baseline))
        assert again.code == 0, (at, again)
        assert machine.sh(STATE).splitlines() == undisturbed.splitlines(), f"killed before command {at} of {steps}"
    machine.sh("/run/isms-mutations/restore.sh restore", check=False)


def parameters(subject: str, baseline: str) -> dict[str, str]:
    """Return the parameters of a subject."""
    return {name: value for name, value in catalog.load().baseline(baseline).parameters.items() if name.startswith(f"{subject}_")}


def test_the_watch_sees_what_is_invalid_between_two_commands(machine: Machine, baseline: str) -> None:
    bad = "apply() { cp /etc/sudoers /run/good; echo 'no rule' >>/etc/sudoers; :; cat /run/good >/etc/sudoers; }; isms_main \"$@\""
    machine.write(f"{FOLDER}/trial.sh", f". {FOLDER}/lib.sh\n{bad}\n")
    with pytest.raises(AssertionError, match=r"before command \d+: :"):
        watched(machine, "trial", baseline)
    machine.sh(f"rm {FOLDER}/trial.sh")


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
