"""Which subnets a build may run in."""

from __future__ import annotations

from typing import Any

import pytest

from publish.network import NEEDED, judge, table_of

SUBNET = {"SubnetId": "subnet-1", "VpcId": "vpc-1"}


def table(*routes: dict[str, Any], subnet: str | None = "subnet-1") -> dict[str, Any]:
    return {"Associations": [{"SubnetId": subnet} if subnet else {"Main": True}], "Routes": list(routes)}


def out(**to: str) -> dict[str, str]:
    return {"DestinationCidrBlock": "0.0.0.0/0", "State": "active", **to}


LOCAL = {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local"}
ENDPOINTS = [{"ServiceName": f"com.amazonaws.ap-northeast-2.{name}", "State": "available"} for name in NEEDED]


@pytest.mark.parametrize(
    ("route", "told"),
    [
        (out(NatGatewayId="nat-1"), "NAT gateway nat-1"),
        (out(TransitGatewayId="tgw-1"), "transit gateway"),
        (out(NetworkInterfaceId="eni-1"), "network interface"),
        (out(VpcEndpointId="vpce-1"), "firewall"),
        (out(GatewayId="vgw-1"), "vgw-1"),
    ],
)
def test_private_with_a_way_out(route: dict[str, str], told: str) -> None:
    way = judge(SUBNET, [table(LOCAL, route)], [])
    assert not way.problem
    assert told in way.told


@pytest.mark.parametrize(
    ("routes", "problem"),
    [
        ([LOCAL, out(GatewayId="igw-1")], "is public"),
        ([LOCAL, {"DestinationIpv6CidrBlock": "::/0", "GatewayId": "igw-1"}], "is public"),
        ([LOCAL, out(NatGatewayId="nat-1", State="blackhole")], "which is gone"),
        ([LOCAL], "no way out"),
    ],
)
def test_problems(routes: list[dict[str, str]], problem: str) -> None:
    way = judge(SUBNET, [table(*routes)], [])
    assert problem in way.problem
    assert way.hint


def test_endpoints_are_a_way_out_when_all_are_there() -> None:
    assert "endpoints only" in judge(SUBNET, [table(LOCAL)], ENDPOINTS).told
    assert judge(SUBNET, [table(LOCAL)], ENDPOINTS[1:]).problem.endswith(NEEDED[0])
    pending = [{**ENDPOINTS[0], "State": "pending"}, *ENDPOINTS[1:]]
    assert NEEDED[0] in judge(SUBNET, [table(LOCAL)], pending).problem


def test_own_table_comes_before_the_main_one() -> None:
    main, own = table(out(GatewayId="igw-1"), subnet=None), table(out(NatGatewayId="nat-1"))
    assert table_of("subnet-1", [main, own]) is own
    assert table_of("subnet-2", [main, own]) is main
    assert table_of("subnet-2", [own]) == {}
