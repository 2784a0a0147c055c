"""The foundation's template: valid for cfn-lint, closed where it has to be, and quiet where the company has its own."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from cfnlint.api import lint_all

from publish import cfn, foundation

TEMPLATE = cfn.load(foundation.template())
EVERYTHING = {"ProjectName": "isms", "VpcId": "vpc-1", "KmsKeyArn": "arn:aws:kms:::key/1", "WithLifecycleRole": "true"}


def properties(name: str) -> dict[str, Any]:
    found: dict[str, Any] = TEMPLATE["Resources"][name]["Properties"]
    return found


def test_cfn_lint_has_nothing_to_say() -> None:
    assert [str(match) for match in lint_all(foundation.template()) if match.rule.id[0] in "EW"] == []


def test_nobody_may_call_the_build_instance_and_it_may_call_little() -> None:
    group = properties("BuildGroup")
    assert "SecurityGroupIngress" not in group
    ways = {(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in group["SecurityGroupEgress"]}
    assert ways == {("tcp", 443, 443), ("tcp", 80, 80), ("udp", 123, 123)}


def test_bucket_is_versioned_encrypted_private_and_kept() -> None:
    bucket = TEMPLATE["Resources"]["Logs"]
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
    made = bucket["Properties"]
    assert made["BucketName"] == {"Fn::Sub": "${ProjectName}-image-builder-logs-${AWS::AccountId}-${AWS::Region}"}
    assert made["VersioningConfiguration"] == {"Status": "Enabled"}
    assert set(made["PublicAccessBlockConfiguration"].values()) == {True}
    default = made["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]["ServerSideEncryptionByDefault"]
    assert default["SSEAlgorithm"] == {"Fn::If": ["HasKey", "aws:kms", "AES256"]}
    statement = properties("LogsPolicy")["PolicyDocument"]["Statement"][0]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.parametrize("group", ["SystemLogs", "SecurityLogs", "AuthLogs"])
def test_log_groups_have_the_missions_names_and_a_retention(group: str) -> None:
    assert TEMPLATE["Parameters"]["LogGroupPrefix"]["Default"] == "ISMS-GoldenAMI"
    assert properties(group)["LogGroupName"] == {"Fn::Sub": f"${{LogGroupPrefix}}-{group}"}
    assert properties(group)["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    assert TEMPLATE["Resources"][group]["DeletionPolicy"] == "Retain"


def test_role_has_no_action_on_everything_but_those_that_know_no_resource() -> None:
    statements = properties("BuildRole")["Policies"][0]["PolicyDocument"]["Statement"]
    wide = {str(action) for one in statements if one["Resource"] == "*" for action in [one["Action"]]}
    assert wide == {"cloudwatch:PutMetricData", "['ec2:DescribeTags', 'ec2:DescribeVolumes']"}
    managed = [one["Fn::Sub"].rpartition("/")[2] for one in properties("BuildRole")["ManagedPolicyArns"]]
    assert managed == ["AmazonSSMManagedInstanceCore", "EC2InstanceProfileForImageBuilder"]


def test_every_resource_can_be_left_to_the_company() -> None:
    nothing = {
        "InstanceProfile": "p",
        "SecurityGroup": "sg-1",
        "LogBucket": "b",
        "KeepSystemLogs": "true",
        "KeepSecurityLogs": "true",
        "KeepAuthLogs": "true",
        "KeepBuildLogs": "true",
        "WithDashboard": "false",
    }
    assert cfn.resources(TEMPLATE, nothing) == {}
    assert set(cfn.resources(TEMPLATE, EVERYTHING)) == set(TEMPLATE["Resources"])


def test_short_forms_and_long_forms_are_the_same() -> None:
    assert cfn.load("a: !GetAtt Group.GroupId\nb: !Sub ['${x}', {x: !Ref y}]\n") == {
        "a": {"Fn::GetAtt": ["Group", "GroupId"]},
        "b": {"Fn::Sub": ["${x}", {"x": {"Ref": "y"}}]},
    }
    assert cfn.load(cfn.dump(TEMPLATE)) == TEMPLATE
    assert yaml.safe_load(cfn.dump(TEMPLATE)) == TEMPLATE
