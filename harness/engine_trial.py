"""Finding out, by trying once, which options a container engine needs on this machine, and remembering it."""

from __future__ import annotations

import io
import itertools
import json
import os
import platform
import re
import secrets
import shutil
import struct
import sys
import tarfile
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from harness import leftovers
from harness.errors import EngineError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.engine import Engine

WANTED_CAPABILITIES = ("AUDIT_WRITE", "AUDIT_CONTROL", "NET_ADMIN")
"""auditd's process needs the first two to start, ip_forward the third; SYS_TIME would set the clock of the host and is never asked for."""
RUNTIMES = ("crun", "runc")
SCHEMA = 1


class Findings(TypedDict):
    """What a trial found out: fields of Engine."""

    cgroup: str
    runtime: str | None
    limits: tuple[str, ...]
    network: str
    capabilities: tuple[str, ...]
    rootless: bool
    remote: bool
    notes: tuple[str, ...]


def find_out(engine: Engine) -> Findings:
    """Start a program that only exits, with ever fewer wishes, until it starts. Raises EngineError with the last reason."""
    about = description(engine)
    token = secrets.token_hex(16)
    image = f"localhost/isms-engine-trial:{token}"
    engine.call("import", "-", image, input=trial_image(about["architecture"]), timeout=120)
    try:
        found = climb(engine, image, token)
    finally:
        leftovers.remove(engine, token)
        engine.call("rmi", "-f", image, timeout=60, check=False)
    notes = []
    if found.runtime:
        notes.append(f"the default OCI runtime does not start a container here, {found.runtime} does")
    if found.limits:
        notes.append(f"resource limits are lowered to start a container: {', '.join(found.limits)}")
    if not found.network:
        notes.append("containers cannot be started without a network here, the engine's default network is used")
    missing = [name for name in WANTED_CAPABILITIES if name not in found.capabilities]
    if missing:
        notes.append(f"capabilities that are not granted: {', '.join(missing)}")
    return Findings(
        cgroup=about["cgroup"],
        runtime=found.runtime,
        limits=found.limits,
        network=found.network,
        capabilities=found.capabilities,
        rootless=about["rootless"] == "true",
        remote=about["remote"] == "true",
        notes=tuple(notes),
    )


def climb(engine: Engine, image: str, token: str) -> Engine:
    """Return the engine with the first set of options that starts the trial program."""
    labels = [f"--label={key}={value}" for key, value in leftovers.labels(token).items()]
    reason = ""
    for candidate in candidates(engine):
        try:
            completed = candidate.call("run", "-d", *labels, *candidate.run_options, image, "/trial", timeout=60, check=False)
        except UnreachableError as error:
            reason = error.message
            continue
        if completed.returncode == 0:
            return candidate
        reason = candidate.refusal("run", completed.stderr).message
    message = f"{engine.name} {engine.version} cannot start a container: {reason}"
    raise EngineError(message)


def candidates(engine: Engine) -> Iterator[Engine]:
    """List what to try, most ordinary first; without capabilities or without `--network=none` only when all else failed."""
    runtimes = (None, *(name for name in RUNTIMES if engine.name == "docker" or shutil.which(name)))
    for network, capabilities in itertools.product(("none", ""), (WANTED_CAPABILITIES, WANTED_CAPABILITIES[2:], ())):
        for runtime, limits in itertools.product(runtimes, limit_ladder()):
            yield replace(engine, runtime=runtime, limits=limits, network=network, capabilities=capabilities)


def limit_ladder() -> list[tuple[str, ...]]:
    """List limits from the engine's default down to modest ones, never above what this process may hand on."""
    files, processes = 20_000, 32_768
    if sys.platform != "win32":
        import resource

        files = min(bounded(resource.getrlimit(resource.RLIMIT_NOFILE)[1]), 1_048_576)
        processes = min(bounded(resource.getrlimit(resource.RLIMIT_NPROC)[1]), 32_768)
    low = (min(files, 1024), min(processes, 4096))
    return [
        (),
        (f"nofile={files}:{files}",),
        (f"nofile={files}:{files}", f"nproc={processes}:{processes}"),
        (f"nofile={low[0]}:{low[0]}", f"nproc={low[1]}:{low[1]}"),
    ]


def bounded(limit: int) -> int:
    """Read RLIM_INFINITY as a large number."""
    return limit if limit >= 0 else 1_048_576


def description(engine: Engine) -> dict[str, str]:
    """Ask the engine about the machine its containers run on."""
    try:
        info: Mapping[str, Any] = json.loads(engine.call("info", "--format", "{{json .}}", timeout=60).stdout)
    except json.JSONDecodeError as error:
        message = f"`{engine.name} info` does not answer in JSON"
        raise EngineError(message) from error
    host = info.get("host", {})
    security = info.get("SecurityOptions") or []
    remote = bool(host.get("serviceIsRemote")) if engine.name == "podman" else info.get("Name") != platform.node()
    return {
        "architecture": str(host.get("arch") or info.get("Architecture") or platform.machine()),
        "cgroup": cgroup_layout(str(host.get("cgroupVersion") or f"v{info.get('CgroupVersion', '2')}"), remote=remote),
        "rootless": str(bool(host.get("security", {}).get("rootless")) or any("rootless" in item for item in security)).lower(),
        "remote": str(remote).lower(),
    }


