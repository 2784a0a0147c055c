"""Component documents on a real container with systemd: reboots, updates, owners, processes that hang."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import engine as engines
from harness import images
from harness.errors import TargetError
from harness.targets.container import ContainerTarget
from harness.toe import Runner, Status, load

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = Path(__file__).parents[1] / "data" / "toe" / "container.yml"


@dataclass(frozen=True)
class Source:
    """The source whose stand-in is started."""

    image: str = "public.ecr.aws/amazonlinux/amazonlinux:2"
    baseline: str = "al2"
    tls_verify: bool = True


@pytest.fixture(scope="module")
def image() -> str:
    return images.ensure("standin", Source(), engines.find(), print).reference


@pytest.fixture
def target(image: str) -> Iterator[ContainerTarget]:
    with ContainerTarget.start(engines.find(), image, name=f"toe-test-{secrets.token_hex(4)}") as started:
        yield started


def test_document_on_a_container(target: ContainerTarget, tmp_path: Path) -> None:
    outcome = Runner(target, tmp_path, lambda _: None).run(load(DOCUMENT))
    steps = {step.name: step for step in outcome.steps}
    assert outcome.status is Status.SUCCESS_WITH_IGNORED_FAILURE, outcome.message
    assert list(steps["Show"].stdout.splitlines()) == ["root:mail 640", "root:root 644", "daemon:daemon 755", "/tmp/TOE"]
    assert (steps["Boot"].reboots, steps["Again"].reboots, steps["Again"].attempts) == (1, 1, 1)
    assert steps["Again"].stdout == "before\nafter\n"
    assert steps["Again"].outputs == ({"stdout": "after"},)
    assert steps["Hang"].message == "timed out after 2 s"
    assert steps["NothingLeft"].outputs == ({"stdout": "gone"},)
    assert steps["Version"].outputs == ({"stdout": "/root C"},)
    assert target.run("ls -d /tmp/TOE_*").out == "", "nothing is left in the image"


def test_a_script_that_ends_the_container(target: ContainerTarget, tmp_path: Path) -> None:
    text = """
schemaVersion: 1.0
phases:
  - name: build
    steps:
      - {name: One, action: ExecuteBash, inputs: {commands: [echo one]}}
      - {name: Kill, action: ExecuteBash, inputs: {commands: [echo now, 'kill -s RTMIN+4 1', sleep 60]}}
      - {name: Three, action: ExecuteBash, inputs: {commands: [echo three]}}
"""
    runner = Runner(target, tmp_path, lambda _: None)
    with pytest.raises(TargetError):
        runner.run(load(text))
    outcome = runner.outcome
    assert outcome is not None
    assert [(step.name, step.status) for step in outcome.steps] == [("One", Status.SUCCESS), ("Kill", Status.FAILED)]
    assert outcome.steps[1].tail() == ("now",)
    written = json.loads((outcome.log_folder / "detailedoutput.json").read_text(encoding="utf-8"))
    assert written["status"] == "failed"
    assert "cut short" in written["failureMessage"]
