"""Schedule expressions of image pipelines: what is valid, and when the next run is.

Six fields, as the service takes them since 2021: `cron(minute hour day-of-month month day-of-week year)`, one of the two day fields
being `?`. `rate(n unit)` counts from the creation of the pipeline.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MONTHS: Final = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS: Final = {name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), 1)}
_UNITS: Final = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
_FIELDS: Final = 6
_SATURDAY: Final = 5
_HORIZON_DAYS: Final = 366 * 8
"""A 29 February is at most eight years away."""


class ScheduleError(ValueError):
    """An expression or timezone that the service refuses; the text says why."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A valid expression in its timezone."""

    expression: str
    timezone: str
    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    on_day: Callable[[date], bool] = lambda _: False
    every: timedelta | None = None
    """Set for `rate(…)` only."""

    def next_runs(self, after: datetime, *, since: datetime | None = None) -> Iterator[datetime]:
        """Yield the moments after `after`, in UTC and in order; endless for `rate`, which counts from `since`."""
        if self.every is not None:
            start = since or after
            count = max(0, (after - start) // self.every)
            while True:
                count += 1
                yield start + count * self.every
        zone = ZoneInfo(self.timezone)
        local = after.astimezone(zone)
        for days in range(_HORIZON_DAYS):
            day = local.date() + timedelta(days=days)
            if self.on_day(day):
                yield from (moment for moment in self._moments(day, zone) if moment > after)

    def next_run(self, after: datetime, *, since: datetime | None = None) -> datetime | None:
        """Return the first moment after `after`; None when a year field lies in the past."""
        return next(self.next_runs(after, since=since), None)

    def _moments(self, day: date, zone: ZoneInfo) -> list[datetime]:
        found = set()
        for hour in self.hours:
            for minute in self.minutes:
                moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).astimezone(UTC)
                # An hour that the change to summer time leaves out does not come back as itself.
                if moment.astimezone(zone).hour == hour:
                    found.add(moment)
        return sorted(found)


def parse(expression: str, timezone: str = "UTC") -> Schedule:
    """Read an expression. Raises ScheduleError."""
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ScheduleError(f"Unknown timezone '{timezone}'") from None
    if match := re.fullmatch(r"rate\(\s*([0-9]+)\s+([a-z]+)\s*\)", expression.strip()):
        return Schedule(expression, timezone, every=_rate(int(match[1]), match[2]))
    if match := re.fullmatch(r"cron\((.*)\)", expression.strip()):
        return _cron(expression, match[1], timezone)
    raise ScheduleError("the expression is neither cron(…) nor rate(…)")


def _rate(count: int, unit: str) -> timedelta:
    singular = unit.removesuffix("s")
    if singular not in _UNITS or count < 1 or (unit == singular) != (count == 1):
        raise ScheduleError(f"rate({count} {unit}): a positive number and minute(s), hour(s) or day(s), singular after 1")
    return count * _UNITS[singular]


def _cron(expression: str, inner: str, timezone: str) -> Schedule:
    fields = inner.split()
    if len(fields) < _FIELDS:
        raise ScheduleError(f"Invalid CRON expression: error at position {len(inner)}, details: Unexpected end of expression.")
    if len(fields) > _FIELDS:
        raise ScheduleError(f"Invalid CRON expression: {len(fields)} fields, {_FIELDS} are expected.")
    minute, hour, day, month, weekday, year = (field.upper() for field in fields)
    if (day == "?") == (weekday == "?"):
        raise ScheduleError("Invalid CRON expression: exactly one of day-of-month and day-of-week must be ?")
    months, years = _numbers(month, "month", 1, 12, _MONTHS), _numbers(year, "year", 1970, 2199)
    right_day = _weekday(weekday) if day == "?" else _day_of_month(day)

    def on_day(candidate: date) -> bool:
        return candidate.month in months and candidate.year in years and right_day(candidate)

    return Schedule(expression, timezone, _numbers(minute, "minute", 0, 59), _numbers(hour, "hour", 0, 23), on_day)


def _numbers(text: str, what: str, least: int, most: int, names: dict[str, int] | None = None) -> frozenset[int]:
    found = set[int]()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        if not part or (step and not step.isdecimal()) or step == "0" or part.endswith("/"):
            raise _wrong(what, text)
        if span == "*":
            start, end = least, most
        else:
            start = _number(first, what, names)
            end = _number(last, what, names) if dash else (most if step else start)
        if not least <= start <= most or not least <= end <= most or start > end:
            raise _wrong(what, text)
        found.update(range(start, end + 1, int(step or 1)))
    return frozenset(found)


def _number(text: str, what: str, names: dict[str, int] | None) -> int:
    if names and text in names:
        return names[text]
    if not re.fullmatch(r"[0-9]{1,4}", text):
        raise _wrong(what, text)
    return int(text)


def _wrong(what: str, text: str) -> ScheduleError:
    return ScheduleError(f"Invalid CRON expression: '{text}' is no {what}.")


def _last(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


def _day_of_month(text: str) -> Callable[[date], bool]:
    if text == "L":
        return lambda day: day.day == _last(day)
    if text == "LW":
        return lambda day: day.day == _working_day(day, _last(day))
    if match := re.fullmatch(r"([0-9]{1,2})W", text):
        wanted = next(iter(_numbers(match[1], "day-of-month", 1, 31)))
        return lambda day: wanted <= _last(day) and day.day == _working_day(day, wanted)
    days = _numbers(text, "day-of-month", 1, 31)
    return lambda day: day.day in days


def _working_day(month: date, wanted: int) -> int:
    """Return the day of this month, Monday to Friday, that is nearest to the wanted one."""
    weekday = month.replace(day=wanted).weekday()
    if weekday < _SATURDAY:
        return wanted
    if weekday == _SATURDAY:
        return wanted - 1 if wanted > 1 else wanted + 2
    return wanted + 1 if wanted < _last(month) else wanted - 2


def _weekday(text: str) -> Callable[[date], bool]:
    if text == "L":
        return lambda day: _number_of(day) == _DAYS["SAT"]
    if match := re.fullmatch(r"(\w{1,3})L", text):
        wanted = next(iter(_numbers(match[1], "day-of-week", 1, 7, _DAYS)))
        return lambda day: _number_of(day) == wanted and day.day > _last(day) - 7
    if match := re.fullmatch(r"(\w{1,3})#([1-5])", text):
        wanted, week = next(iter(_numbers(match[1], "day-of-week", 1, 7, _DAYS))), int(match[2])
        return lambda day: _number_of(day) == wanted and (day.day - 1) // 7 + 1 == week
    days = _numbers(text, "day-of-week", 1, 7, _DAYS)
    return lambda day: _number_of(day) in days


def _number_of(day: date) -> int:
    """Count as AWS does: Sunday is 1."""
    return day.isoweekday() % 7 + 1
