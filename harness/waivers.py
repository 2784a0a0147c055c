"""Waivers: what the owner of a risk accepts, until when and with whose approval; the true status stays visible."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from harness import locatedyaml
from harness.errors import ContentError, UsageError
from harness.model import Result, Run, Status, Waiver

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from harness.locatedyaml import Located

NAME = "waivers.yaml"
TIMEZONE = "Asia/Seoul"
"""Where the last valid day ends, unless the file names another timezone."""
WARN_DAYS = 30
CATEGORIES = ("risk-accepted", "compensating-control", "technical-limit", "false-positive", "in-progress")
KEYS = ("rule", "target", "reason", "category", "owner", "approver", "ticket", "expires")
EXAMPLE = f"{NAME} of `harness init` shows one"


EXAMPLE_DAYS = 90


def example(rule: str, today: date) -> str:
    """Return a whole waivers file that waives one rule, to paste and fill in; it can be read as it is."""
    return (
        "waivers:\n"
        f"  - rule: {rule}\n"
        '    target: "*"                # a source, a baseline, a URI or a host: al2, "web-*"\n'
        "    reason: Why it cannot pass, and what makes up for it.\n"
        f"    category: risk-accepted    # {', '.join(CATEGORIES[1:])}\n"
        "    owner: Who answers for the risk\n"
        "    approver: Who approved it\n"
        "    ticket: SEC-1234\n"
        f"    expires: {today + timedelta(days=EXAMPLE_DAYS)}        # the last valid day, in Asia/Seoul\n"
    )


@dataclass(frozen=True, slots=True)
class Applied:
    """Results after the waivers, and what a reader must know of the waivers themselves."""

    results: tuple[Result, ...]
    waivers: tuple[Waiver, ...]
    """Those that name the target and a rule that was judged."""
    warnings: tuple[str, ...]


def load(path: Path, known: Collection[str]) -> tuple[Waiver, ...]:
    """Read a waivers file. Raises ContentError with file and line, also for a rule that is not among `known`."""
    document = locatedyaml.load(path)
    top = document.value if document.value is not None else {}
    if not isinstance(top, dict) or not isinstance(top.get("waivers", []), list | None):
        raise ContentError("a waivers file holds `waivers:` with a list", hint=EXAMPLE, at=document.at("waivers"))
    if extra := sorted(str(key) for key in set(top) - {"waivers", "timezone"}):
        raise ContentError(f"`{extra[0]}` cannot stand here", hint="the two keys are waivers and timezone", at=document.at(extra[0]))
    timezone = top.get("timezone", TIMEZONE)
    if not isinstance(timezone, str) or zone(timezone) is None:
        raise ContentError(
            f"`{timezone}` is no timezone", hint="an IANA name, such as Asia/Seoul or Europe/Berlin", at=document.at("timezone")
        )
    waivers = tuple(one(document, index, entry, timezone, known) for index, entry in enumerate(top.get("waivers") or ()))
    first: dict[tuple[str, str], int] = {}
    for index, waiver in enumerate(waivers):
        before = first.setdefault((waiver.rule, waiver.target), index)
        if before != index:
            line = document.at("waivers", before).line
            raise ContentError(
                f"{waiver.rule} is waived twice for `{waiver.target}`",
                hint=f"remove one of the two; the first is on line {line}",
                at=document.at("waivers", index),
            )
    return waivers


def one(document: Located, index: int, entry: object, timezone: str, known: Collection[str]) -> Waiver:
    """Read one entry: every key is there, none is empty."""
    if not isinstance(entry, dict):
        raise ContentError("a waiver is a map", hint=EXAMPLE, at=document.at("waivers", index))
    for key in entry:
        if key not in KEYS:
            raise ContentError(f"a waiver has no `{key}`", hint=f"its keys: {', '.join(KEYS)}", at=document.at("waivers", index, key))
    values: dict[str, Any] = {}
    for key in KEYS:
        at = document.at("waivers", index, key)
        value = entry.get(key)
        if value is None or value == "":
            raise ContentError(f"a waiver needs `{key}`", hint="an assessor asks for each of them", at=at)
        if key == "expires":
            values[key] = last_day(value, document, index)
        elif isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            values[key] = " ".join(str(value).split())
        else:
            raise ContentError(f"`{key}` must be a text", at=at)
    if values["rule"] not in known:
        from harness.config.suggestions import did_you_mean

        raise ContentError(
            f"there is no rule `{values['rule']}`",
            hint=did_you_mean(values["rule"], known, what="known rules"),
            at=document.at("waivers", index, "rule"),
        )
    if values["category"] not in CATEGORIES:
        raise ContentError(
            f"`{values['category']}` is no category", hint=f"one of {', '.join(CATEGORIES)}", at=document.at("waivers", index, "category")
        )
    return Waiver(**values, timezone=timezone)


def last_day(value: object, document: Located, index: int) -> date:
    """Read the last valid day: a calendar day without a time, since an hour would mean another day elsewhere."""
    at = document.at("waivers", index, "expires")
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        try:
            return date.fromisoformat(value)
        except ValueError as error:
            raise ContentError(f"`{value}`: {error}", at=at) from None
    raise ContentError(f"`expires` is the last valid day, given is `{value}`", hint="for example 2026-12-31", at=at)


def zone(name: str) -> ZoneInfo | None:
    """Return a timezone by its IANA name; None where there is none of that name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def days_left(waiver: Waiver, now: datetime) -> int:
    """Count the days after today on which a waiver still holds: 0 on its last day, negative once it has expired.

    `now` must know its timezone; the waiver's own decides which day it is.
    """
    if now.tzinfo is None:
        raise ValueError("a moment without a timezone has no day")
    return (waiver.expires - now.astimezone(ZoneInfo(waiver.timezone)).date()).days


