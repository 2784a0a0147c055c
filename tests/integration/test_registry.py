"""Base images over real HTTP: a registry on loopback, open and private, and none at all."""

from __future__ import annotations

import io
import re
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from harness import engine as engines
from harness import images
from harness.errors import ImageError, UsageError
from harness.images import preparation, registry
from harness.images.cache import Cache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.engine import Engine

HTPASSWD = "somebody:$2y$05$sNIvGkZl/KVUbgUL.R6/Zegj12.QHEzB7vte0SrUtN9DwVaKA70KO\n"
NAME = "isms-test-registry/tiny"
PROGRAMS = {"rpm": "exit 0", "dnf": "exit 9", "getent": "exit 0"}
"""A system that lacks no package and no user: the tests of this file are about how images travel."""


@dataclass(frozen=True)
class Source:
    """What a source of the configuration says."""

    image: str
    baseline: str = "al2"
    tls_verify: bool = False


@pytest.fixture(scope="module")
def engine() -> Engine:
    """Return the engine of this machine."""
    return engines.find()


def tiny(shell: str) -> bytes:
    """Return a root file system of bash, its libraries, and a few programs that only say yes."""
    listed = subprocess.run(["ldd", shell], capture_output=True, text=True, check=True, timeout=30).stdout
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as archive:
        for path in [*re.findall(r"(/\S+) \(0x", listed)]:
            archive.add(path, path.lstrip("/"))
        archive.add(shell, "bin/bash")
        for name, text in PROGRAMS.items():
            data = f"#!/bin/bash\n{text}\n".encode()
            entry = tarfile.TarInfo(f"usr/bin/{name}")
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def serving(folder: Path, *, private: bool = False) -> Iterator[str]:
    """Run a registry on loopback; yields `127.0.0.1:PORT`."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed: apt-get install docker-registry")
    address = f"127.0.0.1:{free_port()}"
    (folder / "htpasswd").write_text(HTPASSWD, "utf-8")
    auth = f"auth: {{htpasswd: {{realm: test, path: {folder / 'htpasswd'}}}}}\n" if private else ""
    storage = f"storage: {{filesystem: {{rootdirectory: {folder / 'storage'}}}}}\n"
    settings = folder / ("private.yml" if private else "open.yml")
    settings.write_text(f"version: 0.1\nlog: {{level: error}}\n{storage}http: {{addr: '{address}'}}\n{auth}", "utf-8")
    with (folder / "registry.log").open("ab") as log:
        process = subprocess.Popen([program, "serve", str(settings)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not answers(address):
            assert process.poll() is None, (folder / "registry.log").read_text("utf-8", "replace")
            assert time.monotonic() < deadline, "the registry does not come up"
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def answers(address: str) -> bool:
    """Tell whether a registry listens."""
    try:
        urllib.request.urlopen(f"http://{address}/v2/", timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Path:
    """Return the folder of a registry that holds `tiny:1`; the engine itself has the image no more."""
    folder = tmp_path_factory.mktemp("registry")
    shell = shutil.which("bash")
    assert shell is not None
    with serving(folder) as address:
        reference = f"{address}/{NAME}:1"
        engine.call("import", "-", reference, input=tiny(shell), timeout=120)
        engine.call("push", *(["--tls-verify=false"] if engine.name == "podman" else []), reference, timeout=120)
        engine.call("rmi", "-f", reference, timeout=60)
    return folder


@contextmanager
def forgetting(engine: Engine, *references: str) -> Iterator[None]:
    """Remove images afterwards."""
    try:
        yield
    finally:
        for reference in references:
            engine.call("rmi", "-f", reference, timeout=60, check=False)


def digest_in(storage: Path) -> str:
    """Return the digest that the registry itself keeps for `tiny:1`."""
    link = storage / "storage/docker/registry/v2/repositories" / NAME / "_manifests/tags/1/current/link"
    return link.read_text("ascii")


@pytest.mark.parametrize("choice", ["auto", "registry"])
def test_an_image_is_pulled_prepared_and_then_there(engine: Engine, storage: Path, tmp_path: Path, choice: str) -> None:
    said: list[str] = []
    with serving(storage) as address:
        source = Source(f"{address}/{NAME}:1")
        base = images.ensure(choice, source, engine, said.append, Cache(tmp_path))
    with forgetting(engine, base.reference, source.image):
        assert base.kind == "registry"
        assert base.label == source.image
        assert base.digest == digest_in(storage)
        assert base.why == ("the registry answers" if choice == "auto" else "asked for")
        assert re.fullmatch(r"localhost/isms-prepared-al2:[0-9a-f]{16}", base.reference)
        assert any(line.startswith("pulling ") for line in said)
        assert registry.present(base.reference, engine)
        # The registry is gone now, and nothing is pulled or prepared again.
        said.clear()
        again = images.ensure(choice, source, engine, said.append, Cache(tmp_path))
        assert (again.reference, again.digest) == (base.reference, base.digest)
        assert "has it already" in again.why
        assert said == []


def test_a_missing_tag_is_a_mistake_even_for_auto(engine: Engine, storage: Path) -> None:
    with serving(storage) as address:
        for choice in ("auto", "registry"):
            with pytest.raises(ImageError, match=r"has no 127\.0\.0\.1:[0-9]+/.*:2") as caught:
                images.ensure(choice, Source(f"{address}/{NAME}:2"), engine, print)
            assert "tag" in (caught.value.hint or "")
            assert caught.value.exit_code == 3


def test_a_private_name_asks_to_log_in(engine: Engine, storage: Path) -> None:
    with serving(storage, private=True) as address, pytest.raises(ImageError, match="private") as caught:
        images.ensure("registry", Source(f"{address}/{NAME}:1"), engine, print)
    assert caught.value.hint == f"log in first: {engine.name} login {address}"


def test_plain_http_is_refused_unless_the_source_allows_it(engine: Engine, storage: Path) -> None:
    if engine.name == "docker":
        pytest.skip("docker takes plain HTTP from loopback without asking")
    with serving(storage) as address, pytest.raises(ImageError, match="plain HTTP") as caught:
        images.ensure("registry", Source(f"{address}/{NAME}:1", tls_verify=True), engine, print)
    assert "tls_verify = false" in (caught.value.hint or "")


@pytest.mark.parametrize("tls_verify", [True, False])
def test_a_registry_that_does_not_listen_is_told_with_the_way_out(engine: Engine, tls_verify: bool) -> None:  # noqa: FBT001 - pytest passes by name
    source = Source(f"127.0.0.1:{free_port()}/{NAME}:1", tls_verify=tls_verify)
    with pytest.raises(ImageError, match=r"does not answer \(127.0.0.1:[0-9]+: connection refused\)") as caught:
        images.ensure("registry", source, engine, print)
    assert "--base standin" in (caught.value.hint or "")
    assert caught.value.exit_code == 3


def test_a_registry_that_swallows_the_question_costs_a_few_seconds_only(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "PROBE_SECONDS", 0.5)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        for tls_verify in (True, False):
            assert registry.silence(Source(f"{address}/x:1", tls_verify=tls_verify), engine) is not None


def test_an_unknown_name_counts_as_no_registry(engine: Engine) -> None:
    assert registry.silence(Source("registry.invalid/x:1", tls_verify=True), engine) is not None


def test_an_unknown_choice_is_refused(engine: Engine) -> None:
    with pytest.raises(UsageError, match="`registri`"):
        images.ensure("registri", Source("x"), engine, print)


def test_an_image_without_package_manager_cannot_be_prepared(engine: Engine, tmp_path: Path) -> None:
    reference = "localhost/isms-test-registry-bare:1"
    shell = shutil.which("bash")
    assert shell is not None
    data = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(tiny(shell))) as full, tarfile.open(fileobj=data, mode="w") as bare:
        for entry in full.getmembers():
            if not entry.name.startswith("usr/bin/"):
                bare.addfile(entry, full.extractfile(entry))
    engine.call("import", "-", reference, input=data.getvalue(), timeout=120)
    with forgetting(engine, reference), pytest.raises(ImageError, match="no rpm") as caught:
        preparation.prepared(reference, "al2", engine, Cache(tmp_path), print)
    assert caught.value.hint
    assert b"isms-prepare" not in engine.call("ps", "-a", "--format", "{{.Names}}").stdout
