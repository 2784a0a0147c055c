"""A pipeline at work: start it, see how far an image came, follow its log, say what failed, stop it."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from harness.errors import BuildError, PublishError, UsageError
from publish.aws import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from publish.aws import Cloud
    from publish.resources import Place

Json = dict[str, Any]

FINAL: Final = frozenset({"AVAILABLE", "CANCELLED", "FAILED", "DEPRECATED", "DELETED", "DISABLED"})
POLL_SECONDS: Final = 15.0
SECOND: Final = 1000
"""Milliseconds, in which CloudWatch Logs counts."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image that a pipeline made, makes, or failed to make."""

    arn: str
    status: str
    created: str
    build_type: str = ""
    reason: str = ""
    amis: tuple[tuple[str, str], ...] = ()
    """Region and AMI id."""

    @property
    def version(self) -> str:
        """`1.0.0/1`: also the name of its log stream."""
        return "/".join(self.arn.split("/")[-2:])

    def as_data(self) -> Json:
        """Return it for programs."""
        return {
            "arn": self.arn,
            "version": self.version,
            "status": self.status,
            "created": self.created,
            "build_type": self.build_type,
            "reason": self.reason,
            "amis": dict(self.amis),
        }


@dataclass(slots=True)
class Pipeline:
    """The pipeline of one source."""

    cloud: Cloud
    place: Place
    stem: str
    clock: Callable[[], float] = time.monotonic
    seen: str = field(default="")
    """Token of the log that was shown so far."""
    passed: list[tuple[str, float]] = field(default_factory=list)
    """States of the image that is watched, each with the seconds that it took; the last one is not over."""

    @property
    def arn(self) -> str:
        """Its ARN."""
        return self.place.arn("image-pipeline", self.stem)

    def read(self) -> Json:
        """Return the pipeline. Raises UsageError when it was never published."""
        answer = self.cloud.find("imagebuilder", "get_image_pipeline", imagePipelineArn=self.arn)
        if answer is None:
            raise UsageError(f"there is no pipeline {self.stem} in {self.place.region}", hint="`harness publish` makes it")
        found: Json = answer["imagePipeline"]
        return found

    def start(self) -> str:
        """Start an image and return its ARN. Raises PublishError where the pipeline may not run now."""
        self.read()
        request: Json = {"imagePipelineArn": self.arn, "clientToken": secrets.token_hex(16)}
        try:
            return str(self.cloud.call("imagebuilder", "start_image_pipeline_execution", **request)["imageBuildVersionArn"])
        except Refused as refused:
            if refused.code in {"ResourceInUseException", "ResourceDependencyException"}:
                raise PublishError(refused.message, hint="`harness pipeline status` shows what runs") from None
            raise

    def images(self) -> list[Image]:
        """Return the images of the pipeline, the newest first."""
        self.read()
        found = self.cloud.pages("imagebuilder", "list_image_pipeline_images", "imageSummaryList", imagePipelineArn=self.arn)
        return sorted((image_of(one) for one in found), key=lambda image: (image.created, image.version), reverse=True)

    def image(self, which: str | None = None) -> Image:
        """Return an image by ARN, by `1.0.0/1` or by `1.0.0`; None is the newest. Raises UsageError."""
        if which and which.startswith("arn:"):
            answer = self.cloud.find("imagebuilder", "get_image", imageBuildVersionArn=which)
            if answer is None:
                raise UsageError(f"there is no image {which}", hint="`harness pipeline status` lists them")
            return image_of(answer["image"])
        images = self.images()
        if which:
            images = [image for image in images if which in {image.version, image.version.partition("/")[0]}]
        if not images:
            raise UsageError(f"{self.stem} has no image{f' {which}' if which else ''} yet", hint="`harness pipeline start` makes one")
        return images[0]

    def watch(self, which: str | None, say: Callable[[str], None], line: Callable[[str, str], None]) -> Image:
        """Follow an image to its end, telling each state and how long it took. Raises BuildError when it fails."""
        image, entered, state = self.image(which), self.clock(), ""
        began = entered
        while True:
            if image.status != state:
                now = self.clock()
                if state:
                    say(f"{state} took {now - entered:.0f} s")
                    self.passed[-1] = (state, now - entered)
                state, entered = image.status, now
                self.passed.append((state, 0.0))
                say(f"{image.version} {state}")
            for text in self.news(image):
                line("stdout", text)
            if state in FINAL:
                break
            self.cloud.sleep(POLL_SECONDS)
            image = self.image(image.arn)
        say(f"{image.version} ended after {self.clock() - began:.0f} s")
        if state in {"FAILED", "CANCELLED"}:
            message, hint = self.failure(image)
            raise BuildError(message, hint=hint)
        return image

    def news(self, image: Image) -> list[str]:
        """Return the lines of the image's log that were not returned before."""
        lines: list[str] = []
        while True:
            more: Json = {"nextToken": self.seen} if self.seen else {"startFromHead": True}
            where: Json = {"logGroupName": self.log_group(), "logStreamName": image.version}
            answer = self.cloud.find("logs", "get_log_events", **where, **more)
            if answer is None:
                return lines
            lines += [str(event["message"]) for event in answer["events"]]
            if answer["nextForwardToken"] == self.seen or not answer["events"]:
                self.seen = answer["nextForwardToken"]
                return lines
            self.seen = answer["nextForwardToken"]

    def log_group(self) -> str:
        """Return where the pipeline's images log."""
        group = self.read().get("loggingConfiguration", {}).get("imageLogGroupName")
        return str(group or f"/aws/imagebuilder/{self.stem}")

    def failure(self, image: Image) -> tuple[str, str]:
        """Return what failed and where to look: component, phase and step by name, as far as the service tells."""
        answer = self.cloud.call("imagebuilder", "get_image", imageBuildVersionArn=image.arn)["image"]
        if image.status == "CANCELLED":
            return f"{image.version} was cancelled", "`harness pipeline start` begins anew"
        state = answer["state"]
        hint = f"`harness pipeline logs {image.version}` shows everything"
        component = state.get("failureContext", {}).get("componentFailure")
        if component:
            name = component.get("componentArn", "").split("component/")[-1]
            where = f"phase {component.get('phaseName', '?')}, step {component.get('stepName', '?')}"
            return f"{name}: {where}: {component.get('errorMessage', '')}", hint
        for step in self.steps(image):
            if step.get("status") == "FAILED":
                reason = step.get("message") or state.get("reason", "")
                self.seen = ""
                told = next((text for text in reversed(self.news(image)) if re.search(r"\bfailed in phase\b|^Error", text)), "")
                return f"{image.version}: {step['name']} ({step['action']}) failed: {told or reason}", hint
        return f"{image.version} failed: {state.get('reason', 'the service gives no reason')}", hint

    def steps(self, image: Image) -> Iterator[Json]:
        """Yield the steps of the image's workflows, as they ran."""
        for execution in self.cloud.pages("imagebuilder", "list_workflow_executions", "workflowExecutions", imageBuildVersionArn=image.arn):
            number = execution["workflowExecutionId"]
            yield from self.cloud.pages("imagebuilder", "list_workflow_step_executions", "steps", workflowExecutionId=number)

    def cancel(self, which: str | None) -> Image:
        """Stop an image that is not finished. Raises UsageError when it is."""
        image = self.image(which)
        if image.status in FINAL:
            raise UsageError(f"{image.version} is {image.status} already", hint="there is nothing to cancel")
        self.cloud.call("imagebuilder", "cancel_image_creation", imageBuildVersionArn=image.arn, clientToken=secrets.token_hex(16))
        return self.image(image.arn)


