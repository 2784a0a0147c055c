"""A container with systemd inside as a target: started, waited for, restarted, and always removed."""

from __future__ import annotations

import json
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from harness import engine as engines
from harness import leftovers
from harness.errors import EngineError, ImageError, TargetError, UnreachableError, UsageError
from harness.model import Environment
from harness.targets import boot, files
from harness.targets.base import Closing
from harness.targets.shell import PersistentShell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.engine import Engine
    from harness.targets.base import Completed

START_SECONDS = 120.0
STOP_SECONDS = 20
FROZEN = re.compile(r"freezing( execution)?\b|exiting pid 1", re.IGNORECASE)
PROXY = """\
exec 3<>/dev/tcp/127.0.0.1/22 4<&0 || exit 1
cat <&3 4<&- & down=$!
{ cat <&4 >&3; kill $down; } 2>/dev/null &
exec 3>&- 4<&-
wait $down
"""
# Whichever side ends first ends the other. SSH never closes one direction only.


@dataclass(frozen=True, slots=True)
class Order:
    """A container that is to be started."""

    engine: Engine
    image: str
    name: str
    keep: bool
    say: Callable[[str], None]
    run: str = field(default_factory=lambda: secrets.token_hex(16))
    """The label by which it is found and removed, in whatever state it is."""


