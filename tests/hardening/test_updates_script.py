"""updates.sh on real machines: as they come, with repositories that others wrote, with a lock, without an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine

REPOSITORIES = """\
[site-away]\r
name=away\r
enabled=0\r
baseurl=http://repos.s3.amazonaws.com/x\r
    http://mirror.example/y\r
gpgcheck=0\r
[site-here]
name=here
enabled=0
gpgcheck = no
baseurl=file:///srv/packages
[site-mirrors]
name=mirrors
enabled=0
gpgcheck=False
mirrorlist=$awsproto://x/mirror.list
[site-signed]
name=signed
enabled=0
gpgcheck=1
baseurl=https://mirror.example/z
"""


@pytest.fixture(scope="module")
def parameters(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters of this subject."""
    return {name: value for name, value in values.items() if name.startswith("updates_")}


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return one machine for the file."""
    return start()


def agrees(machine: Machine, parameters: dict[str, str]) -> None:
    """Let `check` find nothing."""
    checked = machine.script("updates", "check", parameters)
    assert (checked.code, checked.rules("fail")) == (0, set()), checked


def test_no_updates_are_asked_for(machine: Machine, parameters: dict[str, str]) -> None:
    before = machine.sh("rpm -qa | sort")
    machine.apply("updates", parameters | {"updates_scope": "none"})
    assert machine.sh("rpm -qa | sort") == before


def test_security_updates_only(machine: Machine, parameters: dict[str, str]) -> None:
    assert "updates-security" in machine.script("updates", "check", parameters).rules("fail")
    before = set(machine.sh("rpm -qa").split())
    assert "updates-security" in machine.apply("updates", parameters).changed
    new = set(machine.sh("rpm -qa").split()) - before
    assert new
    assert not any("bugdemo" in name for name in new)
    agrees(machine, parameters)


def test_all_updates(machine: Machine, parameters: dict[str, str]) -> None:
    before = set(machine.sh("rpm -qa").split())
    machine.apply("updates", parameters | {"updates_scope": "all"})
    assert set(machine.sh("rpm -qa").split()) != before
    agrees(machine, parameters)


def test_repositories_that_others_wrote(machine: Machine, parameters: dict[str, str]) -> None:
    machine.write("/etc/yum.repos.d/site.repo", REPOSITORIES)
    machine.sh(
        "mkdir -p /etc/yum/vars; echo http >/etc/yum/vars/awsproto; sed -i '/^gpgcheck/d; s/$/\\r/' $(readlink -f /etc/dnf/dnf.conf)"
    )
    assert {"updates-signatures", "updates-repository-signatures"} <= machine.script("updates", "check", parameters).rules("fail")
    machine.apply("updates", parameters)
    agrees(machine, parameters)
    expected = REPOSITORIES.replace("\r", "").replace("http://repos.s3", "https://repos.s3")
    expected = expected.replace("gpgcheck=0", "gpgcheck=1").replace("gpgcheck=False", "gpgcheck=1")
    assert machine.sh("cat /etc/yum.repos.d/site.repo") == expected
    assert machine.sh("cat /etc/yum/vars/awsproto") == "https\n"
    assert machine.sh("head -2 /etc/dnf/dnf.conf") == "[main]\ngpgcheck=1\n"
    machine.sh("rm -f /etc/yum.repos.d/site.repo /etc/yum/vars/awsproto")


def test_first_boot(machine: Machine, parameters: dict[str, str]) -> None:
    machine.write("/etc/cloud/cloud.cfg.d/99-zz-site.cfg", "repo_upgrade : security\npackages: [x]\n")
    assert "updates-first-boot" in machine.script("updates", "check", parameters).rules("fail")
    machine.apply("updates", parameters)
    agrees(machine, parameters)
    assert machine.sh("cat /etc/cloud/cloud.cfg.d/99-zz-site.cfg") == "# isms: repo_upgrade : security\npackages: [x]\n"
    machine.apply("updates", parameters | {"updates_at_first_boot": "security"})
    assert "repo_upgrade: security" in machine.sh("cat /etc/cloud/cloud.cfg.d/99-isms-updates.cfg")
    machine.apply("updates", parameters)


def test_standing_latest(machine: Machine, parameters: dict[str, str]) -> None:
    machine.write("/etc/dnf/vars/releasever", "latest\n")
    assert "updates-release-lock" in machine.apply("updates", parameters).changed
    assert machine.sh("ls /etc/dnf/vars") == ""


def test_waits_for_the_lock(machine: Machine, parameters: dict[str, str]) -> None:
    """Another process that lives has dnf's locks for a while."""
    machine.sh(
        "sleep 7 & for lock in metadata_lock download_lock; do echo $! >/var/cache/dnf/$lock.pid; done; "
        "(sleep 7; rm -f /var/cache/dnf/*_lock.pid) &"
    )
    agrees(machine, parameters)


def test_repository_that_does_not_answer(machine: Machine, parameters: dict[str, str]) -> None:
    """Silence is no proof that nothing is missing, not even from a repository that may be skipped."""
    machine.write(
        "/etc/yum.repos.d/gone.repo", "[gone]\nname=gone\nbaseurl=file:///nowhere\nenabled=1\ngpgcheck=0\nskip_if_unavailable=1\n"
    )
    for verb in ("apply", "check"):
        said = machine.script("updates", verb, parameters)
        assert (said.code, "do not say which updates" in said.err) == (3, True), said
    machine.sh("rm /etc/yum.repos.d/gone.repo")
