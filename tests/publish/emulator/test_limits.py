"""Every limit that the service enforces and botocore does not: nothing gets past it, and the refusal says what was wrong."""

from __future__ import annotations

import pytest

from harness.toe import MAX_BYTES
from tests.publish.emulator.account import AMAZON, OWN, Account, Members, document

COMPONENT: Members = {"name": "one", "semanticVersion": "1.0.0", "platform": "Linux", "data": document()}
RECIPE: Members = {"name": "one", "semanticVersion": "1.0.0", "parentImage": "ami-12345678"}
INFRASTRUCTURE: Members = {"name": "one", "instanceProfileName": "profile"}
AMI: Members = {"name": "one {{ imagebuilder:buildDate }}"}
ONE: Members = {"region": "ap-northeast-2", "amiDistributionConfiguration": AMI}
DISTRIBUTION: Members = {"name": "one", "distributions": [ONE]}
POLICY: Members = {
    "name": "one",
    "executionRole": "role",
    "resourceType": "AMI_IMAGE",
    "policyDetails": [{"action": {"type": "DELETE"}, "filter": {"type": "COUNT", "value": 3}}],
    "resourceSelection": {"recipes": [{"name": "golden", "semanticVersion": "x.x.x"}]},
}
VALID = [
    ("CreateComponent", COMPONENT),
    ("CreateImageRecipe", RECIPE),
    ("CreateInfrastructureConfiguration", INFRASTRUCTURE),
    ("CreateDistributionConfiguration", DISTRIBUTION),
    ("CreateLifecyclePolicy", POLICY),
]


@pytest.mark.parametrize(("operation", "parameters"), VALID, ids=[name for name, _ in VALID])
def test_the_values_that_the_other_tests_spoil_are_good(account: Account, operation: str, parameters: Members) -> None:
    account.call(operation, **parameters)


def ami(**more: object) -> Members:
    return {"distributions": [{**ONE, "amiDistributionConfiguration": {**AMI, **more}}]}


def volume(**more: object) -> Members:
    return {"blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": more}]}


