"""Explain rules and controls: what, why, the expected value, where it is judged, how to fix it, and a waiver to paste."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any

from harness import site
from harness.catalog import STANDARDS
from harness.controls import by_control
from harness.errors import ContentError, UsageError
from harness.model import Answer, Environment, Severity
from harness.waivers import EXAMPLE_DAYS, example

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from pathlib import Path

    from harness.catalog import Catalog, Parameter
    from harness.controls import Edition, Item
    from harness.model import Control, Rule

KINDS = {"integer": "a whole number", "text": "a text", "flag": "true or false", "words": "words between commas"}
ANSWERS = {Answer.AUTOMATED: "automated", Answer.PARTLY: "partly: a person decides the rest", Answer.NOT_APPLICABLE: "not applicable"}


@dataclass(frozen=True, slots=True)
class Filters:
    """What the rules of a list have in common."""

    subject: str | None = None
    control: str | None = None
    severity: Severity | None = None
    edition: str | None = None
    """Key of the edition in which `control` stands; without `control`, rules that give evidence for any of its controls."""


def select(content: Catalog, which: str | None, filters: Filters) -> tuple[Rule, ...]:
    """Return the rules that an id, a control (`U-01`, `2.6.2`) or a subject names, as far as the filters let them.

    Raises UsageError with the nearest names when a word names nothing.
    """
    if filters.edition is not None and filters.edition not in STANDARDS:
        raise UsageError(f"there is no edition `{filters.edition}`", hint=f"editions: {', '.join(STANDARDS)}")
    if filters.subject is not None and filters.subject not in content.subjects:
        raise UsageError(f"there is no subject `{filters.subject}`", hint=near(filters.subject, content.subjects))
    found = named(content, which, filters.edition) if which is not None else tuple(content.rules.values())
    if filters.control is not None:
        wanted = {rule.id for rule in named(content, filters.control, filters.edition, only_controls=True)}
        found = tuple(rule for rule in found if rule.id in wanted)
    elif filters.edition is not None:
        found = tuple(rule for rule in found if any(in_edition(control, filters.edition) for control in rule.controls))
    return tuple(
        rule
        for rule in found
        if filters.subject in {None, rule.subject} and (filters.severity is None or rule.severity is filters.severity)
    )


def in_edition(control: Control, key: str | None) -> bool:
    """Tell whether a control belongs to an edition; every one does where none is named."""
    return key is None or (control.standard, control.edition) == STANDARDS[key]


def named(content: Catalog, which: str, edition: str | None, *, only_controls: bool = False) -> tuple[Rule, ...]:
    """Return the rules that a word names."""
    rules = content.rules
    if not only_controls and which in rules:
        return (rules[which],)
    found = tuple(
        rule for rule in rules.values() if any(one.id.lower() == which.lower() and in_edition(one, edition) for one in rule.controls)
    )
    if found or items(content, which, edition):
        return found
    if not only_controls and which in content.subjects:
        return tuple(rule for rule in rules.values() if rule.subject == which)
    known = {one for key, each in content.editions.items() if edition in {None, key} for one in each.items}
    known |= {control.id for rule in rules.values() for control in rule.controls if in_edition(control, edition)}
    what = "control" if only_controls or which[:1].isdigit() or which.upper().startswith("U-") else "rule, control or subject"
    words = sorted(known) if what == "control" else [*rules, *sorted(known), *content.subjects]
    raise UsageError(f"there is no {what} `{which}`", hint=near(which, words))


def near(word: str, known: Sequence[str]) -> str:
    """Name the nearest known words, or where to look."""
    found = get_close_matches(word.lower(), known, n=3) or get_close_matches(word.upper(), known, n=3)
    return f"did you mean {', '.join(found)}?" if found else "`harness rules` lists the rules, `harness rules --controls` the controls"


def items(content: Catalog, which: str, edition: str | None = None) -> list[tuple[Edition, Item]]:
    """Return the control that an id names, in each edition that has it."""
    return [
        (each, one)
        for key, each in content.editions.items()
        if edition in {None, key}
        for one in each.items.values()
        if one.control.id.lower() == which.lower()
    ]


def item_of(content: Catalog, control: Control) -> Item | None:
    """Return a control as its edition states it; None for a standard of which only the numbers are known."""
    for each in content.editions.values():
        if (each.standard, each.edition) == (control.standard, control.edition):
            return each.items.get(control.id)
    return None


def control_data(content: Catalog, control: Control) -> dict[str, Any]:
    """Return a control as a rule's plain data has it."""
    item = item_of(content, control)
    title = {"ko": item.title.ko, "en": item.title.en} if item else None
    return {"standard": control.standard, "edition": control.edition, "id": control.id, "title": title}


