"""Bringing up the system inside a container: the ways to start systemd, the wait for it, and net.* sysctls made writable safely."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness import engine_trial, leftovers
from harness.engine import last_words
from harness.errors import TargetError
from harness.targets.base import CommandTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.engine import Engine
    from harness.targets.base import Completed

BOOT_SECONDS = 90.0
SILENT_SECONDS = 20.0
"""How long a systemd may say nothing at all; version 219 on a host with cgroup v2 only freezes without a word."""
FREEZE_SECONDS = 2.0
"""How long it may say nothing before its console is read for the reason."""
QUESTION_SECONDS = 20.0
POLL_SECONDS = 0.05
SLEEPER = "trap 'exit 0' TERM INT RTMIN+3; while :; do sleep 86400 & wait $!; done"
"""The process 1 of a container without systemd: it reaps what is left to it and goes when it is told."""


class BootError(Exception):
    """This way of starting does not bring the system up; another may."""


class Inside(Protocol):
    """What is needed of a container here."""

    def run(self, command: str, *, stdin: bytes | None = None, timeout: float | None = None) -> Completed:
        """Run a command inside."""
        ...

    def ended(self) -> str | None:
        """Say how the container ended; None while it runs."""
        ...

    def frozen(self) -> str:
        """Return the words with which systemd gave up; empty when it has not said so."""
        ...


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to start a container."""

    name: str
    init: str
    """`systemd` or `none`."""
    options: tuple[str, ...]
    command: tuple[str, ...]


def modes(engine: Engine) -> list[Mode]:
    """List the ways to start, the best first; without systemd, files, packages, users and `systemctl enable` still work."""
    signal = "--stop-signal=SIGRTMIN+3"
    none = Mode("without systemd", "none", (signal,), ("/bin/bash", "-c", SLEEPER))
    if engine.name == "podman":
        return [Mode("systemd", "systemd", ("--systemd=always", signal), ("/sbin/init",)), none]
    folders = tuple(f"--tmpfs={folder}" for folder in ("/run", "/run/lock", "/tmp"))  # noqa: S108 - a mount point inside
    kinds = ("rw", "ro") if engine.cgroup == "v2" else ("ro", "rw")
    return [
        Mode(
            f"systemd with the host's cgroups {kind}",
            "systemd",
            (*folders, "--cgroupns=host", f"--volume=/sys/fs/cgroup:/sys/fs/cgroup:{kind}", "--env=container=docker", signal),
            ("/sbin/init",),
        )
        for kind in kinds
    ] + [none]


class Memory:
    """Which way an image came up last time on this engine."""

    def __init__(self, engine: Engine, image_id: str) -> None:
        """Remember per engine, machine and image."""
        self._store = engine_trial.Memory()
        self._key = json.dumps(["boot", engine_trial.key(engine), image_id])

    def order(self, ways: Sequence[Mode]) -> list[Mode]:
        """Put the way that worked first; the others follow, since what is remembered may no longer hold."""
        name = (self._store.recall(self._key) or {}).get("mode")
        return sorted(ways, key=lambda mode: mode.name != name)

    def keep(self, mode: Mode) -> None:
        """Remember, when it is something new."""
        if (self._store.recall(self._key) or {}).get("mode") != mode.name:
            self._store.remember(self._key, {"mode": mode.name})


def answer(inside: Inside) -> str:
    """Wait until a container without systemd runs commands."""
    try:
        inside.run("true", timeout=QUESTION_SECONDS)
    except (TargetError, CommandTimeout) as error:
        raise BootError(str(error)) from error
    return "running without systemd"


def wait(inside: Inside) -> str:
    """Wait until systemd is up and return its state: `running`, or `degraded` with the units that failed.

    A system that is still `starting` after 90 s is taken as it is, with the jobs it waits for. Raises BootError when it does not boot.
    """
    began = heard = time.monotonic()
    while True:
        told = state(inside)
        now = time.monotonic()
        if told in {"running", "starting", "initializing", "degraded", "maintenance"}:
            heard = now
        if told == "running":
            return told
        if told == "degraded":
            units = inside.run("systemctl --failed --no-legend --plain --no-pager", timeout=QUESTION_SECONDS).out.splitlines()
            return f"degraded: {', '.join(line.split()[0] for line in units if line.split())} failed"
        if told in {"maintenance", "stopping"}:
            message = f"systemd is in the state {told}"
            raise BootError(message)
        if now - heard > FREEZE_SECONDS and (words := inside.frozen()):
            message = f"systemd gave up: {words}"
            raise BootError(message)
        if now - heard > SILENT_SECONDS:
            message = f"systemd does not answer within {SILENT_SECONDS:g} s"
            raise BootError(message)
        if now - began > BOOT_SECONDS:
            jobs = inside.run("systemctl list-jobs --no-legend --no-pager", timeout=QUESTION_SECONDS).out.splitlines()
            return f"starting, waits for {', '.join(line.split()[1] for line in jobs if len(line.split()) > 1) or 'nothing it names'}"
        time.sleep(POLL_SECONDS)


