"""Images: started by hand or by a pipeline, looked at, cancelled, tried again, removed."""

from __future__ import annotations

import threading
import uuid
from copy import deepcopy
from typing import TYPE_CHECKING

from harness.toe import examine
from publish.emulator import versions
from publish.emulator.builder import Order, OrderedComponent
from publish.emulator.building import FINAL, Life, Log
from publish.emulator.errors import ServiceError, bad_combination
from publish.emulator.operations import operation, reference
from publish.emulator.store import Resource, stamp
from publish.emulator.versions import Arn

if TYPE_CHECKING:
    from publish.emulator.operations import Call
    from publish.emulator.wire import Json

DEFAULT_TESTS = {"imageTestsEnabled": True, "timeoutMinutes": 720}
RETRIED = ("TESTING", "DISTRIBUTING", "INTEGRATING")
"""States in which a failed image can be tried again."""


def check_sources(call: Call) -> list[str | None]:
    """Look at what a pipeline and CreateImage have in common, and return the ARNs used. Raises ServiceError."""
    if ("imageRecipeArn" in call.parameters) == ("containerRecipeArn" in call.parameters):
        raise ServiceError("InvalidParameterCombination", "Exactly one of 'imageRecipeArn' and 'containerRecipeArn' must be given.")
    if "containerRecipeArn" in call.parameters:
        raise ServiceError("InvalidRequest", "Container images are not emulated.")
    versions.check_pattern(str(Arn.parse(call["imageRecipeArn"]).version), "imageRecipeArn")
    reference(call, "imageRecipeArn", "image-recipe")
    reference(call, "infrastructureConfigurationArn", "infrastructure-configuration")
    if "distributionConfigurationArn" in call.parameters:
        reference(call, "distributionConfigurationArn", "distribution-configuration")
    if "workflows" in call.parameters and "executionRole" not in call.parameters:
        raise bad_combination("workflows", "An executionRole must be given with workflows.")
    if call.get("imageScanningConfiguration", {}).get("imageScanningEnabled") and not call.emulator.inspector:
        account = call.region.account
        raise ServiceError(
            "ResourceDependency", f"Resource dependency error: Amazon Inspector is not enabled for 'ec2' resources in account '{account}'."
        )
    return [call["imageRecipeArn"], call["infrastructureConfigurationArn"], call.get("distributionConfigurationArn")]


def common_defaults(call: Call) -> Json:
    """Return what the service fills in for pipelines and images."""
    return {
        "imageTestsConfiguration": {**DEFAULT_TESTS, **call.get("imageTestsConfiguration", {})},
        "enhancedImageMetadataEnabled": call.get("enhancedImageMetadataEnabled", True),
    }


def begin(call: Call, source: Json, build_type: str, tags: Json, pipeline: Resource | None = None) -> Resource:
    """Make an image that is PENDING, and hand it to the scheduler."""
    region, recipe = call.region, call.region.get(source["imageRecipeArn"])
    version = str(recipe.arn.version)
    arn = Arn(region.name, region.account, "image", recipe.arn.slug, version)
    build = 1 + max((other.arn.build or 0 for other in region.family(arn) if other.arn.version == version), default=0)
    arn = Arn(region.name, region.account, "image", recipe.arn.slug, version, build)
    body = _body(call, source, recipe, arn, build_type)
    body["tags"] = tags
    if pipeline is not None:
        body |= {"sourcePipelineName": pipeline.body["name"], "sourcePipelineArn": str(pipeline.arn)}
    order = _order(call, arn, recipe)
    hidden: Json = {"executions": [], "cancelled": threading.Event(), "order": order}
    image = region.add(Resource(arn, body, region.next_number(), call.now, hidden=hidden))
    call.emulator.scheduler.submit(life_of(call, image).walk())
    return image


def life_of(call: Call, image: Resource) -> Life:
    """Return the state machine of an image."""
    order: Order = image.hidden["order"]
    group = image.body.get("loggingConfiguration", {}).get("logGroupName") or f"/aws/imagebuilder/{image.body['name']}"
    cancelled = image.hidden["cancelled"]
    log = Log(call.emulator, call.region.name, group, order.version, cancelled)
    return Life(call.emulator, call.region, image, order, log, cancelled)


def _body(call: Call, source: Json, recipe: Resource, arn: Arn, build_type: str) -> Json:
    region = call.region
    infrastructure = region.get(source["infrastructureConfigurationArn"])
    body: Json = {
        "arn": str(arn),
        "type": "AMI",
        "name": recipe.body["name"],
        "version": f"{arn.version}/{arn.build}",
        "platform": recipe.body["platform"],
        "state": {"status": "PENDING"},
        "imageRecipe": deepcopy(recipe.body),
        "infrastructureConfiguration": deepcopy(infrastructure.body),
        "dateCreated": stamp(call.now),
        "outputResources": {"amis": []},
        "buildType": build_type,
        "imageSource": "CUSTOM",
        "owner": region.account,
    }
    if source.get("distributionConfigurationArn"):
        body["distributionConfiguration"] = deepcopy(region.get(source["distributionConfigurationArn"]).body)
    copied = ("imageTestsConfiguration", "enhancedImageMetadataEnabled", "imageScanningConfiguration", "executionRole", "workflows")
    body |= {name: deepcopy(source[name]) for name in copied if name in source}
    logging = source.get("loggingConfiguration", {})
    group = logging.get("imageLogGroupName") or logging.get("logGroupName")
    return {**body, "loggingConfiguration": {"logGroupName": group}} if group else body


