"""What suites lean on: comparisons and the parsers of facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from harness import suite
from harness.suite import CannotTell, Parameters, Unexpected, expect


@dataclass
class Answer:
    rc: int
    stdout: str = ""
    stderr: str = ""
    command: str = "command"


class FakeHost:
    """Answers every command with one answer; the parsers are what is tested."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def run(self, *_: str) -> Answer:
        return self.answer


@pytest.mark.parametrize(
    ("observed", "relation"),
    [
        (3, {"equals": 3}),
        (None, {"equals": None}),
        ("b", {"one_of": ("a", "b")}),
        ("4", {"at_most": 4, "at_least": 1}),
        ("x y", {"includes": ["x"]}),
        (["a"], {"lacks": ["b"]}),
        (["a"], {"within": ["a", "b"]}),
        ("first\nsecond", {"matches": "^second$"}),
        (8, {"that": lambda value: value % 2 == 0}),
    ],
)
def test_a_relation_that_holds_is_silent(observed: object, relation: dict[str, Any]) -> None:
    expect("it", observed, **relation)


@pytest.mark.parametrize(
    ("observed", "relation", "wanted"),
    [
        (3, {"equals": 4}, "4"),
        (None, {"at_most": 4}, "at most 4"),
        ("many", {"at_least": 1}, "at least 1"),
        (0, {"at_least": 1, "at_most": 4}, "at least 1 and at most 4"),
        (None, {"one_of": ("a",)}, "one of a"),
        (None, {"includes": ["x"]}, "includes x"),
        (["a", "b"], {"lacks": ["b"]}, "without b"),
        (["c"], {"within": ["a"]}, "nothing but a"),
        (None, {"matches": "x"}, "matches x"),
        (None, {"that": lambda _: True}, "a value that satisfies the rule"),
        (7, {"that": lambda value: value % 2 == 0, "expected": "an even number"}, "an even number"),
    ],
)
def test_a_relation_that_does_not_hold_says_what_was_wanted(observed: object, relation: dict[str, Any], wanted: str) -> None:
    with pytest.raises(Unexpected) as caught:
        expect("it", observed, **relation)
    assert f"expected {wanted}, observed" in str(caught.value)


def test_expect_without_a_relation_is_a_mistake_of_the_suite() -> None:
    with pytest.raises(TypeError):
        expect("it", 3)


def test_a_missing_file_is_an_observation_and_an_unreadable_one_is_not() -> None:
    assert suite.read(FakeHost(Answer(66)), "/etc/x") is None
    assert suite.path(FakeHost(Answer(1, stderr="stat: cannot statx '/etc/x': No such file or directory")), "/etc/x") is None
    with pytest.raises(CannotTell, match="Permission denied"):
        suite.read(FakeHost(Answer(1, stderr="cat: /etc/x: Permission denied")), "/etc/x")
    with pytest.raises(CannotTell):
        suite.path(FakeHost(Answer(1, stderr="stat: cannot statx '/etc/x': Permission denied")), "/etc/x")


def test_mode_bits_beyond_what_is_allowed() -> None:
    facts = suite.path(FakeHost(Answer(0, "4755|root|wheel|regular file\n")), "/usr/bin/x")
    assert facts is not None
    assert (facts.octal, facts.owner, facts.group, facts.kind) == ("4755", "root", "wheel", "regular file")
    assert facts.beyond(0o755) == 0o4000
    assert facts.beyond(0o7777) == 0


def test_a_missing_command_is_never_an_answer() -> None:
    for question in (suite.unit, suite.has_package):
        with pytest.raises(CannotTell):
            question(FakeHost(Answer(127, stderr="bash: command not found")), "x.service")
    with pytest.raises(CannotTell):
        suite.sshd(FakeHost(Answer(255, stderr="Bad configuration option")))


def test_packages_and_units() -> None:
    assert suite.has_package(FakeHost(Answer(0, "aide\nbash\n")), "aide")
    assert not suite.has_package(FakeHost(Answer(0, "aide-doc\nbash\n")), "aide")
    with pytest.raises(CannotTell, match="no package"):
        suite.has_package(FakeHost(Answer(0, "")), "aide")
    off = suite.unit(FakeHost(Answer(0, "LoadState=masked\nActiveState=inactive\nUnitFileState=masked\n")), "cups.service")
    assert off.exists
    assert off.off
    on = suite.unit(FakeHost(Answer(0, "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n")), "cups.service")
    assert not on.off


def test_key_values_last_one_wins_and_comments_do_not_count() -> None:
    text = "# a = 9\na = 1\n  b=2 # why\na = 3\nnonsense\n"
    assert suite.key_values(text) == {"a": "3", "b": "2"}
    assert suite.key_values("PASS_MAX_DAYS\t90\n#PASS_MIN_DAYS 1\n", separator=" ") == {"PASS_MAX_DAYS": "90"}
    assert suite.key_values(None) == {}


def test_parameters_in_the_type_a_check_needs() -> None:
    values = Parameters({"tries": "3", "on": "true", "names": "a, b,c"})
    assert values.integer("tries") == 3
    assert values.flag("on")
    assert values.words("names") == ("a", "b", "c")
    with pytest.raises(KeyError):
        values["other"]
