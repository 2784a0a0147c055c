"""Inside one process: boto3 is answered without a socket, other services by moto, and afterwards nothing is left."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from publish.emulator import Emulator, Stepped, in_process, responder
from publish.emulator.inprocess import EVENT
from tests.publish.emulator.account import REGION, document


def client(service: str, **more: str) -> Any:  # noqa: ANN401 - a client of any service
    session: Any = boto3.session.Session("testing", "testing", region_name=REGION)
    return session.client(service, **more)


def test_with_the_other_services() -> None:
    with in_process() as emulator:
        builder = client("imagebuilder")
        with pytest.raises(builder.exceptions.InvalidParameterValueException, match="profile does not exist"):
            builder.create_infrastructure_configuration(name="infra", instanceProfileName="profile")
        client("iam").create_instance_profile(InstanceProfileName="profile")
        infrastructure = builder.create_infrastructure_configuration(name="infra", instanceProfileName="profile")
        client("s3").create_bucket(Bucket="golden", CreateBucketConfiguration={"LocationConstraint": REGION})
        client("s3").put_object(Bucket="golden", Key="one.yml", Body=document().encode())
        component = builder.create_component(name="one", semanticVersion="1.0.0", platform="Linux", uri="s3://golden/one.yml")
        recipe = builder.create_image_recipe(
            name="golden",
            semanticVersion="1.0.0",
            parentImage=client("ec2").describe_images(Owners=["amazon"])["Images"][0]["ImageId"],
            components=[{"componentArn": component["componentBuildVersionArn"]}],
        )
        ami = {"name": "golden {{ imagebuilder:buildDate }}"}
        regions = [{"region": region, "amiDistributionConfiguration": ami} for region in (REGION, "us-west-2")]
        distribution = builder.create_distribution_configuration(name="two", distributions=regions)
        pipeline = builder.create_image_pipeline(
            name="weekly",
            distributionConfigurationArn=distribution["distributionConfigurationArn"],
            imageRecipeArn=recipe["imageRecipeArn"],
            infrastructureConfigurationArn=infrastructure["infrastructureConfigurationArn"],
        )
        arn = builder.start_image_pipeline_execution(imagePipelineArn=pipeline["imagePipelineArn"])["imageBuildVersionArn"]
        assert isinstance(emulator.scheduler, Stepped)
        emulator.scheduler.drain()
        here, there = builder.get_image(imageBuildVersionArn=arn)["image"]["outputResources"]["amis"]
        assert client("ec2").describe_images(ImageIds=[here["image"]])["Images"]
        elsewhere: Any = boto3.client("ec2", region_name="us-west-2")
        assert elsewhere.describe_images(ImageIds=[there["image"]])["Images"]


def test_the_default_session_is_served_too() -> None:
    with in_process() as emulator:
        emulator.region("eu-west-1")
        found: Any = boto3.client("imagebuilder", region_name="eu-west-1")
        assert found.list_components()["componentVersionList"] == []
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            found.get_component(componentBuildVersionArn="arn:aws:imagebuilder:eu-west-1:123456789012:component/none/1.0.0/1")


def test_nothing_is_left_afterwards() -> None:
    """A client made inside goes its own way afterwards: here to an address where nobody listens."""
    with in_process(others=False):
        inside = client("imagebuilder", endpoint_url="http://127.0.0.1:9")
        assert inside.list_images()["imageVersionList"] == []
    inside.meta.events.register_first("before-send", _stop)
    outside = client("imagebuilder")
    outside.meta.events.register_first("before-send", _stop)
    for after in (inside, outside):
        with pytest.raises(ConnectionAbortedError):
            after.list_images()


def _stop(**_: object) -> None:
    message = "this would have left the process"
    raise ConnectionAbortedError(message)


def test_a_single_client() -> None:
    emulator = Emulator()
    only = client("imagebuilder")
    only.meta.events.register(EVENT, responder(emulator))
    only.create_component(name="one", semanticVersion="1.0.0", platform="Linux", data=document())
    assert [name for name, _ in emulator.calls] == ["CreateComponent"]


def test_each_context_begins_empty() -> None:
    for _ in range(2):
        with in_process():
            client("iam").create_instance_profile(InstanceProfileName="profile")
            client("imagebuilder").create_infrastructure_configuration(name="infra", instanceProfileName="profile")
