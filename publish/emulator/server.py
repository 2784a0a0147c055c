"""One endpoint on loopback for all of AWS that a rehearsal needs: Image Builder from the emulator, everything else from moto.

boto3, `aws --endpoint-url` and `AWS_ENDPOINT_URL` can talk to it unchanged. Below `/_emulator/` people and tests look inside:
`GET state`, `POST reset`, `POST advance`, `POST run-due`, `POST faults` with `{"code": …, "operations": […], "times": …}`.
"""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Self

from harness.errors import UsageError
from publish.emulator.aws import Services, clients
from publish.emulator.core import Emulator
from publish.emulator.errors import ServiceError
from publish.emulator.faults import Fault
from publish.emulator.scheduler import Stepped, Threaded
from publish.emulator.wire import SERVICE, Answer, Request, read, refusal, signed_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from wsgiref.types import StartResponse, WSGIEnvironment

    from werkzeug.serving import BaseWSGIServer

    from publish.emulator.wire import Json
    from publish.emulator.world import World

CONTROL: Final = "/_emulator/"
MAX_BODY: Final = 8 * 1024 * 1024
"""Bytes of a request to Image Builder that are read; its largest document is 64 KB."""


@dataclass(slots=True)
class Endpoint:
    """The endpoint while it is open: `with Endpoint() as endpoint: boto3.client(…, endpoint_url=endpoint.url)`."""

    emulator: Emulator = field(default_factory=lambda: Emulator(scheduler=Threaded()))
    host: str = "127.0.0.1"
    port: int = 0
    """0: any that is free."""
    others: bool = True
    """Whether moto answers for the other services; without it they are refused."""
    gateway: Gateway | None = None
    server: BaseWSGIServer | None = None
    thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """What `--endpoint-url` takes."""
        return f"http://{self.host}:{self.port}"

    def open(self) -> Self:
        """Begin to listen. Raises UsageError for an address that others can reach, OSError when it is taken."""
        from werkzeug.serving import make_server

        if not _is_loopback(self.host):
            raise UsageError(f"the emulator listens on loopback only, not on {self.host}", hint="use 127.0.0.1")
        self.gateway = Gateway(self.emulator, _moto() if self.others else None)
        # Bound here: werkzeug would end the process where the port is taken.
        with socket.create_server((self.host, self.port)) as bound:
            host, port = bound.getsockname()[:2]
            self.server = make_server(host, port, self.gateway, threaded=True, request_handler=_quiet(), fd=bound.fileno())
        self.port = self.server.port
        if self.others:
            self.emulator.worlds = self._worlds()
        self.thread = threading.Thread(target=self.server.serve_forever, name="endpoint", daemon=True)
        self.thread.start()
        return self

    def close(self) -> None:
        """Bring images to a stop, forget everything, and stop listening."""
        if self.gateway is not None:
            self.gateway.reset()
        if self.server is not None and self.thread is not None:
            self.server.shutdown()
            self.thread.join()
            self.server.server_close()
            self.server = self.thread = None
        self.emulator.worlds = None

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _worlds(self) -> Callable[[str], World]:
        made: dict[str, World] = {}
        lock = threading.Lock()

        def world(region: str) -> World:
            with lock:
                if region not in made:
                    made[region] = Services(clients(region, self.url))
                return made[region]

        return world


@dataclass(frozen=True, slots=True)
class Gateway:
    """The WSGI application: looks at what a request is signed for, and hands it on."""

    emulator: Emulator
    others: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]] | None = None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        request = _request(environ)
        signature = signed_for(environ.get("HTTP_AUTHORIZATION"))
        if request.path.startswith(CONTROL):
            answer = self._control(request, _body(environ))
        elif (signature and signature[1] == SERVICE) or (signature is None and _is_ours(request)):
            region = signature[0] if signature else None
            answer = self.emulator.handle(Request(request.method, request.path, request.query, _body(environ), region))
        elif self.others is not None:
            return self.others(environ, start_response)
        else:
            answer = refusal(ServiceError("UnknownOperation", f"{signature[1] if signature else request.path} is not served here"))
        payload = answer.payload
        headers = [*answer.headers.items(), ("Content-Type", "application/json"), ("Content-Length", str(len(payload)))]
        start_response(f"{answer.status} {'OK' if answer.status < 400 else 'Refused'}", headers)  # noqa: PLR2004 - HTTP's own border
        return [payload]

    def reset(self) -> None:
        """Make the account and the other services empty."""
        from werkzeug.test import Client

        self.emulator.reset()
        if self.others is not None:
            Client(self.others).post("/moto-api/reset")

    def _control(self, request: Request, body: bytes) -> Answer:
        what = (request.method, request.path.removeprefix(CONTROL))
        emulator = self.emulator
        if what == ("GET", "state"):
            return Answer(200, emulator.export())
        if what == ("POST", "reset"):
            self.reset()
            return Answer(200, {})
        if what == ("POST", "advance"):
            return Answer(200, {"more": emulator.scheduler.advance() if isinstance(emulator.scheduler, Stepped) else False})
        if what == ("POST", "run-due"):
            return Answer(200, {"started": emulator.run_due()})
        if what == ("POST", "faults"):
            return self._fault(body)
        return Answer(404, {"message": f"{request.method} {request.path} is not known"})

    def _fault(self, body: bytes) -> Answer:
        try:
            given: Json = json.loads(body)
            fault = Fault(**{**given, "operations": frozenset(given.get("operations", ()))})
        except (ValueError, TypeError) as error:
            return Answer(400, {"message": str(error)})
        with self.emulator.lock:
            self.emulator.faults.add(fault)
        return Answer(200, {})


def _request(environ: WSGIEnvironment) -> Request:
    from urllib.parse import parse_qsl, urlsplit

    # PATH_INFO is decoded already, and an ARN in a path would be torn apart.
    url = urlsplit(environ.get("RAW_URI") or environ.get("REQUEST_URI") or environ.get("PATH_INFO", "/"))
    query = url.query or environ.get("QUERY_STRING", "")
    return Request(environ["REQUEST_METHOD"], url.path, parse_qsl(query, keep_blank_values=True))


def _body(environ: WSGIEnvironment) -> bytes:
    length = min(int(environ.get("CONTENT_LENGTH") or 0), MAX_BODY)
    data: bytes = environ["wsgi.input"].read(length)
    return data


def _is_ours(request: Request) -> bool:
    try:
        read(request)
    except ServiceError as error:
        return error.code != "UnknownOperationException"
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _moto() -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    from publish.emulator import gaps

    gaps.fill()
    application: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]] = DomainDispatcherApplication(create_backend_app)
    return application


def _quiet() -> type:
    from werkzeug.serving import WSGIRequestHandler

    class Quiet(WSGIRequestHandler):
        """Writes no line per request."""

        def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - the name is werkzeug's
            del type, message, args

    return Quiet
