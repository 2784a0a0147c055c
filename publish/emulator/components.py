"""Components: documents under a name and version, each content a build of its own, none ever changed."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from harness.toe import MAX_BYTES, examine
from publish.emulator import versions
from publish.emulator.errors import ServiceError, bad_value
from publish.emulator.operations import operation
from publish.emulator.store import already_exists

if TYPE_CHECKING:
    from harness.toe import Document
    from publish.emulator.operations import Call
    from publish.emulator.wire import Json

CONTENT: Final = ("platform", "supportedOsVersions", "kmsKeyId")
"""What makes a component another one, beside its document."""


@operation("CreateComponent")
def create(call: Call) -> Json:
    """Make a component, or the next build of a version that has other content."""
    version = versions.parse(call["semanticVersion"])
    parameter, source = _source(call)
    document = None if call["platform"] == "Windows" else _read(parameter, source)
    arn = call.arn("component", versions.spell(version))
    digest = _digest(call, source)
    builds = [resource for resource in call.region.family(arn) if resource.version == version]
    for resource in builds:
        if resource.hidden["digest"] == digest:
            raise already_exists(resource.arn)
    build = 1 + max((resource.arn.build or 0 for resource in builds), default=0)
    body = call.body(
        version=versions.spell(version),
        type=document.component_type if document else "BUILD",
        state={"status": "ACTIVE"},
        parameters=_details(document) if document else [],
        owner=call.region.account,
        data=source.decode(),
        encrypted=True,
        obfuscate=False,
    )
    resource = call.create(call.arn("component", versions.spell(version), build), body, hidden={"digest": digest})
    return call.answer(componentBuildVersionArn=str(resource.arn), latestVersionReferences=versions.references(resource.arn))


@operation("GetComponent")
def get(call: Call) -> Json:
    """Show a component; without a build in the ARN, the newest one."""
    resource = call.region.get(call["componentBuildVersionArn"])
    return {"component": resource.body, "latestVersionReferences": versions.references(resource.arn)}


@operation("DeleteComponent")
def delete(call: Call) -> Json:
    """Remove one build of a component that no recipe uses."""
    call.region.remove(call["componentBuildVersionArn"])
    return {"componentBuildVersionArn": call["componentBuildVersionArn"]}


def _source(call: Call) -> tuple[str, bytes]:
    """Return the parameter that holds the document, and its bytes."""
    if ("data" in call.parameters) == ("uri" in call.parameters):
        raise ServiceError("InvalidParameterCombination", "Exactly one of the parameters 'data' and 'uri' must be given.")
    if "data" in call.parameters:
        return "data", str(call["data"]).encode("utf-8", "replace")
    uri = str(call["uri"])
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket or not key:
        raise bad_value("uri", "The uri must be of the form s3://bucket/key.")
    try:
        return "uri", call.emulator.world(call.region.name).read_object(bucket, key)
    except LookupError as error:
        raise bad_value("uri", f"The object '{uri}' cannot be read: {error.args[0] if error.args else 'unknown'}") from None


def _read(parameter: str, source: bytes) -> Document:
    if len(source) > MAX_BYTES:
        raise bad_value(parameter, f"The document has {len(source)} bytes, and may have {MAX_BYTES}.")
    document, problems = examine(source, name="document")
    if document is None:
        line = problems[0].at.line
        more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
        raise bad_value(parameter, f"The component document is not valid{f', line {line}' if line else ''}: {problems[0].message}{more}")
    return document


def _digest(call: Call, source: bytes) -> str:
    return sha256(repr([source, *(call.get(name) for name in CONTENT)]).encode()).hexdigest()


def _details(document: Document) -> list[Json]:
    found: list[Json] = []
    for parameter in document.parameters:
        detail: Json = {"name": parameter.name, "type": "String"}
        if parameter.default is not None:
            detail["defaultValue"] = [parameter.default]
        if parameter.description:
            detail["description"] = parameter.description
        found.append(detail)
    return found
