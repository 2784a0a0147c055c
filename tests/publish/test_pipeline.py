"""A pipeline at work, on the in-memory Image Builder over HTTP: states, what failed by name, logs, cancelling, promotion."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import BuildError, PublishError, UsageError
from publish.emulator.builder import Pretence
from publish.emulator.scheduler import Stepped
from publish.pipeline import Pipeline, stamp, table
from publish.promote import GRACE, Promotion, parameter
from tests.publish.stage import NOW, PLACE, REGION, changes
from tests.reports.test_json import RUN

if TYPE_CHECKING:
    from publish.pipeline import Image
    from tests.publish.stage import Stage

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")


def advance(stage: Stage) -> bool:
    scheduler = stage.endpoint.emulator.scheduler
    assert isinstance(scheduler, Stepped)
    return scheduler.advance()


@pytest.fixture
def pipeline(stage: Stage) -> Pipeline:
    """Publish, and let every pause bring each image one step further."""
    stage.endpoint.emulator.builder = Pretence()
    stage.publish()
    cloud = stage.cloud()
    cloud.sleep = lambda _: (advance(stage), None)[1]
    return Pipeline(cloud, PLACE, stage.what().stem)


def watch(pipeline: Pipeline, which: str | None = None) -> tuple[Image, list[str], list[str]]:
    said: list[str] = []
    lines: list[str] = []
    return pipeline.watch(which, said.append, lambda _, text: lines.append(text)), said, lines


def test_image_on_its_way_to_available(stage: Stage, pipeline: Pipeline) -> None:
    arn = pipeline.start()
    image, said, lines = watch(pipeline, arn)
    states = [text.rpartition(" ")[2] for text in said if text.startswith("1.0.0/1 ") and "ended" not in text]
    assert states == ["PENDING", "CREATING", "BUILDING", "TESTING", "DISTRIBUTING", "AVAILABLE"]
    assert any("BUILDING took" in text for text in said)
    assert any("isms-golden-ami-al2-cloudwatch-agent-config" in text for text in lines)
    assert len(lines) == len(pipeline_lines(pipeline, image))
    assert image.amis[0][0] == REGION
    described = stage.cloud().client("ec2").describe_images(ImageIds=[image.amis[0][1]])["Images"][0]
    tags = {one["Key"]: one["Value"] for one in described["Tags"]}
    assert tags["Compliance"] == "ISMS-K-21.1"
    assert re.match(r"\d{4}-\d{2}-\d{2}T", tags["BuildDate"])
    assert image.amis[0][1].startswith("ami-")


def pipeline_lines(pipeline: Pipeline, image: Image) -> list[str]:
    pipeline.seen = ""
    return pipeline.news(image)


def test_failure_names_component_phase_and_step(stage: Stage, pipeline: Pipeline) -> None:
    builder = stage.endpoint.emulator.builder
    assert isinstance(builder, Pretence)
    builder.failures["isms-golden-ami-al2-cloudwatch-agent-config"] = ("build", "one")
    with pytest.raises(BuildError, match=r"cloudwatch-agent-config/1\.0\.0/1: phase build, step one: it was told to fail") as caught:
        watch(pipeline, pipeline.start())
    assert "harness pipeline logs 1.0.0/1" in str(caught.value.hint)
    assert caught.value.exit_code == 1


def test_failure_is_told_also_by_a_service_that_gives_no_context(stage: Stage, pipeline: Pipeline) -> None:
    builder = stage.endpoint.emulator.builder
    assert isinstance(builder, Pretence)
    builder.failures["isms-golden-ami-al2-cloudwatch-agent-config"] = ("build", "one")
    arn = pipeline.start()
    while advance(stage):
        pass
    stage.endpoint.emulator.region(REGION).resources[arn].body["state"].pop("failureContext")
    message, _ = pipeline.failure(pipeline.image(arn))
    assert "ApplyBuildComponents" in message
    assert "step one" in message


def test_cancelled(pipeline: Pipeline, stage: Stage) -> None:
    pipeline.start()
    advance(stage)
    assert pipeline.cancel(None).status == "CANCELLED"
    with pytest.raises(UsageError, match="CANCELLED already"):
        pipeline.cancel("1.0.0/1")
    with pytest.raises(BuildError, match="was cancelled"):
        watch(pipeline)


def test_status_for_people(pipeline: Pipeline) -> None:
    watch(pipeline, pipeline.start())
    pipeline.start()
    text = table(pipeline.read(), pipeline.images())
    assert "cron(0 2 ? * sun *)  Asia/Seoul" in text
    lines = text.splitlines()[2:]
    assert [line.split()[:2] for line in lines] == [["1.0.0/2", "PENDING"], ["1.0.0/1", "AVAILABLE"]]
    assert "ami-" in lines[1]


def test_images_by_name(pipeline: Pipeline) -> None:
    with pytest.raises(UsageError, match="no image yet"):
        pipeline.image()
    arn = pipeline.start()
    assert pipeline.image("1.0.0/1").arn == pipeline.image("1.0.0").arn == pipeline.image().arn == arn
    with pytest.raises(UsageError, match=r"no image 9\.9\.9"):
        pipeline.image("9.9.9")
    with pytest.raises(UsageError, match="there is no image"):
        pipeline.image(arn.replace("/1.0.0/1", "/1.0.0/7"))


def test_pipeline_that_was_never_published(stage: Stage) -> None:
    for ask in (Pipeline.start, Pipeline.images):
        with pytest.raises(UsageError, match="there is no pipeline") as caught:
            ask(Pipeline(stage.cloud(), PLACE, "isms-golden-ami-al2"))
        assert "harness publish" in str(caught.value.hint)


def test_dates_of_any_kind() -> None:
    assert stamp("2026-09-03T05:44:21.121Z") == "2026-09-03 05:44"
    assert stamp("yesterday") == "yesterday"


class Ec2:
    """moto's EC2 with dates of its images, and with deprecation, which moto does not know."""

    def __init__(self, real: Any, dates: dict[str, str]) -> None:  # noqa: ANN401 - a client of boto3
        self.real, self.dates, self.deprecated = real, dates, dict[str, datetime]()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the client has
        return getattr(self.real, name)

    def describe_images(self, **which: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3
        found: list[dict[str, Any]] = self.real.describe_images(**which)["Images"]
        for one in found:
            one["CreationDate"] = self.dates.get(one["ImageId"], one["CreationDate"])
            if one["ImageId"] in self.deprecated:
                one["DeprecationTime"] = self.deprecated[one["ImageId"]].isoformat()
        return {"Images": found}

    def enable_image_deprecation(self, *, ImageId: str, DeprecateAt: datetime) -> dict[str, Any]:  # noqa: N803 - as boto3
        self.deprecated[ImageId] = DeprecateAt
        return {}


def promotion(stage: Stage, image: Image, ec2: Ec2, reason: str = "trial") -> Promotion:
    cloud = stage.cloud()
    cloud.clients = {**cloud.clients, ("ec2", REGION): ec2}
    return Promotion(cloud, stage.what(block={"share": "promote"}), PLACE, image, NOW, reason)


def test_promotion_shares_points_and_deprecates_once(stage: Stage, pipeline: Pipeline) -> None:
    stage.publish(stage.what(block={"share": "promote"}))
    old, _, _ = watch(pipeline, pipeline.start())
    new, _, _ = watch(pipeline, pipeline.start())
    before, ami = old.amis[0][1], new.amis[0][1]
    ec2 = Ec2(stage.cloud().client("ec2"), {before: "2026-11-15T17:40:00.000Z", ami: "2026-11-22T17:40:00.000Z"})
    asked = promotion(stage, new, ec2)
    planned = asked.carry_out(lambda _: None, apply=False)
    assert changes(planned) == {"update": ["sharing", "tags"], "create": ["parameter"], "retire": ["AMI"]}
    assert ec2.deprecated == {}
    asked.carry_out(lambda _: None, apply=True)
    assert ec2.deprecated == {before: NOW + GRACE}
    assert asked.carry_out(lambda _: None, apply=True).empty
    permission = ec2.describe_image_attribute(ImageId=ami, Attribute="launchPermission")["LaunchPermissions"]
    assert [one["UserId"] for one in permission] == ["210987654321"]
    value = stage.cloud().client("ssm").get_parameter(Name=parameter(asked.publication))["Parameter"]["Value"]
    assert value == ami
    tags = {one["Key"]: one["Value"] for one in ec2.describe_images(ImageIds=[ami])["Images"][0]["Tags"]}
    assert (tags["Promoted"], tags["PromotedWithoutAudit"], tags["BuildDate"]) == ("2026-11-24", "trial", "2026-11-22")


def test_promotion_wants_a_clean_audit_of_this_very_image(stage: Stage, pipeline: Pipeline) -> None:
    image, _, _ = watch(pipeline, pipeline.start())
    ec2 = Ec2(stage.cloud().client("ec2"), {})
    asked = promotion(stage, image, ec2, reason="")
    with pytest.raises(UsageError, match="no audit"):
        asked.check(None)
    foreign = replace(RUN, target={**RUN.target, "image_id": "ami-0123456789abcdef0"}, results=RUN.results[:1])
    with pytest.raises(PublishError, match="its AMI is ami-0123456789abcdef0"):
        asked.check(foreign)
    mine = {**RUN.target, "image_id": image.amis[0][1]}
    with pytest.raises(PublishError, match="has findings"):
        asked.check(replace(RUN, target=mine))
    asked.check(replace(RUN, target=mine, results=RUN.results[:1]))
    promotion(stage, image, ec2, reason="the auditor waits").check(None)


def test_only_what_is_available_is_promoted(stage: Stage, pipeline: Pipeline) -> None:
    pipeline.start()
    with pytest.raises(PublishError, match="is PENDING"):
        promotion(stage, pipeline.image(), Ec2(None, {})).check(None)
