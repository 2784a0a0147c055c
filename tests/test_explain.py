"""`harness rules`: lists with filters, a control in each of its editions, a rule with everything that one asks about it."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from harness import catalog, cli, explain, waivers
from harness.errors import UsageError
from harness.explain import Filters, as_text, select
from harness.model import Severity

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = catalog.load()
TODAY = date(2026, 11, 24)
EVERYTHING = Filters()


def told(which: str, edition: str | None = None) -> str:
    return as_text(CONTENT, which, select(CONTENT, which, Filters(edition=edition)), TODAY, edition)


def printed(*arguments: str) -> str:
    done = CliRunner().invoke(cli.app, ["rules", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_list_as_data_has_what_an_assessor_asks_of_every_rule() -> None:
    rules = json.loads(printed("--format", "json"))
    assert len(rules) == len(CONTENT.rules) >= 150
    for rule in rules:
        assert rule["controls"], rule["id"]
        assert rule["severity"] in {"high", "medium", "low"}
        assert rule["title"]["ko"] != rule["title"]["en"]
        assert re.search("[가-힣]", rule["title"]["ko"]), rule["id"]
        for control in rule["controls"]:
            assert control["edition"]
            assert control["title"] or control["standard"].startswith("CIS")
        for name, expected in rule["expected"].items():
            assert expected["values"]["al2"] == rule["parameters"][name]


def test_a_rule_says_what_why_how_and_where() -> None:
    text = told("accounts-tmout")
    rule = CONTENT.rules["accounts-tmout"]
    for part in (rule.title.ko, rule.title.en, rule.rationale, rule.fix, "accounts_tmout = 600   (60 to 600)"):
        assert part in text
    assert "verify/test_accounts.py::test_tmout" in text
    assert "hardening/scripts/accounts.sh" in text
    assert "KISA Unix U-12 (2026)  세션 종료 시간 설정 · Session end time" in text
    assert "KISA Unix U-54 (2021)  Session Timeout 설정 · Session timeout" in text


def test_a_rule_that_a_baseline_leaves_out_says_so() -> None:
    baseline, rule = next((one, rule) for one in CONTENT.baselines.values() for rule in one.excluded)
    assert f"of {baseline.name}: {baseline.excluded[rule]}" in told(rule)


@pytest.mark.parametrize("rule", ["accounts-tmout", "ssh-root-login"])
def test_the_waiver_can_be_pasted(tmp_path: Path, rule: str) -> None:
    text = told(rule)
    example = "".join(f"{line[4:]}\n" for line in text.splitlines() if line.startswith("    "))
    example = example[example.index("waivers:") :]
    (tmp_path / "waivers.yaml").write_text(example, "utf-8")
    (waiver,) = waivers.load(tmp_path / "waivers.yaml", CONTENT.rules)
    assert (waiver.rule, waiver.expires) == (rule, date(2027, 2, 22))


def test_a_control_that_two_editions_have_is_shown_in_both() -> None:
    text = told("u-07")
    needless, passwd = text.split("KISA Unix U-07 (2021)")
    assert needless.startswith("KISA Unix U-07 (2026)  (low)")
    assert "불필요한 계정 제거" in needless
    assert "accounts-needless" in needless
    assert "filesystem-passwd" not in needless
    assert "/etc/passwd 파일 소유자 및 권한 설정" in passwd
    assert "filesystem-passwd" in passwd
    assert "2021" not in told("U-07", "kisa-unix-2026")


def test_a_number_of_a_section_is_not_taken_for_a_criterion() -> None:
    text = told("2.1.1")
    assert text.startswith("ISMS-P 2.1.1 (2023)\n  정책의 유지관리")
    assert "not applicable" in text.split("CIS Amazon Linux 2")[0]
    assert "time-chrony-installed" not in text.split("CIS Amazon Linux 2")[0]
    assert "CIS Amazon Linux 2023 2.1.1 (1.0.0)" in text


def test_a_criterion_says_what_a_person_is_asked() -> None:
    text = told("2.9.6")
    assert "partly: a person decides the rest" in text
    assert CONTENT.editions["isms-p"].items["2.9.6"].ask.ko in text
    assert "time-source" in text


def test_a_subject_lists_its_rules() -> None:
    assert {line.split()[0] for line in told("time").splitlines() if line.startswith("time-")} == {
        rule.id for rule in CONTENT.rules.values() if rule.subject == "time"
    }


def test_filters_narrow_down() -> None:
    chosen = select(CONTENT, None, Filters(subject="ssh", control="2.5.5", severity=Severity.HIGH))
    assert {rule.id for rule in chosen} == {
        rule.id
        for rule in CONTENT.rules.values()
        if rule.subject == "ssh" and rule.severity is Severity.HIGH and any(one.id == "2.5.5" for one in rule.controls)
    }
    assert chosen
    cis = select(CONTENT, None, Filters(edition="cis-al2"))
    assert all(any(one.standard == "CIS Amazon Linux 2" for one in rule.controls) for rule in cis)
    assert len(cis) < len(CONTENT.rules)
    assert select(CONTENT, None, EVERYTHING) == tuple(CONTENT.rules.values())
    assert select(CONTENT, None, Filters(control="2.1.1", edition="isms-p")) == ()


@pytest.mark.parametrize(
    ("which", "filters", "hint"),
    [
        ("ssh-root-logn", EVERYTHING, "ssh-root-login"),
        ("U-99", EVERYTHING, "did you mean U-"),
        ("2.9.66", EVERYTHING, "2.9.6"),
        ("loging", EVERYTHING, "logging"),
        ("qqqq", EVERYTHING, "`harness rules` lists"),
        (None, Filters(subject="shh"), "ssh"),
        (None, Filters(control="U-68", edition="kisa-unix-2026"), "U-67"),
        (None, Filters(edition="kisa-2026"), "kisa-unix-2026"),
    ],
)
def test_an_unknown_word_gets_the_nearest_ones(which: str | None, filters: Filters, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(CONTENT, which, filters)
    assert caught.value.exit_code == 2
    assert hint in str(caught.value.hint)


def test_the_controls_are_listed_with_their_answers() -> None:
    data = json.loads(printed("--controls", "--edition", "kisa-unix-2026", "--format", "json"))
    assert len(data) == 67
    assert all(one["rules"] for one in data)
    assert {one["answer"] for one in data} == {"automated", "partly"}
    assert all(bool(one["ask"]) is (one["answer"] == "partly") for one in data)
    text = printed("--controls")
    assert all(f"{each.name}: {len(each.items)} controls" in text for each in CONTENT.editions.values())
    table = printed("--controls", "--edition", "isms-p", "--format", "markdown")
    assert table.count("\n| 2.") == 64


@pytest.mark.parametrize("arguments", [("--controls", "U-01"), ("--controls", "--edition", "cis-al2"), ("--format", "markdown")])
def test_options_that_do_not_fit_are_refused(arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli.app, ["rules", *arguments])
    assert isinstance(done.exception, UsageError)


def test_every_rule_can_be_explained_and_its_tests_are_found() -> None:
    for rule in CONTENT.rules.values():
        text = explain.one_rule(CONTENT, rule, TODAY)
        assert f"verify/test_{rule.subject}.py" in text
        assert rule.fix in text
