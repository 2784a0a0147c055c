"""The preparation layer, on a system with a real rpm database and a real package manager."""

from __future__ import annotations

import json
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from harness import engine as engines
from harness import images
from harness.errors import ImageError
from harness.images import preparation, registry
from harness.images.cache import Cache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.engine import Engine

REMOVED = ("chrony", "rsyslog", "audit")
LISTS = """\
al2:
  required: [bash, chrony, audit]
  wanted: [rsyslog, no-such-package-anywhere]
broken:
  required: [bash, no-such-package-anywhere]
  wanted: []
"""


class Standin:
    """A source of the configuration, for the stand-in."""

    baseline = "al2"
    image = "registry.invalid/none:1"
    tls_verify = True


@pytest.fixture(scope="module")
def engine() -> Engine:
    """Return the engine of this machine."""
    return engines.find()


@pytest.fixture(scope="module")
def standin(engine: Engine) -> str:
    """Return the stand-in's image; made when it is not there yet."""
    return images.ensure("standin", Standin(), engine, print).reference


def run(engine: Engine, image: str, *words: str, keep: str | None = None) -> str:
    """Run a command in a container of `image` and return what it prints; `keep` is the name under which it stays."""
    name = ["--name", keep] if keep else ["--rm"]
    return engine.call("run", *name, "--network=none", *engine.limit_options, image, *words, timeout=120).stdout.decode()


@contextmanager
def derived(engine: Engine, image: str, script: str) -> Iterator[str]:
    """Change a copy of an image, for as long as it is needed."""
    container = f"isms-test-preparation-{secrets.token_hex(4)}"
    try:
        run(engine, image, "/bin/bash", "-c", script, keep=container)
        engine.call("commit", container, f"localhost/{container}:1", timeout=120)
        yield f"localhost/{container}:1"
    finally:
        engine.call("rm", "-f", container, timeout=60, check=False)
        engine.call("rmi", "-f", f"localhost/{container}:1", timeout=60, check=False)


@pytest.fixture(scope="module")
def bare(engine: Engine, standin: str) -> Iterator[str]:
    """Return an image as registries have it: without some packages and without the AMI's first user."""
    with derived(engine, standin, f"rpm -e --nodeps {' '.join(REMOVED)} && userdel -r ec2-user && rm -f /etc/sudoers.d/90-*") as image:
        yield image


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use short lists of packages."""
    path = tmp_path / "preparation.yaml"
    path.write_text(LISTS, "utf-8")
    real = preparation.packages_of
    monkeypatch.setattr(preparation, "packages_of", lambda baseline: real(baseline, path))
    return path


@pytest.mark.usefixtures("lists")
def test_what_the_image_lacks_is_installed_once(engine: Engine, bare: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://somebody:password@127.0.0.1:9/")
    said: list[str] = []
    image = preparation.prepared(bare, "al2", engine, Cache(tmp_path), said.append)
    try:
        assert f"{bare}: no-such-package-anywhere is not in the repository and is left out" in said
        assert run(engine, image, "rpm", "-q", "--qf", "%{NAME}\n", "chrony", "audit", "rsyslog").split() == ["chrony", "audit", "rsyslog"]
        user = run(
            engine,
            image,
            "/bin/bash",
            "-c",
            "id -nG ec2-user && stat -c %a /etc/sudoers.d/90-cloud-init-users && visudo -cf /etc/sudoers.d/90-cloud-init-users",
        ).split("\n")
        assert {"ec2-user", "wheel"} <= set(user[0].split())
        assert user[1] == "440"
        about = registry.inspect(image, engine)
        assert about["Config"]["Cmd"] == ["/sbin/init"]
        assert about["Config"]["Labels"]["org.isms.base"] == bare
        assert about["Config"]["Labels"]["org.isms.base.digest"] == registry.digest_of(registry.inspect(bare, engine), bare)
        assert "password" not in json.dumps(about)
        assert not any(name.startswith("org.isms.harness") for name in about["Config"]["Labels"])
        said.clear()
        assert preparation.prepared(bare, "al2", engine, Cache(tmp_path), said.append) == image
        assert said == []
    finally:
        engine.call("rmi", "-f", image, timeout=60, check=False)


@pytest.mark.usefixtures("lists")
def test_an_image_that_lacks_nothing_is_not_changed(engine: Engine, standin: str, tmp_path: Path) -> None:
    with derived(engine, standin, "true") as image:
        prepared = preparation.prepared(image, "al2", engine, Cache(tmp_path), print)
        try:
            assert registry.inspect(prepared, engine)["Id"] == registry.inspect(image, engine)["Id"]
        finally:
            engine.call("rmi", "-f", prepared, timeout=60, check=False)


@pytest.mark.usefixtures("lists")
def test_a_required_package_that_does_not_exist_ends_it_and_leaves_nothing(engine: Engine, bare: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no-such-package-anywhere") as caught:
        preparation.prepared(bare, "broken", engine, Cache(tmp_path), print)
    assert caught.value.hint
    assert b"isms-prepare" not in engine.call("ps", "-a", "--format", "{{.Names}}").stdout
    assert b"isms-prepared-broken" not in engine.call("images", "--format", "{{.Repository}}").stdout


def test_old_prepared_images_are_removed(engine: Engine, standin: str) -> None:
    repository = f"localhost/isms-test-preparation-{secrets.token_hex(4)}"
    names = [f"{repository}:{number}" for number in range(4)]
    try:
        for number, name in enumerate(names):
            container = f"{repository.rpartition('/')[2]}-{number}"
            run(engine, standin, "/bin/true", keep=container)
            engine.call("commit", "--change", f"LABEL number={number}", container, name, timeout=120)
            engine.call("rm", "-f", container, timeout=60)
        preparation.prune(names[0], engine, keep=2)
        assert [registry.present(name, engine) for name in names] == [True, False, False, True]
    finally:
        engine.call("rmi", "-f", *names, timeout=60, check=False)


def test_auto_takes_the_stand_in_where_no_registry_answers_and_says_so(engine: Engine, standin: str) -> None:
    base = images.ensure("auto", Standin(), engine, print)
    assert (base.kind, base.reference) == ("standin", standin)
    assert base.why.startswith("no registry answers (registry.invalid")
    assert "amazon" not in f"{base.label} {base.reference}".lower()
