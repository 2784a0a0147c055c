"""A user's own folder and baseline block: taken part of everywhere, and every mistake told with its line before anything starts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import catalog, config, gate, gathering, site
from harness.builds import documents
from harness.errors import ConfigError, ContentError, DocumentError
from harness.model import SWITCHED_OFF, Result, Status
from publish import session

if TYPE_CHECKING:
    from harness.catalog import Catalog
    from harness.config.settings import Settings

EXAMPLE = Path(__file__).parent / "data" / "site"
NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the example to break."""
    return shutil.copytree(EXAMPLE, tmp_path / "company")


def settings(folder: Path) -> Settings:
    return config.load(None, variables={}, var_files=(), environ={}, cwd=folder)


def content(folder: Path) -> Catalog:
    return site.content(settings(folder))


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_the_rules_of_the_folder_are_rules_like_ours(folder: Path) -> None:
    loaded = content(folder)
    assert set(loaded.rules) - set(catalog.load().rules) == {"site-asset-file", "site-asset-mode"}
    assert loaded.site_subjects == {"asset"}
    assert loaded.suites == (folder / "site" / "verify",)
    for baseline in loaded.baselines.values():
        assert baseline.parameters["site_asset_owner"] == "platform"
    assert loaded.root_of("asset") == folder / "site"
    assert loaded.root_of("ssh") == loaded.folder


def test_without_a_site_block_nothing_is_read(folder: Path) -> None:
    text = (folder / "harness.hcl").read_text("utf-8")
    start = text.index("site {")
    (folder / "harness.hcl").write_text(text[:start] + text[text.index('baseline "al2" {') :], "utf-8")
    assert not any(rule.startswith("site-") for rule in content(folder).rules)


def test_its_script_and_files_are_in_the_document_that_is_published(folder: Path) -> None:
    chosen = settings(folder)
    loaded = site.content(chosen)
    rendered = {one.name: one for one in documents(loaded, loaded.baseline("al2"), chosen.builds[0])}
    data = rendered["site_hardening"].data.decode()
    script = (folder / "site" / "scripts" / "asset.sh").read_text("utf-8")
    assert all(line.strip() in data for line in script.splitlines())
    assert "# Read by the asset register." in data
    assert "site_asset_owner='{{ site_asset_owner }}'" in data
    assert rendered["site_hardening"].parameters == {"site_asset_owner": "payments"}
    published = session.publication(with_publish(chosen), "al2", NOW)
    assert {one.name: one.sha256 for one in published.documents} == {name: one.sha256 for name, one in rendered.items()}


def with_publish(chosen: Settings) -> Settings:
    return chosen.model_copy(update={"publish": config.load(None, variables={}, var_files=(), environ={}, cwd=Path("/")).publish})


def test_a_rule_that_is_switched_off_is_left_out_of_results_and_documents_with_its_reason(folder: Path) -> None:
    chosen = settings(folder)
    loaded = site.content(chosen)
    baseline = loaded.baseline("al2")
    assert baseline.excluded["filesystem-crontab"].startswith(f"{SWITCHED_OFF}The agent of the job scheduler")
    assert "filesystem-crontab" not in loaded.baseline("al2023").excluded
    bodies = [one.data.decode() for one in documents(loaded, baseline, chosen.builds[0])]
    assert sum("isms_off='filesystem-crontab'" in body for body in bodies) == 1
    plain = documents(catalog.load(), catalog.load().baseline("al2"), replace_components(chosen).builds[0])
    assert not any(b"isms_off=" in one.data.replace(b"isms_off=''", b"") for one in plain)
    published = session.publication(with_publish(chosen), "al2", NOW)
    assert dict(published.off) == {"filesystem-crontab": baseline.excluded["filesystem-crontab"]}


def replace_components(chosen: Settings) -> Settings:
    build = chosen.builds[0]
    ours = tuple(one for one in build.components if not one.name.startswith("site"))
    return chosen.model_copy(update={"builds": (build.model_copy(update={"components": ours}),)})


def test_the_editions_that_count_are_those_of_the_block(folder: Path) -> None:
    loaded = content(folder)
    assert loaded.counting(loaded.baseline("al2")) == ("isms-p", "kisa-unix-2026")
    assert loaded.counting(loaded.baseline("al2023")) == ("isms-p", "kisa-unix-2026", "kisa-unix-2021")