VALUES = [
    # operation, what is spoilt, the parameter that the message names, what it says
    (COMPONENT, {"data": document() + "#" * 16_001}, "data", "at most 16000"),
    (COMPONENT, {"data": ""}, "data", "at least 1"),
    (COMPONENT, {"name": "a"}, "name", "must match pattern"),
    (COMPONENT, {"name": "a" * 129}, "name", "must match pattern"),
    (COMPONENT, {"name": "a/b/c"}, "name", "must match pattern"),
    (COMPONENT, {"name": "abc\n"}, "name", "must match pattern"),
    (COMPONENT, {"semanticVersion": "1.0.x"}, "semanticVersion", "must match pattern ^[0-9]+"),
    (COMPONENT, {"semanticVersion": "1.0"}, "semanticVersion", "must match pattern"),
    (COMPONENT, {"platform": "Solaris"}, "platform", "must be one of Linux, Windows, macOS"),
    (COMPONENT, {"description": "d" * 1025}, "description", "at most 1024"),
    (COMPONENT, {"supportedOsVersions": [str(number) for number in range(26)]}, "supportedOsVersions", "at most 25"),
    (COMPONENT, {"tags": {str(number): "" for number in range(51)}}, "tags", "at most 50"),
    (COMPONENT, {"tags": {"aws:name": "v"}}, "tags.aws:name", "must match pattern"),
    (COMPONENT, {"tags": {"k": "v" * 257}}, "tags.k", "at most 256"),
    (COMPONENT, {"clientToken": "t" * 65}, "clientToken", "at most 64"),
    (COMPONENT, {"data": 7}, "data", "must be a string"),
    (RECIPE, {"semanticVersion": "1.0.y"}, "semanticVersion", "must match pattern"),
    (RECIPE, {"components": []}, "components", "at least 1"),
    (RECIPE, {"components": [{"componentArn": "update-linux"}]}, "components[0].componentArn", "must match pattern"),
    (RECIPE, {"components": [{"componentArn": f"{OWN}:component/none/x.x.x"}]}, "components[0].componentArn", "does not exist"),
    (RECIPE, {"components": [{"componentArn": f"{AMAZON}:component/update-linux/1.x.2"}]}, "components[0].componentArn", "must be x"),
    (RECIPE, {"parentImage": "arn:aws:ec2:eu-west-1::image/ami-12345678"}, "parentImage", "neither an AMI ID"),
    (RECIPE, {"parentImage": f"{AMAZON}:image/amazon-linux-1/x.x.x"}, "parentImage", "does not exist"),
    (RECIPE, {"parentImage": f"{AMAZON}:image/amazon-linux-2-x86/x.1.x"}, "parentImage", "must be x"),
    (RECIPE, {"parentImage": "ami-1"}, "parentImage", "neither"),
    (RECIPE, {"additionalInstanceConfiguration": {"userDataOverride": "not base64!"}}, "userDataOverride", "must match pattern"),
    (RECIPE, {"amiTags": {}}, "amiTags", "at least 1"),
    (RECIPE, volume(volumeSize=0), "volumeSize", "at least 1"),
    (RECIPE, volume(volumeSize=16_001), "volumeSize", "at most 16000"),
    (RECIPE, volume(volumeType="gp9"), "volumeType", "must be one of"),
    (RECIPE, volume(iops=99), "iops", "at least 100"),
    (RECIPE, volume(throughput=1001), "throughput", "at most 1000"),
    (RECIPE, volume(encrypted="yes"), "encrypted", "must be a boolean"),
    (INFRASTRUCTURE, {"instanceProfileName": "no/slash"}, "instanceProfileName", "must match pattern"),
    (INFRASTRUCTURE, {"instanceMetadataOptions": {"httpTokens": "maybe"}}, "httpTokens", "must match pattern"),
    (INFRASTRUCTURE, {"instanceMetadataOptions": {"httpPutResponseHopLimit": 65}}, "httpPutResponseHopLimit", "at most 64"),
    (INFRASTRUCTURE, {"snsTopicArn": "arn:aws:sqs:eu-west-1:123456789012:queue"}, "snsTopicArn", "must match pattern"),
    (INFRASTRUCTURE, {"resourceTags": {str(number): "" for number in range(31)}}, "resourceTags", "at most 30"),
    (INFRASTRUCTURE, {"placement": {"tenancy": "shared"}}, "tenancy", "must be one of"),
    (DISTRIBUTION, {"distributions": []}, "distributions", "At least one"),
    (DISTRIBUTION, {"distributions": [{"region": "eu-west-1"}]}, "distributions[0]", "One or more outputs"),
    (DISTRIBUTION, {"distributions": [ONE, ONE]}, "distributions[1].region", "more than once"),
    (DISTRIBUTION, ami(name="golden"), "amiDistributionConfiguration.name", "must contain"),
    (DISTRIBUTION, ami(name="golden {{ imagebuilder:date }}"), "amiDistributionConfiguration.name", "is no variable"),
    (DISTRIBUTION, ami(name="golden/{{ imagebuilder:buildDate }}"), "amiDistributionConfiguration.name", "must match pattern"),
    (DISTRIBUTION, ami(name="g" * 128), "amiDistributionConfiguration.name", "at most 127"),
    (DISTRIBUTION, ami(launchPermission={"userIds": ["1234"]}), "userIds[0]", "must match pattern"),
    (DISTRIBUTION, {"distributions": [{**ONE, "ssmParameterConfigurations": [{"parameterName": "a b"}]}]}, "parameterName", "pattern"),
    (DISTRIBUTION, {"distributions": [{**ONE, "launchTemplateConfigurations": [{"launchTemplateId": "lt-1"}]}]}, "Id", "pattern"),
    (POLICY, {"policyDetails": []}, "policyDetails", "at least 1"),
    (POLICY, {"policyDetails": POLICY["policyDetails"] * 4}, "policyDetails", "at most 3"),
    (POLICY, {"resourceType": "AMI"}, "resourceType", "must be one of"),
    (POLICY, {"policyDetails": [{"action": {"type": "DELETE"}, "filter": {"type": "AGE", "value": 3}}]}, "filter.unit", "needs a unit"),
    (POLICY, {"policyDetails": [{"action": {"type": "DELETE"}, "filter": {"type": "COUNT", "value": 1001}}]}, "value", "at most 1000"),
]


@pytest.mark.parametrize(
    ("base", "spoilt", "where", "because"), VALUES, ids=[f"{where}-{number}" for number, (_, _, where, _) in enumerate(VALUES)]
)
def test_a_value_is_refused_by_name(account: Account, base: Members, spoilt: Members, where: str, because: str) -> None:
    operation = next(name for name, parameters in VALID if parameters is base)
    with account.refuses("InvalidParameterValue", where, because) as told:
        account.call(operation, **{**base, **spoilt})
    assert told.status == 400
    assert told.message.startswith("The value supplied for parameter '")
    assert not [one for region in account.emulator.regions.values() for one in region.resources if ":aws:" not in one], "nothing is made"


