"""Sees to it that this machine has what a session of noxfile.py needs: `python ci/system_packages.py SESSION`.

Exits 0 when all is there, and 3 when something is missing that it may not or cannot install; the last lines then say what to type.
Nothing is asked from the network when nothing is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TABLE = Path(__file__).with_name("system-packages")
POLICY = Path("/usr/sbin/policy-rc.d")
UNREACHABLE = 3
"""The exit code that every part of the project uses when something outside of it is missing."""

APT_SECONDS = 1200
ASK_SECONDS = 30

PROOF = {"docker": ("docker", "info")}
"""Commands whose presence proves nothing: a docker client without its daemon starts no container."""


@dataclass(frozen=True, slots=True)
class Need:
    """One line of the table."""

    commands: tuple[str, ...]
    package: str
    sessions: frozenset[str]
    apt_only: bool
    purpose: str

    def met(self, path: str) -> bool:
        """Tell whether one of the commands is on `path`, and works where being there is not enough."""
        return any(shutil.which(command, path=path) and answers(command, path) for command in self.commands)


def answers(command: str, path: str) -> bool:
    """Ask a command that needs more than itself whether it has it."""
    if command not in PROOF:
        return True
    asked, environment = PROOF[command], {**os.environ, "PATH": path}
    try:
        return subprocess.run(asked, env=environment, capture_output=True, timeout=ASK_SECONDS, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def read_table(text: str) -> tuple[Need, ...]:
    """Read the table; a line that does not have its five columns is a mistake."""
    needs = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            commands, package, sessions, where, purpose = line.split(None, 4)
            if where not in {"all", "apt"}:
                message = f"{TABLE.name}: `{where}` is neither `all` nor `apt`: {line}"
                raise ValueError(message)
            needs.append(Need(tuple(commands.split("|")), package, frozenset(sessions.split(",")), where == "apt", purpose))
    return tuple(needs)


def missing(needs: Sequence[Need], session: str, path: str) -> tuple[Need, ...]:
    """Return what `session` needs and `path` lacks. Where apt-get is not, the needs of apt's machines do not count."""
    apt = shutil.which("apt-get", path=path) is not None
    return tuple(need for need in needs if session in need.sessions and (apt or not need.apt_only) and not need.met(path))


def search_path() -> str:
    """Return PATH with the administrator's folders, which a user's PATH often lacks and where runc lives."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def install_command(packages: Sequence[str]) -> list[str]:
    """Return what is run, and what people are told to type, to have `packages`."""
    return ["apt-get", "install", "-y", "--no-install-recommends", *packages]


@contextmanager
def no_service_starts(policy: Path = POLICY) -> Iterator[None]:
    """Keep the packages that come from starting their daemons: we want the program docker-registry, not a registry on port 5000.

    policy-rc.d is Debian's way to say so (invoke-rc.d and deb-systemd-invoke ask it). One that is there already stays as it is. Ours
    forbids only as long as this process lives: killed at the worst moment, it leaves a file that allows everything.
    """
    if policy.exists():
        yield
        return
    comment = "# Of isms-golden-ami, while it installs packages; may be deleted."
    policy.write_text(f"#!/bin/sh\n{comment}\nkill -0 {os.getpid()} 2>/dev/null && exit 101\nexit 0\n", encoding="utf-8")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)


def install(packages: Sequence[str]) -> bool:
    """Install `packages`; the lists of what is available are renewed only if it fails without."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": search_path()}
    wait = ["-qq", "-o", "DPkg::Lock::Timeout=300"]

    def apt(*command: str) -> bool:
        # Data on stdout stays data: what apt tells is progress.
        return subprocess.run(command, env=environment, stdout=sys.stderr, timeout=APT_SECONDS, check=False).returncode == 0

    command = [*install_command(packages), *wait]
    with no_service_starts():
        return apt(*command) or (apt("apt-get", "update", *wait) and apt(*command))


def refuse(lacking: Sequence[Need]) -> NoReturn:
    """Say what is missing and what to type, and end."""
    packages = sorted({need.package for need in lacking})
    for need in lacking:
        print(f"missing: {' or '.join(need.commands)} ({need.purpose})", file=sys.stderr)
    if shutil.which("apt-get", path=search_path()):
        hint = "sudo " + " ".join(install_command(packages))
    else:
        hint = f"install with this system's package manager: {' '.join(packages)}"
    print(f"hint: {hint}", file=sys.stderr)
    sys.exit(UNREACHABLE)


def main(session: str) -> None:
    """Bring what is missing for `session`, or refuse."""
    needs, path = read_table(TABLE.read_text(encoding="utf-8")), search_path()
    lacking = missing(needs, session, path)
    if not lacking:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get", path=path):
        refuse(lacking)
    packages = sorted({need.package for need in lacking})
    print(f"installing for this session: {' '.join(packages)}", file=sys.stderr)
    if not install(packages) or missing(needs, session, path):
        refuse(missing(needs, session, path))


if __name__ == "__main__":
    main(*sys.argv[1:])
