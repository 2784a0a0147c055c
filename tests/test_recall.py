"""Whether hosts are judged alike, whoever was judged before them; and whether the same answers are judged once."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from harness import audit, catalog, recall
from harness.audit import Plan, evaluated
from harness.capture import Answer, Capture
from harness.model import Status

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NOW = datetime(2026, 11, 24, tzinfo=UTC)
SUITE = """\
from harness.suite import ask, expect, rule

CALLS = []

@rule("site-chain")
def test_chain(host):
    CALLS.append("chain")
    if ask(host, "first", accept=(0, 1)) == "more":
        expect("second", ask(host, "second"), equals="good")

@rule("site-search")
def test_search(host):
    CALLS.append("search")
    expect("found", ask(host, "find / -name x"), equals="")
"""
GOOD = {"first": (0, b"more", b""), "second": (0, b"good", b""), "find / -name x": (0, b"", b"")}


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    (tmp_path / "test_site.py").write_text(SUITE, "utf-8")
    monkeypatch.setattr(Plan, "folders", (tmp_path,))
    content = catalog.load()
    rules = {name: replace(content.rules["ssh-root-login"], id=name) for name in ("site-chain", "site-search")}
    return Plan(replace(content, rules=rules))


def capture(answers: Mapping[str, tuple[int, bytes, bytes] | None], user: bytes = b"root\n0\n") -> Capture:
    """Return what a host said; None stands for an answer that was cut off."""
    said = {**answers, audit.SYSTEM: (0, b"ID=amzn\nVERSION_ID=2\n", b""), audit.USER: (0, user, b"")}
    return Capture(
        target={"uri": "ssh://web", "name": "web", "environment": "host"},
        system={"ID": "amzn", "VERSION_ID": "2"},
        user=" ".join(user.decode().split()),
        started=NOW,
        finished=NOW,
        harness_version="1",
        answers=tuple(Answer(text, *(parts or (-1, b"", b"")), timed_out=parts is None) for text, parts in said.items()),
    )


def calls(plan: Plan) -> list[str]:
    module = sys.modules[plan.checks[0].function.__module__]
    found: list[str] = module.CALLS
    return found


def test_the_same_answers_are_judged_once_and_give_the_same_results(plan: Plan) -> None:
    first = evaluated(capture(GOOD), plan)
    assert {result.rule: result.status for result in first.results} == {"site-chain": Status.PASS, "site-search": Status.PASS}
    assert calls(plan) == ["chain", "search"]
    second = evaluated(capture({**GOOD, "unasked": (0, b"anything", b"")}), plan)
    assert calls(plan) == ["chain", "search"]
    assert second.results == first.results
    other = evaluated(capture({**GOOD, "second": (0, b"bad", b"")}), plan)
    assert calls(plan) == ["chain", "search", "chain"]
    assert [result.status for result in other.results] == [Status.FAIL, Status.PASS]
    assert other.results[0].observed == "second: bad"


def test_whoever_was_judged_before_changes_nothing(plan: Plan) -> None:
    firsts = [(0, b"more", b""), (0, b"", b""), (1, b"more", b""), (2, b"more", b"why"), (2, b"more", b"because"), None]
    seconds = [(0, b"good", b""), (0, b"goo", b"d"), None]
    searches = [(0, b"", b""), (0, b"/x", b"")]
    users = [b"root\n0\n", b"ec2-user\n1000\n"]
    hosts = [
        capture({"first": first, "second": second, "find / -name x": search}, user)
        for first, second, search, user in itertools.product(firsts, seconds, searches, users)
    ]
    hosts += [capture({key: value for key, value in GOOD.items() if key != left_out}) for left_out in GOOD]
    for host in [*hosts, *reversed(hosts)]:
        assert evaluated(host, plan).results == evaluated(host, replace(plan)).results


def test_what_answers_differently_on_every_host_is_not_kept_for_ever(plan: Plan) -> None:
    for number in range(3 * recall.MOST):
        evaluated(capture({**GOOD, "second": (0, b"%d" % number, b"")}), plan)
    (memory,) = plan._memories.values()  # noqa: SLF001 - nothing else shows it
    assert max(len(outcomes) for ways in memory._outcomes.values() for outcomes in ways.values()) <= recall.MOST  # noqa: SLF001 - as above
