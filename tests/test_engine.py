"""Whether the engine is found by trying, remembered with doubt, and its complaints become one line with a hint."""

from __future__ import annotations

import json
import os
import platform
import shutil
import stat
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from harness import engine as engines
from harness import engine_trial
from harness.engine import Engine, last_words
from harness.errors import EngineError, HarnessError, ImageError, TargetError
from tests.fake_engine import IDLE_DOCKER, podman, program


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder on PATH, which holds nothing but bash and cat."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("bash", "cat"):
        (folder / tool).symlink_to(str(shutil.which(tool)))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    return folder


def asked(place: Path, verb: str) -> list[str]:
    lines = Path(f"{place}.log").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.split()[0] == verb or (line.startswith("--runtime") and line.split()[2] == verb)]


def test_without_an_engine_the_hint_says_what_to_install(path: Path) -> None:
    assert path.is_dir()
    with pytest.raises(EngineError) as caught:
        engines.find()
    assert caught.value.message == "no container engine: podman is not installed and docker is not installed"
    assert "install" in str(caught.value.hint)
    assert caught.value.exit_code == 3


def test_a_docker_without_its_daemon_is_not_used(path: Path) -> None:
    program(path, "docker", IDLE_DOCKER)
    told: list[str] = []
    with pytest.raises(EngineError) as caught:
        engines.find(say=told.append)
    assert "docker is there but its daemon is not running (Cannot connect to the Docker daemon)" in caught.value.message
    assert "podman is not installed" in caught.value.message
    assert told


def test_podman_is_taken_as_it_is_when_it_works_at_once(path: Path) -> None:
    place = podman(path)
    found = engines.find()
    assert (found.name, found.version, found.runtime, found.limits) == ("podman", "9.9.9", None, ())
    assert (found.network, found.capabilities, found.rootless) == ("none", engine_trial.WANTED_CAPABILITIES, True)
    assert len(asked(place, "run")) == 1
    assert len(asked(place, "rmi")) == 1, "the image of the trial is removed"


def test_limits_are_lowered_only_when_they_must_be(path: Path) -> None:
    podman(path, refused="*ulimit*) : ;; *")
    found = engines.find()
    assert found.limits
    assert found.limits[0].startswith("nofile=")
    assert any("limits are lowered" in note for note in found.notes)
    assert found.run_options[:2] == ["--ulimit", found.limits[0]]


def test_another_runtime_is_taken_when_the_default_fails(path: Path) -> None:
    podman(path, runtime="runc")
    for name in ("crun", "runc"):
        program(path, name, "#!/bin/bash\n")
    found = engines.find()
    assert found.runtime == "runc"
    assert found.command[1:] == ["--runtime", "runc"]
    assert not found.limits


def test_capabilities_and_network_are_given_up_last(path: Path) -> None:
    podman(path, refused="*AUDIT*", reason="capability not granted")
    assert engines.find().capabilities == ("NET_ADMIN",)
    podman(path, refused="*network=none*", reason="no network namespace")
    found = engines.find()
    assert found.network == ""
    assert not any(option.startswith("--network") for option in found.run_options)


def test_when_nothing_works_the_last_reason_is_told(path: Path) -> None:
    place = podman(path, refused="*", reason="the kernel says no")
    with pytest.raises(EngineError) as caught:
        engines.find()
    assert "podman 9.9.9 cannot start a container: podman run: the kernel says no" in caught.value.message
    assert "\n" not in caught.value.message
    assert len(asked(place, "rmi")) == 1
    assert asked(place, "ps"), "containers of the trial are looked for"


def test_what_was_found_out_is_remembered(path: Path) -> None:
    place = podman(path, refused="*ulimit*) : ;; *")
    first = engines.find()
    runs = len(asked(place, "run"))
    assert engines.find() == first
    assert len(asked(place, "run")) == runs


@pytest.mark.parametrize(
    "broken",
    ["", "no json", "[]", "null", '{"KEY": 1}', '{"KEY": {"cgroup": "v2"}}', '{"KEY": {"limits": "nofile", "cgroup": 1}}', "\x00\xff"],
)
def test_a_broken_memory_is_no_memory(path: Path, broken: str, tmp_path: Path) -> None:
    podman(path)
    memory = tmp_path / "memory.json"
    first = engines.find(memory=memory)
    key = next(iter(json.loads(memory.read_text(encoding="utf-8"))))
    memory.write_bytes(broken.replace('"KEY"', json.dumps(key)).encode("latin-1"))
    assert engines.find(memory=memory) == first
    assert key in json.loads(memory.read_text(encoding="utf-8"))


def test_another_engine_file_is_tried_anew(path: Path) -> None:
    place = podman(path)
    engines.find()
    os.utime(place, ns=(1, 1))
    engines.find()
    assert len(asked(place, "run")) == 2


