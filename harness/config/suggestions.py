"""Did-you-mean: the hint for a name that is not known."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_SHOWN = 15
"""Longer lists are cut: a hint is one line."""


def did_you_mean(word: str, known: Iterable[str], *, what: str = "known") -> str:
    """Name the nearest known word, or the known words when none is near.

    `what` opens the list: `known sources: al2, al2023`.
    """
    names = list(dict.fromkeys(known))
    lowered = {name.lower(): name for name in names}
    near = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{lowered[near[0]]}`?"
    if not names:
        return f"{what}: none"
    shown = ", ".join(names[:MOST_SHOWN])
    return f"{what}: {shown}" + (", …" if len(names) > MOST_SHOWN else "")
