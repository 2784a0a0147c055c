"""Run Command of AWS Systems Manager: a script on many instances at once, no open port, and no agent of ours.

    fan = RunCommand(bucket="audit-output")
    for instance, outcome in fan.run(instances, script, seconds=300):    # as they end; Completed or a TargetError that says why not

Limits of the service, which the tests enforce: 50 ids in a command, 50 invocations on a page, 24,000 characters of each output stream
unless an S3 bucket takes the whole.
"""

from __future__ import annotations

import base64
import gzip
import os
import re
import time
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from harness.errors import ConfigError, TargetError, UsageError
from harness.targets.base import Completed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

DOCUMENT = "AWS-RunShellScript"
PLUGIN = "awsrunShellScript/0.awsrunShellScript"
"""Where the agent puts the output of that document, below the key of a command and an instance."""
MOST_IDS = 50
MOST_SCRIPT = 60_000
"""Bytes of a script. A document may have 64 KB with its parameters in it; the rest is the service's own."""
MOST_OUTPUT = 24_000
"""Characters of a stream that GetCommandInvocation returns."""
DELIVERY_SECONDS = 60
"""How long an instance has to fetch a command; the service takes no less than 30."""
PAUSES = (0.3, 0.7, 1.0, 2.0, 3.0, 5.0)
"""Seconds between two looks at the state; the last is repeated."""
UPLOAD_SECONDS = 30.0
"""How long output may still be on its way to S3 after a command has ended."""
RUNNING = frozenset({"Pending", "InProgress", "Delayed", "Cancelling", ""})
BUCKET = "HARNESS_SSM_BUCKET"
"""Environment variable: the bucket for output, where the command line names none."""

WRAPPED = """#!/bin/bash
# harness audit: questions to this host. Nothing is changed. Answers leave it compressed, since Systems Manager cuts long output.
{ {
@SCRIPT@
} 2>&1 >&3 3>&- | gzip -c | base64 -w 0 >&2; echo . >&2; } 3>&1 | gzip -c | base64 -w 0; echo .
exit 0
"""
"""Each stream ends in a full stop, which base64 does not have: without it, the output is cut."""

STATES: Mapping[str, tuple[str, str]] = {
    "DeliveryTimedOut": ("it did not fetch the command in time", "is its agent running? `systemctl status amazon-ssm-agent`"),
    "ExecutionTimedOut": ("the questions were still running after their time", "--timeout gives a host more time"),
    "TimedOut": ("the command ran out of time", "--timeout gives a host more time"),
    "Cancelled": ("somebody cancelled the command", "run the audit again with --resume"),
    "Undeliverable": ("the command cannot be delivered; the instance may be gone", "does it still run? `aws ec2 describe-instances`"),
    "Terminated": ("the command was ended because too many other hosts failed", "run the audit again with --resume"),
    "InvalidPlatform": ("the document is not for its operating system", "only Linux can be audited"),
    "AccessDenied": ("its agent may not run the command", "the instance profile needs AmazonSSMManagedInstanceCore"),
    "RateExceeded": ("the account runs too many commands at once", "run the audit again with --resume"),
    "NoInstancesInTag": ("no instance carries the tag", "aws ssm describe-instance-information"),
    "Incomplete": ("the command was not carried out everywhere", "run the audit again with --resume"),
}
"""What a terminal state means, by its StatusDetails without blanks."""


@dataclass(frozen=True, slots=True)
class Managed:
    """An instance that Systems Manager knows."""

    id: str
    name: str
    platform: str
    """`Linux`, `Windows`, `MacOS`."""
    online: bool
    last_seen: str


class CutError(TargetError):
    """The output was longer than the service returns, and there is no bucket."""


