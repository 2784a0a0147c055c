"""Audits without a host: what is asked, how often, what becomes of answers that are missing, and when judging is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness import audit, catalog, grouping, learned
from harness.audit import Dialogue, Plan, evaluated
from harness.capture import Answer
from harness.errors import TargetError, UsageError
from harness.model import Environment, Status
from harness.targets.base import Completed
from harness.targets.local import LocalTarget
from tests.proof import CAPTURE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

AL2 = b'ID="amzn"\nVERSION_ID="2"\n'
HOST: Mapping[str, str] = {"uri": "ssh://web", "name": "web", "environment": "host"}
SUITE = """\
from harness.suite import ask, expect, rule, verify_only

@rule("site-chain")
def test_chain(host):
    first = ask(host, "printf one")
    second = ask(host, f"printf '%s' {first or 'none'}-two")
    expect("end", ask(host, f"printf '%s' {second or 'none'}-three"), equals="one-two-three")

@rule("site-side")
def test_side(host):
    expect("side", ask(host, "printf side"), equals="other")

@rule("site-writes")
@verify_only("it writes")
def test_writes(host, login):
    raise AssertionError
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "folder", lambda: tmp_path / "questions")


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    (tmp_path / "verify").mkdir()
    (tmp_path / "verify" / "test_site.py").write_text(SUITE, "utf-8")
    monkeypatch.setattr(Plan, "folders", (tmp_path / "verify",))
    content = catalog.load()
    some = content.rules["ssh-root-login"]
    rules = {name: replace(some, id=name) for name in ("site-chain", "site-side", "site-writes")}
    return Plan(replace(content, rules=rules))


def talk(plan: Plan, system: bytes = AL2) -> tuple[Dialogue, list[tuple[str, ...]]]:
    """Let this machine answer, under another name."""
    dialogue, rounds = Dialogue(plan, HOST), list[tuple[str, ...]]()
    with LocalTarget() as target:
        while (questions := dialogue.batch()) is not None:
            rounds.append(questions.commands)
            dialogue.take(target.run(questions.text, timeout=questions.seconds))
            dialogue.known[audit.SYSTEM] = Answer(audit.SYSTEM, 0, system)
    return dialogue, rounds


def test_questions_that_depend_on_answers_are_asked_once_and_the_next_host_is_asked_all_at_once(plan: Plan) -> None:
    dialogue, rounds = talk(plan)
    assert rounds[0][: len(audit.FIRST)] == audit.FIRST
    assert {"printf one", "printf side"} <= set(rounds[0])
    assert [command for command in rounds[-1] if command in rounds[0]] == []
    assert 2 <= len(rounds) <= 4
    run = dialogue.run()
    assert {result.rule: result.status for result in run.results} == {
        "site-chain": Status.PASS,
        "site-side": Status.FAIL,
        "site-writes": Status.NOT_APPLICABLE,
    }
    assert run.results[2].reason == "no part of an audit: it writes"
    assert run.target["uri"] == "ssh://web"
    _, again = talk(replace(plan))
    assert len(again) == 1


def test_a_capture_is_judged_as_the_host_was(plan: Plan) -> None:
    dialogue, _ = talk(plan)
    capture, run = dialogue.capture(), dialogue.run()
    assert evaluated(capture, plan).results == run.results
    assert capture.round_trips == dialogue.rounds
    assert capture.user.split()[1].isdigit()


def test_an_answer_that_is_missing_makes_an_error_and_never_a_pass(plan: Plan) -> None:
    dialogue, _ = talk(plan)
    capture = dialogue.capture()
    lacking = replace(capture, answers=tuple(answer for answer in capture.answers if not answer.command.endswith("-three")))
    late = replace(capture, answers=tuple(replace(answer, timed_out=answer.command == "printf one") for answer in capture.answers))
    for each in (lacking, late):
        assert {result.rule: result.status for result in evaluated(each, plan).results}["site-chain"] is Status.ERROR


def test_the_ami_of_an_instance_is_read_from_what_cloud_init_wrote_down(tmp_path: Path) -> None:
    written = tmp_path / "instance-data.json"
    written.write_text(
        json.dumps({"ds": {"meta_data": {"ami-id": "ami-0123456789abcdef0", "ancestor-ami-ids": "ami-0aaaaaaaaaaaaaaaa"}}}, indent=1)
    )
    with LocalTarget() as target:
        answer = target.run(audit.IMAGE.replace("/run/cloud-init/instance-data.json", str(written)), timeout=20)
    known = {audit.IMAGE: Answer(audit.IMAGE, answer.returncode, answer.stdout)}
    assert audit.image_of(known) == "ami-0123456789abcdef0"
    assert audit.image_of({}) == audit.image_of({audit.IMAGE: Answer(audit.IMAGE, 0, b"")}) == ""


