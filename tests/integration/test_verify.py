"""The main job, as a user types it: whole processes on real containers of the stand-in."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from harness import catalog, pytest_plugin, suites
from harness import engine as engines
from harness.judge import Scope, results
from harness.model import Environment
from harness.targets import open_target
from harness.testinfra_backend import host_for
from tests.program import HARNESS, Done, harness

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

SECONDS = 900

SITE = """\
build "golden" {{
  sources = ["source.container.al2"]
  component "site" {{ source = "./site.yml" }}
}}
source "container" "al2" {{
  baseline = "al2"
  image    = "{image}"
}}
"""
DOCUMENT = """\
name: site
schemaVersion: "1.0"
phases:
  - name: build
    steps:
      - name: only
        action: ExecuteBash
        timeoutSeconds: {seconds}
        inputs:
          commands:
            - {command}
"""


def left_by(pid: int) -> list[str]:
    """Return the containers that a process of harness has left."""
    engine = engines.find()
    listed = engine.call("ps", "-a", "--filter", f"label=org.isms.harness.pid={pid}", "--format", "{{.Names}}")
    return listed.stdout.decode().split()


def remove(uri: str) -> None:
    engine, _, name = uri.partition("://")
    engines.locate(engine).call("rm", "-f", name, check=False)


@pytest.fixture(scope="module", params=["al2", "al2023"])
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Done, Path]]:
    """Harden a fresh target of each baseline once and keep it for the tests of this file.

    One of them is cleaned up as Image Builder does before its snapshot, started anew and judged again: all else holds for it too.
    """
    folder = tmp_path_factory.mktemp("kept")
    cleaned = ["--post-cleanup"] if request.param == "al2023" else []
    done = harness("verify", "--target", request.param, "--base", "standin", "--keep", "--format", "json", *cleaned, cwd=folder)
    assert done.out, done.err
    try:
        yield done, folder
    finally:
        remove(done.run["target"]["uri"])


def test_a_hardened_target_has_no_finding_and_every_rule_has_a_result(kept: tuple[Done, Path]) -> None:
    done, _ = kept
    bad = [
        (result["rule"], result["expected"], result["observed"], result["reason"])
        for result in done.run["results"]
        if result["status"] in {"fail", "error"}
    ]
    assert bad == []
    assert done.code == 0
    assert all(result["reason"] for result in done.run["results"] if result["status"] == "not_applicable")
    assert all(document["changes"] > 0 and document["changes_again"] == 0 for document in done.run["documents"])


def test_people_can_still_log_in_with_a_key_and_become_root(kept: tuple[Done, Path]) -> None:
    done, _ = kept
    survival = {result["rule"]: result["status"] for result in done.run["results"] if result["subject"] == "survival"}
    assert survival["survival-ssh-login"] == "pass"
    assert survival["survival-sudo"] == "pass"


def test_a_target_that_was_cleaned_up_was_judged_before_and_after(kept: tuple[Done, Path]) -> None:
    done, _ = kept
    engine, _, name = done.run["target"]["uri"].partition("://")
    where = next(result["where"] for result in done.run["results"] if result["rule"] == "ssh-root-login")
    if done.run["target"]["source"] == "al2023":
        assert where == ["as built", "cleaned up and started anew"]
        shown = engines.locate(engine).call(
            "exec", name, "find", "/var/lib/cloud", "/etc/ssh", "-name", "ssh_host_*_key", "-newer", "/etc/aide.conf"
        )
        assert "/etc/ssh/ssh_host_ed25519_key" in shown.stdout.decode()
    else:
        assert len(where) <= 1


def test_every_output_says_that_it_is_a_stand_in(kept: tuple[Done, Path]) -> None:
    done, _ = kept
    assert done.run["base"]["kind"] == "standin"
    assert "STAND-IN" in done.run["base"]["label"]
    assert "STAND-IN" in done.err


def test_the_evidence_holds_the_bytes_that_ran_and_a_digest_of_every_file(kept: tuple[Done, Path]) -> None:
    done, folder = kept
    evidence = folder / "evidence" / done.run["run"]["id"]
    manifest = json.loads((evidence / "manifest.json").read_text("utf-8"))["files"]
    for name, digest in manifest.items():
        assert hashlib.sha256((evidence / name).read_bytes()).hexdigest() == digest
    for document in done.run["documents"]:
        assert manifest[f"documents/{document['name']}.yml"] == document["sha256"]
    assert {"run.json", "capture.json.zst", "reports/junit.xml"} <= set(manifest)
    assert json.loads((evidence / "run.json").read_text("utf-8")) == done.run


def test_no_password_hash_leaves_the_target(kept: tuple[Done, Path]) -> None:
    done, folder = kept
    for path in (folder / "evidence" / done.run["run"]["id"]).rglob("*"):
        if path.is_file() and path.suffix != ".zst":
            assert "$6$" not in path.read_text("utf-8", "replace"), path


def test_pytest_gives_the_verdicts_of_the_checks_that_log_in_too(kept: tuple[Done, Path]) -> None:
    """Of all others, a capture shows it. Those that do more than read are called beside each other here, and one by one by pytest."""
    done, _ = kept
    content = catalog.load()
    checks = suites.load((suites.SUITES,), content.rules)
    chosen = {check.rule: content.rules[check.rule] for check in checks if check.verify_only}
    baseline = content.baseline(done.run["baseline"])
    scope = Scope(chosen, baseline.excluded, Environment.CONTAINER)
    with open_target(done.run["target"]["uri"]) as target:
        judging = pytest_plugin.judge(target, host_for(target), scope, content.values(baseline, {}), known=content.rules)
    by_pytest = {result.rule: (str(result.status), result.expected, result.observed) for result in results(scope, judging.outcomes)}
    here = {each["rule"]: (each["status"], each["expected"], each["observed"]) for each in done.run["results"]}
    assert by_pytest == {rule: here[rule] for rule in chosen}
    assert by_pytest["survival-ssh-login"][0] == "pass"


def test_a_second_verification_of_a_kept_container_changes_nothing(kept: tuple[Done, Path], tmp_path: Path) -> None:
    done, _ = kept
    again = harness("verify", "--target", done.run["target"]["uri"], "--format", "json", cwd=tmp_path)
    assert again.code == 0, again.err
    assert [document["changes"] for document in again.run["documents"]] == [0] * len(done.run["documents"])
    assert [document["sha256"] for document in again.run["documents"]] == [document["sha256"] for document in done.run["documents"]]


def test_a_setting_that_somebody_breaks_is_found_with_what_was_expected_and_seen(kept: tuple[Done, Path], tmp_path: Path) -> None:
    done, _ = kept
    engine, _, name = done.run["target"]["uri"].partition("://")
    engines.locate(engine).call("exec", name, "chmod", "0644", "/etc/shadow")
    broken = harness("verify", "--target", done.run["target"]["uri"], "--as-is", "--format", "json", cwd=tmp_path)
    engines.locate(engine).call("exec", name, "chmod", "0000", "/etc/shadow")
    assert broken.code == 1
    found = [result for result in broken.run["results"] if result["status"] == "fail"]
    assert [result["subject"] for result in found] == ["filesystem"]
    assert "0644" in found[0]["observed"]
    text = harness("verify", "--target", done.run["target"]["uri"], "--as-is", "--rule", found[0]["rule"], cwd=tmp_path)
    assert text.code == 0
    assert "1 rules: 1 pass" in text.out


@pytest.mark.parametrize("baseline", ["al2", "al2023"])
def test_the_base_as_it_comes_fails_most_rules_and_says_how(baseline: str, tmp_path: Path) -> None:
    done = harness("verify", "--target", baseline, "--base", "standin", "--as-is", "--format", "json", cwd=tmp_path)
    assert done.code == 1, done.err
    results = done.run["results"]
    failed = [result for result in results if result["status"] == "fail"]
    assert len(failed) >= 0.6 * len(results), sorted(result["rule"] for result in results if result["status"] == "pass")
    assert all(result["expected"] and result["observed"] and result["fix"] for result in failed)
    assert [result["rule"] for result in results if result["status"] == "error"] == []


def test_the_table_names_findings_with_their_fix(tmp_path: Path) -> None:
    done = harness("verify", "--target", "al2", "--base", "standin", "--as-is", "--rule", "ssh-root-login", cwd=tmp_path)
    assert done.code == 1
    assert "FAIL  ssh-root-login  (high)" in done.out
    for word in ("expected", "observed", "fix", "1 rules: 1 fail", "STAND-IN"):
        assert word in done.out
    assert "│" not in done.out


def test_registry_without_a_registry_is_exit_3_with_a_hint(tmp_path: Path) -> None:
    config = SITE.format(image="127.0.0.1:9/none/amazonlinux:2")
    (tmp_path / "harness.hcl").write_text(config, "utf-8")
    (tmp_path / "site.yml").write_text(DOCUMENT.format(seconds=60, command='"true"'), "utf-8")
    done = harness("verify", "--base", "registry", cwd=tmp_path)
    assert done.code == 3
    assert "error: " in done.err
    assert "hint: " in done.err


@pytest.mark.parametrize(
    ("command", "seconds", "what"),
    [
        ('"echo almost; exit 7"', 60, "exit code 7"),
        ('"echo waiting; sleep 600"', 2, "2 s"),
        ('"no-such-command"', 60, "127"),
    ],
)
def test_a_document_that_fails_or_hangs_is_exit_1_names_the_step_and_leaves_no_container(
    command: str, seconds: int, what: str, tmp_path: Path
) -> None:
    (tmp_path / "harness.hcl").write_text(SITE.format(image="example.invalid/amazonlinux:2"), "utf-8")
    (tmp_path / "site.yml").write_text(DOCUMENT.format(seconds=seconds, command=command), "utf-8")
    done = harness("verify", "--base", "standin", cwd=tmp_path)
    assert done.code == 1, done.err
    error = next(line for line in done.err.splitlines() if line.startswith("error: "))
    assert "site: phase build, step only" in error
    assert what in error
    assert left_by(done.pid) == []
    (evidence,) = (tmp_path / "evidence").iterdir()
    assert what in (evidence / "failure.json").read_text("utf-8")
    assert list(evidence.glob("logs/TOE_*/console.log"))


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("verify", "--target", "al3"), 2, "al2"),
        (("verify", "--rule", "ssh-root-logn"), 2, "did you mean ssh-root-login?"),
        (("verify", "--var", "nonsense"), 2, "NAME=VALUE"),
        (("verify", "--var", "no_such_variable=1"), 2, "no_such_variable"),
        (("verify", "--target", "podman://no-such-container"), 3, "no-such-container"),
        (("verify", "--target", "gopher://x"), 2, "podman://"),
        (("verify", "--target", "podman://x", "--post-cleanup"), 2, "fresh container"),
        (("verify", "--config", "missing.hcl"), 2, "missing.hcl"),
        (("rules", "ssh-root-logn"), 2, "ssh-root-login"),
        (("rules", "U-99"), 2, "U-99"),
        (("report", "missing", "--format", "junit"), 2, "missing"),
        (("toe", "run", "missing.yml", "--target", "local://"), 2, "missing.yml"),
    ],
)
def test_bad_input_is_one_line_and_a_hint(arguments: Sequence[str], code: int, what: str, tmp_path: Path) -> None:
    done = harness(*arguments, cwd=tmp_path)
    assert done.code == code, done.err
    assert what in done.err
    assert len([line for line in done.err.splitlines() if line.startswith("error: ")]) == 1
    assert done.out == ""


def test_a_document_that_is_not_yaml_is_exit_2_before_any_container_starts(tmp_path: Path) -> None:
    (tmp_path / "harness.hcl").write_text(SITE.format(image="example.invalid/amazonlinux:2"), "utf-8")
    (tmp_path / "site.yml").write_text("name: [\n", "utf-8")
    done = harness("verify", "--base", "standin", cwd=tmp_path)
    assert done.code == 2
    assert "site.yml:" in done.err
    assert " is up after " not in done.err


def test_no_engine_is_exit_3_and_says_what_to_install(tmp_path: Path) -> None:
    done = harness("verify", "--base", "standin", cwd=tmp_path, env={"PATH": str(tmp_path)})
    assert done.code == 3
    assert "install" in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_container_and_keeps_its_logs(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "harness.hcl").write_text(SITE.format(image="example.invalid/amazonlinux:2"), "utf-8")
    (tmp_path / "site.yml").write_text(DOCUMENT.format(seconds=600, command='"echo begun; sleep 600"'), "utf-8")
    process = subprocess.Popen(
        [HARNESS, "verify", "--base", "standin", "--verbose"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "begun" in line:
            break
    time.sleep(0.2)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode in {130, 128 + number}
    assert "Traceback" not in err
    assert left_by(process.pid) == []
    (evidence,) = (tmp_path / "evidence").iterdir()
    assert json.loads((evidence / "failure.json").read_text("utf-8"))["message"] == "interrupted"
    (detailed,) = evidence.glob("logs/TOE_*/detailedoutput.json")
    assert json.loads(detailed.read_text("utf-8"))["status"] == "failed"


@pytest.mark.parametrize("kept", ["al2"], indirect=True)
def test_its_evidence_carries_a_rehearsal_to_the_end(kept: tuple[Done, Path]) -> None:
    _, folder = kept
    done = harness("rehearse", "--target", "al2", "--evidence", "evidence", "--format", "json", cwd=folder)
    assert done.code == 0, done.err
    states = [entry["state"] for entry in done.run["states"]]
    assert states == ["PENDING", "CREATING", "BUILDING", "TESTING", "DISTRIBUTING", "AVAILABLE"]
    assert any("stand-in" in difference for difference in done.run["policy"])
    assert "STAND-IN" in done.run["base"]
    assert done.run["amis"]["ap-northeast-2"].startswith("ami-")
    assert left_by(done.pid) == []
