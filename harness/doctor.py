"""What this machine can run, what it lacks, and the one command that installs it.

It only looks, except that it removes the containers which crashed runs left behind.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness import engine as engines
from harness import engine_trial, leftovers
from harness.errors import EngineError, UnreachableError
from harness.vms import probe, store, tools

if TYPE_CHECKING:
    from harness.engine import Engine

State = Literal["ok", "warn", "missing"]
GIBIBYTE = 1 << 30
CACHE_GIBIBYTES = 3.0
"""What the stand-in and its parts take, with room for a second one."""
STORAGE_GIBIBYTES = 4.0
"""Two base images, their layers and a container."""
LEAST_FILES = 1024
TOOLS = {
    # program: package in Debian and its kin, package in Fedora and its kin
    "mmdebstrap": ("mmdebstrap", "mmdebstrap"),
    "rpm": ("rpm", "rpm"),
    "rpmbuild": ("rpm", "rpm-build"),
    "createrepo_c": ("createrepo-c", "createrepo_c"),
    "zstd": ("zstd", "zstd"),
}
"""What builds the stand-in; a machine that reaches a registry does without."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about this machine."""

    name: str
    state: State
    value: str
    hint: str = ""
    """What to do about it; empty when nothing is to be done."""
    needed: bool = False
    """Nothing works without it."""


def examine(*, cache: Path | None = None) -> list[Finding]:
    """Look at everything that matters. `cache` is the cache folder (default: the user's). Takes about a second."""
    cache = cache or engine_trial.cache_folder()
    used, found = engines_of(cache)
    findings = [*interpreter(), *found]
    if used is not None:
        findings += details(used)
    findings += [kernel(), limits(), disk("cache", cache, CACHE_GIBIBYTES)]
    if used is not None:
        findings += [disk("images", storage(used), STORAGE_GIBIBYTES), left(used)]
    return [*findings, *standin_tools(), *machine(), *install(findings)]


def interpreter() -> list[Finding]:
    """Return the Python that runs harness."""
    return [Finding("python", "ok", f"{platform.python_version()} ({sys.executable})")]


def engines_of(cache: Path) -> tuple[Engine | None, list[Finding]]:
    """Look for both engines; the first that works is the one that runs use."""
    used: Engine | None = None
    findings: list[Finding] = []
    for name in engines.NAMES:
        if shutil.which(name) is None:
            findings.append(Finding(name, "missing", "not installed"))
            continue
        try:
            engine = engines.find(name, memory=cache / "engine.json")
        except EngineError as error:
            findings.append(Finding(name, "warn", error.message.removeprefix("no container engine works here: ")))
            continue
        used = used or engine
        how = ", ".join(filter(None, ("rootless" if engine.rootless else "", "remote" if engine.remote else "")))
        findings.append(Finding(name, "ok", f"{engine.version}{f' ({how})' if how else ''}{', used' if used is engine else ''}"))
    if used is None:
        findings.insert(0, Finding("engine", "missing", "no container engine works", engines.installation_hint(), needed=True))
    return used, findings


def details(engine: Engine) -> list[Finding]:
    """Return what was found out about the engine."""
    missing = [name for name in engine_trial.WANTED_CAPABILITIES if name not in engine.capabilities]
    lowered = f"; containers get {', '.join(engine.limits)}" if engine.limits else ""
    return [
        Finding("runtime", "ok", engine.runtime or "the engine's default"),
        Finding("cgroup", "ok", f"{engine.cgroup}{CGROUP_REMARK.get(engine.cgroup, '')}"),
        Finding("container limits", "warn" if lowered else "ok", f"lowered{lowered}" if lowered else "the engine's default"),
        Finding("container network", "ok" if engine.network == "none" else "warn", engine.network or "the engine's default"),
        Finding(
            "capabilities",
            "warn" if missing else "ok",
            ", ".join(engine.capabilities) or "the engine's default",
            f"not granted: {', '.join(missing)}; the audit daemon or net.ipv4.ip_forward cannot be shown in a container" if missing else "",
        ),
    ]


CGROUP_REMARK = {
    "v2": " (systemd 219 of Amazon Linux 2 does not boot on it; such a container is started without systemd)",
    "hybrid": " (crun refuses it; runc does not)",
}


def kernel() -> Finding:
    """Return the kernel of this machine."""
    return Finding("kernel", "ok", f"{platform.system()} {platform.release()} {platform.machine()}")


def limits() -> Finding:
    """Return how many files a process may open here."""
    import resource

    soft, hard = (engine_trial.bounded(value) for value in resource.getrlimit(resource.RLIMIT_NOFILE))
    few = hard < LEAST_FILES
    return Finding("open files", "warn" if few else "ok", f"{soft} (hard {hard})", f"raise `ulimit -n` to {LEAST_FILES}" if few else "")