def cgroup_layout(told: str = "", *, remote: bool = False, root: Path = Path("/sys/fs/cgroup")) -> str:
    """Name the cgroup layout: what the engine told, refined where this machine can be looked at."""
    if not remote and (root / "unified").is_dir():
        return "hybrid"
    return told or ("v2" if (root / "cgroup.controllers").exists() else "v1")


def trial_image(architecture: str) -> bytes:
    """Make a root file system of one program, `/trial`, that exits with 0: nothing to download, nothing to trust."""
    code = {
        "amd64": (62, bytes.fromhex("b83c00000031ff0f05")),  # mov eax, 60; xor edi, edi; syscall
        "arm64": (183, bytes.fromhex("a80b80d2000080d2010000d4")),  # mov x8, 93; mov x0, 0; svc 0
    }.get({"x86_64": "amd64", "aarch64": "arm64"}.get(architecture, architecture))
    if code is None:
        message = f"the processor architecture {architecture} is not known to harness"
        raise EngineError(message, hint="x86_64 and aarch64 are")
    machine, text = code
    base, headers = 0x400000, 64 + 56
    size = headers + len(text)
    elf = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, machine, 1, base + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    program = elf + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + text
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in ("proc", "sys", "dev", "etc", "run", "tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        entry = tarfile.TarInfo("trial")
        entry.size, entry.mode = len(program), 0o755
        archive.addfile(entry, io.BytesIO(program))
    return buffer.getvalue()


def key(engine: Engine) -> str:
    """Name the circumstances under which findings hold: another kernel, engine, user, limit or cgroup layout is another machine."""
    with suppress(OSError):
        changed = os.stat(engine.path).st_mtime_ns  # noqa: PTH116 - the path is text on purpose
        return json.dumps(
            [SCHEMA, engine.name, engine.path, changed, engine.version, platform.release(), os.geteuid(), limit_ladder()[1:],
             cgroup_layout(),
             [shutil.which(name) for name in RUNTIMES], os.environ.get("DOCKER_HOST", ""), os.environ.get("CONTAINER_HOST", "")]
        )  # fmt: skip
    return json.dumps([SCHEMA, engine.path])


class Memory:
    """A small JSON file in the cache folder. A file that is missing, broken or of another version counts as empty."""

    def __init__(self, path: Path | None = None) -> None:
        """Take the user's cache folder unless told otherwise."""
        self.path = path or cache_folder() / "engine.json"

    def recall(self, key: str) -> Mapping[str, Any] | None:
        """Return what is remembered under a key; the caller checks what it is."""
        raw = self._load().get(key)
        return raw if isinstance(raw, dict) else None

    def remember(self, key: str, value: Mapping[str, Any]) -> None:
        """Write it down atomically; a cache folder that cannot be written costs time, not the run."""
        self._save({**self._load(), key: dict(value)})

    def drop(self, key: str) -> None:
        """Forget one entry."""
        entries = self._load()
        if entries.pop(key, None) is not None:
            self._save(entries)

    def _load(self) -> dict[str, Any]:
        try:
            loaded = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return loaded if isinstance(loaded, dict) else {}

    def _save(self, entries: Mapping[str, Any]) -> None:
        kept = dict(list(entries.items())[-40:])
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False, encoding="utf-8") as file:
                json.dump(kept, file, indent=1)
            os.replace(file.name, self.path)  # noqa: PTH105 - the temporary name is text


def checked(raw: Mapping[str, Any]) -> Findings | None:
    """Read findings back; None when a field is missing or has another type."""
    texts, flags, lists = ("cgroup", "network"), ("rootless", "remote"), ("limits", "capabilities", "notes")
    good = (
        all(isinstance(raw.get(name), str) for name in texts)
        and all(isinstance(raw.get(name), bool) for name in flags)
        and all(isinstance(raw.get(name), list) and all(isinstance(item, str) for item in raw[name]) for name in lists)
        and (raw.get("runtime") is None or isinstance(raw["runtime"], str))
    )
    if not good:
        return None
    return Findings(
        cgroup=raw["cgroup"],
        runtime=raw.get("runtime"),
        limits=tuple(raw["limits"]),
        network=raw["network"],
        capabilities=tuple(raw["capabilities"]),
        rootless=raw["rootless"],
        remote=raw["remote"],
        notes=tuple(raw["notes"]),
    )


def cache_folder() -> Path:
    """Return the folder of this program under the user's cache folder."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("isms-golden-ami"))


def installation_command(os_release: str | None = None, packages: tuple[str, ...] = ("podman",)) -> str:
    """Return the command that installs packages on this operating system."""
    if sys.platform == "darwin" and os_release is None:
        return f"brew install {' '.join(packages)} && podman machine init && podman machine start"
    if os_release is None:
        try:
            os_release = Path("/etc/os-release").read_text(encoding="utf-8")
        except OSError:
            os_release = ""
    ids = " ".join(re.findall(r"^ID(?:_LIKE)?=\"?([^\"\n]*)", os_release, re.MULTILINE)).split()
    names = " ".join(packages)
    for family, command in (
        (("debian", "ubuntu"), f"apt-get install -y {names}"),
        (("fedora", "rhel", "centos", "amzn"), f"dnf install -y {names}"),
        (("suse", "opensuse"), f"zypper install -y {names}"),
        (("arch",), f"pacman -S --noconfirm {names}"),
        (("alpine",), f"apk add {names}"),
    ):
        if set(family) & set(ids):
            return command
    return f"the packages {names}"