class RunCommand:
    """Run Command in one region, for any number of instances."""

    def __init__(self, bucket: str | None = None, prefix: str = "harness-audit", sleep: Callable[[float], None] = time.sleep) -> None:
        """Take the credentials and the region of the environment. Raises ConfigError where no region is known."""
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, NoRegionError

        self.bucket = bucket or os.environ.get(BUCKET) or None
        self.prefix = prefix
        self._sleep = sleep
        try:
            import boto3

            # The adaptive mode slows down as the service asks for it, for all threads of a client together.
            config = Config(retries={"mode": "adaptive", "max_attempts": 8}, connect_timeout=10, read_timeout=60)
            # boto3 itself reads AWS_DEFAULT_REGION only.
            session = boto3.session.Session(region_name=os.environ.get("AWS_REGION") or None)
            self._ssm: Any = session.client("ssm", config=config)
            self._s3: Any = session.client("s3", config=config) if self.bucket else None
        except NoRegionError:
            raise ConfigError("no region is known for Systems Manager", hint="set AWS_REGION, or a region in the profile") from None
        except BotoCoreError as error:
            raise ConfigError(f"AWS cannot be used: {error}", hint="aws sts get-caller-identity shows what the credentials are") from None

    def managed(self, ids: Sequence[str] = (), tag: tuple[str, str] | None = None) -> list[Managed]:
        """Return the instances of a tag, or those of some ids that Systems Manager knows. Raises TargetError."""
        if tag is not None:
            return self._described([{"Key": f"tag:{tag[0]}", "Values": [tag[1]]}])
        found: list[Managed] = []
        for some in batches(ids):
            found += self._described([{"Key": "InstanceIds", "Values": list(some)}])
        return found

    def _described(self, filters: list[dict[str, Any]]) -> list[Managed]:
        pages = self._ssm.get_paginator("describe_instance_information")
        with refusals():
            return [
                Managed(
                    id=one["InstanceId"],
                    name=one.get("ComputerName") or one.get("Name") or one["InstanceId"],
                    platform=one.get("PlatformType", ""),
                    online=one.get("PingStatus") == "Online",
                    last_seen=f"{one['LastPingDateTime']:%Y-%m-%d %H:%M} UTC" if "LastPingDateTime" in one else "never",
                )
                for page in pages.paginate(Filters=filters, PaginationConfig={"PageSize": MOST_IDS})
                for one in page["InstanceInformationList"]
            ]

    def run(self, ids: Sequence[str], script: str, seconds: float) -> Iterator[tuple[str, Completed | TargetError]]:
        """Run a script as root on instances; yield how it ended on each. Raises TargetError when AWS refuses it as a whole."""
        text = wrapped(script)
        waiting: dict[str, set[str]] = {}
        for some in batches(list(dict.fromkeys(ids))):
            sent, refused = self._sent(some, text, seconds)
            for command, instances in sent:
                waiting[command] = set(instances)
            yield from refused.items()
        started = time.monotonic()
        deadline = started + DELIVERY_SECONDS + seconds
        looks = 0
        while waiting:
            self._sleep(PAUSES[min(looks, len(PAUSES) - 1)])
            looks += 1
            for command in list(waiting):
                for instance, status in self._states(command):
                    if instance in waiting[command] and status not in RUNNING:
                        waiting[command].discard(instance)
                        yield instance, self._outcome(command, instance, status, script, time.monotonic() - started)
                if not waiting[command]:
                    del waiting[command]
            if waiting and time.monotonic() > deadline:
                yield from self._given_up(waiting, seconds)
                return

    def _sent(
        self, ids: Sequence[str], text: str, seconds: float
    ) -> tuple[list[tuple[str, Sequence[str]]], dict[str, Completed | TargetError]]:
        """Send to some instances. One that is not known makes the service refuse all of its batch, so such a batch is halved."""
        from botocore.exceptions import ClientError

        output = {"OutputS3BucketName": self.bucket, "OutputS3KeyPrefix": self.prefix} if self.bucket else {}
        try:
            with refusals(passing=("InvalidInstanceId",)):
                answer = self._ssm.send_command(
                    InstanceIds=list(ids),
                    DocumentName=DOCUMENT,
                    Comment="harness audit: reads only",
                    TimeoutSeconds=DELIVERY_SECONDS,
                    MaxConcurrency="100%",
                    MaxErrors="100%",
                    Parameters={"commands": text.split("\n"), "executionTimeout": [str(max(1, int(seconds)))]},
                    **output,
                )
        except ClientError as error:
            if len(ids) == 1:
                message = f"{ids[0]} is in no state to be asked: {error.response['Error'].get('Message', '')}"
                return [], {ids[0]: TargetError(message, hint="is it running, and does its agent report?")}
            middle = len(ids) // 2
            (first, refused), (second, more) = self._sent(ids[:middle], text, seconds), self._sent(ids[middle:], text, seconds)
            return first + second, refused | more
        return [(answer["Command"]["CommandId"], ids)], {}

    def _states(self, command: str) -> list[tuple[str, str]]:
        """Return instance and state, as far as the service knows them."""
        pages = self._ssm.get_paginator("list_command_invocations")
        with refusals():
            return [
                (one["InstanceId"], (one.get("StatusDetails") or one["Status"]).replace(" ", ""))
                for page in pages.paginate(CommandId=command, PaginationConfig={"PageSize": MOST_IDS})
                for one in page["CommandInvocations"]
            ]

    def _outcome(self, command: str, instance: str, status: str, script: str, seconds: float) -> Completed | TargetError:
        """Fetch what an instance answered."""
        try:
            with refusals():
                answer = self._ssm.get_command_invocation(CommandId=command, InstanceId=instance)
            if status != "Success":
                said = " ".join((answer.get("StandardErrorContent") or answer.get("StandardOutputContent") or "").split())[:200]
                return ended(instance, status, answer.get("ResponseCode", -1), said)
            return Completed(
                script,
                0,
                self._stream(command, instance, "stdout", answer["StandardOutputContent"], answer.get("StandardOutputUrl", "")),
                self._stream(command, instance, "stderr", answer["StandardErrorContent"], answer.get("StandardErrorUrl", "")),
                seconds,
            )
        except TargetError as error:
            return error

    def _stream(self, command: str, instance: str, name: str, content: str, url: str) -> bytes:
        """Return one output stream, whole: from the answer, else from S3. Raises TargetError when it is not whole."""
        text = content.strip()
        if not text.endswith(".") and self.bucket:
            text = self._uploaded(self._key(command, instance, name, url))
        if not text.endswith("."):
            hint = f"name an S3 bucket for long output: {BUCKET}=NAME, or --ssm-bucket"
            raise CutError(f"{instance}: Systems Manager cut the answers after {MOST_OUTPUT:,} characters", hint=hint)
        try:
            return gzip.decompress(base64.b64decode(text.removesuffix(".").strip(), validate=True)) if text != "." else b""
        except (ValueError, OSError, EOFError, zlib.error):
            raise TargetError(f"{instance}: the answers are damaged", hint="does the host have gzip and base64?") from None

    def _key(self, command: str, instance: str, name: str, url: str) -> str:
        """Return where the agent put a stream: as the service says, else where this document always puts it."""
        found = re.fullmatch(rf"https://[^/]+/(?:{re.escape(self.bucket or '')}/)?(?P<key>.+/{name})", url)
        return found["key"] if found else f"{self.prefix}/{command}/{instance}/{PLUGIN}/{name}"

    def _uploaded(self, key: str) -> str:
        """Read an object that may be on its way. Raises TargetError when it does not come."""
        from botocore.exceptions import ClientError

        deadline = time.monotonic() + UPLOAD_SECONDS
        while True:
            try:
                with refusals(passing=("NoSuchKey", "404")):
                    return str(self._s3.get_object(Bucket=self.bucket, Key=key)["Body"].read().decode("ascii", "replace")).strip()
            except ClientError:
                if time.monotonic() > deadline:
                    hint = "the instance profile needs s3:PutObject on the bucket, and a way to S3"
                    raise TargetError(f"s3://{self.bucket}/{key} has not arrived", hint=hint) from None
                self._sleep(1.0)

    def _given_up(self, waiting: Mapping[str, set[str]], seconds: float) -> Iterator[tuple[str, TargetError]]:
        """Cancel what still runs."""
        for command, instances in waiting.items():
            for some in batches(sorted(instances)):
                with refusals():
                    self._ssm.cancel_command(CommandId=command, InstanceIds=list(some))
                for instance in some:
                    yield instance, TargetError(f"{instance} was not done within {seconds:g} s", hint="--timeout gives a host more time")


