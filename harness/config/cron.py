"""Schedule expressions as people write them: the old five-field cron becomes the six fields that EC2 Image Builder takes."""

from __future__ import annotations

import re

FIVE, SIX = 5, 6
SUNDAYS = "Sunday at 2 is cron(0 2 ? * sun *)"


def six_fields(text: str) -> tuple[str, str | None]:
    """Return the expression in the form that the service takes, and a note where it is another one than was written.

    EC2 Image Builder took five fields until February 2021, and examples still show them. Raises ValueError with a hint in it for
    what cannot be meant; what the fields hold is for the service to judge.
    """
    if re.fullmatch(r"rate\(\d+ (minute|hour|day)s?\)", text):
        return text, None
    fields = text[5:-1].split() if re.fullmatch(r"cron\(.*\)", text) else []
    if not fields:
        raise ValueError("must be `cron(…)` or `rate(…)`; try cron(0 2 ? * sun *)")
    if len(fields) == FIVE:
        written = f"cron({' '.join(_converted(fields))})"
        return written, f"{text} has the five fields that EC2 Image Builder gave up in 2021; used is {written}"
    if len(fields) != SIX:
        raise ValueError(f"has {len(fields)} cron fields, EC2 Image Builder wants 6; {SUNDAYS}")
    if "?" not in {fields[2], fields[4]}:
        raise ValueError(f"needs `?` as day of month or as day of week; {SUNDAYS}")
    return text, None


def _converted(fields: list[str]) -> list[str]:
    minute, hour, day, month, weekday = fields
    if re.search(r"\d", re.sub(r"[#/]\d+", "", weekday)):
        # Sunday is 0 in crontab(5) and 1 in AWS: a number of the old form would be guessed.
        raise ValueError(f"has five cron fields and a number as day of week, which can mean two days; write its name: {SUNDAYS}")
    if "?" in {day, weekday}:
        return [*fields, "*"]
    if weekday == "*":
        return [minute, hour, day, month, "?", "*"]
    if day == "*":
        return [minute, hour, "?", month, weekday, "*"]
    raise ValueError(f"has both a day of month and a day of week, which EC2 Image Builder cannot do; {SUNDAYS}")
