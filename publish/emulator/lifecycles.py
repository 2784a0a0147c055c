"""Life-cycle policies: kept and checked; nothing is removed by them here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from publish.emulator.errors import ServiceError, bad_value, not_found
from publish.emulator.operations import operation

if TYPE_CHECKING:
    from publish.emulator.operations import Call
    from publish.emulator.wire import Json


@operation("CreateLifecyclePolicy")
def create(call: Call) -> Json:
    """Make a policy."""
    _check(call)
    body = call.body(status=call.get("status", "ENABLED"))
    body["dateCreated"] = call.now.timestamp()
    resource = call.create(call.arn("lifecycle-policy"), body)
    return call.answer(lifecyclePolicyArn=str(resource.arn))


@operation("UpdateLifecyclePolicy")
def update(call: Call) -> Json:
    """Replace a policy."""
    resource = call.region.get(call["lifecyclePolicyArn"])
    _check(call)
    given = {name: value for name, value in call.parameters.items() if name not in {"lifecyclePolicyArn", "clientToken"}}
    kept = {name: resource.body[name] for name in ("arn", "name", "dateCreated", "tags")}
    resource.body = {"status": "ENABLED", **given, **kept, "dateUpdated": call.now.timestamp()}
    return call.answer(lifecyclePolicyArn=str(resource.arn))


@operation("GetLifecyclePolicy")
def get(call: Call) -> Json:
    """Show a policy."""
    return {"lifecyclePolicy": call.region.get(call["lifecyclePolicyArn"]).body}


@operation("DeleteLifecyclePolicy")
def delete(call: Call) -> Json:
    """Remove a policy."""
    call.region.remove(call["lifecyclePolicyArn"])
    return {"lifecyclePolicyArn": call["lifecyclePolicyArn"]}


@operation("GetLifecycleExecution")
def get_execution(call: Call) -> Json:
    """Show what a change of an image's state by hand came to."""
    number = call["lifecycleExecutionId"]
    if number not in call.region.lifecycle_executions:
        raise not_found(number)
    return {"lifecycleExecution": call.region.lifecycle_executions[number]}


def _check(call: Call) -> None:
    selection = call["resourceSelection"]
    if ("recipes" in selection) == ("tagMap" in selection):
        raise ServiceError("InvalidParameterCombination", "Exactly one of 'recipes' and 'tagMap' must be given in 'resourceSelection'.")
    for index, detail in enumerate(call["policyDetails"]):
        where = f"policyDetails[{index}].filter"
        if detail["filter"]["type"] == "AGE" and "unit" not in detail["filter"]:
            raise bad_value(f"{where}.unit", "A filter by age needs a unit.")
        if detail["filter"]["type"] == "COUNT" and {"unit", "retainAtLeast"} & detail["filter"].keys():
            raise bad_value(where, "A filter by count takes neither unit nor retainAtLeast.")
        if detail["action"]["type"] != "DELETE" and detail["action"].get("includeResources", {}).get("snapshots"):
            raise bad_value(f"policyDetails[{index}].action", "Snapshots can only be deleted.")
