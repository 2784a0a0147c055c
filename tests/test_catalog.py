"""The catalogue resolves, and says file and line when it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import catalog
from harness.errors import ContentError, UsageError
from harness.model import Environment

if TYPE_CHECKING:
    from pathlib import Path

RULE = """\
parameters:
  demo_tries:
    type: integer
    minimum: 1
    maximum: 4
    description: Tries.
rules:
  - id: demo-tries
    title: {ko: 시도 제한, en: Tries are limited}
    severity: high
    rationale: Because.
    fix: Change it.
    controls: {isms-p: ["2.5.3"], kisa-unix-2026: [U-03]}
    parameters: [demo_tries]
"""
BASELINE = """\
title: {ko: 기준선, en: baseline}
os: {id: amzn, version_id: "2"}
parameters:
  demo_tries: "3"
"""


def content(folder: Path, rules: str = RULE, baseline: str = BASELINE) -> Path:
    (folder / "rules").mkdir()
    (folder / "baselines").mkdir()
    (folder / "rules" / "demo.yaml").write_text(rules, "utf-8")
    (folder / "baselines" / "al2.yaml").write_text(baseline, "utf-8")
    return folder


def test_rules_parameters_and_baselines_are_resolved(tmp_path: Path) -> None:
    loaded = catalog.load(content(tmp_path))
    rule = loaded.rule("demo-tries")
    assert rule.subject == "demo"
    assert rule.applies_to == frozenset(Environment)
    assert [str(control) for control in rule.controls] == ["ISMS-P 2.5.3 (2023)", "KISA Unix U-03 (2026)"]
    assert loaded.values(loaded.baseline("al2"), {"demo_tries": "4"}) == {"demo_tries": "4"}


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        ("id: demo-tries", "id: Demo", "demo.yaml:8", "no rule id"),
        ("severity: high", "severity: urgent", "demo.yaml:10", "high"),
        ("fix: Change it.", "fixx: Change it.", "demo.yaml:", "field required"),
        ("U-03", "U-99", "demo.yaml:13", "has no `U-99`"),
        ("isms-p:", "isms:", "demo.yaml:13", "no standard `isms`"),
        ("parameters: [demo_tries]", "parameters: [demo_trys]", "", "demo_trys"),
        ("    rationale: Because.", "    rationale: Because.\n    rationale: Again.", "demo.yaml:12", "twice"),
        ("    rationale: Because.", "    rationale: Because.\n    applies_to: [vm]", "demo.yaml:8", "elsewhere"),
        ("rules:", "rules: [", "demo.yaml", "not YAML"),
    ],
)
def test_a_mistake_in_a_rule_file_is_one_line_with_its_place(tmp_path: Path, old: str, new: str, where: str, what: str) -> None:
    with pytest.raises(ContentError) as caught:
        catalog.load(content(tmp_path, rules=RULE.replace(old, new, 1)))
    assert where in str(caught.value)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("baseline", "where", "what"),
    [
        (BASELINE.replace('"3"', '"9"'), "al2.yaml:4", "more than 4"),
        (BASELINE.replace("demo_tries", "demo_trees"), "al2.yaml:4", "no rule declares"),
        (BASELINE.replace('\n  demo_tries: "3"', " {}"), "al2.yaml:3", "no value for demo_tries"),
        (BASELINE + 'excluded: {demo-tries: " "}\n', "al2.yaml:5", "without a reason"),
        (BASELINE + "excluded: {demo-other: none}\n", "al2.yaml:5", "is no rule"),
    ],
)
def test_a_mistake_in_a_baseline_is_one_line_with_its_place(tmp_path: Path, baseline: str, where: str, what: str) -> None:
    with pytest.raises(ContentError, match=what) as caught:
        catalog.load(content(tmp_path, baseline=baseline))
    assert where in str(caught.value)


@pytest.mark.parametrize("value", ["3'", '3"', "$(id)", "`id`", "a\nb", "{{ x }}", "a\\b"])
def test_a_value_that_a_shell_would_read_as_syntax_is_refused(tmp_path: Path, value: str) -> None:
    loaded = catalog.load(content(tmp_path))
    with pytest.raises(ContentError, match="cannot carry"):
        loaded.values(loaded.baseline("al2"), {"demo_tries": value})


def test_unknown_names_come_with_the_nearest_ones(tmp_path: Path) -> None:
    loaded = catalog.load(content(tmp_path))
    with pytest.raises(ContentError) as parameter:
        loaded.values(loaded.baseline("al2"), {"demo_trise": "3"})
    assert parameter.value.hint == "did you mean demo_tries?"
    with pytest.raises(UsageError) as rule:
        loaded.rule("demo-trys")
    assert rule.value.hint == "did you mean demo-tries?"
    with pytest.raises(UsageError, match="no baseline `al3`"):
        loaded.baseline("al3")


def test_our_own_content_resolves() -> None:
    loaded = catalog.load()
    assert set(loaded.baselines) == {"al2", "al2023"}
    for rule in loaded.rules.values():
        assert rule.title.ko != rule.title.en, rule.id
        assert (loaded.folder.parent / "verify" / f"test_{rule.subject}.py").is_file(), rule.id
