"""The rehearsal as a user types it: whole processes, component documents that run in containers, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import engine as engines
from harness import leftovers
from publish.emulator import containers

if TYPE_CHECKING:
    from collections.abc import Iterator

HARNESS = Path(sys.executable).with_name("harness")
SECONDS = 600
CONFIGURATION = """\
source "container" "al2" {
  baseline = "al2"
  image    = "public.ecr.aws/amazonlinux/amazonlinux:2"
}
build "golden" {
  sources = ["source.container.al2"]
  component "site_motd" {
    source     = "./site.yml"
    parameters = { text = "golden" }
  }
}
publish "imagebuilder" {
  schedule { expression = "cron(0 2 * * sun)" }
}
"""
DOCUMENT = """\
name: site_motd
schemaVersion: "1.0"
parameters:
  - text: {{type: string}}
phases:
  - name: build
    steps:
      - name: Write
        action: ExecuteBash
        inputs:
          commands:
            - touch /run/of-the-build-instance
            - echo '{{{{ text }}}}' >/etc/motd.site
            - {command}
  - name: test
    steps:
      - name: Look
        action: ExecuteBash
        inputs:
          commands:
            - test ! -e /run/of-the-build-instance
            - grep -qx golden /etc/motd.site
            - {test}
"""
ALONE = ("rehearse", "--base", "standin", "--despite-gate", "a test of the pipeline")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start harness with a profile that does not exist: a rehearsal must not even look at it."""
    environment = {**os.environ, "AWS_PROFILE": "nobody", "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    return subprocess.Popen([HARNESS, *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rehearsed(folder: Path, *arguments: str) -> tuple[int, Any, str]:
    """Run a rehearsal to its end; return exit code, outcome and what was told, after a look at what it left."""
    process = start(folder, *ALONE, "--format", "json", *arguments)
    out, err = process.communicate(timeout=SECONDS)
    assert "Traceback" not in err, err
    assert left_by(process.pid) == []
    return process.returncode, json.loads(out), err


def left_by(pid: int) -> list[str]:
    """Return the containers and images that a process of harness has left."""
    engine = engines.find()
    found: list[str] = []
    for what, label in ((("ps", "-aq"), leftovers.LABEL), (("images", "-q"), leftovers.LABEL)):
        found += engine.call(*what, "--filter", f"label={label}.pid={pid}").stdout.decode().split()
    return found


@pytest.fixture
def company(tmp_path: Path) -> Path:
    """Write a configuration with one small document of the company's own."""
    (tmp_path / "harness.hcl").write_text(CONFIGURATION, "utf-8")
    (tmp_path / "site.yml").write_text(DOCUMENT.format(command="true", test="true"), "utf-8")
    return tmp_path


def test_a_broken_component_fails_the_image_and_is_named_and_the_test_instance_is_a_fresh_one(company: Path) -> None:
    (company / "site.yml").write_text(DOCUMENT.format(command="true", test="echo no such luck >&2; exit 7"), "utf-8")
    code, outcome, err = rehearsed(company, "--verbose")
    assert (code, outcome["status"]) == (1, "FAILED")
    # That it came to the last command says that the ones before it found a fresh instance of what was built.
    assert [entry["state"] for entry in outcome["states"]] == ["PENDING", "CREATING", "BUILDING", "TESTING", "FAILED"]
    assert "isms-golden-ami-al2-site-motd/1.0.0/1: phase test, step Look: " in outcome["reason"]
    assert "exit code 7" in outcome["reason"]
    assert "no such luck" in err
    assert "error: isms-golden-ami-al2-site-motd/1.0.0/1: phase test, step Look" in err
    assert "STAND-IN" in outcome["base"]
    assert outcome["evidence"] == "none: a test of the pipeline"
    assert any("though the gate is closed" in note for note in outcome["notes"])
    # Amazon's own component comes before ours in the recipe, and ran for real as well.
    assert ":aws:component/update-linux/" in err


@pytest.fixture
def at_work(company: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a rehearsal whose document does not end, and wait until it runs."""
    (company / "site.yml").write_text(DOCUMENT.format(command="echo it is at work; sleep 600", test="true"), "utf-8")
    process = start(company, *ALONE, "--verbose")
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if "it is at work" in line:
            break
    else:
        pytest.fail("".join(said))
    yield process
    if process.poll() is None:
        process.kill()
        process.communicate(timeout=60)


def test_a_rehearsal_that_is_ended_takes_its_containers_and_images_with_it(at_work: subprocess.Popen[str]) -> None:
    at_work.send_signal(signal.SIGTERM)
    at_work.communicate(timeout=120)
    assert at_work.returncode == 128 + signal.SIGTERM
    assert left_by(at_work.pid) == []


def test_what_a_killed_rehearsal_left_is_swept_by_the_next(tmp_path: Path) -> None:
    engine, said = engines.find(), list[str]()
    told = {containers.LABEL: "true", **leftovers.labels("crashed"), f"{leftovers.LABEL}.started": "1"}
    # As `import` takes no base image, this needs none either.
    empty = tmp_path / "empty.tar"
    empty.write_bytes(b"\0" * 10240)
    changes = [f"--change=LABEL {key}={json.dumps(value)}" for key, value in told.items()]
    reference = f"{containers.REPOSITORY}:test-{os.getpid()}"
    engine.call("import", *changes, str(empty), reference)
    living = f"{reference}-living"
    mine = [f"--change=LABEL {key}={json.dumps(value)}" for key, value in {**told, **leftovers.labels("living")}.items()]
    engine.call("import", *mine, "--message=living", str(empty), living)
    try:
        containers.sweep(engine, said.append)
        assert [line for line in said if reference in line and not line.startswith(living)]
        assert engine.call("image", "inspect", reference, check=False).returncode != 0
        assert engine.call("image", "inspect", living, check=False).returncode == 0
    finally:
        containers.drop(engine, living)
