"""Publishing that is killed, refused, throttled or raced, over real HTTP: it always comes to the same end."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import PublishError
from publish import session
from publish.emulator.faults import Fault
from tests.publish.stage import DOCUMENTS, NOW, READS, STEPS, document, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.publish.stage import Stage

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")
WHOLE: list[dict[str, Any]] = []


class Killed(BaseException):
    """The process ends here."""


def uninterrupted(stage: Stage) -> dict[str, Any]:
    """Return what an undisturbed publication leaves behind, found out once."""
    if not WHOLE:
        stage.publish()
        WHOLE.append(stage.state())
        stage.reset()
        stage.build()
    return WHOLE[0]


@pytest.mark.parametrize("step", range(1, STEPS + 1))
@pytest.mark.parametrize("answered", [True, False], ids=["after", "unanswered"])
def test_killed_after_any_mutating_call_it_goes_on_to_the_same_end(stage: Stage, step: int, *, answered: bool) -> None:
    whole = uninterrupted(stage)
    done = 0

    def count(_: str, operation: str) -> None:
        nonlocal done
        done += not operation.startswith(READS)
        if done == step and answered:
            raise Killed
        if done == step:
            done += 1
            raise refusal(500, "InternalFailure", operation)

    if answered:
        with pytest.raises(Killed):
            stage.publish(cloud=stage.cloud(after=count))
    else:
        stage.publish(cloud=stage.cloud(after=count))
    stage.publish()
    assert stage.state() == whole


def test_kill_count_is_the_number_of_mutating_calls(stage: Stage) -> None:
    stage.publish()
    assert len(stage.mutations()) == STEPS


@pytest.mark.parametrize("seed", range(3))
def test_a_third_of_all_calls_fails_and_it_still_converges(stage: Stage, seed: int) -> None:
    whole = uninterrupted(stage)
    dice = random.Random(seed)  # noqa: S311 - repeatable
    status = (429, "TooManyRequestsException"), (500, "InternalFailure"), (503, "ServiceUnavailable")

    def fail(operation: str) -> None:
        # Before the call and after it: 31 in 100 calls fail, half of them though they were carried out.
        if dice.random() < 0.17:
            number, code = dice.choice(status)
            raise refusal(number, code, operation)

    def before(_: str, operation: str, __: Mapping[str, Any]) -> None:
        fail(operation)

    stage.publish(cloud=stage.cloud(before, lambda _, operation: fail(operation)))
    assert stage.state() == whole


def test_image_builder_itself_throttles(stage: Stage) -> None:
    faults = stage.endpoint.emulator.faults
    faults.add(Fault("CallRateLimitExceeded", times=None, rate=0.3))
    stage.publish()
    faults.clear()
    assert stage.plan().empty


def test_lists_that_lag_behind_make_no_duplicates(stage: Stage) -> None:
    emulator = stage.endpoint.emulator
    emulator.list_lag = timedelta(minutes=2)
    try:
        stage.publish()
        assert stage.publish().empty
        stage.publish(stage.what((DOCUMENTS[0], document("cloudwatch_agent_config", "x", parameters={"agent_namespace": "ISMS"}))))
        assert stage.resource("image-pipeline")["imageRecipeArn"].endswith("/1.0.1")
    finally:
        emulator.list_lag = timedelta(0)


def test_new_instance_profile_is_waited_for(stage: Stage) -> None:
    fault = Fault("InvalidParameterValue", frozenset({"CreateInfrastructureConfiguration"}), times=3)
    fault.message = "The provided instance profile does not exist: it is new."
    stage.endpoint.emulator.faults.add(fault)
    stage.publish()
    assert stage.plan().empty


def test_two_publishers_one_says_so(stage: Stage) -> None:
    stage.publish()
    mine = stage.what(block={"instance_types": ("t3.large",)})
    plan = stage.plan(mine)
    stage.publish(stage.what(block={"instance_types": ("m5.large",)}))
    with pytest.raises(PublishError, match="somebody else"):
        session.apply(stage.cloud(), mine, plan, NOW, lambda _: None)
    assert stage.resource("infrastructure-configuration")["instanceTypes"] == ["m5.large"]


def test_version_taken_by_a_racing_publisher_becomes_the_next(stage: Stage) -> None:
    other = stage.what((DOCUMENTS[0], document("cloudwatch_agent_config", "theirs", parameters={"agent_namespace": "ISMS"})))
    plan = stage.plan()
    raced = False

    def race(_: str, operation: str, parameters: Mapping[str, Any]) -> None:
        nonlocal raced
        if operation == "create_component" and "cloudwatch" in parameters["name"] and not raced:
            raced = True
            theirs = stage.cloud()
            request = {**parameters, "data": other.documents[1].data.decode(), "clientToken": "theirs"}
            request["tags"] = {**parameters["tags"], "DocumentDigest": f"sha256:{other.documents[1].sha256}"}
            request["description"] = f"sha256:{other.documents[1].sha256}"
            theirs.call("imagebuilder", "create_component", **request)

    session.apply(stage.cloud(race), stage.what(), plan, NOW, lambda _: None)
    builds = sorted(arn.split("component/")[1] for arn in stage.state() if "cloudwatch-agent-config/" in arn)
    assert builds == [
        "isms-golden-ami-al2-cloudwatch-agent-config/1.0.0/1",
        "isms-golden-ami-al2-cloudwatch-agent-config/1.0.1/1",
    ]
