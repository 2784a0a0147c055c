"""An endpoint of the emulator for all tests, and an empty account for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from publish.emulator import Emulator, Endpoint, Pretence, Stepped
from tests.publish.emulator.account import Account, Clock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def endpoint() -> Iterator[Endpoint]:
    """Image Builder alone, on loopback."""
    with Endpoint(Emulator(scheduler=Stepped()), others=False) as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def account(endpoint: Endpoint, clock: Clock) -> Iterator[Account]:
    """Make an account with nothing in it; its images move when a test says so."""
    emulator = endpoint.emulator
    emulator.reset()
    emulator.now, emulator.builder, emulator.scheduler = clock, Pretence(), Stepped()
    yield Account(endpoint.url, emulator)
    emulator.reset()


@pytest.fixture
def scheduler(account: Account) -> Stepped:
    assert isinstance(account.emulator.scheduler, Stepped)
    return account.emulator.scheduler


@pytest.fixture
def builder(account: Account) -> Pretence:
    assert isinstance(account.emulator.builder, Pretence)
    return account.emulator.builder
