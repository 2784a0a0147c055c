"""The rehearsal without its containers: its own policy, what it takes from the user's environment, and the made-up company."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from harness import config
from harness.config.settings import Gate
from harness.console import Progress
from harness.errors import BuildError, UsageError
from publish import rehearse, session
from publish.emulator import Pretence, company
from publish.rehearsal import Rehearsal, policy
from tests.publish.stage import NOW, REGION, Stage, publish_block

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.config.settings import Settings
    from harness.gate import Facts, Policy

DESPITE = "a test without evidence"


def settings(tmp_path: Path) -> Settings:
    """Load the bundled configuration, for no network in particular."""
    return config.load(None, variables={}, var_files=(), environ={}, cwd=tmp_path)


@pytest.mark.parametrize(
    ("keys", "signed", "signature", "kept", "told"),
    [
        ((), False, "optional", (), "no signature, since the gate names no key"),
        (("./a.pub",), False, "required", ("./a.pub",), ""),
        (("./a.pub", "awskms:x"), False, "required", ("./a.pub",), "KMS"),
        (("awskms:x",), False, "optional", (), "KMS"),
        (("./a.pub",), True, "required", ("ephemeral.pub",), "ephemeral key"),
    ],
)
def test_policy_differs_in_what_it_says(  # noqa: PLR0913 - one case
    tmp_path: Path, keys: tuple[str, ...], signature: str, kept: tuple[str, ...], told: str, *, signed: bool
) -> None:
    chosen = settings(tmp_path).model_copy(update={"gate": Gate(line=1, keys=keys, targets=("al2", "al2023"))})
    made = policy(chosen, chosen.source("al2"), tmp_path / "ephemeral.pub" if signed else None)
    gate = made.settings.gate
    assert gate is not None
    assert (gate.signature, gate.targets, gate.allow_standin) == (signature, ("al2",), True)
    assert tuple(name.rpartition("/")[2] if signed else name for name in gate.keys) == kept
    assert any("stand-in" in difference for difference in made.differs)
    assert any("al2023" in difference for difference in made.differs)
    assert told in " ".join(made.differs)
    assert (told != "") == (len(made.differs) == 3)
    # Everything else of the policy stays.
    assert (gate.block, gate.max_age_hours) == (("high", "medium", "low"), 168)


def test_nothing_of_the_users_environment_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "registry.example")
    before = dict(os.environ)
    with rehearse.alone():
        assert {
            name for name in os.environ if name.startswith("AWS_") and os.environ[name] not in {os.devnull, "true", "rehearsal"}
        } == set()
        assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "127.0.0.1,registry.example"
    assert dict(os.environ) == before


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} cannot be used"):
            rehearse.check_port(port)
        # werkzeug itself would end the process.
        with pytest.raises(OSError, match="in use"), rehearse.opened(Pretence(), port):
            pass


def carried_out(chosen: Settings, builder: Pretence) -> Rehearsal:
    """Go the way of a rehearsal from the publishing on."""
    outcome = Rehearsal("al2")
    ground = rehearse.Ground(chosen.source("al2"), "standin", None, DESPITE, outcome)
    with rehearse.alone(), rehearse.opened(builder, 0) as endpoint:
        rehearse.carry_out(chosen, ground, endpoint, Progress(quiet=True))
        assert [name for name, _ in endpoint.emulator.calls].count("StartImagePipelineExecution") == 1
    return outcome


def test_what_fails_is_named(tmp_path: Path) -> None:
    builder = Pretence(failures={"isms-golden-ami-al2-cloudwatch-agent-config": ("build", "agent")})
    outcome = carried_out(settings(tmp_path), builder)
    assert outcome.status == "FAILED"
    assert outcome.reason.startswith("isms-golden-ami-al2-cloudwatch-agent-config/1.0.0/1: phase build, step agent: ")


def test_every_state_is_seen_and_what_a_company_has_already_is_made_up(tmp_path: Path) -> None:
    named = {
        "vpc_id": "vpc-xxxxxxxxx",
        "subnet_id": "subnet-xxxxxxxxx",
        "security_group": "sg-0123456789abcdef0",
        "instance_profile": "company",
        "log_bucket": "company-logs",
        "parent_image": "ssm:/company/base",
        "kms_key_id": "arn:aws:kms:ap-northeast-2:123456789012:key/xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
    }
    chosen = settings(tmp_path)
    assert chosen.publish is not None
    chosen = chosen.model_copy(update={"publish": chosen.publish.model_copy(update=named)})
    outcome = carried_out(chosen, Pretence())
    assert [state for state, _ in outcome.states] == ["PENDING", "CREATING", "BUILDING", "TESTING", "DISTRIBUTING", "AVAILABLE"]
    assert (outcome.status, outcome.reason) == ("AVAILABLE", "")
    text = outcome.as_text()
    assert "nothing of it is in AWS" in text
    assert f"published though the gate is closed: {DESPITE}" in text
    assert [note.rpartition(" ")[2] for note in outcome.notes[:2]] == ["subnet-xxxxxxxxx", "ssm:/company/base"]


def test_the_made_up_subnet_is_private_and_has_a_way_out(stage: Stage) -> None:
    block, notes = company.settle(publish_block(vpc_id=None, subnet_id=None), stage.cloud().client)
    assert notes == []
    plan = session.plan(stage.cloud(), stage.what(block={"vpc_id": block.vpc_id, "subnet_id": block.subnet_id}), NOW)
    assert any("is private, out by NAT gateway" in note for note in plan.notes)
    assert plan.region == REGION


def test_a_component_that_fails_when_it_is_verified_is_an_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise BuildError("site: phase build, step Write: exit code 7", hint="last output: no such luck")

    monkeypatch.setattr(rehearse, "verified", broken)
    seen: list[Rehearsal] = []
    outcome = rehearse.rehearse(settings(tmp_path), rehearse.Options(), Progress(quiet=True), lambda one, _: seen.append(one))
    assert seen == [outcome]
    assert [state for state, _ in outcome.states] == ["VERIFYING", "FAILED"]
    assert (outcome.reason, outcome.hint) == ("site: phase build, step Write: exit code 7", "last output: no such luck")
    assert "FAILED" in outcome.as_text()
    assert outcome.reason in outcome.as_text()


@pytest.mark.parametrize(("named", "asked"), [((), ("al2023",)), (("al2",), ("al2", "al2023")), (("al2023",), ("al2023",))])
def test_the_gate_is_asked_for_what_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: tuple[str, ...], asked: tuple[str, ...]
) -> None:
    from harness import gate, gathering

    seen: list[tuple[str, ...]] = []
    facts, decide = gathering.facts, gate.decide

    def gathered(chosen: Settings, content: Any, folder: Path | None, targets: Sequence[str] | None = None) -> tuple[Facts, ...]:  # noqa: ANN401 - handed on
        seen.append(tuple(targets or ()))
        return facts(chosen, content, folder, targets)

    def decided(rules: Policy, *more: Any) -> Any:  # noqa: ANN401 - handed on
        seen.append(rules.targets)
        return decide(rules, *more)

    monkeypatch.setattr(gathering, "facts", gathered)
    monkeypatch.setattr(gate, "decide", decided)
    chosen = settings(tmp_path).model_copy(update={"gate": Gate(line=1, targets=named)})
    decision = session.decide(chosen, "al2023", tmp_path, NOW)
    assert seen == [asked, asked]
    assert not decision.open
    assert {reason.target for reason in decision.reasons if reason.target} == set(asked)
