"""`harness evidence`: parse, call, print, exit code."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

SignKey = Annotated[
    str | None,
    typer.Option("--sign-key", metavar="FILE|awskms:ID", envvar="HARNESS_SIGN_KEY", help="Sign the evidence; default: unsigned."),
]

evidence_app = typer.Typer(
    name="evidence", help="Check, sign and make keys for the evidence of a run.", no_args_is_help=True, rich_markup_mode=None
)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(evidence_app)


def signer_of(key: str) -> Signer:
    """Load a signing key; its passphrase comes from the environment or from the person at the terminal."""
    from harness import attestation

    return attestation.load_signer(key, lambda: attestation.passphrase_from(os.environ, ask=sys.stdin.isatty()))


@evidence_app.command("verify")
def evidence_verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The evidence folder of one run.")],
    *,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="PUB|awskms:ID", help="Public key that must have signed; of several one is enough."),
    ] = None,
) -> None:
    """Check digests, files, run.json, attestation and signature; one line per problem. Exit 0: whole, 1: problems."""
    from harness import attestation, tampering

    examined = tampering.examine(folder, [attestation.load_key(name) for name in key or ()])
    problems = [str(problem) for problem in examined.problems]
    if key and not examined.signatures:
        problems.append(f"{attestation.NAME}: not signed")
    sys.stdout.write("".join(f"{problem}\n" for problem in dict.fromkeys(problems)))
    if not problems:
        sys.stdout.write(f"{folder}: as it was written, {tampering.signature_told(examined)}\n")
    raise typer.Exit(1 if problems else 0)


@evidence_app.command("sign")
def evidence_sign(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The evidence folder of one run.")],
    *,
    key: Annotated[str, typer.Option("--key", metavar="FILE|awskms:ID", envvar="HARNESS_SIGN_KEY", help="Private key that signs.")],
) -> None:
    """Sign the evidence of a run, if it is as it was written; may be done by several keys. Exit 1: it is not."""
    from harness import attestation, tampering

    examined = tampering.examine(folder)
    if examined.problems or examined.run is None:
        sys.stdout.write("".join(f"{problem}\n" for problem in examined.problems))
        raise typer.Exit(1)
    sys.stdout.write(f"{folder / attestation.NAME}: signed by {attestation.attest(folder, examined.run, signer_of(key))}\n")


@evidence_app.command("keygen")
def evidence_keygen(
    to: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Gets the private key; FILE.pub gets the public one.")],
) -> None:
    """Make an Ed25519 key that signs evidence; HARNESS_KEY_PASSPHRASE in the environment encrypts it."""
    from harness import attestation

    public, name = attestation.keygen(to, attestation.passphrase_from(os.environ, ask=False))
    sys.stdout.write(f"{to}\n{public}\nkey {name}\n")
