"""What every command of publishing begins with: what is published, where it goes, and whether the gate lets it."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.errors import ConfigError, PublishError, UsageError
from publish import resources, schedule
from publish.aws import Cloud, Refused
from publish.converge import Walk
from publish.resources import Place, Publication

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.config.settings import Publish, Settings
    from harness.gate import Decision
    from publish.plan import Plan

KST: Final = timezone(timedelta(hours=9))
"""Dates of tags are Korean ones, as the schedule is."""
TAG_VALUE: Final = 250
REASON_LETTERS: Final = 3
"""Fewer letters say nothing."""


def publish_block(settings: Settings) -> Publish:
    """Return the publish block. Raises ConfigError where there is none."""
    if settings.publish is None:
        hint = '`harness init` writes an example with publish "imagebuilder" { … }'
        raise ConfigError(f"{settings.path} has no publish block", hint=hint)
    return settings.publish


def publication(
    settings: Settings, target: str | None, now: datetime, decision: Decision | None = None, exception: str = ""
) -> Publication:
    """Render what is published. Raises the errors of harness.errors."""
    from harness import site
    from harness.builds import chosen_build, documents, overrides_of

    publish = publish_block(settings)
    source = settings.source(target or publish.source)
    content = site.content(settings)
    baseline = content.baseline(source.baseline)
    build = chosen_build(settings, source)
    evidence = decision.evidence.get(source.name, "") if decision else ""
    return Publication(
        publish=publish,
        at=settings.at(publish),
        source=source.name,
        os_version=baseline.os_version,
        values=content.values(baseline, overrides_of(build)),
        documents=documents(content, baseline, build),
        today=now.astimezone(KST).date(),
        off={rule: baseline.excluded[rule] for rule in sorted(baseline.off)},
        evidence=f"sha256:{evidence}" if evidence else "",
        exception=reason(exception) if exception else "",
    )


def reason(text: str) -> str:
    """Return a reason as it can stand in a tag. Raises UsageError for one that says nothing."""
    told = re.sub(r"[^\w +\-=.:/@]", " ", text)[:TAG_VALUE].strip()
    if len(re.findall(r"\w", told)) < REASON_LETTERS:
        raise UsageError(f"`{text}` is no reason", hint="say why, in words: it becomes a tag that an assessor reads")
    return told


def decide(settings: Settings, target: str | None, evidence: Path | None, now: datetime) -> Decision:
    """Ask the gate about one source: with the targets that the policy names, or else with this one alone."""
    from harness import gate, gathering, site

    source = settings.source(target or publish_block(settings).source).name
    named = settings.gate.targets if settings.gate else ()
    policy = replace(gathering.policy(settings), targets=tuple(dict.fromkeys((*named, source))))
    folder = Path("evidence") if evidence is None else evidence
    there = folder if evidence is not None or folder.exists() else None
    return gate.decide(policy, gathering.facts(settings, site.content(settings), there, policy.targets), now)


def cloud_of(settings: Settings, endpoint: str | None) -> Cloud:
    """Return AWS in the region of the configuration. Raises ConfigError where no region is known."""
    publish = publish_block(settings)
    region = publish.aws_region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise ConfigError("no region is known", hint='aws_region = "ap-northeast-2" in terraform.tfvars', at=settings.at(publish))
    return Cloud(region, endpoint)


def place_of(cloud: Cloud) -> Place:
    """Return account, region and partition, as the credentials have them."""
    account, partition = cloud.identity()
    return Place(account, cloud.region, partition)


@contextmanager
def answers() -> Iterator[None]:
    """Turn a refusal that nobody expected into the error that the user is told."""
    try:
        yield
    except Refused as refused:
        raise refused.error() from None


def plan(cloud: Cloud, what: Publication, now: datetime) -> Plan:
    """Compare AWS with what is wanted; reads only. Raises the errors of harness.errors."""
    with answers():
        place = place_of(cloud)
        resources.check(what, place)
        made = Walk(cloud, what, place).run()
    when = what.publish.schedule
    if when is not None:
        made.next_runs = schedule.next_runs(when, now, what.at)
        made.notes += [when.note] if when.note else []
        if "Asia/Seoul" not in when.timezone:
            made.notes.append(f"the schedule is in {when.timezone}, the next runs are told in Korean time")
    if what.exception:
        made.notes.append(f"published though the gate is closed: {what.exception}")
    made.notes += [f"{rule} is {reason}" for rule, reason in what.off.items()]
    if what.os_version == "2":
        made.notes.append("Amazon Linux 2 is past its end of support on 2026-06-30: no security updates come any more")
    return made


def apply(cloud: Cloud, what: Publication, planned: Plan, now: datetime, say: Callable[[str], None]) -> None:
    """Carry out a plan, and look whether it holds. Raises the errors of harness.errors; running again goes on where this stopped."""
    with answers():
        Walk(cloud, what, place_of(cloud), expected=planned, say=say).run()
    left = plan(cloud, what, now)
    if not left.empty:
        names = ", ".join(f"{change.kind} {change.name}" for change in left.changes if change.action.value != "keep")
        raise PublishError(f"somebody else changed what was just published: {names}", hint="agree with them, then run again")


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)