@pytest.mark.parametrize(("operation", "parameters"), VALID, ids=[name for name, _ in VALID])
def test_what_is_required_is_asked_for(account: Account, operation: str, parameters: Members) -> None:
    with account.refuses("InvalidRequest", "'name' is required"):
        account.call(operation, **{name: value for name, value in parameters.items() if name != "name"})


def test_16000_characters_are_not_too_many(account: Account) -> None:
    data = document().ljust(15_999, "#") + "\n"
    account.component(data=data)
    assert account.call("GetComponent", componentBuildVersionArn=f"{OWN}:component/hardening/1.0.0/1")["component"]["data"] == data


def test_twenty_components_and_no_more(account: Account) -> None:
    components = [account.component(name=f"part-{number}") for number in range(21)]
    account.recipe(*components[:20])
    with account.refuses("ServiceQuotaExceeded", "20", "21") as told:
        account.recipe(*components, name="other")
    assert told.status == 402


def test_a_document_from_a_bucket_may_have_64_kilobytes(account: Account) -> None:
    objects = account.emulator.alone.objects
    objects["bucket", "good.yml"] = document().ljust(MAX_BYTES - 1, "#").encode() + b"\n"
    objects["bucket", "long.yml"] = objects["bucket", "good.yml"] + b"\n"
    account.component(uri="s3://bucket/good.yml")
    with account.refuses("InvalidParameterValue", "'uri'", str(MAX_BYTES)):
        account.component(uri="s3://bucket/long.yml", name="other")


@pytest.mark.parametrize("uri", ["https://bucket/key", "s3://bucket", "s3:///key"])
def test_a_uri_that_names_no_object(account: Account, uri: str) -> None:
    with account.refuses("InvalidParameterValue", "'uri'", "s3://bucket/key"):
        account.component(uri=uri)


def test_an_object_that_is_not_there(account: Account) -> None:
    with account.refuses("InvalidParameterValue", "'uri'", "does not exist"):
        account.component(uri="s3://bucket/nothing.yml")


def test_a_document_is_here_or_there(account: Account) -> None:
    for given in ({}, {"data": document(), "uri": "s3://bucket/key"}):
        with account.refuses("InvalidParameterCombination", "'data'", "'uri'"):
            account.call("CreateComponent", name="one", semanticVersion="1.0.0", platform="Linux", **given)


@pytest.mark.parametrize(
    ("data", "because"),
    [
        ("{", "line 1"),
        (document().replace("ExecuteBash", "ExecuteBush"), "ExecuteBush"),
        (document().replace("'true'", "'{{ unheard }}'"), "unheard"),
        (document().replace("phases:", "fases:"), "fases"),
        (document("verify"), "build, validate or test"),
        (document().replace("1.0", "2.0"), "schemaVersion"),
    ],
)
def test_a_broken_document_is_refused(account: Account, data: str, because: str) -> None:
    with account.refuses("InvalidParameterValue", "'data'", "component document is not valid", because):
        account.component(data=data)


@pytest.mark.parametrize(
    ("parameters", "code", "because"),
    [
        ([{"name": "Level", "value": ["1"]}], "InvalidParameterCombination", "not defined in the provided component: Level"),
        ([{"name": "level", "value": ["1"]}] * 2, "InvalidParameterCombination", "more than once"),
        ([{"name": "level", "value": []}], "InvalidParameterValue", "exactly one value"),
        ([{"name": "level", "value": ["1", "2"]}], "InvalidParameterValue", "exactly one value"),
    ],
)
def test_parameters_of_a_component(account: Account, parameters: list[Members], code: str, because: str) -> None:
    entry = {"componentArn": account.component(), "parameters": parameters}
    with account.refuses(code, "'components[0].parameters", because):
        account.recipe(components=[entry])


def test_the_words_of_the_service_for_an_unknown_parameter(account: Account) -> None:
    entry = {"componentArn": account.component(), "parameters": [{"name": "X", "value": ["1"]}]}
    with account.refuses("InvalidParameterCombination") as told:
        account.recipe(components=[entry])
    assert told.message == (
        "The value supplied for parameter 'components[0].parameters' is not valid. "
        "The following parameters are not defined in the provided component: X"
    )


