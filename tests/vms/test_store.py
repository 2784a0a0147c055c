"""Guests are found by their folders, and those of crashed runs are swept up; never one that is kept or of a living process."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness import leftovers
from harness.errors import TargetError, UsageError
from harness.vms import store
from harness.vms.guest import Guest
from harness.vms.machine import Machine, Record

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def guest(name: str, *, keep: bool = False, gone: bool = False) -> Guest:
    labels = leftovers.labels(name, keep=keep)
    if gone:
        labels[f"{leftovers.LABEL}.started"] = "1"
    made = Guest(store.made(name), Record(name, Machine("tcg"), labels=labels))
    made.save()
    return made


def test_only_what_nobody_owns_is_swept() -> None:
    for name, keep, gone in (("mine", False, False), ("kept", True, True), ("lost", False, True)):
        guest(name, keep=keep, gone=gone)
    assert store.sweep() == ["lost"]
    assert {one.name for one in store.guests()} == {"mine", "kept"}


def test_a_folder_that_never_got_its_record_goes_after_a_while() -> None:
    young, old = store.made("young"), store.made("old")
    os.utime(old, (time.time() - 2 * store.ABANDONED_SECONDS,) * 2)
    store.sweep()
    assert young.exists()
    assert not old.exists()


def test_a_record_that_is_none_hides_no_other(tmp_path: Path) -> None:
    guest("good")
    (store.made("bad") / "guest.json").write_text("{", "utf-8")
    assert [one.name for one in store.guests()] == ["good"]
    assert tmp_path in store.folder().parents


def test_a_name_is_taken_once_and_a_stranger_is_not_found() -> None:
    guest("one")
    with pytest.raises(UsageError, match="already"):
        store.made("one")
    with pytest.raises(TargetError, match="no virtual machine two"):
        store.find("two")


def test_a_process_id_that_was_used_again_is_not_a_running_guest() -> None:
    one = guest("one")
    one.record = replace(one.record, pid=os.getpid(), started="1")
    assert not one.running()
    one.record = replace(one.record, started=leftovers.start_of(os.getpid()))
    assert one.running()
    one.record = replace(one.record, pid=0, started="")
    assert not one.running()
