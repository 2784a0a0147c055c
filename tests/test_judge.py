"""How a check becomes a result: pass, fail, error and not applicable are never mixed up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.judge import Outcome, Scope, call, results
from harness.model import Environment, Rule, Severity, Status, Title
from harness.suite import CannotTell, expect

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent


def rule(name: str = "demo-rule", **changes: object) -> Rule:
    facts: dict[str, object] = {
        "id": name,
        "subject": "demo",
        "title": Title("규칙", "A rule"),
        "severity": Severity.HIGH,
        "rationale": "why",
        "fix": "how",
        "controls": (),
        "applies_to": frozenset(Environment),
        "elsewhere": None,
        "parameters": (),
    }
    return Rule(**{**facts, **changes})  # type: ignore[arg-type]  # a test's short way to write a rule


def scope(*rules: Rule, excluded: dict[str, str] | None = None) -> Scope:
    return Scope({each.id: each for each in rules}, excluded or {}, Environment.CONTAINER)


def library_assertion() -> None:
    namespace: dict[str, Callable[[], None]] = {}
    exec(compile("def ask():\n    assert False, 'rc 127'", "/usr/lib/library.py", "exec"), namespace)  # noqa: S102 - a frame of another file
    namespace["ask"]()


def bare_assertion() -> None:
    assert not HERE.is_dir()


def missing_key() -> None:
    raise KeyError("no such keyword")


def unreadable() -> None:
    raise CannotTell("permission denied")


@pytest.mark.parametrize(
    ("check", "status"),
    [
        (lambda: expect("x", 3, at_most=3), Status.PASS),
        (lambda: expect("x", 4, at_most=3), Status.FAIL),
        (lambda: expect("x", None, at_most=3), Status.FAIL),
        (bare_assertion, Status.FAIL),
        (library_assertion, Status.ERROR),
        (missing_key, Status.ERROR),
        (unreadable, Status.ERROR),
    ],
)
def test_how_a_check_ends_decides_its_status(check: Callable[[], None], status: Status) -> None:
    outcome = call("demo-rule", check, HERE)
    assert outcome.status is status
    assert (outcome.reason != "") == (status is Status.ERROR or check is bare_assertion)


def test_a_rule_that_no_test_judged_is_an_error() -> None:
    (found,) = results(scope(rule()), [])
    assert found.status is Status.ERROR
    assert found.reason == "no test judged this rule"


def test_what_does_not_apply_here_says_its_declared_reason() -> None:
    kernel = rule("demo-kernel", applies_to=frozenset({Environment.VM}), elsewhere="the kernel is the host's")
    first, second = results(scope(kernel, rule(), excluded={"demo-rule": "no such daemon"}), [Outcome("demo-kernel", Status.PASS)])
    assert (first.status, first.reason) == (Status.NOT_APPLICABLE, "the kernel is the host's")
    assert (second.status, second.reason) == (Status.NOT_APPLICABLE, "no such daemon")


def test_the_worst_of_several_tests_is_the_rules_status_and_only_its_findings_are_shown() -> None:
    def good() -> None:
        expect("first", 1, equals=1)

    def bad() -> None:
        expect("second", 1, equals=1)
        expect("third", "yes", equals="no")

    (found,) = results(scope(rule()), [call("demo-rule", good, HERE), call("demo-rule", bad, HERE)])
    assert found.status is Status.FAIL
    assert found.expected == "third: no"
    assert found.observed == "third: yes"
    (passed,) = results(scope(rule()), [call("demo-rule", good, HERE)])
    assert (passed.status, passed.expected, passed.observed) == (Status.PASS, "first: 1", "first: 1")


def test_an_error_hides_a_failure_and_a_failure_hides_a_pass() -> None:
    assert Status.worst([Status.PASS, Status.FAIL, Status.ERROR]) is Status.ERROR
    assert Status.worst([Status.PASS, Status.FAIL]) is Status.FAIL
    assert Status.worst([Status.PASS, Status.NOT_APPLICABLE]) is Status.PASS


def test_a_host_in_a_container_is_not_asked_for_what_a_container_cannot_show() -> None:
    kernel = rule("kernel", applies_to=frozenset({Environment.VM, Environment.HOST}), elsewhere="another's kernel")
    image = rule("image", applies_to=frozenset({Environment.CONTAINER}), elsewhere="a host at work has keys")
    rules = {each.id: each for each in (kernel, image)}
    reasons = {
        contained: [Scope(rules, {}, Environment.HOST, contained).not_applicable(each) for each in rules.values()]
        for contained in (False, True)
    }
    assert reasons == {False: [None, "a host at work has keys"], True: ["another's kernel", "a host at work has keys"]}
