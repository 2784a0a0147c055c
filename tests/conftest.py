"""What every test of the project shares: how hypothesis searches, and which tests must not run at the same time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No test asserts on times. In CI the same commit gives the same verdict; at a desk new examples are worth having.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

HERE = Path(__file__).parent


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep a file on one worker, and all of tests/integration/ on one.

    Those tests start whole processes of harness and look at what they leave in the engine; two at a time would sweep away each other's
    containers. pytest-xdist reads the marks before any hook that sees all items at once.
    """
    name = item.path.relative_to(HERE).as_posix()
    item.add_marker(pytest.mark.xdist_group("engine" if name.startswith("integration/") else name))
