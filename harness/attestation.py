"""The attestation of a run: an in-toto statement about its digests in a DSSE envelope, signed by a key file or by AWS KMS."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from typing import TYPE_CHECKING, Any

from harness.errors import Location, UnreachableError, UsageError
from harness.model import Run, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import Key, Signer, SSlibKey

NAME = "attestation.dsse.json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
KMS = "awskms:"
PASSPHRASE = "HARNESS_KEY_PASSPHRASE"  # noqa: S105 - the name of the variable, not what it holds
KEYGEN = "`harness evidence keygen -o FILE` makes a pair"


def sha256(data: bytes) -> str:
    """Return the digest of bytes as evidence writes it."""
    return hashlib.sha256(data).hexdigest()


def subjects(run: Run, run_json: bytes, manifest: bytes) -> dict[str, str]:
    """Return what the attestation speaks of: name to SHA-256.

    The parameters are digested as JSON with sorted keys and no blanks. `base-image` is left out where the run does not know it.
    """
    values = json.dumps(dict(run.parameters), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    named = {f"documents/{document.name}.yml": document.sha256 for document in run.documents}
    named[f"baseline/{run.baseline}/parameters"] = sha256(values.encode())
    if "baseline" in run.digests:
        named[f"baseline/{run.baseline}.yaml"] = run.digests["baseline"]
    if "suites" in run.digests:
        named["suites"] = run.digests["suites"]
    if base := re.fullmatch(r"sha256:([0-9a-f]{64})", run.base.get("digest", "")):
        named["base-image"] = base[1]
    return {**named, "run.json": sha256(run_json), "manifest.json": sha256(manifest)}


def statement(run: Run, run_json: bytes, manifest: bytes) -> dict[str, Any]:
    """Say in in-toto's words how a run ended; a waived rule is a warned test, an error a failed one."""
    named = subjects(run, run_json, manifest)
    by_status = {status: sorted(result.rule for result in run.results if result.status is status) for status in Status}
    failed = sorted([*by_status[Status.FAIL], *by_status[Status.ERROR]])
    facts = {"kind": run.base.get("kind", ""), "reference": run.base.get("reference", "")}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": digest}, **({"annotations": facts} if name == "base-image" else {})}
            for name, digest in named.items()
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "result": "WARNED" if run.clean() and by_status[Status.WAIVED] else "PASSED" if run.clean() else "FAILED",
            "configuration": [
                {"name": name, "digest": {"sha256": digest}}
                for name, digest in named.items()
                if name == "suites" or name.startswith("baseline/")
            ],
            "passedTests": by_status[Status.PASS],
            "warnedTests": by_status[Status.WAIVED],
            "failedTests": failed,
        },
    }


def attest(folder: Path, run: Run, signer: Signer) -> str:
    """Sign a run's folder and return the key's id. An attestation that is there already gets one signature more.

    The caller has made sure that the folder is as it was written. Raises UsageError where the attestation speaks of something else.
    """
    from securesystemslib.dsse import Envelope

    made = statement(run, (folder / "run.json").read_bytes(), (folder / "manifest.json").read_bytes())
    path = folder / NAME
    envelope = Envelope(json.dumps(made, ensure_ascii=False, sort_keys=True).encode(), PAYLOAD_TYPE, {})
    if path.exists():
        try:
            envelope = parse(path.read_bytes())
            same = said(envelope) == made
        except ValueError:
            same = False
        if not same:
            raise UsageError("the attestation that is there speaks of something else", hint="remove it, then sign", at=Location(path))
    signature = signed(envelope, signer)
    new = path.with_name(f".{NAME}.new")
    new.write_bytes(written(envelope))
    new.replace(path)
    return signature


def signed(envelope: Envelope, signer: Signer) -> str:
    """Add a signature. Raises UnreachableError where AWS does not give one."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return str(envelope.sign(signer).keyid)
    except (BotoCoreError, ClientError) as error:
        raise UnreachableError(f"AWS KMS does not sign: {error}", hint="kms:Sign on the key is needed") from None


def written(envelope: Envelope) -> bytes:
    """Write an envelope in the one form that is accepted when it is read."""
    return (json.dumps(envelope.to_dict(), indent=2) + "\n").encode()


def parse(data: bytes) -> Envelope:
    """Read an envelope. Raises ValueError with the reason, also for a form in which the same could be said in other bytes."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import FormatError

    try:
        content = json.loads(data)
        if any(set(signature) != {"keyid", "sig"} for signature in content["signatures"]):
            raise ValueError("a signature holds something beside keyid and sig")
        if not all(isinstance(text, str) for one in content["signatures"] for text in one.values()):
            raise ValueError("a signature holds something other than text")
        envelope = Envelope.from_dict(content)
        same = written(envelope) == data
    except (KeyError, TypeError, AttributeError, RecursionError, FormatError) as error:
        raise ValueError(f"not a DSSE envelope: {type(error).__name__} {error}") from None
    if not same:
        raise ValueError("not in the form in which harness writes an envelope")
    return envelope


def said(envelope: Envelope) -> dict[str, Any]:
    """Return the statement of an envelope. Raises ValueError for any other type of payload, statement or predicate."""
    if envelope.payload_type != PAYLOAD_TYPE:
        raise ValueError(f"the payload is a `{envelope.payload_type}`, not a `{PAYLOAD_TYPE}`")
    try:
        content = json.loads(envelope.payload)
    except (ValueError, RecursionError):
        raise ValueError("the payload is not JSON") from None
    if not isinstance(content, dict) or content.get("_type") != STATEMENT_TYPE:
        raise ValueError(f"the payload is no {STATEMENT_TYPE}")
    if content.get("predicateType") != PREDICATE_TYPE:
        raise ValueError(f"the statement is no {PREDICATE_TYPE}")
    return content


