"""A whole evidence folder, made by the real writer, and what the gate expects of it: what the tests of evidence share."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from harness import attestation, evidence, waivers
from harness.capture import Answer, Capture
from harness.components import Rendered
from harness.gate import Expectation, Facts, Policy
from harness.model import DocumentRun, Environment, Result, Rule, Run, Severity, Status, Title, Waiver
from harness.tampering import examine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securesystemslib.signer import Key

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
STARTED = NOW - timedelta(hours=2)
SIGNER = CryptoSigner(Ed25519PrivateKey.from_private_bytes(b"\x01" * 32))
STRANGER = CryptoSigner(Ed25519PrivateKey.from_private_bytes(b"\x02" * 32))
DOCUMENT = Rendered("isms_security_hardening", b"name: isms_security_hardening\n", ("ssh",), {"ssh_max_auth_tries": "3"})
AGENT = Rendered("cloudwatch_agent_config", b"name: cloudwatch_agent_config # \xea\xb0\x80\n", ("agent",), {})
IMAGE = "public.ecr.aws/amazonlinux/amazonlinux:2"
DIGESTS = {"baseline": "b" * 64, "suites": "c" * 64}
PARAMETERS = {"ssh_max_auth_tries": "3", "banner_text": "가"}
WAIVER = Waiver("ssh-banner", "al2", "shown by the jump host", "risk-accepted", "o", "a", "SEC-1", date(2026, 12, 31), "Asia/Seoul")


def rule(name: str, severity: Severity = Severity.HIGH, where: frozenset[Environment] = frozenset(Environment)) -> Rule:
    elsewhere = None if where == frozenset(Environment) else "a container has no kernel of its own"
    return Rule(name, name.split("-", 1)[0], Title("제목", "title"), severity, "why", f"mend {name}", (), where, elsewhere, ())


RULES = {
    one.id: one
    for one in (
        rule("ssh-root-login"),
        rule("ssh-banner", Severity.LOW),
        rule("kernel-aslr", Severity.MEDIUM, frozenset({Environment.VM, Environment.AMI, Environment.HOST})),
        rule("packages-old", Severity.LOW),
    )
}
RESULTS = (
    Result("ssh-root-login", Status.PASS, Severity.HIGH, "no", "no", commands=("sshd -T",)),
    Result("ssh-banner", Status.FAIL, Severity.LOW, "set", "none"),
    Result("kernel-aslr", Status.NOT_APPLICABLE, Severity.MEDIUM, reason="a container has no kernel of its own"),
    Result("packages-old", Status.NOT_APPLICABLE, Severity.LOW, reason="not on this system"),
)
EXPECTED = Expectation(
    image=IMAGE,
    baseline="al2",
    parameters=PARAMETERS,
    documents={one.name: one.sha256 for one in (DOCUMENT, AGENT)},
    document_parameters={one.name: dict(one.parameters) for one in (DOCUMENT, AGENT)},
    digests=DIGESTS,
    rules=RULES,
    excluded={"packages-old": "not on this system"},
)
POLICY = Policy(targets=("al2",), keys_known=True)
CAPTURE = Capture(
    target={"uri": "podman://harness-1", "name": "harness-1", "environment": "container"},
    system={"ID": "amzn", "VERSION_ID": "2"},
    user="root 0",
    started=STARTED,
    finished=STARTED + timedelta(minutes=1),
    harness_version="0.1.0",
    answers=(Answer("sshd -T", 0, b"permitrootlogin no\n"),),
    round_trips=1,
)
UNWAIVED = Run(
    id="20261124T010000Z-al2-abc123",
    started=STARTED,
    finished=STARTED + timedelta(minutes=2),
    harness_version="0.1.0",
    target={"uri": "podman://harness-1", "environment": "container", "source": "al2"},
    base={"kind": "registry", "label": IMAGE, "reference": "localhost/prepared", "digest": f"sha256:{'a' * 64}", "why": "it answers"},
    baseline="al2",
    parameters=PARAMETERS,
    documents=tuple(DocumentRun(one.name, one.sha256, "success", 12, 0, dict(one.parameters)) for one in (DOCUMENT, AGENT)),
    results=RESULTS,
    digests=DIGESTS,
)
RUN, _ = waivers.onto(UNWAIVED, [WAIVER])


def keep(parent: Path, run: Run = RUN, signers: Sequence[CryptoSigner] = (SIGNER,)) -> Path:
    """Write a run as `harness verify` does and return its folder."""
    kept = evidence.Evidence.open(parent, run.id)
    kept.documents([DOCUMENT, AGENT][: len(run.documents)])
    (kept.logs / "TOE_2026-11-24").mkdir(parents=True)
    (kept.logs / "TOE_2026-11-24" / "console.log").write_text("done\n", "utf-8")
    kept.capture(CAPTURE)
    kept.run(run)
    for signer in signers:
        attestation.attest(kept.folder, run, signer)
    return kept.folder


def facts(folder: Path, keys: Sequence[Key] = (SIGNER.public_key,), expected: Expectation = EXPECTED) -> Facts:
    return Facts("al2", expected, examine(folder, keys))
