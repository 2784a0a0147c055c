"""What the tests over SSH share: one container with sshds and users of every kind, and a user of ours with an empty home."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import EngineError
from harness.targets.connection import Connection
from tests.sshworld import World

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    """Return the container, for all tests of a run: each brings its own users and sshds, and puts back what it changes besides."""
    try:
        world = World.begin(tmp_path_factory.mktemp("world"))
    except EngineError as error:
        pytest.skip(f"no container engine: {error}")
    try:
        world.people()
        yield world
    finally:
        world.end()


@pytest.fixture(scope="session")
def port(world: World) -> int:
    """Return an sshd as most are."""
    return world.sshd("Banner /etc/ssh/world_banner", "AcceptEnv LANG LC_*", "RekeyLimit 4M")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the user of the test an empty home, and no agent."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir(mode=0o700)
    return tmp_path


@pytest.fixture
def ways(world: World, home: Path) -> Connection:  # noqa: ARG001 - nothing is read from a real home
    """Return what logs in: one key, new hosts accepted."""
    return Connection(identities=(world.keys["ed25519"],), accept_new=True)
