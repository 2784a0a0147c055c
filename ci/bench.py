"""Measures what users wait for: whole processes, several times in one run, on the machine it names.

`ci/nox -s bench -- --repeat 5 --json bench.json`. Every figure is min, median and max of wall seconds; a ratio compares two figures of
the same run on the same container, so that it holds on other machines too. `--cold` adds the first run of a new user, without any cache.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ci import bench_audit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BIN = Path(sys.executable).parent
HARNESS = str(BIN / "harness")
ROOT = Path(__file__).resolve().parent.parent
MOST_SECONDS = 1800
"""After this long a command hangs; no figure of ours comes near."""

SLOW_REPEATS = 2
"""Stock testinfra takes minutes for one pass over a container."""

HARDENED = ("harness verify, judge only", "stock testinfra, same suites")


class BenchError(Exception):
    """A command did not end as it must, so that its time means nothing."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement: how long a command took, each time it ran."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value that ratios compare."""
        return statistics.median(self.seconds)


@dataclass(frozen=True, slots=True)
class Bench:
    """What the command line chose."""

    repeat: int
    folder: Path
    """Evidence goes here, and away at the end."""

    def run(
        self, command: Sequence[str], *, accept: Sequence[int] = (0,), environment: Mapping[str, str] | None = None
    ) -> tuple[float, str]:
        """Run a command once; return its wall seconds and what it printed. Raises BenchError when its exit code is not accepted."""
        own = {**as_installed(self.folder), **(environment or {})}
        started = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=MOST_SECONDS, check=False)
        seconds = time.perf_counter() - started
        if done.returncode not in accept:
            raise BenchError(f"`{' '.join(command)}` ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}")
        return seconds, done.stdout

    def measure(self, name: str, command: Sequence[str], *, accept: Sequence[int] = (0,), most: int | None = None) -> Figure:
        """Run a command `repeat` times, at most `most`."""
        print(f"{name} …", file=sys.stderr, flush=True)
        figure = Figure(name, tuple(self.run(command, accept=accept)[0] for _ in range(min(self.repeat, most or self.repeat))))
        print(f"{name}: {figure.median:.2f} s", file=sys.stderr, flush=True)
        return figure

    def verify(self, target: str, *options: str) -> list[str]:
        """Return the command of the main job."""
        return [HARNESS, "verify", "--target", target, "--quiet", "--evidence", str(self.folder / "evidence"), *options]


def as_installed(folder: Path) -> dict[str, str]:
    """Return an environment in which Python keeps what it has compiled, as for an installed package, whatever the caller's says."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}


