"""Whether the plain calls are the very tests that pytest would run, and what cannot be called plainly is refused."""

from __future__ import annotations

import os
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import pytest

from harness import catalog, suites
from harness.errors import ContentError
from harness.pytest_plugin import rule_of

if TYPE_CHECKING:
    from pathlib import Path

Row = tuple[str, str, dict[str, object]]


class Collected:
    """Takes what pytest finds."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            assert isinstance(item, pytest.Function)
            values = dict(item.callspec.params) if hasattr(item, "callspec") else {}
            self.rows.append((rule_of(item), f"{item.path.name}::{item.originalname}", values))


def collected(folder: Path) -> list[Row]:
    found = Collected()
    options = ["--collect-only", "--disable-plugin-autoload", "-p", "no:cacheprovider", "-p", "no:terminal", "--import-mode=importlib"]
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        assert pytest.main([str(folder), *options, "-c", os.devnull, f"--rootdir={folder}"], plugins=[found]) == pytest.ExitCode.OK
    return found.rows


def test_the_calls_are_the_tests_of_pytest_in_their_order() -> None:
    called = [(check.rule, check.name, dict(check.arguments)) for check in suites.load([suites.SUITES], catalog.load().rules)]
    assert [each[:2] for each in called] == [each[:2] for each in collected(suites.SUITES)]
    # The values of both are equal, but for those of classes that each import defines anew.
    assert [str(each[2]) for each in called] == [str(each[2]) for each in collected(suites.SUITES)]


def test_several_tables_turn_as_with_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_tables.py").write_text(
        """\
import pytest
from harness.suite import rule
pytestmark = rule("ssh-root-login")

@pytest.mark.parametrize("inner", [1, 2])
@pytest.mark.parametrize(("a", "b"), [("x", "y"), pytest.param("z", "w", id="named")])
@pytest.mark.parametrize("near", ["n"])
def test_all(host, inner, a, b, near):
    pass

def helper(): ...
""",
        "utf-8",
    )
    called = [(check.rule, check.name, dict(check.arguments)) for check in suites.load([tmp_path], ["ssh-root-login"])]
    assert called == [("ssh-root-login", "test_tables.py::test_all", row) for _, _, row in _with_pytest(tmp_path)]
    assert len(called) == 4


def _with_pytest(folder: Path) -> list[Row]:
    (folder / "conftest.py").write_text("import pytest\n@pytest.fixture\ndef host(): ...\n", "utf-8")
    return collected(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def test_it(host): ...", "judges exactly one rule, this one 0"),
        ("@rule('a-b')\n@rule('c-d')\ndef test_it(host): ...", "judges exactly one rule, this one 2"),
        ("@rule('a-b')\ndef test_it(host, login): ...", "wants `login`, which an audit does not have"),
        ("@rule('a-b')\n@pytest.mark.skip\ndef test_it(host): ...", "cannot be marked `skip`"),
        ("class TestIt:\n    @rule('a-b')\n    def test_it(self, host): ...", "a plain function, not a method"),
        ("@rule('no-such')\ndef test_it(host): ...", "there is no rule `no-such`"),
        ("import nowhere_to_be_found", "cannot be loaded: ModuleNotFoundError"),
        ("@pytest.mark.parametrize(('a', 'b'), [(1,)])\n@rule('a-b')\ndef test_it(a, b): ...", "has 1 values, not 2"),
    ],
)
def test_what_is_no_check_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "test_it.py").write_text(f"import pytest\nfrom harness.suite import rule\n{text}\n", "utf-8")
    with pytest.raises(ContentError, match=message):
        suites.load([tmp_path], ["a-b", "c-d"])


def test_whatever_needs_more_than_a_host_says_why_it_is_no_part_of_an_audit() -> None:
    checks = suites.load([suites.SUITES], catalog.load().rules)
    left_out = {check.rule: check.verify_only for check in checks if check.verify_only is not None}
    assert {"survival-ssh-login", "survival-sshd-reload", "updates-security"} <= set(left_out)
    assert all(reason and reason.strip() for reason in left_out.values())
    assert len(left_out) < 0.05 * len({check.rule for check in checks})
