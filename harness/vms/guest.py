"""A guest of qemu: started from its folder, looked after, taken up again by another process, and always ended."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from harness import leftovers
from harness.errors import TargetError
from harness.vms import machine as machines
from harness.vms import tools
from harness.vms.qmp import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.vms.machine import Record

RECORD = "guest.json"
START_SECONDS = 30.0
END_SECONDS = 10.0
SHUTDOWN_SECONDS = 90.0
POLL_SECONDS = 0.05
SNAPSHOT = "ready"
SNAPSHOT_SECONDS = 120.0
LAST_LINES = 8
CONTROL = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9])|[\x00-\x08\x0b-\x1f\x7f]")


OUTLIVING: list[subprocess.Popen[bytes]] = []
"""Processes that go on when nobody here speaks of them any more; Python would warn of one that is forgotten."""


class Guest:
    """One virtual machine: a folder with guest.json, a disk, sockets and the console's log."""

    def __init__(self, folder: Path, record: Record, say: Callable[[str], None] = lambda _: None) -> None:
        """Take a guest as it is; `start` starts it."""
        self.folder, self.record = folder, record
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a guest of another process. Raises TargetError when there is none."""
        try:
            record = machines.Record.of(json.loads((folder / RECORD).read_text("utf-8")))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise TargetError(f"there is no virtual machine {folder.name}", hint="`harness vm list` lists them") from error
        return cls(folder, record)

    @property
    def name(self) -> str:
        """What people call it."""
        return self.record.name

    def save(self) -> None:
        """Write guest.json, in one rename."""
        new = self.folder / f"{RECORD}.new"
        new.write_text(json.dumps(self.record.as_data(), indent=1) + "\n", "utf-8")
        new.replace(self.folder / RECORD)

    def running(self) -> bool:
        """Tell whether its qemu runs."""
        if self._process is not None and self._process.poll() is not None:
            return False
        record = self.record
        return record.pid > 0 and bool(record.started) and leftovers.start_of(record.pid) == record.started

    def halted(self) -> bool:
        """Tell whether qemu holds the guest since a write to its disk failed, as when no space is left here. It goes on by itself never."""
        with suppress(TargetError), self.monitor(seconds=1.0) as monitor:
            return bool(monitor("query-status")["status"] == "io-error")
        return False

    def start(self, *, snapshot: str | None = None, outlive: bool = False) -> None:
        """Start qemu, from a snapshot if one is named. `outlive`: it goes on when this process ends, however it does.

        Raises TargetError, with qemu's own words, when it does not start.
        """
        tools.require(machines.PROGRAM)
        for name in (machines.MONITOR, *(f"{port}.sock" for pair in machines.SHELLS for port in pair)):
            (self.folder / name).unlink(missing_ok=True)
        words = self.record.machine.command(self.name, snapshot=snapshot)
        if not outlive and (setpriv := shutil.which("setpriv")):
            words = [setpriv, "--pdeathsig", "KILL", *words]
        with (self.folder / "qemu.log").open("wb") as log:
            self._process = subprocess.Popen(
                words, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        if outlive:
            OUTLIVING.append(self._process)
        self.record = replace(self.record, pid=self._process.pid, started=leftovers.start_of(self._process.pid))
        self.save()
        try:
            self.monitor(seconds=START_SECONDS).close()
        except TargetError as error:
            self.kill()
            said = (self.folder / "qemu.log").read_text("utf-8", "replace").strip().splitlines()
            raise TargetError(
                f"qemu does not start: {said[-1] if said else error.message}", hint="`harness doctor` shows what it needs"
            ) from error

    def monitor(self, *, seconds: float = 10.0) -> Monitor:
        """Connect to its monitor."""
        deadline = time.monotonic() + seconds
        while True:
            if not self.running():
                raise TargetError(f"virtual machine {self.name} is off", hint=f"`harness vm start {self.name}`")
            with suppress(TargetError):
                return Monitor(self.folder / machines.MONITOR, seconds=0.5)
            if time.monotonic() > deadline:
                raise TargetError(f"the monitor of {self.name} does not answer")

    def port(self) -> int:
        """Return the port on the loopback address that leads to the guest's sshd."""
        with self.monitor() as monitor:
            found = re.search(r"127\.0\.0\.1\s+(\d+)\s+\S+\s+22\b", monitor.human("info usernet"))
        if found is None:
            raise TargetError(f"{self.name} has no port that leads to its sshd")
        return int(found[1])

    def ended(self, seconds: float) -> bool:
        """Wait for qemu's end: the guest switched itself off or restarted, which both end the process."""
        deadline = time.monotonic() + seconds
        while self.running():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        self._reap()
        return True

    def shut_down(self, seconds: float = SHUTDOWN_SECONDS) -> None:
        """Press its power button, and end qemu when the guest does not go within `seconds`."""
        with suppress(TargetError), self.monitor() as monitor:
            monitor("system_powerdown")
        if not self.ended(seconds):
            self.kill()

    def kill(self) -> None:
        """End qemu at once."""
        if self.running():
            with suppress(ProcessLookupError):
                os.kill(self.record.pid, signal.SIGKILL)
        deadline = time.monotonic() + END_SECONDS
        while self.running() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        self._reap()

    def _reap(self) -> None:
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
            self._process = None
        if self.record.pid:
            self.record = replace(self.record, pid=0, started="")
            if self.folder.is_dir():
                self.save()

    def snapshot(self) -> None:
        """Keep memory and disk as they are now; the guest stands still meanwhile. Raises TargetError when qemu refuses."""
        with self.monitor() as monitor:
            monitor("stop")
            try:
                monitor.human(f"savevm {SNAPSHOT}", seconds=SNAPSHOT_SECONDS)
            finally:
                monitor("cont")
        self.record = replace(self.record, snapshot=SNAPSHOT)
        self.save()

    def console(self, count: int = LAST_LINES) -> list[str]:
        """Return the last lines of the console, without its colours."""
        try:
            data = (self.folder / machines.CONSOLE).read_bytes()[-65536:]
        except OSError:
            return []
        text = CONTROL.sub("", data.decode("utf-8", "replace").replace("\r", "\n"))
        return [line.strip() for line in text.split("\n") if line.strip()][-count:]

    def remove(self) -> bool:
        """End it and delete its folder. Returns False when something of it is still there."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        return not self.folder.exists() and not self.running()
