"""The files of mutations are read strictly, and the rounds keep apart what belongs apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import ContentError
from tests.mutations.reading import BASELINES, Mutation, load, read
from tests.mutations.run import SAME, SIZE, main, rounds

if TYPE_CHECKING:
    from pathlib import Path


NEEDS = ("", ", needs: vm", ", needs: restart")


def written(folder: Path, text: str) -> Path:
    path = folder / "ssh.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_family_shares_one_text(tmp_path: Path) -> None:
    path = written(tmp_path, "- rules: {ssh-a: Alpha yes, ssh-b: Beta no}\n  name: x\n  apply: true $it\n  needs: vm\n")
    first, second = read(path)
    assert (first.rule, first.it, second.it, second.apply) == ("ssh-a", "Alpha yes", "Beta no", "true $it")
    assert first.needs_vm
    assert first.baselines == BASELINES


def test_what_shows_after_a_restart_only_needs_a_machine_too(tmp_path: Path) -> None:
    here, now, later = (read(written(tmp_path, f"- {{rule: ssh-a, name: x, apply: 'true'{need}}}"))[0] for need in NEEDS)
    assert [(each.needs_vm, each.restarted) for each in (here, now, later)] == [(False, False), (True, False), (True, True)]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("- {rule: ssh-a, name: x, apply: 'true', sees: all}", "no such key: sees"),
        ("- {rule: ssh-a, apply: 'true'}", "has no name"),
        ("- {rule: ssh-a, name: x}", "does nothing"),
        ("- {rule: sudo-a, name: x, apply: 'true'}", "not of ssh"),
        ("- {rule: ssh-a, name: x, apply: 'true', baselines: [al2024]}", "unknown baseline"),
        ("- {rule: ssh-a, name: x, apply: 'true', status: pass}", "unknown baseline or status"),
        ("- {rule: ssh-a, name: x, apply: 'true', needs: luck}", "needs what nobody has"),
        ("- {rule: ssh-a, name: x, apply: 'true', also: {ssh-b: why}}", "without a reason"),
        ("- {rule: ssh-a, name: x, apply: 'true'}\n- {rule: ssh-a, name: x, apply: 'true'}", "comes twice"),
    ],
)
def test_what_a_file_must_not_hold(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ContentError, match=what):
        read(written(tmp_path, text))


@pytest.mark.parametrize("seed", [1, 2])
def test_rounds_hold_every_mutation_once_and_keep_apart_what_meets(seed: int) -> None:
    mutations = [each for each in load() if not each.needs_vm]
    found = rounds(mutations, seed, alone=False)
    assert sorted(each.title for group in found for each in group) == sorted(each.title for each in mutations)
    for group in found:
        spoken = [name for each in group for name in (each.rule, *each.also)]
        assert len(spoken) == len(set(spoken)) or len(group) == 1
        assert len(group) <= SIZE
        assert all(sum(other.subject == each.subject for other in group) <= SAME for each in group)
        assert len(group) == 1 or not any(each.alone for each in group)
    assert len(rounds(mutations, seed, alone=True)) == len(mutations)


def test_a_choice_without_a_mutation_proves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rule", "ssh-root-logn"]) == 2
    assert "no mutation" in capsys.readouterr().err


def test_a_mutation_is_named_by_its_rule() -> None:
    assert Mutation(rule="ssh-root-login", name="x", apply="true").subject == "ssh"
