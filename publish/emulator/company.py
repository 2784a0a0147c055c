"""What a company has in AWS before anything is published there: made up in the emulator's account, so that a rehearsal needs none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.config.settings import Publish

Client = Any
"""Of boto3; its methods are made at run time."""


def settle(block: Publish, client: Callable[[str], Client]) -> tuple[Publish, list[str]]:
    """Make the network and everything else that a publish block names; return the block with its ids, and what to tell of it."""
    ec2, update, notes = client("ec2"), dict[str, Any](), list[str]()
    update["vpc_id"], update["subnet_id"] = network(ec2)
    if block.subnet_id:
        notes.append(f"a made-up private subnet takes the place of {block.subnet_id}")
    if block.security_group:
        group = ec2.create_security_group(GroupName=block.security_group, Description="-", VpcId=update["vpc_id"])
        update["security_group"] = group["GroupId"]
    if block.instance_profile:
        client("iam").create_instance_profile(InstanceProfileName=block.instance_profile)
    if block.log_bucket:
        place = {"LocationConstraint": ec2.meta.region_name}
        more = {} if ec2.meta.region_name == "us-east-1" else {"CreateBucketConfiguration": place}
        client("s3").create_bucket(Bucket=block.log_bucket, **more)
    if block.parent_image and not block.parent_image.startswith("arn:aws:imagebuilder"):
        update["parent_image"] = parent(block.parent_image, ec2, client)
        notes.append(f"a made-up image takes the place of {block.parent_image}")
    return block.model_copy(update=update), notes


def network(ec2: Client) -> tuple[str, str]:
    """Make a VPC with a private subnet that has a way out by a NAT gateway; return their ids."""
    vpc: str = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet: str = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    gateway = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address)["NatGateway"]["NatGatewayId"]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=gateway)
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    return vpc, subnet


def parent(named: str, ec2: Client, client: Callable[[str], Client]) -> str:
    """Make an AMI, and the SSM parameter that leads to it where one is named; return what a recipe may begin with."""
    made: str = ec2.register_image(Name="parent", RootDeviceName="/dev/xvda")["ImageId"]
    if not named.startswith("ssm:"):
        return made
    client("ssm").put_parameter(Name=named.removeprefix("ssm:"), Value=made, Type="String", Overwrite=True)
    return named
