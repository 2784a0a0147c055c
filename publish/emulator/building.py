"""The life of an image, from PENDING to AVAILABLE, FAILED or CANCELLED; its components run on the builder's instances."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from harness.errors import HarnessError
from harness.toe import Status
from publish.emulator.builder import CancelledError, Progress
from publish.emulator.distributing import distribute, integrate, needs_integration
from publish.emulator.executions import Execution

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.toe import DocumentOutcome
    from publish.emulator.builder import Instance, Order, OrderedComponent
    from publish.emulator.core import Emulator
    from publish.emulator.store import Region, Resource
    from publish.emulator.wire import Json
    from publish.emulator.world import LogLine

FINAL: Final = frozenset({"AVAILABLE", "CANCELLED", "FAILED", "DEPRECATED", "DELETED", "DISABLED"})
AUTO_DISABLE: Final = 5
"""Scheduled failures in a row after which the service disables a pipeline that says nothing else."""
MAX_REASON: Final = 1024
_PHASES: Final = {"BUILD": ("build", "validate"), "TEST": ("test",)}
_FLUSH: Final = timedelta(seconds=1)
_FLUSH_LINES: Final = 200


class StageError(Exception):
    """A stage failed; the text is what the image's state gives as its reason."""

    def __init__(self, reason: str, context: Json | None = None) -> None:
        """Keep what the failure context shows beside the reason."""
        super().__init__(reason)
        self.context = context or {}


@dataclass(slots=True)
class Log:
    """The log stream of one image: written in batches, so that it can be followed without a call per line."""

    emulator: Emulator
    region: str
    group: str
    stream: str
    cancelled: threading.Event
    waiting: list[LogLine] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    timer: threading.Timer | None = None
    """Sends what waits when no further line comes."""

    def tell(self, text: str, level: str = "Info") -> None:
        """Write a line. Raises CancelledError when the image was cancelled."""
        self._write(f"{level} {text}")
        if self.cancelled.is_set():
            raise CancelledError

    def line(self, stream: str, text: str) -> None:
        """Write what a command printed. Never raises: it is called by the thread that reads the command's output."""
        self._write(f"{stream.capitalize()}: {text}")

    def flush(self) -> None:
        """Send what is waiting."""
        with self.lock:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None
            if self.waiting:
                lines, self.waiting = self.waiting, []
                self.emulator.world(self.region).log(self.group, self.stream, lines)

    def _write(self, text: str) -> None:
        now = self.emulator.now()
        with self.lock:
            self.waiting.append((now, text))
            ripe = len(self.waiting) >= _FLUSH_LINES or now - self.waiting[0][0] >= _FLUSH
            if not ripe and self.timer is None:
                self.timer = threading.Timer(_FLUSH.total_seconds(), self.flush)
                self.timer.daemon = True
                self.timer.start()
        if ripe:
            self.flush()


