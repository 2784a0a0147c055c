"""The yum repository inside the image: RPMs signed by a throw-away key, metadata, one security and one bugfix update to find."""

from __future__ import annotations

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.images.standin.commands import Journal

SIGNER = "stand-in package signing (throw-away key)"
UPDATES = {"standin-secdemo": ("security", "Important"), "standin-bugdemo": ("bugfix", "None")}
UPDATE_RELEASE = "2.standin"
ADVISORY = """\
<update from="standin" status="final" type="{kind}" version="1">
<id>STANDIN-2026-{number:03}</id><title>{name}</title><severity>{severity}</severity>
<issued date="2026-01-01 00:00:00"/><updated date="2026-01-01 00:00:00"/>
<description>Demonstrates a {kind} update on the stand-in.</description><references/>
<pkglist><collection short="standin"><name>standin</name>
<package name="{name}" version="1.0" release="{release}" epoch="0" arch="x86_64" src="standin-updates-1-{release}.src.rpm">
<filename>{name}-1.0-{release}.x86_64.rpm</filename></package>
</collection></pkglist></update>
"""


def sign(rpms: Sequence[Path], public_key: Path, journal: Journal) -> None:
    """Sign the RPMs with a key that exists only during this call; write its public half to `public_key`."""
    with _key_ring(journal) as home:
        gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
        # RSA, since rpm 4.18 verifies nothing newer everywhere; small, since it protects nothing.
        journal.run([*gpg, "--passphrase", "", "--quick-generate-key", SIGNER, "rsa2048", "sign", "never"], seconds=120)
        public_key.parent.mkdir(parents=True, exist_ok=True)
        journal.run([*gpg, "--armor", "--output", public_key, "--export"], seconds=30)
        words = [
            "rpmsign",
            "--define",
            f"_gpg_name {SIGNER}",
            "--define",
            f"_gpg_path {home}",
            "--define",
            f"__gpg {shutil.which('gpg')}",
            "--addsign",
        ]
        workers = min(4, os.cpu_count() or 1)
        parts = [part for part in (rpms[start::workers] for start in range(workers)) if part]
        with ThreadPoolExecutor(workers) as pool:
            for future in [pool.submit(journal.run, [*words, *part], seconds=300) for part in parts]:
                future.result()


def index(folder: Path, journal: Journal, *, advisories: bool) -> None:
    """Write the metadata of one repository folder, with the advisories of the demonstrators where wanted."""
    journal.run(["createrepo_c", "--quiet", "--no-database", folder], seconds=120)
    if advisories:
        text = "".join(
            ADVISORY.format(kind=kind, number=number, name=name, severity=severity, release=UPDATE_RELEASE)
            for number, (name, (kind, severity)) in enumerate(UPDATES.items(), start=1)
        )
        path = folder.parent / "updateinfo.xml"
        path.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n<updates>\n{text}</updates>\n', encoding="utf-8")
        journal.run(["modifyrepo_c", "--mdtype=updateinfo", path, folder / "repodata"], seconds=60)
        path.unlink()


def copy_linked(rpms: Sequence[Path], folder: Path) -> None:
    """Fill a repository folder with hard links: several releases share their files."""
    folder.mkdir(parents=True)
    for path in rpms:
        os.link(path, folder / path.name)


@contextmanager
def _key_ring(journal: Journal) -> Iterator[Path]:
    # Below the system's temporary folder: the agent's socket has a short path limit.
    home = Path(tempfile.mkdtemp(prefix="standin-gpg-"))
    try:
        yield home
    finally:
        try:
            journal.run(["gpgconf", "--homedir", home, "--kill", "all"], seconds=30)
        finally:
            shutil.rmtree(home, ignore_errors=True)
