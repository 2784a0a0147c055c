"""Several stages become one result per rule."""

from __future__ import annotations

import pytest

from harness.booted import CHANGING, Stage, united
from harness.model import Result, Severity, Status


def result(status: Status, *, reason: str = "", observed: str = "", rule: str = "a") -> Result:
    return Result(rule, status, Severity.HIGH, observed=observed, reason=reason, commands=(f"ask {observed}",))


def of(*statuses: Status) -> Result:
    names = ("container", "vm", "vm restarted")
    stages = [Stage(name, (result(status, observed=name),)) for name, status in zip(names, statuses, strict=True)]
    (one,) = united(stages)
    return one


def test_a_rule_passes_when_it_passes_wherever_it_was_judged() -> None:
    one = of(Status.PASS, Status.PASS, Status.PASS)
    assert (one.status, one.where, one.reason) == (Status.PASS, ("container", "vm", "vm restarted"), "")
    assert one.commands == ("ask container", "ask vm", "ask vm restarted")


def test_what_one_place_cannot_show_another_does() -> None:
    one = of(Status.NOT_APPLICABLE, Status.PASS, Status.PASS)
    assert (one.status, one.where) == (Status.PASS, ("vm", "vm restarted"))
    assert of(Status.PASS, Status.NOT_APPLICABLE, Status.NOT_APPLICABLE).where == ("container",)


def test_what_applies_nowhere_keeps_its_reason() -> None:
    stages = [Stage(name, (result(Status.NOT_APPLICABLE, reason="only in EC2"),)) for name in ("container", "vm")]
    (one,) = united(stages)
    assert (one.status, one.where, one.reason) == (Status.NOT_APPLICABLE, (), "only in EC2")


def test_a_setting_that_does_not_outlast_a_restart_fails_and_says_where() -> None:
    one = of(Status.PASS, Status.PASS, Status.FAIL)
    assert (one.status, one.observed) == (Status.FAIL, "vm restarted")
    assert one.reason == "in: vm restarted; passes in: container, vm"


def test_an_error_hides_a_failure() -> None:
    one = of(Status.FAIL, Status.ERROR, Status.PASS)
    assert one.status is Status.ERROR
    assert one.reason == "in: vm; passes in: vm restarted"


def test_each_rule_is_united_with_itself() -> None:
    stages = [Stage(name, (result(Status.PASS, rule="a"), result(Status.FAIL, rule="b"))) for name in ("container", "vm")]
    assert [(one.rule, one.status) for one in united(stages)] == [("a", Status.PASS), ("b", Status.FAIL)]


@pytest.mark.parametrize(
    "question",
    [
        "systemctl --failed --no-legend --plain --no-pager",
        "find / -xdev -nouser",
        "stat -c '%a' -- /var/lib/aide/aide.db.gz",
        "ps -eo args",
        "rpm -Va",
        "cat /var/log/messages",
    ],
)
def test_what_the_first_boot_may_change_is_not_asked_meanwhile(question: str) -> None:
    assert CHANGING.search(question)


def test_the_kernel_and_sshd_are_asked_while_the_first_boot_goes_on() -> None:
    assert not any(map(CHANGING.search, ("cat /proc/sys/kernel/kptr_restrict", "sshd -T", "auditctl -l", "cat /etc/passwd")))
