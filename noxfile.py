"""The tasks of the project; `ci/nox -l` lists them, and `ci/nox` brings nox itself.

Each session has an environment of exactly ci/constraints.txt, by hash, and the project on top, editable. It is made when one of
the two changes; otherwise a session starts without asking any network for anything.

A session that needs something from outside which is not there ends nox with exit code 3, as harness itself does.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
CONSTRAINTS = "ci/constraints.txt"
NOX_REQUIREMENTS = "ci/nox-requirements.txt"
UNREACHABLE = 3
"""The exit code for something outside that is missing."""

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True
nox.options.sessions = ["lint", "types", "tests"]


def digest() -> str:
    """Return what an environment depends on: pins, metadata, version, and where the checkout lies."""
    sources = [ROOT / CONSTRAINTS, ROOT / "pyproject.toml", ROOT / "harness/__init__.py"]
    return hashlib.sha256(b"\0".join([str(ROOT).encode(), *(path.read_bytes() for path in sources)])).hexdigest()


def mirror() -> dict[str, str]:
    """Return pip's package index as uv's, where somebody configured one: uv does not read pip's configuration."""
    if {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & os.environ.keys():
        return {}
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, timeout=60, check=False)
    urls = [line.partition("=")[2].strip("'\"") for line in listed.stdout.splitlines() if line.split("=")[0].endswith(".index-url")]
    return {"UV_DEFAULT_INDEX": urls[-1]} if urls else {}


def prepare(session: nox.Session) -> None:
    """Bring the session's environment up to date, or leave it alone when it is; then see to the system's packages."""
    stamp = Path(session.virtualenv.location, "installed-from")
    wanted = digest()
    if not stamp.is_file() or stamp.read_text(encoding="ascii") != wanted:
        stamp.unlink(missing_ok=True)
        fill(session)
        stamp.write_text(wanted, encoding="ascii")
    call(session, "python", "ci/system_packages.py", session.name)


def fill(session: nox.Session) -> None:
    """Make the session's environment exactly the pins and the project."""
    session.log(f"installing {CONSTRAINTS}")
    uv = (sys.executable, "-m", "uv", "pip")
    into = ("--quiet", "--python", str(Path(session.bin, "python")))
    sync = [*uv, "sync", *into, "--require-hashes", CONSTRAINTS]
    # What the cache holds is taken without asking the network; the hashes say that it is the same.
    cached = subprocess.run([*sync, "--offline"], cwd=ROOT, capture_output=True, check=False).returncode == 0
    if not cached and subprocess.run(sync, cwd=ROOT, env={**os.environ, **mirror()}, check=False).returncode != 0:
        session.warn("hint: uv must reach a package index; a company's mirror is named by PIP_INDEX_URL or UV_DEFAULT_INDEX")
        sys.exit(UNREACHABLE)
    project = (*uv, "install", *into, "--offline", "--no-deps", "--no-build-isolation", "--editable", ".")
    session.run_install(*project, external=True, log=False)


def call(session: nox.Session, *command: str, cwd: str | Path = ROOT) -> None:
    """Run a command of the environment; its exit code 2 or 3 becomes nox's own, where `session.run` would make it 1."""
    path = os.pathsep.join([session.bin, os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, **{name: value for name, value in session.env.items() if value is not None}, "PATH": path}
    session.log(" ".join(command))
    code = subprocess.run([Path(session.bin, command[0]), *command[1:]], cwd=cwd, env=environment, check=False).returncode
    if code == 1:
        session.error(f"{command[0]} found something")
    if code != 0:
        sys.exit(code)


@nox.session
def lint(session: nox.Session) -> None:
    """Judge form: Python, YAML, shell, who imports whom, declared dependencies."""
    prepare(session)
    listed = session.run("shfmt", "-f", "hardening", "harness", "ci", silent=True, log=False)
    scripts = sorted({".ci/run", *str(listed).split()})
    commands: tuple[tuple[str, ...], ...] = (
        ("ruff", "check"),
        ("ruff", "format", "--check"),
        ("yamllint", "--strict", "."),
        ("shellcheck", *scripts),
        ("shfmt", "-d", *scripts),
        ("lint-imports", "--no-cache", "--no-logo"),
        ("deptry", "."),
    )
    failed = []
    for command in commands:  # all of them, since one round of fixing is enough
        try:
            session.run(*command)
        except nox.command.CommandFailed:
            failed.append(command[0])
    if failed:
        session.error(f"not in form, says {', '.join(failed)}")


@nox.session
def types(session: nox.Session) -> None:
    """Judge types, strictly, over code, suites, tests and this file."""
    prepare(session)
    session.run("mypy", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, those on real containers included; arguments go to pytest."""
    prepare(session)
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    # Most of the time is waiting for containers: four workers help two processors too; more would wait for the engine's locks.
    # A file stays whole.
    session.run("pytest", "--ignore=tests/integration", "--ignore=tests/vm", "--numprocesses=4", "--dist=loadfile")
    # These start whole processes of harness and look at what they leave in the engine: two at a time would sweep away each other's.
    session.run("pytest", "tests/integration")


@nox.session(default=False)
def vm(session: nox.Session) -> None:
    """Harden, boot in a virtual machine, break what only a restart shows, and look for what is left; arguments go to pytest."""
    prepare(session)
    session.run("pytest", *(session.posargs or ("tests/vms", "tests/vm")))


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Run the tests and show which lines and branches they never reach."""
    prepare(session)
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session(default=False)
def verify(session: nox.Session) -> None:
    """Do the main job: harden a fresh target, verify every setting, give the verdict; arguments go to `harness verify`."""
    prepare(session)
    # The first of an option's values is overruled by the last one, so that arguments can say otherwise.
    call(session, "harness", "verify", "--target", "al2", "--base", "auto", *session.posargs, cwd=session.invoked_from)


@nox.session(default=False)
def mutate(session: nox.Session) -> None:
    """Break every setting of a hardened machine and see that its rule reports it, and no other; `-- --subject ssh` chooses, `--vm` too."""
    prepare(session)
    if "--vm" in session.posargs:
        call(session, "python", "ci/system_packages.py", "vm")
    call(session, "python", "-m", "tests.mutations.run", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure what users wait for, as whole processes; arguments go to ci/bench.py."""
    prepare(session)
    call(session, "python", "ci/bench.py", *session.posargs)


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Renew the generated blocks of the documentation and try its links; `-- --check` only compares."""
    prepare(session)
    call(session, "python", "ci/docs.py", *session.posargs)


@nox.session(default=False, venv_backend="none")
def lock(session: nox.Session) -> None:
    """Renew the pins from pyproject.toml, keeping those that still fit; `-- --upgrade` takes the newest."""
    session.env.update(mirror())
    options = ("--quiet", "--universal", "--generate-hashes", "--no-emit-index-url", "--python-version", "3.11")
    for output, group in ((CONSTRAINTS, "dev"), (NOX_REQUIREMENTS, "nox")):
        # The second is a part of the first, at the same versions.
        inputs = ("pyproject.toml",) if output == CONSTRAINTS else ("--constraints", CONSTRAINTS)
        command = ("uv", "pip", "compile", *options, "--group", group, *inputs, "--output-file", output, *session.posargs)
        session.run(sys.executable, "-m", *command, external=True)
