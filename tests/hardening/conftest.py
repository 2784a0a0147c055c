"""Machines for the tests of the hardening scripts, one per operating system and test file."""

from __future__ import annotations

import os
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from harness import catalog
from harness import engine as engines
from harness.errors import HarnessError
from harness.images import standin
from harness.images.cache import Cache
from tests.hardening.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from harness.engine import Engine


@pytest.fixture(scope="session")
def engine() -> Engine:
    """Return the engine of this machine, adapted to it."""
    try:
        return engines.adapt(engines.find(), say=lambda _: None)
    except HarnessError as error:
        pytest.skip(f"no container engine: {error}")


@pytest.fixture(scope="module", params=["al2", "al2023"])
def baseline(request: pytest.FixtureRequest) -> str:
    """Return each baseline in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def start(engine: Engine, baseline: str) -> Generator[Callable[[], Machine]]:
    """Return what starts a fresh machine; all are removed after the file."""
    names = list[str]()
    image = os.environ.get(f"HARNESS_TEST_IMAGE_{baseline.upper()}") or standin.build(baseline, engine, Cache(), print).reference

    def fresh() -> Machine:
        name = f"isms-script-{uuid.uuid4().hex[:8]}"
        options = (
            ["--systemd=always"]
            if engine.name == "podman"
            else ["--tmpfs=/run", "--tmpfs=/tmp", "--cgroupns=host", "-v=/sys/fs/cgroup:/sys/fs/cgroup:ro"]
        )
        names.append(name)
        engine.call("run", "-d", f"--name={name}", *engine.run_options, *options, image, "/sbin/init")
        machine = Machine(engine, name)
        deadline = time.monotonic() + 120
        while (state := machine.sh("systemctl is-system-running", check=False).strip()) not in {"running", "degraded"}:
            assert time.monotonic() < deadline, state
            time.sleep(0.2)
        machine.push()
        return machine

    yield fresh
    if names:
        engine.call("rm", "-f", *names, check=False)


@pytest.fixture(scope="module")
def values(baseline: str) -> dict[str, str]:
    """Return the parameter values of the baseline."""
    return dict(catalog.load().baseline(baseline).parameters)
