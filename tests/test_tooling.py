"""What the project's tooling promises: pins, the wheel, exit codes, who may import whom."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ci import docs, system_packages

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "ci/constraints.txt"
NOX_PINS = ROOT / "ci/nox-requirements.txt"
LONG = 300


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program and keep what it says; the tests judge its exit code."""
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=LONG, check=False)


def pins(path: Path) -> dict[str, str]:
    """Return name and version of every pin, with its lines joined."""
    joined = path.read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, str] = {}
    for line in joined.splitlines():
        if line and not line.lstrip().startswith("#"):
            match = re.match(r"([A-Za-z0-9._-]+)==(\S+)", line)
            assert match, f"not pinned to one version: {line}"
            assert "--hash=sha256:" in line, f"no hash: {line}"
            found[canonicalize_name(match[1])] = match[2]
    return found


def declared(group: str | None) -> list[Requirement]:
    """Return what pyproject.toml asks for: the project's own needs, or a group's with the groups it includes."""
    data: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if group is None:
        return [Requirement(text) for text in data["project"]["dependencies"]]
    found: list[Requirement] = []
    for entry in data["dependency-groups"][group]:
        found += [Requirement(entry)] if isinstance(entry, str) else declared(entry["include-group"])
    return found


@pytest.mark.parametrize("path", [PINS, NOX_PINS], ids=lambda path: path.name)
def test_pins_name_no_place(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "://" not in text, "an index address"
    assert not re.search(r"(^|[\s'\"=])/\w", text, re.MULTILINE), "an absolute path"
    assert "--index" not in text
    assert "--find-links" not in text


@pytest.mark.parametrize(("path", "groups"), [(PINS, [None, "dev"]), (NOX_PINS, ["nox"])], ids=["constraints", "nox"])
def test_pins_satisfy_what_is_declared(path: Path, groups: list[str | None]) -> None:
    pinned = pins(path)
    for requirement in (requirement for group in groups for requirement in declared(group)):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is declared and not pinned; `ci/nox -s lock`"
        assert requirement.specifier.contains(version), f"{requirement} is pinned to {version}; `ci/nox -s lock`"


def test_nox_is_pinned_as_in_the_sessions() -> None:
    everything = pins(PINS)
    assert pins(NOX_PINS).items() <= everything.items()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and install it into a new environment; the dependencies are borrowed from this one."""
    folder = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder)
    assert built.returncode == 0, built.stderr
    wheel = next(folder.glob("*.whl"))
    environment = folder / "environment"
    assert run(sys.executable, "-m", "venv", "--without-pip", environment).returncode == 0
    done = run(sys.executable, "-m", "uv", "pip", "install", "--offline", "--no-deps", "--python", environment / "bin/python", wheel)
    assert done.returncode == 0, done.stderr
    # A .pth file's own folders come last and their .pth files are not read, so our editable install stays out.
    packages = next(environment.glob("lib/python*/site-packages"))
    packages.joinpath("borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return environment


def content(folder: Path) -> set[str]:
    """Return the files of the four folders below `folder`, as Git knows them in the checkout."""
    names = ("harness", "hardening", "publish", "verify")
    files = (path for name in names for path in (folder / name).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in files}


def test_the_wheel_carries_the_four_folders(installed: Path) -> None:
    packages = next(installed.glob("lib/python*/site-packages"))
    listed = run("git", "ls-files", "--", "harness", "hardening", "publish", "verify")
    assert listed.returncode == 0, listed.stderr
    carried = content(packages)
    tracked = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    assert tracked, "Git knows nothing of the four folders"
    assert tracked <= carried, "not in the wheel"
    for name in ("harness.hcl", "waivers.yaml"):
        assert f"harness/{name}" in carried
        assert (packages / "harness" / name).read_bytes() == (ROOT / name).read_bytes()


def test_the_wheel_works_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.defpath, "HOME": str(tmp_path)}
    here = run(installed / "bin/python", "-c", "import harness; print(harness.__file__)", cwd=tmp_path, env=environment)
    assert Path(here.stdout.strip()).is_relative_to(installed)
    told = run(installed / "bin/harness", "rules", cwd=tmp_path, env=environment)
    assert told.returncode == 0, told.stderr
    assert "ssh-" in told.stdout


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_an_exit_code_reaches_the_shell_through_nox(tmp_path: Path, code: int) -> None:
    noxfile = tmp_path / "noxfile.py"
    noxfile.write_text(
        textwrap.dedent(f"""
            import sys
            sys.path.insert(0, {str(ROOT)!r})
            import nox
            from noxfile import call

            @nox.session(venv_backend="uv")
            def ends(session):
                call(session, "python", "-c", "import sys; sys.exit({code})")
        """),
        encoding="utf-8",
    )
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    done = run(sys.executable, "-m", "nox", "--noxfile", noxfile, "-s", "ends", cwd=tmp_path, env=environment)
    assert done.returncode == code, done.stderr


def test_what_is_missing_is_told_in_one_command_and_ends_with_3(tmp_path: Path) -> None:
    # Without apt-get on PATH nothing can be installed, not even by root.
    done = run(sys.executable, "ci/system_packages.py", "verify", env={"PATH": str(tmp_path)})
    assert done.returncode == 3
    assert "missing: podman or docker" in done.stderr
    assert done.stderr.splitlines()[-1] == "hint: install with this system's package manager: openssh-client podman"


def test_nothing_is_said_when_nothing_is_missing(tmp_path: Path) -> None:
    table = system_packages.read_table(system_packages.TABLE.read_text(encoding="utf-8"))
    for need in table:
        command = tmp_path / need.commands[-1]
        command.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
        command.chmod(0o755)
    done = run(sys.executable, "ci/system_packages.py", "tests", env={"PATH": str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_docker_client_without_its_daemon_is_no_engine(tmp_path: Path) -> None:
    table = system_packages.read_table("podman|docker podman verify all  runs the targets\n")
    docker = tmp_path / "docker"
    for code, lacking in ((0, 0), (1, 1)):
        docker.write_text(f"#!/bin/sh\nexit {code}\n", encoding="utf-8")
        docker.chmod(0o755)
        assert len(system_packages.missing(table, "verify", str(tmp_path))) == lacking


def test_needs_of_apt_count_only_where_apt_is(tmp_path: Path) -> None:
    table = system_packages.read_table("mmdebstrap mmdebstrap tests apt  the stand-in\nssh openssh-client tests all  keys\n")
    assert [need.package for need in system_packages.missing(table, "tests", str(tmp_path))] == ["openssh-client"]
    (tmp_path / "apt-get").touch(mode=0o755)
    assert [need.package for need in system_packages.missing(table, "tests", str(tmp_path))] == ["mmdebstrap", "openssh-client"]
    assert not system_packages.missing(table, "lint", str(tmp_path))


def test_a_row_of_the_table_says_where() -> None:
    with pytest.raises(ValueError, match="neither `all` nor `apt`"):
        system_packages.read_table("zstd zstd tests debian  archives\n")


def test_installing_starts_no_service(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with system_packages.no_service_starts(policy):
        assert run(policy, "docker-registry", "start").returncode == 101
        script = policy.read_text(encoding="utf-8")
    assert not policy.exists()
    # As it is after a kill: the file stayed, its writer is gone.
    with subprocess.Popen(["true"]) as gone:
        pass
    policy.write_text(re.sub(r"kill -0 \d+", f"kill -0 {gone.pid}", script), encoding="utf-8")
    policy.chmod(0o755)
    assert run(policy, "docker-registry", "start").returncode == 0


def test_a_policy_of_the_administrator_stays(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
    with system_packages.no_service_starts(policy):
        assert policy.read_text(encoding="utf-8") == "#!/bin/sh\nexit 101\n"
    assert policy.exists()


def test_a_first_run_that_fails_leaves_nothing_half_made(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    done = run("ci/nox", "-l", env=environment)
    assert done.returncode == 3, done.stderr
    assert "hint: pip must reach a package index" in done.stderr
    assert not list((tmp_path / ".cache/isms-golden-ami").iterdir())


def test_without_a_home_nothing_is_written_anywhere() -> None:
    done = run("ci/nox", "-l", env={"PATH": os.environ["PATH"]})
    assert (done.returncode, done.stdout) == (3, "")
    assert "neither HOME nor XDG_CACHE_HOME" in done.stderr


def imported(path: Path) -> set[str]:
    """Return every module that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        match node:
            case ast.Import():
                found.update(alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module)
            case ast.ImportFrom():
                found.add("." * node.level + (node.module or ""))
            case _:
                pass
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "verify").glob("**/*.py")), ids=lambda path: path.name)
def test_a_suite_knows_only_what_suites_may_use(path: Path) -> None:
    ours = {name for name in imported(path) if name.split(".")[0] in {"harness", "publish", "tests"} or name.startswith(".")}
    assert ours <= {"harness.suite", "harness.pytest_plugin", "harness.model"}
    assert not imported(path) & {"os", "subprocess", "socket", "testinfra"}, "a suite asks the host, never this machine"


def test_hardening_is_content() -> None:
    assert not list((ROOT / "hardening").rglob("*.py"))


def test_the_documentation_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    assert docs.main(["--check"]) == 0, capsys.readouterr().err
