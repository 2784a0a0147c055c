"""A fleet without a network: its folder, who is asked again, how hosts are united, and that no host ends the others."""

from __future__ import annotations

import io
import json
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import catalog, fleet, fleet_report, fleet_store, tampering
from harness.audit import Plan
from harness.errors import TargetError, UsageError
from harness.fleet import Fleet, Options, Plans
from harness.fleet_store import Finding, Row, Store
from harness.inventory import Entry
from tests.proof import CAPTURE
from tests.proof import RUN as VERIFIED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.targets.base import Target

WEB, DB = Entry("web1", "ssh://web1", groups=("web",)), Entry("db1", "ssh://db1", baseline="al2", tags={"Role": "db"})
RUN = replace(VERIFIED, documents=())
BY: dict[str, Any] = {"suites": "c" * 64}
HIGH, LOW, ERROR = Finding("a", "fail", "high"), Finding("b", "fail", "low"), Finding("c", "error", "medium")


def row(name: str, *findings: Finding, error: str = "", code: int = 0) -> Row:
    return Row(name, f"ssh://{name}", findings=findings, error=error, code=code, counts=RUN.counts())


def test_a_host_appears_whole_and_is_known_again(tmp_path: Path) -> None:
    store = Store.create(tmp_path, [WEB, DB], BY)
    assert store.keep(WEB, CAPTURE, RUN) == "hosts/web1"
    store.miss(DB, TargetError("db1 is away", hint="wake it"))
    examined = tampering.examine(store.folder / "hosts" / "web1")
    assert (examined.problems, examined.run) == ((), RUN)
    assert sorted(path.name for path in (store.folder / "hosts").iterdir()) == ["db1", "web1"]
    again = Store.resume(store.folder, BY)
    assert again.entries == (WEB, DB)
    finished = again.finished()
    assert list(finished) == [WEB.uri]
    assert finished[WEB.uri].counts == RUN.counts()
    # What was missed is asked again, and its reason goes away.
    again.keep(DB, CAPTURE, RUN)
    assert set(Store.resume(store.folder, BY).finished()) == {WEB.uri, DB.uri}
    assert not (store.folder / "hosts" / "db1" / "failure.json").exists()


def test_what_is_not_whole_is_not_there(tmp_path: Path) -> None:
    store = Store.create(tmp_path, [WEB, DB], BY)
    store.keep(WEB, CAPTURE, RUN)
    (store.folder / "hosts" / "web1" / "run.json").write_text("{", "utf-8")
    part = store.folder / "hosts" / ".db1.part"
    part.mkdir()
    (part / "run.json").write_bytes(b"")
    assert Store.resume(store.folder, BY).finished() == {}


def test_other_judges_and_other_folders_are_refused(tmp_path: Path) -> None:
    store = Store.create(tmp_path, [WEB], BY)
    with pytest.raises(UsageError, match="other suites, rules judge now"):
        Store.resume(store.folder, {"suites": "d" * 64, "rules": ["a"]})
    with pytest.raises(UsageError, match="is no audit to resume"):
        Store.resume(tmp_path, BY)
    (tmp_path / "fleet.json").write_text("[]", "utf-8")
    with pytest.raises(UsageError, match="this is no fleet"):
        Store.resume(tmp_path, BY)


@given(st.lists(st.text(max_size=90), unique=True, max_size=30))
def test_each_host_has_a_folder_of_its_own(names: list[str]) -> None:
    entries = [Entry(name, f"ssh://{number}") for number, name in enumerate(names)]
    folders = fleet_store.folder_names(entries)
    assert len({folder.lower() for folder in folders}) == len(names)
    assert all(fleet_store.FOLDER_NAME.fullmatch(folder) for folder in folders)


def asked(tmp_path: Path, entries: Sequence[Entry], opened: Any, jobs: int = 4) -> list[Row]:  # noqa: ANN401 - any callable
    plans = Plans(Plan(catalog.load(), "al2", rules=("ssh-root-login",)))
    return list(Fleet(plans, Store.create(tmp_path, entries, BY), Options(jobs, 5), opened).ask(entries))


