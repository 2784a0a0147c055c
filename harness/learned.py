"""What the checks asked the hosts before: so that the next host can be asked everything at once. A cache; losing it costs a round trip."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.engine_trial import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MOST = 4000
"""Questions in a list. A check that asks something else on each host must not make it grow for ever."""
IDLE = 20
"""So many hosts in a row may have no use for a question; then it is no longer asked of all of them."""
LISTS = 40
"""Lists that are kept; the oldest go."""


def key(*parts: str) -> str:
    """Name a list by what it depends on."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def folder() -> Path:
    """Return where the lists are."""
    return cache_folder() / "questions"


def recall(name: str) -> tuple[str, ...]:
    """Return a list; empty when there is none that can be read."""
    return tuple(counted(name))


def counted(name: str) -> dict[str, int]:
    """Return a list with the number of hosts in a row that had no use for each question."""
    try:
        found = json.loads((folder() / f"{name}.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(found, dict) and all(isinstance(idle, int) for idle in found.values())
    return found if whole else {}


def remember(name: str, used: Iterable[str]) -> None:
    """Add to a list what the checks asked of one host; what they asked of none of the last hosts goes. A cache: it may be lost."""
    before, now = counted(name), dict.fromkeys(used, 0)
    kept = {command: idle for command in before if (idle := 0 if command in now else before[command] + 1) <= IDLE}
    grown = {**kept, **now} if len(kept | now) <= MOST else kept
    if grown == before:
        return
    with suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=folder(), delete=False, encoding="utf-8") as file:
            json.dump(grown, file, ensure_ascii=False)
        os.replace(file.name, folder() / f"{name}.json")  # noqa: PTH105 - the temporary name is text
        for old in sorted(folder().glob("*.json"), key=lambda path: path.stat().st_mtime)[:-LISTS]:
            old.unlink(missing_ok=True)
