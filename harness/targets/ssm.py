"""Instances behind AWS Systems Manager as targets: one as a Target, those of a tag by their ids, and who may ask them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from harness.errors import TargetError, UsageError
from harness.model import Environment
from harness.targets.base import Closing, CommandTimeout, Completed
from harness.targets.runcommand import DOCUMENT, Managed, RunCommand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

INSTANCE = re.compile(r"m?i-[0-9a-f]{8}(?:[0-9a-f]{9})?")
TAG = re.compile(r"tag:(?P<key>[^=]{1,128})=(?P<value>[^,]{0,256})")
LAST = "__harness_exit"


def parsed(uri: str) -> str | tuple[str, str]:
    """Return the instance id of a URI, or the tag's key and value. Raises UsageError for what is neither."""
    rest = uri.removeprefix("ssm://").rstrip("/")
    if INSTANCE.fullmatch(rest):
        return rest
    if found := TAG.fullmatch(rest):
        return found["key"], found["value"]
    raise UsageError(f"{uri} names no instance", hint="ssm://i-0123456789abcdef0, ssm://mi-… or ssm://tag:Role=web")


def refusal(instance: Managed | None, id_: str) -> TargetError | None:
    """Return why an instance cannot be asked; None when it can."""
    if instance is None:
        hint = "it needs the agent, the instance profile AmazonSSMManagedInstanceCore, and a way to ssm.REGION.amazonaws.com"
        return TargetError(f"{id_} is not managed by Systems Manager in this account and region", hint=hint)
    if instance.platform not in {"Linux", ""}:
        return TargetError(f"{id_} runs {instance.platform}", hint="only Linux can be audited")
    if not instance.online:
        return TargetError(f"the agent of {id_} does not report; last seen {instance.last_seen}", hint="is the instance running?")
    return None


class SsmTarget(Closing):
    """One instance as a target. Each command is a Run Command of its own and takes seconds; a batch takes no longer than one of them."""

    environment = Environment.HOST

    def __init__(self, fan: RunCommand, instance: Managed) -> None:
        """Take an instance that is managed and online."""
        self._fan, self._instance = fan, instance
        self.uri, self.name = f"ssm://{instance.id}", instance.id

    @property
    def facts(self) -> Mapping[str, str]:
        """How it is asked."""
        return facts(self._instance, self._fan.bucket)

    def run(
        self,
        command: str,
        *,
        stdin: bytes | None = None,
        timeout: float | None = None,
        on_line: Callable[[str, str], None] | None = None,
    ) -> Completed:
        """See Target; `stdin` is not possible here. Raises TargetError for every state but success."""
        if stdin is not None:
            raise UsageError("nothing can be sent to a command's input by Systems Manager")
        seconds = timeout or 3600.0
        quoted = "'" + command.replace("'", "'\\''") + "'"
        home = "cd / && HOME=/root LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        script = f"{home} /bin/bash -c {quoted} </dev/null; printf '\\n%s %s' {LAST} $?"
        outcome = next(iter(self._fan.run([self.name], script, seconds)))[1]
        if isinstance(outcome, TargetError):
            if "(ExecutionTimedOut)" in str(outcome):
                raise CommandTimeout(command, seconds, b"", b"")
            raise outcome
        out, found, code = outcome.stdout.rpartition(f"\n{LAST} ".encode())
        if not found:
            raise TargetError(f"{self.name}: the command ended without its exit code")
        for name, data in (("stdout", out), ("stderr", outcome.stderr)) if on_line else ():
            for line in data.decode("utf-8", "replace").splitlines():
                on_line(name, line)  # type: ignore[misc]  # the loop is empty without it
        return Completed(command, int(code), out, outcome.stderr, outcome.seconds)

    def put(self, data: bytes, path: str, *, mode: int = 0o600) -> None:  # noqa: ARG002 - the protocol's
        """Refuse: this way is for audits, which only read."""
        raise UsageError(f"{self.uri}: nothing is written by Systems Manager")

    def get(self, path: str) -> bytes:
        """Read a file. Raises FileNotFoundError or PermissionError of the target."""
        from harness.targets import files

        return files.get(self, path)

    def restart(self) -> None:
        """Refuse: this way is for audits."""
        raise UsageError(f"{self.uri}: nothing is restarted by Systems Manager")

    def close(self) -> None:
        """End nothing: there is no connection."""


def facts(instance: Managed, bucket: str | None) -> dict[str, str]:
    """Return what a reader of the evidence must know of how an instance was asked."""
    return {"instance": instance.id, "host": instance.name, "through": f"Systems Manager, {DOCUMENT}", "output_bucket": bucket or "none"}


def open_uri(uri: str) -> SsmTarget:
    """Open `ssm://i-…`. Raises UsageError for a tag, which may be many instances, and TargetError for an instance that cannot be asked."""
    which = parsed(uri)
    if not isinstance(which, str):
        raise UsageError(f"{uri} may be many instances", hint=f"harness audit {uri} asks them all")
    fan = RunCommand()
    found = fan.managed([which])
    if problem := refusal(found[0] if found else None, which):
        raise problem
    return SsmTarget(fan, found[0])


def policy(bucket: str | None, partition: str = "aws") -> dict[str, Any]:
    """Return the IAM policy of whoever audits: what this module calls and nothing else."""
    statements: list[dict[str, Any]] = [
        {
            "Sid": "AskInstances",
            "Effect": "Allow",
            "Action": "ssm:SendCommand",
            "Resource": [f"arn:{partition}:ssm:*::document/{DOCUMENT}"],
        },
        {
            "Sid": "OnlyTheseInstances",
            "Effect": "Allow",
            "Action": "ssm:SendCommand",
            "Resource": [f"arn:{partition}:ec2:*:*:instance/*", f"arn:{partition}:ssm:*:*:managed-instance/*"],
        },
        {
            "Sid": "ReadAnswers",
            "Effect": "Allow",
            "Action": ["ssm:CancelCommand", "ssm:DescribeInstanceInformation", "ssm:GetCommandInvocation", "ssm:ListCommandInvocations"],
            "Resource": "*",
        },
    ]
    if bucket:
        statements.append(
            {
                "Sid": "ReadLongAnswers",
                "Effect": "Allow",
                "Action": "s3:GetObject",
                "Resource": f"arn:{partition}:s3:::{bucket}/harness-audit/*",
            }
        )
    return {"Version": "2012-10-17", "Statement": statements}


def expanded(uris: Iterable[str], fan: RunCommand) -> dict[str, list[Managed]]:
    """Return the instances of each URI with a tag. Raises TargetError for a tag that no managed instance carries."""
    found: dict[str, list[Managed]] = {}
    for uri in uris:
        which = parsed(uri)
        if isinstance(which, str):
            continue
        found[uri] = fan.managed(tag=which)
        if not found[uri]:
            raise TargetError(f"{uri}: no managed instance carries the tag", hint="aws ssm describe-instance-information")
    return found
