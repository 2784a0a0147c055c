"""Image pipelines: a recipe, an infrastructure, a distribution, and when to put them together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from publish.cron import Schedule, ScheduleError, parse
from publish.emulator import images
from publish.emulator.configurations import replace_body
from publish.emulator.errors import bad_value
from publish.emulator.operations import operation
from publish.emulator.store import stamp

if TYPE_CHECKING:
    from publish.emulator.operations import Call
    from publish.emulator.store import Region, Resource
    from publish.emulator.wire import Json

WITH_UPDATES = "EXPRESSION_MATCH_AND_DEPENDENCY_UPDATES_AVAILABLE"
MANAGED = ("dateLastRun", "lastRunStatus", "consecutiveFailures")
"""What the service knows of a pipeline, and an update leaves alone."""


@operation("CreateImagePipeline")
def create(call: Call) -> Json:
    """Make a pipeline."""
    uses = images.check_sources(call)
    filled = _filled(call)
    resource = call.create(call.arn("image-pipeline"), call.body(**filled, consecutiveFailures=0), uses)
    plan(resource, call)
    return call.answer(imagePipelineArn=str(resource.arn))


@operation("UpdateImagePipeline")
def update(call: Call) -> Json:
    """Replace a pipeline; without a schedule it becomes manual, without a status it is enabled."""
    resource = call.region.get(call["imagePipelineArn"])
    uses = images.check_sources(call)
    filled = _filled(call)
    kept = {name: resource.body[name] for name in MANAGED if name in resource.body}
    replace_body(call, resource, "imagePipelineArn", **filled, **kept)
    resource.uses = tuple(filter(None, uses))
    plan(resource, call)
    return call.answer(imagePipelineArn=str(resource.arn))


@operation("GetImagePipeline")
def get(call: Call) -> Json:
    """Show a pipeline."""
    return {"imagePipeline": call.region.get(call["imagePipelineArn"]).body}


@operation("DeleteImagePipeline")
def delete(call: Call) -> Json:
    """Remove a pipeline; its images stay."""
    call.region.remove(call["imagePipelineArn"])
    return {"imagePipelineArn": call["imagePipelineArn"]}


@operation("StartImagePipelineExecution")
def start(call: Call) -> Json:
    """Start a pipeline by hand."""
    image = run(call, call.region.get(call["imagePipelineArn"]), "USER_INITIATED", call.get("tags", {}))
    return call.answer(imageBuildVersionArn=str(image.arn))


def run(call: Call, pipeline: Resource, build_type: str, tags: Json) -> Resource:
    """Start an image of a pipeline."""
    image = images.begin(call, pipeline.body, build_type, {**pipeline.body.get("imageTags", {}), **tags}, pipeline)
    image.hidden["dependencies"] = dependencies(call.region, pipeline)
    pipeline.body |= {"dateLastRun": stamp(call.now), "lastRunStatus": "PENDING"}
    plan(pipeline, call)
    return image


def due(call: Call, pipeline: Resource) -> bool:
    """Tell whether a schedule wants an image now: it is time, and something is new where that is asked for."""
    expected = pipeline.hidden.get("next")
    if pipeline.body["status"] != "ENABLED" or expected is None or expected > call.now:
        return False
    plan(pipeline, call)
    if pipeline.body["schedule"]["pipelineExecutionStartCondition"] != WITH_UPDATES:
        return True
    made = [image for image in call.region.of("image") if image.body.get("sourcePipelineArn") == str(pipeline.arn)]
    return not made or made[-1].hidden["dependencies"] != dependencies(call.region, pipeline)


def dependencies(region: Region, pipeline: Resource) -> list[str]:
    """Return what the references of the recipe stand for now."""
    recipe = region.get(pipeline.body["imageRecipeArn"])
    resolved = [region.resolve(used) for used in recipe.uses]
    return [str(found.arn) for found in (recipe, *resolved) if found is not None]


def plan(pipeline: Resource, call: Call) -> None:
    """Work out when the pipeline runs next."""
    schedule = pipeline.body.get("schedule")
    moment = read_schedule(schedule).next_run(call.now, since=pipeline.created) if schedule else None
    pipeline.hidden["next"] = moment
    if moment is None:
        pipeline.body.pop("dateNextRun", None)
    else:
        pipeline.body["dateNextRun"] = stamp(moment)


def read_schedule(schedule: Json) -> Schedule:
    """Read a pipeline's schedule. Raises ServiceError in the words of the service."""
    try:
        return parse(schedule.get("scheduleExpression", ""), schedule.get("timezone", "UTC"))
    except ScheduleError as error:
        what = "timezone" if "timezone" in str(error) else "scheduleExpression"
        raise bad_value(f"schedule.{what}", f"Invalid schedule expression. Details: {error}") from None


def _filled(call: Call) -> Json:
    recipe = call.region.get(call["imageRecipeArn"])
    filled = {"status": call.get("status", "ENABLED"), "platform": recipe.body["platform"], **images.common_defaults(call)}
    if "schedule" not in call.parameters:
        return filled
    read_schedule(call["schedule"])
    return {**filled, "schedule": {"timezone": "UTC", "pipelineExecutionStartCondition": WITH_UPDATES, **call["schedule"]}}