def test_renewing_does_not_believe_the_memory(path: Path) -> None:
    place = podman(path)
    found = engines.find()
    podman(path, runtime="runc")
    os.utime(place, ns=(place.stat().st_mtime_ns,) * 2)
    program(path, "runc", "#!/bin/bash\n")
    assert engines.renew(found, lambda _: None).runtime == "runc"


def test_a_cache_folder_that_cannot_be_written_costs_only_time(path: Path, tmp_path: Path) -> None:
    podman(path)
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert engines.find(memory=tmp_path / "file" / "memory.json").name == "podman"


def test_only_the_preferred_engine_is_looked_at(path: Path) -> None:
    podman(path)
    with pytest.raises(EngineError, match="docker is not installed"):
        engines.find("docker")
    assert engines.locate("podman").version == "9.9.9"
    with pytest.raises(EngineError, match="docker is not installed"):
        engines.locate("docker")


def test_a_docker_that_is_podman_is_called_podman(path: Path) -> None:
    podman(path).rename(path / "docker")
    assert engines.find().name == "podman"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b'time="x" level=warning msg="CNI"\nError: the reason\n', "the reason"),
        (b"WARN[0000] noise\ndocker: Error response from daemon: the reason.\nSee 'docker run --help'.\n", "the reason."),
        (b"Error: first\nError: last\ntrailing remark\n", "last"),
        (b"only a remark\n\n", "only a remark"),
        (b"", "no reason given"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_the_reason_is_the_last_line_that_says_why(said: bytes, reason: str) -> None:
    assert last_words(said) == reason


@pytest.mark.parametrize(
    ("said", "kind", "hint"),
    [
        ("Error: writing blob: no space left on device", EngineError, "free disk space"),
        ('Error: creating container storage: the container name "x" is already in use by 12', EngineError, "choose another name"),
        ("Error: localhost/x: image not known", ImageError, "images"),
        ("docker: Error response from daemon: No such image: x:latest.", ImageError, "images"),
        ('Error: no container with name or ID "x" found: no such container', TargetError, "ps -a"),
        ("Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", EngineError, "start the"),
        ("Error: something new", EngineError, None),
    ],
)
def test_known_complaints_carry_a_hint(said: str, kind: type[HarnessError], hint: str | None) -> None:
    error = Engine(name="podman", path="/bin/false", version="1").refusal("run", said.encode())
    assert type(error) is kind
    assert (hint is None) == (error.hint is None)
    assert (hint or "") in (error.hint or "")


def test_a_call_has_its_input_its_output_and_its_limit() -> None:
    cat = Engine(name="podman", path=str(shutil.which("cat")), version="1")
    data = bytes(range(256)) * 5000
    assert cat.call("-", input=data).stdout == data
    sleep = Engine(name="podman", path=str(shutil.which("sleep")), version="1")
    with pytest.raises(EngineError, match=r"`podman 60` did not end within 0.3 s"):
        sleep.call("60", timeout=0.3)
    with pytest.raises(EngineError, match="cannot be started: No such file or directory"):
        Engine(name="podman", path="/no/such/engine", version="1").call("ps")


@pytest.mark.skipif(platform.machine() not in {"x86_64", "aarch64"} or platform.system() != "Linux", reason="the program is for Linux")
def test_the_trial_program_runs(tmp_path: Path) -> None:
    with tarfile.open(fileobj=BytesIO(engine_trial.trial_image(platform.machine()))) as archive:
        program = archive.extractfile("trial")
        assert program is not None
        trial = tmp_path / "trial"
        trial.write_bytes(program.read())
    trial.chmod(trial.stat().st_mode | stat.S_IXUSR)
    assert subprocess.run([trial], timeout=20, check=False).returncode == 0


def test_an_architecture_that_is_not_known_is_told() -> None:
    with pytest.raises(EngineError, match="riscv64"):
        engine_trial.trial_image("riscv64")


@pytest.mark.parametrize(
    ("os_release", "command"),
    [
        ("ID=debian\n", "apt-get install -y podman"),
        ('NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n', "apt-get install -y podman"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf install -y podman"),
        ('ID="amzn"\nID_LIKE="fedora"\n', "dnf install -y podman"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "zypper install -y podman"),
        ("ID=arch\n", "pacman -S --noconfirm podman"),
        ("ID=alpine\n", "apk add podman"),
        ("ID=unheard-of\n", "the packages podman"),
        ("", "the packages podman"),
    ],
)
def test_the_command_that_installs_it(os_release: str, command: str) -> None:
    assert engine_trial.installation_command(os_release) == command


@pytest.mark.parametrize(("folders", "told", "layout"), [(["unified"], "v1", "hybrid"), ([], "v1", "v1"), ([], "v2", "v2")])
def test_the_cgroup_layout(tmp_path: Path, folders: list[str], told: str, layout: str) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir()
    assert engine_trial.cgroup_layout(told, root=tmp_path) == layout
    assert engine_trial.cgroup_layout(told, remote=True, root=tmp_path) == told
