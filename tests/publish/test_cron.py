"""Schedule expressions: what is refused, and when the next run is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from publish.cron import ScheduleError, parse

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)  # a Tuesday
SEOUL = ZoneInfo("Asia/Seoul")


def runs(expression: str, timezone: str = "UTC", count: int = 3, after: datetime = NOW) -> list[str]:
    zone = ZoneInfo(timezone)
    return [f"{moment.astimezone(zone):%a %Y-%m-%d %H:%M}" for moment in islice(parse(expression, timezone).next_runs(after), count)]


def test_sunday_at_two_in_seoul() -> None:
    assert runs("cron(0 2 ? * sun *)", "Asia/Seoul") == ["Sun 2026-11-29 02:00", "Sun 2026-12-06 02:00", "Sun 2026-12-13 02:00"]
    first = parse("cron(0 2 ? * sun *)", "Asia/Seoul").next_run(NOW)
    assert first == datetime(2026, 11, 28, 17, 0, tzinfo=UTC)
    assert first == parse("cron(0 17 ? * sat *)").next_run(NOW)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("cron(30 1,13 * * ? *)", ["Tue 2026-11-24 13:30", "Wed 2026-11-25 01:30", "Wed 2026-11-25 13:30"]),
        ("cron(0/20 12 24 11 ? *)", ["Tue 2026-11-24 12:20", "Tue 2026-11-24 12:40", "Wed 2027-11-24 12:00"]),
        ("cron(0 0 L * ? *)", ["Mon 2026-11-30 00:00", "Thu 2026-12-31 00:00", "Sun 2027-01-31 00:00"]),
        ("cron(0 0 LW * ? *)", ["Mon 2026-11-30 00:00", "Thu 2026-12-31 00:00", "Fri 2027-01-29 00:00"]),
        ("cron(0 0 1W * ? *)", ["Tue 2026-12-01 00:00", "Fri 2027-01-01 00:00", "Mon 2027-02-01 00:00"]),
        ("cron(0 0 ? * 1#1 *)", ["Sun 2026-12-06 00:00", "Sun 2027-01-03 00:00", "Sun 2027-02-07 00:00"]),
        ("cron(0 0 ? * friL *)", ["Fri 2026-11-27 00:00", "Fri 2026-12-25 00:00", "Fri 2027-01-29 00:00"]),
        ("cron(0 0 ? JAN-MAR/2 MON-FRI 2027)", ["Fri 2027-01-01 00:00", "Mon 2027-01-04 00:00", "Tue 2027-01-05 00:00"]),
        ("cron(0 0 29 2 ? *)", ["Tue 2028-02-29 00:00", "Sun 2032-02-29 00:00"]),
        ("cron(0 0 1 1 ? 2020)", []),
    ],
)
def test_the_next_runs(expression: str, expected: list[str]) -> None:
    assert runs(expression, count=max(len(expected), 1)) == expected


def test_an_hour_that_summer_time_leaves_out_is_left_out() -> None:
    found = runs("cron(30 2 * * ? *)", "America/New_York", after=datetime(2027, 3, 13, 0, 0, tzinfo=UTC))
    assert found == ["Sat 2027-03-13 02:30", "Mon 2027-03-15 02:30", "Tue 2027-03-16 02:30"]


def test_a_rate_counts_from_the_creation() -> None:
    created = NOW - timedelta(days=9)
    assert parse("rate(7 days)").next_run(NOW, since=created) == created + timedelta(days=14)
    assert parse("rate(1 hour)").next_run(NOW) == NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("expression", "because"),
    [
        ("cron(0 0 * * *)", "error at position 9, details: Unexpected end of expression."),
        ("cron(0 2 * * sun)", "Unexpected end of expression"),
        ("cron()", "Unexpected end"),
        ("cron(0 2 ? * sun * *)", "7 fields"),
        ("cron(0 2 * * sun *)", "exactly one of day-of-month and day-of-week"),
        ("cron(0 2 ? * ? *)", "exactly one"),
        ("cron(60 2 ? * sun *)", "'60' is no minute"),
        ("cron(0 24 ? * sun *)", "'24' is no hour"),
        ("cron(0 2 0 * ? *)", "'0' is no day-of-month"),
        ("cron(0 2 ? 13 sun *)", "'13' is no month"),
        ("cron(0 2 ? * 8 *)", "'8' is no day-of-week"),
        ("cron(0 2 ? * so *)", "'SO' is no day-of-week"),
        ("cron(0 2 ? * sun#6 *)", "day-of-week"),
        ("cron(0 2 ? * sun 1969)", "'1969' is no year"),
        ("cron(5-1 2 ? * sun *)", "'5-1' is no minute"),
        ("cron(*/0 2 ? * sun *)", "minute"),
        ("cron(1/ 2 ? * sun *)", "minute"),
        ("cron(1,,2 2 ? * sun *)", "minute"),
        ("rate(0 days)", "rate"),
        ("rate(1 days)", "singular"),
        ("rate(2 day)", "singular"),
        ("rate(2 weeks)", "rate"),
        ("every sunday", "neither"),
    ],
)
def test_what_is_refused(expression: str, because: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        parse(expression)
    assert because in str(refused.value)


@pytest.mark.parametrize("timezone", ["Asia/Soul", "KST+9", "../../etc/passwd", "Asia"])
def test_a_timezone_that_nobody_knows(timezone: str) -> None:
    with pytest.raises(ScheduleError, match="Unknown timezone"):
        parse("rate(1 day)", timezone)
