"""What the gate decides on: the newest run of each target, trusted keys, and what would be published now."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

import pytest

from harness import attestation, catalog, evidence, gathering, judge
from harness.builds import chosen_build, documents
from harness.config import load
from harness.errors import ConfigError, UsageError
from harness.gate import Policy, decide
from harness.model import DocumentRun, Environment, Result, Run, Severity, Status
from tests import proof

if TYPE_CHECKING:
    from pathlib import Path

    from harness.catalog import Catalog
    from harness.config.settings import Settings

SOURCES = """\
source "container" "al2" {
  baseline = "al2"
  image    = "example.org/al2:2"
}
source "container" "small" {
  baseline = "al2"
  image    = "example.org/al2:small"
}
source "container" "al2023" {
  baseline = "al2023"
  image    = "example.org/al2023:1"
}
build "golden" {
  sources = ["source.container.al2", "source.container.al2023"]
  component "isms_security_hardening" {
    parameters = { ssh_max_auth_tries = 2 }
  }
}
build "other" {
  sources = ["source.container.small"]
  component "cloudwatch_agent_config" {}
}
"""


@cache
def content() -> Catalog:
    return catalog.load()


def settings(folder: Path, gate: str = 'gate {\n  targets = ["al2"]\n  keys = ["key.pub"]\n}\n') -> Settings:
    (folder / "harness.hcl").write_text(SOURCES + gate, "utf-8")
    return load(None, variables={}, var_files=[], environ={}, cwd=folder)


def run_of(chosen: Settings, target: str = "al2", started: datetime = proof.STARTED, name: str = "abc123") -> Run:
    """Make the run that `harness verify` would leave of a target on which every rule passes."""
    source = chosen.source(target)
    baseline = content().baseline(source.baseline)
    expected = gathering.expectation(chosen, content(), source)
    scope = judge.Scope(content().rules, baseline.excluded, Environment.CONTAINER)
    outcomes = [judge.Outcome(rule, Status.PASS) for rule in content().rules]
    return Run(
        id=f"{started:%Y%m%dT%H%M%SZ}-{baseline.name}-{name}",
        started=started,
        finished=started + timedelta(minutes=1),
        harness_version="0.1.0",
        target={"uri": "podman://x", "environment": "container", "source": target},
        base={"kind": "registry", "label": source.image, "reference": "x", "digest": f"sha256:{'a' * 64}", "why": ""},
        baseline=baseline.name,
        parameters=expected.parameters,
        documents=tuple(
            DocumentRun(one, digest, "success", 1, 0, expected.document_parameters[one]) for one, digest in expected.documents.items()
        ),
        results=judge.results(scope, outcomes),
        digests=expected.digests,
    )


def keep(parent: Path, chosen: Settings, run: Run, *, sign: bool = True) -> Path:
    kept = evidence.Evidence.open(parent, run.id)
    source = chosen.source(run.target["source"])
    kept.documents(documents(content(), content().baseline(source.baseline), chosen_build(chosen, source)))
    kept.run(run)
    if sign:
        attestation.attest(kept.folder, run, proof.SIGNER)
    return kept.folder


@pytest.fixture
def chosen(tmp_path: Path) -> Settings:
    (tmp_path / "key.pub").write_bytes(public(proof.SIGNER.public_key.keyval["public"]))
    return settings(tmp_path)


def public(text: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def codes(chosen: Settings, folder: Path | None) -> list[str]:
    gathered = gathering.facts(chosen, content(), folder)
    return [reason.code for reason in decide(gathering.policy(chosen), gathered, proof.NOW).reasons]


def test_fresh_evidence_of_the_real_content_opens_the_gate(tmp_path: Path, chosen: Settings) -> None:
    folder = keep(tmp_path / "evidence", chosen, run_of(chosen))
    assert codes(chosen, tmp_path / "evidence") == []
    assert codes(chosen, folder) == []


def test_a_parameter_changed_afterwards_closes_it(tmp_path: Path, chosen: Settings) -> None:
    keep(tmp_path / "evidence", chosen, run_of(chosen))
    (tmp_path / "harness.hcl").write_text((tmp_path / "harness.hcl").read_text("utf-8").replace("tries = 2", "tries = 3"), "utf-8")
    changed = load(None, variables={}, var_files=[], environ={}, cwd=tmp_path)
    assert set(codes(changed, tmp_path / "evidence")) == {"document", "baseline"}


def test_a_document_added_afterwards_closes_it(tmp_path: Path, chosen: Settings) -> None:
    keep(tmp_path / "evidence", chosen, run_of(chosen))
    text = SOURCES.replace("  component", '  component "cloudwatch_agent_config" {}\n  component', 1)
    (tmp_path / "harness.hcl").write_text(text + 'gate {\n  targets = ["al2"]\n  keys = ["key.pub"]\n}\n', "utf-8")
    changed = load(None, variables={}, var_files=[], environ={}, cwd=tmp_path)
    assert codes(changed, tmp_path / "evidence") == ["document"]


def test_the_newest_run_of_the_target_counts(tmp_path: Path, chosen: Settings) -> None:
    run = run_of(chosen)
    failed = replace(run.results[0], status=Status.FAIL, severity=Severity.HIGH)
    old = replace(run_of(chosen, started=proof.STARTED - timedelta(hours=5)), results=(failed, *run.results[1:]))
    keep(tmp_path / "evidence", chosen, old)
    newest = keep(tmp_path / "evidence", chosen, run)
    keep(tmp_path / "evidence", chosen, run_of(chosen, "small", proof.STARTED + timedelta(hours=1)))
    keep(tmp_path / "evidence", chosen, run_of(chosen, "al2023", proof.STARTED + timedelta(hours=1)))
    (facts,) = gathering.facts(chosen, content(), tmp_path / "evidence")
    assert facts.newest is not None
    assert facts.newest.folder == newest
    assert codes(chosen, tmp_path / "evidence") == []
    later = replace(old, id="20261124T020000Z-al2-fff", started=proof.STARTED + timedelta(minutes=30), finished=proof.NOW)
    keep(tmp_path / "evidence", chosen, later)
    assert codes(chosen, tmp_path / "evidence") == ["fail"]


def test_evidence_of_another_target_is_none(tmp_path: Path, chosen: Settings) -> None:
    keep(tmp_path / "evidence", chosen, run_of(chosen, "small"))
    assert codes(chosen, tmp_path / "evidence") == ["no-evidence"]
    (facts,) = gathering.facts(chosen, content(), tmp_path / "evidence", ["small"])
    assert decide(replace(gathering.policy(chosen), targets=("small",)), [facts], proof.NOW).open


@pytest.mark.parametrize("left", ["failure.json", None])
def test_a_newer_run_that_left_no_verdict_closes_it(tmp_path: Path, chosen: Settings, left: str | None) -> None:
    keep(tmp_path / "evidence", chosen, run_of(chosen))
    kept = evidence.Evidence.open(tmp_path / "evidence", "20261124T023000Z-al2-fff000")
    if left:
        kept.failure("the engine went away", None)
    assert codes(chosen, tmp_path / "evidence") == ["unfinished"]


def test_an_older_run_that_broke_does_not_matter(tmp_path: Path, chosen: Settings) -> None:
    keep(tmp_path / "evidence", chosen, run_of(chosen))
    evidence.Evidence.open(tmp_path / "evidence", "20261101T000000Z-al2-fff000").failure("x", None)
    evidence.Evidence.open(tmp_path / "evidence", "20261124T023000Z-al2023-fff000").failure("x", None)
    (tmp_path / "evidence" / "notes").mkdir()
    (tmp_path / "evidence" / "20269999T999999Z-al2-fff000").mkdir()
    assert codes(chosen, tmp_path / "evidence") == []


def test_a_newest_run_that_cannot_be_read_hides_nothing(tmp_path: Path, chosen: Settings) -> None:
    """Whoever breaks run.json of a bad run does not bring back the good one before it."""
    keep(tmp_path / "evidence", chosen, run_of(chosen))
    newest = keep(tmp_path / "evidence", chosen, run_of(chosen, started=proof.STARTED + timedelta(hours=1)))
    for data in (b"", b"{}", None):
        if data is None:
            (newest / "run.json").unlink()
        else:
            (newest / "run.json").write_bytes(data)
        assert "tampered" in codes(chosen, tmp_path / "evidence")


def test_a_renamed_folder_is_still_the_run_that_it_is(tmp_path: Path, chosen: Settings) -> None:
    folder = keep(tmp_path / "evidence", chosen, run_of(chosen))
    folder.rename(tmp_path / "evidence" / "downloaded")
    assert codes(chosen, tmp_path / "evidence") == []


def test_a_folder_that_cannot_be_read_is_a_mistake_and_none_is_no_evidence(tmp_path: Path, chosen: Settings) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        gathering.facts(chosen, content(), tmp_path / "nothing")
    assert codes(chosen, None) == ["no-evidence"]


def test_the_policy_is_what_the_block_says(tmp_path: Path) -> None:
    words = 'block = ["high"]\n  max_age_hours = 24\n  signature = "optional"\n  allow_standin = true\n  targets = ["al2", "al2"]'
    gate = f"gate {{\n  {words}\n}}\n"
    assert gathering.policy(settings(tmp_path, gate)) == Policy(
        targets=("al2",),
        block=frozenset({Severity.HIGH}),
        max_age=timedelta(days=1),
        signature_required=False,
        keys_known=False,
        allow_standin=True,
    )


@pytest.mark.parametrize("gate", ["", "gate {}\n"])
def test_without_words_every_built_source_needs_signed_evidence(tmp_path: Path, gate: str) -> None:
    chosen = settings(tmp_path, gate)
    assert gathering.policy(chosen) == Policy(targets=("al2", "small", "al2023"))
    assert gathering.policy(chosen).signature_required
    assert gathering.keys(chosen) == ()


def test_a_target_that_nothing_hardens_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "harness.hcl").write_text(SOURCES.partition('build "other"')[0] + 'gate {\n  targets = ["small"]\n}\n', "utf-8")
    with pytest.raises(ConfigError, match="which no build hardens"):
        gathering.facts(load(None, variables={}, var_files=[], environ={}, cwd=tmp_path), content(), None)


@pytest.mark.parametrize("data", [None, b"", b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_key_that_cannot_be_read_is_told_at_the_block(tmp_path: Path, data: bytes | None) -> None:
    if data is not None:
        (tmp_path / "key.pub").write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        gathering.keys(settings(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path / 'harness.hcl'}:{SOURCES.count(chr(10)) + 1}: ")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("body", "line", "what"),
    [
        ('targets = ["al3"]', 1, "no source `al3` is declared"),
        ('block = ["severe"]', 1, "`block`"),
        ("max_age_hours = 0", 1, "greater than or equal to 1"),
        ('max_age_hours = "long"', 1, "must be a whole number"),
        ('signature = "maybe"', 1, "allowed is 'required' or 'optional'"),
        ("allow_stand_in = true", 1, "has no `allow_stand_in`"),
        ('keys = [""]', 1, "`keys`"),
        ('keys = "x"', 1, "must be a list"),
        ("x {}", 1, "cannot stand here"),
    ],
)
def test_mistakes_in_the_block_are_told_with_their_line(tmp_path: Path, body: str, line: int, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, f"gate {{\n  {body}\n}}\n")
    assert what in str(caught.value)
    assert f"harness.hcl:{SOURCES.count(chr(10)) + 1 + line}: " in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(("text", "what"), [("gate {}\ngate {}\n", "one gate block"), ('gate "x" {}\n', "has 0 names")])
def test_there_is_one_gate_without_a_name(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        settings(tmp_path, text)


def test_a_decision_is_told_for_people_and_for_programs(tmp_path: Path, chosen: Settings) -> None:
    keep(tmp_path / "evidence", chosen, run_of(chosen))
    gathered = gathering.facts(chosen, content(), tmp_path / "evidence")
    opened = decide(gathering.policy(chosen), gathered, proof.NOW)
    assert gathering.as_text(opened, gathered).endswith("gate      open\n")
    assert proof.SIGNER.public_key.keyid[:16] in gathering.as_text(opened, gathered)
    closed = decide(gathering.policy(chosen), gathered, datetime(2030, 1, 1, tzinfo=UTC))
    text = gathering.as_text(closed, gathered)
    assert "closed    al2: the run is " in text
    assert "hint: run `harness verify --target al2` again" in text
    assert text.endswith("gate      closed: 1 reason\n")
    data = gathering.as_data(closed, gathered)
    assert (data["open"], [reason["code"] for reason in data["reasons"]]) == (False, ["stale"])
    assert data["evidence"][0]["signed_by"] == [proof.SIGNER.public_key.keyid]


def test_a_result_stays_what_it_was_for_the_suites() -> None:
    """`proof` and this file build results by hand; this one says that they are what the judge makes."""
    scope = judge.Scope(proof.RULES, proof.EXPECTED.excluded, Environment.CONTAINER)
    made = judge.results(scope, [judge.Outcome("ssh-root-login", Status.PASS)])
    assert [(one.rule, one.status, one.reason) for one in made if one.status is Status.NOT_APPLICABLE] == [
        (one.rule, one.status, one.reason) for one in proof.RESULTS if one.status is Status.NOT_APPLICABLE
    ]
    assert isinstance(made[0], Result)
