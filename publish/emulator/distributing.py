"""What happens to a finished image: AMIs in every region, and the parameters that point to them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from publish.emulator.world import NewImage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from publish.emulator.core import Emulator
    from publish.emulator.store import Region, Resource
    from publish.emulator.wire import Json

OWN_PREFIX: Final = "/imagebuilder/"
"""Parameters that the service-linked role may write; any other name needs an execution role."""


def distribute(emulator: Emulator, region: Region, image: Resource) -> list[Json]:
    """Register the AMI in every region of the distribution configuration, or in this one, and return what GetImage shows of them."""
    made = []
    for distribution in _distributions(region, image):
        wanted = distribution.get("amiDistributionConfiguration", {})
        name = _expand(wanted.get("name") or f"{image.body['name']} {{{{ imagebuilder:buildDate }}}}", image, emulator)
        given = {**image.body["imageRecipe"].get("amiTags", {}), **wanted.get("amiTags", {})}
        tags = {key: _expand(value, image, emulator) for key, value in given.items()}
        tags |= {"CreatedBy": "EC2 Image Builder", "Ec2ImageBuilderArn": str(image.arn)}
        users = tuple(wanted.get("launchPermission", {}).get("userIds", ()))
        described = _expand(wanted.get("description", ""), image, emulator)
        number = emulator.world(distribution["region"]).register_image(NewImage(name, described, distribution["region"], tags, users))
        ami = {
            "region": distribution["region"],
            "image": number,
            "name": name,
            "state": {"status": "AVAILABLE"},
            "accountId": region.account,
        }
        made.append({**ami, "description": described} if described else ami)
    return made


def needs_integration(image: Resource) -> bool:
    """Tell whether anything is to be pointed at the new AMIs."""
    return any(
        distribution.get("launchTemplateConfigurations") or distribution.get("ssmParameterConfigurations")
        for distribution in image.body.get("distributionConfiguration", {}).get("distributions", ())
    )


def integrate(emulator: Emulator, region: Region, image: Resource) -> None:
    """Write the parameters. Raises LookupError for a name that the service may not write; the AMIs stay."""
    by_region = {ami["region"]: ami["image"] for ami in image.body["outputResources"]["amis"]}
    for distribution, parameter in _parameters(region, image):
        name = parameter["parameterName"]
        if not name.startswith(OWN_PREFIX) and "executionRole" not in image.body:
            message = f"AccessDenied: the service-linked role may not write the parameter '{name}'; give an executionRole."
            raise LookupError(message)
        data_type = parameter.get("dataType", "aws:ec2:image")
        where = distribution["region"]
        emulator.world(where).write_parameter(where, name, by_region[where], data_type)


def _distributions(region: Region, image: Resource) -> list[Json]:
    configured = image.body.get("distributionConfiguration", {}).get("distributions", [])
    return configured or [{"region": region.name}]


def _parameters(region: Region, image: Resource) -> Iterator[tuple[Json, Json]]:
    for distribution in _distributions(region, image):
        for parameter in distribution.get("ssmParameterConfigurations", ()):
            yield distribution, parameter


def _expand(text: str, image: Resource, emulator: Emulator) -> str:
    now = emulator.now()
    values = {
        "imagebuilder:buildDate": f"{now:%Y-%m-%dT%H-%M-%S}.{now.microsecond // 1000:03d}Z",
        "imagebuilder:buildVersion": str(image.arn.build),
    }
    return re.sub(r"\{\{\s*(\S+?)\s*\}\}", lambda match: values.get(match[1], match[0]), text)