def disk(name: str, folder: Path, wanted: float) -> Finding:
    """Return the free space of the file system that holds a folder, which need not exist yet."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
    try:
        free = shutil.disk_usage(there).free / GIBIBYTE
    except OSError as error:
        return Finding(f"disk for {name}", "warn", f"{folder}: {error.strerror}")
    if not os.access(there, os.W_OK):
        return Finding(f"disk for {name}", "warn", f"{folder} cannot be written", "point XDG_CACHE_HOME at a folder of yours")
    short = free < wanted
    return Finding(
        f"disk for {name}", "warn" if short else "ok", f"{free:.1f} GiB free in {folder}", f"{wanted:g} GiB are wanted" if short else ""
    )


def storage(engine: Engine) -> Path:
    """Ask the engine where it keeps images."""
    field = "{{.Store.GraphRoot}}" if engine.name == "podman" else "{{.DockerRootDir}}"
    try:
        return Path(engine.call("info", "--format", field, timeout=10).stdout.decode().strip() or "/")
    except UnreachableError:
        return Path("/")


def left(engine: Engine) -> Finding:
    """Remove what crashed runs left behind, and say what is there on purpose or cannot be judged."""
    try:
        removed = leftovers.sweep(engine, seconds=20)
        there = leftovers.containers(engine)
    except UnreachableError as error:
        return Finding("containers", "warn", error.message)
    kept = [container.name for container in there if container.kept]
    unknown = [container.name for container in there if not container.kept and container.owner() is leftovers.Owner.UNKNOWN]
    running = len(there) - len(kept) - len(unknown)
    parts = [
        f"removed {', '.join(removed)} of a crashed run" if removed else "",
        f"{running} of runs going on" if running else "",
        f"kept: {', '.join(kept)}" if kept else "",
        f"of a run on another machine or in another container: {', '.join(unknown)}" if unknown else "",
    ]
    hint = f"`{engine.name} rm -f {' '.join(kept + unknown)}` removes them" if kept or unknown else ""
    return Finding("containers", "warn" if unknown else "ok", "; ".join(filter(None, parts)) or "none left over", hint)


def standin_tools() -> list[Finding]:
    """Return which of the programs that build the stand-in are there."""
    absent = [program for program in TOOLS if shutil.which(program) is None]
    if not absent:
        return [Finding("stand-in tools", "ok", ", ".join(TOOLS))]
    return [Finding("stand-in tools", "missing", f"without {', '.join(absent)}", "needed only where no registry is reached")]


def machine() -> list[Finding]:
    """Return what there is to run a virtual machine with."""
    program = {"x86_64": "qemu-system-x86_64", "aarch64": "qemu-system-aarch64", "arm64": "qemu-system-aarch64"}.get(
        platform.machine(), "qemu"
    )
    if shutil.which(program) is None:
        return [Finding("virtual machine", "missing", f"no {program}", "needed only for targets of the kind vm")]
    absent = tools.missing() if platform.machine() == "x86_64" else []
    if absent:
        return [Finding("virtual machine", "missing", f"without {', '.join(absent)}", tools.installation(absent))]
    found = probe.EMULATED if not probe.usable() else probe.recalled()
    if found is None:
        return [Finding("virtual machine", "ok", f"{program}; whether KVM starts a guest is found out by the first one"), guests()]
    how = "accelerated by KVM" if found.name == "kvm" else f"emulated: {found.why}"
    return [Finding("virtual machine", "ok" if found.name == "kvm" else "warn", f"{program}, {how}"), guests()]


def guests() -> Finding:
    """Remove the virtual machines that crashed runs left behind, and say which are there."""
    removed = store.sweep()
    there = store.guests()
    kept = [guest.name for guest in there if store.left(guest).kept]
    parts = [
        f"removed {', '.join(removed)} of a crashed run" if removed else "",
        f"{len(there) - len(kept)} of runs going on" if len(there) > len(kept) else "",
        f"kept: {', '.join(kept)}" if kept else "",
    ]
    hint = f"`harness vm remove {' '.join(kept)}` removes them" if kept else ""
    return Finding("virtual machines", "ok", "; ".join(filter(None, parts)) or "none left over", hint)


def install(findings: list[Finding], os_release: str | None = None) -> list[Finding]:
    """Return the one command that installs what is missing; nothing when nothing is."""
    packages = ["podman"] if any(finding.name == "engine" for finding in findings) else []
    column = 1 if re.search(r"\b(dnf|zypper)\b", engine_trial.installation_command(os_release)) else 0
    packages += [names[column] for program, names in TOOLS.items() if shutil.which(program) is None]
    if not packages:
        return []
    command = engine_trial.installation_command(os_release, tuple(dict.fromkeys(packages)))
    return [Finding("to install", "warn", command)]
