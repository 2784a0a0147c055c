"""Calls as such: tokens, dry runs, faults, tags, dependencies, updates."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from publish.emulator import Fault, ServiceError
from publish.emulator.operations import HANDLERS
from publish.emulator.wire import model
from tests.publish.emulator.account import AMAZON, OWN, Account, Clock, Members, document

if TYPE_CHECKING:
    from publish.emulator import Endpoint

ONE: Members = {"name": "one", "semanticVersion": "1.0.0", "platform": "Linux", "data": document()}


def test_the_same_token_gives_the_same_answer(account: Account) -> None:
    answers = [account.call("CreateComponent", **ONE, clientToken="token") for _ in range(2)]
    assert answers[0]["componentBuildVersionArn"] == answers[1]["componentBuildVersionArn"]
    assert answers[1]["clientToken"] == "token"
    assert len(account.call("ListComponentBuildVersions")["componentSummaryList"]) == 1


def test_the_same_token_for_something_else(account: Account) -> None:
    account.call("CreateComponent", **ONE, clientToken="token")
    with account.refuses("IdempotentParameterMismatch", "token"):
        account.call("CreateComponent", **{**ONE, "name": "two"}, clientToken="token")
    # Tokens count per operation.
    account.call("CreateInfrastructureConfiguration", name="one", instanceProfileName="profile", clientToken="token")


def test_a_token_of_a_refused_call_is_free(account: Account) -> None:
    with account.refuses("InvalidParameterValue"):
        account.call("CreateComponent", **{**ONE, "platform": "Solaris"}, clientToken="token")
    account.call("CreateComponent", **ONE, clientToken="token")


def test_a_start_is_not_repeated(account: Account) -> None:
    pipeline = account.pipeline()
    started = [
        account.call("StartImagePipelineExecution", imagePipelineArn=pipeline, clientToken="t")["imageBuildVersionArn"] for _ in range(3)
    ]
    assert set(started) == {f"{OWN}:image/golden/1.0.0/1"}


def test_a_dry_run_makes_nothing(account: Account) -> None:
    with account.refuses("DryRunOperation", "would have succeeded") as told:
        account.call("CreateComponent", **ONE, dryRun=True)
    assert told.status == 412
    with account.refuses("InvalidParameterValue"):
        account.call("CreateComponent", **{**ONE, "data": "no: document"}, dryRun=True)
    assert account.call("ListComponents")["componentVersionList"] == []
    account.call("CreateComponent", **ONE)
    with account.refuses("ResourceAlreadyExists"):
        account.call("CreateComponent", **ONE, dryRun=True)


def test_a_fault_hits_as_often_as_asked(account: Account) -> None:
    account.emulator.faults.add(Fault("CallRateLimitExceeded", frozenset({"ListComponents"}), times=2))
    account.call("ListImages")
    for _ in range(2):
        with account.refuses("CallRateLimitExceeded") as told:
            account.call("ListComponents")
        assert told.status == 429
    account.call("ListComponents")


@pytest.mark.parametrize(("code", "status"), [("Service", 500), ("ServiceUnavailable", 503), ("Forbidden", 403), ("AccessDenied", 403)])
def test_faults_have_the_status_of_the_model(account: Account, code: str, status: int) -> None:
    account.emulator.faults.add(Fault(code))
    with account.refuses(code) as told:
        account.call("ListComponents")
    assert told.status == status


def test_a_call_may_take_effect_and_be_refused(account: Account) -> None:
    account.emulator.faults.add(Fault("Service", after=True))
    with account.refuses("Service"):
        account.call("CreateComponent", **ONE, clientToken="token")
    account.call("CreateComponent", **ONE, clientToken="token")
    with account.refuses("ResourceAlreadyExists"):
        account.call("CreateComponent", **ONE, clientToken="other")


def test_a_rate_of_faults_is_repeatable(account: Account) -> None:
    def hits() -> list[bool]:
        account.emulator.faults.clear()
        account.emulator.faults.add(Fault("Service", rate=0.3, times=None))
        return [account.emulator.faults.take("ListComponents") is not None for _ in range(200)]

    first = hits()
    assert first == hits()
    assert 40 < sum(first) < 80


def test_a_client_that_tries_again_gets_there(account: Account, endpoint: Endpoint) -> None:
    config = Config(retries={"mode": "standard", "max_attempts": 5})
    client: Any = boto3.session.Session("testing", "testing", region_name="ap-northeast-2").client(
        "imagebuilder", endpoint_url=endpoint.url, config=config
    )
    account.emulator.faults.add(Fault("ServiceUnavailable", times=1, after=True))
    assert client.create_component(**ONE)["componentBuildVersionArn"].endswith("/1")
    assert [name for name, _ in account.emulator.calls] == ["CreateComponent"] * 2, "it was sent twice, with one token"


def test_tags(account: Account) -> None:
    arn = account.component(tags={"a": "1", "b/c": "2"})
    account.call("TagResource", resourceArn=arn, tags={"a": "한글", "d": ""})
    assert account.call("ListTagsForResource", resourceArn=arn)["tags"] == {"a": "한글", "b/c": "2", "d": ""}
    account.call("UntagResource", resourceArn=arn, tagKeys=["b/c", "d", "absent"])
    assert account.call("GetComponent", componentBuildVersionArn=arn)["component"]["tags"] == {"a": "한글"}
    account.call("TagResource", resourceArn=arn, tags={str(number): "" for number in range(49)})
    with account.refuses("InvalidParameter", "50"):
        account.call("TagResource", resourceArn=arn, tags={"one-more": ""})
    for other in (f"{OWN}:component/none/1.0.0/1", f"{AMAZON}:component/update-linux/1.0.2/1"):
        with account.refuses("ResourceNotFound"):
            account.call("TagResource", resourceArn=other, tags={"a": "b"})


def test_what_is_used_stays(account: Account) -> None:
    component = account.component()
    recipe = account.recipe(component)
    infrastructure, distribution = account.infrastructure(), account.distribution()
    pipeline = account.pipeline(recipe, infrastructureConfigurationArn=infrastructure, distributionConfigurationArn=distribution)
    order: list[Members] = [
        {"DeleteImagePipeline": {"imagePipelineArn": pipeline}},
        {"DeleteImageRecipe": {"imageRecipeArn": recipe}},
        {"DeleteComponent": {"componentBuildVersionArn": component}},
        {"DeleteInfrastructureConfiguration": {"infrastructureConfigurationArn": infrastructure}},
        {"DeleteDistributionConfiguration": {"distributionConfigurationArn": distribution}},
    ]
    for deletion in order[1:]:
        for name, parameters in deletion.items():
            with account.refuses("ResourceDependency", next(iter(parameters.values())), "has other resources depended on it"):
                account.call(name, **parameters)
    for deletion in order:
        for name, parameters in deletion.items():
            account.call(name, **parameters)
            with account.refuses("ResourceNotFound"):
                account.call(name, **parameters)


def test_a_recipe_that_follows_a_component_holds_the_newest_build(account: Account) -> None:
    first, second = account.component(), account.component(data=document(command="false"))
    account.recipe(f"{OWN}:component/hardening/1.x.x")
    account.call("DeleteComponent", componentBuildVersionArn=first)
    with account.refuses("ResourceDependency"):
        account.call("DeleteComponent", componentBuildVersionArn=second)


def test_an_update_that_lets_go(account: Account) -> None:
    recipe, distribution = account.recipe(), account.distribution()
    infrastructure = account.infrastructure()
    pipeline = account.pipeline(recipe, infrastructureConfigurationArn=infrastructure, distributionConfigurationArn=distribution)
    account.call("UpdateImagePipeline", imagePipelineArn=pipeline, imageRecipeArn=recipe, infrastructureConfigurationArn=infrastructure)
    account.call("DeleteDistributionConfiguration", distributionConfigurationArn=distribution)


def test_defaults(account: Account) -> None:
    recipe = account.call("GetImageRecipe", imageRecipeArn=account.recipe())["imageRecipe"]
    assert (recipe["workingDirectory"], recipe["owner"], recipe["platform"]) == ("/tmp", "123456789012", "Linux")
    infrastructure = account.call("GetInfrastructureConfiguration", infrastructureConfigurationArn=account.infrastructure())
    assert infrastructure["infrastructureConfiguration"]["terminateInstanceOnFailure"] is True
    arn = account.pipeline(recipe["arn"], schedule={"scheduleExpression": "cron(0 2 ? * sun *)"})
    pipeline = account.call("GetImagePipeline", imagePipelineArn=arn)["imagePipeline"]
    assert pipeline["imageTestsConfiguration"] == {"imageTestsEnabled": True, "timeoutMinutes": 720}
    assert (pipeline["enhancedImageMetadataEnabled"], pipeline["status"]) == (True, "ENABLED")
    assert pipeline["schedule"]["timezone"] == "UTC"
    assert pipeline["schedule"]["pipelineExecutionStartCondition"] == "EXPRESSION_MATCH_AND_DEPENDENCY_UPDATES_AVAILABLE"
    assert pipeline["dateNextRun"] == "2026-11-29T02:00:00.000Z"


def test_an_update_resets_what_it_leaves_out(account: Account, clock: Clock) -> None:
    recipe, infrastructure = account.recipe(), account.infrastructure(tags={"kept": "yes"}, keyPair="key", terminateInstanceOnFailure=False)
    arn = account.pipeline(
        recipe,
        infrastructureConfigurationArn=infrastructure,
        status="DISABLED",
        description="weekly",
        schedule={"scheduleExpression": "rate(7 days)"},
        tags={"kept": "yes"},
    )
    clock.forward(minutes=5)
    account.call("UpdateImagePipeline", imagePipelineArn=arn, imageRecipeArn=recipe, infrastructureConfigurationArn=infrastructure)
    pipeline = account.call("GetImagePipeline", imagePipelineArn=arn)["imagePipeline"]
    assert (pipeline["status"], pipeline["tags"], pipeline["name"]) == ("ENABLED", {"kept": "yes"}, "weekly")
    assert not {"schedule", "description", "dateNextRun"} & pipeline.keys()
    assert pipeline["dateCreated"] < pipeline["dateUpdated"]
    account.call("UpdateInfrastructureConfiguration", infrastructureConfigurationArn=infrastructure, instanceProfileName="other")
    found = account.call("GetInfrastructureConfiguration", infrastructureConfigurationArn=infrastructure)["infrastructureConfiguration"]
    assert (found["instanceProfileName"], found["terminateInstanceOnFailure"], found["tags"]) == ("other", True, {"kept": "yes"})
    assert "keyPair" not in found


def test_policies_of_resources(account: Account) -> None:
    arn = account.component()
    with account.refuses("ResourceNotFound"):
        account.call("GetComponentPolicy", componentArn=arn)
    account.call("PutComponentPolicy", componentArn=arn, policy="{}")
    assert account.call("GetComponentPolicy", componentArn=arn)["policy"] == "{}"


def test_what_is_not_emulated_says_so(account: Account) -> None:
    silent = set(model().operation_names) - HANDLERS.keys()
    assert {"ImportComponent", "CreateContainerRecipe"} <= silent
    with account.refuses("InvalidRequest", "CreateWorkflow is not emulated"):
        account.call("CreateWorkflow", name="one", semanticVersion="1.0.0", type="BUILD", data="x")


def test_unknown_members_and_operations(account: Account) -> None:
    with pytest.raises(ServiceError, match="surprise is not known"):
        account.emulator.call("ListComponents", {"surprise": 1})
    with pytest.raises(ServiceError, match="is no operation"):
        account.emulator.call("MakeCoffee", {})


def test_regions_are_apart(account: Account, endpoint: Endpoint) -> None:
    account.component()
    elsewhere = Account(endpoint.url, account.emulator, "eu-west-1")
    assert elsewhere.call("ListComponents")["componentVersionList"] == []
    assert elsewhere.component().startswith("arn:aws:imagebuilder:eu-west-1:")


def test_one_of_many_at_once_wins(account: Account) -> None:
    start = threading.Barrier(8)

    def create(_: int) -> str:
        start.wait()
        try:
            return account.infrastructure("contested")
        except account.client.exceptions.ResourceAlreadyExistsException:
            return "refused"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(create, range(8)))
    assert sorted(outcomes) == [f"{OWN}:infrastructure-configuration/contested", *["refused"] * 7]


def test_many_at_once_lose_nothing(account: Account) -> None:
    with ThreadPoolExecutor(8) as pool:
        arns = list(pool.map(lambda number: account.component(data=document(command=f"echo {number}")), range(24)))
    assert sorted(int(arn.rpartition("/")[2]) for arn in arns) == list(range(1, 25))


def test_the_state_can_be_looked_at(account: Account) -> None:
    account.component()
    exported = account.emulator.export()
    (shown,) = exported["regions"]["ap-northeast-2"]
    assert shown["arn"] == f"{OWN}:component/hardening/1.0.0/1"
    assert exported["calls"] == 1
