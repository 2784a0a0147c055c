"""The attestation: what it says, who signed it, and that no byte of it can be another."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws
from moto.kms import utils as moto_kms
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from harness import attestation
from harness.errors import UnreachableError, UsageError
from harness.model import Status
from harness.tampering import examine
from tests import proof

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

KEYS = (proof.SIGNER.public_key,)
WHOLE = b'{"run": 1}'
MANIFEST = b'{"files": {}}'


def never() -> bytes | None:
    raise AssertionError("nobody is asked for a passphrase")


def envelope(**changes: str) -> Envelope:
    content = {**attestation.statement(proof.RUN, WHOLE, MANIFEST), **changes}
    made = Envelope(json.dumps(content).encode(), attestation.PAYLOAD_TYPE, {})
    made.sign(proof.SIGNER)
    return made


def problems(folder: Path) -> str:
    return "\n".join(str(problem) for problem in examine(folder, KEYS).problems)


def test_the_subjects_are_what_was_judged_and_what_judged() -> None:
    subjects = {one["name"]: one["digest"]["sha256"] for one in attestation.statement(proof.RUN, WHOLE, MANIFEST)["subject"]}
    assert subjects == {
        "documents/isms_security_hardening.yml": proof.DOCUMENT.sha256,
        "documents/cloudwatch_agent_config.yml": proof.AGENT.sha256,
        "baseline/al2.yaml": "b" * 64,
        "baseline/al2/parameters": hashlib.sha256('{"banner_text":"가","ssh_max_auth_tries":"3"}'.encode()).hexdigest(),
        "suites": "c" * 64,
        "base-image": "a" * 64,
        "run.json": hashlib.sha256(WHOLE).hexdigest(),
        "manifest.json": hashlib.sha256(MANIFEST).hexdigest(),
    }


def test_it_is_an_in_toto_statement_of_a_test_result() -> None:
    made = attestation.statement(proof.RUN, WHOLE, MANIFEST)
    assert made["_type"] == "https://in-toto.io/Statement/v1"
    assert made["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    predicate = made["predicate"]
    assert predicate["result"] == "WARNED"
    assert (predicate["passedTests"], predicate["warnedTests"], predicate["failedTests"]) == (["ssh-root-login"], ["ssh-banner"], [])
    assert [one["name"] for one in predicate["configuration"]] == ["baseline/al2/parameters", "baseline/al2.yaml", "suites"]


def test_a_stand_in_is_named_as_such_by_the_attestation() -> None:
    run = replace(proof.RUN, base={**proof.RUN.base, "kind": "standin"})
    base = next(one for one in attestation.statement(run, WHOLE, MANIFEST)["subject"] if one["name"] == "base-image")
    assert base["annotations"]["kind"] == "standin"


@pytest.mark.parametrize(
    ("status", "again", "result"),
    [(Status.PASS, 0, "PASSED"), (Status.FAIL, 0, "FAILED"), (Status.ERROR, 0, "FAILED"), (Status.PASS, 1, "FAILED")],
)
def test_the_result_is_the_verdict(status: Status, again: int, result: str) -> None:
    documents = tuple(replace(one, changes_again=again) for one in proof.RUN.documents)
    run = replace(proof.RUN, results=(replace(proof.RESULTS[0], status=status),), documents=documents)
    predicate = attestation.statement(run, WHOLE, MANIFEST)["predicate"]
    assert predicate["result"] == result
    assert predicate["failedTests"] == ([] if status is Status.PASS else ["ssh-root-login"])


def test_a_target_that_existed_has_no_base_image_among_the_subjects() -> None:
    run = replace(proof.RUN, base={"kind": "existing", "digest": ""})
    assert "base-image" not in attestation.subjects(run, WHOLE, MANIFEST)


def test_the_signature_holds_for_its_key_and_no_other() -> None:
    made = attestation.parse(attestation.written(envelope()))
    assert attestation.verified(made, KEYS) == (proof.SIGNER.public_key.keyid,)
    assert attestation.verified(made, [proof.STRANGER.public_key]) == ()
    assert attestation.verified(made, [proof.STRANGER.public_key, *KEYS]) == (proof.SIGNER.public_key.keyid,)


def test_openssl_agrees_with_the_signature(tmp_path: Path) -> None:
    """Someone who has neither harness nor Python can verify it (docs/evidence.md)."""
    openssl = shutil.which("openssl")
    assert openssl, "openssl is on every machine that runs these tests"
    _, _ = attestation.keygen(tmp_path / "key", None)
    signer = attestation.load_signer(str(tmp_path / "key"), never)
    made = Envelope(b"payload", attestation.PAYLOAD_TYPE, {})
    made.sign(signer)
    (tmp_path / "pae").write_bytes(b"DSSEv1 28 application/vnd.in-toto+json 7 payload")
    (tmp_path / "sig").write_bytes(bytes.fromhex(next(iter(made.signatures.values())).signature))
    command = ["pkeyutl", "-verify", "-pubin", "-inkey", "key.pub", "-rawin", "-in", "pae", "-sigfile", "sig"]
    done = subprocess.run([openssl, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "payload_type", ["application/json", "application/vnd.in-toto+json ", "application/vnd.in-toto.link+json", "", "text/plain"]
)
def test_another_type_of_payload_is_refused_though_the_signature_holds(payload_type: str) -> None:
    made = Envelope(envelope().payload, payload_type, {})
    made.sign(proof.SIGNER)
    parsed = attestation.parse(attestation.written(made))
    assert attestation.verified(parsed, KEYS)
    assert "the payload is a" in attestation.differences(parsed, proof.RUN, WHOLE, MANIFEST)[0]


def test_the_type_of_the_payload_is_signed_too() -> None:
    made = Envelope(envelope().payload, "text/plain", {})
    made.sign(proof.SIGNER)
    made.payload_type = attestation.PAYLOAD_TYPE
    assert attestation.verified(made, KEYS) == ()


@pytest.mark.parametrize(
    "changes", [{"_type": "https://in-toto.io/Statement/v0.1"}, {"predicateType": "https://slsa.dev/provenance/v1"}, {"_type": "x"}]
)
def test_another_statement_is_refused_though_the_signature_holds(changes: dict[str, str]) -> None:
    made = envelope(**changes)
    assert attestation.verified(made, KEYS)
    assert "is no https://in-toto.io/" in attestation.differences(made, proof.RUN, WHOLE, MANIFEST)[0]


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"\xff", b"{", b"[" * 100_000])
def test_a_payload_that_is_no_statement_is_told(payload: bytes) -> None:
    made = Envelope(payload, attestation.PAYLOAD_TYPE, {})
    made.sign(proof.SIGNER)
    assert len(attestation.differences(made, proof.RUN, WHOLE, MANIFEST)) == 1


def test_every_difference_is_named() -> None:
    made = envelope()
    other = replace(
        proof.RUN,
        documents=(replace(proof.RUN.documents[0], sha256="0" * 64),),
        base={**proof.RUN.base, "digest": "sha256:" + "1" * 64},
        digests={"baseline": "2" * 64, "suites": "3" * 64},
        parameters={},
    )
    told = "\n".join(attestation.differences(made, other, b"{}", b"[]"))
    for name in (
        "documents/isms_security_hardening.yml",
        "base-image",
        "baseline/al2.yaml",
        "parameters",
        "suites",
        "run.json",
        "manifest",
    ):
        assert f"{name} has another digest" in told or f"{name}.json has another digest" in told or f"al2/{name} has another" in told
    assert "documents/cloudwatch_agent_config.yml is none of this run" in told


def test_a_statement_that_tells_another_outcome_is_told() -> None:
    content = attestation.statement(proof.RUN, WHOLE, MANIFEST)
    content["predicate"]["result"] = "PASSED"
    made = Envelope(json.dumps(content).encode(), attestation.PAYLOAD_TYPE, {})
    assert attestation.differences(made, proof.RUN, WHOLE, MANIFEST) == ["the statement tells another outcome than run.json"]


@pytest.mark.parametrize("subject", [[], [{}], [3], None, [{"name": "run.json", "digest": {}}]])
def test_subjects_that_are_none_are_told(subject: Any) -> None:  # noqa: ANN401 - JSON
    content = {**attestation.statement(proof.RUN, WHOLE, MANIFEST), "subject": subject}
    made = Envelope(json.dumps(content).encode(), attestation.PAYLOAD_TYPE, {})
    assert attestation.differences(made, proof.RUN, WHOLE, MANIFEST)


def test_a_subject_that_is_named_twice_is_told() -> None:
    content = attestation.statement(proof.RUN, WHOLE, MANIFEST)
    content["subject"] = [{"name": "run.json", "digest": {"sha256": "0" * 64}}, *content["subject"]]
    made = Envelope(json.dumps(content).encode(), attestation.PAYLOAD_TYPE, {})
    assert "a subject is named twice" in attestation.differences(made, proof.RUN, WHOLE, MANIFEST)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return proof.keep(tmp_path_factory.mktemp("signed"))


@given(data=st.data())
def test_no_byte_of_the_file_can_be_another(signed: Path, data: st.DataObject) -> None:
    """Every region: braces, names, payload, its padding, key id, signature, white space."""
    path = signed / attestation.NAME
    before = path.read_bytes()
    position = data.draw(st.integers(0, len(before) - 1), "position")
    other = data.draw(st.integers(0, 255).filter(lambda value: value != before[position]), "byte")
    try:
        path.write_bytes(before[:position] + bytes([other]) + before[position + 1 :])
        assert problems(signed)
    finally:
        path.write_bytes(before)
    assert not problems(signed)


def regions(data: bytes) -> dict[str, range]:
    """Return where the parts of an envelope stand in its file."""
    content = json.loads(data)
    texts = {"payload": content["payload"], "payloadType": content["payloadType"], **content["signatures"][0]}
    return {name: range(start := data.index(f'"{text}"'.encode()) + 1, start + len(text)) for name, text in texts.items()}


@pytest.mark.parametrize("region", ["payload", "payloadType", "keyid", "sig"])
def test_every_byte_of_each_region_counts(signed: Path, region: str) -> None:
    path = signed / attestation.NAME
    before = path.read_bytes()
    places = regions(before)[region]
    step = max(1, len(places) // 80)
    try:
        for position in sorted({*places[::step], *places[:3], *places[-4:]}):
            path.write_bytes(before[:position] + bytes([before[position] ^ 1]) + before[position + 1 :])
            assert problems(signed), (region, position)
    finally:
        path.write_bytes(before)


@given(st.binary(max_size=400))
def test_whatever_bytes_there_are_the_answer_is_a_problem(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        attestation.parse(data)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["payload", "payloadType", "signatures", "keyid", "sig", "x"]), inner)))  # fmt: skip
def test_whatever_json_there_is_the_answer_is_a_problem_or_an_envelope(content: object) -> None:
    with contextlib.suppress(ValueError):
        attestation.parse(json.dumps(content).encode())


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content | {"extra": 1},
        lambda content: content | {"signatures": [{**content["signatures"][0], "cert": "x"}]},
        lambda content: content | {"signatures": content["signatures"] * 2},
        lambda content: content | {"signatures": [{"keyid": 3, "sig": "AAAA"}]},
        lambda content: content | {"signatures": 3},
        lambda content: content | {"payload": "QQ"},
        lambda content: content | {"payload": "QR=="},
        lambda content: content | {"payload": content["payload"] + "\n"},
        lambda content: content | {"payload": "-_-_"},
        lambda content: [content],
        lambda content: {name: value for name, value in content.items() if name != "payloadType"},
    ],
)
def test_other_forms_of_the_same_envelope_are_refused(change: Any) -> None:  # noqa: ANN401 - a lambda over JSON
    content = change(json.loads(attestation.written(envelope())))
    with pytest.raises(ValueError, match=r"."):
        attestation.parse((json.dumps(content, indent=2) + "\n").encode())


def test_a_signature_of_another_payload_does_not_hold(signed: Path) -> None:
    path = signed / attestation.NAME
    before = path.read_bytes()
    content = json.loads(before)
    other = Envelope(b"{}", attestation.PAYLOAD_TYPE, {})
    other.sign(proof.SIGNER)
    content["signatures"][0]["sig"] = other.to_dict()["signatures"][0]["sig"]
    try:
        path.write_text(json.dumps(content, indent=2) + "\n", "ascii")
        assert "no signature by a given key holds" in problems(signed)
    finally:
        path.write_bytes(before)


def test_two_may_sign_and_each_signature_is_kept(tmp_path: Path) -> None:
    folder = proof.keep(tmp_path, signers=(proof.SIGNER, proof.STRANGER))
    examined = examine(folder, [proof.STRANGER.public_key, proof.SIGNER.public_key])
    assert examined.problems == ()
    assert set(examined.verified) == set(examined.signatures) == {proof.SIGNER.public_key.keyid, proof.STRANGER.public_key.keyid}


def test_nobody_signs_what_speaks_of_another_run(tmp_path: Path) -> None:
    folder = proof.keep(tmp_path)
    run = replace(proof.RUN, baseline="al2023")
    with pytest.raises(UsageError, match="speaks of something else"):
        attestation.attest(folder, run, proof.STRANGER)
    (folder / attestation.NAME).write_text("{}", "utf-8")
    with pytest.raises(UsageError, match="speaks of something else"):
        attestation.attest(folder, proof.RUN, proof.STRANGER)


def test_a_new_key_signs_and_verifies(tmp_path: Path) -> None:
    public, name = attestation.keygen(tmp_path / "key.pem", None)
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    assert attestation.load_key(str(public)).keyid == name
    signer = attestation.load_signer(str(tmp_path / "key.pem"), never)
    assert isinstance(signer, CryptoSigner)
    assert signer.public_key.keyid == name
    with pytest.raises(UsageError, match="exists already"):
        attestation.keygen(tmp_path / "key.pem", None)
    with pytest.raises(UsageError, match="cannot be written"):
        attestation.keygen(tmp_path / "no" / "key.pem", None)


def test_a_passphrase_is_asked_for_only_where_there_is_one(tmp_path: Path) -> None:
    attestation.keygen(tmp_path / "key", b"open sesame")
    assert b"ENCRYPTED" in (tmp_path / "key").read_bytes()
    assert isinstance(attestation.load_signer(str(tmp_path / "key"), lambda: b"open sesame"), CryptoSigner)
    with pytest.raises(UsageError, match="has a passphrase") as caught:
        attestation.load_signer(str(tmp_path / "key"), lambda: None)
    assert attestation.PASSPHRASE in str(caught.value.hint)
    with pytest.raises(UsageError, match="cannot be read as a private key") as wrong:
        attestation.load_signer(str(tmp_path / "key"), lambda: b"guess")
    assert "guess" not in f"{wrong.value}{wrong.value.hint}"
    assert attestation.passphrase_from({attestation.PASSPHRASE: "x"}, ask=False) == b"x"
    assert attestation.passphrase_from({attestation.PASSPHRASE: ""}, ask=True) is None
    assert attestation.passphrase_from({}, ask=False) is None


def pem(key: Any) -> bytes:  # noqa: ANN401 - any private key
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    data: bytes = key.private_bytes(encoding, form, serialization.NoEncryption())
    return data


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "cannot be read as a private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be read as a private key"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "is not an Ed25519 key"),
        (pem(rsa.generate_private_key(65537, 2048)), "is not an Ed25519 key"),
    ],
)
def test_a_file_that_holds_no_such_key_is_told(tmp_path: Path, data: bytes, what: str) -> None:
    (tmp_path / "key").write_bytes(data)
    with pytest.raises(UsageError, match=what):
        attestation.load_signer(str(tmp_path / "key"), never)


def test_public_and_private_halves_are_not_confused(tmp_path: Path) -> None:
    attestation.keygen(tmp_path / "key", None)
    with pytest.raises(UsageError, match="is a private key"):
        attestation.load_key(str(tmp_path / "key"))
    with pytest.raises(UsageError, match="cannot be read as a private key"):
        attestation.load_signer(str(tmp_path / "key.pub"), never)
    for name in ("missing", "", "nul\0"):
        with pytest.raises(UsageError, match="cannot be read"):
            attestation.load_key(str(tmp_path / name))


def test_the_curve_and_rsa_keys_of_others_are_taken_as_public_keys(tmp_path: Path) -> None:
    for key in (ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048), Ed25519PrivateKey.generate()):
        public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / "key.pub").write_bytes(public)
        made = Envelope(b"x", attestation.PAYLOAD_TYPE, {})
        made.sign(CryptoSigner(key))
        assert attestation.verified(made, [attestation.load_key(str(tmp_path / "key.pub"))])


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Generator[Any]:
    """AWS KMS in memory. moto hashes what it is given as a digest once more, so it is told what the service does."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-northeast-2")
    monkeypatch.delenv("AWS_PROFILE", raising=False)

    def sign(key: Any, message: bytes, signing_algorithm: str) -> bytes:  # noqa: ANN401 - moto's own
        assert signing_algorithm == "ECDSA_SHA_256"
        signature: bytes = key.private_key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256())))
        return signature

    monkeypatch.setattr(moto_kms.ECDSAPrivateKey, "sign", sign)
    with mock_aws():
        yield boto3.client("kms")


