"""The endpoint: Image Builder and the rest of AWS behind one address, for boto3, for the `aws` command and for people."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from harness.errors import UsageError
from publish.emulator import Emulator, Endpoint, Pretence, Stepped
from tests.publish.emulator.account import OWN, REGION, Account, document

if TYPE_CHECKING:
    from collections.abc import Iterator

SCOPE = f"AWS4-HMAC-SHA256 Credential=testing/20261124/{REGION}/{{}}/aws4_request, SignedHeaders=host, Signature=0"
TEMPLATE = {
    "Resources": {
        "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": []}}},
        "Profile": {"Type": "AWS::IAM::InstanceProfile", "Properties": {"InstanceProfileName": "profile", "Roles": [{"Ref": "Role"}]}},
        "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "golden-documents"}},
        "Group": {"Type": "AWS::EC2::SecurityGroup", "Properties": {"GroupDescription": "build"}},
        "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/aws/imagebuilder/golden", "RetentionInDays": 30}},
        "Board": {"Type": "AWS::CloudWatch::Dashboard", "Properties": {"DashboardName": "golden", "DashboardBody": "{}"}},
    }
}


@pytest.fixture(scope="module")
def everything() -> Iterator[Endpoint]:
    """Image Builder and moto, on loopback."""
    with Endpoint(Emulator(scheduler=Stepped())) as opened:
        yield opened


@pytest.fixture
def aws(everything: Endpoint) -> Iterator[Account]:
    assert control(everything, "POST", "reset") == (200, {})
    yield Account(everything.url, everything.emulator)
    assert control(everything, "POST", "reset") == (200, {})


def service(account: Account, name: str) -> Any:  # noqa: ANN401 - a client of any service
    session: Any = boto3.session.Session("testing", "testing", region_name=REGION)
    return session.client(name, endpoint_url=account.endpoint)


def ask(endpoint: Endpoint, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, Any]]:
    connection = HTTPConnection(endpoint.host, endpoint.port, timeout=30)
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def control(endpoint: Endpoint, method: str, what: str, body: object = None) -> tuple[int, dict[str, Any]]:
    return ask(endpoint, method, f"/_emulator/{what}", body)


def test_from_a_stack_to_an_ami_behind_one_address(aws: Account) -> None:
    stacks = service(aws, "cloudformation")
    stacks.create_change_set(
        StackName="golden",
        ChangeSetName="first",
        ChangeSetType="CREATE",
        TemplateBody=json.dumps(TEMPLATE),
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    stacks.execute_change_set(StackName="golden", ChangeSetName="first")
    service(aws, "s3").put_object(Bucket="golden-documents", Key="hardening.yml", Body=document().encode())
    component = aws.component(uri="s3://golden-documents/hardening.yml")
    infrastructure = aws.infrastructure(logging={"s3Logs": {"s3BucketName": "golden-documents", "s3KeyPrefix": "logs"}})
    ami = {
        "name": "golden {{ imagebuilder:buildDate }}",
        "amiTags": {"Hardened": "true"},
        "launchPermission": {"userIds": ["111122223333"]},
    }
    region = {
        "region": REGION,
        "amiDistributionConfiguration": ami,
        "ssmParameterConfigurations": [{"parameterName": "/imagebuilder/golden"}],
    }
    distribution = aws.distribution(distributions=[region])
    arn = aws.start(
        aws.pipeline(aws.recipe(component), infrastructureConfigurationArn=infrastructure, distributionConfigurationArn=distribution)
    )
    aws.emulator.scheduler.drain()  # type: ignore[attr-defined]
    image = aws.image(arn)
    assert image["state"] == {"status": "AVAILABLE"}
    number = image["outputResources"]["amis"][0]["image"]
    (registered,) = service(aws, "ec2").describe_images(ImageIds=[number])["Images"]
    assert {"Key": "Hardened", "Value": "true"} in registered["Tags"]
    shared = service(aws, "ec2").describe_image_attribute(ImageId=number, Attribute="launchPermission")["LaunchPermissions"]
    assert shared == [{"UserId": "111122223333"}]
    assert service(aws, "ssm").get_parameter(Name="/imagebuilder/golden")["Parameter"]["Value"] == number
    events = service(aws, "logs").get_log_events(logGroupName="/aws/imagebuilder/golden", logStreamName="1.0.0/1")["events"]
    assert any("hardening: build: Do_build" in event["message"] for event in events)
    # Now that it exists, it can be a parent.
    aws.recipe(name="next", parentImage=number)
    aws.recipe(name="after", parentImage="ssm:/imagebuilder/golden")


def test_what_the_other_services_do_not_have(aws: Account) -> None:
    with aws.refuses("InvalidParameterValue", "The provided instance profile does not exist: profile"):
        aws.infrastructure()
    with aws.refuses("InvalidParameterValue", "You are not authorized"):
        aws.recipe(parentImage="ami-00000000000000000")
    with aws.refuses("InvalidParameterValue", "/nothing"):
        aws.recipe(parentImage="ssm:/nothing")
    with aws.refuses("InvalidParameterValue", "'uri'", "does not exist"):
        aws.component(uri="s3://no-such-bucket/key")


def test_a_parent_that_is_shared_by_amazon(aws: Account) -> None:
    owned = service(aws, "ec2").describe_images(Owners=["amazon"])["Images"]
    aws.recipe(parentImage=owned[0]["ImageId"])


def command(endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the `aws` command as it was installed."""
    program = Path(sysconfig.get_path("scripts"), "aws")
    environment = {"PATH": os.defpath, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": REGION}
    call = [str(program), "imagebuilder", *arguments, "--endpoint-url", endpoint, "--output", "json"]
    return subprocess.run(call, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_aws_command_understands(account: Account, tmp_path: Path) -> None:
    account.pipeline()
    listed = command(account.endpoint, "list-image-pipelines")
    assert listed.returncode == 0, listed.stderr
    assert [entry["arn"] for entry in json.loads(listed.stdout)["imagePipelineList"]] == [f"{OWN}:image-pipeline/weekly"]
    path = tmp_path / "document.yml"
    path.write_text(document(), encoding="utf-8")
    given = ("create-component", "--name", "told", "--platform", "Linux", "--data", path.as_uri())
    made = command(account.endpoint, *given, "--semantic-version", "1.0.0")
    assert json.loads(made.stdout)["componentBuildVersionArn"] == f"{OWN}:component/told/1.0.0/1"
    refused = command(account.endpoint, *given, "--semantic-version", "1.0.x")
    assert refused.returncode != 0
    assert "(InvalidParameterValueException)" in refused.stderr
    assert r"semanticVersion must match pattern ^[0-9]+\.[0-9]+\.[0-9]+$" in refused.stderr


def test_people_can_look_inside(account: Account, endpoint: Endpoint) -> None:
    arn = account.start(account.pipeline())
    status, state = control(endpoint, "GET", "state")
    assert status == 200
    assert arn in [one["arn"] for one in state["regions"][REGION]]
    assert control(endpoint, "POST", "advance") == (200, {"more": True})
    assert account.status(arn) == "CREATING"
    assert control(endpoint, "POST", "run-due") == (200, {"started": []})
    assert control(endpoint, "POST", "faults", {"code": "CallRateLimitExceeded", "operations": ["ListImages"]}) == (200, {})
    with account.refuses("CallRateLimitExceeded"):
        account.call("ListImages")
    assert control(endpoint, "POST", "faults", {"cod": 1})[0] == 400
    assert control(endpoint, "POST", "faults", b"{")[0] == 400
    assert control(endpoint, "GET", "reset")[0] == 404
    control(endpoint, "POST", "reset")
    assert account.call("ListImages")["imageVersionList"] == []


def test_requests_that_are_not_signed(endpoint: Endpoint) -> None:
    assert ask(endpoint, "POST", "/ListComponents", {})[1]["componentVersionList"] == []
    status, answer = ask(endpoint, "POST", "/nothing", {})
    assert status == 404
    assert "is not served here" in answer["message"]
    status, answer = ask(endpoint, "POST", "/", {}, Authorization=SCOPE.format("iam"))
    assert (status, answer["message"]) == (404, "iam is not served here")


def test_an_arn_in_a_path_is_read_once(account: Account, endpoint: Endpoint) -> None:
    arn = account.component(tags={"a": "b"})
    for spelled in (arn, arn.replace(":", "%3A").replace("/", "%2F"), arn.replace(":", "%3a")):
        assert ask(endpoint, "GET", f"/tags/{spelled}", Authorization=SCOPE.format("imagebuilder")) == (200, {"tags": {"a": "b"}})


def test_broken_bodies(endpoint: Endpoint) -> None:
    for body in (b"{", b"\xff\xfe", b"[1]", b"null", b'"text"'):
        status, answer = ask(endpoint, "PUT", "/CreateComponent", body, Authorization=SCOPE.format("imagebuilder"))
        assert status == 400
        assert answer["message"]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com"])  # noqa: S104 - that it is refused is the point
def test_only_loopback(host: str) -> None:
    with pytest.raises(UsageError, match="loopback only"):
        Endpoint(host=host).open()


def test_two_endpoints_are_two_accounts(account: Account) -> None:
    account.component()
    with Endpoint(Emulator(builder=Pretence()), others=False) as second:
        assert Account(second.url, second.emulator).call("ListComponents")["componentVersionList"] == []
    assert account.call("ListComponents")["componentVersionList"]