class ContainerTarget(Closing):
    """A container of podman or docker; commands run as its root."""

    environment = Environment.CONTAINER

    def __init__(self, engine: Engine, container: str, name: str, order: Order | None = None) -> None:
        """Take a container that exists; use `start` or `attach`. Without an order it is somebody else's and is never removed."""
        self.engine = engine
        self.name = name
        self._container = container
        self._order = order
        self._say: Callable[[str], None] = order.say if order else lambda _: None
        self._facts: dict[str, str] = {}
        self._closed = False
        self._shell = PersistentShell(
            [*engine.command, "exec", "-i", "--user=0", container, "/bin/bash", "--noprofile", "--norc"], name=f"container {name}"
        )

    @classmethod
    def start(
        cls,
        engine: Engine,
        image: str,
        *,
        name: str | None = None,
        keep: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> Self:
        """Start a container of `image` and wait until its systemd is up, or without one where it cannot boot.

        Removes what crashed runs left behind. Raises ImageError when the image is missing, EngineError when no container starts.
        """
        try:
            image_id = identify(engine, image)
        except EngineError:
            engine = engines.renew(engine, say)
            image_id = identify(engine, image)
        with suppress(UnreachableError):  # the start itself will say why the engine does not answer
            leftovers.sweep(engine, say)
        memory = boot.Memory(engine, image_id)
        reason = ""
        for mode in memory.order(boot.modes(engine)):
            order = Order(engine, image, name or f"harness-{secrets.token_hex(4)}", keep, say)
            try:
                target = cls.of(order, mode)
                target.come_up(mode)
            except boot.BootError as error:
                reason = str(error)
                say(f"{mode.name}: {reason}; trying another way")
                continue
            memory.keep(mode)
            return target
        message = f"no container of {image} comes up: {reason}"
        raise EngineError(message, hint=f"try `{engine.name} run --rm -it {image} /bin/bash`")

    @classmethod
    def of(cls, order: Order, mode: boot.Mode) -> Self:
        """Create and start a container. What is remembered of the engine is tried anew once when it does not hold any more."""
        leftovers.watch(order.engine, order.run)
        try:
            try:
                return cls(order.engine, launch(order.engine, order, mode), order.name, order)
            except EngineError as error:
                if error.hint or (engine := engines.renew(order.engine, order.say)) == order.engine:
                    raise
                leftovers.remove(order.engine, order.run)
                return cls(engine, launch(engine, order, mode), order.name, order)
        except BaseException:
            leftovers.remove(order.engine, order.run)
            leftovers.unwatch(order.run)
            raise

    def come_up(self, mode: boot.Mode) -> None:
        """Wait for the system inside, and prepare what a container can have of net.* sysctls; a container that fails is removed."""
        began = time.monotonic()
        try:
            self._facts |= {**described(inspect(self.engine, self._container)), "init": mode.init}
            self._facts["system"] = boot.wait(self) if mode.init == "systemd" else boot.answer(self)
            self._open_net_sysctls()
            self._facts["kernel"] = self.run("uname -r", timeout=boot.QUESTION_SECONDS).out.strip()
        except BaseException:
            self._remove()
            raise
        self._say(f"container {self.name} is up after {time.monotonic() - began:.1f} s ({self._facts['system']})")

    @classmethod
    def attach(cls, engine: Engine, name: str) -> Self:
        """Use a container that runs already, and leave it as it is. Raises TargetError when it does not run."""
        entry = inspect(engine, name)
        state = entry["State"]
        if not state.get("Running") or state.get("Paused"):
            status = state.get("Status", "not running")
            message = f"container {name} is {status}"
            raise TargetError(message, hint=f"`{engine.name} {'unpause' if state.get('Paused') else 'start'} {name}`")
        target = cls(engine, entry["Id"], name)
        target.look(entry)
        return target

    @property
    def uri(self) -> str:
        """`podman://NAME` or `docker://NAME`."""
        return f"{self.engine.name}://{self.name}"

    @property
    def facts(self) -> Mapping[str, str]:
        """Engine, version, runtime, cgroup layout, limits, image, init system, kernel, and whether net.* sysctls can be written."""
        engine = self.engine
        return {"engine": engine.name, "engine_version": engine.version, "cgroup": engine.cgroup, **self._facts}

    def run(
        self,
        command: str,
        *,
        stdin: bytes | None = None,
        timeout: float | None = None,
        on_line: Callable[[str, str], None] | None = None,
    ) -> Completed:
        """See Target."""
        try:
            return self._shell.run(command, stdin=stdin, timeout=timeout, on_line=on_line)
        except TargetError as error:
            raise self._explained(error) from error

    def put(self, data: bytes, path: str, *, mode: int = 0o600) -> None:
        """See Target."""
        files.put(self, data, path, mode)

    def get(self, path: str) -> bytes:
        """See Target."""
        return files.get(self, path)

    def restart(self) -> None:
        """Stop and start the container, as a reboot: /run and /tmp are empty again, the net.* sysctls come from /etc/sysctl.d."""
        writable = self._facts.get("net_sysctls") == "writable"
        self._shell.reopen()
        self.engine.call("restart", "-t", str(STOP_SECONDS), self._container, timeout=START_SECONDS)
        try:
            self._facts["system"] = boot.wait(self) if self._facts["init"] == "systemd" else boot.answer(self)
        except boot.BootError as error:
            message = f"container {self.name} does not come up after a restart: {error}"
            raise TargetError(message) from error
        if writable:
            self._open_net_sysctls()

    def close(self) -> None:
        """See Target. A container that cannot be removed is told, with the command that removes it."""
        if self._closed:
            return
        if self._order is None or not self._order.keep:
            self._remove()
            return
        self._closed = True
        self._shell.close()
        leftovers.unwatch(self._order.run)

    def proxy_command(self) -> list[str]:
        """Return a command whose standard input and output are connected to TCP port 22 inside the container."""
        return [*self.engine.command, "exec", "-i", "--user=0", self._container, "/bin/bash", "--noprofile", "--norc", "-c", PROXY]

    def look(self, entry: Mapping[str, Any]) -> None:
        """Find out the facts of a container that somebody else started, beside those in the engine's `entry`; nothing in it is changed."""
        systemd = self.run("cat /proc/1/comm", timeout=boot.QUESTION_SECONDS).out.strip() == "systemd"
        self._facts |= {**described(entry), "init": "systemd" if systemd else "none"}
        self._facts["system"] = boot.state(self) if systemd else "running without systemd"
        self._facts["net_sysctls"] = "writable" if boot.net_writable(self) else "read-only"
        self._facts["kernel"] = self.run("uname -r", timeout=boot.QUESTION_SECONDS).out.strip()

    def _remove(self) -> None:
        self._closed = True
        try:
            if self._order is not None:
                self._discard(self._order)
        finally:
            self._shell.close()  # last, since the shell ends with its container by itself

    def _discard(self, order: Order) -> None:
        if leftovers.remove(self.engine, order.run):
            leftovers.unwatch(order.run)
        else:
            self._say(f"container {self.name} could not be removed; try `{self.engine.name} rm -f {self.name}`")

    def _open_net_sysctls(self) -> None:
        reason = boot.open_net_sysctls(self, self.engine, self._container)
        self._facts["net_sysctls"] = "writable" if reason is None else f"read-only: {reason}"
        if reason is not None:
            self._say(f"net.* sysctls stay read-only in this container: {reason}")

    def ended(self) -> str | None:
        """Say how the container ended, with its last words; None while it runs."""
        try:
            state = inspect(self.engine, self._container)["State"]
        except UnreachableError:
            return "was removed"
        if state.get("Running"):
            return None
        lines = self._log(5)
        memory = ", out of memory" if state.get("OOMKilled") else ""
        return f"ended (exit code {state.get('ExitCode')}{memory})" + (f", last lines: {' | '.join(lines)}" if lines else "")

    def frozen(self) -> str:
        """Return the words with which systemd gave up, as version 219 does where it finds no cgroups it knows."""
        return next((line for line in self._log(20) if FROZEN.search(line)), "")

    def _log(self, count: int) -> list[str]:
        """Return the last lines of the container's console."""
        log = self.engine.call("logs", "--tail", str(count), self._container, timeout=20, check=False)
        return [line.strip() for line in (log.stdout + log.stderr).decode("utf-8", "replace").splitlines() if line.strip()][-count:]

    def _explained(self, error: TargetError) -> TargetError:
        """Say that the container ended, when that is why the shell ended."""
        how = None if self._closed else self.ended()
        if how is None:
            return error
        return TargetError(f"container {self.name} {how}; {error.message}", hint=f"`{self.engine.name} logs {self.name}` where it is kept")


def open_uri(uri: str) -> ContainerTarget:
    """Open `podman://NAME` or `docker://NAME`."""
    scheme, _, name = uri.partition("://")
    if not name or "/" in name:
        message = f"{uri} does not name a container"
        raise UsageError(message, hint=f"write {scheme}://NAME")
    return ContainerTarget.attach(engines.locate(scheme), name)


def launch(engine: Engine, order: Order, mode: boot.Mode) -> str:
    """Run the container in the background and return its id."""
    labels = [f"--label={key}={value}" for key, value in leftovers.labels(order.run, keep=order.keep).items()]
    options = [f"--name={order.name}", f"--hostname={order.name[:63]}", "--pull=never", "--user=0", *labels, *mode.options]
    arguments = ["run", "-d", *engine.run_options, *options, f"--entrypoint={mode.command[0]}", order.image, *mode.command[1:]]
    completed = engine.call(*arguments, timeout=START_SECONDS, check=False)
    if completed.returncode == 0:
        return completed.stdout.decode().split()[-1]
    refusal = engine.refusal("run", completed.stderr)
    if any(text in refusal.message for text in ("no such file or directory", "executable file")) and mode.command[0] in refusal.message:
        message = f"{order.image} has no {mode.command[0]}"
        raise boot.BootError(message)
    raise refusal


def identify(engine: Engine, image: str) -> str:
    """Return the id of a local image. Raises ImageError when it is not there."""
    completed = engine.call("image", "inspect", "--format", "{{.Id}}", image, timeout=60, check=False)
    if completed.returncode != 0:
        refusal = engine.refusal("image", completed.stderr)
        if not isinstance(refusal, ImageError):
            raise refusal
        message = f"there is no image {image}"
        raise ImageError(message, hint=f"`{engine.name} images` lists what is there")
    return completed.stdout.decode().strip().removeprefix("sha256:")


def inspect(engine: Engine, name: str) -> dict[str, Any]:
    """Return what the engine knows of a container. Raises TargetError when there is none."""
    completed = engine.call("inspect", "--type", "container", name, timeout=30, check=False)
    entries: list[dict[str, Any]] = []
    with suppress(ValueError):
        entries = json.loads(completed.stdout or b"[]")
    if completed.returncode != 0 or not entries:
        reason = engines.last_words(completed.stderr)
        if "cannot connect" in reason.lower():
            raise engine.refusal("inspect", completed.stderr)
        message = f"there is no container {name}"
        raise TargetError(message, hint=f"`{engine.name} ps -a` lists the containers")
    return entries[0]


def described(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return the facts that the engine knows of a container: what it was really started with."""
    host = entry.get("HostConfig") or {}
    limits = [f"{limit['Name'].removeprefix('RLIMIT_').lower()}={limit['Soft']}:{limit['Hard']}" for limit in host.get("Ulimits") or []]
    return {
        "image": str(entry.get("ImageName") or entry["Config"].get("Image", "")),
        "image_id": str(entry["Image"]).removeprefix("sha256:"),
        "runtime": str(entry.get("OCIRuntime") or host.get("Runtime") or "default"),
        "limits": ", ".join(sorted(limits)) or "default",
        "network": str(host.get("NetworkMode") or "default"),
    }
