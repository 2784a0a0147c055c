"""Whether real containers come up, carry on, and are always gone at the end, whatever ends the run."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import doctor, engine_trial, images, leftovers
from harness import engine as engines
from harness.errors import EngineError, ImageError, TargetError
from harness.model import Environment
from harness.targets import boot, open_target
from harness.targets.base import CommandTimeout, Target
from harness.targets.container import ContainerTarget
from harness.testinfra_backend import host_for

if TYPE_CHECKING:
    from collections.abc import Generator

    from harness.engine import Engine

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Source:
    """What a source of the configuration says."""

    baseline: str = "al2"
    image: str = ""
    tls_verify: bool = True


@pytest.fixture(scope="module")
def engine() -> Engine:
    try:
        return engines.find()
    except EngineError as error:
        pytest.skip(f"no container engine: {error}")


@pytest.fixture(scope="module")
def image(engine: Engine) -> str:
    """Return the stand-in, made if it is not there; HARNESS_TEST_IMAGE_AL2 names another image."""
    given = os.environ.get("HARNESS_TEST_IMAGE_AL2")
    return given or images.ensure("standin", Source(), engine, lambda _: None).reference


@pytest.fixture(scope="module")
def shared(engine: Engine, image: str) -> Generator[ContainerTarget]:
    """Return a container for the tests that leave it as it is."""
    with ContainerTarget.start(engine, image) as target:
        yield target


@pytest.fixture
def name(engine: Engine) -> Generator[str]:
    """Return a name for a container that is gone after the test, whatever the test did."""
    chosen = f"harness-test-{secrets.token_hex(4)}"
    yield chosen
    engine.call("rm", "-f", chosen, check=False)


def exists(engine: Engine, name: str) -> bool:
    return engine.call("inspect", "--type", "container", name, check=False).returncode == 0


def test_systemd_comes_up_and_commands_run_as_root(shared: ContainerTarget) -> None:
    assert isinstance(shared, Target)
    assert shared.environment is Environment.CONTAINER
    assert shared.facts["init"] == "systemd"
    assert shared.facts["system"].split(":")[0] in {"running", "degraded"}
    assert shared.run("id -u; cat /proc/1/comm", timeout=20).out == "0\nsystemd\n"
    assert {"engine", "engine_version", "runtime", "cgroup", "limits", "image", "image_id", "kernel", "network"} <= set(shared.facts)


def test_only_net_sysctls_can_be_written_and_only_in_the_container(shared: ContainerTarget) -> None:
    key = Path("/proc/sys/net/ipv4/conf/all/log_martians")
    before = key.read_text(encoding="ascii")
    if shared.facts["net_sysctls"] != "writable":
        pytest.skip(f"net.* cannot be opened here: {shared.facts['net_sysctls']}")
    other = "0" if before.strip() == "1" else "1"
    assert shared.run(f"sysctl -w net.ipv4.conf.all.log_martians={other}", timeout=20).returncode == 0
    assert key.read_text(encoding="ascii") == before, "the host keeps its own"
    mounts = shared.run("cat /proc/self/mountinfo", timeout=20).out.splitlines()
    writable = [line.split()[4] for line in mounts if line.split()[4].startswith("/proc/sys") and "rw" in line.split()[5].split(",")]
    assert writable == ["/proc/sys/net"], "kernel.* and fs.* are the host's"
    assert shared.run("ls -A /run/.harness-proc", timeout=20).returncode != 0, "nothing is left of the way there"


def test_files_go_there_and_back(shared: ContainerTarget) -> None:
    data = bytes(range(256)) * 10_000
    shared.put(data, "/root/some file", mode=0o640)
    assert shared.get("/root/some file") == data
    assert shared.run("stat -c %a:%u:%g '/root/some file'", timeout=20).out == "640:0:0\n"
    with pytest.raises(FileNotFoundError):
        shared.get("/no/such/file")


def test_large_output_and_lines(shared: ContainerTarget) -> None:
    assert len(shared.run("head -c 50000000 /dev/zero", timeout=120).stdout) == 50_000_000
    told: list[tuple[str, str]] = []
    shared.run("echo one; echo two >&2", timeout=20, on_line=lambda *line: told.append(line))
    assert sorted(told) == [("stderr", "two"), ("stdout", "one")]


def test_a_command_that_hangs_is_ended_with_all_it_started(shared: ContainerTarget) -> None:
    with pytest.raises(CommandTimeout) as caught:
        shared.run("echo begun; setsid sleep 98765 & sleep 98765", timeout=1.0)
    assert caught.value.stdout == b"begun\n"
    assert shared.run("pgrep -fx 'sleep 98765'", timeout=20).returncode == 1
    assert shared.run("echo on", timeout=20).out == "on\n"


def test_testinfra_knows_the_system(shared: ContainerTarget) -> None:
    host = host_for(shared)
    assert host.system_info.distribution == "amzn"
    assert type(host.package("bash")).__name__ == "RpmPackage"
    assert host.package("bash").is_installed
    assert not host.package("no-such-package").is_installed
    assert host.service("sshd").is_running
    assert host.service("sshd").is_enabled
    assert host.file("/usr/lib/os-release").mode == 0o644
    assert host.user("root").uid == 0
    assert host.sysctl("net.ipv4.ip_forward") in {0, 1}
    assert host.run("printf %%s %s", "a 'b' $HOME").stdout == "a 'b' $HOME"


def test_sshd_is_reached_through_standard_input(shared: ContainerTarget) -> None:
    process = subprocess.Popen(shared.proxy_command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline().startswith(b"SSH-2.0-")
    process.stdin.close()
    process.stdout.read()
    process.stdout.close()
    assert process.wait(timeout=20) is not None
    assert shared.run("pgrep -fx 'cat'", timeout=20).returncode == 1, "nothing of the connection is left inside"


def test_an_existing_container_is_used_and_left(shared: ContainerTarget, engine: Engine) -> None:
    with open_target(shared.uri) as same:
        assert same.run("cat /etc/hostname", timeout=20).out == shared.run("cat /etc/hostname", timeout=20).out
        assert same.facts["image_id"] == shared.facts["image_id"]
        assert same.uri == shared.uri
    assert exists(engine, shared.name)


def test_a_restart_is_a_boot(engine: Engine, image: str, name: str) -> None:
    with ContainerTarget.start(engine, image, name=name) as target:
        target.run("touch /root/stays /run/goes; echo net.ipv4.conf.all.log_martians=1 >/etc/sysctl.d/99-test.conf", timeout=20)
        boot_before = target.run("systemctl show -p UserspaceTimestampMonotonic", timeout=20).out
        target.restart()
        assert target.run("ls /root/stays /run/goes", timeout=20).out == "/root/stays\n"
        assert target.run("systemctl show -p UserspaceTimestampMonotonic", timeout=20).out != boot_before
        if target.facts["net_sysctls"] == "writable":
            assert target.run("cat /proc/sys/net/ipv4/conf/all/log_martians", timeout=20).out == "1\n"
    assert not exists(engine, name)


def test_a_container_that_dies_is_told_with_its_exit_code(engine: Engine, image: str, name: str) -> None:
    with ContainerTarget.start(engine, image, name=name) as target:
        killing = threading.Timer(0.7, engine.call, ("kill", name))
        killing.start()
        with pytest.raises(TargetError) as caught:
            target.run("sleep 60", timeout=60)
        killing.join()
        assert f"container {name} ended (exit code 137)" in caught.value.message
        assert "sleep 60" in caught.value.message
        assert "\n" not in caught.value.message
        with pytest.raises(TargetError, match="ended"):
            target.run("true", timeout=20)
    assert not exists(engine, name)


def test_a_container_that_is_taken_away_is_told(engine: Engine, image: str, name: str) -> None:
    with ContainerTarget.start(engine, image, name=name) as target:
        assert leftovers.discard(engine, [name])
        with pytest.raises(TargetError, match=f"container {name} was removed"):
            target.run("true", timeout=20)


def test_an_error_on_the_way_removes_the_container(engine: Engine, image: str, name: str) -> None:
    with pytest.raises(RuntimeError, match="on the way"), ContainerTarget.start(engine, image, name=name):
        raise RuntimeError("on the way")
    assert not exists(engine, name)


def test_a_kept_container_stays_and_is_not_swept(engine: Engine, image: str, name: str) -> None:
    with ContainerTarget.start(engine, image, name=name, keep=True) as target:
        uri = target.uri
    assert name not in leftovers.sweep(engine)
    with open_target(uri) as again:
        assert again.run("echo on", timeout=20).out == "on\n"
    engine.call("stop", "-t", "5", name)
    with pytest.raises(TargetError) as caught:
        open_target(uri)
    assert f"{engine.name} start {name}" in str(caught.value.hint)


def test_an_image_that_is_not_there(engine: Engine) -> None:
    with pytest.raises(ImageError, match="there is no image localhost/no-such-image") as caught:
        ContainerTarget.start(engine, "localhost/no-such-image")
    assert caught.value.hint


def test_a_name_that_is_taken_leaves_the_other_container_alone(engine: Engine, image: str, shared: ContainerTarget) -> None:
    with pytest.raises(EngineError, match="already in use") as caught:
        ContainerTarget.start(engine, image, name=shared.name)
    assert "choose another name" in str(caught.value.hint)
    assert shared.run("echo on", timeout=20).out == "on\n"


def test_a_container_that_is_not_there(engine: Engine) -> None:
    with pytest.raises(TargetError, match="there is no container no-such-container"):
        open_target(f"{engine.name}://no-such-container")


SCRIPT = """\
import sys, time
from harness import engine
from harness.targets.container import ContainerTarget
with ContainerTarget.start(engine.find(), sys.argv[1], name=sys.argv[2]) as target:
    print("up", flush=True)
    target.run("sleep 300")