def test_aws_kms_signs_and_its_public_half_verifies(kms: Any, tmp_path: Path) -> None:  # noqa: ANN401 - boto3's client
    key = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/evidence", TargetKeyId=key)
    folder = proof.keep(tmp_path, signers=())
    signer = attestation.load_signer("awskms:alias/evidence", never)
    name = attestation.attest(folder, proof.RUN, signer)
    assert examine(folder, [attestation.load_key(f"awskms:{key}")]).verified == (name,)
    der = serialization.load_der_public_key(kms.get_public_key(KeyId=key)["PublicKey"])
    (tmp_path / "kms.pub").write_bytes(der.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    # Without AWS: the exported public half is the same key.
    assert examine(folder, [attestation.load_key(str(tmp_path / "kms.pub"))]).verified == (name,)
    assert examine(folder, KEYS).verified == ()


def test_what_aws_kms_refuses_is_one_line(kms: Any, capfd: pytest.CaptureFixture[str]) -> None:  # noqa: ANN401 - as above
    with pytest.raises(UnreachableError, match="does not give the key nobody"):
        attestation.load_signer("awskms:nobody", never)
    with pytest.raises(UsageError, match="names no key"):
        attestation.load_key("awskms:")
    symmetric = kms.create_key()["KeyMetadata"]["KeyId"]
    with pytest.raises((UnreachableError, UsageError)):
        attestation.load_signer(f"awskms:{symmetric}", never)
    key = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["KeyId"]
    signer = attestation.load_signer(f"awskms:{key}", never)
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    with contextlib.suppress(UnreachableError):
        attestation.signed(Envelope(b"x", "y", {}), signer)
    assert capfd.readouterr().err == ""


def test_without_a_region_aws_kms_is_not_reachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UnreachableError) as caught:
        attestation.load_key("awskms:alias/evidence")
    assert caught.value.exit_code == 3


def test_payloads_are_kept_as_plain_base64(signed: Path) -> None:
    content = json.loads((signed / attestation.NAME).read_bytes())
    assert json.loads(base64.b64decode(content["payload"], validate=True))["_type"] == attestation.STATEMENT_TYPE