def _order(call: Call, arn: Arn, recipe: Resource) -> Order:
    components = []
    for entry in recipe.body.get("components", ()):
        component = call.region.get(entry["componentArn"])
        document, _ = examine(component.body["data"], name=component.body["name"])
        if document is None:
            raise ServiceError("InvalidRequest", f"The component '{component.arn}' cannot be run here.")
        values = {parameter["name"]: parameter["value"][0] for parameter in entry.get("parameters", ())}
        components.append(OrderedComponent(str(component.arn), component.body["name"], component.body["version"], document, values))
    body = recipe.body
    version = f"{arn.version}/{arn.build}"
    directory = body["workingDirectory"]
    return Order(str(arn), body["name"], version, arn.region, body["parentImage"], body["platform"], directory, tuple(components))


@operation("CreateImage")
def create(call: Call) -> Json:
    """Start an image without a pipeline."""
    check_sources(call)
    image = begin(call, {**call.parameters, **common_defaults(call)}, "USER_INITIATED", call.get("tags", {}))
    return call.answer(imageBuildVersionArn=str(image.arn), latestVersionReferences=versions.references(image.arn))


@operation("GetImage")
def get(call: Call) -> Json:
    """Show an image; without a build in the ARN, the newest one."""
    image = call.region.get(call["imageBuildVersionArn"])
    return {"image": image.body, "latestVersionReferences": versions.references(image.arn)}


@operation("CancelImageCreation")
def cancel(call: Call) -> Json:
    """Stop an image that is not finished."""
    image = call.region.get(call["imageBuildVersionArn"])
    status = image.body["state"]["status"]
    if status in FINAL:
        raise ServiceError("ResourceInUse", f"The image '{image.arn}' is {status}, and cannot be cancelled.")
    image.hidden["cancelled"].set()
    image.body["state"] = {"status": "CANCELLED"}
    for execution in image.hidden["executions"]:
        execution.end("CANCELLED")
    call.emulator.builder.cancel(image.hidden["order"])
    return call.answer(imageBuildVersionArn=str(image.arn))


@operation("RetryImage")
def retry(call: Call) -> Json:
    """Go on with an image that failed after its disk was kept."""
    image = call.region.get(call["imageBuildVersionArn"])
    state = image.body["state"]
    failed_in = state.get("failureContext", {}).get("imageStatus")
    if state["status"] != "FAILED" or failed_in not in RETRIED:
        raise ServiceError("InvalidRequest", f"The image '{image.arn}' did not fail in the test or distribution stage.")
    image.body["state"] = {"status": "PENDING"}
    call.emulator.scheduler.submit(life_of(call, image).walk(failed_in))
    return call.answer(imageBuildVersionArn=str(image.arn))


@operation("DeleteImage")
def delete(call: Call) -> Json:
    """Remove an image; its AMIs stay."""
    image = call.region.get(call["imageBuildVersionArn"])
    if image.arn.account == call.region.account and image.body["state"]["status"] not in FINAL:
        raise ServiceError("ResourceInUse", f"The image '{image.arn}' is {image.body['state']['status']}; cancel it first.")
    call.region.remove(call["imageBuildVersionArn"])
    if "order" in image.hidden:
        call.emulator.builder.discard(image.hidden["order"])
    return {"imageBuildVersionArn": call["imageBuildVersionArn"]}


@operation("StartResourceStateUpdate")
def update_state(call: Call) -> Json:
    """Give an image another state by hand; its AMIs and snapshots are left alone here."""
    image = call.region.get(call["resourceArn"])
    if image.body["state"]["status"] not in FINAL:
        raise ServiceError("ResourceInUse", f"The image '{image.arn}' is {image.body['state']['status']}.")
    number = f"lce-{uuid.uuid4()}"
    moment = call.now.timestamp()
    image.body["state"] = {"status": call["state"]["status"]}
    image.body["lifecycleExecutionId"] = number
    if call["state"]["status"] == "DEPRECATED":
        image.body["deprecationTime"] = moment
    execution = {"lifecycleExecutionId": number, "state": {"status": "SUCCESS"}, "startTime": moment, "endTime": moment}
    call.region.lifecycle_executions[number] = {**execution, "resourceArn": str(image.arn)}
    return {"lifecycleExecutionId": number, "resourceArn": str(image.arn)}