"""


def other_run(image: str, name: str) -> subprocess.Popen[bytes]:
    """Start a process that holds a container, and wait until it does."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, image, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=ROOT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n", process.communicate()[1].decode()
    time.sleep(0.3)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_removes_the_container(engine: Engine, image: str, name: str, number: signal.Signals) -> None:
    process = other_run(image, name)
    assert exists(engine, name)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert not exists(engine, name)


def test_a_second_interrupt_does_not_save_the_container(engine: Engine, image: str, name: str) -> None:
    process = other_run(image, name)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert not exists(engine, name)


def test_after_a_crash_the_next_run_removes_the_container(engine: Engine, image: str, name: str) -> None:
    process = other_run(image, name)
    assert name not in leftovers.sweep(engine), "its process lives"
    process.kill()
    process.communicate(timeout=60)
    assert exists(engine, name)
    told: list[str] = []
    with ContainerTarget.start(engine, image, say=told.append):
        assert not exists(engine, name)
    assert any(name in line and "an earlier run" in line for line in told)


def test_doctor_removes_it_too(engine: Engine, image: str, name: str) -> None:
    process = other_run(image, name)
    process.kill()
    process.communicate(timeout=60)
    findings = {finding.name: finding for finding in doctor.examine()}
    assert f"removed {name}" in findings["containers"].value
    assert not exists(engine, name)


