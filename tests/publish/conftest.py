"""AWS in memory for the tests of publishing: opened once, emptied for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.publish.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from publish.emulator.server import Endpoint


@pytest.fixture(scope="session")
def opened() -> Iterator[Endpoint]:
    """Open the endpoint; the images of the emulator wait until a test lets them go on."""
    from publish.emulator.core import Emulator
    from publish.emulator.server import Endpoint

    with Endpoint(Emulator()) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def clients() -> dict[tuple[str, str], Any]:
    """Keep the clients of boto3, which are slow to make."""
    return {}


@pytest.fixture
def stage(opened: Endpoint, clients: dict[tuple[str, str], Any], monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Return an empty account with a network."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    made = Stage(opened, clients=clients)
    made.reset()
    made.build()
    return made
