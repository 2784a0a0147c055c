"""Rules, scripts, steps and suites speak of the same things: nothing is orphaned, nothing is made up."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
import yaml

from harness import catalog
from harness.components import MARK
from harness.judge import Scope
from harness.model import Environment
from harness.pytest_plugin import rule_of
from harness.suites import SUITES
from tests.mutations.reading import load

CONTENT = catalog.load()
TELLING = "changed|pass|fail|verdict|holds|own|tighten|place|assign|swap|need_package|enable_unit|start_unit"
TOLD = re.compile(rf"^\s*(?:{TELLING}) ([a-z][a-z0-9-]+)\b", re.MULTILINE)
WITHOUT_SCRIPT = {"survival"}
"""Subjects that only look: whether people can still work on the image is nothing that a script could set."""


class Items:
    """Keeps which rule each collected test judges, by file."""

    def __init__(self) -> None:
        self.rules: dict[str, set[str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            subject = item.path.stem.removeprefix("test_")
            self.rules.setdefault(subject, set()).add(rule_of(item))


def test_every_rule_is_judged_by_a_test_of_its_subject_and_every_test_judges_a_rule() -> None:
    items = Items()
    options = ["--collect-only", "--disable-plugin-autoload", "-p", "no:cacheprovider", "-p", "no:terminal", "--import-mode=importlib"]
    assert pytest.main([str(SUITES), *options, "-c", os.devnull, f"--rootdir={SUITES}"], plugins=[items]) == pytest.ExitCode.OK
    assert items.rules == {subject: {rule.id for rule in CONTENT.rules.values() if rule.subject == subject} for subject in CONTENT.subjects}


def test_every_subject_has_its_script_and_every_script_its_rules() -> None:
    scripts = {path.stem for path in (CONTENT.folder / "scripts").glob("*.sh")} - {"lib"}
    assert scripts == set(CONTENT.subjects) - WITHOUT_SCRIPT
    folders = {path.name for path in (CONTENT.folder / "files").iterdir()}
    assert folders <= scripts


@pytest.mark.parametrize("subject", sorted(set(CONTENT.subjects) - WITHOUT_SCRIPT))
def test_a_script_names_only_rules_of_its_subject(subject: str) -> None:
    text = (CONTENT.folder / "scripts" / f"{subject}.sh").read_text("utf-8")
    own = {rule.id for rule in CONTENT.rules.values() if rule.subject == subject} | {subject}
    assert set(TOLD.findall(text)) <= own


def test_every_script_runs_once_in_build_and_is_checked_in_validate_and_test() -> None:
    applied: list[str] = []
    checked: dict[str, set[str]] = {}
    for path in (CONTENT.folder / "components").glob("*.yml"):
        document: Any = yaml.safe_load(path.read_text("utf-8"))
        for phase in document["phases"]:
            for step in phase["steps"]:
                for command in step["inputs"]["commands"]:
                    mark = MARK.fullmatch(f"- {command}")
                    assert mark, command
                    if mark["verb"] == "apply":
                        assert phase["name"] == "build"
                        applied.append(mark["subject"])
                    elif mark["verb"] == "check":
                        checked.setdefault(phase["name"], set()).add(mark["subject"])
    subjects = set(CONTENT.subjects) - WITHOUT_SCRIPT
    assert sorted(applied) == sorted(subjects)
    assert checked["validate"] == subjects
    # An instance that runs has keys, histories and logs by nature: hygiene is a property of the image.
    assert checked["test"] == subjects - {"hygiene"}


@pytest.mark.parametrize("baseline", sorted(CONTENT.baselines))
def test_a_baseline_leaves_out_only_what_it_gives_a_reason_for(baseline: str) -> None:
    left_out = CONTENT.baseline(baseline).excluded
    assert all(len(reason) > 20 for reason in left_out.values())


def test_every_parameter_is_enforced_by_a_rule() -> None:
    used = {name for rule in CONTENT.rules.values() for name in rule.parameters}
    assert used == set(CONTENT.parameters)


def test_every_rule_has_a_control_or_is_about_the_image_itself() -> None:
    without = sorted({rule.subject for rule in CONTENT.rules.values() if not rule.controls})
    assert set(without) <= WITHOUT_SCRIPT | {"hygiene"}


MUTATIONS = load()


def test_a_mutation_speaks_only_of_rules_that_there_are() -> None:
    spoken = {name for mutation in MUTATIONS for name in (mutation.rule, *mutation.also)}
    assert spoken <= set(CONTENT.rules)
    assert {mutation.subject for mutation in MUTATIONS} == set(CONTENT.subjects)


@pytest.mark.parametrize("baseline", sorted(CONTENT.baselines))
def test_every_rule_of_a_baseline_has_a_mutation_where_it_is_judged(baseline: str) -> None:
    """Rules that a container cannot show have theirs for a machine with a kernel of its own."""
    scope = Scope(CONTENT.rules, CONTENT.baseline(baseline).excluded, Environment.CONTAINER)
    of_baseline = {rule.id for rule in CONTENT.rules.values() if rule.id not in scope.excluded}
    here = {rule for rule in of_baseline if scope.not_applicable(CONTENT.rules[rule]) is None}
    tried = [mutation for mutation in MUTATIONS if baseline in mutation.baselines]
    assert here - {mutation.rule for mutation in tried if not mutation.needs_vm} == set()
    assert of_baseline - {mutation.rule for mutation in tried} == set()
    assert {mutation.rule for mutation in tried if len(mutation.baselines) == 1} <= of_baseline
