"""Foundation and pipeline as one CloudFormation template, for teams that deploy everything that way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from publish import cfn, foundation, resources
from publish.resources import Foundation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.components import Rendered
    from publish.resources import Place, Publication

Json = dict[str, Any]

MAPS: Final = frozenset({"tags", "amiTags", "imageTags", "resourceTags"})
"""Their keys are the user's own words."""
VERSION: Final = "ReleaseVersion"


def template(publication: Publication, place: Place) -> str:
    """Return the template as YAML. Documents that are too long for it are read from the bucket that DocumentBucket names."""
    made = cfn.load(foundation.template())
    made["Description"] = "Golden image for ISMS: foundation, components, recipe, configurations and pipeline. Written by `harness export`."
    made["Parameters"][VERSION] = {
        "Type": "String",
        "Default": "1.0.0",
        "AllowedPattern": r"\d+\.\d+\.\d+",
        "Description": "Raise it whenever a document changes: components do not change under their version.",
    }
    if any(resources.by_uri(document) for document in publication.documents):
        made["Parameters"]["DocumentBucket"] = {
            "Type": "String",
            "Description": "Bucket that holds the exported documents under components/; `aws s3 sync` puts them there.",
        }
    _defaults(made, publication, place)
    names = []
    for number, document in enumerate(publication.documents, start=1):
        names.append(f"Component{number}")
        made["Resources"][names[-1]] = _component(publication, document)
    made["Resources"].update(_pipeline(publication, place, names))
    made["Outputs"]["Pipeline"] = {"Value": {"Ref": "Pipeline"}}
    return cfn.dump(made)


def documents(publication: Publication) -> Mapping[str, bytes]:
    """Return what has to be put into DocumentBucket: path to bytes."""
    return {resources.key_of(document): document.data for document in publication.documents if resources.by_uri(document)}


def _defaults(made: Json, publication: Publication, place: Place) -> None:
    """Put the configuration into the template's parameters; VpcId stays a question where it is not known."""
    publish, values = publication.publish, publication.values
    given = {
        "ProjectName": publish.project_name,
        "VpcId": publish.vpc_id,
        "KmsKeyArn": resources.key_arn(publish.kms_key_id, place),
        "LogKmsKeyArn": resources.key_arn(publish.log_kms_key_id, place),
        "LogGroupPrefix": values.get("agent_log_group_prefix"),
        "LogRetentionDays": values.get("agent_retention_days"),
        "MetricNamespace": values.get("agent_namespace"),
        "InstanceProfile": publish.instance_profile,
        "SecurityGroup": publish.security_group,
        "LogBucket": publish.log_bucket,
        "WithDashboard": "true" if publish.dashboard else "false",
        "WithLifecycleRole": "true" if publish.keep_images is not None else "false",
    }
    for name, value in given.items():
        if value:
            made["Parameters"][name]["Default"] = int(value) if made["Parameters"][name]["Type"] == "Number" else value


def _component(publication: Publication, document: Rendered) -> Json:
    request = resources.component(publication, document)
    content: Json = {"Data": document.data.decode()}
    if resources.by_uri(document):
        content = {"Uri": {"Fn::Sub": f"s3://${{DocumentBucket}}/{resources.key_of(document)}"}}
    return {"Type": "AWS::ImageBuilder::Component", "Properties": {**_capital(request), "Version": {"Ref": VERSION}, **content}}


def _pipeline(publication: Publication, place: Place, names: list[str]) -> Json:
    profile = {"Fn::If": ["MakeRole", {"Ref": "BuildProfile"}, {"Ref": "InstanceProfile"}]}
    group = {"Fn::If": ["MakeGroup", {"Fn::GetAtt": ["BuildGroup", "GroupId"]}, {"Ref": "SecurityGroup"}]}
    bucket = {"Fn::If": ["MakeBucket", {"Ref": "Logs"}, {"Ref": "LogBucket"}]}
    recipe = _capital(resources.recipe(publication, place, names))
    for entry in recipe["Components"]:
        own = entry["ComponentArn"] in names
        entry["ComponentArn"] = {"Fn::GetAtt": [entry["ComponentArn"], "Arn"]} if own else _anywhere(entry["ComponentArn"], place)
    recipe["ParentImage"] = _anywhere(recipe["ParentImage"], place)
    infrastructure = _capital(resources.infrastructure(publication, place, Foundation("profile", "group", "bucket")))
    infrastructure["InstanceProfileName"], infrastructure["SecurityGroupIds"] = profile, [group]
    infrastructure["Logging"]["S3Logs"]["S3BucketName"] = bucket
    arns = {"recipe": "Recipe", "infrastructure": "Infrastructure", "distribution": "Distribution"}
    pipeline = _capital(resources.pipeline(publication, arns, "ENABLED"))
    for key, name in (("ImageRecipeArn", "Recipe"), ("InfrastructureConfigurationArn", "Infrastructure")):
        pipeline[key] = {"Fn::GetAtt": [name, "Arn"]}
    pipeline["DistributionConfigurationArn"] = {"Fn::GetAtt": ["Distribution", "Arn"]}
    pipeline["LoggingConfiguration"] = {"ImageLogGroupName": resources.log_group(publication)}
    made: Json = {
        "Recipe": {"Type": "AWS::ImageBuilder::ImageRecipe", "Properties": {**recipe, "Version": {"Ref": VERSION}}},
        "Infrastructure": {"Type": "AWS::ImageBuilder::InfrastructureConfiguration", "Properties": infrastructure},
        "Distribution": {
            "Type": "AWS::ImageBuilder::DistributionConfiguration",
            "Properties": _distribution(resources.distribution(publication, place)),
        },
        "Pipeline": {"Type": "AWS::ImageBuilder::ImagePipeline", "Properties": pipeline},
    }
    policy = resources.lifecycle(publication, Foundation("", "", "", "role"))
    if policy is not None:
        role = {"Fn::GetAtt": ["LifecycleRole", "Arn"]}
        made["Lifecycle"] = {"Type": "AWS::ImageBuilder::LifecyclePolicy", "Properties": {**_capital(policy), "ExecutionRole": role}}
        made["Lifecycle"]["Condition"] = "MakeLifecycleRole"
    return made


def _distribution(request: Json) -> Json:
    made: Json = _capital(request)
    for entry in made["Distributions"]:
        ami = entry["AmiDistributionConfiguration"]
        if "LaunchPermission" in ami:
            ami["LaunchPermissionConfiguration"] = ami.pop("LaunchPermission")
    return made


def _anywhere(arn: str, place: Place) -> Json | str:
    """Return an ARN of Amazon's own that works wherever the template is deployed."""
    start = f"arn:{place.partition}:imagebuilder:{place.region}:aws:"
    return (
        {"Fn::Sub": f"arn:${{AWS::Partition}}:imagebuilder:${{AWS::Region}}:aws:{arn.removeprefix(start)}"}
        if arn.startswith(start)
        else arn
    )


def _capital(value: Any, *, words: bool = True) -> Any:  # noqa: ANN401 - any JSON
    """Return a request in CloudFormation's spelling: the same members, with a capital."""
    if isinstance(value, dict):
        return {
            (name[0].upper() + name[1:] if words else name): _capital(inner, words=words and name not in MAPS)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_capital(inner, words=words) for inner in value]
    return value
