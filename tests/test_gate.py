"""The gate: open for evidence that is whole, and closed by each single thing that is not, with its reason and a hint."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import attestation, waivers
from harness.gate import CLOCKS, Decision, Expectation, Facts, Policy, decide
from harness.model import Result, Run, Severity, Status
from harness.tampering import Examined, Problem
from tests import proof

SIGNED = Examined(Path("evidence/x"), proof.RUN, (), ("k" * 64,), ("k" * 64,), "m" * 64)
"""What `examine` returns for a folder that is whole and signed by a trusted key."""


def decided(
    run: Run = proof.RUN, *, policy: Policy = proof.POLICY, expected: Expectation = proof.EXPECTED, now: datetime = proof.NOW
) -> Decision:
    return decide(policy, [Facts("al2", expected, replace(SIGNED, run=run))], now)


def only(decision: Decision, code: str) -> str:
    """Return the message of a decision that has one reason."""
    assert [reason.code for reason in decision.reasons] == [code]
    assert not decision.open
    (reason,) = decision.reasons
    assert reason.hint
    assert reason.target == "al2"
    return reason.message


def with_result(result: Result) -> Run:
    """Return the run with one result more, or another one for its rule."""
    others = tuple(one for one in proof.RUN.results if one.rule != result.rule)
    return replace(proof.RUN, results=(*others, result))


def test_whole_signed_fresh_evidence_of_these_documents_opens_the_gate() -> None:
    decision = decided()
    assert decision == Decision(open=True, reasons=(), evidence={"al2": "m" * 64})


def test_without_evidence_it_is_closed() -> None:
    assert "there is no run" in only(decide(proof.POLICY, [Facts("al2", proof.EXPECTED, None)], proof.NOW), "no-evidence")
    assert "nothing is known" in only(decide(proof.POLICY, [], proof.NOW), "no-evidence")


def test_every_target_needs_its_own() -> None:
    policy = replace(proof.POLICY, targets=("al2", "al2023"))
    decision = decide(policy, [Facts("al2", proof.EXPECTED, SIGNED), Facts("al2023", proof.EXPECTED, None)], proof.NOW)
    assert [(reason.code, reason.target) for reason in decision.reasons] == [("no-evidence", "al2023")]


def test_a_policy_that_asks_for_nothing_opens_nothing() -> None:
    decision = decide(Policy(targets=(), keys_known=True), [Facts("al2", proof.EXPECTED, SIGNED)], proof.NOW)
    assert [reason.code for reason in decision.reasons] == ["nothing"]


def test_a_newer_run_that_broke_is_not_passed_over() -> None:
    decision = decide(proof.POLICY, [Facts("al2", proof.EXPECTED, SIGNED, unfinished="20261124T020000Z-al2-0")], proof.NOW)
    assert "20261124T020000Z-al2-0" in only(decision, "unfinished")


def test_tampering_closes_with_every_problem() -> None:
    found = replace(SIGNED, problems=(Problem("run.json", "other"), Problem("capture.json.zst", "is missing")))
    decision = decide(proof.POLICY, [Facts("al2", proof.EXPECTED, found)], proof.NOW)
    assert [reason.message for reason in decision.reasons] == ["run.json: other", "capture.json.zst: is missing"]
    assert {reason.code for reason in decision.reasons} == {"tampered"}


def test_an_unreadable_run_closes_by_its_problem() -> None:
    found = replace(SIGNED, run=None, problems=(Problem("run.json", "not JSON"),))
    assert "not JSON" in only(decide(proof.POLICY, [Facts("al2", proof.EXPECTED, found)], proof.NOW), "tampered")


@pytest.mark.parametrize(
    ("signatures", "verified", "required", "known", "code"),
    [
        ((), (), True, True, "unsigned"),
        (("x" * 64,), (), True, True, "unknown-key"),
        (("x" * 64,), (), False, True, "unknown-key"),
        ((), (), False, True, None),
        ((), (), False, False, None),
        (("x" * 64,), (), False, False, None),
    ],
)
def test_who_signed_matters(signatures: tuple[str, ...], verified: tuple[str, ...], required: bool, known: bool, code: str | None) -> None:  # noqa: FBT001 - parametrised
    policy = replace(proof.POLICY, signature_required=required, keys_known=known)
    found = replace(SIGNED, signatures=signatures, verified=verified)
    decision = decide(policy, [Facts("al2", proof.EXPECTED, found)], proof.NOW)
    assert [reason.code for reason in decision.reasons] == ([code] if code else [])


def test_a_required_signature_needs_a_trusted_key() -> None:
    decision = decided(policy=replace(proof.POLICY, keys_known=False))
    assert [reason.code for reason in decision.reasons] == ["no-keys"]
    assert "keygen" in decision.reasons[0].hint


@pytest.mark.parametrize(
    ("age", "code"),
    [
        (timedelta(0), None),
        (timedelta(hours=168), None),
        (timedelta(hours=168, seconds=1), "stale"),
        (timedelta(days=400), "stale"),
        (-CLOCKS, None),
        (-CLOCKS - timedelta(seconds=1), "future"),
        (timedelta(days=-400), "future"),
    ],
)
def test_evidence_is_neither_old_nor_of_the_future(age: timedelta, code: str | None) -> None:
    run = replace(proof.UNWAIVED, started=proof.NOW - age, finished=proof.NOW - age, results=proof.RESULTS[:1] + proof.RESULTS[2:])
    decision = decided(
        run, expected=replace(proof.EXPECTED, rules={name: rule for name, rule in proof.RULES.items() if name != "ssh-banner"})
    )
    assert [reason.code for reason in decision.reasons] == ([code] if code else [])


def test_a_start_in_the_future_is_one_too() -> None:
    run = replace(proof.RUN, started=proof.NOW + timedelta(days=2))
    assert "future" in only(decided(run), "future")


def test_a_stand_in_opens_nothing_unless_the_policy_says_so() -> None:
    run = replace(proof.RUN, base={**proof.RUN.base, "kind": "standin", "label": "stand-in with the layout of al2"})
    assert "stand-in" in only(decided(run), "stand-in")
    assert decided(run, policy=replace(proof.POLICY, allow_standin=True)).open


@pytest.mark.parametrize("base", [{"kind": "existing", "label": "an existing target"}, {}, {"kind": "Standin"}])
def test_a_target_that_was_not_made_fresh_opens_nothing(base: dict[str, str]) -> None:
    for policy in (proof.POLICY, replace(proof.POLICY, allow_standin=True)):
        assert "fresh base image" in only(decided(replace(proof.RUN, base=base), policy=policy), "base")


def test_another_base_image_than_the_sources_opens_nothing() -> None:
    expected = replace(proof.EXPECTED, image="registry.example/amazonlinux:2")
    assert "the source is registry.example/amazonlinux:2 now" in only(decided(expected=expected), "base")


def document(**changes: object) -> Run:
    first, second = proof.RUN.documents
    return replace(proof.RUN, documents=(replace(first, **changes), second))  # type: ignore[arg-type] # fields of any type


@pytest.mark.parametrize(
    ("run", "code", "words"),
    [
        (document(sha256="0" * 64), "document", "is another one now"),
        (document(parameters={"ssh_max_auth_tries": "4"}), "document", "other parameters"),
        (document(parameters={}), "document", "other parameters"),
        (document(status="failed"), "document", "ended as `failed`"),
        (document(status=""), "document", "ended as ``"),
        (document(changes_again=None), "twice", "did not run twice"),
        (document(changes_again=2), "twice", "changed 2 settings the second time"),
        (replace(proof.RUN, documents=proof.RUN.documents[:1]), "document", "cloudwatch_agent_config was not verified"),
        (
            replace(proof.RUN, documents=(*proof.RUN.documents, replace(proof.RUN.documents[0], name="more"))),
            "document",
            "more was part of what was verified",
        ),
    ],
)
def test_only_what_ran_well_is_published_byte_for_byte(run: Run, code: str, words: str) -> None:
    assert words in only(decided(run), code)


def test_a_run_as_is_opens_nothing() -> None:
    decision = decided(replace(proof.RUN, documents=()))
    assert [reason.code for reason in decision.reasons] == ["document", "document"]
    assert "--as-is" in decision.reasons[0].hint


def test_a_configuration_without_documents_opens_nothing() -> None:
    run = replace(proof.RUN, documents=())
    assert "publishes no document" in only(decided(run, expected=replace(proof.EXPECTED, documents={})), "document")


@pytest.mark.parametrize(
    ("run", "code", "words"),
    [
        (replace(proof.RUN, digests={**proof.DIGESTS, "baseline": "0" * 64}), "baseline", "has changed since"),
        (replace(proof.RUN, digests={**proof.DIGESTS, "suites": "0" * 64}), "suites", "suites have changed"),
        (replace(proof.RUN, digests={"suites": proof.DIGESTS["suites"]}), "baseline", "has changed since"),
        (replace(proof.RUN, digests={"baseline": proof.DIGESTS["baseline"]}), "suites", "suites have changed"),
        (replace(proof.RUN, parameters={**proof.PARAMETERS, "ssh_max_auth_tries": "6"}), "baseline", "ssh_max_auth_tries"),
        (replace(proof.RUN, parameters={**proof.PARAMETERS, "more": ""}), "baseline", "more"),
        (replace(proof.RUN, parameters={"ssh_max_auth_tries": "3"}), "baseline", "banner_text"),
    ],
)
def test_a_foreign_baseline_other_values_and_other_suites_open_nothing(run: Run, code: str, words: str) -> None:
    assert words in only(decided(run), code)


def test_another_baseline_is_told_by_name() -> None:
    decision = decided(replace(proof.RUN, baseline="al2023"))
    assert "judged by the baseline al2023, not by al2" in decision.reasons[0].message


def test_a_rule_without_a_result_closes() -> None:
    run = replace(proof.RUN, results=proof.RUN.results[1:])
    assert only(decided(run), "missing-rule") == "the rule ssh-root-login has no result"


def test_a_result_of_no_rule_closes() -> None:
    assert "ssh-other" in only(decided(with_result(Result("ssh-other", Status.PASS, Severity.LOW))), "foreign-rule")


@pytest.mark.parametrize("severity", list(Severity))
def test_an_error_closes_whatever_its_severity(severity: Severity) -> None:
    run = with_result(Result("ssh-root-login", Status.ERROR, severity, reason="no answer"))
    policy = replace(proof.POLICY, block=frozenset[Severity]())
    assert only(decided(run, policy=policy), "error") == "ssh-root-login could not be judged: no answer"


def test_a_failure_closes_by_the_severity_that_the_catalogue_gives() -> None:
    """A run cannot make a rule harmless by writing another severity beside it."""
    run = with_result(Result("ssh-root-login", Status.FAIL, Severity.LOW, "no", "yes"))
    high = replace(proof.POLICY, block=frozenset({Severity.HIGH}))
    assert only(decided(run, policy=high), "fail") == "ssh-root-login fails (high): observed yes"
    assert decided(run, policy=high).reasons[0].hint == "mend ssh-root-login"
    assert decided(run, policy=replace(proof.POLICY, block=frozenset({Severity.LOW, Severity.MEDIUM}))).open


@pytest.mark.parametrize("reason", ["", "nobody asked", "a container has no kernel of its own "])
def test_what_is_left_out_needs_the_declared_reason(reason: str) -> None:
    run = with_result(Result("kernel-aslr", Status.NOT_APPLICABLE, Severity.MEDIUM, reason=reason))
    assert "nobody declared" in only(decided(run), "not-applicable")


@pytest.mark.parametrize("environment", ["vm", "", "moon"])
def test_what_is_left_out_must_be_left_out_there(environment: str) -> None:
    run = replace(proof.RUN, target={**proof.RUN.target, "environment": environment})
    decision = decided(run)
    assert "not-applicable" in {reason.code for reason in decision.reasons}
    assert any("kernel-aslr" in reason.message for reason in decision.reasons)


def test_a_rule_that_must_be_judged_cannot_be_left_out() -> None:
    run = with_result(Result("ssh-root-login", Status.NOT_APPLICABLE, Severity.HIGH, reason="not on this system"))
    assert "ssh-root-login is left out" in only(decided(run), "not-applicable")


def test_a_waived_result_needs_a_waiver_that_covers_it() -> None:
    for other in ((), (replace(proof.WAIVER, target="al2023"),), (replace(proof.WAIVER, rule="ssh-root-login"),)):
        run = replace(proof.RUN, waivers=other)
        assert "no waiver of the run covers it" in only(decided(run), "waiver")


def test_the_waiver_that_expires_closes_the_gate_on_the_next_day() -> None:
    last = datetime(2026, 12, 31, 14, 59, 59, tzinfo=UTC)
    run = replace(proof.RUN, started=last, finished=last)
    assert decided(run, now=last).open
    message = only(decided(run, now=last + timedelta(seconds=1)), "expired-waiver")
    assert message == "waiver of ssh-banner for `al2` (SEC-1, owner o) expired on 2026-12-31"


def test_a_renewed_waiver_beside_the_old_one_is_enough() -> None:
    old = replace(proof.WAIVER, target="*", expires=date(2026, 11, 1))
    assert decided(replace(proof.RUN, waivers=(old, proof.WAIVER))).open


def test_a_waiver_of_an_unknown_timezone_closes() -> None:
    run = replace(proof.RUN, waivers=(replace(proof.WAIVER, timezone="Moon/Tycho"),))
    assert "Moon/Tycho" in only(decided(run), "waiver")


@given(expires=st.dates(date(2026, 11, 20), date(2026, 12, 5)), hours=st.integers(-24, 24 * 10))
def test_no_expired_waiver_ever_passes_the_gate(expires: date, hours: int) -> None:
    now = proof.NOW + timedelta(hours=hours)
    waiver = replace(proof.WAIVER, expires=expires)
    run, _ = waivers.onto(replace(proof.UNWAIVED, started=now, finished=now), [waiver])
    assert decided(run, now=now).open is not waivers.expired(waiver, now)


def test_all_reasons_are_told_not_only_the_first() -> None:
    run = replace(
        with_result(Result("ssh-root-login", Status.ERROR, Severity.HIGH)),
        base={"kind": "standin"},
        started=proof.NOW - timedelta(days=30),
        finished=proof.NOW - timedelta(days=30),
        digests={},
        documents=(),
        baseline="al2023",
    )
    found = replace(SIGNED, run=run, problems=(Problem("run.json", "other"),), signatures=(), verified=())
    decision = decide(proof.POLICY, [Facts("al2", proof.EXPECTED, found)], proof.NOW)
    codes = {reason.code for reason in decision.reasons}
    assert codes >= {"tampered", "unsigned", "stale", "stand-in", "document", "baseline", "suites", "error"}
    assert all(reason.hint for reason in decision.reasons)


def test_the_real_folder_opens_the_gate(tmp_path: Path) -> None:
    folder = proof.keep(tmp_path)
    decision = decide(proof.POLICY, [proof.facts(folder)], proof.NOW)
    assert decision.reasons == ()
    assert decision.evidence == {"al2": attestation.sha256((folder / "manifest.json").read_bytes())}


@pytest.mark.parametrize(
    "name",
    [
        "run.json",
        "capture.json.zst",
        "documents/isms_security_hardening.yml",
        "documents/cloudwatch_agent_config.yml",
        "logs/TOE_2026-11-24/console.log",
        "reports/junit.xml",
        "manifest.json",
        "attestation.dsse.json",
    ],
)
@pytest.mark.parametrize("way", ["changed", "removed", "emptied", "replaced by a link"])
def test_touching_any_file_closes_the_gate(tmp_path: Path, name: str, way: str) -> None:
    folder = proof.keep(tmp_path)
    path = folder / name
    data = path.read_bytes()
    if way == "changed":
        path.write_bytes(data.replace(b"a", b"b", 1) if b"a" in data else data + b"a")
    elif way == "emptied":
        path.write_bytes(b"")
    else:
        path.unlink()
        if way == "replaced by a link":
            (tmp_path / "elsewhere").write_bytes(data)
            path.symlink_to(tmp_path / "elsewhere")
    decision = decide(proof.POLICY, [proof.facts(folder)], proof.NOW)
    assert not decision.open
    assert {reason.code for reason in decision.reasons} <= {"tampered", "unsigned", "unknown-key"}


def test_a_stranger_who_signs_forged_evidence_closes_the_gate(tmp_path: Path) -> None:
    forged = replace(proof.RUN, results=tuple(replace(one, status=Status.PASS, was=None) for one in proof.RUN.results), waivers=())
    folder = proof.keep(tmp_path, forged, signers=(proof.STRANGER,))
    decision = decide(proof.POLICY, [proof.facts(folder)], proof.NOW)
    assert {reason.code for reason in decision.reasons} == {"tampered", "unknown-key"}


def test_unsigned_evidence_closes_the_gate(tmp_path: Path) -> None:
    folder = proof.keep(tmp_path, signers=())
    assert "not signed" in only(decide(proof.POLICY, [proof.facts(folder)], proof.NOW), "unsigned")


def test_a_date_set_forward_is_found_out(tmp_path: Path) -> None:
    folder = proof.keep(tmp_path)
    content = json.loads((folder / "run.json").read_bytes())
    content["run"]["finished"] = (proof.NOW + timedelta(days=3)).isoformat()
    (folder / "run.json").write_text(json.dumps(content), "utf-8")
    decision = decide(proof.POLICY, [proof.facts(folder)], proof.NOW)
    assert {reason.code for reason in decision.reasons} == {"tampered", "future"}


def test_a_policy_that_wants_a_virtual_machine_takes_no_evidence_of_a_container_alone() -> None:
    policy = replace(proof.POLICY, environments=frozenset({"container", "vm"}))
    (reason,) = decided(proof.RUN, policy=policy).reasons
    assert (reason.code, "vm" in reason.message, "--vm" in reason.hint) == ("environment", True, True)


def test_in_a_run_on_both_what_a_container_cannot_show_must_have_a_result() -> None:
    both = {**proof.RUN.target, "environments": "container, vm"}
    policy = replace(proof.POLICY, environments=frozenset({"vm"}))
    decision = decided(replace(proof.RUN, target=both), policy=policy)
    assert [(reason.code, "kernel-aslr" in reason.message) for reason in decision.reasons] == [("not-applicable", True)]
    judged = tuple(
        replace(result, status=Status.PASS, reason="", where=("vm", "vm restarted")) if result.rule == "kernel-aslr" else result
        for result in proof.RUN.results
    )
    assert decided(replace(proof.RUN, target=both, results=judged), policy=policy).open