def differences(envelope: Envelope, run: Run, run_json: bytes, manifest: bytes) -> list[str]:
    """Name everything in which an attestation speaks of something else than this run, a line each."""
    try:
        content = said(envelope)
    except ValueError as error:
        return [str(error)]
    try:
        stated = {subject["name"]: subject["digest"]["sha256"] for subject in content["subject"]}
        count = len(content["subject"])
    except (KeyError, TypeError):
        return ["a subject has no name or no sha256"]
    found = ["a subject is named twice"] if count != len(stated) else []
    wanted = subjects(run, run_json, manifest)
    found += [f"the subject {name} has another digest" for name in wanted if name in stated and stated[name] != wanted[name]]
    found += [f"the subject {name} is missing" for name in wanted if name not in stated]
    found += [f"the subject {name} is none of this run" for name in stated if name not in wanted]
    if not found and content != statement(run, run_json, manifest):
        found.append("the statement tells another outcome than run.json")
    return found


def verified(envelope: Envelope, keys: Iterable[Key]) -> tuple[str, ...]:
    """Return the ids of the keys whose signatures hold."""
    from securesystemslib.exceptions import Error

    found: list[str] = []
    for key in keys:
        try:
            found += envelope.verify([key], 1)
        except (Error, ValueError, TypeError):
            continue
    return tuple(found)


def load_signer(where: str, passphrase: Callable[[], bytes | None]) -> Signer:
    """Return who signs: the Ed25519 key of a PEM file, or `awskms:` with a key's id, ARN or alias.

    `passphrase` is asked only when the file is encrypted. Raises UsageError for a file that is no such key, UnreachableError for AWS.
    """
    if where.startswith(KMS):
        from securesystemslib.signer import AWSSigner

        uri, public = kms_key(where)
        return AWSSigner.from_priv_key_uri(uri, public)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    data = key_file(where)
    try:
        try:
            key = load_pem_private_key(data, None)
        except TypeError:
            secret = passphrase()
            if not secret:
                raise UsageError(f"the key {where} has a passphrase", hint=f"give it in {PASSPHRASE}") from None
            key = load_pem_private_key(data, secret)
    except (ValueError, UnsupportedAlgorithm):
        hint = f"a PEM file (PKCS #8), and the right passphrase if it has one; {KEYGEN}"
        raise UsageError(f"{where} cannot be read as a private key", hint=hint) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"the key {where} is not an Ed25519 key", hint=KEYGEN)
    return CryptoSigner(key)


def load_key(where: str) -> SSlibKey:
    """Return a public key: a PEM file, or `awskms:` with a key's id. Errors as those of `load_signer`."""
    if where.startswith(KMS):
        return kms_key(where)[1]
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    data = key_file(where)
    if b"PRIVATE KEY" in data:
        raise UsageError(f"{where} is a private key", hint="name the public one; keygen writes it beside, with .pub")
    try:
        return SSlibKey.from_crypto(load_pem_public_key(data))
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(f"{where} cannot be read as a public key", hint=f"a PEM file of Ed25519, ECDSA or RSA; {KEYGEN}") from None


def key_file(where: str) -> bytes:
    """Return the content of a key file."""
    try:
        with open(where, "rb") as file:  # noqa: PTH123 - as the user typed it, for the message
            return file.read(65536)
    except (OSError, ValueError) as error:
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"the key {where} cannot be read: {text}", hint=KEYGEN) from None


def kms_key(where: str) -> tuple[str, SSlibKey]:
    """Ask AWS KMS for the public half of a key; the ambient credentials and region count."""
    from botocore.exceptions import BotoCoreError, ClientError
    from securesystemslib.exceptions import Error
    from securesystemslib.signer import AWSSigner

    # It reports each error a second time, on its logger.
    logging.getLogger("securesystemslib.signer._aws_signer").disabled = True
    name = where.removeprefix(KMS)
    if not name:
        raise UsageError(f"`{where}` names no key", hint="awskms: and the key's id, ARN or alias, such as awskms:alias/evidence")
    try:
        return AWSSigner.import_(name)
    except (BotoCoreError, ClientError) as error:
        hint = "kms:GetPublicKey on the key, a region and credentials are needed"
        raise UnreachableError(f"AWS KMS does not give the key {name}: {error}", hint=hint) from None
    except (Error, ValueError) as error:
        raise UsageError(f"the key {name} cannot sign: {error}", hint="an asymmetric key, SIGN_VERIFY, ECC_NIST_P256") from None


def keygen(path: Path, passphrase: bytes | None) -> tuple[Path, str]:
    """Write a new Ed25519 key, for its owner alone, and its public half beside it with `.pub`. Returns that path and the key's id."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    beside = path.with_name(f"{path.name}.pub")
    for file in (path, beside):
        if os.path.lexists(file):
            raise UsageError(f"{file} exists already", hint="name another file; a key that has signed must not be lost")
    for file, data, mode in ((path, private, 0o600), (beside, public, 0o644)):
        try:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:
                opened.write(data)
        except OSError as error:
            raise UsageError(f"{file} cannot be written: {error.strerror}") from None
    return beside, load_key(str(beside)).keyid


def passphrase_from(environ: Mapping[str, str], *, ask: bool) -> bytes | None:
    """Return the passphrase: from the environment, else by a prompt where a person sits; never from the command line."""
    if PASSPHRASE in environ:
        return environ[PASSPHRASE].encode() or None
    if ask:
        import getpass

        return getpass.getpass("passphrase of the signing key: ").encode() or None
    return None
