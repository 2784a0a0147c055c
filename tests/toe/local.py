"""A target on this machine's own bash, for tests whose documents keep to a temporary folder."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from harness.errors import TargetError
from harness.model import Environment
from harness.targets.base import CommandTimeout, Completed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class LocalShellTarget:
    """Real processes, real time limits; `root` is where documents may write, `bin` comes first on PATH."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "bin"
        self.bin.mkdir()
        self.commands: list[str] = []
        self.restarts = 0
        self.alive = True

    name = "local"
    uri = "local://"
    environment = Environment.CONTAINER
    facts: Mapping[str, str] = {}

    def run(
        self,
        command: str,
        *,
        stdin: bytes | None = None,
        timeout: float | None = None,
        on_line: Callable[[str, str], None] | None = None,
    ) -> Completed:
        if not self.alive:
            raise TargetError("the target died")
        self.commands.append(command)
        began = time.monotonic()
        process = subprocess.Popen(
            ["/bin/bash", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={"HOME": "/root", "LC_ALL": "C", "PATH": f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin"},
            start_new_session=True,
        )
        kept: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        readers = [
            threading.Thread(target=_follow, args=(stream, name, kept[name], on_line))
            for name, stream in (("stdout", process.stdout), ("stderr", process.stderr))
        ]
        for reader in readers:
            reader.start()
        try:
            if process.stdin is not None:
                _feed(process.stdin, stdin or b"")
            process.wait(timeout)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise CommandTimeout(command, timeout or 0, b"".join(kept["stdout"]), b"".join(kept["stderr"])) from None
        finally:
            process.wait()
            for reader in readers:
                reader.join()
        out, err = (b"".join(kept[name]) for name in ("stdout", "stderr"))
        return Completed(command, process.returncode, out, err, time.monotonic() - began)

    def put(self, data: bytes, path: str, *, mode: int = 0o600) -> None:
        Path(path).write_bytes(data)
        Path(path).chmod(mode)

    def get(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def restart(self) -> None:
        self.restarts += 1

    def close(self) -> None:
        self.alive = False

    def program(self, name: str, text: str) -> None:
        """Put a program where the target finds it first."""
        self.put(f"#!/bin/bash\n{text}\n".encode(), str(self.bin / name), mode=0o755)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _feed(stream: IO[bytes], data: bytes) -> None:
    try:
        with stream:
            stream.write(data)
    except BrokenPipeError:
        pass


def _follow(stream: IO[bytes] | None, name: str, kept: list[bytes], on_line: Callable[[str, str], None] | None) -> None:
    if stream is None:
        return
    with stream:
        for line in stream:
            kept.append(line)
            if on_line is not None:
                on_line(name, line.decode("utf-8", "replace").removesuffix("\n"))
