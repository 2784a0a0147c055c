"""The other services as the emulator's world, asked by boto3: moto in the same process, or behind the same endpoint."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from publish.emulator.world import LogLine, NewImage


def clients(region: str, endpoint: str | None = None) -> Callable[[str], Any]:
    """Return what makes clients for moto: in this process, or at an endpoint."""

    def make(service: str) -> Any:  # noqa: ANN401 - a client of any service
        import boto3
        from botocore.config import Config

        settings = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 2})
        # For moto only: what these keys sign for never leaves the machine. Any, since the stubs know services by their literal names.
        session: Any = boto3.session.Session("testing", "testing", region_name=region)
        return session.client(service, endpoint_url=endpoint, config=settings)

    return make


@dataclass(slots=True)
class Services:
    """One region of the other services."""

    make: Callable[[str], Any]
    """Makes a client of a service."""
    made: dict[str, Any] = field(default_factory=dict)
    groups: set[tuple[str, str]] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def client(self, service: str) -> Any:  # noqa: ANN401 - a client of any service
        """Return a client; clients may be shared by threads, only making them may not."""
        with self.lock:
            if service not in self.made:
                self.made[service] = self.make(service)
            return self.made[service]

    def has_instance_profile(self, name: str) -> bool:
        """Ask IAM."""
        client = self.client("iam")
        try:
            client.get_instance_profile(InstanceProfileName=name)
        except client.exceptions.NoSuchEntityException:
            return False
        return True

    def has_image(self, image: str) -> bool:
        """Ask EC2."""
        return _found(lambda: self.client("ec2").describe_images(ImageIds=[image])["Images"])

    def has_parameter(self, name: str) -> bool:
        """Ask Systems Manager."""
        return _found(lambda: self.client("ssm").get_parameter(Name=name)["Parameter"])

    def read_object(self, bucket: str, key: str) -> bytes:
        """Ask S3. Raises LookupError."""
        from botocore.exceptions import ClientError

        try:
            data: bytes = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            raise LookupError(error.response["Error"].get("Message", "unknown")) from None
        return data

    def write_object(self, bucket: str, key: str, data: bytes) -> None:
        """Write to S3; a bucket that is not there swallows it, as the service does."""
        _found(lambda: self.client("s3").put_object(Bucket=bucket, Key=key, Body=data))

    def log(self, group: str, stream: str, lines: Sequence[LogLine]) -> None:
        """Write to CloudWatch Logs."""
        client = self.client("logs")
        if (group, stream) not in self.groups:
            _found(lambda: client.create_log_group(logGroupName=group))
            _found(lambda: client.create_log_stream(logGroupName=group, logStreamName=stream))
            self.groups.add((group, stream))
        events = [{"timestamp": int(moment.timestamp() * 1000), "message": text or " "} for moment, text in lines]
        _found(lambda: client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events))

    def register_image(self, image: NewImage) -> str:
        """Register an AMI in EC2, with its tags and those who may launch it."""
        client = self.client("ec2")
        made = client.register_image(
            Name=image.name,
            Description=image.description or image.name,
            RootDeviceName="/dev/xvda",
            BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8, "VolumeType": "gp3"}}],
        )
        number: str = made["ImageId"]
        if image.tags:
            client.create_tags(Resources=[number], Tags=[{"Key": key, "Value": value} for key, value in image.tags.items()])
        if image.users:
            permission = {"Add": [{"UserId": user} for user in image.users]}
            client.modify_image_attribute(ImageId=number, Attribute="launchPermission", LaunchPermission=permission)
        return number

    def write_parameter(self, region: str, name: str, value: str, data_type: str) -> None:
        """Write to Systems Manager. Raises LookupError."""
        from botocore.exceptions import ClientError

        del region
        try:
            self.client("ssm").put_parameter(Name=name, Value=value, Type="String", DataType=data_type, Overwrite=True)
        except ClientError as error:
            raise LookupError(str(error)) from None


def _found(ask: Callable[[], object]) -> bool:
    """Ask, and take a refusal for a no."""
    from botocore.exceptions import ClientError

    try:
        return bool(ask())
    except ClientError:
        return False
