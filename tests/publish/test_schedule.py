"""The next runs are told in Korean time, whatever the schedule's own timezone."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config.settings import Schedule
from harness.errors import ConfigError, Location
from publish.schedule import next_runs
from tests.publish.stage import NOW

AT = Location(Path("harness.hcl"), 1)


@pytest.mark.parametrize(
    ("expression", "timezone"),
    [("cron(0 2 * * sun)", "Asia/Seoul"), ("cron(0 2 ? * sun *)", "Asia/Seoul"), ("cron(0 17 ? * sat *)", "UTC")],
)
def test_sunday_at_two_in_the_morning(expression: str, timezone: str) -> None:
    found = next_runs(Schedule(line=1, expression=expression, timezone=timezone), NOW, AT)
    assert found == [f"Sun 2026-{day} 02:00 KST" for day in ("11-29", "12-06", "12-13", "12-20", "12-27")]


def test_what_the_service_refuses_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"harness.hcl:1: the schedule cron\(0 25") as caught:
        next_runs(Schedule(line=1, expression="cron(0 25 ? * sun *)"), NOW, AT)
    assert caught.value.hint
