"""How a check says what it found: what holds, what does not, and what cannot be told.

Three outcomes are possible and never mixed up. A comparison that does not hold raises `Unexpected`: the rule fails.
A thing that is absent is an observation (`None`, `absent`), which `expect` then judges. Everything else, such as a
command that is missing, a file that cannot be read or a time-out, raises `CannotTell`: the rule is an `error`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from harness.model import Observation

if TYPE_CHECKING:
    from collections.abc import Iterator

observations: ContextVar[list[Observation] | None] = ContextVar("observations", default=None)
"""Where `expect` records; the caller of a check sets a fresh list."""


class Unexpected(AssertionError):  # noqa: N818 - a finding, not an error
    """The host is not as the rule asks."""


class CannotTell(Exception):  # noqa: N818 - the status is called error, this says why
    """The question could not be answered, which is neither a pass nor a failure."""


class Parameters(Mapping[str, str]):
    """The values that the baseline chose, as text or in the type a check needs."""

    def __init__(self, values: Mapping[str, str]) -> None:
        """Take the values as the component documents carry them: strings."""
        self._values = dict(values)

    def __getitem__(self, name: str) -> str:
        """Return the value as text; a name that no rule declares is a mistake of the suite."""
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Count the parameters."""
        return len(self._values)

    def integer(self, name: str) -> int:
        """Return a whole number."""
        return int(self[name])

    def flag(self, name: str) -> bool:
        """Return `true` or `false`."""
        return {"true": True, "false": False}[self[name]]

    def words(self, name: str) -> tuple[str, ...]:
        """Return a list: the values between commas or blanks."""
        return tuple(word for word in re.split(r"[,\s]+", self[name]) if word)


def expect(  # noqa: PLR0913 - one keyword per relation reads as a sentence
    what: str,
    observed: object,
    *,
    equals: object = ...,
    one_of: Collection[object] = (),
    at_most: float | None = None,
    at_least: float | None = None,
    includes: Collection[object] = (),
    lacks: Collection[object] = (),
    within: Collection[object] | None = None,
    matches: str | None = None,
    that: Callable[[Any], bool] | None = None,
    expected: str | None = None,
) -> None:
    """Compare and record; raise Unexpected when the comparison does not hold.

    `includes`, `lacks` and `within` are for collections and text; `matches` is a regular expression searched in text; `that` is any
    other question, with `expected` saying in words what it asks. `None` stands for "absent" and satisfies only `equals=None`.
    """
    if that is not None:
        ok, wanted = observed is not None and that(observed), expected or "a value that satisfies the rule"
    elif equals is not ...:
        ok, wanted = observed == equals, shown(equals)
    elif one_of:
        ok, wanted = observed in one_of, f"one of {shown(one_of)}"
    elif at_most is not None or at_least is not None:
        number = as_number(observed)
        low, high = at_least if at_least is not None else float("-inf"), at_most if at_most is not None else float("inf")
        ok = number is not None and low <= number <= high
        wanted = " and ".join(
            part
            for part in (f"at least {at_least}" if at_least is not None else "", f"at most {at_most}" if at_most is not None else "")
            if part
        )
    elif includes:
        ok, wanted = observed is not None and all(item in observed for item in includes), f"includes {shown(includes)}"  # type: ignore[operator]  # a collection or text, by contract
    elif lacks:
        ok, wanted = observed is not None and not any(item in observed for item in lacks), f"without {shown(lacks)}"  # type: ignore[operator]  # as above
    elif within is not None:
        ok, wanted = observed is not None and all(item in within for item in observed), f"nothing but {shown(within)}"  # type: ignore[attr-defined]  # as above
    elif matches is not None:
        ok, wanted = observed is not None and re.search(matches, str(observed), re.MULTILINE) is not None, f"matches {matches}"
    else:
        raise TypeError("expect needs a relation")
    wanted = expected or wanted
    recorded = observations.get()
    if recorded is not None:
        recorded.append(Observation(what=what, expected=wanted, observed=shown(observed), ok=bool(ok)))
    if not ok:
        raise Unexpected(f"{what}: expected {wanted}, observed {shown(observed)}")


def as_number(value: object) -> float | None:
    """Read a number; None where there is none, which no bound accepts."""
    try:
        return float(str(value))
    except ValueError:
        return None


def shown(value: object) -> str:
    """Write a value as a reader of a report wants to see it."""
    if value is None:
        return "absent"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={shown(item)}" for key, item in value.items()) or "nothing"
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(map(str, value)) if isinstance(value, (set, frozenset)) else [shown(item) for item in value]
        return ", ".join(items) or "nothing"
    return str(value)
