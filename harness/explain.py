"""Explain rules: what, why, the expected value, where it is judged, which controls it answers, how to fix it by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.model import Environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.catalog import Catalog
    from harness.model import Rule


def select(content: Catalog, which: str | None) -> tuple[Rule, ...]:
    """Return the rules that an id or a control (`U-01`, `2.6.2`) names; all of them without one.

    Raises UsageError when it names nothing.
    """
    if which is None:
        return tuple(content.rules.values())
    if which in content.rules:
        return (content.rules[which],)
    found = tuple(rule for rule in content.rules.values() if any(control.id.lower() == which.lower() for control in rule.controls))
    if found:
        return found
    if which in content.subjects:
        return tuple(rule for rule in content.rules.values() if rule.subject == which)
    if which[:1].isdigit() or which.upper().startswith("U-"):
        raise UsageError(f"no rule gives evidence for `{which}`", hint="`harness rules` lists the rules and their controls")
    content.rule(which)
    return ()


def as_data(content: Catalog, rules: Sequence[Rule], baseline: str) -> list[dict[str, Any]]:
    """Return the rules as plain data, with the values of a baseline."""
    chosen = content.baseline(baseline)
    return [
        {
            "id": rule.id,
            "subject": rule.subject,
            "title": {"ko": rule.title.ko, "en": rule.title.en},
            "severity": rule.severity.value,
            "rationale": rule.rationale,
            "fix": rule.fix,
            "controls": [{"standard": control.standard, "edition": control.edition, "id": control.id} for control in rule.controls],
            "applies_to": [environment.value for environment in Environment if environment in rule.applies_to],
            "elsewhere": rule.elsewhere,
            "parameters": {name: chosen.parameters[name] for name in rule.parameters},
            "excluded": chosen.excluded.get(rule.id),
        }
        for rule in rules
    ]


def as_text(content: Catalog, rules: Sequence[Rule], baseline: str, *, whole: bool) -> str:
    """Return a line per rule, or, with `whole`, everything about each."""
    if not whole:
        width = max((len(rule.id) for rule in rules), default=0)
        lines = [f"{rule.id:{width}}  {rule.severity:6}  {rule.title.en}\n" for rule in rules]
        return "".join(lines) + f"\n{len(rules)} rules\n"
    return "\n".join(one(content, rule, baseline) for rule in rules)


def one(content: Catalog, rule: Rule, baseline: str) -> str:
    """Return everything about one rule."""
    chosen = content.baseline(baseline)
    lines = [f"{rule.id}  ({rule.severity})", f"  {rule.title.en}", f"  {rule.title.ko}", f"  why         {rule.rationale}"]
    lines.extend(f"  value       {name} = {chosen.parameters[name]}   {content.parameters[name].description}" for name in rule.parameters)
    lines.append(f"  judged on   {', '.join(environment.value for environment in Environment if environment in rule.applies_to)}")
    if rule.elsewhere:
        lines.append(f"              elsewhere: {rule.elsewhere}")
    if rule.id in chosen.excluded:
        lines.append(f"  left out    of {baseline}: {chosen.excluded[rule.id]}")
    lines.append(f"  controls    {', '.join(map(str, rule.controls)) or 'none'}")
    lines.append(f"  fix         {rule.fix}")
    return "\n".join(lines) + "\n"
