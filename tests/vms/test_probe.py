"""An accelerator counts when a guest really started by it, and the answer is remembered for this machine as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import engine_trial
from harness.vms import probe
from harness.vms.machine import Accelerator

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_what_was_found_out_is_recalled_for_these_circumstances_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = tmp_path / "engine.json"
    assert probe.recalled(memory) is None
    engine_trial.Memory(memory).remember(probe.key(), {"name": "tcg", "why": "it was slow"})
    assert probe.recalled(memory) == Accelerator("tcg", "it was slow")
    monkeypatch.setattr("platform.release", lambda: "another kernel")
    assert probe.recalled(memory) is None


def test_a_memory_that_makes_no_sense_is_none(tmp_path: Path) -> None:
    memory = tmp_path / "engine.json"
    for value in ({"name": "hvf", "why": "?"}, {"name": "kvm"}, {"name": "kvm", "why": 7}):
        engine_trial.Memory(memory).remember(probe.key(), value)
        assert probe.recalled(memory) is None
