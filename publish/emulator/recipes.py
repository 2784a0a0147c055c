"""Image recipes: a parent image and the components that go onto it, immutable under their version."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from publish.emulator import versions
from publish.emulator.errors import ServiceError, bad_combination, bad_value
from publish.emulator.operations import operation
from publish.emulator.versions import Arn

if TYPE_CHECKING:
    from publish.emulator.operations import Call
    from publish.emulator.store import Resource
    from publish.emulator.wire import Json

MAX_COMPONENTS: Final = 20
"""Default quota of components in a recipe."""
_AMI: Final = re.compile(r"ami-[0-9a-f]{8}(?:[0-9a-f]{9})?")


@operation("CreateImageRecipe")
def create(call: Call) -> Json:
    """Make a recipe; `1.0.x` takes the next free patch number."""
    configured = call.get("components", [])
    if len(configured) > MAX_COMPONENTS:
        raise ServiceError("ServiceQuotaExceeded", f"A recipe may have {MAX_COMPONENTS} components, and this one has {len(configured)}.")
    platform = parent_platform(call, call["parentImage"])
    for index, entry in enumerate(configured):
        _check_component(call, index, entry, platform)
    family = call.region.family(call.arn("image-recipe"))
    version = versions.spell(versions.assign(call["semanticVersion"], (resource.version for resource in family)))
    body = call.body(version=version, type="AMI", platform=platform, owner=call.region.account)
    body.setdefault("workingDirectory", "/tmp")  # noqa: S108 - the service's default, on the build instance
    uses = [entry["componentArn"] for entry in configured]
    if call["parentImage"].startswith("arn:"):
        uses.append(call["parentImage"])
    resource = call.create(call.arn("image-recipe", version), body, uses)
    return call.answer(imageRecipeArn=str(resource.arn), latestVersionReferences=versions.references(resource.arn))


@operation("GetImageRecipe")
def get(call: Call) -> Json:
    """Show a recipe; with `x` in the ARN, the newest one that it stands for."""
    resource = call.region.get(call["imageRecipeArn"])
    return {"imageRecipe": resource.body, "latestVersionReferences": versions.references(resource.arn)}


@operation("DeleteImageRecipe")
def delete(call: Call) -> Json:
    """Remove a recipe that no pipeline uses."""
    call.region.remove(call["imageRecipeArn"])
    return {"imageRecipeArn": call["imageRecipeArn"]}


def parent_platform(call: Call, parent: str) -> str:
    """Return the platform of a parent image. Raises ServiceError for one that cannot be used."""
    world = call.emulator.world(call.region.name)
    if _AMI.fullmatch(parent):
        if not world.has_image(parent):
            raise bad_value("parentImage", f"You are not authorized to use the provided image: {parent}")
        return "Linux"
    if parent.startswith("ssm:"):
        if not world.has_parameter(parent.removeprefix("ssm:")):
            raise bad_value("parentImage", f"The SSM parameter '{parent.removeprefix('ssm:')}' does not exist.")
        return "Linux"
    if parent.startswith("prod-"):
        return "Linux"
    try:
        arn = Arn.parse(parent)
    except ValueError:
        raise bad_value("parentImage", f"'{parent}' is neither an AMI ID, nor an image ARN, nor an SSM parameter.") from None
    _check_version(arn, "parentImage")
    found = call.region.resolve(parent)
    if found is None or found.arn.kind != "image":
        raise bad_value("parentImage", f"The image '{parent}' does not exist.")
    return str(found.body["platform"])


def _check_version(arn: Arn, parameter: str) -> None:
    if arn.version is not None:
        versions.check_pattern(arn.version, parameter)


def _check_component(call: Call, index: int, entry: Json, platform: str) -> None:
    where = f"components[{index}]"
    _check_version(Arn.parse(entry["componentArn"]), f"{where}.componentArn")
    found = call.region.resolve(entry["componentArn"])
    if found is None:
        raise bad_value(f"{where}.componentArn", f"The component '{entry['componentArn']}' does not exist.")
    if found.body["platform"] != platform:
        raise bad_value(f"{where}.componentArn", f"The component is for {found.body['platform']}, and the parent image is {platform}.")
    _check_parameters(where, entry.get("parameters", []), found)


def _check_parameters(where: str, given: list[Json], component: Resource) -> None:
    defined = {detail["name"] for detail in component.body.get("parameters", [])}
    names = [parameter["name"] for parameter in given]
    if unknown := [name for name in names if name not in defined]:
        raise bad_combination(
            f"{where}.parameters", f"The following parameters are not defined in the provided component: {', '.join(unknown)}"
        )
    if len(set(names)) != len(names):
        raise bad_combination(f"{where}.parameters", "A parameter is given more than once.")
    for number, parameter in enumerate(given):
        if len(parameter["value"]) != 1:
            raise bad_value(f"{where}.parameters[{number}].value", f"The parameter '{parameter['name']}' takes exactly one value.")
