"""Differences that count: what the service fills in and what it knows on top is none, what somebody added is one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from publish.plan import Action, Change, Field, Plan, differences, tag_fields, with_volatile

PIPELINE = {"name": "p", "imageRecipeArn": "r", "schedule": {"scheduleExpression": "rate(7 days)"}}


@pytest.mark.parametrize(
    "there",
    [
        PIPELINE,
        {**PIPELINE, "arn": "a", "dateNextRun": "tomorrow", "consecutiveFailures": 3, "lastRunStatus": "FAILED", "novelty": {"a": 1}},
        {**PIPELINE, "status": "ENABLED", "enhancedImageMetadataEnabled": True},
        {**PIPELINE, "imageTestsConfiguration": {"imageTestsEnabled": True, "timeoutMinutes": 720}},
        {**PIPELINE, "schedule": {**PIPELINE["schedule"], "timezone": "UTC", "autoDisablePolicy": {"failureCount": 5}}},  # type: ignore[dict-item]
        {**PIPELINE, "workflows": [], "executionRole": ""},
    ],
)
def test_defaults_of_the_service_are_no_difference(there: dict[str, Any]) -> None:
    assert differences("CreateImagePipeline", PIPELINE, there) == ()


def test_what_is_written_and_is_the_default_is_no_difference_to_nothing() -> None:
    assert differences("CreateImagePipeline", {**PIPELINE, "status": "ENABLED"}, PIPELINE) == ()


def test_what_somebody_added_is_a_difference() -> None:
    wanted: dict[str, Any] = {"distributions": [{"region": "r", "amiDistributionConfiguration": {"launchPermission": {"userIds": ["1"]}}}]}
    there = json.loads(json.dumps(wanted))
    there["distributions"][0]["amiDistributionConfiguration"]["launchPermission"]["userGroups"] = ["all"]
    path = "distributions[0].amiDistributionConfiguration.launchPermission.userGroups"
    assert differences("CreateDistributionConfiguration", wanted, there) == (Field(path, ["all"], None),)


def test_lists_of_another_length_differ_as_a_whole() -> None:
    found = differences("CreateInfrastructureConfiguration", {"instanceTypes": ["a"]}, {"instanceTypes": ["a", "b"]})
    assert found == (Field("instanceTypes", ["a", "b"], ["a"]),)


def test_volatile_tags_alone_are_no_difference_at_any_depth() -> None:
    wanted = {"tags": {"BuildDate": "2", "Name": "n"}, "list": [{"amiTags": {"BuildDate": "2"}}]}
    there = {"tags": {"BuildDate": "1", "Name": "n"}, "list": [{"amiTags": {"BuildDate": "1"}}]}
    assert with_volatile(wanted, there, frozenset({"BuildDate"})) == there


def test_plan_as_text_and_as_json() -> None:
    plan = Plan("123456789012", "ap-northeast-2", notes=["careful"], next_runs=["Sun"])
    plan.changes = [
        Change(Action.CREATE, "recipe", "r", note="1.0.0"),
        Change(Action.UPDATE, "pipeline", "p", "arn", (Field("status", "DISABLED", "ENABLED"), Field("x", None, "y" * 100))),
    ]
    text = plan.as_text()
    assert "+ create recipe    r  (1.0.0)" in text
    assert "status: DISABLED → ENABLED" in text
    assert "x: nothing → yyy" in text
    assert "1 to create, 1 to update, 0 to keep, 0 to retire" in text
    data = json.loads(plan.as_json())
    assert data["summary"] == {"create": 1, "update": 1, "keep": 0, "retire": 0}
    assert data["changes"][1]["fields"][0] == {"path": "status", "before": "DISABLED", "after": "ENABLED"}
    assert not plan.empty
    assert Plan("1", "r", [Change(Action.KEEP, "recipe", "r")]).empty


def test_tag_fields_name_what_was_there() -> None:
    assert tag_fields({"a": "2"}, {"a": "1"}) == (Field("tags.a", "1", "2"),)
