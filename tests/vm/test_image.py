"""A disk image of one's own, as a user brings it: booted by its own loader, let in by its seed, hardened inside, restarted, judged."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import TargetError
from harness.targets.vm import VmTarget
from harness.vms import store
from tests.vm import bootable

if TYPE_CHECKING:
    from collections.abc import Generator

HARNESS = Path(sys.executable).with_name("harness")
SECONDS = 900
CONFIGURATION = """\
source "container" "al2023" {
  baseline = "al2023"
  image    = "public.ecr.aws/amazonlinux/amazonlinux:2023"
}
build "golden" {
  sources = ["source.container.al2023"]
  component "site_kernel" { source = "./site.yml" }
}
"""
DOCUMENT = """\
name: site_kernel
schemaVersion: "1.0"
phases:
  - name: build
    steps:
      - name: Hide
        action: ExecuteBash
        inputs:
          commands:
            - echo 'kernel.kptr_restrict = 1' >/etc/sysctl.d/99-site.conf
"""
RULES = ("kernel-kptr-restrict", "survival-network", "auditd-active", "survival-ssh-login")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a disk image and a configuration with one small document."""
    folder = tmp_path_factory.mktemp("image")
    bootable.image(folder)
    (folder / "harness.hcl").write_text(CONFIGURATION, "utf-8")
    (folder / "site.yml").write_text(DOCUMENT, "utf-8")
    return folder


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


@pytest.fixture(scope="module")
def run(folder: Path) -> Generator[Any]:
    """Verify the image, and keep its machine for the tests of this file."""
    before = digest(folder / "disk.qcow2")
    rules = [word for rule in RULES for word in ("--rule", rule)]
    words = ["verify", "--target", "al2023", "--base", "disk.qcow2", "--vm", "--keep", "--format", "json", *rules]
    done = subprocess.run([HARNESS, *words], cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["base"]["digest"] == before == digest(folder / "disk.qcow2")
    try:
        yield told
    finally:
        with suppress(TargetError):
            store.find(name(told)).remove()


def name(run: Any) -> str:  # noqa: ANN401 - JSON
    return str(run["target"]["uri"]).removeprefix("vm://")


def test_it_is_hardened_inside_restarted_and_judged_on_two_boots(run: Any) -> None:  # noqa: ANN401 - JSON
    assert {(one["rule"], one["status"], tuple(one["where"])) for one in run["results"]} == {
        (rule, "pass", ("vm", "vm restarted")) for rule in RULES
    }
    target = run["target"]
    assert (target["environment"], target["environments"]) == ("vm", "vm")
    assert target["boots"] == "disk.qcow2, by its own boot loader and BIOS"
    assert "NoCloud seed" in target["injected"]
    assert (run["base"]["kind"], run["base"]["label"]) == ("disk", "disk image disk.qcow2")


def test_the_seed_lets_in_by_ssh_names_the_host_and_leaves_a_way_in_where_ssh_is_locked(run: Any) -> None:  # noqa: ANN401 - JSON
    guest = store.find(name(run))
    with VmTarget.attach(guest, over_ssh=True) as target:
        assert target.facts["channel"] == "ssh"
        assert target.run("hostname; id -u; id -un $(cat /proc/self/loginuid)").out.split() == [guest.name, "0", "ec2-user"]
        assert "root=/dev/vda3" in target.run("cat /proc/cmdline").out
        target.run("systemctl stop sshd.service")
    with VmTarget.attach(guest) as target:
        assert target.facts["channel"] == "serial ports"
        assert target.run("systemctl is-active sshd.service").out.strip() == "inactive"


def test_a_removed_machine_leaves_the_image_and_nothing_else(run: Any, folder: Path) -> None:  # noqa: ANN401 - JSON
    guest = store.find(name(run))
    removed = subprocess.run([HARNESS, "vm", "remove", guest.name], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert removed.returncode == 0, removed.stderr
    assert not guest.folder.exists()
    assert digest(folder / "disk.qcow2") == run["base"]["digest"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--base", "disk.qcow2"], "which only a virtual machine starts"),
        (["--base", "none.qcow2", "--vm"], "nor a disk image that is there"),
        (["--base", "site.yml", "--vm"], "no boot code"),
        (["--base", "disk.qcow2", "--vm", "--target", "podman://x"], "exists already"),
    ],
)
def test_what_cannot_be_started_is_one_line(folder: Path, words: list[str], told: str) -> None:
    done = subprocess.run([HARNESS, "verify", *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