def test_whatever_happens_to_a_host_is_its_own_row(tmp_path: Path) -> None:
    def opened(entry: Entry, seconds: float) -> Target:
        assert seconds == 5
        if entry.name == "web1":
            raise TargetError("web1 is away", hint="wake it")
        raise ZeroDivisionError("of ours")

    unknown = Entry("other", "ssh://other", baseline="al2")
    rows = {row.name: row for row in asked(tmp_path, [WEB, DB, unknown, Entry("i", "ssm://i-0123456789abcdef0")], opened)}
    assert (rows["web1"].error, rows["web1"].hint, rows["web1"].code) == ("web1 is away", "wake it", 3)
    assert rows["db1"].error == "unexpected ZeroDivisionError: of ours"
    assert set(rows) == {"web1", "db1", "other", "i"}
    assert fleet.exit_code(rows.values()) == 3


def test_an_unknown_baseline_is_a_mistake_before_anybody_is_asked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="al3"):
        asked(tmp_path, [replace(WEB, baseline="al3")], None)


@pytest.mark.parametrize("jobs", [1, 3])
def test_no_more_hosts_at_a_time_than_jobs(tmp_path: Path, jobs: int) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def opened(entry: Entry, _: float) -> Target:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        raise TargetError(f"{entry.name} is away")

    entries = [Entry(f"h{number}", f"ssh://h{number}") for number in range(9)]
    assert len(asked(tmp_path, entries, opened, jobs)) == 9
    assert most == jobs


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([row("a")], 0),
        ([row("a"), row("b", LOW)], 1),
        ([row("a", HIGH), row("b", error="away", code=3)], 1),
        ([row("a"), row("b", error="away", code=3)], 3),
        ([row("a"), row("b", error="no baseline", code=2), row("c", error="away", code=3)], 2),
        ([row("a", ERROR)], 1),
        ([], 0),
    ],
)
def test_the_exit_code_is_that_of_the_worst(rows: list[Row], code: int) -> None:
    assert fleet.exit_code(rows) == code


def test_the_summary_has_the_worst_first_and_unites_rules_and_reasons(tmp_path: Path) -> None:
    rows = [
        row("clean"),
        row("low", LOW),
        row("high", HIGH, LOW),
        row("away1", error="away1 refuses", code=3),
        row("away2", error="ssh://away2 refuses", code=3),
        row("away3", error="ssh://away3 refuses", code=3),
    ]
    found = fleet.summary(rows, 8)
    assert [each.name for each in found.rows] == ["high", "low", "away1", "away2", "away3", "clean"]
    assert [(finding.rule, number) for finding, number in found.rules] == [("a", 1), ("b", 2)]
    assert found.errors == (("… refuses", 2), ("away1 refuses", 1))
    assert (found.judged, found.failing, found.waiting) == (3, 2, 2)
    store = Store.create(tmp_path, [Entry(each.name, each.uri) for each in rows], BY)
    out = io.StringIO()
    fleet_report.show(found, len(store.entries), catalog.load().rules, out)
    text = out.getvalue()
    assert "6 hosts: 1 without findings, 2 failing, 3 unreachable, 2 not asked" in text
    assert "      2  … refuses" in text
    data = json.loads(json.dumps(fleet_report.as_data(store, found)))
    assert [host["status"] for host in data["hosts"]] == ["fail", "fail", "error", "error", "error", "pass"]


def test_many_clean_hosts_are_counted_not_listed() -> None:
    rows = [row(f"h{number:03}") for number in range(100)] + [row("bad", HIGH)]
    out = io.StringIO()
    fleet_report.show(fleet.summary(rows, len(rows)), len(rows), {}, out)
    assert "and 60 hosts more without findings" in out.getvalue()
    assert out.getvalue().splitlines()[1].startswith("bad ")


def test_progress_says_how_far_it_is() -> None:
    rows = [row("a", HIGH, ERROR), row("b", error="b refuses", code=3)]
    assert fleet_report.progress(rows[0], fleet.counted(rows[:1]), 2).startswith("1/2 hosts, 1 failing, 0 unreachable │ a: 1 high")
    assert fleet_report.progress(rows[1], fleet.counted(rows), 2) == "2/2 hosts, 1 failing, 1 unreachable │ b: b refuses"
