"""What a user brings and changes: rules, scripts and suites of a folder, editions that count, rules switched off.

Everything of a user's folder is checked when it is loaded: each rule has a test and a script that names it, each test and script has its
rule, each script a step in a component document. A mistake is told with file and line, before any target is touched.
"""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from harness import catalog, evidence, locatedyaml, toe
from harness.components import MARK
from harness.config.suggestions import did_you_mean
from harness.errors import ConfigError, ContentError, Location
from harness.model import SWITCHED_OFF
from harness.suites import SUITES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.catalog import Baseline, Catalog
    from harness.config.settings import Choice, Settings

FOLDERS = frozenset({"rules", "scripts", "files", "components", "verify"})
MADE = re.compile(r"\.|__pycache__$")
"""Names that nobody wrote by hand."""


def content(settings: Settings) -> Catalog:
    """Return the catalogue as a configuration has it. Raises ContentError or ConfigError, with file and line."""
    folder = settings.site.folder if settings.site else None
    loaded = catalog.load(site=folder)
    if folder is not None:
        check(loaded, folder)
        used = {component.name for build in settings.builds for component in build.components if component.source is None}
        for path in sorted((folder / "components").glob("*.yml")):
            if settings.builds and path.stem not in used:
                hint = f'add component "{path.stem}" {{}} to a build block of {settings.path.name}'
                raise ContentError(f"no build uses the component `{path.stem}`", hint=hint, at=Location(path))
    chosen = {choice.name: apply(loaded, settings, choice) for choice in settings.baselines}
    return replace(loaded, baselines=MappingProxyType({**loaded.baselines, **chosen})) if chosen else loaded


def apply(loaded: Catalog, settings: Settings, choice: Choice) -> Baseline:
    """Return a baseline with what a user changes in it."""
    if choice.name not in loaded.baselines:
        hint = did_you_mean(choice.name, loaded.baselines, what="known baselines")
        raise ConfigError(f"there is no baseline `{choice.name}`", hint=hint, at=settings.at(choice))
    baseline = loaded.baselines[choice.name]
    for key in choice.editions:
        if key not in loaded.editions:
            hint = did_you_mean(key, loaded.editions, what="known editions")
            raise ConfigError(f"there is no edition `{key}`", hint=hint, at=settings.at(choice))
    for one in choice.off:
        if one.rule not in loaded.rules:
            hint = did_you_mean(one.rule, loaded.rules, what="known rules")
            raise ConfigError(f"there is no rule `{one.rule}`", hint=hint, at=settings.at(one))
        if one.rule in baseline.excluded:
            hint = f"remove the block; the reason there: {baseline.excluded[one.rule]}"
            raise ConfigError(f"{baseline.name} leaves {one.rule} out already", hint=hint, at=settings.at(one))
    off = {one.rule: SWITCHED_OFF + " ".join(one.reason.split()) for one in choice.off}
    return replace(
        baseline,
        excluded=MappingProxyType({**baseline.excluded, **off}),
        off=frozenset(off),
        editions=choice.editions or baseline.editions,
    )


def check(loaded: Catalog, folder: Path) -> None:
    """Hold a user's rules, scripts, steps and suites against each other. Raises ContentError for the first that has no partner."""
    if not loaded.site_subjects:
        hint = "write rules/NAME.yaml there, with scripts/NAME.sh, verify/test_NAME.py and a step in components/*.yml"
        raise ContentError("the folder of the site block holds no rules", hint=hint, at=Location(folder))
    for path in sorted(folder.iterdir()):
        if path.name not in FOLDERS and path.is_dir() and not MADE.match(path.name):
            raise ContentError(
                f"nothing is read from `{path.name}`", hint=did_you_mean(path.name, FOLDERS, what="folders"), at=Location(path)
            )
    check_orphans(loaded, folder)
    check_components(loaded, folder)
    for subject in sorted(loaded.site_subjects):
        check_script(loaded, folder, subject)
        check_suite(loaded, folder, subject)


def check_orphans(loaded: Catalog, folder: Path) -> None:
    """Refuse a script, suite or folder of files that no rule file belongs to."""
    found = [(path, path.stem) for path in sorted((folder / "scripts").glob("*.sh"))]
    found += [(path, path.stem.removeprefix("test_")) for path in sorted((folder / "verify").glob("test_*.py"))]
    found += [(path, path.name) for path in sorted((folder / "files").glob("*")) if path.is_dir()]
    for path, subject in found:
        if subject not in loaded.site_subjects:
            raise ContentError(f"`{subject}` has no rules", hint=f"write {folder / 'rules' / f'{subject}.yaml'}", at=Location(path, 1))


def steps(path: Path) -> dict[str, dict[str, int]]:
    """Return which subjects a component's marks name, by verb, with the line of each."""
    found: dict[str, dict[str, int]] = {"apply": {}, "check": {}, "prepare": {}}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if mark := MARK.fullmatch(line):
            found[mark["verb"]].setdefault(mark["subject"] or "", number)
    return found


