"""Two real shells used as one: commands run beside each other, and each lane is taken again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from harness.targets.base import CommandTimeout
from harness.targets.lanes import Lanes
from harness.targets.shell import PersistentShell

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

BASH = ("/bin/bash", "--noprofile", "--norc")


@pytest.fixture
def lanes() -> Generator[Lanes]:
    both = Lanes([PersistentShell(BASH), PersistentShell(BASH)])
    yield both
    both.close()


def test_two_commands_meet_since_both_run(lanes: Lanes, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(lanes.run, f"mkfifo {pipe}; echo met >{pipe}", timeout=20)
        reading = pool.submit(lanes.run, f"until [ -p {pipe} ]; do sleep 0.01; done; cat {pipe}", timeout=20)
        assert (writing.result().returncode, reading.result().out) == (0, "met\n")


def test_one_command_after_the_other_keeps_to_the_first_shell(lanes: Lanes) -> None:
    assert len({lanes.run("echo $PPID $$").out for _ in range(4)}) == 1


def test_more_commands_than_shells_wait_for_their_turn(lanes: Lanes) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert {each.out for each in pool.map(lambda number: lanes.run(f"echo {number}"), range(8))} == {f"{n}\n" for n in range(8)}


def test_a_command_that_is_killed_gives_its_lane_back(lanes: Lanes) -> None:
    with pytest.raises(CommandTimeout):
        lanes.run("sleep 60", timeout=0.5)
    with ThreadPoolExecutor(2) as pool:
        assert [each.out for each in pool.map(lanes.run, ["echo one", "echo two"])] == ["one\n", "two\n"]


def test_shells_that_are_let_go_are_opened_anew(lanes: Lanes) -> None:
    before = lanes.run("echo $$").out
    lanes.reopen()
    assert lanes.run("echo $$").out != before
