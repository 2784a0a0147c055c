"""From settings to requests: what AWS would refuse is refused before anything is made, and what is sent fits the service's model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import ConfigError
from publish import resources
from publish.emulator.shapes import violations
from publish.emulator.wire import operation
from publish.resources import Foundation, Place
from tests.publish.stage import KEY, PLACE, REGION, distribution, document, publication, publish_block

if TYPE_CHECKING:
    from botocore.model import Shape

FOUNDATION = Foundation("profile", "sg-0123456789abcdef0", "bucket", "arn:aws:iam::123456789012:role/lifecycle")
ARNS = [PLACE.arn("component", "isms-golden-ami-al2-a", "1.0.0") + "/1", PLACE.arn("component", "isms-golden-ami-al2-b", "1.0.0") + "/1"]


def request_shape(name: str) -> Shape:
    shape = operation(name).input_shape
    assert shape is not None
    return shape


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("CreateComponent", {**resources.component(publication(), publication().documents[1]), "semanticVersion": "1.0.0"}),
        ("CreateImageRecipe", {**resources.recipe(publication(), PLACE, ARNS), "semanticVersion": "1.0.x"}),
        ("CreateInfrastructureConfiguration", resources.infrastructure(publication(), PLACE, FOUNDATION)),
        ("CreateDistributionConfiguration", resources.distribution(publication(), PLACE)),
        (
            "CreateImagePipeline",
            resources.pipeline(
                publication(),
                {
                    "recipe": PLACE.arn("image-recipe", "a", "1.0.0"),
                    "infrastructure": PLACE.arn("infrastructure-configuration", "a"),
                    "distribution": PLACE.arn("distribution-configuration", "a"),
                },
                "ENABLED",
            ),
        ),
        ("CreateLifecyclePolicy", resources.lifecycle(publication(publish_block(keep_images=5)), FOUNDATION)),
    ],
)
def test_requests_fit_the_model_with_every_constraint(name: str, request_: dict[str, Any]) -> None:
    assert [str(one) for one in violations(request_shape(name), {**request_, "clientToken": "token"})] == []


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ({"project_name": "ISMS"}, "project_name"),
        ({"project_name": "a-name-that-is-far-too-long"}, "more than 63 characters"),
        ({"subnet_id": None}, "subnet_id"),
        ({"vpc_id": None}, "vpc_id"),
        ({"kms_key_id": KEY.replace(REGION, "us-east-1")}, "a key of us-east-1"),
        ({"kms_key_id": None}, "cannot be shared"),
        ({"instance_types": ("t3.medium", "t4g.medium")}, "two architectures"),
        ({"distributions": (distribution("us-east-1", kms_key_id=KEY),)}, "distribution to us-east-1"),
        ({"distributions": (distribution("us-east-1", share_with=("210987654321",)),)}, "cannot be shared"),
        ({"distributions": (distribution(REGION, ssm_parameter="/company/ami"),)}, "SSM parameter /company/ami"),
    ],
)
def test_what_aws_would_refuse_is_refused_first(block: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        resources.check(publication(publish_block(**block)), PLACE)
    assert caught.value.hint
    assert str(caught.value).startswith("harness.hcl:1:")


def test_a_name_that_fits_its_region_passes() -> None:
    resources.check(publication(publish_block(project_name="isms-golden-amis")), PLACE)
    with pytest.raises(ConfigError, match="more than 63"):
        resources.check(publication(publish_block(project_name="isms-golden-ami-2")), PLACE)
    resources.check(publication(publish_block(project_name="isms-golden-ami-2", log_bucket="logs")), PLACE)


def test_21_components_are_too_many_and_20_are_not() -> None:
    many = tuple(document(f"site_{number}") for number in range(20))
    with pytest.raises(ConfigError, match="21 components"):
        resources.check(publication(documents=many), PLACE)
    resources.check(publication(documents=many[:19]), PLACE)
    resources.check(publication(documents=many, os_version="2023"), PLACE)


def test_16000_characters_are_sent_and_one_more_goes_to_s3() -> None:
    assert not resources.by_uri(document("site", size=16_000))
    assert resources.by_uri(document("site", size=16_001))
    with pytest.raises(ConfigError, match="64001 bytes"):
        resources.check(publication(documents=(document("site", size=64_001),)), PLACE)


@pytest.mark.parametrize(
    ("types", "architecture"),
    [
        (("t3.medium",), "x86"),
        (("m5dn.large", "c5ad.large", "g4dn.xlarge"), "x86"),
        (("t4g.medium", "m6gd.large", "im4gn.large", "x2gd.large", "a1.large", "is4gen.large"), "arm64"),
    ],
)
def test_architecture_follows_the_instance_types(types: tuple[str, ...], architecture: str) -> None:
    made = publication(publish_block(instance_types=types), os_version="2023")
    assert resources.recipe(made, PLACE, ARNS)["parentImage"].endswith(f":aws:image/amazon-linux-2023-{architecture}/x.x.x")


def test_update_linux_comes_first_where_it_applies() -> None:
    two, new = (resources.recipe(publication(os_version=version), PLACE, ARNS)["components"] for version in ("2", "2023"))
    assert "update-linux" in two[0]["componentArn"]
    assert [one["componentArn"] for one in new] == ARNS


def test_sharing_by_kind_of_principal_and_only_when_it_is_time() -> None:
    unit = "arn:aws:organizations::123456789012:ou/o-abcdefghij/ou-abcd-12345678"
    company = "arn:aws:organizations::123456789012:organization/o-abcdefghij"
    item = distribution(REGION, share_with=("210987654321", company, unit), copy_to=("111122223333",), kms_key_id=KEY)
    block = publish_block(distributions=(item,))
    ami = resources.distribution(publication(block), PLACE)["distributions"][0]["amiDistributionConfiguration"]
    assert ami["launchPermission"] == {"userIds": ["210987654321"], "organizationArns": [company], "organizationalUnitArns": [unit]}
    assert ami["targetAccountIds"] == ["111122223333"]
    later = publish_block(distributions=(item,), share="promote")
    assert "launchPermission" not in resources.distribution(publication(later), PLACE)["distributions"][0]["amiDistributionConfiguration"]


def test_own_tags_of_a_user_overrule_none_of_the_missions() -> None:
    made = resources.infrastructure(publication(publish_block(tags={"Team": "platform", "Hardened": "no"})), PLACE, FOUNDATION)
    assert (made["tags"]["Team"], made["tags"]["Hardened"]) == ("platform", "true")


def test_keys_by_id_and_alias_become_arns() -> None:
    assert resources.key_arn("1234", PLACE) == f"arn:aws:kms:{REGION}:123456789012:key/1234"
    assert resources.key_arn("alias/images", Place("1", "cn-north-1", "aws-cn")) == "arn:aws-cn:kms:cn-north-1:1:alias/images"
    assert resources.key_arn(None, PLACE) == ""
