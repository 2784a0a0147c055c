"""Two sockets as a shell: the guest's own attendant, run here, between the ports of a make-believe qemu."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import TargetError
from harness.targets.base import CommandTimeout
from harness.targets.ports import Ports
from harness.targets.shell import PersistentShell

if TYPE_CHECKING:
    from collections.abc import Generator


class Guest:
    """Gives whoever connects to both sockets a bash after the word, as the attendant does; a hang-up ends it."""

    def __init__(self, folder: Path) -> None:
        self.paths = (folder / "out.sock", folder / "err.sock")
        self.alive = True
        self._listeners = [self._listen(path) for path in self.paths]
        self._shell: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @staticmethod
    def _listen(path: Path) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        return listener

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                out, err = (listener.accept()[0] for listener in self._listeners)
                word = b""
                while not word.endswith(b"\n"):
                    word += out.recv(1)
                out.sendall(word.split()[1] + b" ready\n")
                with subprocess.Popen(
                    ["bash", "--noprofile", "--norc"], stdin=out.fileno(), stdout=out.fileno(), stderr=err.fileno()
                ) as shell:
                    self._shell = shell
                    shell.wait()
                out.close()
                err.close()

    def end(self) -> None:
        self.alive = False
        if self._shell is not None:
            self._shell.kill()
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._thread.join(10)


@pytest.fixture
def guests() -> Generator[list[Guest]]:
    """Give two pairs of ports, since a command that hangs is killed through the other one."""
    folders = [Path(tempfile.mkdtemp(prefix="isms-ports-")) for _ in range(2)]
    guests = [Guest(folder) for folder in folders]
    yield guests
    for guest, folder in zip(guests, folders, strict=True):
        guest.end()
        shutil.rmtree(folder)


@pytest.fixture
def shell(guests: list[Guest]) -> Generator[PersistentShell]:
    free = [0, 1]

    def opened() -> Ports:
        number = free.pop(0)
        guest = guests[number]
        return Ports(*guest.paths, alive=lambda: guest.alive, seconds=20, closed=lambda: free.insert(0, number))

    shell = PersistentShell(opened)
    yield shell
    shell.close()


def test_both_streams_come_apart_and_bytes_stay_bytes(shell: PersistentShell) -> None:
    done = shell.run("cat; echo wrong >&2; exit 7", stdin=bytes(range(256)))
    assert (done.stdout, done.stderr, done.returncode) == (bytes(range(256)), b"wrong\n", 7)


def test_more_than_the_sockets_hold_arrives(shell: PersistentShell) -> None:
    data = os.urandom(3_000_000)
    assert shell.run("cat", stdin=data).stdout == data


def test_a_shell_that_was_let_go_is_replaced(shell: PersistentShell) -> None:
    shell.run("x=1")
    shell.reopen()
    assert shell.run("echo fresh").out == "fresh\n"


def test_a_guest_that_ends_is_told(guests: list[Guest], shell: PersistentShell) -> None:
    shell.run("true")
    guests[0].alive = False
    with pytest.raises(TargetError, match="guest has ended"):
        shell.run("sleep 30", timeout=20)


def test_a_guest_that_never_answers_is_told() -> None:
    with tempfile.TemporaryDirectory(prefix="isms-ports-") as name:
        paths = [Path(name) / "out.sock", Path(name) / "err.sock"]
        listeners = [Guest._listen(path) for path in paths]  # noqa: SLF001 - the same sockets, with nobody behind them
        with pytest.raises(TargetError, match="no shell"):
            Ports(paths[0], paths[1], alive=lambda: True, seconds=0.2)
        for listener in listeners:
            listener.close()


def test_the_time_of_a_command_is_kept(shell: PersistentShell) -> None:
    with pytest.raises(CommandTimeout):
        shell.run("sleep 30", timeout=0.3)
