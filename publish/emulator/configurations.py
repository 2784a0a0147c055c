"""Infrastructure and distribution configurations: mutable, and replaced as a whole by an update."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from publish.emulator.errors import bad_value
from publish.emulator.operations import NOT_STORED, operation
from publish.emulator.store import stamp

if TYPE_CHECKING:
    from publish.emulator.operations import Call
    from publish.emulator.store import Resource
    from publish.emulator.wire import Json

OUTPUTS: Final = (
    "amiDistributionConfiguration",
    "containerDistributionConfiguration",
    "launchTemplateConfigurations",
    "s3ExportConfiguration",
    "fastLaunchConfigurations",
    "licenseConfigurationArns",
    "ssmParameterConfigurations",
)
UNIQUE: Final = ("imagebuilder:buildDate", "imagebuilder:buildVersion")
"""What makes the name of an AMI another one in each build."""
KEPT: Final = ("arn", "name", "dateCreated", "tags")
"""What an update never touches."""


def replace_body(call: Call, resource: Resource, key: str, **more: object) -> None:
    """Put the parameters of an update in place of all that was set before; what is left out is reset."""
    given = {name: value for name, value in call.parameters.items() if name not in NOT_STORED and name != key}
    kept: Json = {name: resource.body[name] for name in KEPT if name in resource.body}
    resource.body = {**given, **more, **kept, "dateUpdated": stamp(call.now)}


@operation("CreateInfrastructureConfiguration")
def create_infrastructure(call: Call) -> Json:
    """Make an infrastructure configuration."""
    _check_infrastructure(call)
    resource = call.create(call.arn("infrastructure-configuration"), call.body(**_infrastructure_defaults(call)))
    return call.answer(infrastructureConfigurationArn=str(resource.arn))


@operation("UpdateInfrastructureConfiguration")
def update_infrastructure(call: Call) -> Json:
    """Replace an infrastructure configuration."""
    resource = call.region.get(call["infrastructureConfigurationArn"])
    _check_infrastructure(call)
    replace_body(call, resource, "infrastructureConfigurationArn", **_infrastructure_defaults(call))
    return call.answer(infrastructureConfigurationArn=str(resource.arn))


@operation("GetInfrastructureConfiguration")
def get_infrastructure(call: Call) -> Json:
    """Show an infrastructure configuration."""
    return {"infrastructureConfiguration": call.region.get(call["infrastructureConfigurationArn"]).body}


@operation("DeleteInfrastructureConfiguration")
def delete_infrastructure(call: Call) -> Json:
    """Remove an infrastructure configuration that no pipeline uses."""
    call.region.remove(call["infrastructureConfigurationArn"])
    return {"infrastructureConfigurationArn": call["infrastructureConfigurationArn"]}


@operation("CreateDistributionConfiguration")
def create_distribution(call: Call) -> Json:
    """Make a distribution configuration."""
    _check_distributions(call["distributions"])
    resource = call.create(call.arn("distribution-configuration"), call.body(timeoutMinutes=720))
    return call.answer(distributionConfigurationArn=str(resource.arn))


@operation("UpdateDistributionConfiguration")
def update_distribution(call: Call) -> Json:
    """Replace a distribution configuration."""
    resource = call.region.get(call["distributionConfigurationArn"])
    _check_distributions(call["distributions"])
    replace_body(call, resource, "distributionConfigurationArn", timeoutMinutes=720)
    return call.answer(distributionConfigurationArn=str(resource.arn))


@operation("GetDistributionConfiguration")
def get_distribution(call: Call) -> Json:
    """Show a distribution configuration."""
    return {"distributionConfiguration": call.region.get(call["distributionConfigurationArn"]).body}


@operation("DeleteDistributionConfiguration")
def delete_distribution(call: Call) -> Json:
    """Remove a distribution configuration that no pipeline uses."""
    call.region.remove(call["distributionConfigurationArn"])
    return {"distributionConfigurationArn": call["distributionConfigurationArn"]}


def _infrastructure_defaults(call: Call) -> Json:
    return {"terminateInstanceOnFailure": call.get("terminateInstanceOnFailure", True)}


def _check_infrastructure(call: Call) -> None:
    profile = call["instanceProfileName"]
    if not call.emulator.world(call.region.name).has_instance_profile(profile):
        raise bad_value("instanceProfileName", f"The provided instance profile does not exist: {profile}")
    placement = call.get("placement", {})
    if {"hostId", "hostResourceGroupArn"} <= placement.keys():
        raise bad_value("placement", "Only one of hostId and hostResourceGroupArn can be given.")


def _check_distributions(distributions: list[Json]) -> None:
    if not distributions:
        raise bad_value("distributions", "At least one distribution must be provided.")
    seen = set[str]()
    for index, distribution in enumerate(distributions):
        where = f"distributions[{index}]"
        if not any(distribution.get(output) for output in OUTPUTS):
            raise bad_value(where, "One or more outputs should be provided for each region in a distribution configuration.")
        if distribution["region"] in seen:
            raise bad_value(f"{where}.region", f"The region '{distribution['region']}' is there more than once.")
        seen.add(distribution["region"])
        _check_ami_name(f"{where}.amiDistributionConfiguration.name", distribution.get("amiDistributionConfiguration", {}).get("name"))


def _check_ami_name(where: str, name: str | None) -> None:
    if name is None:
        return
    references = re.findall(r"\{\{\s*([^{}]*?)\s*\}\}", name)
    if unknown := [found for found in references if found not in UNIQUE]:
        raise bad_value(where, f"'{unknown[0]}' is no variable; known are {', '.join(UNIQUE)}.")
    if not references:
        raise bad_value(where, f"The name must contain one of {', '.join('{{ ' + one + ' }}' for one in UNIQUE)}.")
