"""WebDownload over real HTTP, with the curl of this machine."""

from __future__ import annotations

import hashlib
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from harness.toe import Runner, Semantics, Status, load
from tests.toe.local import LocalShellTarget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.toe import DocumentOutcome

CONTENT = b"agent package\n"
SUM = hashlib.sha256(CONTENT).hexdigest()


class Answers(BaseHTTPRequestHandler):
    """`/moved` redirects, `/agent.rpm` is there, `/shaky` is there the second time."""

    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/agent.rpm")
            self.end_headers()
            return
        ready = self.path == "/agent.rpm" or (self.path == "/shaky" and self.seen.count("/shaky") > 1)
        self.send_response(200 if ready else 503 if self.path == "/shaky" else 404)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def web() -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []

    class Handler(Answers):
        pass

    Handler.seen = seen
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()


def download(tmp_path: Path, *elements: str) -> DocumentOutcome:
    if shutil.which("curl") is None:
        pytest.skip("this machine has no curl")
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    shutil.rmtree(root / "bin", ignore_errors=True)
    runner = Runner(LocalShellTarget(root), tmp_path / "logs", lambda _: None, semantics=Semantics(working_directory=str(tmp_path)))
    inputs = "".join(f"          - {element}\n" for element in elements)
    step = f"      - name: Get\n        action: WebDownload\n        inputs:\n{inputs}"
    text = f"schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n{step}"
    return runner.run(load(text))


def test_files_folders_redirects_and_second_tries(tmp_path: Path, web: tuple[str, list[str]]) -> None:
    address, seen = web
    root = tmp_path / "root"
    outcome = download(
        tmp_path,
        f"{{source: {address}/moved, destination: {root}/new/name}}",
        f"{{source: {address}/agent.rpm, destination: {root}/folder/, checksum: {SUM.upper()}, algorithm: sha256}}",
        f"{{source: {address}/shaky, destination: {root}/shaky}}",
    )
    assert outcome.status is Status.SUCCESS, outcome.message
    assert outcome.steps[0].outputs == ({"destination": f"{root}/new/name\n{root}/folder/agent.rpm\n{root}/shaky"},)
    assert (root / "folder" / "agent.rpm").read_bytes() == CONTENT
    assert seen.count("/shaky") == 2


def test_an_equal_file_is_not_downloaded_again(tmp_path: Path, web: tuple[str, list[str]]) -> None:
    address, seen = web
    element = f"{{source: {address}/agent.rpm, destination: {tmp_path}/a, checksum: {SUM}, algorithm: SHA256}}"
    assert download(tmp_path, element, element).status is Status.SUCCESS
    assert seen == ["/agent.rpm"]


@pytest.mark.parametrize(
    ("element", "message"),
    [
        ("{source: WEB/none, destination: ROOT/none}", "answered 404"),
        (f"{{source: WEB/agent.rpm, destination: ROOT/none, checksum: {'0' * 32}, algorithm: MD5}}", "does not have the checksum"),
        ("{source: WEB/agent.rpm, destination: ROOT/there, overwrite: false}", "overwrite is false"),
    ],
)
def test_refusals_leave_nothing_behind(tmp_path: Path, web: tuple[str, list[str]], element: str, message: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "there").write_text("mine", encoding="utf-8")
    outcome = download(tmp_path, element.replace("WEB", web[0]).replace("ROOT", str(tmp_path / "root")))
    assert message in outcome.message
    assert sorted(path.name for path in (tmp_path / "root").iterdir()) == ["bin", "there"]
    assert (tmp_path / "root" / "there").read_text(encoding="utf-8") == "mine"
