"""The command line as a user types it: exit codes, one line per problem, nothing written where nothing should be."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from harness import cli
from tests import proof
from tests.program import harness

if TYPE_CHECKING:
    from pathlib import Path

SESAME = {"HARNESS_KEY_PASSPHRASE": "open sesame"}


def test_init_writes_both_files_and_overwrites_neither(tmp_path: Path) -> None:
    done = harness("init", tmp_path, cwd=tmp_path)
    assert (done.code, done.out) == (0, f"{tmp_path}/harness.hcl\n{tmp_path}/waivers.yaml\n")
    assert harness("rules", "ssh-root-login", cwd=tmp_path).code == 0
    for name in ("harness.hcl", "waivers.yaml"):
        (tmp_path / name).write_text("mine\n", "utf-8")
        done = harness("init", tmp_path, cwd=tmp_path)
        assert (done.code, done.out) == (2, "")
        assert "exists already" in done.err
        assert (tmp_path / name).read_text("utf-8") == "mine\n"
        (tmp_path / name).unlink()
        other = "waivers.yaml" if name == "harness.hcl" else "harness.hcl"
        assert [path.name for path in tmp_path.iterdir()] == [other]
        (tmp_path / name).write_text("mine\n", "utf-8")


@pytest.mark.parametrize("named", [True, False])
def test_a_wrong_waiver_is_told_before_anything_starts(tmp_path: Path, named: bool) -> None:  # noqa: FBT001 - parametrised
    name = "other.yaml" if named else "waivers.yaml"
    (tmp_path / name).write_text("waivers:\n  - rule: ssh-rot-login\n    target: al2\n    reason: x\n    category: risk-accepted\n"
        "    owner: o\n    approver: a\n    ticket: t\n    expires: 2099-01-01\n", "utf-8")  # fmt: skip
    done = harness("verify", *(("--waivers", name) if named else ()), cwd=tmp_path)
    assert done.code == 2
    assert done.err.splitlines() == [
        f"error: {name if named else tmp_path / name}:2: there is no rule `ssh-rot-login`",
        "hint: did you mean `ssh-root-login`?",
    ]
    assert not (tmp_path / "evidence").exists()


def test_keygen_sign_and_verify(tmp_path: Path) -> None:
    folder = proof.keep(tmp_path, signers=())
    made = harness("evidence", "keygen", "-o", "key", cwd=tmp_path)
    assert made.code == 0
    name = made.out.split()[-1]
    assert harness("evidence", "keygen", "-o", "key", cwd=tmp_path).code == 2
    unsigned = harness("evidence", "verify", folder, "--key", "key.pub", cwd=tmp_path)
    assert (unsigned.code, unsigned.out) == (1, "attestation.dsse.json: not signed\n")
    assert harness("evidence", "verify", folder, cwd=tmp_path).code == 0
    signed = harness("evidence", "sign", folder, "--key", "key", cwd=tmp_path)
    assert (signed.code, name in signed.out) == (0, True)
    whole = harness("evidence", "verify", folder, "--key", "key.pub", cwd=tmp_path)
    assert (whole.code, whole.out) == (0, f"{folder}: as it was written, signed by {name}\n")
    harness("evidence", "keygen", "-o", "other", cwd=tmp_path)
    assert harness("evidence", "verify", folder, "--key", "other.pub", cwd=tmp_path).code == 1
    assert harness("evidence", "verify", folder, "--key", "other.pub", "--key", "key.pub", cwd=tmp_path).code == 0


def test_nobody_signs_what_was_touched(tmp_path: Path) -> None:
    folder = proof.keep(tmp_path, signers=())
    harness("evidence", "keygen", "-o", "key", cwd=tmp_path)
    (folder / "extra").write_text("x", "utf-8")
    (folder / "capture.json.zst").unlink()
    done = harness("evidence", "sign", folder, "--key", "key", cwd=tmp_path)
    assert (done.code, done.out.splitlines()) == (
        1, ["capture.json.zst: is missing", "extra: was not there when the run ended"],
    )  # fmt: skip
    assert not (folder / "attestation.dsse.json").exists()
    checked = harness("evidence", "verify", folder, cwd=tmp_path)
    assert (checked.code, checked.out) == (1, done.out)


def test_a_passphrase_comes_from_the_environment_and_is_never_shown(tmp_path: Path) -> None:
    folder = proof.keep(tmp_path, signers=())
    harness("evidence", "keygen", "-o", "key", cwd=tmp_path, env=SESAME)
    locked = harness("evidence", "sign", folder, "--key", "key", cwd=tmp_path)
    assert locked.code == 2
    assert "HARNESS_KEY_PASSPHRASE" in locked.err
    wrong = harness("evidence", "sign", folder, "--key", "key", cwd=tmp_path, env={"HARNESS_KEY_PASSPHRASE": "guess it"})
    assert (wrong.code, "guess it" in wrong.err + wrong.out) == (2, False)
    done = harness("evidence", "sign", folder, cwd=tmp_path, env={"HARNESS_SIGN_KEY": "key", **SESAME})
    assert done.code == 0
    assert "sesame" not in done.out + done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("evidence", "verify", "nothing"),
        ("evidence", "verify", ".", "--key", "nothing"),
        ("evidence", "sign", "nothing", "--key", "key"),
        ("evidence", "sign", "."),
        ("gate", "--evidence", "nothing"),
        ("gate", "--config", "nothing"),
        ("gate", "--format", "xml"),
        ("verify", "--waivers", "nothing"),
        ("verify", "--sign-key", "nothing"),
    ],
)
def test_mistakes_in_calling_end_in_two(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = harness(*arguments, cwd=tmp_path)
    assert done.code == 2
    assert "nothing" in done.err or "Missing option" in done.err or "xml" in done.err
    assert not list(tmp_path.iterdir())


def test_without_evidence_the_gate_is_closed_and_says_what_to_do(tmp_path: Path) -> None:
    done = harness("gate", cwd=tmp_path)
    assert done.code == 1
    assert "closed    al2: there is no run of it\n          hint: run `harness verify --target al2`" in done.out
    told = harness("gate", "--format", "json", cwd=tmp_path)
    assert told.code == 1
    content = json.loads(told.out)
    assert content["open"] is False
    assert {reason["code"] for reason in content["reasons"]} == {"no-keys", "no-evidence"}
    assert all(reason["hint"] for reason in content["reasons"])


def test_evidence_of_other_documents_closes_the_gate(tmp_path: Path) -> None:
    proof.keep(tmp_path / "evidence")
    done = harness("gate", cwd=tmp_path)
    assert done.code == 1
    assert "the document isms_security_hardening was part of what was verified, and would not be published" in done.out
    assert "has no result" in done.out


def test_a_defect_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(**_: object) -> None:
        message = "no such\nthing"
        raise FileNotFoundError(message)

    monkeypatch.setattr(cli, "app", broken)
    monkeypatch.delenv("HARNESS_DEBUG", raising=False)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err.splitlines()
    assert (ended.value.code, said[0]) == (3, "error: unexpected FileNotFoundError: no such thing")
    assert said[1].startswith("hint: ")


def test_the_administrators_folders_are_found_whatever_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """`env -i PATH=/usr/bin`, cron and sudo call us without them, and runc and chroot live there."""
    seen = list[str]()
    monkeypatch.setenv("PATH", "/usr/bin:/sbin")
    monkeypatch.setattr(cli, "app", lambda **_: seen.append(os.environ["PATH"]))
    cli.main()
    assert seen == ["/usr/bin:/sbin:/usr/local/sbin:/usr/sbin"]
