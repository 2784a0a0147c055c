"""Whether a suite reads the same with the stand-in for pytest as with pytest itself, and what the stand-in lacks comes from pytest."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from harness import catalog, suites

if TYPE_CHECKING:
    from pathlib import Path

LOADED = """\
import json, sys
from pathlib import Path
from harness import catalog, suites
checks = suites.load([Path(sys.argv[1])], json.loads(sys.argv[2]))
rows = [[check.rule, check.name, sorted(check.arguments), check.verify_only] for check in checks]
print(json.dumps([rows, "pytest" in sys.modules]))
"""


def loaded(folder: Path, known: list[str]) -> tuple[list[list[object]], bool]:
    """Load suites in a process that has no pytest yet; also tell whether it then has."""
    command = [sys.executable, "-c", LOADED, str(folder), json.dumps(known)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    checks, has_pytest = json.loads(done.stdout)
    return checks, has_pytest


def test_our_suites_are_read_the_same_and_without_pytest() -> None:
    known = list(catalog.load().rules)
    light, has_pytest = loaded(suites.SUITES, known)
    assert not has_pytest
    with_pytest = suites.load([suites.SUITES], known)
    assert light == [[check.rule, check.name, sorted(check.arguments), check.verify_only] for check in with_pytest]


def test_a_suite_that_needs_more_of_pytest_gets_it(tmp_path: Path) -> None:
    (tmp_path / "test_more.py").write_text(
        """\
import pytest
from harness.suite import rule

ALMOST = pytest.approx(1.0)

@rule("a-b")
@pytest.mark.parametrize("x", [ALMOST])
def test_more(host, x): ...
""",
        "utf-8",
    )
    checks, has_pytest = loaded(tmp_path, ["a-b"])
    assert [check[:2] for check in checks] == [["a-b", "test_more.py::test_more"]]
    assert has_pytest
