"""A hardened container on a kernel of its own, as a user types it: booted, judged twice, broken, restarted, removed without a trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import leftovers, site
from harness.config import load as load_settings
from harness.errors import TargetError
from harness.judging import Task, judged
from harness.model import Status
from harness.targets.vm import VmTarget
from harness.testinfra_backend import host_for
from harness.vms import store
from tests.mutations.reading import load

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from harness.evidence import Evidence

HARNESS = Path(sys.executable).with_name("harness")
SECONDS = 1500
BREAKING = {
    "kernel-kptr-restrict": "echo 'kernel.kptr_restrict = 0' >/etc/sysctl.d/99-zzz-site.conf",
    "auditd-loaded": "echo '-a never,task' >/etc/audit/rules.d/00-site.rules; augenrules >/dev/null",
    "auditd-locked": "sed -i '/^-e 2$/d' /etc/audit/rules.d/*.rules; augenrules >/dev/null",
    "filesystem-tmp-options": "sed -i -E 's/nosuid,?//' \"$(systemctl show -p FragmentPath tmp.mount | cut -d= -f2)\"",
}
"""What takes effect at the next start only: a kernel parameter, audit rules, a mount. Rules that are locked change no sooner."""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def run(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.out)


def harness(*arguments: str, cwd: Path) -> Done:
    process = subprocess.run([HARNESS, *arguments], cwd=cwd, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert "Traceback" not in process.stderr, process.stderr
    return Done(process.returncode, process.stdout, process.stderr)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Generator[Done]:
    """Harden a stand-in, boot it, judge, restart, judge; keep the machine for the tests of this file."""
    folder = tmp_path_factory.mktemp("kept")
    done = harness("verify", "--target", "al2", "--base", "standin", "--vm", "--keep", "--format", "json", cwd=folder)
    assert done.out, done.err
    engine, _, name = done.run["target"]["uri"].partition("://")
    subprocess.run([engine, "rm", "-f", name], capture_output=True, timeout=60, check=False)
    try:
        yield done
    finally:
        with suppress(TargetError):
            store.find(machine(done)).remove()


def machine(done: Done) -> str:
    return str(done.run["target"]["vm_uri"]).removeprefix("vm://")


class Nowhere:
    """Evidence that nobody wants."""

    def capture(self, capture: object, name: str) -> None:
        pass


def statuses(target: VmTarget, rules: Sequence[str]) -> dict[str, Status]:
    """Judge some rules on a machine."""
    settings = load_settings(None, variables={}, var_files=(), environ={}, cwd=Path("/"))
    content = site.content(settings)
    task = Task(content, content.baseline("al2"), {}, tuple(rules))
    nowhere: Evidence = Nowhere()  # type: ignore[assignment]  # only `capture` is called
    return {result.rule: result.status for result in judged(task, target, host_for(target), nowhere)}


def test_every_rule_has_a_result_and_says_where_it_was_judged(kept: Done) -> None:
    results = kept.run["results"]
    bad = [(result["rule"], result["reason"], result["observed"]) for result in results if result["status"] in {"fail", "error"}]
    assert bad == []
    assert kept.code == 0
    content = site.content(load_settings(None, variables={}, var_files=(), environ={}, cwd=Path("/")))
    for result in results:
        rule = content.rules[result["rule"]]
        if result["status"] == "not_applicable":
            assert result["reason"]
            assert rule.id in content.baseline("al2").excluded or not {"container", "vm"} & {str(one) for one in rule.applies_to}
        else:
            assert set(result["where"]) <= {"container", "vm", "vm restarted"}
            assert ("vm" in result["where"]) == ("vm restarted" in result["where"]) == ("vm" in rule.applies_to)


def test_the_evidence_says_what_the_machine_is_and_what_it_got_beside_the_image(kept: Done) -> None:
    target = kept.run["target"]
    assert target["environments"] == "container, vm"
    assert target["vm_accelerator"] in {"kvm", "tcg"}
    assert target["vm_kernel"] in target["vm_boots"]
    for word in ("/usr/lib/modules/", "authorized_keys", "virtio", "standin-container-shims", "10.0.2.15"):
        assert word in target["vm_injected"]
    assert "mitigations" not in target["vm_kernel_arguments"]
    assert "mask" not in target["vm_kernel_arguments"]


def test_a_kept_machine_is_listed_stopped_and_goes_on_from_its_snapshot(kept: Done, tmp_path: Path) -> None:
    name = machine(kept)
    listed = json.loads(harness("vm", "list", "--format", "json", cwd=tmp_path).out)
    (one,) = [one for one in listed if one["uri"] == f"vm://{name}"]
    assert (one["state"], one["snapshot"], one["owner"]) == ("running", True, "kept")
    store.find(name).kill()
    off = harness("verify", "--target", f"vm://{name}", "--as-is", "--rule", "ssh-root-login", cwd=tmp_path)
    assert off.code == 3
    assert f"harness vm start {name}" in off.err
    assert harness("vm", "start", name, cwd=tmp_path).code == 0
    judged_again = harness("verify", "--target", f"vm://{name}", "--as-is", "--rule", "kernel-running-values", cwd=tmp_path)
    assert judged_again.code == 0, judged_again.err
    with VmTarget.attach(store.find(name)) as target:
        assert abs(float(target.run("date +%s.%N").out) - time.time()) < 30


def test_the_way_in_by_ssh_gives_root_as_the_serial_ports_do(kept: Done) -> None:
    with VmTarget.attach(store.find(machine(kept)), over_ssh=True) as target:
        assert target.facts["channel"] == "ssh"
        assert target.run("id -u; cat /proc/self/loginuid").out.split() == ["0", target.run("id -u ec2-user").out.strip()]
        assert statuses(target, ["ssh-root-login", "kernel-running-values", "auditd-locked"]) == dict.fromkeys(
            ["ssh-root-login", "kernel-running-values", "auditd-locked"], Status.PASS
        )


APART = {"survival-audit-record", "survival-integrity-alarm", "survival-weak-password"}
"""Broken in a second round: each of them is hidden by something of the first one, or shares its saved file."""
LIBRARY = (Path(__file__).parents[1] / "mutations" / "lib.sh").read_text("utf-8")


def live() -> list[Any]:
    """Return what can be broken and mended while the machine runs, one mutation for each rule that is judged there."""
    content = site.content(load_settings(None, variables={}, var_files=(), environ={}, cwd=Path("/")))
    return [
        each
        for each in load()
        if each.needs_vm
        and "al2" in each.baselines
        and each.restore
        and each.rule not in {"auditd-loaded", "auditd-locked", *content.baseline("al2").excluded}
        and "vm" in content.rules[each.rule].applies_to
    ]


@pytest.mark.parametrize("apart", [False, True])
def test_what_breaks_on_a_running_machine_is_seen(kept: Done, apart: bool) -> None:  # noqa: FBT001 - one of two rounds
    """All at once, since a pass over an emulated machine takes its time; `nox -s mutate -- --vm` tries them one by one."""
    mutations = [each for each in live() if (each.rule in APART) is apart]
    assert len(mutations) >= len(APART)
    with VmTarget.attach(store.find(machine(kept))) as target:
        said = [target.run(f"{LIBRARY}\n{each.apply}").err for each in mutations]
        try:
            found = statuses(target, [each.rule for each in mutations])
        finally:
            for each in reversed(mutations):
                target.run(f"{LIBRARY}\n{each.restore}")
    assert found == {each.rule: Status(each.status) for each in mutations}, said


def test_what_breaks_at_the_next_start_is_seen_after_it(kept: Done) -> None:
    with VmTarget.attach(store.find(machine(kept))) as target:
        before = target.run("cat /proc/sys/kernel/random/boot_id").out
        for command in BREAKING.values():
            target.run(command)
        target.restart()
        assert target.run("cat /proc/sys/kernel/random/boot_id").out != before
        found = statuses(
            target,
            ["kernel-kptr-restrict", "kernel-running-values", "auditd-loaded", "auditd-locked", "filesystem-tmp-options", "ssh-root-login"],
        )
    assert found.pop("ssh-root-login") is Status.PASS
    assert set(found.values()) == {Status.FAIL}, found


def test_a_machine_that_is_killed_under_a_command_is_an_error_with_its_last_lines(kept: Done) -> None:
    guest = store.find(machine(kept))
    with VmTarget.attach(guest) as target:
        os.kill(guest.record.pid, signal.SIGKILL)
        with pytest.raises(TargetError, match="console's last lines"):
            target.run("sleep 60", timeout=120)


def test_a_removed_machine_leaves_nothing(kept: Done, tmp_path: Path) -> None:
    name = machine(kept)
    guest = store.find(name)
    assert harness("vm", "remove", name, cwd=tmp_path).code == 0
    assert not guest.folder.exists()
    assert [path for path in Path("/proc").glob("[0-9]*/cmdline") if name.encode() in said(path)] == []
    assert harness("vm", "start", name, cwd=tmp_path).code == 3


def said(path: Path) -> bytes:
    with suppress(OSError):
        return path.read_bytes()
    return b""


ORPHAN = """\
import os, signal, sys
from harness import leftovers
from harness.images.cache import Cache
from harness.vms import disk, initrd, kernel, store
from harness.vms.guest import Guest
from harness.vms.machine import Machine, Record

