"""Lists: everything once, in pages of any size, filtered, and never of the wrong kind."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from publish.emulator.lists import LISTINGS
from publish.emulator.wire import model
from tests.publish.emulator.account import AMAZON, OWN, Account, Clock, Members, document

if TYPE_CHECKING:
    from collections.abc import Iterator


def pages(account: Account, operation: str, size: int, **more: object) -> Iterator[list[Members]]:
    token: Members = {}
    while True:
        answer = account.call(operation, maxResults=size, **more, **token)
        yield next(value for value in answer.values() if isinstance(value, list))
        if "nextToken" not in answer:
            return
        token = {"nextToken": answer["nextToken"]}


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(0, 12), size=st.integers(1, 13), removed=st.sets(st.integers(0, 11)), added=st.integers(0, 3))
def test_pages_hold_everything_once(account: Account, count: int, size: int, removed: set[int], added: int) -> None:
    """What was there all the time is shown exactly once, whatever comes and goes between two pages."""
    account.emulator.reset()
    arns = [account.infrastructure(f"infra-{number:02}") for number in range(count)]
    gone = {arns[number] for number in removed if number < count}
    seen: list[str] = []
    for number, page in enumerate(pages(account, "ListInfrastructureConfigurations", size)):
        assert len(page) <= size
        seen += [entry["arn"] for entry in page]
        if number == 0:
            for arn in sorted(gone):
                account.call("DeleteInfrastructureConfiguration", infrastructureConfigurationArn=arn)
            for late in range(added):
                account.infrastructure(f"late-{late}")
    assert len(seen) == len(set(seen))
    assert [arn for arn in seen if arn in arns and arn not in gone] == [arn for arn in arns if arn not in gone]


def test_botocore_can_page(account: Account) -> None:
    for number in range(31):
        account.component(f"part-{number:02}")
    found = account.client.get_paginator("list_components").paginate().build_full_result()
    assert len(found["componentVersionList"]) == 31
    assert len(account.call("ListComponents")["componentVersionList"]) == 25


@pytest.mark.parametrize("token", ["nonsense", "====", "bnVsbA==", "WzEsMl0="])
def test_a_token_that_nobody_gave(account: Account, token: str) -> None:
    with account.refuses("InvalidPaginationToken"):
        account.call("ListComponents", nextToken=token)


def test_a_token_of_another_question(account: Account) -> None:
    for number in range(2):
        account.component(f"part-{number}")
        account.infrastructure(f"infra-{number}")
    token = account.call("ListComponents", maxResults=1)["nextToken"]
    with account.refuses("InvalidPaginationToken"):
        account.call("ListInfrastructureConfigurations", nextToken=token)
    with account.refuses("InvalidPaginationToken"):
        account.call("ListComponents", nextToken=token, byName=True)


@pytest.mark.parametrize("size", [0, 101])
def test_the_size_of_a_page(account: Account, size: int) -> None:
    with account.refuses("InvalidParameterValue", "maxResults"):
        account.call("ListComponents", maxResults=size)


def names(answer: Members) -> list[str]:
    return [entry["name"] for value in answer.values() if isinstance(value, list) for entry in value]


def test_filters(account: Account) -> None:
    account.component("one", data=document("test"))
    account.component("two", supportedOsVersions=["Amazon Linux 2"])

    def found(**wanted: list[str]) -> list[str]:
        return names(account.call("ListComponents", filters=[{"name": name, "values": values} for name, values in wanted.items()]))

    assert found(name=["one", "three"]) == ["one"]
    assert found(type=["TEST"]) == ["one"]
    assert found(supportedOsVersion=["Amazon Linux 2"]) == ["two"]
    assert found(name=["one"], type=["BUILD"]) == []
    assert found(name=["One"]) == []
    with account.refuses("InvalidParameterValue", "filters[0].name", "supportedOsVersion"):
        found(colour=["blue"])


def test_owners(account: Account) -> None:
    account.component("mine")
    assert names(account.call("ListComponents")) == ["mine"]
    assert "update-linux" in names(account.call("ListComponents", owner="Amazon"))
    assert names(account.call("ListComponents", owner="ThirdParty")) == []
    images = account.call("ListImages", owner="Amazon")["imageVersionList"]
    assert f"{AMAZON}:image/amazon-linux-2-x86/2026.11.2" in [image["arn"] for image in images]


def test_versions_and_builds(account: Account) -> None:
    account.component(version="1.0.0")
    account.component(version="1.0.0", data=document(command="false"))
    account.component(version="1.1.0")
    shown = account.call("ListComponents")["componentVersionList"]
    assert [entry["arn"] for entry in shown] == [f"{OWN}:component/hardening/1.0.0", f"{OWN}:component/hardening/1.1.0"]
    assert [entry["version"] for entry in account.call("ListComponents", byName=True)["componentVersionList"]] == ["1.1.0"]
    builds = account.call("ListComponentBuildVersions", componentVersionArn=f"{OWN}:component/hardening/1.0.0")
    assert [entry["arn"][-2:] for entry in builds["componentSummaryList"]] == ["/1", "/2"]


def test_lists_may_lag(account: Account, clock: Clock) -> None:
    account.emulator.list_lag = timedelta(minutes=2)
    try:
        arn = account.component()
        assert names(account.call("ListComponents")) == []
        account.call("GetComponent", componentBuildVersionArn=arn)
        clock.forward(minutes=2)
        assert names(account.call("ListComponents")) == ["hardening"]
    finally:
        account.emulator.list_lag = timedelta(0)


def test_every_list_is_there() -> None:
    listed = {name for name in model().operation_names if name.startswith("List")}
    assert listed - LISTINGS.keys() == {
        "ListTagsForResource",
        "ListImageScanFindingAggregations",
        "ListLifecycleExecutionResources",
        "ListWorkflowBuildVersions",
    }


def test_what_distributes_where(account: Account) -> None:
    account.distribution()
    (shown,) = account.call("ListDistributionConfigurations")["distributionConfigurationSummaryList"]
    assert shown["regions"] == ["ap-northeast-2"]
