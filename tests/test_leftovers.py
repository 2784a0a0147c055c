"""Whether a container is known to be abandoned exactly when its process is gone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from harness.leftovers import LABEL, Leftover, Owner, boot_id, labels, place, start_of


def left(changed: dict[str, str] | None = None, *, running: bool = True) -> Leftover:
    return Leftover(id="1", name="c", running=running, labels={**labels("r"), **(changed or {})})


def test_a_container_of_this_process_is_owned() -> None:
    assert left().owner() is Owner.ALIVE
    assert left(running=False).owner() is Owner.ALIVE, "a restart stops it for a moment"


def test_the_process_is_gone_when_its_number_is_free_or_taken_by_another() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert start_of(process.pid) == ""
    assert left({f"{LABEL}.pid": str(process.pid)}).owner() is Owner.GONE
    assert left({f"{LABEL}.started": "1"}).owner() is Owner.GONE, "the same number, another process"


def test_a_process_that_ended_and_was_not_waited_for_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()
    process.stdout.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert start_of(process.pid) == ""
    process.wait()


@pytest.mark.parametrize("running", [True, False])
def test_a_process_that_cannot_be_seen_from_here_is_unknown(*, running: bool) -> None:
    other = left({f"{LABEL}.place": "another machine pid:[1]"}, running=running)
    assert other.owner() is Owner.UNKNOWN


def test_a_container_of_an_earlier_boot_is_abandoned_unless_it_runs() -> None:
    assert left({f"{LABEL}.boot": "earlier"}, running=False).owner() is Owner.GONE
    assert left({f"{LABEL}.boot": "earlier"}).owner() is Owner.UNKNOWN, "another machine that shares the engine"


def test_labels_without_sense_never_say_gone_of_another_place() -> None:
    strange = Leftover(id="1", name="c", running=True, labels={})
    assert strange.owner() is Owner.UNKNOWN
    assert left({f"{LABEL}.pid": "no number"}).owner() is Owner.GONE


def test_what_is_to_be_kept_says_so() -> None:
    assert not left().kept
    assert Leftover(id="1", name="c", running=True, labels=labels("r", keep=True)).kept


def test_names_of_boot_and_place_do_not_change() -> None:
    assert boot_id() == boot_id() != ""
    assert place() == place() != ""
    assert start_of(os.getpid()) == start_of(os.getpid()) != ""
