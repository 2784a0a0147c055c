"""The plug-in: every test has one rule, every rule gets its verdict, and a pass that is not whole is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import ContentError, TargetError
from harness.judge import Scope, results
from harness.model import Environment, Status
from harness.pytest_plugin import Judging, judge
from tests.test_judge import rule

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "from harness.suite import expect, rule\n"


@dataclass
class Backend:
    asked: list[str] = field(default_factory=list)


@dataclass
class StubHost:
    """Answers `echo`-like commands; a real host is used by the integration tests."""

    backend: Backend = field(default_factory=Backend)

    def run(self, command: str) -> str:
        self.backend.asked.append(command)
        if command == "die":
            raise TargetError("container x ended (exit code 137)")
        return command.upper()


def judged(folder: Path, text: str, *names: str, excluded: dict[str, str] | None = None) -> Judging:
    (folder / "conftest.py").write_text('pytest_plugins = ("harness.pytest_plugin",)\n', "utf-8")
    # pytest keeps modules by name, as Python does, so each test writes a suite of its own name.
    (folder / f"test_{abs(hash(str(folder)))}.py").write_text(HEAD + text, "utf-8")
    scope = Scope({name: rule(name) for name in names}, excluded or {}, Environment.CONTAINER)
    target: Any = None
    return judge(target, StubHost(), scope, {"demo_value": "3"}, (folder,))


def statuses(judging: Judging) -> dict[str, Status]:
    return {result.rule: result.status for result in results(judging.scope, judging.outcomes)}


def test_each_rule_gets_the_verdict_of_its_tests_with_the_commands_that_were_asked(tmp_path: Path) -> None:
    judging = judged(
        tmp_path,
        """
import pytest
@rule("demo-good")
def test_good(host, parameters):
    expect("value", parameters.integer("demo_value"), equals=3)
    expect("answer", host.run("ask"), equals="ASK")
@rule("demo-bad")
def test_bad(host):
    expect("answer", host.run("other"), equals="no")
@rule("demo-crash")
def test_crash(host):
    raise OSError("broken pipe")
@pytest.mark.parametrize("name", [pytest.param("a", marks=rule("demo-first")), pytest.param("b", marks=rule("demo-second"))])
def test_family(host, name):
    expect("name", name, equals="a")
""",
        "demo-good",
        "demo-bad",
        "demo-crash",
        "demo-first",
        "demo-second",
        "demo-forgotten",
    )
    assert statuses(judging) == {
        "demo-good": Status.PASS,
        "demo-bad": Status.FAIL,
        "demo-crash": Status.ERROR,
        "demo-first": Status.PASS,
        "demo-second": Status.FAIL,
        "demo-forgotten": Status.ERROR,
    }
    good = next(outcome for outcome in judging.outcomes if outcome.rule == "demo-good")
    assert good.commands == ("ask",)


def test_a_fixture_that_fails_is_an_error_of_the_rule(tmp_path: Path) -> None:
    judging = judged(
        tmp_path,
        """
import pytest
@pytest.fixture
def broken():
    raise RuntimeError("no way in")
@rule("demo-rule")
def test_it(broken):
    pass
""",
        "demo-rule",
    )
    (found,) = results(judging.scope, judging.outcomes)
    assert found.status is Status.ERROR
    assert "no way in" in found.reason


def test_what_does_not_apply_is_not_even_asked(tmp_path: Path) -> None:
    text = '@rule("demo-rule")\ndef test_it(host):\n    host.run("must not be asked")\n'
    judging = judged(tmp_path, text, "demo-rule", excluded={"demo-rule": "no such daemon"})
    assert statuses(judging) == {"demo-rule": Status.NOT_APPLICABLE}
    assert judging.host is not None
    assert judging.host.backend.asked == []


def test_what_is_left_out_does_not_disturb_the_next_suite(tmp_path: Path) -> None:
    text = """
import pytest
@pytest.fixture(scope="module")
def shared():
    return 1
@rule("demo-first")
def test_first(shared):
    expect("shared", shared, equals=1)
@rule("demo-rule")
def test_left_out(shared):
    pass
"""
    (tmp_path / "test_zz_next.py").write_text(HEAD + '@rule("demo-next")\ndef test_next():\n    expect("it", 1, equals=1)\n', "utf-8")
    judging = judged(tmp_path, text, "demo-first", "demo-rule", "demo-next", excluded={"demo-rule": "no such daemon"})
    assert statuses(judging) == {"demo-first": Status.PASS, "demo-rule": Status.NOT_APPLICABLE, "demo-next": Status.PASS}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("def test_it(host):\n    pass\n", "a test judges exactly one rule"),
        ('@rule("demo-rule")\n@rule("demo-other")\ndef test_it(host):\n    pass\n', "exactly one rule, this one 2"),
        ('@rule("demo-typo")\ndef test_it(host):\n    pass\n', "there is no rule `demo-typo`"),
        ("import no_such_module\n", "no_such_module"),
        ("def test_it(:\n", "cannot be run"),
    ],
)
def test_a_suite_that_is_not_whole_is_refused_in_one_line(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ContentError) as caught:
        judged(tmp_path, text, "demo-rule", "demo-other")
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_lost_target_ends_the_pass(tmp_path: Path) -> None:
    text = (
        '@rule("demo-rule")\ndef test_it(host):\n    host.run("die")\n@rule("demo-other")\ndef test_other(host):\n    host.run("later")\n'
    )
    with pytest.raises(TargetError, match="exit code 137"):
        judged(tmp_path, text, "demo-rule", "demo-other")


def test_ctrl_c_is_not_swallowed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        judged(tmp_path, '@rule("demo-rule")\ndef test_it(host):\n    raise KeyboardInterrupt\n', "demo-rule")