@dataclass(slots=True)
class Life:
    """One image on its way."""

    emulator: Emulator
    region: Region
    image: Resource
    order: Order
    log: Log
    cancelled: threading.Event

    def walk(self, first: str = "CREATING") -> Iterator[None]:
        """Go through the states from `first` on, yielding in each; a failure ends the life, and never gets out."""
        stages = {"CREATING": self._create, "BUILDING": self._build, "TESTING": self._test}
        stages |= {"DISTRIBUTING": self._distribute, "INTEGRATING": self._integrate}
        for state in list(stages)[list(stages).index(first) :]:
            if not self._wanted(state):
                continue
            if not self._enter(state):
                return
            yield
            try:
                stages[state]()
            except CancelledError:
                self._cancelled()
                return
            except StageError as error:
                self._fail(state, error)
                return
            except Exception as error:  # noqa: BLE001 - a builder's defect fails the image, not the emulator
                self._fail(state, StageError(f"{type(error).__name__}: {error}"))
                return
            finally:
                self.log.flush()
        if self._enter("AVAILABLE"):
            self.emulator.builder.discard(self.order)
            self._end("AVAILABLE")

    def _wanted(self, state: str) -> bool:
        if state == "TESTING":
            return bool(self.image.body["imageTestsConfiguration"]["imageTestsEnabled"])
        return state != "INTEGRATING" or needs_integration(self.image)

    def _enter(self, state: str) -> bool:
        """Change the state, unless the image was cancelled or removed meanwhile."""
        with self.emulator.lock:
            goes_on = not self.cancelled.is_set() and self.region.resources.get(str(self.image.arn)) is self.image
            if goes_on:
                self.image.body["state"] = {"status": state}
        if not goes_on:
            self._cancelled()
        return goes_on

    def _create(self) -> None:
        """Do what comes before the build instance: nothing that could be seen."""

    def _build(self) -> None:
        with self._workflow("BUILD") as execution, ExitStack() as machine:
            with execution.step("LaunchBuildInstance"):
                instance = machine.enter_context(self.emulator.builder.build_instance(self.order))
            self._apply(execution, "ApplyBuildComponents", instance)
            if self.image.body["enhancedImageMetadataEnabled"]:
                with execution.step("InventoryCollection"):
                    pass
            else:
                execution.skip("InventoryCollection")
            with execution.step("RunSanitizeScript"):
                pass
            with execution.step("CreateOutputAMI"):
                self.emulator.builder.snapshot(self.order, instance)
            with execution.step("TerminateBuildInstance"):
                machine.close()

    def _test(self) -> None:
        with self._workflow("TEST") as execution, ExitStack() as machine:
            with execution.step("LaunchTestInstance"):
                instance = machine.enter_context(self.emulator.builder.test_instance(self.order))
            self._apply(execution, "ApplyTestComponents", instance)
            with execution.step("TerminateTestInstance"):
                machine.close()

    def _distribute(self) -> None:
        with self._workflow("DISTRIBUTION", goes_on=needs_integration(self.image)) as execution, execution.step("DistributeImage"):
            amis = distribute(self.emulator, self.region, self.image)
            with self.emulator.lock:
                self.image.body["outputResources"] = {"amis": amis}

    def _integrate(self) -> None:
        with self._workflow("DISTRIBUTION") as execution, execution.step("ApplyImageConfigurations"):
            integrate(self.emulator, self.region, self.image)

    @contextmanager
    def _workflow(self, kind: str, *, goes_on: bool = False) -> Iterator[Execution]:
        """Run a workflow, or the rest of one that was left open because it `goes_on` in another state."""
        made: list[Execution] = self.image.hidden["executions"]
        if not (made and made[-1].kind == kind and made[-1].ended is None):
            made.append(Execution(kind, self.region.name, str(self.image.arn), self.emulator.now))
        execution = made[-1]
        try:
            yield execution
        except CancelledError:
            execution.end("CANCELLED")
            raise
        except (StageError, HarnessError, LookupError) as error:
            execution.end("FAILED", str(error))
            failed = next((step for step in execution.steps if step["status"] == "FAILED"), None)
            raise _stage_error(execution, failed, error) from error
        except BaseException as error:
            execution.end("FAILED", str(error) or type(error).__name__)
            raise
        if not goes_on:
            execution.end("COMPLETED")

    def _apply(self, execution: Execution, step: str, instance: Instance) -> None:
        phases = _PHASES[execution.kind]
        with execution.step(step):
            for component in self.order.components:
                wanted = [phase.name for phase in component.document.phases if phase.name in phases]
                if wanted:
                    self._run(execution, component, wanted, instance)

    def _run(self, execution: Execution, component: OrderedComponent, phases: Sequence[str], instance: Instance) -> None:
        self.log.tell(f"Document {component.arn}")
        outcome = instance.run(component, phases, Progress(self.log.tell, self.log.line))
        self._keep_logs(execution, outcome)
        if outcome.status.ok:
            self.log.tell(f"Document {component.arn} ended: {outcome.status}")
            return
        context = {"componentArn": component.arn, "errorMessage": outcome.message or "the document failed"}
        for phase in outcome.phases:
            for failed in phase.steps:
                if failed.status is Status.FAILED:
                    told = f"phase {phase.name}, step {failed.name} ({failed.action}): {failed.message}"
                    self.log.tell(f"Document {component.arn} failed in {told}", "Error")
                    context |= {"phaseName": phase.name, "stepName": failed.name, "action": failed.action}
                    context["errorMessage"] = failed.message or context["errorMessage"]
        self.log.flush()
        raise StageError(f"Document {component.arn} failed!", {"componentFailure": context})

    def _keep_logs(self, execution: Execution, outcome: DocumentOutcome) -> None:
        """Put AWSTOE's files where the infrastructure configuration wants them."""
        bucket = self.image.body["infrastructureConfiguration"].get("logging", {}).get("s3Logs", {})
        if not bucket or not outcome.log_folder.is_dir():
            return
        where = [bucket.get("s3KeyPrefix", "").strip("/"), self.image.arn.slug, self.order.version, execution.id, outcome.log_folder.name]
        for path in sorted(outcome.log_folder.iterdir()):
            if path.is_file():
                key = "/".join(filter(None, [*where, path.name]))
                self.emulator.world(self.region.name).write_object(bucket["s3BucketName"], key, path.read_bytes())

    def _fail(self, state: str, error: StageError) -> None:
        with self.emulator.lock:
            cancelled = self.cancelled.is_set()
            if not cancelled:
                context = {"imageStatus": state, **error.context}
                self.image.body["state"] = {"status": "FAILED", "reason": str(error)[:MAX_REASON], "failureContext": context}
        if cancelled:
            # Its instance was taken away, which looks like a failure from inside.
            self._cancelled()
            return
        if state in {"CREATING", "BUILDING"}:
            self.emulator.builder.discard(self.order)
        self._end("FAILED")

    def _cancelled(self) -> None:
        self.emulator.builder.discard(self.order)
        self._end("CANCELLED")

    def _end(self, status: str) -> None:
        """Enter the outcome into the pipeline that the image came from."""
        with self.emulator.lock:
            pipeline = self.region.resources.get(self.image.body.get("sourcePipelineArn", ""))
            if pipeline is None:
                return
            pipeline.body["lastRunStatus"] = status
            if status == "AVAILABLE":
                pipeline.body["consecutiveFailures"] = 0
            elif status == "FAILED" and self.image.body["buildType"] == "SCHEDULED":
                pipeline.body["consecutiveFailures"] += 1
                policy = pipeline.body.get("schedule", {}).get("autoDisablePolicy", {})
                if pipeline.body["consecutiveFailures"] >= policy.get("failureCount", AUTO_DISABLE):
                    pipeline.body["status"] = "DISABLED"


def _stage_error(execution: Execution, step: Json | None, error: Exception) -> StageError:
    """Wrap the reason as the service does, and say where in the workflow it was."""
    context: Json = {"workflowExecutionId": execution.id, "workflowArn": execution.workflow}
    reason = str(error)
    if step is not None:
        context |= {"stepExecutionId": step["stepExecutionId"], "failedStep": step["name"]}
        reason = f"Workflow Step Execution ID: '{step['stepExecutionId']}' failed with reason: {reason}"
    more = error.context if isinstance(error, StageError) else {}
    return StageError(f"Workflow Execution ID: '{execution.id}' failed with reason: {reason}", {**context, **more})
