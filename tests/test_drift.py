"""What became of each rule between two runs, who judged differently, and what a signature says of the older run."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness import attestation, drift, drift_fleet
from harness.cli import app
from harness.drift import Kind
from harness.errors import UsageError
from harness.fleet_store import Store
from harness.inventory import Entry
from harness.model import Result, Run, Severity, Status, Title
from harness.reports.json import render
from tests.proof import CAPTURE, RESULTS, SIGNER, STRANGER, UNWAIVED, keep

if TYPE_CHECKING:
    from pathlib import Path

P, F, E, N = Status.PASS, Status.FAIL, Status.ERROR, Status.NOT_APPLICABLE
STATUSES = st.sampled_from([None, P, F, E, N, (F,), (E,)])
"""A status, a waived one as a tuple of what it was, or no result."""


def run(*, results: tuple[Result, ...] = RESULTS) -> Run:
    return replace(UNWAIVED, results=results)


def result(status: Status | tuple[Status] | None, observed: str = "4") -> tuple[Result, ...]:
    if status is None:
        return ()
    was = status[0] if isinstance(status, tuple) else None
    word = Status.WAIVED if isinstance(status, tuple) else status
    return (Result("ssh-banner", word, Severity.LOW, "3", observed, title=Title("ko", "The banner"), fix="mend it", was=was),)


def between(old: Status | tuple[Status] | None, new: Status | tuple[Status] | None, observed: str = "4") -> drift.Drift:
    return drift.compare(run(results=result(old)), run(results=result(new, observed)))


@pytest.mark.parametrize(
    ("old", "new", "kind", "finding"),
    [
        (P, F, Kind.WORSE, True),
        (P, E, Kind.WORSE, True),
        (N, F, Kind.WORSE, True),
        (F, E, Kind.WORSE, True),
        (E, F, Kind.CHANGED, False),
        (F, P, Kind.BETTER, False),
        (E, P, Kind.BETTER, False),
        ((F,), P, Kind.BETTER, False),
        ((F,), F, Kind.UNWAIVED, True),
        ((F,), E, Kind.UNWAIVED, True),
        (F, (F,), Kind.WAIVED, False),
        (P, (F,), Kind.WAIVED, False),
        ((F,), (E,), Kind.VALUE, False),
        (P, N, Kind.CHANGED, False),
        (F, N, Kind.CHANGED, False),
        (N, P, Kind.CHANGED, False),
        (None, F, Kind.NEW, True),
        (None, E, Kind.NEW, True),
        (None, P, Kind.NEW, False),
        (F, None, Kind.GONE, False),
    ],
)
def test_what_became_of_a_rule(old: Status, new: Status, kind: Kind, *, finding: bool) -> None:
    found = between(old, new)
    assert [each.kind for each in found.differences] == [kind]
    assert bool(found.worse) is finding


def test_another_value_of_the_same_status_is_told_and_is_nothing_worse() -> None:
    found = between(F, F, "9")
    assert [each.kind for each in found.differences] == [Kind.VALUE]
    assert not found.worse
    assert found.same == 0


@given(STATUSES, STATUSES, st.sampled_from("34"))
def test_a_finding_of_now_is_never_lost(old: Status | None, new: Status | None, observed: str) -> None:
    found = between(old, new, observed)
    if new in {F, E} and old not in {F, E}:
        assert found.worse
    if found.worse:
        assert new in {F, E}
    assert len(found.differences) + found.same == (old is not None or new is not None)


@given(STATUSES, st.sampled_from("34"))
def test_a_run_does_not_differ_from_itself(status: Status | None, observed: str) -> None:
    one = run(results=result(status, observed))
    found = drift.compare(one, one)
    assert (found.differences, found.judged) == ((), ())


def test_what_is_worse_comes_first_and_the_gravest_of_it_before() -> None:
    def results(*statuses: Status) -> tuple[Result, ...]:
        return tuple(Result(f"r-{name}", status, Severity(name)) for name, status in zip(("low", "medium", "high"), statuses, strict=True))

    found = drift.compare(run(results=results(P, F, P)), run(results=results(F, P, F)))
    assert [each.rule for each in found.differences] == ["r-high", "r-low", "r-medium"]


def test_whatever_judged_differently_is_named() -> None:
    one = run()
    assert drift.compare(one, one).judged == ()
    other = replace(one, parameters={**one.parameters, "ssh_max_auth_tries": "4"}, digests={"baseline": "d" * 64, "suites": "e" * 64})
    assert drift.compare(one, other).judged == (
        "baseline al2: its file is another one now",
        "parameter ssh_max_auth_tries: 3, now 4",
        "suites: other ones judged the newer run",
    )
    assert "baseline: al2, now al2023" in drift.compare(one, replace(one, baseline="al2023")).judged
    assert (
        "environment: container, now host"
        in drift.compare(replace(one, target={"environment": "container"}), replace(one, target={"environment": "host"})).judged
    )


def file(where: Path, made: Run) -> Path:
    where.write_bytes(render(made))
    return where


def test_a_file_by_itself_is_said_to_be_unsigned(tmp_path: Path) -> None:
    found = drift.read(file(tmp_path / "old.json", run()))
    assert (found.trusted, found.evidence) == (False, "a file by itself, not signed")


def test_a_folder_that_was_changed_is_refused(tmp_path: Path) -> None:
    made = keep(tmp_path)
    (made / "run.json").write_bytes((made / "run.json").read_bytes().replace(b'"pass"', b'"fail"', 1))
    for path in (made, made / "run.json"):
        with pytest.raises(UsageError, match="is not as it was written"):
            drift.read(path)


def test_the_signature_of_the_golden_run_is_verified(tmp_path: Path) -> None:
    made = keep(tmp_path, signers=())
    assert "not signed" in drift.read(made).evidence
    attestation.attest(made, drift.read(made).run, SIGNER)
    assert "was not verified" in drift.read(made).evidence
    found = drift.read(made, [SIGNER.public_key])
    assert (found.trusted, found.evidence) == (True, f"signed by {SIGNER.public_key.keyid}")
    with pytest.raises(UsageError, match="no signature by a given key holds"):
        drift.read(made / "run.json", [STRANGER.public_key])


def test_the_command_says_it_in_text_and_json_and_by_its_exit_code(tmp_path: Path) -> None:
    old, new = file(tmp_path / "old.json", run(results=result(P, "3"))), file(tmp_path / "new.json", run(results=result(F)))
    worse = CliRunner().invoke(app, ["drift", str(old), str(new)])
    assert worse.exit_code == 1
    assert "WORSE (1)\n  ssh-banner  (low)  pass → fail  The banner\n    expected  3\n    was       3\n    observed  4\n" in worse.stdout
    assert "1 worse; 0 rules as they were" in worse.stdout
    better = CliRunner().invoke(app, ["drift", str(new), str(old), "--format", "json"])
    assert better.exit_code == 0
    told = json.loads(better.stdout)
    assert told["schema"] == "isms-golden-ami/drift/1"
    assert (told["summary"]["better"], told["worse"]) == (1, False)
    assert told["differences"][0]["old"]["status"] == "fail"


def test_a_key_asks_for_a_signature(tmp_path: Path) -> None:
    made, public = keep(tmp_path, signers=()), tmp_path / "key.pub"
    attestation.keygen(tmp_path / "key", None)
    done = CliRunner().invoke(app, ["drift", str(made), str(made), "--key", str(public)])
    assert isinstance(done.exception, UsageError)
    assert "is not signed by a given key" in str(done.exception)
    with pytest.raises(UsageError, match="is not signed by a given key"):
        drift_fleet.compare(made, fleet(tmp_path, "new", a=P), [SIGNER.public_key])
    with pytest.raises(UsageError, match="are not signed"):
        drift_fleet.compare(tmp_path / "new", tmp_path / "new", [SIGNER.public_key])


def fleet(where: Path, name: str, **hosts: Status) -> Path:
    store = Store(where / name, [Entry(host, f"ssh://{host}") for host in hosts], {}, UNWAIVED.started)
    (store.folder / "hosts").mkdir(parents=True)
    store.write((), None)
    for host, status in hosts.items():
        store.keep(Entry(host, f"ssh://{host}"), CAPTURE, replace(run(results=result(status)), documents=()))
    return store.folder


def test_a_fleet_is_compared_host_by_host_or_with_its_image(tmp_path: Path) -> None:
    old, new = fleet(tmp_path, "old", a=P, b=P, gone=P), fleet(tmp_path, "new", a=P, b=F, c=F)
    done = CliRunner().invoke(app, ["drift", str(old), str(new)])
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[2:6] == [
        "b  1 worse, 0 better, 0 as they were: ssh-banner",
        "a  0 worse, 0 better, 1 as they were",
        "c  new: the older fleet has no run of it",
        "gone  gone: no run of it now",
    ]
    assert lines[-1] == "    1  ssh-banner"
    golden = file(tmp_path / "golden.json", run(results=result(P)))
    against = CliRunner().invoke(app, ["drift", str(golden), str(new), "--format", "json"])
    told = json.loads(against.stdout)
    assert {name: one["worse"] for name, one in told["hosts"].items()} == {"a": False, "b": True, "c": True}
    assert CliRunner().invoke(app, ["drift", str(golden), str(fleet(tmp_path, "good", a=P))]).exit_code == 0