def test_a_component_for_another_platform(account: Account) -> None:
    answer = account.call("CreateComponent", name="other", semanticVersion="1.0.0", platform="Windows", data="name: w")
    with account.refuses("InvalidParameterValue", "Windows", "Linux"):
        account.recipe(answer["componentBuildVersionArn"])


def test_what_is_missing_elsewhere(account: Account) -> None:
    account.emulator.alone.missing |= {"profile", "ami-12345678", "/golden/parent"}
    with account.refuses("InvalidParameterValue", "The provided instance profile does not exist"):
        account.infrastructure()
    with account.refuses("InvalidParameterValue", "You are not authorized to use the provided image"):
        account.recipe(parentImage="ami-12345678")
    with account.refuses("InvalidParameterValue", "/golden/parent"):
        account.recipe(parentImage="ssm:/golden/parent")
    account.recipe(parentImage="ssm:/golden/other")


SCHEDULES = [
    ({"scheduleExpression": "cron(0 2 * * sun)"}, "schedule.scheduleExpression", "Unexpected end of expression"),
    ({"scheduleExpression": "cron(0 2 * * sun *)"}, "schedule.scheduleExpression", "exactly one of"),
    ({"scheduleExpression": "cron(0 2 ? * sun *)", "timezone": "Asia/Soul"}, "schedule.timezone", "Asia/Soul"),
    ({"scheduleExpression": "cron(0 2 ? * sun *)", "timezone": "!"}, "schedule.timezone", "at least 3"),
    ({"scheduleExpression": "cron(0 2 ? * sun *)", "pipelineExecutionStartCondition": "ALWAYS"}, "StartCondition", "must be one of"),
    ({"scheduleExpression": "cron(0 2 ? * sun *)", "autoDisablePolicy": {"failureCount": 11}}, "failureCount", "at most 10"),
]


@pytest.mark.parametrize(("schedule", "where", "because"), SCHEDULES, ids=[where for _, where, _ in SCHEDULES])
def test_a_schedule_is_checked(account: Account, schedule: Members, where: str, because: str) -> None:
    with account.refuses("InvalidParameterValue", where, because):
        account.pipeline(schedule=schedule)


def test_what_a_pipeline_refers_to_exists(account: Account) -> None:
    recipe, infrastructure = account.recipe(), account.infrastructure()
    for spoilt in (
        {"recipe": f"{OWN}:image-recipe/none/1.0.0"},
        {"infrastructureConfigurationArn": f"{OWN}:infrastructure-configuration/none"},
        {"distributionConfigurationArn": f"{OWN}:distribution-configuration/none"},
        {"recipe": f"{OWN}:image-recipe/golden/1.x.0"},
    ):
        given: Members = {"recipe": recipe, "infrastructureConfigurationArn": infrastructure, **spoilt}
        with account.refuses("InvalidParameterValue"):
            account.pipeline(**given)


def test_what_a_pipeline_needs_together(account: Account) -> None:
    recipe, infrastructure = account.recipe(), account.infrastructure()
    common: Members = {"name": "weekly", "infrastructureConfigurationArn": infrastructure}
    with account.refuses("InvalidParameterCombination", "imageRecipeArn"):
        account.call("CreateImagePipeline", **common)
    workflow = {"workflowArn": f"{AMAZON}:workflow/build/build-image/1.0.2/1"}
    with account.refuses("InvalidParameterCombination", "executionRole"):
        account.call("CreateImagePipeline", **common, imageRecipeArn=recipe, workflows=[workflow])
    with account.refuses("ResourceDependency", "Amazon Inspector is not enabled"):
        account.call("CreateImagePipeline", **common, imageRecipeArn=recipe, imageScanningConfiguration={"imageScanningEnabled": True})
    with account.refuses("InvalidParameterValue", "timeoutMinutes", "at least 60"):
        account.call("CreateImagePipeline", **common, imageRecipeArn=recipe, imageTestsConfiguration={"timeoutMinutes": 59})


def test_a_selection_is_by_recipe_or_by_tag(account: Account) -> None:
    for selection in ({}, {**POLICY["resourceSelection"], "tagMap": {"a": "b"}}):
        with account.refuses("InvalidParameterCombination", "resourceSelection"):
            account.call("CreateLifecyclePolicy", **{**POLICY, "resourceSelection": selection})