@pytest.fixture
def odd_init(engine: Engine) -> Generator[str]:
    """Return an image whose init is to be written by the test's parameter."""
    reference = f"localhost/harness-test-{secrets.token_hex(4)}"
    yield reference
    engine.call("rmi", "-f", reference, check=False)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("rm -f /sbin/init", "has no /sbin/init"),
        ("rm -f /sbin/init; printf '#!/bin/sh\\necho words; exit 3\\n' >/sbin/init; chmod 755 /sbin/init", "exit code 3"),
        ("rm -f /sbin/init; printf '#!/bin/sh\\nexec sleep 1000\\n' >/sbin/init; chmod 755 /sbin/init", "does not answer"),
        (
            "rm -f /sbin/init; printf '#!/bin/sh\\necho Freezing execution.; exec sleep 1000\\n' >/sbin/init; chmod 755 /sbin/init",
            "gave up",
        ),
    ],
)
def test_without_systemd_the_rest_still_works(  # noqa: PLR0913 - fixtures
    engine: Engine, image: str, name: str, odd_init: str, change: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "FREEZE_SECONDS", 0.5)
    monkeypatch.setattr(boot, "SILENT_SECONDS", 2.0)
    engine.call("run", f"--name={name}", *engine.run_options, "--entrypoint=/bin/sh", image, "-c", change)
    engine.call("commit", name, odd_init, timeout=120)
    engine.call("rm", "-f", name)
    told: list[str] = []
    with ContainerTarget.start(engine, odd_init, name=name, say=told.append) as target:
        assert any(reason in line for line in told)
        assert (target.facts["init"], target.facts["system"]) == ("none", "running without systemd")
        assert target.run("systemctl mask cups.service && systemctl is-enabled cups.service", timeout=20).out == "masked\n"
        target.restart()
        assert target.run("cat /proc/1/comm", timeout=20).out == "bash\n"
    told.clear()
    with ContainerTarget.start(engine, odd_init, name=name, say=told.append):
        assert not any(reason in line for line in told), "what worked last time is tried first"


def test_failed_units_are_told(engine: Engine, image: str, name: str, odd_init: str) -> None:
    unit = "[Service]\\nType=oneshot\\nExecStart=/bin/false\\n[Install]\\nWantedBy=multi-user.target\\n"
    change = f"printf '{unit}' >/etc/systemd/system/harness-bad.service; systemctl enable harness-bad.service"
    engine.call("run", f"--name={name}", *engine.run_options, "--entrypoint=/bin/sh", image, "-c", change)
    engine.call("commit", name, odd_init, timeout=120)
    engine.call("rm", "-f", name)
    with ContainerTarget.start(engine, odd_init, name=name) as target:
        assert target.facts["system"].startswith("degraded: ")
        assert "harness-bad.service" in target.facts["system"]


def test_findings_that_no_longer_hold_are_found_out_anew(engine: Engine, image: str, name: str) -> None:
    if engine.name != "podman":
        pytest.skip("the stale finding is podman's")
    stale = {
        "cgroup": "v2",
        "runtime": "no-such-runtime",
        "limits": [],
        "network": "none",
        "capabilities": [],
        "rootless": False,
        "remote": False,
    }
    memory = engine_trial.Memory()
    memory.remember(engine_trial.key(engine), {**stale, "notes": []})
    try:
        misled = engines.find("podman")
        assert misled.runtime == "no-such-runtime"
        with ContainerTarget.start(misled, image, name=name) as target:
            assert target.run("echo on", timeout=20).out == "on\n"
        assert engines.find("podman") == engine
    finally:
        memory.drop(engine_trial.key(engine))
