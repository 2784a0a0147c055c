"""Controls as data: every item of every edition has an honest answer, and a run says of each what its results say."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from harness import catalog, console, controls
from harness.errors import ContentError
from harness.model import Answer, Result, Run, Severity, Status, Title, Verdict
from harness.reports import json as runs
from harness.reports import schema

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CONTENT = catalog.load()
BASELINE = CONTENT.baseline("al2")
MOMENT = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


def run(changes: Iterable[Result] = (), parameters: dict[str, str] | None = None) -> Run:
    """Return a run in which every rule passes but those that are given."""
    given = {one.rule: one for one in changes}
    results = tuple(given.get(rule, Result(rule, Status.PASS, Severity.LOW)) for rule in CONTENT.rules)
    return Run("x", MOMENT, MOMENT, "0", {}, {}, "al2", {**BASELINE.parameters, **(parameters or {})}, (), results)


def answer(made: Run, control: str, edition: str = "2026", baseline: catalog.Baseline = BASELINE) -> tuple[Verdict, str]:
    found = next(one for one in controls.onto(made, CONTENT, baseline).controls if (one.id, one.edition) == (control, edition))
    return found.status, found.reason.en


@pytest.mark.parametrize(
    ("key", "number", "severities"),
    [
        ("isms-p", 64, {None: 64}),
        ("kisa-unix-2026", 67, {"high": 40, "medium": 18, "low": 9}),
        ("kisa-unix-2021", 72, {"high": 43, "medium": 17, "low": 12}),
    ],
)
def test_an_edition_is_whole(key: str, number: int, severities: dict[str | None, int]) -> None:
    edition = CONTENT.editions[key]
    assert len(edition.items) == number
    assert Counter(one.severity for one in edition.items.values()) == severities
    assert edition.edition in edition.name
    if key.startswith("kisa"):
        assert list(edition.items) == [f"U-{index:02}" for index in range(1, number + 1)]
        assert all(one.good.ko and one.good.en for one in edition.items.values())
    for one in edition.items.values():
        assert one.title.ko != one.title.en


def test_every_answer_fits_the_rules() -> None:
    assert controls.unanswered(CONTENT.editions.values(), CONTENT.rules.values()) == []
    rules = controls.by_control(CONTENT.rules.values())
    for edition in CONTENT.editions.values():
        for one in edition.items.values():
            named = rules.get(one.control, [])
            assert bool(named) or one.answer is Answer.NOT_APPLICABLE or one.beside, one.control
            assert not named or one.answer is not Answer.NOT_APPLICABLE, one.control
            assert bool(one.ask.ko and one.ask.en) is (one.answer is Answer.PARTLY), one.control
            assert bool(one.reason.ko and one.reason.en) is (one.answer is Answer.NOT_APPLICABLE), one.control


def test_units_of_the_controls_are_those_that_the_services_script_switches_off() -> None:
    text = (CONTENT.folder / "scripts" / "services.sh").read_text("utf-8")
    for edition in CONTENT.editions.values():
        for one in edition.items.values():
            for unit in one.kept:
                assert f" {unit}" in text, f"{one.control}: {unit}"


def test_no_criterion_of_people_and_papers_is_called_automated() -> None:
    assert {one.answer for one in CONTENT.editions["isms-p"].items.values()} == {Answer.PARTLY, Answer.NOT_APPLICABLE}


EDITION = """\
standard: KISA Unix
edition: "2026"
title: {ko: 안내서, en: guide}
issuer: KISA
published: "2025-12"
controls:
  - id: U-03
    title: {ko: 잠금, en: lockout}
    group: {ko: 계정, en: accounts}
    severity: high
    answer: automated
"""
RULE = """\
rules:
  - id: demo-tries
    title: {ko: 시도 제한, en: Tries are limited}
    severity: high
    rationale: Because.
    fix: Change it.
    controls: {kisa-unix-2026: [U-03]}
