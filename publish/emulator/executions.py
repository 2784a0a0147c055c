"""Workflow executions of an image: the default workflows, their steps, and how far each came."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from publish.emulator.errors import not_found
from publish.emulator.operations import operation
from publish.emulator.store import stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from publish.emulator.operations import Call
    from publish.emulator.wire import Json

MAX_MESSAGE: Final = 500
STEPS: Final = {
    "BUILD": (
        ("LaunchBuildInstance", "LaunchInstance"),
        ("ApplyBuildComponents", "ExecuteComponents"),
        ("InventoryCollection", "CollectImageMetadata"),
        ("RunSanitizeScript", "SanitizeInstance"),
        ("CreateOutputAMI", "CreateImage"),
        ("TerminateBuildInstance", "TerminateInstance"),
    ),
    "TEST": (
        ("LaunchTestInstance", "LaunchInstance"),
        ("ApplyTestComponents", "ExecuteComponents"),
        ("TerminateTestInstance", "TerminateInstance"),
    ),
    "DISTRIBUTION": (("DistributeImage", "DistributeImage"), ("ApplyImageConfigurations", "ApplyImageConfigurations")),
}
"""Name and action of each step of Amazon's own workflows."""
_NAMES: Final = {"BUILD": "build/build-image", "TEST": "test/test-image", "DISTRIBUTION": "distribution/distribute-image"}
_DONE: Final = ("COMPLETED", "FAILED", "SKIPPED", "CANCELLED")


@dataclass(slots=True)
class Execution:
    """One workflow that runs, or ran, for an image."""

    kind: str
    """BUILD, TEST or DISTRIBUTION."""
    region: str
    image: str
    now: Callable[[], datetime]
    id: str = field(default_factory=lambda: f"wf-{uuid.uuid4()}")
    status: str = "RUNNING"
    message: str = ""
    started: str = ""
    ended: str | None = None
    steps: list[Json] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin, with every step pending."""
        self.started = stamp(self.now())
        for name, action in STEPS[self.kind]:
            self.steps.append({"stepExecutionId": f"step-{uuid.uuid4()}", "name": name, "action": action, "status": "PENDING"})

    @property
    def workflow(self) -> str:
        """ARN of Amazon's workflow."""
        return f"arn:aws:imagebuilder:{self.region}:aws:workflow/{_NAMES[self.kind]}/1.0.2/1"

    @contextmanager
    def step(self, name: str) -> Iterator[Json]:
        """Run a step: whatever leaves the block as an exception makes it fail."""
        step = next(step for step in self.steps if step["name"] == name)
        step.update(status="RUNNING", startTime=stamp(self.now()))
        try:
            yield step
        except BaseException as error:
            step.update(status="FAILED", message=(str(error) or type(error).__name__)[:MAX_MESSAGE], endTime=stamp(self.now()))
            raise
        step.update(status="COMPLETED", endTime=stamp(self.now()))

    def skip(self, name: str) -> None:
        """Leave a step out."""
        next(step for step in self.steps if step["name"] == name)["status"] = "SKIPPED"

    def end(self, status: str, message: str = "") -> None:
        """Close the books: what did not run is skipped, or cancelled with the rest."""
        if self.ended is not None:
            return
        self.status, self.message, self.ended = status, message[:MAX_MESSAGE], stamp(self.now())
        for step in self.steps:
            if step["status"] not in _DONE:
                step["status"] = "CANCELLED" if status == "CANCELLED" else "SKIPPED"

    def summary(self) -> Json:
        """Return what lists and GetWorkflowExecution show."""
        counts = {word: sum(step["status"] == word for step in self.steps) for word in _DONE}
        return {
            "workflowBuildVersionArn": self.workflow,
            "workflowExecutionId": self.id,
            "imageBuildVersionArn": self.image,
            "type": self.kind,
            "status": self.status,
            "message": self.message,
            "totalStepCount": len(self.steps),
            "totalStepsSucceeded": counts["COMPLETED"],
            "totalStepsFailed": counts["FAILED"],
            "totalStepsSkipped": counts["SKIPPED"],
            "startTime": self.started,
            "endTime": self.ended,
            "retried": False,
        }

    def belongs(self) -> Json:
        """Return what each answer about a step says of its workflow."""
        return {"workflowBuildVersionArn": self.workflow, "workflowExecutionId": self.id, "imageBuildVersionArn": self.image}


def of_image(call: Call, image: str) -> list[Execution]:
    """Return the executions of an image, oldest first. Raises ServiceError when there is no such image."""
    found: list[Execution] = call.region.get(image).hidden["executions"]
    return found


def everywhere(call: Call) -> Iterator[Execution]:
    """Yield every execution of the region."""
    for image in call.region.of("image"):
        yield from image.hidden["executions"]


def find(call: Call, number: str) -> Execution:
    """Return an execution by its id. Raises ServiceError."""
    for execution in everywhere(call):
        if execution.id == number:
            return execution
    raise not_found(number)


@operation("GetWorkflowExecution")
def get(call: Call) -> Json:
    """Show how far a workflow came."""
    return find(call, call["workflowExecutionId"]).summary()


@operation("GetWorkflowStepExecution")
def get_step(call: Call) -> Json:
    """Show how far a step came."""
    for execution in everywhere(call):
        for step in execution.steps:
            if step["stepExecutionId"] == call["stepExecutionId"]:
                return {**execution.belongs(), **step, "onFailure": "Abort", "attemptNumber": 1, "maxAttempts": 1}
    raise not_found(call["stepExecutionId"])
