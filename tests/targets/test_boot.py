"""Whether the ways to start a container are tried in a sensible order, and what worked is remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness.engine import Engine
from harness.targets import boot

if TYPE_CHECKING:
    from pathlib import Path

PODMAN = Engine(name="podman", path="/usr/bin/podman", version="5")
DOCKER = Engine(name="docker", path="/usr/bin/docker", version="28")


def test_without_systemd_is_always_the_last_way() -> None:
    for engine in (PODMAN, DOCKER, replace(DOCKER, cgroup="v1"), replace(DOCKER, cgroup="hybrid")):
        *others, last = boot.modes(engine)
        assert last.init == "none"
        assert others
        assert all(mode.init == "systemd" for mode in others)


def test_no_way_asks_for_rights_over_the_host() -> None:
    for engine in (PODMAN, DOCKER):
        for mode in boot.modes(engine):
            assert not {"--privileged", "--network=host", "--pid=host"} & set(mode.options)
            assert not any("unmask" in option or "SYS_TIME" in option for option in mode.options)


@pytest.mark.parametrize(("cgroup", "first"), [("v2", "rw"), ("v1", "ro"), ("hybrid", "ro")])
def test_docker_needs_the_cgroups_of_the_host(cgroup: str, first: str) -> None:
    modes = boot.modes(replace(DOCKER, cgroup=cgroup))
    assert f"--volume=/sys/fs/cgroup:/sys/fs/cgroup:{first}" in modes[0].options


def test_what_worked_is_tried_first_for_the_same_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    modes = boot.modes(DOCKER)
    boot.Memory(DOCKER, "image").keep(modes[-1])
    assert boot.Memory(DOCKER, "image").order(modes) == [modes[-1], *modes[:-1]]
    assert boot.Memory(DOCKER, "another image").order(modes) == modes
    assert boot.Memory(PODMAN, "image").order(modes) == modes