def expired(waiver: Waiver, now: datetime) -> bool:
    """Tell whether the last valid day is over."""
    return days_left(waiver, now) < 0


def names(target: Mapping[str, str], baseline: str) -> frozenset[str]:
    """Return what a waiver may call a target: source, baseline, URI, and the URI's host or name."""
    uri = target.get("uri", "")
    place = uri.partition("://")[2]
    found = {target.get("source", ""), baseline, uri, place, re.sub(r":[0-9]+$", "", place.rpartition("@")[2])}
    return frozenset(found - {""})


def covers(waiver: Waiver, rule: str, target: Collection[str]) -> bool:
    """Tell whether a waiver speaks of a rule on a target with these names, whatever the date."""
    return waiver.rule == rule and any(fnmatchcase(name, waiver.target) for name in target)


def told(waiver: Waiver) -> str:
    """Name a waiver in a few words."""
    return f"waiver of {waiver.rule} for `{waiver.target}` ({waiver.ticket}, owner {waiver.owner})"


def apply(waivers: Sequence[Waiver], results: Iterable[Result], target: Collection[str], now: datetime) -> Applied:
    """Waive what does not pass and is accepted today; an expired waiver leaves the true status and is named in it.

    Of several that cover a rule the one that holds longest counts. A rule that fails here and is waived elsewhere only is told: the
    pattern may be mistyped.
    """
    judged: list[Result] = []
    used: list[Waiver] = []
    warnings: list[str] = []
    for result in results:
        covering = sorted((waiver for waiver in waivers if covers(waiver, result.rule, target)), key=lambda waiver: waiver.expires)
        used.extend(covering)
        if not covering:
            judged.append(result)
            if result.status in {Status.FAIL, Status.ERROR}:
                elsewhere = [waiver for waiver in waivers if waiver.rule == result.rule]
                warnings.extend(f"{told(waiver)} names no target of this run: {', '.join(sorted(target))}" for waiver in elsewhere)
            continue
        waiver = covering[-1]
        left = days_left(waiver, now)
        if result.status not in {Status.FAIL, Status.ERROR}:
            warnings.append(f"{told(waiver)} is not needed: the status is {result.status}; remove it")
            judged.append(result)
        elif left < 0:
            warnings.append(f"{told(waiver)} expired on {waiver.expires}")
            judged.append(replace(result, reason="; ".join(filter(None, (result.reason, f"{told(waiver)} expired on {waiver.expires}")))))
        else:
            if left <= WARN_DAYS:
                warnings.append(f"{told(waiver)} expires in {left} days, on {waiver.expires}")
            judged.append(waived(result, waiver))
    return Applied(tuple(judged), tuple(dict.fromkeys(used)), tuple(dict.fromkeys(warnings)))


def onto(run: Run, waivers: Sequence[Waiver]) -> tuple[Run, tuple[str, ...]]:
    """Return a run after the waivers, as of its end, and the warnings about them."""
    applied = apply(waivers, run.results, names(run.target, run.baseline), run.finished)
    return replace(run, results=applied.results, waivers=applied.waivers), applied.warnings


def waived(result: Result, waiver: Waiver) -> Result:
    """Return a result as accepted; what it was, and what was observed, stay in it."""
    accepted = f"{waiver.category}, {waiver.ticket}, approved by {waiver.approver}, until {waiver.expires}: {waiver.reason}"
    why = f"; was {result.status}: {result.reason}" if result.reason else ""
    return replace(result, status=Status.WAIVED, was=result.status, reason=accepted + why)


def of(path: Path | None, beside: Path, known: Collection[str]) -> tuple[Waiver, ...]:
    """Read the named file, else the one in the folder `beside` if there is one. Raises UsageError for a named file that is not there."""
    if path is not None and not path.is_file():
        raise UsageError(f"there is no waivers file {path}")
    chosen = path or beside / NAME
    return load(chosen, known) if chosen.is_file() else ()
