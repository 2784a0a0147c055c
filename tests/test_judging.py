"""One pass over a target: who calls the checks, in which order, and what ends it."""

from __future__ import annotations

import threading
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import TargetError
from harness.judging import Caller, Outside
from harness.model import Status
from harness.suite import Parameters, expect
from harness.suites import Check

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

SUITES = Path(__file__).parent


@dataclass
class Backend:
    asked: list[str] = field(default_factory=list)


@dataclass
class StubHost:
    """Notes what it is asked; `die` loses it."""

    backend: Backend = field(default_factory=Backend)

    def run(self, command: str) -> str:
        self.backend.asked.append(command)
        if command == "die":
            raise TargetError("container x ended (exit code 137)")
        return command.upper()


def check(rule: str, function: Callable[..., object], *others: str) -> Check:
    return Check(rule, rule, function, {}, ("host", "parameters"), "it logs in" if others else None, SUITES, others)


def caller() -> Caller:
    return Caller(StubHost(), Parameters({"demo_value": "3"}))


def outside(*functions: Callable[..., object], login: object = None) -> Outside:
    """Return the lane of checks `rule-0`, `rule-1` and so on, numbered from 10."""
    way_in: Any = nullcontext(login)
    checks = [(10 + number, check(f"rule-{number}", function, "login")) for number, function in enumerate(functions)]
    return Outside(caller(), way_in, checks)


def test_a_check_is_told_with_what_it_asked_itself() -> None:
    call = caller()
    call(check("rule-a", lambda host, **_: host.run("first")))
    outcome = call(check("rule-b", lambda host, parameters: expect("value", host.run(parameters["demo_value"]), equals="4")))
    assert (outcome.rule, outcome.status, outcome.commands) == ("rule-b", Status.FAIL, ("3",))


def test_a_lost_target_ends_the_pass_and_is_no_verdict() -> None:
    with pytest.raises(TargetError, match="exit code 137"):
        caller()(check("rule-a", lambda host, **_: host.run("die")))


def test_those_that_log_in_are_called_in_order_by_another_thread_with_the_one_way_in() -> None:
    calls: list[tuple[int, object]] = []

    def note(login: object, **_: object) -> None:
        calls.append((threading.get_ident(), login))
        expect("calls", len(calls), equals=1)

    with outside(note, note, login="the way in") as lane:
        found = lane.outcomes()
    assert {number: outcome.status for number, outcome in found.items()} == {10: Status.PASS, 11: Status.FAIL}
    assert {login for _, login in calls} == {"the way in"}
    assert threading.get_ident() not in {thread for thread, _ in calls}


def test_the_others_begin_when_sshd_has_answered_the_first_log_in() -> None:
    order: list[str] = []
    go_on = threading.Event()

    def first(**_: object) -> None:
        order.append("first log-in")

    def second(**_: object) -> None:
        assert go_on.wait(30)
        order.append("second log-in")

    with outside(first, second) as lane:
        order.append("reload of sshd")
        go_on.set()
        lane.outcomes()
    assert order == ["first log-in", "reload of sshd", "second log-in"]


def test_the_way_in_is_closed_after_the_last_of_them_while_others_may_still_be_called() -> None:
    closed = threading.Event()

    @contextmanager
    def way_in() -> Generator[Any]:
        yield "the way in"
        closed.set()

    with Outside(caller(), way_in(), [(0, check("rule-0", lambda **_: None, "login"))]) as lane:
        assert closed.wait(30)
        assert lane.outcomes()[0].status is Status.PASS


def test_without_any_that_logs_in_nothing_is_waited_for() -> None:
    with outside() as lane:
        assert lane.outcomes() == {}


def test_a_target_that_is_lost_during_a_log_in_is_told_to_whom_waits() -> None:
    def lost(**_: object) -> None:
        raise TargetError("container x ended (exit code 137)")

    with outside(lost, lost) as lane, pytest.raises(TargetError, match="exit code 137"):
        lane.outcomes()


def test_after_an_error_elsewhere_no_further_log_in_is_tried() -> None:
    calls: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def note(**_: object) -> None:
        calls.append("log-in")
        if len(calls) == 2:  # the first lets the others begin
            begun.set()
            go_on.wait(30)

    def broken() -> None:
        assert begun.wait(30)
        threading.Timer(0.2, go_on.set).start()
        raise TargetError("elsewhere")

    with pytest.raises(TargetError, match="elsewhere"), outside(note, note, note):
        broken()
    assert calls == ["log-in", "log-in"]