def parameter_data(content: Catalog, name: str) -> dict[str, Any]:
    """Return a parameter: what it may be, and its value in each baseline."""
    one = content.parameters[name]
    return {
        "description": one.description,
        "type": one.type,
        "minimum": one.minimum,
        "maximum": one.maximum,
        "pattern": one.pattern,
        "values": {baseline.name: baseline.parameters[name] for baseline in content.baselines.values()},
    }


def as_data(content: Catalog, rules: Sequence[Rule], baseline: str) -> list[dict[str, Any]]:
    """Return rules as plain data, with the values of a baseline."""
    chosen = content.baseline(baseline)
    return [
        {
            "id": rule.id,
            "subject": rule.subject,
            "title": {"ko": rule.title.ko, "en": rule.title.en},
            "severity": rule.severity.value,
            "rationale": rule.rationale,
            "fix": rule.fix,
            "controls": [control_data(content, control) for control in rule.controls],
            "applies_to": [environment.value for environment in Environment if environment in rule.applies_to],
            "elsewhere": rule.elsewhere,
            "parameters": {name: chosen.parameters[name] for name in rule.parameters},
            "expected": {name: parameter_data(content, name) for name in rule.parameters},
            "excluded": {name: each.excluded[rule.id] for name, each in content.baselines.items() if rule.id in each.excluded},
        }
        for rule in rules
    ]


def counted(rules: Sequence[object]) -> str:
    """Count rules in words."""
    return f"{len(rules)} rule{'' if len(rules) == 1 else 's'}"


def as_list(rules: Sequence[Rule]) -> str:
    """Return a line per rule."""
    width = max((len(rule.id) for rule in rules), default=0)
    lines = [f"{rule.id:{width}}  {rule.severity:6}  {rule.title.en}\n" for rule in rules]
    gap = "\n" if lines else ""
    return "".join(lines) + f"{gap}{counted(rules)}\n"


def as_text(content: Catalog, which: str, rules: Sequence[Rule], today: date, edition: str | None = None) -> str:
    """Return everything about a rule; or a control, in each edition that has it, with its rules; or a subject's rules."""
    if which in content.rules:
        return "\n".join(one_rule(content, rule, today) for rule in rules)
    controls = [one.control for _, one in items(content, which, edition)]
    controls += [one for one in by_control(rules) if one.id.lower() == which.lower() and in_edition(one, edition) and one not in controls]
    parts = [one_control(content, control, [rule for rule in rules if control in rule.controls]) for control in controls]
    return "\n".join(parts) if parts else as_list(rules)


def one_control(content: Catalog, control: Control, rules: Sequence[Rule]) -> str:
    """Return everything about a control of one edition, with the chosen rules."""
    item = item_of(content, control)
    if item is None:
        return f"{control}  (harness knows the numbers of this standard's sections)\n\n{indented(as_list(rules))}"
    lines = [f"{control}{f'  ({item.severity})' if item.severity else ''}", f"  {item.title.ko}", f"  {item.title.en}"]
    lines.append(f"  group       {item.group.ko} · {item.group.en}")
    told = (("good when", item.good), ("evidence", item.evidence), ("a person", item.ask), ("because", item.reason))
    lines.append(f"  answer      {ANSWERS[item.answer]}")
    lines += [f"  {word:11} {text.en}\n{'':14}{text.ko}" for word, text in told if text.en]
    if item.beside:
        lines.append(f"  given by    {'publishing: it is seen in AWS' if item.beside == 'publish' else 'the evidence of a run'}")
    return "\n".join(lines) + "\n" + (f"\n{indented(as_list(rules))}" if rules else "")


def indented(text: str) -> str:
    """Return text two columns to the right."""
    return "".join(f"  {line}" if line.strip() else line for line in text.splitlines(keepends=True))


def range_of(parameter: Parameter) -> str:
    """Say which values a parameter may have."""
    low, high = parameter.minimum, parameter.maximum
    if parameter.type == "integer" and (low is not None or high is not None):
        return f"{low if low is not None else '…'} to {high if high is not None else '…'}"
    return KINDS[parameter.type] + (f", each as {parameter.pattern}" if parameter.pattern else "")


@cache
def tests_of(suite: Path) -> tuple[site.Test, ...]:
    """Return the tests of a suite; read once, since one command may explain many rules."""
    return tuple(site.tests(suite))


def places(content: Catalog, rule: Rule) -> tuple[list[str], Path]:
    """Return the tests that judge a rule, as pytest names them, and the script that makes it so."""
    root = content.root_of(rule.subject)
    folder = root / "verify" if root == content.site else root.parent / "verify"
    suite = folder / f"test_{rule.subject}.py"
    try:
        tests = [test.name for test in tests_of(suite) if any(name == rule.id for name, _ in test.rules)]
    except (OSError, ContentError):
        tests = []
    where = f"{suite.parent.name}/{suite.name}"
    return [f"{where}::{test}" for test in tests] or [where], root / "scripts" / f"{rule.subject}.sh"


