"""The little of pytest that a suite needs to be read: marks and the rows of tables. An audit calls checks plainly and never runs pytest.

While suites are imported, `import pytest` gives this module's stand-in, unless pytest is loaded already; whatever it has not itself, it
takes from pytest, which is loaded then. It saves a fifth of a second for each audit.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Mark:
    """`@pytest.mark.NAME(…)`, as pytest has it."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - a decorator, or what makes one
        """Mark a function, or take arguments."""
        if len(args) == 1 and not kwargs and callable(args[0]) and not isinstance(args[0], type):
            args[0].pytestmark = [*getattr(args[0], "pytestmark", []), self]
            return args[0]
        return Mark(self.name, (*self.args, *args), (*self.kwargs, *kwargs.items()))


@dataclass(frozen=True)
class Row:
    """`pytest.param(…)`."""

    values: tuple[Any, ...]
    marks: tuple[Mark, ...]
    id: str | None


class Marks:
    """`pytest.mark`."""

    def __getattr__(self, name: str) -> Mark:
        """Make a mark of any name."""
        return Mark(name)


def param(*values: object, marks: Any = (), id: str | None = None) -> Row:  # noqa: A002, ANN401 - pytest's own words
    """Make a row of a table."""
    return Row(values, tuple(marks) if isinstance(marks, list | tuple) else (marks,), id)


class StandIn(ModuleType):
    """What `import pytest` gives."""

    mark = Marks()
    param = staticmethod(param)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever pytest has
        """Take anything else from pytest itself."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(real(), name)


STAND_IN = StandIn("pytest")


def real() -> ModuleType:
    """Load pytest."""
    if sys.modules.get("pytest") is STAND_IN:
        del sys.modules["pytest"]
    return import_module("pytest")


@contextmanager
def light() -> Iterator[None]:
    """Let `import pytest` be cheap for a while."""
    if "pytest" in sys.modules:
        yield
        return
    sys.modules["pytest"] = STAND_IN
    try:
        yield
    finally:
        if sys.modules.get("pytest") is STAND_IN:
            del sys.modules["pytest"]