def image_of(found: Json) -> Image:
    """Read an image as lists and GetImage show it; what the service adds one day is no trouble."""
    state = found.get("state", {})
    amis = tuple((ami.get("region", ""), ami.get("image", "")) for ami in found.get("outputResources", {}).get("amis", ()))
    created = str(found.get("dateCreated", ""))
    return Image(found["arn"], state.get("status", "?"), created, found.get("buildType", ""), state.get("reason", ""), amis)


def table(pipeline: Json, images: list[Image], count: int = 10) -> str:
    """Return the state of a pipeline for people."""
    schedule, coming = pipeline.get("schedule", {}), pipeline.get("dateNextRun", "unknown")
    lines = [
        f"pipeline  {pipeline['name']}  {pipeline.get('status', '')}",
        f"schedule  {schedule.get('scheduleExpression', 'none')}  {schedule.get('timezone', '')}  next {coming}",
    ]
    for image in images[:count]:
        where = "  ".join(f"{region} {ami}" for region, ami in image.amis)
        lines.append(f"{image.version:10}  {image.status:12}  {stamp(image.created)}  {where or image.reason}".rstrip())
    return "\n".join(lines) + "\n"


def stamp(text: str) -> str:
    """Return a date of the service to the minute, or as it is when it is written another way."""
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"
    except ValueError:
        return text
