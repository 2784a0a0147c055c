"""A user's own folder on a real container: hardened, judged, waived, kept as evidence, and switched off where the user says so."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import engine as engines
from harness import waivers
from tests.program import HARNESS, harness

if TYPE_CHECKING:
    from collections.abc import Generator

EXAMPLE = Path(__file__).parent.parent / "data" / "site"
SECONDS = 600
RULES = [part for rule in ("site-asset-file", "site-asset-mode", "accounts-uid-zero") for part in ("--rule", rule)]
OTHER_OWNER = 'equals="nobody we know"'


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Path, Any, str]]:
    """Harden a container with the example's own component only, one of its rules switched off, and keep it."""
    folder = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("site") / "company")
    text = (folder / "harness.hcl").read_text("utf-8")
    text = text.replace('  component "isms_security_hardening" {}\n  component "cloudwatch_agent_config" {}\n', "")
    (folder / "harness.hcl").write_text(text.replace('off "filesystem-crontab"', 'off "site-asset-mode"'), "utf-8")
    command = [str(HARNESS), "verify", "--base", "standin", "--keep", "--format", "json", *RULES]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, err
        run = json.loads(out)
        yield folder, run, run["target"]["uri"]
    finally:
        process.kill()
        engine = engines.find()
        listed = engine.call("ps", "-a", "--filter", f"label=org.isms.harness.pid={process.pid}", "--format", "{{.Names}}")
        for name in listed.stdout.decode().split():
            engine.call("rm", "-f", name, check=False)


def test_a_site_rule_is_made_judged_and_kept_and_one_that_is_off_is_left_alone(kept: tuple[Path, Any, str]) -> None:
    folder, run, _ = kept
    results = {result["rule"]: result for result in run["results"]}
    assert results["site-asset-file"]["status"] == "pass"
    assert results["site-asset-file"]["observed"] == "owner in /etc/asset: payments"
    assert results["site-asset-file"]["controls"] == ["ISMS-P 2.1.3 (2023)"]
    assert results["site-asset-mode"]["status"] == "not_applicable"
    assert results["site-asset-mode"]["reason"].startswith("switched off by the configuration: The agent")
    assert results["accounts-uid-zero"]["status"] == "pass"
    (document,) = run["documents"]
    assert (document["name"], document["status"], document["changes_again"]) == ("site_hardening", "success", 0)
    assert document["parameters"] == {"site_asset_owner": "payments"}
    evidence = folder / "evidence" / run["run"]["id"]
    assert "isms_off='site-asset-mode'" in (evidence / "documents" / "site_hardening.yml").read_text("utf-8")
    assert set(run["digests"]) == {"baseline", "suites", "site"}
    assert {f"{one['standard']} {one['edition']}" for one in run["controls"]} == {"ISMS-P 2023", "KISA Unix 2026"}
    log = "".join(path.read_text("utf-8", "replace") for path in evidence.rglob("console.log"))
    assert "off site-asset-mode" in log
    assert "changed site-asset-mode" not in log


@pytest.fixture(scope="module")
def failing(kept: tuple[Path, Any, str]) -> tuple[Path, tuple[str, ...]]:
    """Let the user's suite ask for something else, and return what judges the kept container again."""
    folder, _, uri = kept
    suite = folder / "site" / "verify" / "test_asset.py"
    suite.write_text(suite.read_text("utf-8").replace('equals=parameters["site_asset_owner"]', OTHER_OWNER), "utf-8")
    assert OTHER_OWNER in suite.read_text("utf-8")
    return folder, ("verify", "--target", uri, "--as-is", "--rule", "site-asset-file")


def test_a_site_rule_that_does_not_hold_fails_and_its_control_is_vulnerable(failing: tuple[Path, tuple[str, ...]]) -> None:
    folder, command = failing
    done = harness(*command, cwd=folder)
    assert done.code == 1, done.err
    assert "FAIL  site-asset-file" in done.out
    assert "1 vulnerable: 2.1.3" in done.out


def waiver(folder: Path, rule: str, days: int) -> None:
    """Write the waiver that `harness rules` shows, ending so many days from now."""
    today = datetime.now(UTC).date()
    text = waivers.example(rule, today).replace(str(today + timedelta(days=waivers.EXAMPLE_DAYS)), str(today + timedelta(days=days)))
    (folder / "waivers.yaml").write_text(text, "utf-8")


def test_a_waiver_of_it_is_accepted_with_a_warning_and_the_control_stays_what_it_is(failing: tuple[Path, tuple[str, ...]]) -> None:
    folder, command = failing
    waiver(folder, "site-asset-file", 20)
    done = harness(*command, "--format", "json", cwd=folder)
    assert done.code == 0, done.err
    assert "warning: waiver of site-asset-file" in done.err
    run = done.run
    (result,) = run["results"]
    assert (result["status"], result["was"]) == ("waived", "fail")
    assert result["observed"] == "owner in /etc/asset: payments"
    control = next(one for one in run["controls"] if one["id"] == "2.1.3")
    assert (control["status"], control["reason"]["en"]) == ("vulnerable", "site-asset-file (waived)")


def test_an_expired_waiver_fails_by_name(failing: tuple[Path, tuple[str, ...]]) -> None:
    folder, command = failing
    waiver(folder, "site-asset-file", -2)
    done = harness(*command, cwd=folder)
    assert done.code == 1
    assert "waiver of site-asset-file for `*` (SEC-1234, owner Who answers for the risk) expired on" in done.out


def test_a_waiver_of_no_rule_is_refused_before_anything_is_asked(failing: tuple[Path, tuple[str, ...]]) -> None:
    folder, command = failing
    waiver(folder, "site-asset-fil", 20)
    done = harness(*command, cwd=folder)
    assert done.code == 2
    assert "waivers.yaml:2: there is no rule `site-asset-fil`" in done.err
    assert "did you mean `site-asset-file`?" in done.err
    assert "evidence goes to" not in done.err
