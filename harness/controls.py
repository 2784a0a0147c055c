"""Controls as data: what each edition of a standard asks, how it is answered, and what a run's results say of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from harness import locatedyaml
from harness.errors import ContentError
from harness.model import Answer, Control, ControlResult, Severity, Status, Title, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from harness.catalog import Baseline, Catalog
    from harness.locatedyaml import Located
    from harness.model import Result, Rule, Run
    from harness.specs import EditionSpec, ItemSpec, TitleSpec

KEPT = "services_kept"
"""The parameter that leaves services running on purpose: then a rule passes without a look at how they are set up."""
NOTHING = Title("", "")
OWN = Title("사이트 규칙이 이 항목이 묻는 것을 모두 점검하는지 확인", "Is what the rules of the site folder check all that the item asks?")
"""For a control that we leave out, and that a user's own rules name."""


@dataclass(frozen=True, slots=True)
class Item:
    """One control as its edition states it, and the answer to it."""

    control: Control
    title: Title
    group: Title
    severity: Severity | None
    good: Title
    """What it is judged by, in our words; empty where the standard asks for more than a setting."""
    answer: Answer
    ask: Title
    """What a person must look at; for `partly`."""
    reason: Title
    """Why nothing is asked here; for `not_applicable`."""
    evidence: Title
    """What harness hands over; where it is worth saying."""
    beside: str
    """`publish` or `run`: what gives the evidence where no rule does."""
    kept: tuple[str, ...]
    """Units that make it a question for a person once they are kept running on purpose."""


@dataclass(frozen=True, slots=True)
class Edition:
    """One edition of a standard, with every control that it has."""

    key: str
    """As rules name it: `kisa-unix-2026`."""
    standard: str
    edition: str
    title: Title
    published: str
    items: Mapping[str, Item] = field(repr=False)

    @property
    def name(self) -> str:
        """What people call it; never without the edition."""
        return f"{self.standard} {self.edition}"


def load(folder: Path, standards: Mapping[str, tuple[str, str]]) -> dict[str, Edition]:
    """Load every edition of a folder. Raises ContentError with file and line.

    `standards` says which key stands for which standard and edition; their order is the order of the editions.
    """
    found = {path.stem: edition(path, standards) for path in sorted(folder.glob("*.yaml"))}
    return {key: found[key] for key in standards if key in found}


def edition(path: Path, standards: Mapping[str, tuple[str, str]]) -> Edition:
    """Load one edition."""
    from harness import specs

    document = locatedyaml.load(path)
    spec = specs.validated(specs.EditionSpec, document)
    if standards.get(path.stem) != (spec.standard, spec.edition):
        raise ContentError(
            f"{path.stem} is no key of {spec.standard} {spec.edition}", hint=f"keys: {', '.join(standards)}", at=document.at("edition")
        )
    items: dict[str, Item] = {}
    for index, one in enumerate(spec.controls):
        if one.id in items:
            raise ContentError(f"{one.id} is there twice", at=document.at("controls", index, "id"))
        items[one.id] = item(spec, one, document, index)
    return Edition(path.stem, spec.standard, spec.edition, spec.title.title, spec.published, MappingProxyType(items))


def item(spec: EditionSpec, one: ItemSpec, document: Located, index: int) -> Item:
    """Check one control against what the schema cannot say: each answer comes with what makes it honest."""
    needed = {Answer.PARTLY: "ask", Answer.NOT_APPLICABLE: "reason"}
    for answer, key in needed.items():
        if (getattr(one, key) is not None) != (one.answer is answer):
            raise ContentError(
                f"{one.id}: `{key}` belongs to the answer `{answer}`, and to no other", at=document.at("controls", index, "id")
            )
    if one.beside is not None and one.answer is not Answer.PARTLY:
        raise ContentError(f"{one.id}: `beside` belongs to the answer `partly`", at=document.at("controls", index, "beside"))

    def told(text: TitleSpec | None) -> Title:
        return text.title if text is not None else NOTHING

    return Item(
        control=Control(standard=spec.standard, edition=spec.edition, id=one.id),
        title=one.title.title,
        group=one.group.title,
        severity=one.severity,
        good=told(one.good),
        answer=one.answer,
        ask=told(one.ask),
        reason=told(one.reason),
        evidence=told(one.evidence),
        beside=one.beside or "",
        kept=tuple(one.kept),
    )


def by_control(rules: Iterable[Rule]) -> dict[Control, list[str]]:
    """Turn the mapping around: which rules give evidence for a control."""
    found: dict[Control, list[str]] = {}
    for rule in rules:
        for control in rule.controls:
            found.setdefault(control, []).append(rule.id)
    return found


