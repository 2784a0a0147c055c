"""From settings and rendered documents to the requests that EC2 Image Builder takes; pure."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from harness.errors import ConfigError
from publish import tags

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from harness.components import Rendered
    from harness.config.settings import Distribution, Publish
    from harness.errors import Location

Json = dict[str, Any]

INLINE_LIMIT: Final = 16_000
"""Characters of `data`; longer documents are read from S3."""
DOCUMENT_LIMIT: Final = 64_000
MAX_COMPONENTS: Final = 20
"""Default quota of components in a recipe (EC2 Image Builder user guide, quotas)."""
BUCKET_LIMIT: Final = 63
OWN_PARAMETERS: Final = "/imagebuilder/"
"""SSM parameters that the service-linked role may write; any other needs an execution role."""
TEST_MINUTES: Final = 720


@dataclass(frozen=True, slots=True)
class Place:
    """Where it goes."""

    account: str
    region: str
    partition: str = "aws"

    def arn(self, kind: str, name: str, version: str = "", *, owner: str = "") -> str:
        """Return the ARN of a resource whose name is its slug; ours hold no capitals, blanks or underscores."""
        tail = f"/{version}" if version else ""
        return f"arn:{self.partition}:imagebuilder:{self.region}:{owner or self.account}:{kind}/{name}{tail}"


@dataclass(frozen=True, slots=True)
class Foundation:
    """What the Image Builder resources stand on."""

    instance_profile: str
    security_group: str
    log_bucket: str
    lifecycle_role: str = ""


@dataclass(frozen=True, slots=True)
class Publication:
    """What is to be published, and why it may be."""

    publish: Publish
    at: Location
    """Of the publish block, for errors."""
    source: str
    os_version: str
    """VERSION_ID of the system that the baseline is for."""
    values: Mapping[str, str]
    """The baseline's parameters with the user's own values."""
    documents: tuple[Rendered, ...]
    today: date
    off: Mapping[str, str] = field(default_factory=dict)
    """Rules that the configuration switches off, with the reason."""
    evidence: str = ""
    """Digest of the evidence that opened the gate."""
    exception: str = ""
    """Why it is published though the gate is closed."""

    @property
    def base_image(self) -> str:
        """What the mission's tag says."""
        return f"Amazon Linux {self.os_version}"

    @property
    def stem(self) -> str:
        """What the names of the Image Builder resources begin with."""
        return f"{self.publish.project_name}-{slug(self.source)}"

    @property
    def digest(self) -> str:
        """SHA-256 over all documents, in their order."""
        lines = "".join(f"{document.sha256}  {document.file_name}\n" for document in self.documents)
        return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"

    def component(self, document: Rendered) -> str:
        """Return the name of a document's component."""
        return f"{self.stem}-{slug(document.name)}"

    @property
    def architecture(self) -> str:
        """`x86` or `arm64`, as the images of Amazon are called."""
        arm = {name for name in self.publish.instance_types if re.match(r"(a1\.|[a-z]+\d+[a-z-]*g)", name)}
        if arm and len(arm) != len(self.publish.instance_types):
            raise ConfigError(
                f"instance_types mix two architectures: {', '.join(self.publish.instance_types)}",
                hint="an image has one: all of them with Graviton (t4g.medium), or none",
                at=self.at,
            )
        return "arm64" if arm else "x86"


