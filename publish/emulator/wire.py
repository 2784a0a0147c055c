"""Requests and answers as they travel: from method, path, query and body to an operation with its parameters, and back.

The protocol is rest-json. Its rules come from botocore's model, so an operation that botocore learns is understood at once.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from publish.emulator.errors import ServiceError, bad_value
from publish.emulator.shapes import project, violations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from botocore.model import OperationModel, ServiceModel, StructureShape

SERVICE: Final = "imagebuilder"
_UNCHECKED_STATUS: Final[Mapping[str, int]] = {"UnknownOperationException": 404, "ResourceAlreadyExistsException": 400}

_SIGNATURE: Final = re.compile(r"Credential=[^/,\s]+/\d{8}/(?P<region>[a-z0-9-]+)/(?P<service>[a-z0-9-]+)/aws4_request")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    """Still percent-encoded: the ARN of a tag request holds slashes."""
    query: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    region: str | None = None
    """From the signature; None when the request was not signed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client gets."""

    status: int
    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def payload(self) -> bytes:
        """The body as bytes."""
        return json.dumps(self.body, ensure_ascii=False).encode()


def signed_for(authorization: str | None) -> tuple[str, str] | None:
    """Return region and service of a signature; None for a request that is not signed. The signature itself is not checked."""
    match = _SIGNATURE.search(authorization or "")
    return (match["region"], match["service"]) if match else None


@cache
def model() -> ServiceModel:
    """Return botocore's description of the service."""
    from botocore.session import Session

    return Session().get_service_model(SERVICE)


def operation(name: str) -> OperationModel:
    """Return the description of one operation. Raises ServiceError for a name that nobody knows."""
    if name not in model().operation_names:
        raise ServiceError("UnknownOperation", f"{name} is no operation of EC2 Image Builder")
    return model().operation_model(name)


@dataclass(frozen=True, slots=True)
class _Route:
    method: str
    pattern: re.Pattern[str]
    name: str


@cache
def _routes() -> tuple[_Route, ...]:
    found = []
    for name in model().operation_names:
        http = model().operation_model(name).http
        # An ARN in a path is everything that is left.
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(http["requestUri"]))
        found.append(_Route(http["method"], re.compile(pattern), name))
    return tuple(found)


def read(request: Request) -> tuple[str, Json]:
    """Return the operation's name and its parameters. Raises ServiceError for what is no request of this service."""
    for route in _routes():
        match = route.pattern.fullmatch(request.path)
        if match and route.method == request.method:
            shape = model().operation_model(route.name).input_shape
            in_path = {name: unquote(text) for name, text in match.groupdict().items()}
            return route.name, (_parameters(shape, request, in_path) if shape else {})
    raise ServiceError("UnknownOperation", f"{request.method} {request.path} is no operation of EC2 Image Builder")


def _parameters(shape: StructureShape, request: Request, in_path: Mapping[str, str]) -> Json:
    given = _body(request.body)
    for name, member in shape.members.items():
        location, wire_name = member.serialization.get("location"), member.serialization.get("name", name)
        if location == "uri" and wire_name in in_path:
            given[name] = in_path[wire_name]
        elif location == "querystring":
            values = [value for key, value in request.query if key == wire_name]
            if values:
                given[name] = values if member.type_name == "list" else values[-1]
    return {name: value for name, value in given.items() if value is not None}


def _body(body: bytes) -> Json:
    if not body.strip():
        return {}
    try:
        given = json.loads(body)
    except ValueError:
        raise ServiceError("InvalidRequest", "The body of the request is no JSON.") from None
    if not isinstance(given, dict):
        raise ServiceError("InvalidRequest", "The body of the request is no JSON object.")
    return given


def check(name: str, parameters: Mapping[str, object]) -> None:
    """Hold parameters against the model. Raises ServiceError naming the first one that does not fit.

    What passes here is what the service itself would look at, so a publisher can ask before it calls.
    """
    shape = operation(name).input_shape
    if shape is None:
        return
    for violation in violations(shape, dict(parameters)):
        if violation.because.endswith("is required"):
            raise ServiceError("InvalidRequest", f"The parameter '{violation.where}' is required.")
        raise bad_value(violation.where, violation.because)


def answer(name: str, body: Mapping[str, object]) -> Answer:
    """Return a good answer: only what the model knows of, and an id."""
    shape = operation(name).output_shape
    number = str(uuid.uuid4())
    known = project(shape, {"requestId": number, **body}) if shape else {}
    return Answer(200, known, {"x-amzn-RequestId": number})


def refusal(error: ServiceError) -> Answer:
    """Return an error as the service sends it."""
    return Answer(status(error.code), {"message": error.message}, {"x-amzn-RequestId": str(uuid.uuid4()), "x-amzn-ErrorType": error.code})


def status(code: str) -> int:
    """Return the HTTP status of an error code; 400 for one that the model does not know."""
    if code in model().shape_names:
        error = model().shape_for(code).metadata.get("error", {})
        return int(error.get("httpStatusCode", 400))
    return _UNCHECKED_STATUS.get(code, 400)
