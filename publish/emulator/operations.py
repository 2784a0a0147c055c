"""One call of one operation, and the table of what each operation does."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from publish.emulator import versions
from publish.emulator.errors import ServiceError
from publish.emulator.store import Resource, stamp
from publish.emulator.versions import Arn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from publish.emulator.core import Emulator
    from publish.emulator.store import Region
    from publish.emulator.wire import Json

NOT_STORED: Final = frozenset({"clientToken", "dryRun", "semanticVersion", "data", "uri"})


@dataclass(frozen=True, slots=True)
class Call:
    """One request with everything that answering it takes. Its parameters have passed the model."""

    emulator: Emulator
    region: Region
    operation: str
    parameters: Json
    now: datetime

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - as varied as JSON
        return self.parameters[name]

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as above
        """Return a parameter that may be missing."""
        return self.parameters.get(name, default)

    def arn(self, kind: str, version: str | None = None, build: int | None = None) -> Arn:
        """Return the ARN that a resource with the name of this call has."""
        return Arn(self.region.name, self.region.account, kind, versions.slug(self["name"]), version, build)

    def body(self, **more: object) -> Json:
        """Return the parameters as the body of a new resource, with its date and what else is known."""
        given = {name: value for name, value in deepcopy(self.parameters).items() if name not in NOT_STORED}
        return {"tags": {}, **given, "dateCreated": stamp(self.now), **more}

    def create(self, arn: Arn, body: Json, uses: Iterable[str | None] = (), hidden: Json | None = None) -> Resource:
        """Keep a new resource, unless this is a dry run. Raises ServiceError when its ARN is taken."""
        resource = Resource(
            arn,
            {**body, "arn": str(arn)},
            self.region.last_number + 1,
            self.now,
            tuple(filter(None, uses)),
            hidden if hidden is not None else {},
        )
        if self.get("dryRun") and str(arn) not in self.region.resources:
            raise ServiceError("DryRunOperation", "Request would have succeeded, but the DryRun flag is set.")
        self.region.add(resource)
        self.region.next_number()
        return resource

    def answer(self, **members: object) -> Json:
        """Return an answer with the client token echoed."""
        return {**members, "clientToken": self.get("clientToken")}


HANDLERS: Final[dict[str, Callable[[Call], Json]]] = {}


def operation(name: str) -> Callable[[Callable[[Call], Json]], Callable[[Call], Json]]:
    """Enter a function into the table under an operation's name."""

    def enter(handler: Callable[[Call], Json]) -> Callable[[Call], Json]:
        HANDLERS[name] = handler
        return handler

    return enter


def reference(call: Call, parameter: str, kind: str) -> Resource:
    """Return the resource that a parameter names. Raises ServiceError in the words of the service when there is none."""
    found = call.region.resolve(call[parameter])
    if found is None or found.arn.kind != kind:
        raise ServiceError(
            "InvalidParameterValue", f"The value supplied for parameter '{parameter}' is not valid. '{call[parameter]}' does not exist."
        )
    return found
