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
    try:
        found = json.loads((folder() / f"{name}.json").read_text("utf-8"))
    except (OSError, ValueError):
        return ()
    return tuple(found) if isinstance(found, list) and all(isinstance(each, str) for each in found) else ()


def remember(name: str, commands: Iterable[str]) -> None:
    """Add what was asked to a list; where nothing can be written, nothing is remembered."""
    before = recall(name)
    new = [command for command in commands if command not in set(before)]
    if not new or len(before) + len(new) > MOST:
        return
    with suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=folder(), delete=False, encoding="utf-8") as file:
            json.dump([*before, *new], file, ensure_ascii=False)
        os.replace(file.name, folder() / f"{name}.json")  # noqa: PTH105 - the temporary name is text
        for old in sorted(folder().glob("*.json"), key=lambda path: path.stat().st_mtime)[:-LISTS]:
            old.unlink(missing_ok=True)