def slug(name: str) -> str:
    """Return a name as it may stand in every resource: small letters, digits, hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def digest_of(request: Mapping[str, object]) -> str:
    """Return a digest of a request that does not depend on the order of its members."""
    return hashlib.sha256(json.dumps(request, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def check(publication: Publication, place: Place) -> None:
    """Find what AWS would refuse, before anything is made. Raises ConfigError."""
    publish = publication.publish

    def refuse(message: str, hint: str) -> ConfigError:
        return ConfigError(message, hint=hint, at=publication.at)

    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*[a-z0-9]", publish.project_name):
        raise refuse(f"project_name `{publish.project_name}` cannot begin the names in AWS", "small letters, digits and hyphens")
    if publish.log_bucket is None and len(bucket(publication, place)) > BUCKET_LIMIT:
        most = BUCKET_LIMIT - (len(bucket(publication, place)) - len(publish.project_name))
        raise refuse(
            f"the log bucket {bucket(publication, place)} would have a name of more than {BUCKET_LIMIT} characters",
            f"make project_name at most {most} characters here, or name a bucket with log_bucket",
        )
    if publish.subnet_id is None or (publish.vpc_id is None and publish.security_group is None):
        raise refuse("vpc_id and subnet_id are needed to publish", "put them into terraform.tfvars, or give --var subnet_id=…")
    if len(recipe_components(publication, place, [])) + len(publication.documents) > MAX_COMPONENTS:
        count = len(recipe_components(publication, place, [])) + len(publication.documents)
        raise refuse(f"{count} components, and a recipe takes {MAX_COMPONENTS}", "put several of your own documents into one")
    for document in publication.documents:
        if len(document.data) > DOCUMENT_LIMIT:
            raise refuse(f"the document {document.name} has {len(document.data)} bytes, the limit is {DOCUMENT_LIMIT}", "split it")
    _check_keys(publication, place, refuse)
    _ = publication.architecture


def _check_keys(publication: Publication, place: Place, refuse: Any) -> None:  # noqa: ANN401 - makes the error
    publish = publication.publish
    if publish.kms_key_id and key_region(publish.kms_key_id) not in {"", place.region}:
        raise refuse(f"kms_key_id is a key of {key_region(publish.kms_key_id)}, the images are made in {place.region}", "name a key there")
    for item in distributions(publication, place):
        key = item.kms_key_id or (publish.kms_key_id if item.region == place.region else None)
        if key and key_region(key) not in {"", item.region}:
            raise refuse(f"the distribution to {item.region} names a key of {key_region(key)}", f"kms_key_id of a key in {item.region}")
        if (item.share_with or item.copy_to) and key is None:
            raise refuse(
                f"an AMI that is encrypted with the account's default key cannot be shared ({item.region})",
                "set kms_key_id to a key of your own whose policy lets those accounts use it, or share with nobody",
            )
        if item.ssm_parameter and not item.ssm_parameter.startswith(OWN_PARAMETERS) and publish.execution_role is None:
            raise refuse(
                f"EC2 Image Builder may not write the SSM parameter {item.ssm_parameter}",
                f"let its name begin with {OWN_PARAMETERS}, or set execution_role",
            )


def key_region(key: str) -> str:
    """Return the region of a key's ARN; empty for an id or an alias."""
    return key.split(":")[3] if key.startswith("arn:") and key.count(":") > 3 else ""  # noqa: PLR2004 - fourth field of an ARN


def key_arn(key: str | None, place: Place) -> str:
    """Return the ARN of a key that is named by ARN, id or alias; empty for none."""
    if not key or key.startswith("arn:"):
        return key or ""
    return f"arn:{place.partition}:kms:{place.region}:{place.account}:{key if key.startswith('alias/') else f'key/{key}'}"


def bucket(publication: Publication, place: Place) -> str:
    """Return the name of the log bucket, as the mission has it."""
    return f"{publication.publish.project_name}-image-builder-logs-{place.account}-{place.region}"


def by_uri(document: Rendered) -> bool:
    """Tell whether a document is too long to be part of the request."""
    return len(document.data.decode()) > INLINE_LIMIT


def key_of(document: Rendered) -> str:
    """Return where in the bucket a document lies: its name is its digest, so it can never be another one."""
    return f"components/{document.sha256}.yml"


def component(publication: Publication, document: Rendered) -> Json:
    """Return what creates a component, without version and content."""
    return {
        "name": publication.component(document),
        "platform": "Linux",
        "supportedOsVersions": [publication.base_image],
        "description": f"{document.name}, sha256:{document.sha256}",
        "tags": {**tags.of_project(publication), tags.DOCUMENTS: f"sha256:{document.sha256}", **_evidence(publication)},
    }


def _evidence(publication: Publication) -> dict[str, str]:
    return {key: value for key, value in tags.of_build(publication).items() if key in {tags.EVIDENCE, tags.EXCEPTION}}


def recipe_components(publication: Publication, place: Place, arns: Sequence[str]) -> list[Json]:
    """Return the components of the recipe: first what Amazon brings up to date, then ours by their very builds."""
    made: list[Json] = []
    # Amazon Linux 2023 updates within a named release, which our own document does; UpdateOS would find nothing there.
    if publication.os_version == "2":
        made.append({"componentArn": place.arn("component", "update-linux", "x.x.x", owner="aws")})
    for document, arn in zip(publication.documents, arns, strict=False):
        entry: Json = {"componentArn": arn}
        if document.parameters:
            entry["parameters"] = [{"name": name, "value": [value]} for name, value in sorted(document.parameters.items())]
        made.append(entry)
    return made


def recipe(publication: Publication, place: Place, arns: Sequence[str]) -> Json:
    """Return what creates the recipe, without its version."""
    publish = publication.publish
    image = f"amazon-linux-{publication.os_version}-{publication.architecture}"
    volume: Json = {"encrypted": True, "deleteOnTermination": True, "volumeSize": publish.root_volume_gib, "volumeType": "gp3"}
    if publish.kms_key_id:
        volume["kmsKeyId"] = key_arn(publish.kms_key_id, place)
    body: Json = {
        "name": publication.stem,
        "description": f"{publication.base_image}, hardened for ISMS",
        "parentImage": publish.parent_image or place.arn("image", image, "x.x.x", owner="aws"),
        "components": recipe_components(publication, place, arns),
        "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": volume}],
        "workingDirectory": publish.working_directory,
        "additionalInstanceConfiguration": {"systemsManagerAgent": {"uninstallAfterBuild": False}},
    }
    return {**body, "tags": {**tags.of_build(publication), tags.RECIPE: digest_of(body)}}


