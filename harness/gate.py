"""The gate: policy and evidence in, a decision with every reason out. Pure; what it decides on is gathered in harness.gathering."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from harness import judge, waivers
from harness.model import Environment, Severity, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from harness.model import Result, Rule, Run
    from harness.tampering import Examined

CLOCKS = timedelta(minutes=5)
"""How far the clocks of two machines may be apart before a run counts as one of the future."""
RAN_WELL = frozenset({"success", "successWithIgnoredFailure"})
AGAIN = "harness verify --target {target}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the `gate` block of the configuration asks for."""

    targets: tuple[str, ...]
    """Sources that need evidence."""
    block: frozenset[Severity] = frozenset(Severity)
    """A `fail` of these severities closes; an `error` always does."""
    max_age: timedelta = timedelta(hours=168)
    signature_required: bool = True
    keys_known: bool = False
    """Whether the policy names keys at all."""
    allow_standin: bool = False
    environments: frozenset[str] = frozenset()
    """Where every rule that applies there must have been judged: `container`, `vm`."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What would be published now for one target, and what it must have been judged by."""

    image: str
    """The registry's image that the source names."""
    baseline: str
    parameters: Mapping[str, str]
    documents: Mapping[str, str]
    """Name to SHA-256 of a fresh render."""
    document_parameters: Mapping[str, Mapping[str, str]]
    digests: Mapping[str, str]
    """Of the baseline's file and of the suites, as `harness.evidence.digests` gives them."""
    rules: Mapping[str, Rule]
    excluded: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Facts:
    """The evidence of one target beside what is expected of it."""

    target: str
    expected: Expectation
    newest: Examined | None
    unfinished: str | None = None
    """A folder newer than the newest run, of a run that broke or has not ended."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason for which the gate is closed."""

    code: str
    """A word for programs: `tampered`, `stale`, …"""
    target: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Open exactly when there is no reason."""

    open: bool
    reasons: tuple[Reason, ...]
    evidence: Mapping[str, str] = field(default_factory=dict)
    """Target to the SHA-256 of its manifest.json: what the decision stands on."""


def decide(policy: Policy, facts: Sequence[Facts], now: datetime) -> Decision:
    """Decide whether what was verified may be published; every reason against it is named, not only the first."""
    reasons: list[Reason] = []
    if not policy.targets:
        reasons.append(Reason("nothing", "", "the policy asks for no target", "name the sources: gate { targets = [...] }"))
    if policy.signature_required and not policy.keys_known:
        hint = "`harness evidence keygen -o FILE` makes a key; name its .pub in gate { keys = [...] }"
        reasons.append(Reason("no-keys", "", "a signature is required, and the policy trusts no key", hint))
    given = {one.target: one for one in facts}
    for target in policy.targets:
        if target not in given:
            reasons.append(Reason("no-evidence", target, "nothing is known of it", f"run `{AGAIN.format(target=target)}`"))
            continue
        reasons += [Reason(code, target, message, hint) for code, message, hint in of_target(policy, given[target], now)]
    evidence = {one.target: one.newest.manifest for one in facts if one.newest is not None}
    return Decision(not reasons, tuple(dict.fromkeys(reasons)), evidence)


Finding = tuple[str, str, str]
"""Code, message and hint."""


def of_target(policy: Policy, facts: Facts, now: datetime) -> Iterator[Finding]:
    """Yield every reason that one target gives."""
    again = f"run `{AGAIN.format(target=facts.target)}` again"
    found = facts.newest
    if facts.unfinished:
        yield "unfinished", f"a newer run broke or has not ended: {facts.unfinished}", f"{again}, or remove that folder"
    if found is None:
        yield "no-evidence", "there is no run of it", f"run `{AGAIN.format(target=facts.target)}`, or name the folder with --evidence"
        return
    for problem in found.problems:
        yield "tampered", str(problem), f"{again}; what somebody changed proves nothing"
    yield from of_signature(policy, found, again)
    run = found.run
    if run is None:
        return
    yield from of_time(policy, run, now, again)
    yield from of_environments(policy, run, facts.target)
    yield from of_base(policy, facts.expected, run, again)
    yield from of_documents(facts.expected, run, again)
    yield from of_judges(facts.expected, run, again)
    yield from of_rules(policy, facts.expected, run, again)
    yield from of_waivers(run, now, again)


def of_signature(policy: Policy, found: Examined, again: str) -> Iterator[Finding]:
    """Ask for an attestation by a trusted key."""
    if policy.signature_required and not found.signatures:
        yield "unsigned", "the evidence is not signed", f"`harness evidence sign {found.folder} --key FILE`, or verify with --sign-key"
    elif found.signatures and policy.keys_known and not found.verified:
        named = ", ".join(key[:16] for key in found.signatures)
        yield (
            "unknown-key",
            f"no key that the policy trusts has signed; signed by {named}",
            f"{again} and sign with a key of gate {{ keys }}",
        )


def of_time(policy: Policy, run: Run, now: datetime, again: str) -> Iterator[Finding]:
    """Ask for a run that has ended, and not too long ago."""
    if max(run.started, run.finished) > now + CLOCKS:
        yield "future", f"the run is dated in the future: {run.finished.isoformat()}", f"set the clock right, then {again}"
    elif now - run.finished > policy.max_age:
        hours, most = int((now - run.finished).total_seconds() // 3600), int(policy.max_age.total_seconds() // 3600)
        yield "stale", f"the run is {hours} hours old, the policy takes {most}", again


def of_environments(policy: Policy, run: Run, target: str) -> Iterator[Finding]:
    """Ask that the run judged wherever the policy wants it to."""
    lacking = sorted(policy.environments - judged_in(run))
    if lacking:
        option = " --vm" if "vm" in lacking else ""
        yield "environment", f"it was not judged in: {', '.join(lacking)}", f"run `{AGAIN.format(target=target)}{option}`"


def judged_in(run: Run) -> frozenset[str]:
    """Return where a run judged."""
    told = run.target.get("environments") or run.target.get("environment", "")
    return frozenset(word.strip() for word in told.split(","))


def of_base(policy: Policy, expected: Expectation, run: Run, again: str) -> Iterator[Finding]:
    """Ask for a fresh base image, of a kind that the policy takes."""
    kind = run.base.get("kind", "")
    if kind == "standin" and not policy.allow_standin:
        hint = f"{again} with --base registry; or, for a rehearsal, gate {{ allow_standin = true }}"
        yield "stand-in", "it was verified on a stand-in, not on Amazon Linux", hint
    elif kind not in {"standin", "registry"}:
        yield "base", f"it was not verified on a fresh base image, but on {run.base.get('label') or 'an unknown one'}", again
    elif kind == "registry" and run.base.get("label") != expected.image:
        yield "base", f"it was verified on {run.base.get('label')}, the source is {expected.image} now", again


def of_documents(expected: Expectation, run: Run, again: str) -> Iterator[Finding]:
    """Ask that what ran is what would be published, byte for byte, that it ran well, and changed nothing the second time."""
    ran = {document.name: document for document in run.documents}
    if not expected.documents:
        yield "document", "the configuration publishes no document", "add a component to the build"
    for name, digest in expected.documents.items():
        if name not in ran:
            yield "document", f"the document {name} was not verified", f"{again}, without --as-is"
        elif ran[name].sha256 != digest:
            shown = f"sha256 {ran[name].sha256[:16]}… ran, {digest[:16]}… would be published"
            yield "document", f"the document {name} is another one now: {shown}", again
        elif dict(ran[name].parameters) != dict(expected.document_parameters.get(name, {})):
            yield "document", f"the document {name} was verified with other parameters than it would be published with", again
    for name in ran:
        if name not in expected.documents:
            yield "document", f"the document {name} was part of what was verified, and would not be published", again
    for document in run.documents:
        if document.status not in RAN_WELL:
            yield "document", f"the document {document.name} ended as `{document.status}`", again
        if document.changes_again is None:
            yield "twice", f"the document {document.name} did not run twice", again
        elif document.changes_again:
            yield "twice", f"the document {document.name} changed {document.changes_again} settings the second time", "mend its scripts"


def of_judges(expected: Expectation, run: Run, again: str) -> Iterator[Finding]:
    """Ask for the baseline, the values and the suites of now."""
    if run.baseline != expected.baseline:
        yield "baseline", f"it was judged by the baseline {run.baseline}, not by {expected.baseline}", again
    elif run.digests.get("baseline") != expected.digests["baseline"]:
        yield "baseline", f"the baseline {run.baseline} has changed since, or it was another one of that name", again
    other = sorted(name for name in {*run.parameters, *expected.parameters} if run.parameters.get(name) != expected.parameters.get(name))
    if other:
        yield "baseline", f"it was judged by other values than those of now: {', '.join(other[:5])}{', …' if len(other) > 5 else ''}", again  # noqa: PLR2004 - as many as a line takes
    if run.digests.get("suites") != expected.digests["suites"]:
        yield "suites", "the suites have changed since", again
    if run.digests.get("site") != expected.digests.get("site"):
        yield "suites", "the rules or suites of the site folder have changed since", again


def of_rules(policy: Policy, expected: Expectation, run: Run, again: str) -> Iterator[Finding]:
    """Ask for a result of every rule, and that what does not pass is accepted, or of a severity that the policy lets through."""
    results = {result.rule: result for result in run.results}
    for rule in expected.rules:
        if rule not in results:
            yield "missing-rule", f"the rule {rule} has no result", f"{again}, without --rule"
    for result in run.results:
        rule_now = expected.rules.get(result.rule)
        if rule_now is None:
            yield "foreign-rule", f"there is a result for {result.rule}, which is no rule of the catalogue", again
        else:
            yield from of_result(policy, expected, run, result, rule_now, again)


def of_result(  # noqa: PLR0913 - the facts of one result
    policy: Policy, expected: Expectation, run: Run, result: Result, rule: Rule, again: str
) -> Iterator[Finding]:
    """Look at one result; the severity is the catalogue's, since the run could have been written when it was another."""
    match result.status:
        case Status.ERROR:
            yield "error", f"{rule.id} could not be judged: {result.reason or 'no reason given'}", f"mend what prevents it, then {again}"
        case Status.FAIL if rule.severity in policy.block:
            why = "; ".join(filter(None, (f"observed {result.observed}" if result.observed else "", result.reason)))
            yield "fail", f"{rule.id} fails ({rule.severity}){': ' if why else ''}{why}", rule.fix
        case Status.NOT_APPLICABLE:
            declared = declared_reason(expected, run, rule)
            if declared is None or declared != result.reason:
                yield "not-applicable", f"{rule.id} is left out for a reason that nobody declared: {result.reason or 'none'}", again
        case Status.WAIVED:
            names = waivers.names(run.target, run.baseline)
            if not any(waivers.covers(waiver, rule.id, names) for waiver in run.waivers):
                yield "waiver", f"{rule.id} is waived, and no waiver of the run covers it", again
        case _:
            pass


def declared_reason(expected: Expectation, run: Run, rule: Rule) -> str | None:
    """Return why a rule is not judged where a run judged; None where it must be, be it in one of several environments."""
    try:
        environments = [Environment(word) for word in judged_in(run)]
    except ValueError:
        return None
    reasons = [judge.Scope(expected.rules, expected.excluded, environment).not_applicable(rule) for environment in environments]
    return reasons[0] if all(reasons) else None


def of_waivers(run: Run, now: datetime, again: str) -> Iterator[Finding]:
    """Ask that no waiver is over; of several for one rule the one that holds longest counts."""
    for rule in dict.fromkeys(waiver.rule for waiver in run.waivers):
        waiver = max((one for one in run.waivers if one.rule == rule), key=lambda one: one.expires)
        if waivers.zone(waiver.timezone) is None:
            yield "waiver", f"{waivers.told(waiver)} is of an unknown timezone: {waiver.timezone}", again
        elif waivers.expired(waiver, now):
            hint = f"mend the setting or have the waiver renewed, or remove it from {waivers.NAME}; then {again}"
            yield "expired-waiver", f"{waivers.told(waiver)} expired on {waiver.expires}", hint
