"""Tags and resource policies of whatever has an ARN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from publish.emulator.errors import ServiceError, not_found
from publish.emulator.operations import HANDLERS, operation

if TYPE_CHECKING:
    from publish.emulator.operations import Call
    from publish.emulator.store import Resource
    from publish.emulator.wire import Json

MAX_TAGS: Final = 50
_POLICIES: Final = {"Component": "componentArn", "ImageRecipe": "imageRecipeArn", "Image": "imageArn"}


def _tagged(call: Call) -> Resource:
    found = call.region.resources.get(call["resourceArn"])
    if found is None or found.arn.account != call.region.account:
        raise not_found(call["resourceArn"])
    return found


@operation("ListTagsForResource")
def list_tags(call: Call) -> Json:
    """Show the tags."""
    return {"tags": _tagged(call).body.get("tags", {})}


@operation("TagResource")
def tag(call: Call) -> Json:
    """Add tags, or change their values."""
    resource = _tagged(call)
    tags = {**resource.body.get("tags", {}), **call["tags"]}
    if len(tags) > MAX_TAGS:
        raise ServiceError("InvalidParameter", f"A resource may have {MAX_TAGS} tags.")
    resource.body["tags"] = tags
    return {}


@operation("UntagResource")
def untag(call: Call) -> Json:
    """Remove tags; one that is not there is no mistake."""
    resource = _tagged(call)
    resource.body["tags"] = {name: value for name, value in resource.body.get("tags", {}).items() if name not in call["tagKeys"]}
    return {}


def _enter_policies(kind: str, key: str) -> None:
    def put(call: Call) -> Json:
        call.region.get(call[key]).hidden["policy"] = call["policy"]
        return {key: call[key]}

    def get(call: Call) -> Json:
        hidden = call.region.get(call[key]).hidden
        if "policy" not in hidden:
            raise not_found(call[key])
        return {"policy": hidden["policy"]}

    HANDLERS[f"Put{kind}Policy"] = put
    HANDLERS[f"Get{kind}Policy"] = get


for _kind, _key in _POLICIES.items():
    _enter_policies(_kind, _key)
