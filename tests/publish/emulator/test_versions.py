"""Versions: what is never changed, what takes the next number, and which one an `x` stands for."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publish.emulator import versions
from publish.emulator.errors import ServiceError
from tests.publish.emulator.account import OWN, Account, document


def test_the_same_content_again_is_told_with_its_arn(account: Account) -> None:
    arn = account.component()
    with account.refuses("ResourceAlreadyExists", arn) as told:
        account.component(description="another description")
    assert told.status == 400


def test_other_content_is_the_next_build(account: Account) -> None:
    first = account.component()
    second = account.component(data=document(command="false"))
    assert (first, second) == (f"{OWN}:component/hardening/1.0.0/1", f"{OWN}:component/hardening/1.0.0/2")
    assert "false" not in account.call("GetComponent", componentBuildVersionArn=first)["component"]["data"]
    newest = account.call("GetComponent", componentBuildVersionArn=f"{OWN}:component/hardening/1.0.0")
    assert newest["component"]["arn"] == second


def test_a_build_number_is_not_given_twice(account: Account) -> None:
    account.component()
    second = account.component(data=document(command="false"))
    account.call("DeleteComponent", componentBuildVersionArn=f"{OWN}:component/hardening/1.0.0/1")
    assert account.component() == second.removesuffix("2") + "3"


def test_names_that_look_alike_in_an_arn_are_one(account: Account) -> None:
    account.component("My hardening")
    with account.refuses("ResourceAlreadyExists", "component/my-hardening/1.0.0/1"):
        account.component("my_hardening", data=document(name="My hardening"))


def test_what_an_x_stands_for(account: Account) -> None:
    for version in ("1.6.8", "2.2.4", "1.7.8", "1.10.0"):
        account.component(version=version)
    for wanted, found in {"x.x.x": "2.2.4", "1.x.x": "1.10.0", "1.6.x": "1.6.8", "1.7.8": "1.7.8"}.items():
        shown = account.call("GetComponent", componentBuildVersionArn=f"{OWN}:component/hardening/{wanted}")
        assert shown["component"]["version"] == found
    with account.refuses("ResourceNotFound"):
        account.call("GetComponent", componentBuildVersionArn=f"{OWN}:component/hardening/3.x.x")


def test_references_to_what_comes_next(account: Account) -> None:
    answer = account.call("CreateComponent", name="one", semanticVersion="1.2.3", platform="Linux", data=document())
    assert answer["latestVersionReferences"] == {
        "latestVersionArn": f"{OWN}:component/one/x.x.x",
        "latestMajorVersionArn": f"{OWN}:component/one/1.x.x",
        "latestMinorVersionArn": f"{OWN}:component/one/1.2.x",
        "latestPatchVersionArn": f"{OWN}:component/one/1.2.3",
    }


def test_a_recipe_is_immutable(account: Account) -> None:
    arn = account.recipe()
    for more in ({}, {"description": "other"}, {"parentImage": "ami-12345678"}):
        with account.refuses("ResourceAlreadyExists", arn):
            account.recipe(**more)


def test_an_x_takes_the_next_patch(account: Account) -> None:
    assert [account.recipe(version="1.0.x") for _ in range(2)] == [f"{OWN}:image-recipe/golden/1.0.{patch}" for patch in (0, 1)]
    account.recipe(version="1.0.7")
    assert account.recipe(version="1.0.x").endswith("/1.0.8")
    assert account.recipe(version="1.1.x").endswith("/1.1.0")


@pytest.mark.parametrize("version", ["1.x.x", "x.x.x"])
def test_only_the_patch_is_assigned(account: Account, version: str) -> None:
    with account.refuses("InvalidVersionNumber"):
        account.recipe(version=version)


def test_a_number_to_the_right_of_an_x(account: Account) -> None:
    with account.refuses("InvalidParameterValue", "semanticVersion"):
        account.recipe(version="1.x.0")


def test_the_greatest_number(account: Account) -> None:
    greatest = f"1.0.{versions.MAX_NODE}"
    account.component(version=greatest)
    account.recipe(version=greatest)
    for refused in (f"1.0.{versions.MAX_NODE + 1}", f"{2**40}.0.0"):
        with account.refuses("InvalidVersionNumber"):
            account.component(version=refused)
        with account.refuses("InvalidVersionNumber"):
            account.recipe(version=refused)
    with account.refuses("InvalidVersionNumber"):
        account.recipe(version="1.0.x")


def test_configurations_and_pipelines_exist_once(account: Account) -> None:
    recipe, infrastructure = account.recipe(), account.infrastructure()
    account.distribution()
    account.pipeline(recipe, infrastructureConfigurationArn=infrastructure)
    with account.refuses("ResourceAlreadyExists", "'InfrastructureConfiguration'", infrastructure):
        account.infrastructure()
    with account.refuses("ResourceAlreadyExists", "'DistributionConfiguration'"):
        account.distribution()
    with account.refuses("ResourceAlreadyExists", "'ImagePipeline'"):
        account.pipeline(recipe, infrastructureConfigurationArn=infrastructure)


NODE = st.integers(0, 30)
VERSION = st.tuples(NODE, NODE, NODE)


@given(st.lists(VERSION, max_size=8))
def test_assigned_numbers_rise_and_are_free(taken: list[versions.Version]) -> None:
    made: list[versions.Version] = []
    for _ in range(3):
        made.append(versions.assign("1.0.x", [*taken, *made]))
    assert not set(made) & set(taken)
    assert all(first < second for first, second in pairwise(made))


@given(VERSION, st.integers(0, 3))
def test_a_pattern_matches_what_it_was_made_of(version: versions.Version, wild: int) -> None:
    nodes = versions.spell(version).split(".")
    pattern = ".".join(nodes[: 3 - wild] + ["x"] * wild)
    versions.check_pattern(pattern, "p")
    assert versions.matches(pattern, version)
    assert versions.matches(pattern, (version[0] + 1, *version[1:])) == (wild == 3)


@given(st.sampled_from(["component", "image", "image-recipe", "workflow/build"]), VERSION, st.none() | st.integers(1, 9))
def test_an_arn_survives_reading(kind: str, version: versions.Version, build: int | None) -> None:
    arn = versions.Arn("eu-west-1", "123456789012", kind, "a-b", versions.spell(version), build)
    assert versions.Arn.parse(str(arn)) == arn


@pytest.mark.parametrize("text", ["", "arn:aws:s3:::bucket", f"{OWN}:component", f"{OWN}:component/one/1.0", f"{OWN}:component/One/1.0.0"])
def test_what_is_no_arn(text: str) -> None:
    with pytest.raises(ValueError, match="is no ARN of Image Builder"):
        versions.Arn.parse(text)


def test_a_used_up_pattern() -> None:
    with pytest.raises(ServiceError):
        versions.assign("1.0.x", [(1, 0, versions.MAX_NODE)])
