"""The five-field cron of old examples becomes what the service takes; what could mean two things is refused."""

from __future__ import annotations

import pytest

from harness.config.cron import six_fields


@pytest.mark.parametrize(
    ("written", "used"),
    [
        ("cron(0 2 * * sun)", "cron(0 2 ? * sun *)"),
        ("cron(0 2 * * *)", "cron(0 2 * * ? *)"),
        ("cron(0 2 1 * *)", "cron(0 2 1 * ? *)"),
        ("cron(0 2 ? * MON-FRI)", "cron(0 2 ? * MON-FRI *)"),
        ("cron(30 1 * * fri#2)", "cron(30 1 ? * fri#2 *)"),
    ],
)
def test_five_fields_are_converted_with_a_note(written: str, used: str) -> None:
    expression, note = six_fields(written)
    assert expression == used
    assert note is not None
    assert written in note
    assert used in note


@pytest.mark.parametrize("text", ["cron(0 2 ? * sun *)", "cron(0 2 1 * ? 2027)", "rate(7 days)"])
def test_what_the_service_takes_stays(text: str) -> None:
    assert six_fields(text) == (text, None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sundays", r"cron\(…\)"),
        ("cron()", "try cron"),
        ("cron(0 2 * sun)", "4 cron fields"),
        ("cron(0 2 * * sun * *)", "7 cron fields"),
        ("cron(0 2 * * 0)", "two days"),
        ("cron(0 2 1 * sun)", "both"),
        ("cron(0 2 * * sun *)", r"`\?`"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        six_fields(text)
