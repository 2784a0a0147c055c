"""Reads the mutations of each subject, strictly, and lets a family of rules share one text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness.errors import ContentError, Location

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FOLDER = Path(__file__).parent
KEYS = {"rule", "rules", "name", "baselines", "needs", "apply", "restore", "also", "alone", "status"}
BASELINES = ("al2", "al2023")
NEEDS = {"vm", "restart"}
"""A virtual machine; and one that is restarted before the rule is judged."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One way to break one setting."""

    rule: str
    name: str
    apply: str
    """Bash text, after lib.sh; `$it` is what the family says of this rule."""
    restore: str = ""
    """What no file can put back: bash text that runs when the files are as they were."""
    it: str = ""
    baselines: tuple[str, ...] = BASELINES
    needs_vm: bool = False
    """It cannot be judged in a container; a machine with a kernel of its own uses it."""
    restarted: bool = False
    """It takes effect at the next start only, and the machine that it was made on is thrown away."""
    also: Mapping[str, str] = field(default_factory=dict)
    """Other rules that tell the truth when they report it too, each with the reason."""
    alone: bool = False
    """It would disturb others that are tried at the same time."""
    status: str = "fail"
    """What the rule is to say; `error` where the break itself hides the answer."""

    @property
    def subject(self) -> str:
        """The subject, which is the file's name."""
        return self.rule.partition("-")[0]

    @property
    def title(self) -> str:
        """The rule and how it is broken."""
        return f"{self.rule}: {self.name}"


def load(folder: Path = FOLDER) -> tuple[Mutation, ...]:
    """Return the mutations of all subjects. Raises ContentError for what a file must not hold."""
    return tuple(mutation for path in sorted(folder.glob("*.yaml")) for mutation in read(path))


def read(path: Path) -> Sequence[Mutation]:
    """Return the mutations of one file."""
    entries: Any = yaml.safe_load(path.read_text("utf-8"))
    found: list[Mutation] = []
    for number, entry in enumerate(entries or (), 1):
        if unknown := set(entry) - KEYS:
            raise ContentError(f"mutation {number}: no such key: {', '.join(sorted(unknown))}", at=Location(path))
        family = entry.get("rules") or {entry.get("rule"): ""}
        for rule, it in family.items():
            found.append(made(entry, rule, it, path, number))
    titles = [each.title for each in found]
    if twice := sorted({title for title in titles if titles.count(title) > 1}):
        raise ContentError(f"comes twice: {twice[0]}", at=Location(path))
    return found


def made(entry: Mapping[str, Any], rule: object, it: object, path: Path, number: int) -> Mutation:
    """Make one mutation of an entry."""
    mutation = Mutation(
        rule=str(rule),
        name=str(entry.get("name", "")),
        apply=str(entry.get("apply", "")),
        restore=str(entry.get("restore", "")),
        it=str(it),
        baselines=tuple(entry.get("baselines", BASELINES)),
        needs_vm=entry.get("needs") in NEEDS,
        restarted=entry.get("needs") == "restart",
        also={str(name): str(reason) for name, reason in entry.get("also", {}).items()},
        alone=bool(entry.get("alone", False)),
        status=str(entry.get("status", "fail")),
    )
    wrong = ""
    if not mutation.name or not mutation.apply.strip():
        wrong = "has no name or does nothing"
    elif mutation.subject != path.stem:
        wrong = f"is about {mutation.rule}, which is not of {path.stem}"
    elif not set(mutation.baselines) <= set(BASELINES) or mutation.status not in {"fail", "error"}:
        wrong = "names an unknown baseline or status"
    elif entry.get("needs", "vm") not in NEEDS:
        wrong = "needs what nobody has"
    elif not all(len(reason) > 15 for reason in mutation.also.values()):
        wrong = "has another rule without a reason"
    if wrong:
        raise ContentError(f"mutation {number} {wrong}", at=Location(path))
    return mutation
