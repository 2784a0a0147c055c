"""The formats that a run can be told in, each loaded only when it is asked for."""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from harness.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.model import Run

FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "json": "harness.reports.json:render",
        "junit": "harness.reports.junit:render",
    }
)
"""Format to `module:function`; the function takes a Run and returns the bytes of the report."""


def render(run: Run, name: str) -> bytes:
    """Write a run in a format. Raises UsageError that lists the formats."""
    if name not in FORMATS:
        raise UsageError(f"there is no report format `{name}`", hint=f"formats: {', '.join(FORMATS)}")
    module, function = FORMATS[name].split(":")
    made: Callable[[Run], bytes] = getattr(import_module(module), function)
    return made(run)
