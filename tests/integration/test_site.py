"""A user's own folder on a real container: hardened, judged, kept as evidence, and switched off where the user says so."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HARNESS = Path(sys.executable).with_name("harness")
EXAMPLE = Path(__file__).parent.parent / "data" / "site"
SECONDS = 600
RULES = ("site-asset-file", "site-asset-mode", "accounts-uid-zero")


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the example with its own component only, and one of its rules switched off for the first time."""
    folder = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("site") / "company")
    text = (folder / "harness.hcl").read_text("utf-8")
    text = text.replace('  component "isms_security_hardening" {}\n  component "cloudwatch_agent_config" {}\n', "")
    (folder / "harness.hcl").write_text(text.replace('off "filesystem-crontab"', 'off "site-asset-mode"'), "utf-8")
    return folder


def verify(folder: Path) -> Any:  # noqa: ANN401 - JSON
    arguments = [part for rule in RULES for part in ("--rule", rule)]
    done = subprocess.run(
        [HARNESS, "verify", "--base", "standin", "--format", "json", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.stdout, done.stderr
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_site_rule_is_made_judged_and_kept_and_one_that_is_off_is_left_alone(company: Path) -> None:
    run = verify(company)
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
    evidence = company / "evidence" / run["run"]["id"]
    assert "site-asset-mode" in (evidence / "documents" / "site_hardening.yml").read_text("utf-8")
    assert set(run["digests"]) == {"baseline", "suites", "site"}
    assert {f"{one['standard']} {one['edition']}" for one in run["controls"]} == {"ISMS-P 2023", "KISA Unix 2026"}
    log = "".join(path.read_text("utf-8", "replace") for path in evidence.rglob("console.log"))
    assert "off site-asset-mode" in log
    assert "changed site-asset-mode" not in log


def test_a_site_rule_that_does_not_hold_fails_and_its_control_is_vulnerable(company: Path) -> None:
    change = company / "site" / "verify" / "test_asset.py"
    change.write_text(change.read_text("utf-8").replace('equals=parameters["site_asset_owner"]', 'equals="nobody we know"'), "utf-8")
    done = subprocess.run(
        [HARNESS, "verify", "--base", "standin", "--rule", "site-asset-file", "--quiet"],
        cwd=company,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "FAIL  site-asset-file" in done.stdout
    assert "1 vulnerable: 2.1.3" in done.stdout
