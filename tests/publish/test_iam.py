"""The publisher's policy: narrow, and small enough for IAM. That it suffices is shown in test_publish.py."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import boto3
import pytest

from publish import iam

POLICY = iam.policy(project="isms-golden-ami", account="123456789012", region="ap-northeast-2")
LIMIT = 6144
"""Characters of a managed policy, white space not counted (IAM quotas)."""


def test_it_fits_a_managed_policy() -> None:
    assert len("".join(iam.text(POLICY).split())) <= LIMIT


def test_nothing_is_allowed_by_wildcard() -> None:
    assert [action for action in iam.actions(POLICY) if "*" in action] == []


def test_on_everything_one_may_only_look() -> None:
    wide = [statement for statement in POLICY["Statement"] if "*" in statement["Resource"]]
    assert {action.split(":")[1][:4] for one in wide for action in one["Action"]} <= {"Desc", "List"}


@pytest.mark.parametrize("statement", POLICY["Statement"], ids=lambda one: one["Sid"])
def test_what_changes_something_is_bound_to_our_names(statement: dict[str, object]) -> None:
    if statement["Sid"] in {"Look", "AmazonsOwn", "FirstImage", "FoundationGroup", "Promote"}:
        return
    assert "isms-golden-ami" in json.dumps(statement["Resource"])


def test_roles_are_passed_to_two_services_only() -> None:
    passing = next(one for one in POLICY["Statement"] if one["Sid"] == "PassRole")
    assert passing["Condition"]["StringEquals"]["iam:PassedToService"] == ["ec2.amazonaws.com", "imagebuilder.amazonaws.com"]


def test_a_bucket_of_the_company_takes_the_place_of_ours() -> None:
    made = iam.text(iam.policy(project="isms-golden-ami", account="123456789012", region="ap-northeast-2", log_bucket="company-logs"))
    assert "arn:aws:s3:::company-logs/components/*" in made
    assert "image-builder-logs" not in made


def calls() -> set[str]:
    """Return every call of AWS that the publisher's code can make, as permissions: found in the source, where each stands by name."""
    found: set[str] = set()
    names: dict[str, dict[str, str]] = {}
    for path in Path(iam.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        for service in ("imagebuilder", "cloudformation", "ec2", "s3", "logs", "ssm", "iam", "sts", "cloudwatch"):
            if service not in names:
                names[service] = boto3.client(service, region_name="ap-northeast-2").meta.method_to_api_mapping
            if service in texts:
                found |= {iam.action(service, names[service][text]) for text in texts if text in names[service]}
    return found


def test_every_call_in_the_source_is_allowed() -> None:
    made = calls()
    assert {"ec2:ModifyImageAttribute", "ssm:PutParameter", "imagebuilder:CancelImageCreation", "cloudformation:ExecuteChangeSet"} <= made
    assert made - iam.actions(POLICY) - iam.FREE == set()
