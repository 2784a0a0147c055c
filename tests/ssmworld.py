"""AWS Systems Manager for tests, over real HTTP: Run Command with the service's limits, whose instances are containers or canned.

The shapes of botocore's model decide what a call may say, and beyond them: 64 KB for a document with its parameters, no instance twice
in a command, none that is not online, no parameter that the document lacks, 24,000 characters of output in an answer, and a rate.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

import botocore.loaders
import botocore.model
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from publish.emulator.shapes import violations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from types_boto3_s3 import S3Client

REGION: Final = "ap-northeast-2"
MOST_DOCUMENT = 64 * 1024
MOST_OUTPUT = 24_000
MODEL = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model("ssm", "service-2"))


def container(engine: list[str], name: str) -> Callable[[str, float], tuple[int, bytes, bytes]]:
    """Run a command's script as the agent does: from a file of its own, by its first line, as root, without input."""
    import subprocess

    agent = 'file=$(mktemp); cat >"$file"; chmod 0700 "$file"; "$file" </dev/null; code=$?; rm -f "$file"; exit $code'

    def execute(script: str, seconds: float) -> tuple[int, bytes, bytes]:
        argv = [*engine, "exec", "-i", name, "/bin/sh", "-c", agent]
        done = subprocess.run(argv, input=script.encode(), capture_output=True, timeout=seconds, check=False)
        return done.returncode, done.stdout, done.stderr

    return execute


def once(execute: Callable[[str, float], tuple[int, bytes, bytes]]) -> Callable[[str, float], tuple[int, bytes, bytes]]:
    """Return the same answer to the same script: many instances that are one."""
    known: dict[str, tuple[int, bytes, bytes]] = {}
    lock = threading.Lock()

    def executed(script: str, seconds: float) -> tuple[int, bytes, bytes]:
        with lock:
            if script not in known:
                known[script] = execute(script, seconds)
            return known[script]

    return executed


def nothing(script: str, seconds: float) -> tuple[int, bytes, bytes]:
    """Answer nothing."""
    assert script
    assert seconds
    return 0, b"", b""


@dataclass
class Instance:
    """A managed instance and how it behaves."""

    id: str
    execute: Callable[[str, float], tuple[int, bytes, bytes]] = nothing
    tags: dict[str, str] = field(default_factory=dict)
    platform: str = "Linux"
    ping: str = "Online"
    ends: str = ""
    """A state in which its commands end without being run, such as `Undeliverable`; `InProgress`: they never end."""


@dataclass
class Invocation:
    """A command on one instance."""

    instance: str
    status: str = "Pending"
    details: str = "Pending"
    code: int = -1
    out: str = ""
    err: str = ""
    urls: tuple[str, str] = ("", "")


