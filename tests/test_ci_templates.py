"""The templates for CI systems: well-formed, and every command of harness in them exists with its options."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer.main
import yaml

from harness import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ("github.yml", "gitlab.yml", "buildspec.yml")
EXPRESSION = re.compile(r"\$\{\{.*?\}\}")


class Reference(list[str]):
    """GitLab's `!reference`."""


class Loader(yaml.SafeLoader):
    """YAML with GitLab's own tag, and `on` as the word that GitHub takes it for."""


def reference(loader: yaml.SafeLoader, node: yaml.SequenceNode) -> Reference:
    """Read GitLab's tag."""
    return Reference(loader.construct_sequence(node))


Loader.add_constructor("!reference", reference)
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:bool"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(name: str) -> dict[str, Any]:
    """Read a template."""
    found: dict[str, Any] = yaml.load((ROOT / "ci" / name).read_text("utf-8"), Loader=Loader)  # noqa: S506 - a safe loader
    return found


def scripts(value: object, key: str = "") -> Iterator[str]:
    """Yield every script in a template, as text for bash."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from scripts(inner, name)
    elif isinstance(value, list) and not isinstance(value, Reference):
        for inner in value:
            yield from scripts(inner, key)
    elif key in {"run", "script", "before_script", "commands"} and isinstance(value, str):
        yield EXPRESSION.sub("x", value)


def commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each call of harness in a script."""
    for part in re.split(r"\n|;|&&|\|\||\||\bdo\b|\bthen\b", text):
        words = shlex.split(re.split(r" >+", part)[0], comments=True)
        if words[:1] == ["harness"]:
            yield words[1:]


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_script_is_bash(name: str) -> None:
    found = list(scripts(load(name)))
    assert len(found) > 3
    for text in found:
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, timeout=20, check=False)
        assert done.stderr == "", text


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_command_and_option_exists(name: str) -> None:
    application: Any = typer.main.get_command(cli.app)
    called = []
    for words in (words for text in scripts(load(name)) for words in commands(text)):
        command, path = application, list[str]()
        while hasattr(command, "commands"):
            assert words[len(path)] in command.commands, words
            path.append(words[len(path)])
            command = command.commands[path[-1]]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        unknown = {word for word in words[len(path) :] if word.startswith("-")} - known
        assert unknown == set(), words
        called.append(" ".join(path))
    order = [command for command in dict.fromkeys(called) if command != "doctor"]
    assert order == ["verify", "gate", "plan", "publish"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_sessions_of_nox_exist(name: str) -> None:
    sessions = set(re.findall(r"^@nox\.session.*\ndef (\w+)", (ROOT / "noxfile.py").read_text("utf-8"), re.MULTILINE))
    asked = [words.split() for text in scripts(load(name)) for words in re.findall(r"ci/nox -s ([a-z ]+)", text)]
    assert asked
    assert {session for words in asked for session in words} <= sessions


@pytest.mark.parametrize("name", TEMPLATES)
def test_evidence_is_kept_and_junit_is_shown(name: str) -> None:
    text = (ROOT / "ci" / name).read_text("utf-8")
    assert "reports/junit.xml" in text
    assert re.search(r"always|evidence/\*\*/\*", text)


def test_github_gives_each_job_no_more_than_it_needs() -> None:
    template = load("github.yml")
    assert set(template["on"]) == {"pull_request", "push", "schedule"}
    assert template["permissions"] == {"contents": "read"}
    jobs = template["jobs"]
    assert list(jobs) == ["lint", "verify", "plan", "publish"]
    for name, job in jobs.items():
        assert {"runs-on", "timeout-minutes", "steps"} <= set(job)
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])
        signs_in = any("configure-aws-credentials" in step.get("uses", "") for step in job["steps"])
        assert (job.get("permissions", {}).get("id-token") == "write") is signs_in, name
    assert "refs/heads/main" in jobs["publish"]["if"]
    assert jobs["publish"]["environment"] == "production"
    assert (jobs["verify"]["needs"], jobs["plan"]["needs"], jobs["publish"]["needs"]) == ("lint", "verify", "plan")


def test_gitlab_runs_its_stages_in_order() -> None:
    template = load("gitlab.yml")
    assert template["stages"] == ["lint", "verify", "gate", "publish"]
    jobs = {name: job for name, job in template.items() if isinstance(job, dict) and "stage" in job}
    assert list(jobs) == template["stages"]
    for job in jobs.values():
        assert "script" in job
        assert {need["job"] for need in job.get("needs", ())} <= set(jobs)
        assert job.get("extends", ".harness") in template
    assert jobs["publish"]["rules"] == [{"if": "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"}]
    assert {name for name, job in jobs.items() if job.get("variables", {}).get("AWS_ROLE_ARN") == "$PUBLISH_ROLE"} == {"publish"}


def test_codebuild_publishes_on_main_only() -> None:
    template = load("buildspec.yml")
    assert str(template["version"]) == "0.2"
    assert set(template["phases"]) == {"install", "pre_build", "build"}
    publishing = [text for text in template["phases"]["build"]["commands"] if "harness publish" in text]
    assert len(publishing) == 1
    assert '"$CODEBUILD_WEBHOOK_HEAD_REF" = refs/heads/main' in publishing[0]
    assert template["env"]["variables"]["PUBLISH"] == "no"
