"""What a suite in verify/ may use: the `rule` marker, `expect`, and a few facts read in one careful command each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.expecting import CannotTell, Parameters, Unexpected, expect
from harness.facts import (
    AS_NOBODY,
    REMEMBERED,
    Found,
    Host,
    PathFacts,
    Unit,
    ask,
    database,
    facts_of,
    has_package,
    key_values,
    packages,
    path,
    paths,
    read,
    sshd,
    sysctl,
    texts,
    unit,
    units,
    walk,
    yaml_of,
)

if TYPE_CHECKING:
    import pytest

__all__ = [
    "AS_NOBODY",
    "REMEMBERED",
    "CannotTell",
    "Found",
    "Host",
    "Parameters",
    "PathFacts",
    "Unexpected",
    "Unit",
    "ask",
    "database",
    "expect",
    "facts_of",
    "has_package",
    "key_values",
    "packages",
    "path",
    "paths",
    "read",
    "rule",
    "sshd",
    "sysctl",
    "texts",
    "unit",
    "units",
    "verify_only",
    "walk",
    "yaml_of",
]

rule: pytest.MarkDecorator
"""`@rule("ssh-root-login")`: which rule a test judges. Mandatory in verify/."""

verify_only: pytest.MarkDecorator
"""`@verify_only("it reloads sshd")`: why a test is no part of an audit, which only reads. For all that changes anything."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - pytest's marks
    """Return the two marks when they are asked for, since pytest costs more to load than all of harness."""
    if name not in {"rule", "verify_only"}:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    import pytest

    return getattr(pytest.mark, name)