def state(inside: Inside) -> str:
    """Ask systemd once. Raises BootError when the container is gone."""
    try:
        return inside.run("systemctl is-system-running", timeout=QUESTION_SECONDS).out.strip()
    except CommandTimeout:
        return "silent"
    except TargetError as error:
        how = inside.ended()
        raise BootError(f"the container {how}" if how else error.message) from error


def net_writable(inside: Inside) -> bool:
    """Tell whether net.* sysctls can be written, by asking the kernel for the access and writing nothing."""
    return inside.run("test -w /proc/sys/net/ipv4/ip_forward", timeout=QUESTION_SECONDS).returncode == 0


OPEN_NET = """\
set -e
umask 077
mkdir -p /run/.harness-proc
mount -t proc -o nosuid,nodev,noexec proc /run/.harness-proc
trap 'umount /run/.harness-proc; rmdir /run/.harness-proc' EXIT
mount --bind /run/.harness-proc/sys/net /proc/sys/net
"""


def open_net_sysctls(inside: Inside, engine: Engine, container: str) -> str | None:
    """Make /proc/sys/net writable, and nothing else of /proc/sys. Returns None, or why it stays read-only.

    The engine mounts /proc/sys read-only, since kernel.* and fs.* are the host's. net.* belongs to the network namespace, which
    is the container's own: that is checked first. Then the values of /etc/sysctl.d are applied, as a boot does.
    """
    if not net_writable(inside):
        reason = shared_network(inside, engine) or mounted(engine, container)
        if reason is not None:
            return reason
        if not net_writable(inside):
            return "the mount of a second /proc has no effect"
    with suppress(CommandTimeout):
        inside.run("/usr/lib/systemd/systemd-sysctl --prefix=net", timeout=QUESTION_SECONDS)
    return None


def shared_network(inside: Inside, engine: Engine) -> str | None:
    """Say why the network namespace cannot be taken for the container's own; None when it is."""
    theirs = inside.run("readlink /proc/1/ns/net", timeout=QUESTION_SECONDS).out.strip()
    if not theirs:
        return "the network namespace cannot be told"
    with suppress(OSError):
        if not engine.remote and os.readlink("/proc/self/ns/net") == theirs:  # noqa: PTH115 - text to compare
            return "the container shares the network of the host"
    return None


def mounted(engine: Engine, container: str) -> str | None:
    """Make the mount by one of several ways. Returns None, or why the last one failed."""
    reason = ""
    for way in ways_in(engine, container):
        try:
            done = subprocess.run(way, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False, start_new_session=True)
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = str(error)
            continue
        if done.returncode == 0:
            return None
        reason = last_words(done.stderr)
    return reason


def ways_in(engine: Engine, container: str) -> Iterator[list[str]]:
    """List command lines that mount inside the container, the one that needs least first.

    A privileged process of the container; its namespaces entered from this machine (as root, or in podman's user namespace); and
    entered from a privileged container of the same image, which is the only way where the engine runs in a virtual machine.
    """
    yield [*engine.command, "exec", "--privileged", "--user=0", container, "/bin/sh", "-c", OPEN_NET]
    asked = engine.call("inspect", "--type", "container", "--format", "{{.State.Pid}} {{.Image}}", container, timeout=20, check=False)
    pid, image = [*asked.stdout.decode().split(), "", ""][:2]
    if not pid.isdigit() or int(pid) <= 1:
        return
    enter = ["nsenter", "-t", pid, "-m", "-p", "-n", "--", "/bin/sh", "-c", OPEN_NET]
    if not engine.remote and Path("/proc/self/ns").exists():
        if os.geteuid() == 0:
            yield enter
        elif engine.name == "podman":
            yield [engine.path, "unshare", *enter]
    if not engine.rootless:
        labels = [f"--label={key}={value}" for key, value in leftovers.labels(secrets.token_hex(16)).items()]
        options = ["--rm", "--privileged", "--pid=host", "--network=none", "--pull=never", *labels, *engine.limit_options]
        yield [*engine.command, "run", *options, f"--entrypoint={enter[0]}", image, *enter[1:]]
