"""The least policy that a publisher needs: every call that harness makes, each on our own names only where AWS can tell them apart."""

from __future__ import annotations

import json
from typing import Any, Final

Json = dict[str, Any]

CALLS: Final[dict[str, str]] = {"HeadBucket": "s3:ListBucket", "HeadObject": "s3:GetObject", "PutObject": "s3:PutObject"}
"""Operations of S3 whose permission has another name; every other one is `service:Operation`."""
FREE: Final = frozenset({"sts:GetCallerIdentity"})
"""Needs no permission."""
IMAGE_BUILDER: Final = (
    "CreateComponent", "GetComponent", "DeleteComponent", "ListComponentBuildVersions",
    "CreateImageRecipe", "GetImageRecipe", "DeleteImageRecipe",
    "CreateInfrastructureConfiguration", "GetInfrastructureConfiguration", "UpdateInfrastructureConfiguration",
    "DeleteInfrastructureConfiguration",
    "CreateDistributionConfiguration", "GetDistributionConfiguration", "UpdateDistributionConfiguration", "DeleteDistributionConfiguration",
    "CreateImagePipeline", "GetImagePipeline", "UpdateImagePipeline", "DeleteImagePipeline", "StartImagePipelineExecution",
    "ListImagePipelineImages",
    "CreateLifecyclePolicy", "GetLifecyclePolicy", "UpdateLifecyclePolicy", "DeleteLifecyclePolicy",
    "GetImage", "CancelImageCreation", "TagResource", "UntagResource",
)  # fmt: skip
STACK: Final = (
    "DescribeStacks", "GetTemplate", "ListStackResources", "DescribeStackEvents", "CreateChangeSet", "DescribeChangeSet",
    "ExecuteChangeSet", "DeleteChangeSet", "DeleteStack", "TagResource", "UntagResource",
)  # fmt: skip
ROLE: Final = (
    "CreateRole", "GetRole", "DeleteRole", "UpdateRole", "UpdateRoleDescription", "UpdateAssumeRolePolicy", "TagRole", "UntagRole",
    "PutRolePolicy", "GetRolePolicy", "DeleteRolePolicy", "AttachRolePolicy", "DetachRolePolicy", "ListRolePolicies",
    "ListAttachedRolePolicies", "CreateInstanceProfile", "GetInstanceProfile", "DeleteInstanceProfile", "AddRoleToInstanceProfile",
    "RemoveRoleFromInstanceProfile", "TagInstanceProfile",
)  # fmt: skip
BUCKET: Final = (
    "CreateBucket", "PutBucketVersioning", "GetBucketVersioning", "PutEncryptionConfiguration", "GetEncryptionConfiguration",
    "PutBucketPublicAccessBlock", "GetBucketPublicAccessBlock", "PutBucketOwnershipControls", "GetBucketOwnershipControls",
    "PutLifecycleConfiguration", "GetLifecycleConfiguration", "PutBucketPolicy", "GetBucketPolicy", "DeleteBucketPolicy",
    "PutBucketTagging", "GetBucketTagging", "ListBucket",
)  # fmt: skip
GROUP: Final = ("CreateSecurityGroup", "DeleteSecurityGroup", "AuthorizeSecurityGroupEgress", "RevokeSecurityGroupEgress")
READ: Final = (
    "ec2:DescribeSubnets", "ec2:DescribeRouteTables", "ec2:DescribeVpcEndpoints", "ec2:DescribeVpcs", "ec2:DescribeSecurityGroups",
    "ec2:DescribeImages", "ec2:DescribeImageAttribute", "imagebuilder:ListComponents", "imagebuilder:ListImageRecipes",
    "imagebuilder:ListImagePipelines", "imagebuilder:ListWorkflowExecutions", "imagebuilder:ListWorkflowStepExecutions",
    "logs:DescribeLogGroups",
)  # fmt: skip
LOG_GROUPS: Final = (
    "CreateLogGroup", "PutRetentionPolicy", "TagResource", "UntagResource", "ListTagsForResource", "AssociateKmsKey", "GetLogEvents",
)  # fmt: skip


