"""The rehearsal with virtual machines for its instances: a restart is one, the test is on a boot of its own, and nothing is left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness import engine as engines
from harness import leftovers
from harness.vms import store

if TYPE_CHECKING:
    from harness.vms.guest import Guest

HARNESS = Path(sys.executable).with_name("harness")
SECONDS = 900
CONFIGURATION = """\
source "container" "al2" {
  baseline = "al2"
  image    = "public.ecr.aws/amazonlinux/amazonlinux:2"
}
build "golden" {
  sources = ["source.container.al2"]
  component "site_restart" { source = "./site.yml" }
}
publish "imagebuilder" {
  schedule { expression = "cron(0 2 * * sun)" }
}
"""
DOCUMENT = """\
name: site_restart
schemaVersion: "1.0"
phases:
  - name: build
    steps:
      - name: Before
        action: ExecuteBash
        inputs:
          commands:
            - touch /run/of-the-first-boot
            - cat /proc/sys/kernel/random/boot_id >>/etc/boots
      - name: Restart
        action: Reboot
      - name: After
        action: ExecuteBash
        inputs:
          commands:
            - test ! -e /run/of-the-first-boot
            - cat /proc/sys/kernel/random/boot_id >>/etc/boots
            - test "$(sort -u /etc/boots | wc -l)" = 2
  - name: test
    steps:
      - name: Look
        action: ExecuteBash
        inputs:
          commands:
            - test "$(wc -l </etc/boots)" = 2
            - cat /proc/sys/kernel/random/boot_id >>/etc/boots
            - test "$(sort -u /etc/boots | wc -l)" = 3
            - echo "three boots of $(uname -r) on $(findmnt -no SOURCE /)"
"""


def test_a_component_restarts_its_machine_and_is_tested_on_another_boot(tmp_path: Path) -> None:
    (tmp_path / "harness.hcl").write_text(CONFIGURATION, "utf-8")
    (tmp_path / "site.yml").write_text(DOCUMENT, "utf-8")
    words = ["rehearse", "--vm", "--base", "standin", "--despite-gate", "a test of machines", "--format", "json", "--verbose"]
    with subprocess.Popen([HARNESS, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert json.loads(out)["status"] == "AVAILABLE"
    assert [line for line in err.splitlines() if "three boots of" in line and line.endswith("-cloud-amd64 on /dev/vda")], err
    assert guests_of(process.pid) == []
    assert engines.find().call("ps", "-aq", "--filter", f"label={leftovers.LABEL}.pid={process.pid}").stdout == b""


def guests_of(pid: int) -> list[Guest]:
    """Return the virtual machines that a process of harness has left."""
    return [guest for guest in store.guests() if guest.record.labels.get(f"{leftovers.LABEL}.pid") == str(pid)]