boots = kernel.ensure(Cache(), print)
place = store.made(sys.argv[1])
(place / "empty").write_bytes(bytes(1 << 20))
disk.overlay(place / "empty", place / "overlay.qcow2")
(place / "initrd").write_bytes(initrd.build(boots))
guest = Guest(place, Record(place.name, Machine("tcg", kernel=str(boots.image)), labels=leftovers.labels(place.name)))
guest.start()
print(guest.record.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_crash_leaves_no_process_and_its_folder_goes_with_the_next_run() -> None:
    name = f"isms-test-{os.getpid()}"
    done = subprocess.run([sys.executable, "-c", ORPHAN, name], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(done.stdout.split()[-1])
    deadline = time.monotonic() + 20
    while leftovers.start_of(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not leftovers.start_of(pid)
    assert (store.folder() / name).is_dir()
    assert name in store.sweep()
    assert not (store.folder() / name).exists()


def test_a_guest_without_a_system_ends_with_the_last_lines_of_its_console() -> None:
    name = f"isms-test-empty-{os.getpid()}"
    script = ORPHAN.partition("guest.start()")[0] + (
        "from harness.targets.vm import VmTarget\n"
        "from harness.errors import TargetError\n"
        "try:\n    VmTarget.boot(guest).come_up()\n"
        "except TargetError as error:\n    print(error.exit_code, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, name], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.splitlines()[-1].startswith("3 "), done.stderr
    assert "the disk has no file system that can be mounted" in done.stdout
    assert not (store.folder() / name).exists()
