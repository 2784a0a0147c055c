"""Whether a subnet is private and has the way out that a build needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from harness.errors import ConfigError
from publish.aws import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.errors import Location
    from publish.aws import Cloud

Json = dict[str, Any]

EVERYWHERE: Final = frozenset({"0.0.0.0/0", "::/0"})
NEEDED: Final = ("imagebuilder", "logs", "s3", "ssm", "ssmmessages", "ec2messages")
"""Endpoints that a build without any other way out takes (EC2 Image Builder user guide, VPC interface endpoints)."""
WAYS: Final = {
    "NatGatewayId": "NAT gateway",
    "TransitGatewayId": "transit gateway",
    "InstanceId": "NAT instance",
    "NetworkInterfaceId": "network interface",
    "VpcPeeringConnectionId": "peering",
    "CoreNetworkArn": "core network",
    "VpcEndpointId": "firewall endpoint",
}


@dataclass(frozen=True, slots=True)
class Way:
    """How instances of a subnet get out; `problem` is set where they do not, or where others get in."""

    told: str
    problem: str = ""
    hint: str = ""


def judge(subnet: Json, tables: Sequence[Json], endpoints: Sequence[Json]) -> Way:
    """Judge a subnet by the route tables of its VPC, and by the VPC's endpoints where no route leads out."""
    number = subnet["SubnetId"]
    routes = table_of(number, tables).get("Routes", [])
    out = [route for route in routes if EVERYWHERE & {route.get("DestinationCidrBlock"), route.get("DestinationIpv6CidrBlock")}]
    for route in out:
        if str(route.get("GatewayId", "")).startswith("igw-"):
            return Way(
                "",
                f"the subnet {number} is public: its default route leads to {route['GatewayId']}",
                "name a private subnet, whose default route leads to a NAT gateway",
            )
    for route in out:
        for key, name in WAYS.items():
            if route.get(key):
                if route.get("State") == "blackhole":
                    return Way("", f"the default route of {number} leads to {route[key]}, which is gone", "repair the route table")
                return Way(f"{number} is private, out by {name} {route[key]}")
        if str(route.get("GatewayId", "")).startswith("vgw-"):
            return Way(f"{number} is private, out by {route['GatewayId']}")
    there = {str(one["ServiceName"]).rpartition(".")[2] for one in endpoints if str(one.get("State", "")).lower() == "available"}
    if lacking := [name for name in NEEDED if name not in there]:
        return Way(
            "",
            f"the subnet {number} has no way out: no default route, and no endpoint for {', '.join(lacking)}",
            "add a NAT gateway, or the endpoints; without them a build ends after a time-out",
        )
    return Way(f"{number} is private, out by VPC endpoints only: packages must come from S3 or a mirror in the VPC")


def table_of(subnet: str, tables: Sequence[Json]) -> Json:
    """Return the route table that a subnet uses: its own, else the main one."""
    main: Json = {}
    for table in tables:
        for association in table.get("Associations", ()):
            if association.get("SubnetId") == subnet:
                return table
            if association.get("Main"):
                main = table
    return main


def check(cloud: Cloud, vpc: str | None, subnet: str, at: Location) -> str:
    """Return how builds in the subnet get out. Raises ConfigError where they cannot, or where it is not private."""
    try:
        found = cloud.call("ec2", "describe_subnets", SubnetIds=[subnet])["Subnets"]
    except Refused as refused:
        if refused.absent or refused.code.endswith((".Malformed", ".NotFound")) or refused.code == "InvalidParameterValue":
            found = []
        else:
            raise
    if not found:
        hint = "set subnet_id to one of `aws ec2 describe-subnets`; is aws_region right?"
        raise ConfigError(f"there is no subnet {subnet} in {cloud.region}", hint=hint, at=at)
    if vpc and found[0]["VpcId"] != vpc:
        raise ConfigError(
            f"the subnet {subnet} is in {found[0]['VpcId']}, not in vpc_id {vpc}", hint="set vpc_id to the subnet's own VPC", at=at
        )
    inside = [{"Name": "vpc-id", "Values": [found[0]["VpcId"]]}]
    tables = list(cloud.pages("ec2", "describe_route_tables", "RouteTables", Filters=inside))
    way = judge(found[0], tables, ())
    if way.problem and "no way out" in way.problem:
        way = judge(found[0], tables, list(cloud.pages("ec2", "describe_vpc_endpoints", "VpcEndpoints", Filters=inside)))
    if way.problem:
        raise ConfigError(way.problem, hint=way.hint, at=at)
    return way.told
