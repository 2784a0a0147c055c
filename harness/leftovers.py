"""Containers never outlive their run: whose they are, how they go at the end of a process, and after a crash of an earlier one."""

from __future__ import annotations

import atexit
import json
import os
import platform
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from harness.engine import Engine

LABEL = "org.isms.harness"
"""`run` on a container of a run; `.run`, `.pid`, `.started`, `.boot`, `.place` say whose it is, `.keep` that the user wants it."""
REMOVAL_SECONDS = 30.0


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM, SIGHUP). As Ctrl-C, it passes through everything that only catches errors."""

    def __init__(self, number: int) -> None:
        """Keep the signal; the exit code of a process that ends by it is 128 plus its number."""
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Owner(Enum):
    """Whether the process that made a container is still there."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Leftover:
    """A container of some run."""

    id: str
    name: str
    running: bool
    labels: Mapping[str, str]

    @property
    def kept(self) -> bool:
        """Tell whether its user asked to keep it."""
        return self.labels.get(f"{LABEL}.keep") == "true"

    def owner(self) -> Owner:
        """Find out whether the process that made it still lives. A process that cannot be seen from here counts as unknown."""
        if self.labels.get(f"{LABEL}.boot") != boot_id():
            return Owner.UNKNOWN if self.running else Owner.GONE
        if self.labels.get(f"{LABEL}.place") != place():
            return Owner.UNKNOWN
        pid = self.labels.get(f"{LABEL}.pid", "")
        alive = pid.isdigit() and start_of(int(pid)) == self.labels.get(f"{LABEL}.started")
        return Owner.ALIVE if alive else Owner.GONE


def labels(run: str, *, keep: bool = False) -> dict[str, str]:
    """Return the labels of a container that this process makes in run `run`."""
    told = {
        LABEL: "run",
        f"{LABEL}.run": run,
        f"{LABEL}.pid": str(os.getpid()),
        f"{LABEL}.started": start_of(os.getpid()),
        f"{LABEL}.boot": boot_id(),
        f"{LABEL}.place": place(),
    }
    return {**told, f"{LABEL}.keep": "true"} if keep else told


def boot_id() -> str:
    """Name this boot of this machine; the same process id means another process after the next one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return said(["sysctl", "-n", "kern.boottime"]) or platform.node()


def place() -> str:
    """Name the space in which process ids mean something: the pid namespace, or the machine."""
    with suppress(OSError):
        return f"{platform.node()} {Path('/proc/self/ns/pid').readlink()}"
    return platform.node()


def start_of(pid: int) -> str:
    """Tell when a process started, in whatever unit the system has; empty when there is no such process, or only its corpse."""
    if not Path("/proc/self/stat").exists():
        return said(["ps", "-o", "lstart=", "-p", str(pid)])
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if state in {"Z", "X"} else fields[18]


def said(command: list[str]) -> str:
    """Return what a small system command prints; empty when it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def containers(engine: Engine) -> list[Leftover]:
    """List the containers of all runs, living and left over."""
    ids = engine.call("ps", "-aq", "--no-trunc", "--filter", f"label={LABEL}=run", timeout=20).stdout.decode().split()
    if not ids:
        return []
    found = engine.call("inspect", "--type", "container", *ids, timeout=20, check=False).stdout
    entries: list[dict[str, Any]] = json.loads(found or b"[]")  # one that vanished in between is simply not listed
    return [
        Leftover(
            id=entry["Id"],
            name=entry["Name"].lstrip("/"),
            running=bool(entry["State"].get("Running")),
            labels=entry["Config"].get("Labels") or {},
        )
        for entry in entries
    ]


def sweep(engine: Engine, say: Callable[[str], None] = lambda _: None, *, seconds: float = 2 * REMOVAL_SECONDS) -> list[str]:
    """Remove what crashed runs left behind, and return the names. Never one of a living process, never one that is kept."""
    deadline = time.monotonic() + seconds
    removed = []
    for leftover in containers(engine):
        if leftover.kept or leftover.owner() is not Owner.GONE:
            continue
        if time.monotonic() > deadline:
            say(f"{leftover.name}: left by an earlier run, not removed in time")
        elif discard(engine, [leftover.id], min(REMOVAL_SECONDS, deadline - time.monotonic())):
            say(f"removed {leftover.name}: an earlier run (process {leftover.labels.get(f'{LABEL}.pid')}) left it behind")
            removed.append(leftover.name)
        else:
            say(f"{leftover.name}: left by an earlier run, cannot be removed; try `{engine.name} rm -f {leftover.name}`")
    return removed


def remove(engine: Engine, run: str) -> bool:
    """Remove every container of one run, in whatever state. Returns False when one is still there."""
    try:
        ids = engine.call("ps", "-aq", "--no-trunc", "--filter", f"label={LABEL}.run={run}", timeout=20).stdout.decode().split()
    except UnreachableError:
        return False
    return discard(engine, ids)


def discard(engine: Engine, ids: list[str], seconds: float = REMOVAL_SECONDS) -> bool:
    """Remove containers at once. An interruption of the wait does not interrupt the removal."""
    if not ids:
        return True
    now = ["-t", "0"] if engine.name == "podman" else []
    null = subprocess.DEVNULL
    try:
        process = engine.popen("rm", "-f", "-v", *now, *ids, stdin=null, stdout=null, stderr=null)
        return process.wait(seconds) == 0
    except (UnreachableError, subprocess.TimeoutExpired):
        return False


_watched: dict[str, Callable[[], object]] = {}
_hooked = False


def watch(engine: Engine, run: str) -> None:
    """Make sure that the containers of a run go when this process ends by an error, SIGTERM or SIGHUP.

    A signal becomes Terminated in the main thread, so that every `with` on the way closes what it opened. A handler that
    the program set itself stays. What is still watched when the interpreter ends is removed then.
    """
    watch_removal(run, lambda: remove(engine, run))


def watch_removal(run: str, removal: Callable[[], object]) -> None:
    """Do the same for anything else that a run makes: `removal` takes it away, at once and whatever its state."""
    global _hooked  # noqa: PLW0603 - the hooks belong to the process, as the signals do
    _watched[run] = removal
    if _hooked:
        return
    _hooked = True
    atexit.register(_remove_all)
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _terminate)


def unwatch(run: str) -> None:
    """Say that what a run made is gone, or is to stay."""
    _watched.pop(run, None)


def _terminate(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not break off the cleaning up
    raise Terminated(number)


def _remove_all() -> None:
    for run, removal in list(_watched.items()):
        removal()
        unwatch(run)