def one_rule(content: Catalog, rule: Rule, today: date) -> str:
    """Return everything about one rule."""
    lines = [f"{rule.id}  ({rule.severity})", f"  {rule.title.ko}", f"  {rule.title.en}", f"  why         {rule.rationale}"]
    for name in rule.parameters:
        values = {each.name: each.parameters[name] for each in content.baselines.values()}
        shown = " · ".join(f"{value or '(none)'} in {baseline}" for baseline, value in values.items())
        if len(set(values.values())) == 1:
            shown = f"{next(iter(values.values())) or '(none)'}"
        lines.append(f"  expected    {name} = {shown}   ({range_of(content.parameters[name])})")
        lines.append(f"{'':14}{content.parameters[name].description}")
    tests, script = places(content, rule)
    lines += [f"  {'checked by' if index == 0 else '':11} {test}" for index, test in enumerate(tests)]
    if script.is_file():
        lines.append(f"  made by     {script.parent.parent.name}/{script.parent.name}/{script.name}")
    lines.append(f"  judged on   {', '.join(environment.value for environment in Environment if environment in rule.applies_to)}")
    if rule.elsewhere:
        lines.append(f"{'':14}elsewhere: {rule.elsewhere}")
    lines += [f"  left out    of {name}: {each.excluded[rule.id]}" for name, each in content.baselines.items() if rule.id in each.excluded]
    lines.append(f"  fix         {rule.fix}")
    for index, control in enumerate(rule.controls):
        item = item_of(content, control)
        title = f"  {item.title.ko} · {item.title.en}" if item else ""
        lines.append(f"  {'controls' if index == 0 else '':11} {control}{title}")
    if not rule.controls:
        lines.append("  controls    none: it is about the image itself")
    lines.append(f"  to accept a risk for {EXAMPLE_DAYS} days, in waivers.yaml:")
    lines += [f"    {line}" for line in example(rule.id, today).splitlines()]
    return "\n".join(lines) + "\n"


def controls_data(content: Catalog, editions: Sequence[Edition]) -> list[dict[str, Any]]:
    """Return the controls of editions as plain data, each with its answer and its rules."""
    rules = by_control(content.rules.values())

    def text(value: Any) -> dict[str, str] | None:  # noqa: ANN401 - a Title
        return {"ko": value.ko, "en": value.en} if value.en else None

    return [
        {
            "standard": each.standard,
            "edition": each.edition,
            "id": one.control.id,
            "title": text(one.title),
            "group": text(one.group),
            "severity": one.severity.value if one.severity else None,
            "good": text(one.good),
            "answer": one.answer.value,
            "ask": text(one.ask),
            "reason": text(one.reason),
            "evidence": text(one.evidence),
            "beside": one.beside or None,
            "rules": rules.get(one.control, []),
        }
        for each in editions
        for one in each.items.values()
    ]


def controls_text(content: Catalog, editions: Sequence[Edition]) -> str:
    """Return a line per control."""
    rules = by_control(content.rules.values())
    parts = []
    for each in editions:
        lines = [f"{each.name}: {len(each.items)} controls\n"]
        for one in each.items.values():
            number = len(rules.get(one.control, []))
            lines.append(f"{one.control.id:7} {one.severity or '':6}  {one.answer:14}  {number:3} rules  {one.title.ko} · {one.title.en}\n")
        parts.append("".join(lines))
    return "\n".join(parts)


def controls_markdown(content: Catalog, editions: Sequence[Edition]) -> str:
    """Return a table per edition: each control with its answer and the rules, for the documentation."""
    rules = by_control(content.rules.values())
    parts = []
    for each in editions:
        counts = {answer: sum(one.answer is answer for one in each.items.values()) for answer in Answer}
        told = ", ".join(f"{counts[answer]} {answer.replace('_', ' ')}" for answer in Answer)
        lines = [f"{each.title.ko} ({each.title.en}), {each.published}: {len(each.items)} controls, {told}.", ""]
        lines += [
            "| id | title | severity | answer | rules, and what a person asks or why nothing is asked |",
            "| --- | --- | --- | --- | --- |",
        ]
        for one in each.items.values():
            names = ", ".join(f"`{rule}`" for rule in rules.get(one.control, []))
            why = " ".join(filter(None, (one.ask.en and f"Ask: {one.ask.en}", one.reason.en)))
            text = " — ".join(filter(None, (names, why))).replace("|", "\\|")
            title = f"{one.title.ko}<br>{one.title.en}".replace("|", "\\|")
            lines.append(f"| {one.control.id} | {title} | {one.severity or '-'} | {one.answer.replace('_', ' ')} | {text} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"
