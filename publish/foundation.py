"""The foundation's stack: what it should be, what it is, and the change set between the two."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from harness.errors import PublishError, UnreachableError
from publish import cfn, resources, tags
from publish.aws import Refused
from publish.plan import LATER, Action, Change, Field
from publish.resources import Foundation, Publication

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from publish.aws import Cloud
    from publish.resources import Place

Json = dict[str, Any]

TEMPLATE: Final = Path(__file__).with_name("foundation.cfn.yaml")
CAPABILITIES: Final = ("CAPABILITY_NAMED_IAM",)
POLL_SECONDS, POLLS = 5.0, 240
"""Twenty minutes; a foundation takes two."""
UNMADE: Final = frozenset({"REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_COMPLETE"})
"""A stack in these states has no resources that count."""
NOTHING: Final = ("didn't contain changes", "No updates are to be performed")
KEPT_GROUPS: Final = {"KeepSystemLogs": "SystemLogs", "KeepSecurityLogs": "SecurityLogs", "KeepAuthLogs": "AuthLogs"}


@cache
def template() -> str:
    """Return the template's text."""
    return TEMPLATE.read_text("utf-8")


def digest(text: str) -> str:
    """Return what tells one template from another, short enough for a plan."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def template_fields(before: str, after: str) -> tuple[Field, ...]:
    """Return what differs between two templates, as deep as they are alike; nothing where the old one cannot be read."""
    try:
        old: object = cfn.load(before)
    except (yaml.YAMLError, TypeError):
        return ()
    return tuple(_deeper(old, cfn.load(after), "template")) if isinstance(old, dict) else ()


def _deeper(old: object, new: object, path: str) -> Iterator[Field]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            yield from _deeper(old.get(name), new.get(name), f"{path}.{name}")
    elif old != new:
        yield Field(path, old, new)


def stack_name(publication: Publication) -> str:
    """Return the name of the stack: one per project, shared by all of its pipelines."""
    return f"{publication.publish.project_name}-foundation"


@dataclass(slots=True)
class Stack:
    """The stack of a project in AWS."""

    cloud: Cloud
    publication: Publication
    place: Place
    found: Json | None = None

    def read(self) -> None:
        """Ask what is there, waiting while somebody's change is under way. Raises PublishError when that takes too long."""
        for _ in range(POLLS):
            answer = self.cloud.find("cloudformation", "describe_stacks", StackName=stack_name(self.publication))
            self.found = answer["Stacks"][0] if answer and answer["Stacks"] else None
            if not self.status.endswith("_IN_PROGRESS") or self.status == "REVIEW_IN_PROGRESS":
                return
            self.cloud.sleep(POLL_SECONDS)
        raise PublishError(f"the stack {stack_name(self.publication)} stays {self.status}", hint="look at its events in CloudFormation")

    @property
    def status(self) -> str:
        """What CloudFormation says; empty for no stack."""
        return str(self.found["StackStatus"]) if self.found else ""

    @property
    def made(self) -> bool:
        """Whether there is a stack with resources."""
        return self.found is not None and self.status not in UNMADE

    @property
    def parameters(self) -> dict[str, str]:
        """The stack's parameters."""
        given = self.found.get("Parameters", []) if self.found and self.made else []
        return {one["ParameterKey"]: one["ParameterValue"] for one in given}

    @property
    def tags(self) -> dict[str, str]:
        """The stack's tags."""
        return {one["Key"]: one["Value"] for one in self.found.get("Tags", [])} if self.found else {}

    def foundation(self) -> Foundation:
        """Return what the others stand on; names that are not known yet say so."""
        publish, given = self.publication.publish, self.parameters
        physical: dict[str, str] = {}
        if self.made:
            name = stack_name(self.publication)
            for one in self.cloud.pages("cloudformation", "list_stack_resources", "StackResourceSummaries", StackName=name):
                physical[one["LogicalResourceId"]] = one.get("PhysicalResourceId", "")
        return Foundation(
            instance_profile=physical.get("BuildProfile") or publish.instance_profile or LATER,
            security_group=physical.get("BuildGroup") or publish.security_group or LATER,
            log_bucket=given.get("LogBucket") or publish.log_bucket or resources.bucket(self.publication, self.place),
            lifecycle_role=self._role_arn(physical.get("LifecycleRole")),
        )

    def _role_arn(self, name: str | None) -> str:
        return f"arn:{self.place.partition}:iam::{self.place.account}:role/{name}" if name else LATER

    def _template_there(self) -> str:
        answer = self.cloud.call("cloudformation", "get_template", StackName=stack_name(self.publication))
        body = answer["TemplateBody"]
        return body if isinstance(body, str) else ""

    def wanted_parameters(self) -> dict[str, str]:
        """Return the parameters that the configuration asks for; what an earlier stack left behind is taken over."""
        publish, values = self.publication.publish, self.publication.values
        wanted = {
            "ProjectName": publish.project_name,
            "VpcId": publish.vpc_id or "",
            "KmsKeyArn": resources.key_arn(publish.kms_key_id, self.place),
            "LogKmsKeyArn": resources.key_arn(publish.log_kms_key_id, self.place),
            "LogGroupPrefix": values.get("agent_log_group_prefix", "ISMS-GoldenAMI"),
            "LogRetentionDays": values.get("agent_retention_days", "400"),
            "MetricNamespace": values.get("agent_namespace", "ISMS/GoldenAMI"),
            "InstanceProfile": publish.instance_profile or "",
            "SecurityGroup": publish.security_group or "",
            "WithDashboard": "true" if publish.dashboard else "false",
            "WithLifecycleRole": "true" if publish.keep_images is not None else "false",
        }
        if self.made:
            # What was there before the stack, or was made by it, stays so.
            names = ("KeepBuildLogs", *KEPT_GROUPS)
            same = self.parameters.get("LogGroupPrefix") == wanted["LogGroupPrefix"]
            groups = {name: self.parameters.get(name, "false") for name in names} if same else self._groups_there(wanted["LogGroupPrefix"])
            return {**wanted, **groups, "LogBucket": publish.log_bucket or self._adopted_bucket()}
        return {**wanted, **self._groups_there(wanted["LogGroupPrefix"]), "LogBucket": publish.log_bucket or self._bucket_there()}

    def _adopted_bucket(self) -> str:
        own = resources.bucket(self.publication, self.place)
        return own if self.parameters.get("LogBucket") == own else ""

    def _groups_there(self, prefix: str) -> dict[str, str]:
        build = resources.log_group(self.publication)
        there = {
            str(one["logGroupName"])
            for start in (prefix, build)
            for one in self.cloud.pages("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=start)
        }
        kept = {name: f"{prefix}-{group}" in there for name, group in KEPT_GROUPS.items()} | {"KeepBuildLogs": build in there}
        return {name: "true" if yes else "false" for name, yes in kept.items()}

    def _bucket_there(self) -> str:
        name = resources.bucket(self.publication, self.place)
        return name if self.has_bucket(name) else ""

    def has_bucket(self, name: str) -> bool:
        """Tell whether the account has a bucket. Raises PublishError when another account has it."""
        try:
            return self.cloud.find("s3", "head_bucket", Bucket=name, ExpectedBucketOwner=self.place.account) is not None
        except Refused as refused:
            if refused.denied:
                raise PublishError(
                    f"the bucket {name} belongs to somebody else, or is closed to you",
                    hint="name a bucket of this account with log_bucket, or choose another project_name",
                ) from None
            raise

    def change(self, parameters: Mapping[str, str]) -> Change:
        """Return what has to happen to the stack."""
        wanted_tags, name = self.wanted_tags(), stack_name(self.publication)
        there = cfn.resources(cfn.load(template()), parameters)
        if not self.made:
            fields = tuple(Field(logical, None, kind) for logical, kind in there.items())
            return Change(Action.CREATE, "foundation", name, fields=fields, note=f"{len(there)} resources")
        if not tags.is_ours(self.tags, self.publication.publish.project_name):
            raise taken("stack", name)
        before = self.parameters
        fields = tuple(Field(key, before.get(key), value) for key, value in parameters.items() if before.get(key) != value)
        there_now = self._template_there()
        if there_now.strip() != template().strip():
            fields += (Field("template", digest(there_now), digest(template())), *template_fields(there_now, template()))
        changed = tags.missing(wanted_tags, self.tags, tags.SHARED)
        fields += tuple(Field(f"tags.{key}", self.tags.get(key), value) for key, value in changed.items())
        action = Action.UPDATE if fields else Action.KEEP
        arn = str(self.found["StackId"]) if self.found else ""
        return Change(action, "foundation", name, arn, fields, f"{len(there)} resources")

    def wanted_tags(self) -> dict[str, str]:
        """Return the tags of the stack, which hands them on to its resources."""
        return tags.of_project(self.publication)

    def deploy(self, change: Change, parameters: Mapping[str, str]) -> None:
        """Carry out a change by a change set. Raises PublishError when CloudFormation fails; it rolls back by itself."""
        name = stack_name(self.publication)
        if self.status in UNMADE - {"REVIEW_IN_PROGRESS", "DELETE_COMPLETE"}:
            # What a creation left behind that failed has no resources; CloudFormation wants it removed first.
            self.cloud.call("cloudformation", "delete_stack", StackName=name)
            self._settle()
        kind = "CREATE" if change.action is Action.CREATE else "UPDATE"
        wanted_tags = self.wanted_tags()
        asked = {"parameters": dict(parameters), "tags": wanted_tags, "template": digest(template()), "kind": kind}
        request: Json = {
            "StackName": name,
            "ChangeSetName": f"harness-{resources.digest_of(asked)[:32]}",
            "ChangeSetType": kind,
            "TemplateBody": template(),
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            "Tags": [{"Key": key, "Value": value} for key, value in wanted_tags.items()],
            "Capabilities": list(CAPABILITIES),
        }
        if self._change_set(request):
            try:
                self.cloud.call("cloudformation", "execute_change_set", StackName=name, ChangeSetName=request["ChangeSetName"])
            except Refused as refused:
                # An answer that was lost: it runs already.
                if refused.code != "InvalidChangeSetStatus" and not refused.absent:
                    raise
        self._settle()
        if not self.made or "ROLLBACK" in self.status or self.status.endswith("_FAILED"):
            raise PublishError(f"the stack {name} ended {self.status or 'gone'}: {self._reason()}", hint="mend that, and run again")

    def _change_set(self, request: Json) -> bool:
        """Make the change set, or find the one that a broken run made; tell whether it holds anything."""
        where = {"StackName": request["StackName"], "ChangeSetName": request["ChangeSetName"]}
        for _ in range(POLLS):
            found = self.cloud.find("cloudformation", "describe_change_set", **where)
            status, reason = (str(found["Status"]), str(found.get("StatusReason", ""))) if found else ("", "")
            if status == "CREATE_COMPLETE" and found and found.get("ExecutionStatus", "AVAILABLE") == "AVAILABLE":
                return True
            if status == "FAILED" and any(word in reason for word in NOTHING):
                self.cloud.call("cloudformation", "delete_change_set", **where)
                return False
            if status in {"FAILED", "CREATE_COMPLETE", "DELETE_FAILED"}:
                self.cloud.call("cloudformation", "delete_change_set", **where)
                if status == "FAILED":
                    raise PublishError(f"the change set of {request['StackName']} failed: {reason}", hint="mend that, and run again")
            if not found or status in {"CREATE_COMPLETE", "DELETE_COMPLETE"}:
                if not self._creates(request):
                    return False
                continue
            self.cloud.sleep(POLL_SECONDS)
        raise UnreachableError(f"the change set of {request['StackName']} is never ready", hint="run again later")

    def _creates(self, request: Json) -> bool:
        """Ask for the change set; tell whether there may be one now. When the answer is lost the caller looks, instead of asking twice."""
        try:
            self.cloud.call("cloudformation", "create_change_set", attempts=1, **request)
        except Refused as refused:
            if any(word in refused.message for word in NOTHING):
                return False
            if not refused.taken and not refused.passing:
                raise
            self.cloud.sleep(POLL_SECONDS)
        return True

    def _settle(self) -> None:
        self.read()
        if self.status == "REVIEW_IN_PROGRESS":
            self.cloud.sleep(POLL_SECONDS)
            self.read()

    def _reason(self) -> str:
        events = self.cloud.call("cloudformation", "describe_stack_events", StackName=stack_name(self.publication))["StackEvents"]
        failed = [one for one in events if str(one["ResourceStatus"]).endswith("_FAILED") and one.get("ResourceStatusReason")]
        return f"{failed[-1]['LogicalResourceId']}: {failed[-1]['ResourceStatusReason']}" if failed else "CloudFormation gives no reason"


def taken(kind: str, name: str) -> PublishError:
    """Say that a name belongs to somebody else's resource."""
    return PublishError(f"there is a {kind} {name} that harness did not make", hint="choose another project_name, or remove it")
