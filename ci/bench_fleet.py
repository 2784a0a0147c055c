"""Measures the audit of a fleet: as many sshds on loopback addresses as hosts are asked for, all in one container on this machine.

`ci/nox -s bench` measures one host; this is `python ci/bench_fleet.py --hosts 100`: wall seconds, CPU seconds of harness and its peak
memory, whole process, and the CPU seconds of the targets, which the same CPUs do and which count in the wall seconds. With `--captures N`
it then has `harness evaluate FOLDER` judge so many captures, made of those that the hosts gave.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ci.bench import as_installed, machine  # noqa: E402 - scripts are run by path
from harness import capture as captures  # noqa: E402 - scripts are run by path
from tests.sshworld import World  # noqa: E402 - scripts are run by path

HARNESS = str(Path(sys.executable).with_name("harness"))
PORT = 2022
MOST_SECONDS = 1800
CHANGED = 0.1
"""Share of its answers in which a made capture differs from the one that it was made of, and from most others."""
SEED = 4
CONFIG = """\
Port {port}
HostKey /etc/ssh/world_ed25519
PidFile none
PermitRootLogin prohibit-password
MaxStartups 200
"""


def sshds(world: World, hosts: int) -> list[str]:
    """Start one sshd per host on an address of its own; return the addresses."""
    addresses = [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(hosts)]
    world.people()
    config = CONFIG.format(port=PORT)
    starts = "".join(f"/usr/sbin/sshd -f /run/sshd/fleet -o ListenAddress={address}\n" for address in addresses)
    world.sh(f"cat >/run/sshd/fleet <<'END'\n{config}END\n{starts}")
    return addresses


def targets_cpu(world: World) -> float:
    """Return the CPU seconds of the sshds and of everything that they started and waited for."""
    lines = world.sh("cat /proc/[0-9]*/stat 2>/dev/null || :").splitlines()
    ticks = sum(sum(map(int, line.rpartition(")")[2].split()[11:15])) for line in lines if "(sshd)" in line)
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(world: World, folder: Path, addresses: list[str], jobs: int) -> dict[str, object]:
    """Audit them all once, as a whole process."""
    inventory = folder / "inventory"
    inventory.write_text("".join(f"root@{address}:{PORT}\n" for address in addresses), "utf-8")
    command = [
        HARNESS,
        "audit",
        "--inventory",
        str(inventory),
        "--jobs",
        str(jobs),
        "--evidence",
        str(folder / "evidence"),
        "--format",
        "json",
    ]
    targets = targets_cpu(world)
    figures = whole_process(command, folder, len(addresses))
    return {"hosts": len(addresses), "jobs": jobs, **figures, "targets_cpu_seconds": round(targets_cpu(world) - targets, 2)}


def whole_process(command: list[str], folder: Path, judged: int) -> dict[str, object]:
    """Run harness and return what it used; its peak memory is that of the hungriest process so far."""
    own = {**as_installed(folder), "HOME": str(folder)}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=MOST_SECONDS, check=False)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in {0, 1}:
        raise SystemExit(f"harness ended with {done.returncode}: {done.stderr[-2000:]}")
    summary = json.loads(done.stdout)["summary"]
    if summary["judged"] != judged:
        raise SystemExit(f"not all were judged: {summary}; {done.stderr[-2000:]}")
    return {
        "wall_seconds": round(seconds, 2),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
        "peak_mib": after.ru_maxrss // 1024,
    }


def made(folder: Path, number: int) -> Path:
    """Make captures of those that the hosts of an audit gave: in each, some answers lack a line."""
    chance = random.Random(SEED)  # noqa: S311 - no secret
    given = [captures.read(path) for path in sorted(folder.glob("evidence/*/hosts/*/capture.json.zst"))]
    into = folder / "captures"
    into.mkdir(exist_ok=True)
    for count in range(number):
        capture = given[count % len(given)]
        answers = []
        for answer in capture.answers:
            lines = answer.stdout.splitlines(keepends=True)
            if len(lines) > 1 and chance.random() < CHANGED and "os-release" not in answer.command:
                del lines[chance.randrange(len(lines))]
            answers.append(replace(answer, stdout=b"".join(lines)))
        replace(capture, answers=tuple(answers)).write(into / f"host-{count:04}{captures.SUFFIX}")
    return into


def measure_captures(folder: Path, number: int) -> dict[str, object]:
    """Judge captures once, as a whole process."""
    command = [HARNESS, "evaluate", str(made(folder, number)), "--format", "json", "--quiet"]
    return {"captures": number, **whole_process(command, folder, number)}


def home(folder: Path, world: World) -> None:
    """Make the home of a user who knows the hosts and has their key."""
    (folder / ".ssh").mkdir(mode=0o700)
    key = " ".join(world.sh("cat /etc/ssh/world_ed25519.pub").split()[:2])
    (folder / ".ssh" / "known_hosts").write_text(f"[127.1.*]:{PORT} {key}\n", "utf-8")
    (folder / ".ssh" / "config").write_text(f"Host *\n  IdentityFile {world.keys['ed25519']}\n  IdentitiesOnly yes\n", "utf-8")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=100, metavar="N")
    parser.add_argument("--jobs", type=int, default=[16], nargs="+", metavar="N", help="hosts at a time; several are measured in turn")
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    parser.add_argument("--captures", type=int, default=0, metavar="N", help="judge so many captures, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures with the machine they were taken on")
    options = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory(prefix="isms-bench-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        world = World.begin(folder)
        try:
            addresses = sshds(world, options.hosts)
            home(folder, world)
            for jobs in options.jobs:
                for _ in range(options.repeat):
                    figures.append(measure(world, folder, addresses, jobs))
                    print(figures[-1], flush=True)
            for _ in range(options.repeat if options.captures else 0):
                figures.append(measure_captures(folder, options.captures))
                print(figures[-1], flush=True)
        finally:
            world.end()
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "figures": figures}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