def check_components(loaded: Catalog, folder: Path) -> None:
    """Ask that every subject is applied once, after the preparation, and checked; and that no step names another one."""
    applied: dict[str, Location] = {}
    checked: set[str] = set()
    for path in sorted((folder / "components").glob("*.yml")):
        if (loaded.folder / "components" / path.name).is_file():
            raise ContentError(f"the component `{path.stem}` is one of harness", hint="call it by another name", at=Location(path, 1))
        toe.load(path)  # a mark is a command like any other: what AWSTOE would refuse is told with the line of the source
        found = steps(path)
        for verb in ("apply", "check"):
            for subject, line in found[verb].items():
                if subject not in loaded.site_subjects:
                    hint = f"subjects of this folder: {', '.join(sorted(loaded.site_subjects))}"
                    raise ContentError(f"`harness:{verb} {subject}` names no subject of this folder", hint=hint, at=Location(path, line))
        for subject, line in found["apply"].items():
            if subject in applied:
                raise ContentError(f"{subject} is applied twice", hint=f"the first is at {applied[subject]}", at=Location(path, line))
            applied[subject] = Location(path, line)
        if found["apply"] and not found["prepare"]:
            line = min(found["apply"].values())
            raise ContentError("no step prepares the image", hint="put a step with `- harness:prepare` first", at=Location(path, line))
        checked |= set(found["check"])
    for subject in sorted(loaded.site_subjects):
        for verb, there in (("apply", set(applied)), ("check", checked)):
            if subject not in there:
                hint = f"add a step with `- harness:{verb} {subject}` to a document in {folder / 'components'}"
                raise ContentError(
                    f"no step does `harness:{verb} {subject}`", hint=hint, at=Location(folder / "rules" / f"{subject}.yaml", 1)
                )


def rule_lines(folder: Path, subject: str) -> dict[str, Location]:
    """Return where each rule of a subject stands."""
    document = locatedyaml.load(folder / "rules" / f"{subject}.yaml")
    return {str(rule["id"]): document.at("rules", index, "id") for index, rule in enumerate(document.value["rules"])}


def check_script(loaded: Catalog, folder: Path, subject: str) -> None:
    """Ask that a script names every rule of its subject, and no other rule of the folder's."""
    path = folder / "scripts" / f"{subject}.sh"
    rules = rule_lines(folder, subject)
    if not path.is_file():
        raise ContentError(
            f"there is no script for `{subject}`", hint=f"write {path}", at=Location(folder / "rules" / f"{subject}.yaml", 1)
        )
    lines = path.read_text("utf-8").splitlines()
    code = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    for rule, at in rules.items():
        if not re.search(rf"(?<![a-z0-9-]){re.escape(rule)}(?![a-z0-9-])", code):
            raise ContentError(
                f"{path.name} never names the rule {rule}", hint=f"`changed {rule} …` in apply, `verdict {rule} …` in check", at=at
            )
    for number, line in enumerate(lines, start=1):
        for word in re.findall(r"(?<![a-z0-9-])site-[a-z0-9-]*[a-z0-9]", line.split("#", 1)[0]):
            if word not in rules and word in loaded.rules:
                raise ContentError(
                    f"{word} is a rule of {loaded.rules[word].subject}", hint="name it in that script", at=Location(path, number)
                )


@dataclass(frozen=True, slots=True)
class Test:
    """One test function of a suite, and the rules that its decorators name."""

    name: str
    line: int
    rules: tuple[tuple[str, int], ...]


def tests(path: Path) -> Iterator[Test]:
    """Yield the test functions of a suite without running it."""
    try:
        tree = ast.parse(path.read_text("utf-8"), str(path))
    except SyntaxError as error:
        raise ContentError(f"not Python: {error.msg}", at=Location(path, error.lineno)) from None
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            named = [rule for decorator in node.decorator_list for rule in named_in(decorator, constants)]
            yield Test(node.name, node.lineno, tuple(named))


def named_in(decorator: ast.expr, constants: dict[str, ast.expr]) -> Iterator[tuple[str, int]]:
    """Yield the rules that a decorator names as text: `@rule("…")`, `pytest.param(…, marks=rule("…"))`."""
    for node in ast.walk(decorator):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "rule" and node.args:
            first = node.args[0]
            if isinstance(first, ast.Name) and first.id in constants:
                first = constants[first.id]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value, node.lineno


def check_suite(loaded: Catalog, folder: Path, subject: str) -> None:
    """Ask that each rule of a subject has a test, and each test one rule of the subject."""
    path = folder / "verify" / f"test_{subject}.py"
    rules = rule_lines(folder, subject)
    if not path.is_file():
        raise ContentError(f"there is no suite for `{subject}`", hint=f"write {path}", at=Location(folder / "rules" / f"{subject}.yaml", 1))
    judged: set[str] = set()
    for test in tests(path):
        if not test.rules:
            hint = 'mark it with @rule("site-…"), the id written out, so that it can be found without running the suite'
            raise ContentError(f"{test.name} judges no rule", hint=hint, at=Location(path, test.line))
        for rule, line in test.rules:
            if rule not in rules:
                what = f"is a rule of {loaded.rules[rule].subject}" if rule in loaded.rules else "is no rule"
                hint = did_you_mean(rule, rules, what="rules of this subject")
                raise ContentError(f"`{rule}` {what}", hint=hint, at=Location(path, line))
            judged.add(rule)
    for rule, at in rules.items():
        if rule not in judged:
            raise ContentError(f"no test judges the rule {rule}", hint=f'write one with @rule("{rule}") in {path}', at=at)


def digests(loaded: Catalog, baseline: Baseline) -> dict[str, str]:
    """Return the SHA-256 of what judges: the baseline's file, the suites and, with a user's folder, its rules and suites.

    The last is as `sha256sum rules/*.yaml verify/*.py | sha256sum` gives it in that folder.
    """
    found = evidence.digests(loaded.folder / "baselines" / f"{baseline.name}.yaml", SUITES)
    if (folder := loaded.site) is not None:
        files = [*sorted((folder / "rules").glob("*.yaml")), *sorted((folder / "verify").glob("*.py"))]
        lines = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in files)
        found["site"] = hashlib.sha256("".join(lines).encode()).hexdigest()
    return found
