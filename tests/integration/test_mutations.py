"""The runner of the mutations, tried on a few of them: what it says of good ones and of bad ones is true."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import catalog, suites
from tests.mutations import run
from tests.mutations.machine import hardened
from tests.mutations.reading import Mutation, load

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.mutations.machine import Machine

SAMPLE = {
    "ssh-root-login: a line before it",
    "sudo-nopasswd: a user of a drop-in",
    "filesystem-shadow: another mode",
    "packages-telnet-server: the package is back",
    "kernel-syn-cookies: a later file says otherwise",
    "services-cups: it starts at every boot",
    "accounts-uid-zero: a second root",
    "hygiene-secrets: an access key in a configuration",
}


STATE = "find /etc /usr/lib/systemd /opt /root -printf '%p %y %m %U %G %l ' \\( -type f -printf '%s %T@\\n' -o -printf '\\n' \\) | sort"


@pytest.fixture(scope="module")
def machine() -> Generator[Machine]:
    known = suites.load((suites.SUITES,), catalog.load().rules)
    with hardened("al2", "standin", known, lambda _: None) as fresh:
        yield fresh


def tried(machine: Machine, *mutations: Mutation) -> run.Tally:
    tally = run.Tally("al2", frozenset(mutation.rule for mutation in mutations))
    run.Trial(tally, lambda: machine, lambda _: None).round(mutations)
    return tally


def test_each_of_a_sample_is_seen_by_its_rule_alone_and_put_back(machine: Machine) -> None:
    sample = [mutation for mutation in load() if mutation.title in SAMPLE]
    assert len(sample) == len(SAMPLE)
    before = machine.target.run(STATE).out
    tally = tried(machine, *sample)
    assert run.told(tally).splitlines()[:-1] == []
    assert tally.good
    assert machine.target.run(STATE).out == before


def test_what_is_not_seen_what_others_report_and_what_does_not_apply_is_told(machine: Machine) -> None:
    harmless = Mutation(rule="ssh-banner", name="a comment", apply="append /etc/ssh/sshd_config '# nothing'")
    wide = Mutation(
        rule="time-zone", name="two at once", apply="ln -sfn ../usr/share/zoneinfo/Asia/Seoul /etc/localtime; chmod 0644 /etc/chrony.keys"
    )
    idle = Mutation(rule="sudo-use-pty", name="nothing to change", apply="replace /etc/sudoers 'no such line' 'x'")
    tally = tried(machine, harmless, wide, idle)
    assert {finding.mutation.rule for finding in tally.missed} == {"ssh-banner", "sudo-use-pty"}
    assert "nothing to change in /etc/sudoers" in next(each.problem for each in tally.missed if each.mutation is idle)
    assert [(each.mutation.rule, each.others[0].split()[0]) for each in tally.false] == [("time-zone", "time-key-file")]
    assert tally.unclean == []
    assert not tally.good


def test_a_machine_that_cannot_be_put_back_is_told(machine: Machine) -> None:
    stubborn = Mutation(rule="time-chrony-enabled", name="what no file restores", apply="systemctl stop chronyd.service")
    tally = tried(machine, stubborn)
    assert "chronyd.service now: inactive" in tally.unclean[0]
    machine.target.run("systemctl start chronyd.service")
