"""Every list operation: who is in it, which filters it knows, and how a page follows the other."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from publish.emulator import executions
from publish.emulator.errors import ServiceError, bad_value
from publish.emulator.operations import HANDLERS, operation
from publish.emulator.wire import model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from publish.emulator.operations import Call
    from publish.emulator.store import Resource
    from publish.emulator.wire import Json

PAGE: Final = 25
"""Size of a page when `maxResults` is not given."""
_OWNERS: Final = {"Self": None, "Amazon": "aws"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a list."""

    number: int
    """Where it stands; the next page begins after the last number of this one."""
    shown: Json


@dataclass(frozen=True, slots=True)
class Listing:
    """What one list operation lists."""

    entries: Callable[[Call], Iterable[Entry]]
    """In any order."""
    filters: Mapping[str, str]
    """Names of filters, and the member that each looks at."""


def _page(call: Call, key: str, listing: Listing) -> Json:
    size, after = call.get("maxResults", PAGE), _after(call)
    entries = sorted(listing.entries(call), key=lambda entry: entry.number)
    entries = [entry for entry in entries if entry.number > after and _passes(call, entry, listing.filters)]
    answer: Json = {key: [entry.shown for entry in entries[:size]]}
    if len(entries) > size:
        answer["nextToken"] = _token(call, entries[size - 1].number)
    return answer


def _question(call: Call) -> Json:
    """Return what has to be the same on every page."""
    return {name: value for name, value in call.parameters.items() if name not in {"nextToken", "maxResults"}}


def _token(call: Call, number: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([call.operation, _question(call), number], sort_keys=True).encode()).decode()


