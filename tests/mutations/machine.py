"""A hardened machine that can be broken and put back: where the mutations are tried."""

from __future__ import annotations

import io
import secrets
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from harness import builds, catalog, engine, images, toe
from harness.config import load as configuration
from harness.errors import BuildError
from harness.judge import Scope
from harness.targets.container import ContainerTarget
from tests.mutations.judging import Judge

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from harness.catalog import Baseline, Catalog
    from harness.suites import Check
    from harness.targets.base import Target
    from tests.mutations.reading import Mutation

HERE = Path(__file__).parent
FOLDER = "/run/isms-mutations"
SECONDS = 120.0
SPEC = """\
Name: isms-mutations
Version: 1
Release: 1
Summary: Names for the rpm database
License: none
BuildArch: noarch
%description
Never installed.
"""


class NotAppliedError(Exception):
    """A mutation could not be made."""


class Machine:
    """A hardened container, with what is needed to break it and to put it back."""

    def __init__(self, target: Target, judge: Judge) -> None:
        """Take an open target that is hardened."""
        self.target = target
        self.judge = judge

    def keep(self, packages: bytes) -> Self:
        """Remember every file as it is now."""
        self._run(f"mkdir -p {FOLDER}/packages")
        for name in ("lib.sh", "restore.sh"):
            self.target.put((HERE / name).read_bytes(), f"{FOLDER}/{name}", mode=0o755)
        self.target.put(packages, f"{FOLDER}/packages.tar")
        self._run(f"tar -C {FOLDER}/packages -xf {FOLDER}/packages.tar && {FOLDER}/restore.sh keep")
        return self

    def apply(self, mutation: Mutation) -> None:
        """Break a setting. Raises NotAppliedError with what went wrong."""
        script = f"set -e\n. {FOLDER}/lib.sh\nit='{mutation.it}'\n{mutation.apply}"
        done = self.target.run(script, timeout=SECONDS)
        if done.returncode != 0:
            raise NotAppliedError(f"does not apply: {(done.err or done.out).strip()[-300:] or done.returncode}")

    def restore(self, mutations: Sequence[Mutation]) -> str:
        """Put everything back, the last mutation first; return what could not be."""
        said = [self.target.run(f"{FOLDER}/restore.sh restore", timeout=SECONDS).err.strip()]
        for mutation in reversed(mutations):
            if mutation.restore:
                script = f"set -e\n. {FOLDER}/lib.sh\nit='{mutation.it}'\n{mutation.restore}"
                done = self.target.run(script, timeout=SECONDS)
                said.append(f"{mutation.title}: restore: {done.err.strip() or done.returncode}" if done.returncode else "")
        return "; ".join(filter(None, said))

    def _run(self, command: str) -> None:
        done = self.target.run(command, timeout=SECONDS)
        assert done.returncode == 0, done.err


@contextmanager
def hardened(baseline: str, base: str, known: Sequence[Check], say: Callable[[str], None]) -> Generator[Machine]:
    """Start a container, harden it with the product's documents, and remove it afterwards."""
    content = catalog.load()
    chosen = content.baseline(baseline)
    with container(baseline, base, content, say) as target:
        scope = Scope(rules=content.rules, excluded=chosen.excluded, environment=target.environment)
        yield Machine(target, Judge(target, scope, content.values(chosen, {}), known)).keep(packages(chosen.parameters["packages_removed"]))


@contextmanager
def container(baseline: str, base: str, content: Catalog, say: Callable[[str], None]) -> Generator[ContainerTarget]:
    """Start a container of a baseline and harden it."""
    settings = configuration(None, variables={}, var_files=(), environ={}, cwd=Path("/"))
    source = settings.source(baseline)
    found = engine.find(source.engine, say=say)
    image = images.ensure(base, source, found, say)
    with ContainerTarget.start(found, image.reference, name=f"isms-mutate-{secrets.token_hex(4)}", say=say) as target:
        harden(target, content, content.baseline(source.baseline), say)
        yield target


def harden(target: Target, content: Catalog, baseline: Baseline, say: Callable[[str], None]) -> None:
    """Run the build phases once."""
    settings = configuration(None, variables={}, var_files=(), environ={}, cwd=Path("/"))
    build = builds.chosen_build(settings, settings.source(baseline.name))
    with tempfile.TemporaryDirectory() as logs:
        runner = toe.Runner(target, Path(logs), say)
        for document in builds.documents(content, baseline, build):
            outcome = runner.run(toe.load(document.data, name=document.name), phases=("build",), parameters=document.parameters)
            if outcome.failed_step is not None:
                raise BuildError(f"{document.name}: step {outcome.failed_step.name}: {outcome.failed_step.message}")


def packages(names: str) -> bytes:
    """Return an archive of empty packages with the names that hardening removes, for `package` of lib.sh."""
    wanted = [name for name in names.replace(",", " ").split() if name]
    data = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=data, mode="w") as archive:
        spec = Path(folder, "mutations.spec")
        spec.write_text(
            SPEC + "".join(f"%package -n {name}\nSummary: empty\n%description -n {name}\nEmpty.\n%files -n {name}\n" for name in wanted)
        )
        command = [
            "rpmbuild",
            "-bb",
            "--quiet",
            f"--define=_topdir {folder}",
            "--define=_rpmfilename %%{NAME}.rpm",
            "--define=_binary_payload w1.gzdio",
            str(spec),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
        for name in wanted:
            archive.add(Path(folder, "RPMS", f"{name}.rpm"), f"{name}.rpm")
    return data.getvalue()
