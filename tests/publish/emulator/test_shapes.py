"""Values against shapes: what the model says holds, for every operation, in both directions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape

from publish.emulator import Emulator, ServiceError, wire
from publish.emulator.operations import HANDLERS
from publish.emulator.shapes import project, violations
from publish.emulator.wire import Request, model
from tests.publish.emulator.account import AMAZON, ANSWERED, OWN, REGION, Account, Members, document

if TYPE_CHECKING:
    from publish.emulator import Stepped

NAMES = sorted(model().operation_names)
TEXTS = (
    "x", "xxx", "s3://bucket/key", "abc", "1.0.0", "1.0.0/1", "name {{ imagebuilder:buildDate }}", "123456789012", "optional",
    "aGk=", "String", "one", "UTC",
    "lt-0123456789abcdef0", "BUILD", "/logs", "arn:aws:sns:eu-west-1:123456789012:topic", "lce-01234567-89ab-cdef-0123-456789abcdef",
    "wf-01234567-89ab-cdef-0123-456789abcdef", "step-01234567-89ab-cdef-0123-456789abcdef",
    "arn:aws:organizations::123456789012:organization/o-0123456789", "arn:aws:organizations::123456789012:ou/o-0123456789/ou-abcd-01234567",
    f"arn:aws:license-manager:eu-west-1:123456789012:license-configuration:lic-{'0' * 32}",
    *(f"{OWN}:{kind}/one" for kind in ("image-pipeline", "infrastructure-configuration", "distribution-configuration", "lifecycle-policy")),
    *(f"{OWN}:{kind}/one/1.0.0" for kind in ("component", "image", "image-recipe", "container-recipe", "workflow/build")),
    *(f"{OWN}:{kind}/one/1.0.0/1" for kind in ("component", "image", "workflow/build")),
)  # fmt: skip
"""Something for every pattern of the model."""


def smallest(shape: Shape, *, everything: bool) -> object:
    """Make a value that fits a shape: with what is required only, or with everything."""
    match shape:
        case StructureShape():
            wanted = shape.members if everything else {name: shape.members[name] for name in shape.required_members}
            return {name: smallest(member, everything=everything) for name, member in wanted.items()}
        case ListShape():
            return [smallest(shape.member, everything=everything)] * int(shape.metadata.get("min", 1))
        case MapShape():
            return {smallest(shape.key, everything=everything): smallest(shape.value, everything=everything)}
        case _ if shape.type_name == "string":
            candidates = [*getattr(shape, "enum", []), *TEXTS, ""]
            return next(text for text in candidates if not list(violations(shape, text)))
        case _ if shape.type_name == "boolean":
            return True
        case _:
            return shape.metadata.get("min", 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("everything", [False, True], ids=["required", "everything"])
def test_what_fits_is_answered_or_refused_for_a_reason(name: str, everything: bool) -> None:  # noqa: FBT001 - a parameter of the test
    shape = model().operation_model(name).input_shape
    assert shape is not None
    parameters = smallest(shape, everything=everything)
    assert isinstance(parameters, dict)
    assert not list(violations(shape, parameters))
    output, refused = model().operation_model(name).output_shape, None
    try:
        answer = Emulator().call(name, parameters)
    except ServiceError as error:
        refused = error
    if refused is None:
        assert output is not None
        assert not list(violations(output, project(output, answer)))
    else:
        assert refused.code in model().shape_names
        assert wire.status(refused.code) < 500
        assert refused.message


@pytest.mark.parametrize("name", NAMES)
def test_what_is_required_is_required(name: str) -> None:
    shape = model().operation_model(name).input_shape
    assert shape is not None
    complete = smallest(shape, everything=False)
    assert isinstance(complete, dict)
    for member in shape.required_members:
        with pytest.raises(ServiceError, match=rf"'{re.escape(member)}' is required") as refused:
            wire.check(name, {key: value for key, value in complete.items() if key != member})
        assert refused.value.code == "InvalidRequestException"


def test_project_leaves_out_what_the_model_does_not_know() -> None:
    shape = model().shape_for("ImagePipeline")
    given = {"name": "one", "secret": 1, "schedule": {"timezone": "UTC", "note": 1}, "tags": {"a": "b"}, "status": None}
    assert project(shape, given) == {"name": "one", "schedule": {"timezone": "UTC"}, "tags": {"a": "b"}}


@pytest.mark.parametrize(
    ("shape", "value", "because"),
    [
        ("RestrictedInteger", True, "must be a integer"),
        ("RestrictedInteger", 1.5, "must be a integer"),
        ("ResourceName", "ends with a line feed\n", "must match pattern"),
        ("ResourceName", "이미지", "must match pattern"),
        ("InlineComponentData", "\0", "must match pattern"),
        ("TagMap", {"a": 1}, "must be a string"),
        ("TagMap", [], "must be a map"),
    ],
)
def test_single_values(shape: str, value: object, because: str) -> None:
    (found,) = violations(model().shape_for(shape), value, "here")
    assert because in str(found)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (Request("PUT", "/CreateComponent", body=b"{"), "InvalidRequestException"),
        (Request("PUT", "/CreateComponent", body=b"[]"), "InvalidRequestException"),
        (Request("PUT", "/CreateComponent", body=b"\xff"), "InvalidRequestException"),
        (Request("GET", "/CreateComponent"), "UnknownOperationException"),
        (Request("GET", "/"), "UnknownOperationException"),
        (Request("GET", "/GetComponent"), "InvalidRequestException"),
    ],
)
def test_requests_that_are_none(request_: Request, code: str) -> None:
    answer = Emulator().handle(request_)
    assert answer.headers["x-amzn-ErrorType"] == code
    assert answer.status in {400, 404}
    assert answer.body["message"]


def test_every_kind_of_answer_was_held_against_the_model(account: Account, scheduler: Stepped) -> None:
    """Call everything that is emulated once over HTTP; the client of the tests judges each answer."""
    component, infrastructure, distribution = account.component(), account.infrastructure(), account.distribution()
    spare = [account.component("spare"), account.recipe(name="spare"), account.infrastructure("spare"), account.distribution("spare")]
    recipe = account.recipe(component)
    pipeline = account.pipeline(
        recipe,
        infrastructureConfigurationArn=infrastructure,
        distributionConfigurationArn=distribution,
        schedule={"scheduleExpression": "cron(0 2 ? * sun *)", "timezone": "Asia/Seoul"},
    )
    image = account.start(pipeline)
    scheduler.drain()
    stopped = account.call("CreateImage", imageRecipeArn=recipe, infrastructureConfigurationArn=infrastructure)["imageBuildVersionArn"]
    execution = account.call("ListWorkflowExecutions", imageBuildVersionArn=image)["workflowExecutions"][0]["workflowExecutionId"]
    step = account.call("ListWorkflowStepExecutions", workflowExecutionId=execution)["steps"][0]["stepExecutionId"]
    policy: Members = {
        "executionRole": "role",
        "resourceType": "AMI_IMAGE",
        "policyDetails": [{"action": {"type": "DELETE"}, "filter": {"type": "COUNT", "value": 3}}],
        "resourceSelection": {"tagMap": {"Hardened": "true"}},
    }
    lifecycle = account.call("CreateLifecyclePolicy", name="policy", **policy)["lifecyclePolicyArn"]
    changed = account.call("StartResourceStateUpdate", resourceArn=image, state={"status": "DEPRECATED"})["lifecycleExecutionId"]
    sent = [{"region": REGION, "amiDistributionConfiguration": {"description": "only in this region"}}]
    with_policy = (("Component", "componentArn", component), ("ImageRecipe", "imageRecipeArn", recipe), ("Image", "imageArn", image))
    both = {"imageRecipeArn": recipe, "infrastructureConfigurationArn": infrastructure}
    calls: list[tuple[str, Members]] = [
        ("CancelImageCreation", {"imageBuildVersionArn": stopped}),
        ("GetComponent", {"componentBuildVersionArn": f"{AMAZON}:component/update-linux/x.x.x"}),
        ("GetImage", {"imageBuildVersionArn": image}),
        ("GetImage", {"imageBuildVersionArn": f"{AMAZON}:image/amazon-linux-2-x86/x.x.x"}),
        ("GetImagePipeline", {"imagePipelineArn": pipeline}),
        ("GetImageRecipe", {"imageRecipeArn": recipe}),
        ("GetInfrastructureConfiguration", {"infrastructureConfigurationArn": infrastructure}),
        ("GetDistributionConfiguration", {"distributionConfigurationArn": distribution}),
        ("GetLifecyclePolicy", {"lifecyclePolicyArn": lifecycle}),
        ("GetLifecycleExecution", {"lifecycleExecutionId": changed}),
        ("GetWorkflowExecution", {"workflowExecutionId": execution}),
        ("GetWorkflowStepExecution", {"stepExecutionId": step}),
        ("UpdateImagePipeline", {"imagePipelineArn": pipeline, **both}),
        ("UpdateInfrastructureConfiguration", {"infrastructureConfigurationArn": infrastructure, "instanceProfileName": "profile"}),
        ("UpdateDistributionConfiguration", {"distributionConfigurationArn": distribution, "distributions": sent}),
        ("UpdateLifecyclePolicy", {"lifecyclePolicyArn": lifecycle, **policy}),
        ("ListImages", {"includeDeprecated": True}),
        ("ListImages", {"owner": "Amazon"}),
        ("ListComponents", {"owner": "Amazon"}),
        ("ListImagePipelineImages", {"imagePipelineArn": pipeline}),
        ("ListLifecycleExecutions", {"resourceArn": image}),
        ("ListImagePackages", {"imageBuildVersionArn": image}),
        ("ListTagsForResource", {"resourceArn": recipe}),
        ("TagResource", {"resourceArn": recipe, "tags": {"a": "b"}}),
        ("UntagResource", {"resourceArn": recipe, "tagKeys": ["a"]}),
        *((f"Put{kind}Policy", {key: arn, "policy": "{}"}) for kind, key, arn in with_policy),
        *((f"Get{kind}Policy", {key: arn}) for kind, key, arn in with_policy),
        ("DeleteLifecyclePolicy", {"lifecyclePolicyArn": lifecycle}),
        ("DeleteImagePipeline", {"imagePipelineArn": pipeline}),
        ("DeleteImage", {"imageBuildVersionArn": stopped}),
        ("DeleteComponent", {"componentBuildVersionArn": spare[0]}),
        ("DeleteImageRecipe", {"imageRecipeArn": spare[1]}),
        ("DeleteInfrastructureConfiguration", {"infrastructureConfigurationArn": spare[2]}),
        ("DeleteDistributionConfiguration", {"distributionConfigurationArn": spare[3]}),
    ]  # fmt: skip
    for name in NAMES:
        shape = model().operation_model(name).input_shape
        if name in HANDLERS and name.startswith("List") and shape is not None and not shape.required_members:
            account.call(name)
    for name, parameters in calls:
        account.call(name, **parameters)
    account.emulator.builder.failures["retried"] = ("test", "Do_test")  # type: ignore[attr-defined]
    again = account.start(
        account.pipeline(account.recipe(account.component("retried", data=document(name="retried")), name="again"), "again")
    )
    scheduler.drain()
    account.call("RetryImage", imageBuildVersionArn=again)
    assert sorted(HANDLERS.keys() - ANSWERED) == []