@pytest.mark.parametrize("changed", ["rules/asset.yaml", "verify/test_asset.py"])
def test_the_gate_sees_when_what_judged_has_changed(folder: Path, changed: str) -> None:
    chosen = settings(folder)
    before = gathering.expectation(chosen, site.content(chosen), chosen.source())
    path = folder / "site" / changed
    path.write_text(path.read_text("utf-8") + "\n# another thought\n", "utf-8")
    after = gathering.expectation(chosen, site.content(chosen), chosen.source())
    assert before.digests["suites"] == after.digests["suites"]
    assert before.digests["site"] != after.digests["site"]
    from tests import proof

    run = replace(proof.RUN, digests={**proof.DIGESTS, "site": before.digests["site"]})
    same = replace(proof.EXPECTED, digests=run.digests)
    other = replace(proof.EXPECTED, digests={**proof.DIGESTS, "site": after.digests["site"]})
    assert list(gate.of_judges(same, run, "again")) == []
    assert [code for code, _, _ in gate.of_judges(other, run, "again")] == ["suites"]
    assert [code for code, _, _ in gate.of_judges(proof.EXPECTED, run, "again")] == ["suites"]


RULES, SCRIPT, STEPS, SUITE = "rules/asset.yaml", "scripts/asset.sh", "components/site_hardening.yml", "verify/test_asset.py"


@pytest.mark.parametrize(
    ("name", "old", "new", "where", "what"),
    [
        (RULES, "id: site-asset-mode", "id: asset-mode", "rules/asset.yaml:16", "cannot be the id of a rule here"),
        (RULES, "    default: platform\n", "", "rules/asset.yaml:2", "`default` is missing"),
        (RULES, "default: platform", "default: Platform", "rules/asset.yaml:5", "does not match"),
        (RULES, "  site_asset_owner:\n", "  asset_owner:\n", "rules/asset.yaml:2", "cannot be a parameter here"),
        (RULES, "parameters: [site_asset_owner]", "parameters: [ssh_max_auth_tries]", "rules/asset.yaml:15", "does not declare"),
        (RULES, 'isms-p: ["2.1.3"]', 'isms-p: ["2.13.1"]', "rules/asset.yaml:14", "has no `2.13.1`"),
        (SUITE, '@rule("site-asset-mode")\n', "", "verify/test_asset.py:13", "judges no rule"),
        (SUITE, '@rule("site-asset-mode")', '@rule("site-asset-mod")', "verify/test_asset.py:13", "`site-asset-mod` is no rule"),
        (SUITE, '@rule("site-asset-mode")', '@rule("ssh-banner")', "verify/test_asset.py:13", "is a rule of ssh"),
        (SUITE, '@rule("site-asset-mode")', '@rule("site-asset-file")', "rules/asset.yaml:16", "no test judges the rule site-asset-mode"),
        (SUITE, "def test_asset_mode(", "def test_asset_mode((", "verify/test_asset.py:14", "not Python"),
        (STEPS, "harness:apply asset", "harness:apply assets", "components/site_hardening.yml:20", "names no subject of this folder"),
        (STEPS, "harness:apply asset", "echo", "rules/asset.yaml:1", "no step does `harness:apply asset`"),
        (STEPS, "- harness:prepare", "- echo", "components/site_hardening.yml:20", "no step prepares the image"),
        (STEPS, "phases:", "phases: [", "components/site_hardening.yml:", "YAML"),
        (STEPS, "action: ExecuteBash", "action: ExecuteBsh", "components/site_hardening.yml:8", "ExecuteBsh"),
    ],
)
def test_each_mistake_in_the_folder_is_told_with_its_line(  # noqa: PLR0913 - a table
    folder: Path, name: str, old: str, new: str, where: str, what: str
) -> None:
    change(folder / "site" / name, old, new)
    with pytest.raises((ContentError, DocumentError)) as caught:
        content(folder)
    assert where in str(caught.value)
    assert what in str(caught.value)


def test_a_script_that_never_names_a_rule_is_refused(folder: Path) -> None:
    path = folder / "site" / SCRIPT
    path.write_text(path.read_text("utf-8").replace("site-asset-mode", "site-asset-file") + "# site-asset-mode\n", "utf-8")
    with pytest.raises(ContentError, match=r"asset\.sh never names the rule site-asset-mode") as caught:
        content(folder)
    assert "rules/asset.yaml:16" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("scripts/other.sh", "`other` has no rules"),
        ("verify/test_other.py", "`other` has no rules"),
        ("files/other/x", "`other` has no rules"),
        ("suites/test_asset.py", "nothing is read from `suites`"),
        ("components/isms_security_hardening.yml", "is one of harness"),
        ("components/unused.yml", "no build uses the component `unused`"),
    ],
)
def test_what_belongs_to_no_rule_is_refused(folder: Path, name: str, what: str) -> None:
    path = folder / "site" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "site" / STEPS, path)
    change(path, "harness:apply asset", "echo")
    with pytest.raises(ContentError, match=what) as caught:
        content(folder)
    assert str(path) in str(caught.value) or str(path.parent) in str(caught.value)