def test_a_capture_without_answers_passes_nothing() -> None:
    run = evaluated(replace(CAPTURE, answers=()), Plan(catalog.load()))
    assert {result.status for result in run.results} <= {Status.ERROR, Status.NOT_APPLICABLE, Status.PASS}
    # A rule that the baseline's values make void asks the host nothing.
    assert [result.rule for result in run.results if result.status is Status.PASS and result.commands] == []


def test_nothing_but_noise_is_no_answer(plan: Plan) -> None:
    dialogue = Dialogue(plan, HOST)
    questions = dialogue.batch()
    assert questions is not None
    with pytest.raises(TargetError, match=r"were not answered \(exit code 127\): sh: bash: not found"):
        dialogue.take(Completed(questions.text, 127, b"Welcome!\n", b"sh: bash: not found\n", 0.1))


@pytest.mark.parametrize(
    ("baseline", "system", "message"),
    [
        ("al2", b'ID=amzn\nVERSION_ID="2023"\n', "runs `amzn 2023`, and the baseline al2 is for `amzn 2`"),
        ("al2", b"", "a system without os-release"),
        (None, b"ID=debian\nVERSION_ID=12\n", "runs `debian 12`, for which there is no baseline"),
        (None, b"", "runs `a system without os-release`"),
    ],
)
def test_a_system_that_no_baseline_is_for_is_refused(plan: Plan, baseline: str | None, system: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        talk(replace(plan, baseline=baseline), system)


def test_what_is_asked_first_depends_on_rules_values_suites_and_environment() -> None:
    content = catalog.load()
    plan = Plan(content, "al2")
    baseline = content.baseline("al2")
    keys = {
        plan.key(baseline, Environment.HOST),
        plan.key(baseline, Environment.CONTAINER),
        Plan(content, "al2", rules=("ssh-root-login",)).key(baseline, Environment.HOST),
        Plan(content, "al2", {"updates_releasever": "latest"}).key(baseline, Environment.HOST),
        plan.key(content.baseline("al2023"), Environment.HOST),
    }
    assert len(keys) == 5
    assert set(Plan(content, rules=("ssh-root-login",)).first(Environment.HOST)) - set(audit.FIRST) == {
        "sshd -T -C user=root,host=client.example,addr=10.0.0.1,laddr=10.0.0.2,lport=22"
    }


def test_what_one_pass_learned_the_next_one_is_asked_first() -> None:
    plan = Plan(catalog.load(), "al2")
    (baseline,) = plan.baselines
    before = plan.first(Environment.VM)
    plan.learn(baseline, Environment.VM, ["echo new", before[0]])
    assert plan.first(Environment.VM) == (*before, "echo new")
    assert "echo new" in Plan(plan.content, "al2").first(Environment.VM)
    assert "echo new" not in plan.first(Environment.HOST)


def test_what_was_learned_grows_and_never_without_end(tmp_path: Path) -> None:
    assert learned.recall("none") == ()
    learned.remember("list", ["a", "b"])
    learned.remember("list", ["b", "c"])
    assert learned.recall("list") == ("a", "b", "c")
    learned.remember("list", map(str, range(learned.MOST)))
    assert learned.recall("list") == ("a", "b", "c")
    for _ in range(learned.IDLE):
        learned.remember("list", ["b"])
    assert learned.recall("list") == ("b",)
    learned.remember("list", ["b"])
    (tmp_path / "questions" / "list.json").write_text("{", "utf-8")
    assert learned.recall("list") == ()


def test_without_root_nothing_passes_that_only_root_sees_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = """\
from harness.suite import ask, expect, rule, texts
@rule("site-plain")
def test_plain(host):
    expect("x", ask(host, "uname -m"), equals="x86_64")
@rule("site-hidden")
def test_hidden(host):
    expect("drop-ins", list(texts(host, "/etc/sudoers.d/*")), equals=[])
@rule("site-found")
def test_found(host):
    expect("drop-ins", list(texts(host, "/etc/sudoers.d/*")), equals=["x"])
"""
    (tmp_path / "test_site.py").write_text(suite, "utf-8")
    monkeypatch.setattr(Plan, "folders", (tmp_path,))
    content = catalog.load()
    some = content.rules["ssh-root-login"]
    plan = Plan(replace(content, rules={name: replace(some, id=name) for name in ("site-plain", "site-hidden", "site-found")}))
    answers = {"uname -m": b"x86_64\n", "/etc/sudoers.d/*".join(grouping.TEXTS): b"", audit.SYSTEM: AL2}
    all_of = tuple(Answer(text, 0, out) for text, out in answers.items())
    for user, status in (("root 0", Status.PASS), ("ec2-user 1000", Status.ERROR)):
        run = evaluated(replace(CAPTURE, system={"ID": "amzn", "VERSION_ID": "2"}, user=user, answers=all_of), plan)
        assert [result.status for result in run.results] == [Status.PASS, status, Status.FAIL]
    assert "asked as ec2-user" in run.results[1].reason
