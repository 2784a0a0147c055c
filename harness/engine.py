"""The container engine of this machine: podman or docker, the options it needs here, and one way to call it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING

from harness import engine_trial
from harness.errors import EngineError, ImageError, TargetError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = ("podman", "docker")
NOISE = re.compile(r"level=(warning|info|debug)|^WARN|^See '|^Run '|^\s*$|requested image's platform", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that works here, with what had to be found out to make it work."""

    name: str
    """`podman` or `docker`: which options and URIs it understands."""
    path: str
    """The program, as an absolute path."""
    version: str
    cgroup: str = "v2"
    """`v1`, `v2` or `hybrid` (both mounted; container engines then use v1)."""
    runtime: str | None = None
    """An OCI runtime that must be named; None when the engine's default works."""
    limits: tuple[str, ...] = ()
    """`--ulimit` values without which no container starts here, such as `nofile=20000:20000`."""
    network: str = "none"
    """Value of `--network`: `none`, or empty for the engine's default. Always a network namespace of its own."""
    capabilities: tuple[str, ...] = ()
    """Capabilities beyond the default that the engine grants."""
    rootless: bool = False
    remote: bool = False
    """The engine runs in a virtual machine or on another host."""
    notes: tuple[str, ...] = ()
    """What was found out, in sentences for people."""

    @property
    def command(self) -> list[str]:
        """The start of every command line."""
        return [self.path, "--runtime", self.runtime] if self.runtime and self.name == "podman" else [self.path]

    @property
    def limit_options(self) -> list[str]:
        """Options that `run`, `create` and (podman only) `build` need to start a process here."""
        options = ["--runtime", self.runtime] if self.runtime and self.name == "docker" else []
        return options + [word for limit in self.limits for word in ("--ulimit", limit)]

    @property
    def run_options(self) -> list[str]:
        """Options of `run` and `create`: limits, a network namespace of its own, the capabilities that are granted."""
        options = self.limit_options
        if self.network:
            options.append(f"--network={self.network}")
        return options + [f"--cap-add={capability}" for capability in self.capabilities]

    def call(
        self,
        *arguments: str,
        input: bytes | None = None,  # noqa: A002 - the name that subprocess.run uses
        timeout: float = 60.0,
        check: bool = True,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one engine command to its end.

        Raises EngineError, ImageError or TargetError with the engine's own last words when `check` and the exit code is not 0, and
        EngineError after `timeout` seconds. The engine runs in a session of its own, so that Ctrl-C never tears it apart half-way.
        """
        with self.popen(*arguments, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE) as process:
            try:
                stdout, stderr = process.communicate(input, timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                message = f"`{self.name} {arguments[0]}` did not end within {timeout:g} s"
                raise EngineError(message, hint=f"see whether `{self.name} info` answers") from None
            except BaseException:
                stop(process)
                raise
        if check and process.returncode != 0:
            raise self.refusal(arguments[0], stderr)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def popen(
        self,
        *arguments: str,
        stdin: int | IO[bytes] | None = subprocess.PIPE,
        stdout: int | IO[bytes] | None = subprocess.PIPE,
        stderr: int | IO[bytes] | None = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        """Start an engine command whose streams the caller reads. Raises EngineError when the program is gone."""
        try:
            return subprocess.Popen(
                [*self.command, *arguments], stdin=stdin, stdout=stdout, stderr=stderr, bufsize=0, start_new_session=True
            )
        except OSError as error:
            message = f"{self.path} cannot be started: {error.strerror}"
            raise EngineError(message, hint=installation_hint()) from error

    def refusal(self, verb: str, stderr: bytes) -> EngineError | ImageError | TargetError:
        """Turn the engine's complaint into one line with a hint where the cause is known."""
        reason = last_words(stderr)
        text = f"{self.name} {verb}: {reason}"
        known = stderr.decode("utf-8", "replace").lower()
        if "no space left on device" in known:
            return EngineError(text, hint=f"free disk space: `{self.name} system df` shows what the engine holds")
        if "already in use" in known and "name" in known:
            return EngineError(text, hint=f"choose another name, or remove it: `{self.name} rm -f NAME`")
        if "names must match" in known or "invalid container name" in known:
            return EngineError(text, hint="a name consists of letters, digits, `_`, `.` and `-`")
        if re.search(r"image not known|no such image|unable to find image|manifest unknown|initializing source", known):
            return ImageError(text, hint=f"`{self.name} images` lists what is there")
        if re.search(r"no such container|no container with name", known):
            return TargetError(text, hint=f"`{self.name} ps -a` lists the containers")
        if "cannot connect to" in known or "is the docker daemon running" in known:
            return EngineError(text, hint=f"start the {self.name} service, then try again")
        return EngineError(text)


def stop(process: subprocess.Popen[bytes], patience: float = 15.0) -> None:
    """End a process of the engine, politely at first: a podman killed half-way leaves half a container."""
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_words(stderr: bytes) -> str:
    """Pick the line that says why: the last one that is no warning, preferably one that calls itself an error."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if not NOISE.search(line)]
    errors = [line for line in lines if re.match(r"(docker: )?Error\b", line)]
    chosen = (errors or lines or ["no reason given"])[-1]
    return re.sub(r"^(docker: )?Error( response from daemon)?: ", "", chosen)


def installation_hint(os_release: str | None = None) -> str:
    """Say how a container engine is installed on this operating system."""
    return f"install a container engine: {engine_trial.installation_command(os_release)}"


def find(
    preferred: str | None = None,
    *,
    say: Callable[[str], None] = lambda _: None,
    memory: Path | None = None,
) -> Engine:
    """Return the engine to use: podman, else docker, or only `preferred`. What works is tried once and then remembered.

    `memory` is the file that remembers (default: in the user's cache folder). Raises EngineError when no engine can start a container.
    """
    reasons: list[str] = []
    for name in (preferred,) if preferred else NAMES:
        path = shutil.which(name)
        if path is None:
            reasons.append(f"{name} is not installed")
            continue
        try:
            return adapt(present(name, path), say=say, memory=memory)
        except EngineError as error:
            reasons.append(error.message)
            say(error.message)
    if not any(shutil.which(name) for name in ((preferred,) if preferred else NAMES)):
        message = f"no container engine: {' and '.join(reasons)}"
        raise EngineError(message, hint=installation_hint())
    message = f"no container engine works here: {'; '.join(reasons)}"
    raise EngineError(message, hint=f"`harness doctor` shows details; {installation_hint()}")


def locate(name: str) -> Engine:
    """Return an engine that runs, without trying what it can do: enough for a container that exists already."""
    path = shutil.which(name)
    if path is None:
        message = f"{name} is not installed"
        raise EngineError(message, hint=installation_hint())
    return replace(present(name, path), cgroup=engine_trial.cgroup_layout())


def present(name: str, path: str) -> Engine:
    """Ask an installed program which engine it is. Raises EngineError when it is there but not running."""
    engine = Engine(name=name, path=path, version="")
    first = engine.call("--version", timeout=20, check=False).stdout.decode("utf-8", "replace").strip()
    if name == "docker" and first.startswith("podman"):
        engine = replace(engine, name="podman")
    if engine.name == "docker":
        server = engine.call("version", "--format", "{{.Server.Version}}", timeout=20, check=False)
        if server.returncode != 0:
            message = f"docker is there but its daemon is not running ({last_words(server.stderr)})"
            raise EngineError(message, hint="start the docker service")
        return replace(engine, version=server.stdout.decode().strip())
    found = re.search(r"\d+\.\d+\S*", first)
    if found is None:
        message = f"{path} does not answer `--version`"
        raise EngineError(message)
    return replace(engine, version=found.group().rstrip(","))


def adapt(engine: Engine, *, say: Callable[[str], None], memory: Path | None = None) -> Engine:
    """Add the options that this machine needs: from memory when nothing has changed since, else by trying."""
    store = engine_trial.Memory(memory)
    key = engine_trial.key(engine)
    remembered = engine_trial.checked(store.recall(key) or {})
    if remembered is not None:
        return replace(engine, **remembered)
    say(f"finding out what {engine.name} {engine.version} can do on this machine")
    findings = engine_trial.find_out(engine)
    store.remember(key, findings)
    return replace(engine, **findings)


def renew(engine: Engine, say: Callable[[str], None], memory: Path | None = None) -> Engine:
    """Try again what this machine needs, since what is remembered does not work any more."""
    engine_trial.Memory(memory).drop(engine_trial.key(engine))
    return adapt(present(engine.name, engine.path), say=say, memory=memory)
