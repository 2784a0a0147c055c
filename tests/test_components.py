"""Rendered documents are valid AWSTOE, carry scripts byte for byte, and are split the same way every time."""

from __future__ import annotations

import hashlib
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from harness import catalog, components
from harness.errors import ContentError

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = "#!/usr/bin/env bash\n\tindented='$x' # \"quotes\"\n\nlast  \n"
SOURCE = """\
name: demo
# why this order
schemaVersion: "1.0"
phases:
  - name: build
    steps:
      - name: prepare
        action: ExecuteBash
        inputs:
          commands:
            - harness:prepare
      - name: one
        action: ExecuteBash
        inputs:
          commands:
            - harness:apply one
      - name: two
        action: ExecuteBash
        inputs:
          commands:
            - harness:apply two
  - name: validate
    steps:
      - name: one
        action: ExecuteBash
        inputs:
          commands:
            - harness:check one
"""


def make(folder: Path, *, script: str = SCRIPT) -> catalog.Catalog:
    for name in ("scripts", "components", "files/one/drop.d", "rules", "baselines"):
        (folder / name).mkdir(parents=True)
    (folder / "scripts" / "lib.sh").write_text("# lib\n", "utf-8")
    for subject in ("one", "two"):
        (folder / "scripts" / f"{subject}.sh").write_text(script, "utf-8")
        (folder / "rules" / f"{subject}.yaml").write_text(
            f"parameters:\n  {subject}_value: {{type: text, description: '{subject}: a value'}}\nrules: []\n", "utf-8"
        )
    (folder / "files" / "one" / "drop.d" / "a.conf").write_text("세션\n", "utf-8")
    (folder / "components" / "demo.yml").write_text(SOURCE, "utf-8")
    (folder / "baselines" / "al2.yaml").write_text(
        'title: {ko: 가, en: a}\nos: {id: amzn, version_id: "2"}\nparameters: {one_value: "1", two_value: "no"}\n', "utf-8"
    )
    return catalog.load(folder)


def render(content: catalog.Catalog, limit: int = components.DOCUMENT_LIMIT, **overrides: str) -> tuple[components.Rendered, ...]:
    return components.render(content, "demo", content.baseline("al2").parameters, overrides, limit=limit)


def commands(document: components.Rendered, phase: int, step: int) -> str:
    data: Any = yaml.safe_load(document.data)
    text = data["phases"][phase]["steps"][step]["inputs"]["commands"][0]
    assert isinstance(text, str)
    return text


def test_a_document_declares_its_parameters_and_keeps_comments(tmp_path: Path) -> None:
    (document,) = render(make(tmp_path), one_value="7")
    data = yaml.safe_load(document.data)
    assert data["parameters"] == [
        {"one_value": {"type": "string", "default": "1", "description": "one: a value"}},
        {"two_value": {"type": "string", "default": "no", "description": "two: a value"}},
    ]
    assert document.parameters == {"one_value": "7"}
    assert b"# why this order" in document.data
    assert document.sha256 == hashlib.sha256(document.data).hexdigest()


def test_the_rendered_bash_puts_the_scripts_on_the_image_byte_for_byte(tmp_path: Path) -> None:
    content = make(tmp_path / "content")
    (document,) = render(content)
    root = tmp_path / "image"
    for step in (0, 1):
        text = (
            commands(document, 0, step)
            .replace(components.FOLDER, str(root))
            .replace("exec bash", "echo bash")
            .replace("{{ one_value }}", "1")
        )
        ran = subprocess.run(["bash", "-c", text], check=True, capture_output=True, text=True, timeout=30)
    assert (root / "one.sh").read_text("utf-8") == SCRIPT
    assert (root / "lib.sh").read_text("utf-8") == "# lib\n"
    assert (root / "files" / "one" / "drop.d" / "a.conf").read_text("utf-8") == "세션\n"
    assert (root / "one.sh").stat().st_mode & 0o777 == 0o700
    assert ran.stdout == f"bash {root}/one.sh apply one_value=1\n"
    before = (root / "one.sh").stat().st_mtime_ns
    subprocess.run(["bash", "-c", text], check=True, capture_output=True, timeout=30)
    assert (root / "one.sh").stat().st_mtime_ns == before


def test_a_document_that_outgrows_the_limit_is_split_by_subject_the_same_way_every_time(tmp_path: Path) -> None:
    content = make(tmp_path)
    (whole,) = render(content)
    parts = render(content, limit=len(whole.data) - 100)
    assert [(part.name, part.subjects) for part in parts] == [("demo-1", ("one",)), ("demo-2", ("two",))]
    assert [part.data for part in parts] == [part.data for part in render(content, limit=len(whole.data) - 100)]
    second = yaml.safe_load(parts[1].data)
    assert [step["name"] for step in second["phases"][0]["steps"]] == ["prepare", "two"]
    assert [phase["name"] for phase in second["phases"]] == ["build"]
    assert [list(parameter) for parameter in second["parameters"]] == [["two_value"]]
    with pytest.raises(ContentError, match="alone makes a document"):
        render(content, limit=700)


@pytest.mark.parametrize("script", ["echo {{ x }}\n", "no newline", "ISMS_END_OF_FILE\n", "echo\r\n"])
def test_a_script_that_would_not_survive_rendering_is_refused(tmp_path: Path, script: str) -> None:
    with pytest.raises(ContentError, match="must end with a newline"):
        render(make(tmp_path, script=script))


def test_our_own_documents_are_deterministic_and_within_the_service_limit() -> None:
    content = catalog.load()
    for baseline in content.baselines.values():
        for name in ("isms_security_hardening", "cloudwatch_agent_config"):
            first = components.render(content, name, baseline.parameters, {})
            assert first == components.render(content, name, baseline.parameters, {})
            assert all(len(document.data) <= components.DOCUMENT_LIMIT for document in first)
            assert len(first) <= 12
