"""EC2 Image Builder in memory: takes requests, holds them against the service's model, and does what the service would do."""

from __future__ import annotations

import threading
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from publish.emulator import catalogue, components, configurations, executions, images, lifecycles, lists, pipelines, recipes, tags, wire
from publish.emulator.builder import Pretence
from publish.emulator.errors import ServiceError
from publish.emulator.faults import Faults
from publish.emulator.operations import HANDLERS, Call
from publish.emulator.scheduler import Stepped
from publish.emulator.store import KINDS, Region
from publish.emulator.world import Alone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from publish.emulator.builder import Builder
    from publish.emulator.scheduler import Scheduler
    from publish.emulator.wire import Answer, Json, Request
    from publish.emulator.world import World

OPERATIONS: Final = (components, configurations, executions, images, lifecycles, lists, pipelines, recipes, tags)
"""The modules whose import fills the table of operations."""
ACCOUNT: Final = "123456789012"
REGION: Final = "ap-northeast-2"


@dataclass(slots=True)
class Emulator:
    """One account of EC2 Image Builder. All methods may be called from several threads."""

    account: str = ACCOUNT
    default_region: str = REGION
    """For requests that are not signed."""
    builder: Builder = field(default_factory=Pretence)
    scheduler: Scheduler = field(default_factory=Stepped)
    worlds: Callable[[str], World] | None = None
    """The other services, by region; None: one world without any, see `world`."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    list_lag: timedelta = timedelta(0)
    """How long lists do not show what was made; up to two minutes in the service."""
    inspector: bool = False
    """Whether Amazon Inspector is enabled, which image scanning depends on."""
    faults: Faults = field(default_factory=Faults)
    regions: dict[str, Region] = field(default_factory=dict)
    calls: list[tuple[str, Json]] = field(default_factory=list)
    """Operation and parameters of every call since the last reset, refused ones included."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    alone: Alone = field(default_factory=Alone)

    def handle(self, request: Request) -> Answer:
        """Answer a request as the service would; every refusal is an answer."""
        try:
            name, parameters = wire.read(request)
            return wire.answer(name, self.call(name, parameters, region=request.region))
        except ServiceError as error:
            return wire.refusal(error)

    def call(self, name: str, parameters: Mapping[str, object], *, region: str | None = None) -> Json:
        """Do one operation and return the members of its answer. Raises ServiceError."""
        with self.lock:
            given = deepcopy(dict(parameters))
            self.calls.append((name, given))
            fault = self.faults.take(name)
            if fault is not None and not fault.after:
                raise fault.error()
            answer = deepcopy(self._once(Call(self, self.region(region), name, given, self.now())))
            if fault is not None:
                raise fault.error()
            return answer

    def _once(self, call: Call) -> Json:
        """Do it, unless the same was asked with the same token: then the first answer is given again."""
        wire.check(call.operation, call.parameters)
        handler = HANDLERS.get(call.operation)
        if handler is None:
            raise ServiceError("InvalidRequest", f"{call.operation} is not emulated.")
        token = call.get("clientToken")
        if token is None:
            return handler(call)
        asked = {name: value for name, value in call.parameters.items() if name != "clientToken"}
        before = call.region.answers.get((call.operation, token))
        if before is not None:
            if before[0] != asked:
                raise ServiceError("IdempotentParameterMismatch", f"The client token '{token}' was used before, with other parameters.")
            return before[1]
        answer = handler(call)
        call.region.answers[call.operation, token] = (asked, deepcopy(answer))
        return answer

    def region(self, name: str | None = None) -> Region:
        """Return what the account has in a region; Amazon's own resources are always there."""
        name = name or self.default_region
        with self.lock:
            if name not in self.regions:
                self.regions[name] = Region(self.account, name)
                catalogue.stock(self.regions[name])
            return self.regions[name]

    def world(self, region: str) -> World:
        """Return the other services in a region."""
        return self.alone if self.worlds is None else self.worlds(region)

    def run_due(self) -> list[str]:
        """Start every pipeline whose schedule wants it by now; return the ARNs of the new images."""
        with self.lock:
            started: list[str] = []
            for region in self.regions.values():
                call = Call(self, region, "StartImagePipelineExecution", {}, self.now())
                due = [pipeline for pipeline in region.of("image-pipeline") if pipelines.due(call, pipeline)]
                started += [str(pipelines.run(call, pipeline, "SCHEDULED", {}).arn) for pipeline in due]
            return started

    def reset(self) -> None:
        """Forget everything; images on their way are cancelled, and waited for."""
        with self.lock:
            on_their_way = [image for region in self.regions.values() for image in region.of("image")]
            for image in on_their_way:
                image.hidden["cancelled"].set()
        # Not under the lock: the threads need it to come to their end.
        for image in on_their_way:
            self.builder.cancel(image.hidden["order"])
        self.scheduler.close()
        for image in on_their_way:
            self.builder.discard(image.hidden["order"])
        with self.lock:
            self.regions.clear()
            self.calls.clear()
            self.faults.clear()
            self.alone = Alone()

    def export(self) -> Json:
        """Return all that the account holds, as plain data for debugging."""
        with self.lock:
            return {
                "account": self.account,
                "calls": len(self.calls),
                "regions": {
                    name: [deepcopy(one.body) for kind in KINDS for one in region.of(kind)] for name, region in self.regions.items()
                },
            }
