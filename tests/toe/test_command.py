"""The two functions behind `harness toe`: files in, data out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import DocumentError, UsageError
from harness.toe import Runner, Semantics, run_files, validate_files
from tests.toe.local import LocalShellTarget

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """schemaVersion: 1.0
parameters: [{Code: {type: string, default: '0'}}]
phases: [{name: build, steps: [{name: A, action: ExecuteBash, inputs: {commands: ['exit {{ Code }}']}}]}]
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "first.yml", tmp_path / "second.yml"
    first.write_text(GOOD, encoding="utf-8")
    second.write_text(GOOD.replace("Code", "Other"), encoding="utf-8")
    return first, second


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    (tmp_path / "root").mkdir()
    return Runner(
        LocalShellTarget(tmp_path / "root"), tmp_path / "logs", lambda _: None, semantics=Semantics(working_directory=str(tmp_path))
    )


def test_validation_goes_on_after_a_bad_file(files: tuple[Path, Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.yml"
    bad.write_text("phases: 1\n", encoding="utf-8")
    first, second, third = validate_files([files[0], bad, tmp_path / "missing.yml"])
    assert first.document is not None
    assert first.problems == ()
    assert second.document is None
    assert len(second.problems) == 2
    assert "cannot be read" in third.problems[0].message


def test_each_document_gets_its_own_parameters(runner: Runner, files: tuple[Path, Path]) -> None:
    summary = run_files(runner, files, parameters={"Other": "3"})
    assert summary.exit_code == 1
    assert [row["status"] for row in summary.as_json()] == ["success", "failed"]
    assert set(summary.as_json()[0]) == {
        *("executionId", "status", "failedStepCount", "executedStepCount", "ignoredFailedStepCount", "failureMessage", "logUrl"),
    }


def test_a_failure_stops_the_documents_after_it(runner: Runner, files: tuple[Path, Path]) -> None:
    assert len(run_files(runner, files, parameters={"Code": "1"}).outcomes) == 1
    assert run_files(runner, files).exit_code == 0


def test_mistakes_are_found_before_anything_runs(runner: Runner, files: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text("phases: 1\n", encoding="utf-8")
    with pytest.raises(DocumentError):
        run_files(runner, [files[0], tmp_path / "bad.yml"])
    with pytest.raises(UsageError, match="no document declares the parameter `Cod`"):
        run_files(runner, files, parameters={"Cod": "1"})
    with pytest.raises(UsageError, match="no document has a phase `biuld`"):
        run_files(runner, files, phases=["biuld"])
    with pytest.raises(UsageError, match="no document was given"):
        run_files(runner, [])
    assert not runner.log_folder.exists()
    assert run_files(runner, files, phases=["biuld"], allow_empty=True).outcomes[0].executed == 0