def infrastructure(publication: Publication, place: Place, foundation: Foundation) -> Json:
    """Return what creates the infrastructure configuration."""
    del place
    publish = publication.publish
    body: Json = {
        "name": publication.stem,
        "description": "A private instance that nobody can call",
        "instanceTypes": list(publish.instance_types),
        "instanceProfileName": foundation.instance_profile,
        "securityGroupIds": [foundation.security_group],
        "subnetId": publish.subnet_id,
        "logging": {"s3Logs": {"s3BucketName": foundation.log_bucket, "s3KeyPrefix": "logs"}},
        "terminateInstanceOnFailure": True,
        "instanceMetadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1},
        "resourceTags": {key: value for key, value in tags.of_project(publication).items() if key != "BuildDate"},
        "tags": tags.of_project(publication),
    }
    return {**body, "snsTopicArn": publish.sns_topic} if publish.sns_topic else body


def distributions(publication: Publication, place: Place) -> tuple[Distribution, ...]:
    """Return the distributions; where none is written, the region of the build, shared as `allowed_principals` says."""
    from harness.config.settings import Distribution

    publish = publication.publish
    written = publish.distributions
    return written or (Distribution(line=publish.line, region=place.region, share_with=publish.allowed_principals),)


def launch_permission(item: Distribution) -> Json:
    """Return who may launch an AMI, in Image Builder's words."""
    groups = {
        "userIds": [who for who in item.share_with if not who.startswith("arn:")],
        "organizationArns": [who for who in item.share_with if ":organization/" in who],
        "organizationalUnitArns": [who for who in item.share_with if ":ou/" in who],
    }
    return {name: members for name, members in groups.items() if members}


def distribution(publication: Publication, place: Place) -> Json:
    """Return what creates the distribution configuration."""
    made: list[Json] = []
    for item in distributions(publication, place):
        key = item.kms_key_id or (publication.publish.kms_key_id if item.region == place.region else None)
        ami: Json = {
            "name": item.ami_name or f"{publication.stem}-{{{{ imagebuilder:buildDate }}}}",
            "description": f"{publication.base_image}, hardened for ISMS",
            "amiTags": tags.of_image(publication),
        }
        if key:
            ami["kmsKeyId"] = key_arn(key, Place(place.account, item.region, place.partition))
        if item.copy_to:
            ami["targetAccountIds"] = list(item.copy_to)
        if (permission := launch_permission(item)) and publication.publish.share == "build":
            ami["launchPermission"] = permission
        entry: Json = {"region": item.region, "amiDistributionConfiguration": ami}
        if item.ssm_parameter:
            entry["ssmParameterConfigurations"] = [{"parameterName": item.ssm_parameter, "dataType": "aws:ec2:image"}]
        made.append(entry)
    return {
        "name": publication.stem,
        "description": "Where the image goes, and who may launch it",
        "distributions": made,
        "tags": tags.of_build(publication),
    }


def pipeline(publication: Publication, arns: Mapping[str, str], status: str) -> Json:
    """Return what creates the pipeline out of the ARNs of `recipe`, `infrastructure` and `distribution`."""
    publish = publication.publish
    image_tags = {**tags.of_build(publication), "BuildDate": tags.BUILD_DATE}
    body: Json = {
        "name": publication.stem,
        "description": f"Golden image of {publication.base_image}",
        "imageRecipeArn": arns["recipe"],
        "infrastructureConfigurationArn": arns["infrastructure"],
        "distributionConfigurationArn": arns["distribution"],
        "imageTestsConfiguration": {"imageTestsEnabled": True, "timeoutMinutes": TEST_MINUTES},
        "enhancedImageMetadataEnabled": True,
        "status": status,
        "loggingConfiguration": {"imageLogGroupName": log_group(publication)},
        "imageTags": image_tags,
        "tags": tags.of_build(publication),
    }
    if publish.execution_role:
        body["executionRole"] = publish.execution_role
    if publish.schedule is not None:
        body["schedule"] = {
            "scheduleExpression": publish.schedule.six_fields,
            "timezone": publish.schedule.timezone,
            "pipelineExecutionStartCondition": publish.schedule.start_condition,
        }
    return body


def log_group(publication: Publication) -> str:
    """Return where EC2 Image Builder writes what it does."""
    return f"/aws/imagebuilder/{publication.publish.project_name}"


def lifecycle(publication: Publication, foundation: Foundation) -> Json | None:
    """Return what creates the policy that removes old images; None where none is wanted."""
    count = publication.publish.keep_images
    if count is None:
        return None
    return {
        "name": publication.stem,
        "description": f"Leaves {count} images",
        "status": "ENABLED",
        "executionRole": foundation.lifecycle_role,
        "resourceType": "AMI_IMAGE",
        "policyDetails": [
            {
                "action": {"type": "DELETE", "includeResources": {"amis": True, "snapshots": True}},
                "filter": {"type": "COUNT", "value": count},
            }
        ],
        "resourceSelection": {"recipes": [{"name": publication.stem, "semanticVersion": "x.x.x"}]},
        "tags": tags.of_project(publication),
    }
