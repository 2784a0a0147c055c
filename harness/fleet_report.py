"""How the audit of a fleet is told: to people as a table of hosts and of rules, to programs as data."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TextIO

from harness import fleet_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from harness.fleet import Summary
    from harness.fleet_store import Row, Store
    from harness.model import Rule

MOST_RULES = 15
MOST_CLEAN = 40
"""Clean hosts beyond this number are counted, not listed."""


def as_data(store: Store, found: Summary) -> dict[str, Any]:
    """Return a fleet as data, with its rules and errors counted."""
    return {**fleet_store.as_data(store, found.rows, found.finished), **counted(found)}


def counted(found: Summary) -> dict[str, Any]:
    """Return how many hosts each rule and each error is about."""
    return {
        "rules": [{"rule": finding.rule, "severity": finding.severity, "hosts": number} for finding, number in found.rules],
        "errors": [{"error": reason, "hosts": number} for reason, number in found.errors],
    }


def progress(row: Row, counts: Mapping[str, int], total: int) -> str:
    """Tell in one line what became of a host, and how far the whole is."""
    if row.judged:
        grave = ", ".join(f"{row.failed(severity)} {severity}" for severity in ("high", "medium", "low") if row.failed(severity))
        errors = row.counts.get("error", 0)
        said = ", ".join(filter(None, (grave, f"{errors} error" if errors else ""))) or "clean"
    else:
        said = row.error if row.uri in row.error or row.name in row.error else f"{row.uri}: {row.error}"
    return f"{counts['done']}/{total} hosts, {counts['failing']} failing, {counts['missed']} unreachable │ {row.name}: {said}"


def show(found: Summary, total: int, rules: Mapping[str, Rule], stream: TextIO | None = None, *, missed: str = "unreachable") -> None:
    """Print a fleet of `total` hosts for people: their counts, the rules that most miss, why hosts could not be judged, the sum."""
    from rich.console import Console
    from rich.text import Text

    out = stream or sys.stdout
    console = Console(file=out, highlight=False, soft_wrap=not out.isatty(), width=None if out.isatty() else 160)
    clean = [row for row in found.rows if row.judged and not row.bad]
    unlisted = set(map(id, clean[MOST_CLEAN:]))
    console.print(table([row for row in found.rows if id(row) not in unlisted]))
    if len(clean) > MOST_CLEAN:
        console.print(Text(f"and {len(clean) - MOST_CLEAN} hosts more without findings"))
    if found.rules:
        console.print(Text("\nhosts  rule that is not in order there"))
        for finding, number in found.rules[:MOST_RULES]:
            title = rules[finding.rule].title.en if finding.rule in rules else ""
            console.print(Text(f"  {number:5}  {finding.rule}  ({finding.severity})  {title}"))
        if len(found.rules) > MOST_RULES:
            console.print(Text(f"        and {len(found.rules) - MOST_RULES} rules more; --format json has all"))
    if found.errors:
        console.print(Text("\nhosts  why they could not be judged"))
        for reason, number in found.errors:
            console.print(Text(f"  {number:5}  {reason}"))
    waiting = f", {found.waiting} not asked" if found.waiting else ""
    sums = f"{found.judged - found.failing} without findings, {found.failing} failing, {len(found.rows) - found.judged} {missed}"
    console.print(Text(f"\n{total} hosts: {sums}{waiting}"))


def table(rows: list[Row]) -> Table:
    """Return the table of hosts."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    made.add_column("host", no_wrap=True)
    made.add_column("baseline")
    for name in ("pass", "fail high", "medium", "low", "error", "n/a", "waived", "s"):
        made.add_column(name, justify="right")
    for row in rows:
        if not row.judged:
            made.add_row(Text(row.name), "", "", "", "", "", "host", "", "", f"{row.seconds:.1f}", style="magenta")
            continue
        failed = (row.failed(severity) for severity in ("high", "medium", "low"))
        numbers = (row.counts["pass"], *failed, row.counts["error"], row.counts["not_applicable"], row.counts["waived"])
        cells = (str(number) if number else "·" for number in numbers)
        made.add_row(Text(row.name), row.baseline, *cells, f"{row.seconds:.1f}", style="red" if row.bad else None)
    return made