def _after(call: Call) -> int:
    """Return the number of the last entry that was shown. Raises ServiceError for a token that is not of this list."""
    if "nextToken" not in call.parameters:
        return 0
    try:
        name, question, number = json.loads(base64.b64decode(call["nextToken"], b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error):
        name, question, number = None, None, 0
    if name != call.operation or question != _question(call) or not isinstance(number, int):
        raise ServiceError("InvalidPaginationToken", "The pagination token is not valid.")
    return number


def _passes(call: Call, entry: Entry, filters: Mapping[str, str]) -> bool:
    for index, asked in enumerate(call.get("filters", ())):
        member = filters.get(asked.get("name", ""))
        if member is None:
            raise bad_value(f"filters[{index}].name", f"Filters of this list are {', '.join(sorted(filters)) or 'none'}.")
        found: Any = entry.shown
        for part in member.split("."):
            found = found.get(part, "") if isinstance(found, dict) else ""
        values = found if isinstance(found, list) else [found]
        if not {str(value) for value in values} & set(asked.get("values", ())):
            return False
    return True


def _visible(call: Call, kind: str, *, owned: bool = False) -> list[Resource]:
    """Return what a list may show: a new resource appears in lists only after the lag."""
    owner = call.get("owner", "Self") if owned else "Self"
    if owner not in _OWNERS:
        return []
    lag = call.emulator.list_lag
    return [resource for resource in call.region.of(kind, owner=_OWNERS[owner]) if resource.created + lag <= call.now]


def _plain(kind: str, *, owned: bool = False, also: Callable[[Resource], Json] = lambda _: {}) -> Callable[[Call], Iterable[Entry]]:
    return lambda call: [Entry(found.number, {**found.body, **also(found)}) for found in _visible(call, kind, owned=owned)]


def _newest(kind: str) -> Callable[[Call], Iterable[Entry]]:
    """List each version once, or with `byName` each name once, as its newest build shows it."""

    def entries(call: Call) -> Iterable[Entry]:
        best: dict[object, Resource] = {}
        for found in _visible(call, kind, owned=True):
            if kind == "image" and found.body["state"]["status"] in {"DEPRECATED", "DELETED"} and not call.get("includeDeprecated"):
                continue
            key = found.arn.versionless if call.get("byName") else (found.arn.versionless, found.arn.version)
            if key not in best or (found.version, found.arn.build or 0) > (best[key].version, best[key].arn.build or 0):
                best[key] = found
        return [Entry(found.number, _version(found)) for found in best.values()]

    return entries


def _version(found: Resource) -> Json:
    """Show a version, without its builds."""
    arn = str(found.arn).rpartition("/")[0]
    state = {"status": found.body["state"]["status"]} if found.arn.kind == "component" else {}
    return {**found.body, **state, "arn": arn, "version": found.arn.version}


def _builds(kind: str, key: str) -> Callable[[Call], Iterable[Entry]]:
    def entries(call: Call) -> Iterable[Entry]:
        wanted = call.get(key)
        found = [*_visible(call, kind), *([] if wanted is None else call.region.of(kind, owner="aws"))]
        return [Entry(one.number, one.body) for one in found if wanted in {None, str(one.arn).rpartition("/")[0]}]

    return entries


def _of_pipeline(call: Call) -> Iterable[Entry]:
    pipeline = str(call.region.get(call["imagePipelineArn"]).arn)
    return [Entry(image.number, image.body) for image in _visible(call, "image") if image.body.get("sourcePipelineArn") == pipeline]


def _executions(call: Call) -> Iterable[Entry]:
    found = executions.of_image(call, call["imageBuildVersionArn"])
    return [Entry(number, execution.summary()) for number, execution in enumerate(found, 1)]


def _steps(call: Call) -> Iterable[Entry]:
    found = executions.find(call, call["workflowExecutionId"])
    return [Entry(number, step) for number, step in enumerate(found.steps, 1)]


def _lifecycle_executions(call: Call) -> Iterable[Entry]:
    found = [one for one in call.region.lifecycle_executions.values() if one["resourceArn"] == call["resourceArn"]]
    return [Entry(number, one) for number, one in enumerate(found, 1)]


def _regions(found: Resource) -> Json:
    return {"regions": [distribution["region"] for distribution in found.body["distributions"]]}


def _nothing(_: Call) -> Iterable[Entry]:
    return ()


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_COMPONENT_FILTERS: Final = {**_same("description", "name", "platform", "type", "version"), "supportedOsVersion": "supportedOsVersions"}
_IMAGE_FILTERS: Final = _same("name", "osVersion", "platform", "type", "version")
_PIPELINE_FILTERS: Final = _same(
    "description", "distributionConfigurationArn", "imageRecipeArn", "infrastructureConfigurationArn", "name", "status"
)
LISTINGS: Final = {
    "ListComponents": Listing(_newest("component"), _COMPONENT_FILTERS),
    "ListComponentBuildVersions": Listing(_builds("component", "componentVersionArn"), {}),
    "ListImageRecipes": Listing(_plain("image-recipe", owned=True), _same("name", "parentImage", "platform")),
    "ListContainerRecipes": Listing(_nothing, _same("containerType", "name", "parentImage", "platform")),
    "ListInfrastructureConfigurations": Listing(_plain("infrastructure-configuration"), _same("name")),
    "ListDistributionConfigurations": Listing(_plain("distribution-configuration", also=_regions), _same("name")),
    "ListImagePipelines": Listing(_plain("image-pipeline"), _PIPELINE_FILTERS),
    "ListImagePipelineImages": Listing(_of_pipeline, _same("name", "version")),
    "ListImages": Listing(_newest("image"), _IMAGE_FILTERS),
    "ListImageBuildVersions": Listing(_builds("image", "imageVersionArn"), _IMAGE_FILTERS),
    "ListImagePackages": Listing(_nothing, {}),
    "ListImageScanFindings": Listing(_nothing, _same("imageBuildVersionArn", "imagePipelineArn", "vulnerabilityId", "severity")),
    "ListWorkflowExecutions": Listing(_executions, {}),
    "ListWorkflowStepExecutions": Listing(_steps, {}),
    "ListWaitingWorkflowSteps": Listing(_nothing, {}),
    "ListWorkflows": Listing(_nothing, _same("name", "type", "version", "description")),
    "ListLifecyclePolicies": Listing(_plain("lifecycle-policy"), _same("name", "status", "resourceType")),
    "ListLifecycleExecutions": Listing(_lifecycle_executions, {}),
}


@cache
def _key(name: str) -> str:
    """Return the member of the answer that holds the list."""
    shape = model().operation_model(name).output_shape
    if shape is None:  # pragma: no cover - every list answers with a structure
        raise KeyError(name)
    return next(member for member, inner in shape.members.items() if inner.type_name == "list")


def _enter(name: str, listing: Listing) -> None:
    @operation(name)
    def handler(call: Call) -> Json:
        about: Json = {}
        if name == "ListWorkflowExecutions":
            about = {"imageBuildVersionArn": call["imageBuildVersionArn"]}
        if name == "ListWorkflowStepExecutions":
            about = executions.find(call, call["workflowExecutionId"]).belongs()
        if name == "ListImagePackages":
            call.region.get(call["imageBuildVersionArn"])
        return {**about, **_page(call, _key(name), listing)}

    HANDLERS[name] = handler


for _name, _listing in LISTINGS.items():
    _enter(_name, _listing)
