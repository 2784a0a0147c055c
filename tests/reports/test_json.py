"""run.json holds a whole run and gives it back unchanged."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from harness.errors import UsageError
from harness.model import DocumentRun, Result, Run, Severity, Status, Title
from harness.reports import json as runs

if TYPE_CHECKING:
    from pathlib import Path

MOMENT = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
RUN = Run(
    id="20261124T020000Z-al2-abc123",
    started=MOMENT,
    finished=MOMENT,
    harness_version="0.1.0",
    target={"uri": "podman://x", "environment": "container"},
    base={"kind": "standin", "label": "STAND-IN"},
    baseline="al2",
    parameters={"ssh_max_auth_tries": "3"},
    documents=(DocumentRun("isms_security_hardening", "0" * 64, "success", 12, 0),),
    results=(
        Result(
            "ssh-root-login",
            Status.PASS,
            Severity.HIGH,
            "no",
            "no",
            subject="ssh",
            title=Title("루트", "root"),
            controls=("ISMS-P 2.5.5 (2023)",),
        ),
        Result("ssh-banner", Status.FAIL, Severity.LOW, "set", "<&\x00\udc80>", subject="ssh", title=Title("배너", "banner"), fix="do"),
        Result("kernel-x", Status.NOT_APPLICABLE, Severity.MEDIUM, reason="no kernel", subject="kernel", title=Title("커널", "kernel")),
        Result("kernel-y", Status.ERROR, Severity.MEDIUM, reason="no command", subject="kernel", title=Title("커널", "kernel")),
    ),
)


def test_a_run_survives_the_way_to_a_file_and_back(tmp_path: Path) -> None:
    run = replace(RUN, results=RUN.results[:1] + RUN.results[2:])
    (tmp_path / "run.json").write_bytes(runs.render(run))
    assert runs.load(tmp_path / "run.json") == run


def test_the_summary_names_every_status() -> None:
    assert runs.as_data(RUN)["summary"] == {"pass": 1, "fail": 1, "error": 1, "not_applicable": 1, "waived": 0}


def test_findings_and_second_changes_make_a_run_unclean() -> None:
    assert not RUN.clean()
    passed = replace(RUN, results=RUN.results[:1])
    assert passed.clean()
    assert not replace(passed, documents=(replace(RUN.documents[0], changes_again=1),)).clean()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "isms-golden-ami/run/99"}', '{"schema": "isms-golden-ami/run/1"}', "\udcff"])
def test_what_is_no_run_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError) as caught:
        runs.load(tmp_path / "run.json")
    assert "run.json" in str(caught.value)


def test_it_is_json_for_other_programs() -> None:
    assert json.loads(runs.render(replace(RUN, results=RUN.results[:1])))["schema"] == runs.SCHEMA
