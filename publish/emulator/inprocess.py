"""Image Builder inside this process: every client that boto3 makes meanwhile is answered by the emulator, other services by moto."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from publish.emulator.aws import Services, clients
from publish.emulator.core import Emulator
from publish.emulator.wire import SERVICE, Request, signed_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from botocore.awsrequest import AWSPreparedRequest, AWSResponse

    from publish.emulator.world import World

EVENT = f"before-send.{SERVICE}"
"""botocore takes the first answer to this event and sends nothing; more specific than moto's own handler."""


def responder(emulator: Emulator) -> Callable[..., AWSResponse]:
    """Give a handler for `EVENT`, which can be registered with the events of a single client as well."""

    def respond(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        from botocore.awsrequest import AWSResponse
        from botocore.compat import HTTPHeaders

        url = urlsplit(request.url)
        signature = signed_for(_text(request.headers.get("Authorization")))
        query = parse_qsl(url.query, keep_blank_values=True)
        answer = emulator.handle(Request(str(request.method), url.path, query, _bytes(request.body), signature[0] if signature else None))
        headers = HTTPHeaders()
        for name, value in {**answer.headers, "Content-Type": "application/json"}.items():
            headers[name] = value
        return AWSResponse(request.url, answer.status, headers, _Raw(answer.payload))

    return respond


@contextmanager
def in_process(emulator: Emulator | None = None, *, others: bool = True) -> Iterator[Emulator]:
    """Answer every request to Image Builder that this process makes; with `others`, moto answers the rest, and nothing leaves the machine.

    Clients have to be made inside the context. With `others` the emulator asks moto for profiles, objects and AMIs, and logs to it.
    """
    import boto3
    from botocore.handlers import BUILTIN_HANDLERS

    emulator = emulator or Emulator()
    answer = responder(emulator)
    active = True

    def only_inside(request: AWSPreparedRequest, **more: object) -> AWSResponse | None:
        return answer(request, **more) if active else None

    with ExitStack() as stack:
        if others:
            from moto import mock_aws

            stack.enter_context(mock_aws())
            emulator.worlds = _worlds()
        entry = (EVENT, only_inside)
        BUILTIN_HANDLERS.append(entry)
        session, boto3.DEFAULT_SESSION = boto3.DEFAULT_SESSION, None
        try:
            yield emulator
        finally:
            emulator.scheduler.close()
            active = False
            boto3.DEFAULT_SESSION = session
            BUILTIN_HANDLERS.remove(entry)
            if others:
                emulator.worlds = None


def _worlds() -> Callable[[str], World]:
    made: dict[str, World] = {}
    return lambda region: made.setdefault(region, Services(clients(region)))


class _Raw(BytesIO):
    """A body as urllib3 would give it."""

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self.read()


def _bytes(body: object) -> bytes:
    if isinstance(body, str):
        return body.encode()
    return bytes(body) if isinstance(body, bytes | bytearray) else b""


def _text(header: object) -> str | None:
    return header.decode() if isinstance(header, bytes) else str(header) if header is not None else None
