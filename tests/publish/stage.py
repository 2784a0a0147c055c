"""A small company in memory: a network, a configuration, two documents, and AWS over real HTTP on loopback."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from harness.components import Rendered
from harness.config.settings import Distribution, Publish, Schedule
from harness.errors import Location
from publish import session
from publish.aws import Cloud
from publish.emulator.aws import Services
from publish.resources import Place, Publication

if TYPE_CHECKING:
    from publish.emulator.server import Endpoint
    from publish.plan import Plan

REGION = "ap-northeast-2"
ACCOUNT = "123456789012"
PLACE = Place(ACCOUNT, REGION)
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
STEPS = 9
"""Mutating calls of a first publication: change set, its execution, a document, two components, recipe, two configurations, pipeline."""
READS = ("get_", "list_", "describe_", "head_")
Hook = Callable[[str, str, Mapping[str, Any]], None]


def document(name: str, text: str = "true", *, size: int = 0, parameters: Mapping[str, str] | None = None) -> Rendered:
    """Return a component document; `size` makes it that many characters long."""
    declared = "".join(f"  - {key}:\n      type: string\n      default: none\n" for key in parameters or {})
    head = f"name: {name}\nschemaVersion: '1.0'\n" + (f"parameters:\n{declared}" if declared else "")
    body = "phases:\n  - name: build\n    steps:\n      - name: one\n        action: ExecuteBash\n        inputs:\n          commands:\n"
    whole = f"{head}{body}            - '{text}'\n"
    whole += "#" * max(0, size - len(whole) - 1) + "\n" if size else ""
    return Rendered(name, whole.encode(), (), dict(parameters or {}))


DOCUMENTS = (document("isms_security_hardening", size=16_001), document("cloudwatch_agent_config", parameters={"agent_namespace": "ISMS"}))


def publish_block(**more: Any) -> Publish:  # noqa: ANN401 - as varied as the block
    """Return a publish block as the mission's example fills it."""
    given: dict[str, Any] = {
        "aws_region": REGION,
        "vpc_id": "vpc-0123456789abcdef0",
        "subnet_id": "subnet-0123456789abcdef0",
        "kms_key_id": KEY,
        "instance_types": ("t3.medium", "t3.large"),
        "allowed_principals": ("210987654321",),
        "schedule": Schedule(line=2, expression="cron(0 2 * * sun)", timezone="Asia/Seoul"),
    }
    return Publish.model_validate({"line": 1, "kind": "imagebuilder", **given, **more})


def publication(
    block: Publish | None = None,
    documents: tuple[Rendered, ...] = DOCUMENTS,
    **more: Any,  # noqa: ANN401 - as varied as Publication
) -> Publication:
    """Return what is to be published."""
    values = {"agent_log_group_prefix": "ISMS-GoldenAMI", "agent_retention_days": "400", "agent_namespace": "ISMS/GoldenAMI"}
    made = Publication(
        block or publish_block(),
        Location(Path("harness.hcl"), 1),
        "al2",
        "2",
        values,
        documents,
        date(2026, 11, 24),
        evidence=f"sha256:{'e' * 64}",
    )
    return replace(made, **more)


def distribution(region: str, **more: Any) -> Distribution:  # noqa: ANN401 - as varied as the block
    """Return a distribution block."""
    return Distribution.model_validate({"line": 3, "region": region, **more})


@dataclass
class Stage:
    """AWS with a private subnet in it, and every call that was made."""

    endpoint: Endpoint
    vpc: str = ""
    subnet: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    clients: dict[tuple[str, str], Any] = field(default_factory=dict)
    """Shared by all publishers of a test: making them is slow."""

    def build(self) -> None:
        """Make the network that a company has."""
        ec2 = self.cloud().client("ec2")
        self.vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnet = ec2.create_subnet(VpcId=self.vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
        address = ec2.allocate_address(Domain="vpc")["AllocationId"]
        gateway = ec2.create_nat_gateway(SubnetId=self.subnet, AllocationId=address)["NatGateway"]["NatGatewayId"]
        table = ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=gateway)
        ec2.associate_route_table(RouteTableId=table, SubnetId=self.subnet)

    def reset(self) -> None:
        """Forget everything, in the emulator and in moto."""
        from urllib.request import Request, urlopen

        with urlopen(Request(f"{self.endpoint.url}/_emulator/reset", method="POST"), timeout=30):  # noqa: S310 - loopback
            self.calls.clear()
        world = self.endpoint.emulator.world(REGION)
        if isinstance(world, Services):
            # It remembers the log groups that it made, and moto has just forgotten them.
            world.groups.clear()

    def cloud(self, before: Hook | None = None, after: Callable[[str, str], None] | None = None) -> Cloud:
        """Return AWS as a publisher sees it who does not wait."""

        def note(service: str, operation: str, parameters: Mapping[str, Any]) -> None:
            self.calls.append((service, operation))
            if before:
                before(service, operation, parameters)

        return Cloud(REGION, self.endpoint.url, sleep=lambda _: None, before=note, after=after, clients=self.clients)

    def what(
        self,
        documents: tuple[Rendered, ...] = DOCUMENTS,
        block: Mapping[str, Any] | None = None,
        **more: Any,  # noqa: ANN401 - as varied as Publication
    ) -> Publication:
        """Return what is to be published into this network."""
        return publication(publish_block(**{"vpc_id": self.vpc, "subnet_id": self.subnet, **(block or {})}), documents, **more)

    def publish(self, what: Publication | None = None, cloud: Cloud | None = None) -> Plan:
        """Publish, and return the plan that was carried out."""
        cloud, what = cloud or self.cloud(), what or self.what()
        plan = session.plan(cloud, what, NOW)
        if not plan.empty:
            session.apply(cloud, what, plan, NOW, lambda _: None)
        return plan

    def plan(self, what: Publication | None = None) -> Plan:
        """Return what publishing would do."""
        return session.plan(self.cloud(), what or self.what(), NOW)

    def mutations(self) -> list[tuple[str, str]]:
        """Return the calls that may have changed something, and forget all calls."""
        made = [call for call in self.calls if not call[1].startswith(READS)]
        self.calls.clear()
        return made

    def state(self) -> dict[str, Any]:
        """Return everything of Image Builder that is ours, without dates and without what the network is called by chance."""
        region = self.endpoint.emulator.region(REGION)
        found = {arn: one.body for arn, one in region.resources.items() if f":{ACCOUNT}:" in arn}
        text = json.dumps(found, sort_keys=True, default=str)
        text = re.sub(r'"date(Created|Updated|NextRun)": "[^"]*"', '"date": ""', text)
        read: dict[str, Any] = json.loads(re.sub(r"\b(sg|subnet|vpc)-[0-9a-f]+", r"\1", text))
        stacks = self.cloud().client("cloudformation").describe_stacks()["Stacks"]
        read["stacks"] = sorted(f"{stack['StackName']} {stack['StackStatus']}" for stack in stacks)
        return read

    def resource(self, kind: str) -> dict[str, Any]:
        """Return the only resource of ours of a kind."""
        found = [body for arn, body in self.state().items() if f":{ACCOUNT}:{kind}/" in arn]
        assert len(found) == 1
        only: dict[str, Any] = found[0]
        return only


def changes(plan: Plan) -> dict[str, list[str]]:
    """Return the kinds per action."""
    made: dict[str, list[str]] = {}
    for change in plan.changes:
        made.setdefault(change.action.value, []).append(change.kind)
    return made


def refusal(status: int, code: str, operation: str, message: str = "") -> ClientError:
    """Return what boto3 raises when a service says no."""
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)