def policy(  # noqa: PLR0913 - the names that a project can have
    *,
    project: str,
    account: str,
    region: str,
    partition: str = "aws",
    log_prefix: str = "ISMS-GoldenAMI",
    log_bucket: str | None = None,
) -> Json:
    """Return the policy document for one project in one region; `log_bucket` where the company has one of another name."""

    def arn(service: str, rest: str, *, here: str = region, owner: str = account) -> str:
        return f"arn:{partition}:{service}:{here}:{owner}:{rest}"

    bucket = f"arn:{partition}:s3:::{log_bucket or f'{project}-image-builder-logs-{account}-{region}'}"
    roles = [arn("iam", f"role/{project}-*", here=""), arn("iam", f"instance-profile/{project}-*", here="")]
    linked = arn("iam", "role/aws-service-role/imagebuilder.amazonaws.com/AWSServiceRoleForImageBuilder", here="")
    parameter = arn("ssm", f"parameter/{project}/*")
    statements = [
        (
            "ImageBuilder",
            _all("imagebuilder", IMAGE_BUILDER),
            [arn("imagebuilder", f"*/{project}-*"), arn("imagebuilder", f"*/{project}-*/*")],
        ),
        (
            "AmazonsOwn",
            ["imagebuilder:GetComponent", "imagebuilder:GetImage"],
            [arn("imagebuilder", "component/*", owner="aws"), arn("imagebuilder", "image/*", owner="aws")],
        ),
        ("Look", list(READ), ["*"]),
        ("FoundationStack", _all("cloudformation", STACK), [arn("cloudformation", f"stack/{project}-foundation/*")]),
        ("FoundationRole", _all("iam", ROLE), roles),
        ("FoundationGroup", [*_all("ec2", GROUP), "ec2:CreateTags"], [arn("ec2", "security-group/*"), arn("ec2", "vpc/*")]),
        ("FoundationBucket", _all("s3", BUCKET), [bucket]),
        ("Documents", ["s3:GetObject", "s3:PutObject"], [f"{bucket}/components/*"]),
        (
            "FoundationLogs",
            _all("logs", LOG_GROUPS),
            [arn("logs", f"log-group:{log_prefix}-*"), arn("logs", f"log-group:/aws/imagebuilder/{project}*")],
        ),
        (
            "Dashboard",
            ["cloudwatch:PutDashboard", "cloudwatch:GetDashboard", "cloudwatch:DeleteDashboards"],
            [arn("cloudwatch", f"dashboard/{project}-*", here="")],
        ),
        ("Promote", ["ec2:ModifyImageAttribute", "ec2:EnableImageDeprecation", "ec2:CreateTags"], [f"arn:{partition}:ec2:*::image/*"]),
        ("PromotedParameter", ["ssm:GetParameter", "ssm:PutParameter"], [parameter.replace(f":{region}:", ":*:")]),
    ]
    made: list[Json] = [{"Sid": sid, "Effect": "Allow", "Action": sorted(set(acts)), "Resource": which} for sid, acts, which in statements]
    services = {"StringEquals": {"iam:PassedToService": ["ec2.amazonaws.com", "imagebuilder.amazonaws.com"]}}
    made.append({"Sid": "PassRole", "Effect": "Allow", "Action": ["iam:PassRole"], "Resource": roles[:1], "Condition": services})
    only = {"StringEquals": {"iam:AWSServiceName": "imagebuilder.amazonaws.com"}}
    made.append(
        {"Sid": "FirstImage", "Effect": "Allow", "Action": ["iam:CreateServiceLinkedRole"], "Resource": [linked], "Condition": only}
    )
    return {"Version": "2012-10-17", "Statement": made}


def _all(service: str, names: tuple[str, ...]) -> list[str]:
    return [f"{service}:{name}" for name in names]


def action(service: str, operation: str) -> str:
    """Return the permission that an operation needs, both as the API spells them."""
    return CALLS.get(operation, f"{service}:{operation}")


def actions(document: Json) -> frozenset[str]:
    """Return everything that a policy allows."""
    return frozenset(one for statement in document["Statement"] for one in statement["Action"])


def text(document: Json) -> str:
    """Return the policy as IAM takes it."""
    return json.dumps(document, indent=2) + "\n"