@pytest.mark.parametrize("name", [SCRIPT, SUITE, STEPS])
def test_a_part_that_is_missing_is_named(folder: Path, name: str) -> None:
    (folder / "site" / name).unlink()
    with pytest.raises(ContentError) as caught:
        content(folder)
    assert "rules/asset.yaml:1" in str(caught.value)


def test_a_subject_of_ours_cannot_be_taken(folder: Path) -> None:
    (folder / "site" / RULES).rename(folder / "site" / "rules" / "ssh.yaml")
    with pytest.raises(ContentError, match="`ssh` cannot be a subject"):
        content(folder)


def test_our_own_rules_are_never_called_site(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "demo.yaml").write_text((EXAMPLE / "site" / RULES).read_text("utf-8"), "utf-8")
    with pytest.raises(ContentError, match="cannot be a parameter here"):
        catalog.load(tmp_path)
    text = "rules:" + (EXAMPLE / "site" / RULES).read_text("utf-8").split("rules:")[1].replace("    parameters: [site_asset_owner]\n", "")
    (tmp_path / "rules" / "demo.yaml").write_text(text, "utf-8")
    with pytest.raises(ContentError, match="cannot be the id of a rule here"):
        catalog.load(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ('baseline "al2" {', 'baseline "al3" {', 10, "there is no baseline `al3`"),
        ('"kisa-unix-2026"', '"kisa-unix-2062"', 10, "there is no edition `kisa-unix-2062`"),
        ('off "filesystem-crontab"', 'off "filesystem-crontabs"', 13, "there is no rule `filesystem-crontabs`"),
        ('off "filesystem-crontab" {', 'off "crypto-policy" {', 13, "leaves crypto-policy out already"),
        ('reason = "The agent', 'reasons = "The agent', 14, "has no `reasons`"),
        ('    reason = "The agent of the job scheduler reads this file as a user of its own."\n', "", 13, "`off` needs `reason`"),
        ('"The agent of the job scheduler reads this file as a user of its own."', '"why not"', 14, "`reason`"),
        ('folder = "./site"', 'folder = "./sites"', 7, "there is no folder"),
        ('folder = "./site"', "folder = 3", 7, "must be the path of a folder"),
        ('  folder = "./site"\n', "", 6, "`site` needs `folder`"),
        ('site {\n  folder = "./site"\n}', 'site {\n  folder = "./site"\n}\nsite {\n  folder = "./site"\n}', 9, "one site block"),
        ('baseline "al2" {', 'baseline "al2" {\n}\nbaseline "al2" {', 10, "declared twice"),
        ('  off "', '  of "', 13, "a `of` block cannot stand here in `baseline`"),
    ],
)
def test_each_mistake_in_the_configuration_is_told_with_its_line(folder: Path, old: str, new: str, line: int, what: str) -> None:
    change(folder / "harness.hcl", old, new)
    with pytest.raises(ConfigError) as caught:
        content(folder)
    assert f"harness.hcl:{line}:" in str(caught.value)
    assert what in str(caught.value)
    assert caught.value.hint


def test_a_rule_cannot_be_switched_off_twice(folder: Path) -> None:
    change(folder / "harness.hcl", '  off "', '  off "filesystem-crontab" {\n    reason = "another good reason"\n  }\n  off "')
    with pytest.raises(ConfigError, match="switched off twice"):
        content(folder)


def test_a_run_in_which_a_rule_was_off_does_not_open_the_gate_once_it_is_on_again(folder: Path) -> None:
    chosen = settings(folder)
    expected = gathering.expectation(chosen, site.content(chosen), chosen.source())
    rule = expected.rules["filesystem-crontab"]
    from tests import proof

    left_out = Result(rule.id, Status.NOT_APPLICABLE, rule.severity, reason=expected.excluded[rule.id])
    run = replace(proof.RUN, results=(left_out,))
    assert list(gate.of_result(proof.POLICY, expected, run, left_out, rule, "again")) == []
    on = replace(expected, excluded={})
    assert [code for code, _, _ in gate.of_result(proof.POLICY, on, run, left_out, rule, "again")] == ["not-applicable"]
    reworded = replace(expected, excluded={rule.id: f"{SWITCHED_OFF}for another reason"})
    assert [code for code, _, _ in gate.of_result(proof.POLICY, reworded, run, left_out, rule, "again")] == ["not-applicable"]