class Refusal(Exception):  # noqa: N818 - an answer
    """The service says no."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code)
        self.code, self.message = code, message


STATUS = {"DeliveryTimedOut": "TimedOut", "ExecutionTimedOut": "TimedOut", "Undeliverable": "Cancelled", "Terminated": "Cancelled"}


class World:
    """The service, its instances, and what was asked of it."""

    def __init__(self, instances: Iterable[Instance] = (), *, throttle: int = 0, s3: S3Client | None = None) -> None:
        """Every call whose number is divisible by `throttle` is throttled once; `s3` is a client of a store for output."""
        self.instances = {instance.id: instance for instance in instances}
        self.calls: Counter[str] = Counter()
        self.throttled = 0
        self.sent: list[dict[str, Any]] = []
        self.cancelled: list[str] = []
        self._throttle, self._s3 = throttle, s3
        self._commands: dict[str, dict[str, Invocation]] = {}
        self._lock = threading.Lock()
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        try:
            answer = self._answer(request.headers["X-Amz-Target"].partition(".")[2], json.loads(request.get_data()))
            response = Response(json.dumps(answer), content_type="application/x-amz-json-1.1")
        except Refusal as refusal:
            body = json.dumps({"__type": refusal.code, "message": refusal.message})
            response = Response(body, status=400, content_type="application/x-amz-json-1.1")
        return response(environ, start)

    def _answer(self, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self.calls[operation] += 1
            if self._throttle and self.calls.total() % self._throttle == 0:
                self.throttled += 1
                raise Refusal("ThrottlingException", "Rate exceeded")
        shape = MODEL.operation_model(operation).input_shape
        assert shape is not None
        if wrong := [str(one) for one in violations(shape, given)]:
            raise Refusal("ValidationException", f"{len(wrong)} validation errors detected: {wrong[0]}")
        answered: dict[str, Any] = getattr(self, operation)(given)
        return answered

    def DescribeInstanceInformation(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - the service's own names
        found = list(self.instances.values())
        for one in given.get("Filters", ()):
            key, values = one["Key"], one["Values"]
            if key == "InstanceIds":
                found = [instance for instance in found if instance.id in values]
            elif key.startswith("tag:"):
                if len(given["Filters"]) > 1:
                    raise Refusal("InvalidFilterKey")
                found = [instance for instance in found if instance.tags.get(key[4:]) in values]
            else:
                raise Refusal("InvalidFilterKey")
        page, token = paged(found, given, 10)
        listed = [
            {
                "InstanceId": one.id,
                "PingStatus": one.ping,
                "LastPingDateTime": datetime(2026, 11, 24, tzinfo=UTC).timestamp(),
                "PlatformType": one.platform,
                "ComputerName": f"ip-{one.id[-4:]}.internal",
            }
            for one in page
        ]
        return {"InstanceInformationList": listed, **token}

    def SendCommand(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's own name
        ids, parameters = given.get("InstanceIds", []), given.get("Parameters", {})
        if given["DocumentName"] != "AWS-RunShellScript":
            raise Refusal("InvalidDocument")
        if unknown := set(parameters) - {"commands", "workingDirectory", "executionTimeout"}:
            raise Refusal("InvalidParameters", f"document does not support parameters: {unknown}")
        if len(json.dumps(parameters).encode()) > MOST_DOCUMENT:
            raise Refusal("MaxDocumentSizeExceeded")
        if any("{{" in line for line in parameters["commands"]):
            raise Refusal("InvalidParameters", "a parameter is not resolved")
        if len(set(ids)) != len(ids):
            raise Refusal("DuplicateInstanceId")
        if away := [one for one in ids if one not in self.instances or self.instances[one].ping != "Online"]:
            raise Refusal("InvalidInstanceId", f"Instances [{away}] not in a valid state for account 123456789012")
        command = str(uuid.uuid4())
        invocations = {one: Invocation(one) for one in ids}
        with self._lock:
            self._commands[command] = invocations
            self.sent.append(given)
        for invocation in invocations.values():
            threading.Thread(target=self._execute, args=(command, invocation, given), daemon=True).start()
        return {"Command": {"CommandId": command, "Status": "Pending", "InstanceIds": ids}}

    def _execute(self, command: str, invocation: Invocation, given: dict[str, Any]) -> None:
        instance = self.instances[invocation.instance]
        invocation.status = invocation.details = "InProgress"
        if instance.ends == "InProgress":
            return
        if instance.ends:
            invocation.details, invocation.status = instance.ends, STATUS.get(instance.ends, "Failed")
            return
        script, seconds = "\n".join(given["Parameters"]["commands"]), float(given["Parameters"]["executionTimeout"][0])
        code, *streams = instance.execute(script, seconds)
        out, err = (stream.decode("utf-8", "replace") for stream in streams)
        urls = ["", ""]
        if bucket := given.get("OutputS3BucketName"):
            for number, (name, text) in enumerate((("stdout", out), ("stderr", err))):
                key = f"{given['OutputS3KeyPrefix']}/{command}/{instance.id}/awsrunShellScript/0.awsrunShellScript/{name}"
                assert self._s3 is not None
                self._s3.put_object(Bucket=bucket, Key=key, Body=text.encode())
                urls[number] = f"https://s3.{REGION}.amazonaws.com/{bucket}/{key}"
        invocation.code, invocation.out, invocation.err, invocation.urls = code, out, err, (urls[0], urls[1])
        invocation.details = invocation.status = "Success" if code == 0 else "Failed"

    def ListCommandInvocations(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's own name
        page, token = paged(list(self._command(given).values()), given, 50)
        listed = [{"InstanceId": one.instance, "Status": one.status, "StatusDetails": one.details} for one in page]
        return {"CommandInvocations": listed, **token}

    def GetCommandInvocation(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's own name
        one = self._command(given).get(given["InstanceId"])
        if one is None:
            raise Refusal("InvocationDoesNotExist")
        return {
            "CommandId": given["CommandId"],
            "InstanceId": one.instance,
            "ResponseCode": one.code,
            "Status": one.status,
            "StatusDetails": one.details,
            "StandardOutputContent": one.out[:MOST_OUTPUT],
            "StandardOutputUrl": one.urls[0],
            "StandardErrorContent": one.err[:MOST_OUTPUT],
            "StandardErrorUrl": one.urls[1],
        }

    def CancelCommand(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's own name
        for one in given.get("InstanceIds", ()):
            self._command(given)[one].details = self._command(given)[one].status = "Cancelled"
            self.cancelled.append(one)
        return {}

    def _command(self, given: dict[str, Any]) -> dict[str, Invocation]:
        if given["CommandId"] not in self._commands:
            raise Refusal("InvalidCommandId")
        return self._commands[given["CommandId"]]


def paged(found: list[Any], given: dict[str, Any], default: int) -> tuple[list[Any], dict[str, str]]:
    """Return a page and the token of the next."""
    start, size = int(given.get("NextToken", "0")), int(given.get("MaxResults", default))
    return found[start : start + size], {"NextToken": str(start + size)} if start + size < len(found) else {}


def ids(number: int) -> Iterator[str]:
    """Yield ids of instances."""
    return (f"i-{index:017x}" for index in range(1, number + 1))


def asleep(_: float) -> None:
    """Wait a moment where the product waits for long."""
    time.sleep(0.02)