def unanswered(editions: Iterable[Edition], rules: Iterable[Rule]) -> list[str]:
    """Name every control whose answer does not fit the rules: automated or collected by none, or named though nothing is asked."""
    named = by_control(rules)
    problems: list[str] = []
    for each in editions:
        for one in each.items.values():
            has = bool(named.get(one.control))
            if one.answer is Answer.AUTOMATED and not has:
                problems.append(f"{one.control} is automated, and no rule names it")
            elif one.answer is Answer.PARTLY and not has and not one.beside:
                problems.append(f"{one.control} is answered partly, and nothing collects its evidence")
            elif one.answer is Answer.PARTLY and has and one.beside:
                problems.append(f"{one.control} says `beside`, though rules give its evidence")
            elif one.answer is Answer.NOT_APPLICABLE and has:
                problems.append(f"{one.control} is not applicable, yet a rule names it: {named[one.control][0]}")
    return problems


@dataclass(frozen=True, slots=True)
class Judged:
    """What a run knows when it answers controls."""

    results: Mapping[str, Result]
    excluded: Mapping[str, str]
    """Rules that the baseline leaves out, with the reason."""
    off: frozenset[str]
    """Those of them that a user has switched off."""
    kept: frozenset[str]
    """Units that `services_kept` leaves running."""


def onto(run: Run, content: Catalog, baseline: Baseline) -> Run:
    """Return a run with what its results say of every control that counts; the last step, since a waiver is part of the answer."""
    kept = frozenset(run.parameters.get(KEPT, "").replace(",", " ").split())
    judged = Judged({result.rule: result for result in run.results}, baseline.excluded, baseline.off, kept)
    rules = by_control(content.rules.values())
    items = [one for key in content.counting(baseline) for one in content.editions[key].items.values()]
    return replace(run, controls=tuple(answered(one, rules.get(one.control, []), judged) for one in items))


def answered(one: Item, rules: Sequence[str], judged: Judged) -> ControlResult:
    """Answer one control."""
    if one.answer is Answer.NOT_APPLICABLE and rules:
        one = replace(one, answer=Answer.PARTLY, ask=OWN)
    status, reason = verdict(one, rules, judged)
    control = one.control
    return ControlResult(control.standard, control.edition, control.id, one.title, one.severity, one.answer, status, tuple(rules), reason)


def verdict(one: Item, rules: Sequence[str], judged: Judged) -> tuple[Verdict, Title]:
    """Derive a control's status: what is bad hides what is not known, and that hides what is good."""
    there = [judged.results[rule] for rule in rules if rule in judged.results]
    for status, bad in ((Verdict.VULNERABLE, Status.FAIL), (Verdict.ERROR, Status.ERROR)):
        if found := [result for result in there if bad in {result.status, result.was}]:
            return status, named(found)
    if question := chosen_by_the_user(one, rules, judged):
        return Verdict.MANUAL, question
    match one.answer:
        case Answer.NOT_APPLICABLE:
            return Verdict.NOT_APPLICABLE, one.reason
        case Answer.PARTLY:
            return Verdict.MANUAL, one.ask
        case Answer.AUTOMATED:
            return decided(rules, there, judged)


def chosen_by_the_user(one: Item, rules: Sequence[str], judged: Judged) -> Title | None:
    """Return what a person must answer for because the configuration says so: a rule switched off, a service kept running."""
    if off := ", ".join(rule for rule in rules if rule in judged.off):
        return Title(f"설정에서 제외한 규칙({off})의 사유와 승인을 확인", f"switched off by the configuration: {off}; who approved it?")
    if kept := ", ".join(unit for unit in one.kept if unit in judged.kept):
        return Title(f"{KEPT}에 따라 운영하는 서비스({kept})의 설정을 확인", f"{KEPT} keeps {kept}: is it set up as the item asks?")
    return None


def decided(rules: Sequence[str], there: Sequence[Result], judged: Judged) -> tuple[Verdict, Title]:
    """Decide by rules none of which is bad: good only where every one has a result, and one at least was judged."""
    if unjudged := len(rules) - len(there):
        return Verdict.MANUAL, Title("일부 규칙만 점검함", f"{unjudged} of its rules were not judged in this run")
    if not all(result.status is Status.NOT_APPLICABLE for result in there):
        return Verdict.GOOD, NOTHING
    reasons = "; ".join(dict.fromkeys(result.reason for result in there))
    if all(result.rule in judged.excluded for result in there):
        return Verdict.NOT_APPLICABLE, Title(reasons, reasons)
    return Verdict.MANUAL, Title(f"이 대상에서는 점검할 수 없음: {reasons}", f"cannot be judged on this target: {reasons}")


def named(results: Sequence[Result]) -> Title:
    """Name the rules that decided; an accepted one says so."""
    text = ", ".join(f"{result.rule}{' (waived)' if result.status is Status.WAIVED else ''}" for result in results)
    return Title(text, text)