def machine() -> dict[str, object]:
    """Say what the figures were taken on."""
    models = [line.partition(":")[2].strip() for line in lines_of("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) // 1024 for line in lines_of("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "cpus": os.cpu_count(),
        "model": models[0] if models else platform.processor(),
        "memory_mib": memory[0] if memory else None,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "engine": engine(),
    }


def lines_of(path: str) -> list[str]:
    """Read a file of /proc; nothing where there is no /proc."""
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def engine() -> str:
    """Name the container engine and its version."""
    for name in ("podman", "docker"):
        if shutil.which(name):
            return subprocess.run([name, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout.strip()
    return "none"


@contextmanager
def kept_container(bench: Bench) -> Iterator[tuple[str, Path]]:
    """Harden a container and keep it for the measurements inside; yield its URI and the documents that hardened it."""
    _, printed = bench.run(bench.verify("al2", "--base", "standin", "--keep", "--format", "json"), accept=(0, 1))
    run = json.loads(printed)
    uri = run["target"]["uri"]
    try:
        yield uri, bench.folder / "evidence" / run["run"]["id"] / "documents"
    finally:
        name, _, container = uri.partition("://")
        subprocess.run([name, "rm", "--force", container], capture_output=True, timeout=300, check=False)


def on_one_container(bench: Bench) -> list[Figure]:
    """Measure a second hardening, and the suites in our way and in testinfra's own, all on the same hardened container."""
    print("a hardened container, kept for the next figures …", file=sys.stderr, flush=True)
    with kept_container(bench) as (uri, documents):
        logs = ["--log-directory", str(bench.folder / "logs"), "--quiet"]
        again = [HARNESS, "toe", "run", "--target", uri, "--phases", "build", *logs, *map(str, sorted(documents.glob("*.yml")))]
        stock = [str(BIN / "pytest"), "verify", f"--hosts={uri}", "--baseline", "al2", "--quiet", "-p", "no:cacheprovider"]
        return [
            bench.measure("hardening, second run", again),
            bench.measure(HARDENED[0], bench.verify(uri, "--as-is"), accept=(0, 1)),
            bench.measure(HARDENED[1], stock, accept=(0, 1), most=SLOW_REPEATS),
        ]


def cold(bench: Bench) -> Figure:
    """Measure the main job once as a new user meets it: no cache, no image in the engine."""
    print("harness verify al2, cold …", file=sys.stderr, flush=True)
    _, driver = bench.run(["podman", "info", "--format", "{{.Store.GraphDriverName}}"])
    places = {"driver": driver.strip(), "graphroot": f"{bench.folder}/images", "runroot": f"{bench.folder}/run"}
    storage = bench.folder / "storage.conf"
    storage.write_text("[storage]\n" + "".join(f'{key} = "{value}"\n' for key, value in places.items()), encoding="utf-8")
    environment = {"XDG_CACHE_HOME": str(bench.folder / "cache"), "CONTAINERS_STORAGE_CONF": str(storage)}
    seconds, _ = bench.run(bench.verify("al2", "--base", "standin"), accept=(0, 1), environment=environment)
    return Figure("harness verify al2, cold", (seconds,))


def measured(bench: Bench, *, with_cold: bool) -> list[Figure]:
    """Take every figure. The main job runs once beforehand, so that its figures are those of a filled cache."""
    figures = [bench.measure("harness --help", [HARNESS, "--help"])]
    for target in ("al2", "al2023"):
        command = bench.verify(target, "--base", "standin")
        bench.run(command, accept=(0, 1))
        figures.append(bench.measure(f"harness verify {target}, warm", command, accept=(0, 1)))
    figures += on_one_container(bench)
    figures += bench_audit.one_host(bench)
    if with_cold:
        figures.append(cold(bench))
    return figures


def ratios(figures: Sequence[Figure]) -> dict[str, float]:
    """Compare medians of this run."""
    by_name = {figure.name: figure for figure in figures}
    ours, stock = (by_name[name] for name in HARDENED)
    container = {"stock testinfra takes this many times as long as harness": round(stock.median / ours.median, 1)}
    return container | bench_audit.compared({figure.name: figure.median for figure in figures})


def table(figures: Sequence[Figure], compared: Mapping[str, float], where: Mapping[str, object]) -> str:
    """Write the figures for people."""
    lines = [" · ".join(f"{key} {value}" for key, value in where.items()), ""]
    lines.append(f"{'seconds':32} {'n':>3} {'min':>8} {'median':>8} {'max':>8}")
    lines += [f"{f.name:32} {len(f.seconds):3} {min(f.seconds):8.2f} {f.median:8.2f} {max(f.seconds):8.2f}" for f in figures]
    lines += ["", *(f"{value:g}: {name}" for name, value in compared.items())]
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and write the JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="runs per figure (default: 5)")
    parser.add_argument("--cold", action="store_true", help="also measure a first run without any cache (minutes)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures with the machine they were taken on")
    options = parser.parse_args()
    if options.repeat < 1:
        parser.error("--repeat is at least 1")
    where = machine()
    with tempfile.TemporaryDirectory(prefix="isms-bench-", ignore_cleanup_errors=True) as folder:
        try:
            figures = measured(Bench(options.repeat, Path(folder)), with_cold=options.cold)
        except BenchError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    compared = ratios(figures)
    print(table(figures, compared, where))
    if options.json:
        data = {"machine": where, "figures": [{**asdict(f), "median": f.median} for f in figures], "ratios": compared}
        options.json.write_text(json.dumps(data, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