def wrapped(script: str) -> str:
    """Return what Run Command runs. Raises UsageError for what the service would refuse, or change on the way."""
    text = WRAPPED.replace("@SCRIPT@", script.strip("\n"))
    if len(text.encode()) > MOST_SCRIPT:
        hint = "--rule chooses fewer rules"
        raise UsageError(f"the questions are {len(text.encode()):,} bytes long; Systems Manager takes {MOST_SCRIPT:,}", hint=hint)
    if "{{" in text:
        raise UsageError("a question holds `{{`, which Systems Manager would replace", hint="write `{ {` in the suite's command")
    return text


def ended(instance: str, status: str, code: int, said: str) -> TargetError:
    """Tell why there are no answers, by the state that the service names."""
    if status in STATES:
        what, hint = STATES[status]
        return TargetError(f"{instance}: {what} ({status})", hint=hint)
    return TargetError(f"{instance}: the questions could not be run ({status}, exit code {code}){f': {said}' if said else ''}")


def batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split ids as one call takes them."""
    for start in range(0, len(ids), MOST_IDS):
        yield ids[start : start + MOST_IDS]


@dataclass(slots=True)
class refusals:  # noqa: N801 - a context, used as one
    """Turn what AWS refuses into one line with a hint; codes in `passing` go on to the caller."""

    passing: Sequence[str] = field(default=())

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Translate."""
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        if isinstance(error, NoCredentialsError):
            raise TargetError("there are no AWS credentials", hint="aws sso login, AWS_PROFILE, or a role of this machine") from None
        if isinstance(error, BotoCoreError):
            raise TargetError(f"AWS does not answer: {error}", hint="is there a way to ssm.REGION.amazonaws.com?") from None
        if isinstance(error, ClientError):
            code = error.response.get("Error", {}).get("Code", "")
            if code in self.passing:
                return
            hint = "harness audit --print-iam-policy prints what is needed" if "Denied" in code or "Unauthorized" in code else None
            message = f"{error.operation_name}: {code}: {error.response.get('Error', {}).get('Message', '')}"
            raise TargetError(message, hint=hint) from None
