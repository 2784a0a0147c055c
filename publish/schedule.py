"""When a pipeline runs: the next moments of its schedule, in Korean time."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from harness.errors import ConfigError
from publish.cron import ScheduleError, parse

if TYPE_CHECKING:
    from datetime import datetime

    from harness.config.settings import Schedule
    from harness.errors import Location

KST = ZoneInfo("Asia/Seoul")


def next_runs(schedule: Schedule, now: datetime, at: Location, count: int = 5) -> list[str]:
    """Return the next runs as `Sun 2026-11-29 02:00 KST`. Raises ConfigError for what the service would refuse."""
    try:
        runs = list(islice(parse(schedule.six_fields, schedule.timezone).next_runs(now), count))
    except ScheduleError as error:
        raise ConfigError(f"the schedule {schedule.expression} cannot be: {error}", hint=schedule.written, at=at) from None
    return [f"{run.astimezone(KST):%a %Y-%m-%d %H:%M} KST" for run in runs]
