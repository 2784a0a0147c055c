"""An evidence folder that somebody touched: every way of it is told, by the file's name."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import attestation, evidence, tampering
from harness.errors import UsageError
from harness.reports import schema
from harness.tampering import examine
from tests import proof

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEYS = (proof.SIGNER.public_key,)
FILES = (
    "run.json",
    "capture.json.zst",
    "documents/isms_security_hardening.yml",
    "documents/cloudwatch_agent_config.yml",
    "logs/TOE_2026-11-24/console.log",
    "reports/junit.xml",
    "manifest.json",
    "attestation.dsse.json",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return proof.keep(tmp_path)


def told(folder: Path) -> list[str]:
    return [str(problem) for problem in examine(folder, KEYS).problems]


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    return content


def consistent(folder: Path) -> None:
    """Make the manifest fit the files again, as somebody would who knows how evidence is made."""
    (folder / "manifest.json").unlink()
    evidence.Evidence(folder).manifest()


def test_what_nobody_touched_is_whole(folder: Path) -> None:
    examined = examine(folder, KEYS)
    assert examined.problems == ()
    assert examined.run == proof.RUN
    assert examined.verified == examined.signatures == (proof.SIGNER.public_key.keyid,)
    assert examined.manifest == attestation.sha256((folder / "manifest.json").read_bytes())
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(FILES)
    assert "signed by" in tampering.signature_told(examined)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_told(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    assert any(line.startswith((f"{name}: ", "attestation.dsse.json: ")) for line in told(folder))


@pytest.mark.parametrize("name", FILES)
def test_an_added_byte_is_told(folder: Path, name: str) -> None:
    with (folder / name).open("ab") as file:
        file.write(b" ")
    assert told(folder)


@pytest.mark.parametrize("name", FILES)
def test_an_empty_file_is_told(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    assert told(folder)


@pytest.mark.parametrize("name", [name for name in FILES if name != attestation.NAME])
def test_a_missing_file_is_told_by_its_name(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{name}: is missing" in told(folder)


@given(data=st.data())
def test_no_byte_of_any_file_can_be_another(whole: Path, data: st.DataObject) -> None:
    path = whole / data.draw(st.sampled_from(FILES), "file")
    before = path.read_bytes()
    position = data.draw(st.integers(0, len(before) - 1), "position")
    other = data.draw(st.integers(0, 255).filter(lambda value: value != before[position]), "byte")
    try:
        path.write_bytes(before[:position] + bytes([other]) + before[position + 1 :])
        assert told(whole)
    finally:
        path.write_bytes(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return proof.keep(tmp_path_factory.mktemp("whole"))


def test_without_an_attestation_the_folder_is_unsigned_not_wrong(folder: Path) -> None:
    (folder / attestation.NAME).unlink()
    examined = examine(folder, KEYS)
    assert (examined.problems, examined.signatures) == ((), ())
    assert "not signed" in tampering.signature_told(examined)


def test_without_a_key_the_signature_is_named_and_not_believed(folder: Path) -> None:
    examined = examine(folder)
    assert (examined.problems, examined.verified) == ((), ())
    assert "was not verified" in tampering.signature_told(examined)


def test_another_key_than_the_signers_is_told(folder: Path) -> None:
    examined = examine(folder, [proof.STRANGER.public_key])
    assert [problem.what for problem in examined.problems] == [
        f"no signature by a given key holds; it names {proof.SIGNER.public_key.keyid[:16]}"
    ]


@pytest.mark.parametrize("name", ["extra.txt", "documents/other.yml", "reports/run.xlsx", ".hidden", "logs/TOE_2026-11-24/가"])
def test_an_extra_file_is_told(folder: Path, name: str) -> None:
    (folder / name).write_text("x", "utf-8")
    assert f"{name if name.isprintable() else ascii(name)}: was not there when the run ended" in told(folder)


def test_a_document_that_never_ran_is_told(folder: Path) -> None:
    (folder / "documents" / "other.yml").write_text("name: other\n", "utf-8")
    assert "documents/other.yml: never ran" in told(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_link_is_no_evidence(folder: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    shutil.move(folder / name, outside)
    (folder / name).symlink_to(outside)
    assert f"{name}: is no regular file" in told(folder)


def test_a_linked_folder_a_pipe_and_odd_names_are_told(folder: Path, tmp_path: Path) -> None:
    (folder / "linked").symlink_to(tmp_path)
    (folder / "dangling").symlink_to(tmp_path / "nothing")
    os.mkfifo(folder / "pipe")
    (folder / "two\nlines").write_text("x", "utf-8")
    (folder / os.fsdecode(b"\xff")).write_text("x", "utf-8")
    lines = told(folder)
    for name in ("linked", "dangling", "pipe"):
        assert f"{name}: is no regular file" in lines
    assert len(lines) == 5
    assert all("\n" not in line and line.encode() for line in lines)


def edit_run(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / "run.json").read_bytes())
    change(content)
    (folder / "run.json").write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", "utf-8")


@pytest.mark.parametrize("name", ["run.json", "capture.json.zst", "documents/isms_security_hardening.yml", "reports/junit.xml"])
def test_a_manifest_that_was_made_to_fit_is_found_out_by_the_attestation(folder: Path, name: str) -> None:
    if name == "run.json":
        edit_run(folder, lambda content: content["target"].update(uri="podman://other"))
    else:
        (folder / name).write_bytes(b"other")
    consistent(folder)
    assert "attestation.dsse.json: the subject manifest.json has another digest" in told(folder)


def test_who_forges_everything_still_lacks_the_key(folder: Path) -> None:
    edit_run(folder, lambda content: content["target"].update(uri="podman://other"))
    consistent(folder)
    (folder / attestation.NAME).unlink()
    run = schema.read((folder / "run.json").read_bytes())
    attestation.attest(folder, run, proof.STRANGER)
    assert told(folder) == [f"attestation.dsse.json: no signature by a given key holds; it names {proof.STRANGER.public_key.keyid[:16]}"]
    assert examine(folder).problems == ()


def test_an_attestation_of_another_run_is_told(folder: Path, tmp_path: Path) -> None:
    other = proof.keep(tmp_path, replace(proof.RUN, id="20261123T010000Z-al2-def456"))
    shutil.copy(other / attestation.NAME, folder / attestation.NAME)
    assert {line.partition(": ")[2] for line in told(folder)} == {
        "the subject run.json has another digest",
        "the subject manifest.json has another digest",
    }


def result(content: dict[str, Any], index: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = content["results"][index]
    return found


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda run: run.update(schema="isms-golden-ami/run/2"), "the schema is"),
        (lambda run: run.pop("results"), "results: Field required"),
        (lambda run: run["run"].pop("finished"), "run.finished: Field required"),
        (lambda run: run["run"].update(finished="2026-11-24T10:00:00"), "run.finished"),
        (lambda run: run["run"].update(finished="yesterday"), "run.finished"),
        (lambda run: run["run"].update(finished="2026-11-20T00:00:00+00:00"), "finished before it started"),
        (lambda run: run["target"].update(uri=3), "target.uri"),
        (lambda run: run.update(baseline="../x"), "baseline"),
        (lambda run: run["documents"][0].update(sha256="abc"), "documents.0.sha256"),
        (lambda run: run["documents"][0].update(changes=-1), "documents.0.changes"),
        (lambda run: run["documents"][0].update(changes="3"), "documents.0.changes"),
        (lambda run: run["documents"][0].update(name="../../x"), "documents.0.name"),
        (lambda run: run["documents"].append(run["documents"][0]), "is there twice"),
        (lambda run: run["results"].append(result(run)), "the rule ssh-root-login is there twice"),
        (lambda run: result(run).update(status="passed"), "results.0.status"),
        (lambda run: result(run).update(severity="none"), "results.0.severity"),
        (lambda run: result(run).update(was="fail"), "`was` belongs to a waived result"),
        (lambda run: result(run, 1).update(was=None), "`was` belongs to a waived result"),
        (lambda run: result(run, 1).update(was="pass"), "results.1.was"),
        (lambda run: result(run).update(controls="ISMS-P"), "results.0.controls"),
        (lambda run: run["summary"].update({"pass": 2}), "the summary does not count"),
        (lambda run: run["waivers"][0].pop("approver"), "waivers.0.approver"),
        (lambda run: run["waivers"][0].update(expires="some day"), "not a complete run"),
        (lambda run: run["digests"].update(suites="x"), "digests.suites"),
    ],
)
def test_a_run_that_cannot_be_is_told(tmp_path: Path, change: Callable[[dict[str, Any]], object], what: str) -> None:
    folder = proof.keep(tmp_path, signers=())
    edit_run(folder, change)
    consistent(folder)
    (line,) = told(folder)
    assert line.startswith("run.json: ")
    assert what in line


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"schema": 3}'])
def test_what_is_no_run_is_told(tmp_path: Path, data: bytes) -> None:
    folder = proof.keep(tmp_path, signers=())
    (folder / "run.json").write_bytes(data)
    consistent(folder)
    (line,) = told(folder)
    assert line.startswith("run.json: ")


@pytest.mark.parametrize(
    "data", [b"null", b"[]", b'{"schema": "isms-golden-ami/manifest/1"}', b'{"schema": "x", "files": {}}', b"[" * 100_000]
)
def test_what_is_no_manifest_is_told(folder: Path, data: bytes) -> None:
    (folder / "manifest.json").write_bytes(data)
    assert "manifest.json: is no manifest that this version of harness knows" in told(folder)


@pytest.mark.parametrize("digest", [3, None, "abc", "A" * 64])
def test_a_manifest_with_other_digests_is_none(folder: Path, digest: object) -> None:
    content = manifest(folder)
    content["files"]["run.json"] = digest
    (folder / "manifest.json").write_text(json.dumps(content), "utf-8")
    assert "manifest.json: is no manifest that this version of harness knows" in told(folder)


def test_a_manifest_that_names_files_elsewhere_does_not_lead_there(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x", "utf-8")
    content = manifest(folder)
    content["files"]["../secret"] = attestation.sha256(b"x")
    (folder / "manifest.json").write_text(json.dumps(content), "utf-8")
    assert "../secret: is missing" in told(folder)


def test_a_document_that_differs_from_what_ran_is_told_though_the_manifest_fits(tmp_path: Path) -> None:
    folder = proof.keep(tmp_path, signers=())
    (folder / "documents" / "isms_security_hardening.yml").write_text("name: other\n", "utf-8")
    (folder / "documents" / "cloudwatch_agent_config.yml").unlink()
    consistent(folder)
    assert told(folder) == [
        "documents/cloudwatch_agent_config.yml: ran, and is not kept",
        "documents/isms_security_hardening.yml: is not the document that ran",
    ]


def test_a_run_that_broke_says_why_there_is_no_verdict(tmp_path: Path) -> None:
    kept = evidence.Evidence.open(tmp_path, proof.RUN.id)
    kept.failure("the engine\nwent away", "start it")
    assert "run.json: is missing, since the run broke: the engine went away" in told(kept.folder)
    (kept.folder / "failure.json").write_text("[]", "utf-8")
    assert "run.json: is missing" in told(kept.folder)


def test_what_is_no_folder_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / "file"):
        (tmp_path / "file").write_text("", "utf-8")
        with pytest.raises(UsageError, match="no evidence folder"):
            examine(path)