"""


def content(folder: Path, edition: str = EDITION, rules: str = RULE) -> Path:
    for name, text in (("controls/kisa-unix-2026.yaml", edition), ("rules/demo.yaml", rules)):
        (folder / name).parent.mkdir()
        (folder / name).write_text(text, "utf-8")
    return folder


def test_a_small_edition_resolves(tmp_path: Path) -> None:
    loaded = catalog.load(content(tmp_path))
    assert list(loaded.editions["kisa-unix-2026"].items) == ["U-03"]


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        ("severity: high", "severity: urgent", "2026.yaml:10", "high"),
        ("answer: automated", "answer: maybe", "2026.yaml:11", "automated"),
        ("answer: automated", "answer: partly", "2026.yaml:7", "`ask` belongs"),
        ("answer: automated", "answer: not_applicable", "2026.yaml:7", "`reason` belongs"),
        ("answer: automated", "answer: automated\n    beside: run", "2026.yaml:12", "`beside` belongs"),
        ("answer: automated", "answer: not_applicable\n    reason: {ko: 없음, en: none}", "controls", "yet a rule names it: demo-tries"),
        ("U-03", "U-04", "demo.yaml:7", "has no `U-03`"),
        ('edition: "2026"', 'edition: "2025"', "2026.yaml:2", "no key of KISA Unix 2025"),
        ("    severity: high\n", "    severity: high\n    rules: [demo-tries]\n", "2026.yaml:11", "not permitted"),
    ],
)
def test_a_mistake_in_an_edition_is_one_line_with_its_place(tmp_path: Path, old: str, new: str, where: str, what: str) -> None:
    assert old in EDITION
    with pytest.raises(ContentError) as caught:
        catalog.load(content(tmp_path, EDITION.replace(old, new, 1)))
    assert where in str(caught.value)
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("edition", "what"),
    [
        (EDITION, "U-03 (2026) is automated, and no rule names it"),
        (EDITION.replace("automated", "partly\n    ask: {ko: 확인, en: look}"), "nothing collects its evidence"),
    ],
)
def test_an_answer_without_a_rule_is_refused(tmp_path: Path, edition: str, what: str) -> None:
    with pytest.raises(ContentError) as caught:
        catalog.load(content(tmp_path, edition, RULE.replace("{kisa-unix-2026: [U-03]}", "{}")))
    assert what in str(caught.value)


def test_a_run_answers_every_item_of_every_edition() -> None:
    made = controls.onto(run(), CONTENT, BASELINE)
    assert Counter(f"{one.standard} {one.edition}" for one in made.controls) == {
        "ISMS-P 2023": 64,
        "KISA Unix 2026": 67,
        "KISA Unix 2021": 72,
    }
    for one in made.controls:
        expected = {
            Answer.AUTOMATED: Verdict.GOOD,
            Answer.PARTLY: Verdict.MANUAL,
            Answer.NOT_APPLICABLE: Verdict.NOT_APPLICABLE,
        }[one.answer]
        assert one.status is expected, one.id
        assert bool(one.reason.ko and one.reason.en) is (one.status is not Verdict.GOOD), one.id


FAILED = Result("ssh-root-login", Status.FAIL, Severity.HIGH)
BROKEN = Result("accounts-root-password", Status.ERROR, Severity.HIGH, reason="unreadable")
WAIVED = replace(FAILED, status=Status.WAIVED, was=Status.FAIL, reason="accepted")
WAIVED_ERROR = replace(BROKEN, status=Status.WAIVED, was=Status.ERROR)


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ([], Verdict.GOOD, ""),
        ([FAILED], Verdict.VULNERABLE, "ssh-root-login"),
        ([FAILED, BROKEN], Verdict.VULNERABLE, "ssh-root-login"),
        ([BROKEN], Verdict.ERROR, "accounts-root-password"),
        ([WAIVED], Verdict.VULNERABLE, "ssh-root-login (waived)"),
        ([WAIVED_ERROR], Verdict.ERROR, "accounts-root-password (waived)"),
    ],
)
def test_what_is_bad_hides_what_is_good_and_a_waiver_hides_nothing(changes: list[Result], status: Verdict, reason: str) -> None:
    assert answer(run(changes), "U-01") == (status, reason)


def test_a_failing_rule_makes_a_partly_answered_item_vulnerable_and_one_that_cannot_be_judged_an_error() -> None:
    assert answer(run([Result("accounts-needless", Status.FAIL, Severity.LOW)]), "U-07")[0] is Verdict.VULNERABLE
    assert answer(run([Result("accounts-needless", Status.ERROR, Severity.LOW)]), "U-07")[0] is Verdict.ERROR
    assert answer(run([Result("accounts-needless", Status.FAIL, Severity.LOW)]), "U-07", "2021") == (Verdict.GOOD, "")


def test_what_a_target_cannot_show_is_a_question_and_what_the_baseline_leaves_out_is_not_applicable() -> None:
    missing = Result("services-autofs", Status.NOT_APPLICABLE, Severity.LOW, reason="a container has none")
    status, reason = answer(run([missing]), "U-41")
    assert (status, "cannot be judged on this target: a container has none" in reason) == (Verdict.MANUAL, True)
    without = replace(BASELINE, excluded={"services-autofs": "the system has no autofs at all"})
    left_out = replace(missing, reason="the system has no autofs at all")
    assert answer(run([left_out]), "U-41", baseline=without) == (Verdict.NOT_APPLICABLE, "the system has no autofs at all")
    # One of several is no reason to doubt the others.
    assert answer(run([Result("time-synchronised", Status.NOT_APPLICABLE, Severity.LOW, reason="no clock")]), "U-65")[0] is Verdict.GOOD


def test_a_rule_that_a_user_switches_off_is_never_good() -> None:
    off = replace(BASELINE, excluded={"filesystem-crontab": "switched off …"}, off=frozenset({"filesystem-crontab"}))
    made = run([Result("filesystem-crontab", Status.NOT_APPLICABLE, Severity.LOW, reason="switched off …")])
    status, reason = answer(made, "U-37", baseline=off)
    assert (status, "filesystem-crontab" in reason) == (Verdict.MANUAL, True)


def test_a_service_that_is_kept_is_a_question_for_a_person() -> None:
    made = run(parameters={"services_kept": "vsftpd.service, httpd.service"})
    assert answer(made, "U-54") == (Verdict.MANUAL, "services_kept keeps vsftpd.service: is it set up as the item asks?")
    assert answer(made, "U-35", "2021")[0] is Verdict.MANUAL
    assert answer(made, "U-58")[0] is Verdict.GOOD
    assert answer(run(), "U-35", "2021")[0] is Verdict.NOT_APPLICABLE


def test_a_run_of_some_rules_leaves_the_rest_open() -> None:
    some = replace(run(), results=(Result("ssh-root-login", Status.PASS, Severity.HIGH),))
    status, reason = answer(some, "U-01")
    others = len(controls.by_control(CONTENT.rules.values())[CONTENT.editions["kisa-unix-2026"].items["U-01"].control]) - 1
    assert (status, reason) == (Verdict.MANUAL, f"{others} of its rules were not judged in this run")


def test_the_editions_of_a_baseline_are_those_that_count() -> None:
    made = controls.onto(run(), CONTENT, replace(BASELINE, editions=("kisa-unix-2026",)))
    assert {one.edition for one in made.controls} == {"2026"}


def test_run_json_keeps_the_controls_and_its_size_in_bounds() -> None:
    made = controls.onto(run([FAILED]), CONTENT, BASELINE)
    data = runs.render(made)
    assert runs.from_data(json.loads(data)) == made
    assert schema.read(data) == made
    assert len(data) - len(runs.render(replace(made, controls=()))) < 150_000


def test_a_status_without_a_reason_is_not_believed() -> None:
    made = controls.onto(run([FAILED]), CONTENT, BASELINE)
    forged = tuple(replace(one, reason=Title("", "")) for one in made.controls)
    with pytest.raises(ValueError, match="without a reason"):
        schema.read(runs.render(replace(made, controls=forged)))


def test_people_see_one_line_per_edition_with_what_is_bad_by_name() -> None:
    lines = console.control_lines(controls.onto(run([FAILED]), CONTENT, BASELINE))
    assert [line.strip().split(":")[0] for line in lines] == ["ISMS-P 2023", "KISA Unix 2026", "KISA Unix 2021"]
    assert "67 items: 56 automated (55 good, 1 vulnerable: U-01); 11 partly, a person decides; 0 not applicable" in lines[1]
    assert console.control_lines(run()) == []
