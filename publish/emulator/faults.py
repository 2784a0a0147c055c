"""Faults on demand: refusals, throttling and broken answers that a test or a rehearsal asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Final

from publish.emulator.errors import ServiceError

THROTTLED: Final = "CallRateLimitExceeded"
INTERNAL: Final = "Service"
UNAVAILABLE: Final = "ServiceUnavailable"


@dataclass(slots=True)
class Fault:
    """One kind of failure and how long it lasts."""

    code: str
    """The exception's name without `Exception`."""
    operations: frozenset[str] = frozenset()
    """Those that it hits; empty: every one."""
    times: int | None = 1
    """How many calls are left to hit; None: it never ends."""
    rate: float = 1.0
    """Which part of the calls is hit, by a generator with a fixed seed."""
    after: bool = False
    """Whether the call takes effect before it is answered with the error, as when the connection breaks."""
    message: str = "The request was refused on demand."

    def error(self) -> ServiceError:
        """Return it as an answer."""
        return ServiceError(self.code, self.message)


@dataclass(slots=True)
class Faults:
    """The faults that are still to come; the first one that fits is taken."""

    seed: int = 0
    pending: list[Fault] = field(default_factory=list)
    dice: Random = field(init=False)

    def __post_init__(self) -> None:
        """Start the generator."""
        self.dice = Random(self.seed)  # noqa: S311 - has to be repeatable

    def add(self, fault: Fault) -> None:
        """Let a fault happen from now on."""
        self.pending.append(fault)

    def take(self, operation: str) -> Fault | None:
        """Return the fault that hits this call, and count it."""
        for fault in self.pending:
            if (fault.operations and operation not in fault.operations) or self.dice.random() >= fault.rate:
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self.pending.remove(fault)
            return fault
        return None

    def clear(self) -> None:
        """Let nothing happen any more, and start the generator anew."""
        self.pending.clear()
        self.dice.seed(self.seed)
