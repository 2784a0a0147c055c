"""The cache holds complete things only, and two processes do not make the same thing twice."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import ImageError
from harness.images.cache import ABANDONED_SECONDS, UNFINISHED, Cache, key


def silent(_: str) -> None:
    """Say nothing."""


def test_a_key_tells_where_one_part_ends() -> None:
    assert key("ab", "c") != key("a", "bc")
    assert key("a", b"b") == key(b"a", "b")
    assert key() != key("")


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    cache, made = Cache(tmp_path), []

    def build(path: Path) -> None:
        made.append(path)
        path.write_text("content", "utf-8")

    first = cache.entry("base", "k", build, silent, suffix=".tar")
    assert cache.entry("base", "k", build, silent, suffix=".tar") == first == tmp_path / "base" / "k.tar"
    assert first.read_text("utf-8") == "content"
    assert len(made) == 1
    assert made[0] != first


def test_an_entry_that_fails_is_not_there_and_is_made_anew(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def fails(path: Path) -> None:
        path.mkdir()
        (path / "half").write_text("x", "utf-8")
        raise ImageError("no space")

    with pytest.raises(ImageError, match="no space"):
        cache.entry("base", "k", fails, silent)
    assert list((tmp_path / "base").iterdir()) == []
    assert cache.entry("base", "k", Path.mkdir, silent).is_dir()


WORKER = """
import sys, time
from pathlib import Path
from harness.images.cache import Cache

folder = Path(sys.argv[1])

def build(path):
    with (folder / "log").open("a") as log:
        log.write("made\\n")
    (folder / "started").touch()
    deadline = time.monotonic() + 60
    while not (folder / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    path.write_text("x")

print(Cache(folder / "cache").entry("base", "k", build, lambda text: print(text, flush=True)))
"""


def worker(folder: Path) -> subprocess.Popen[str]:
    """Start a process that wants the same entry."""
    return subprocess.Popen([sys.executable, "-c", WORKER, str(folder)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def wait_for(path: Path) -> None:
    """Wait until a file appears."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never appeared"
        time.sleep(0.01)


def test_two_processes_make_an_entry_once(tmp_path: Path) -> None:
    first = worker(tmp_path)
    wait_for(tmp_path / "started")
    second = worker(tmp_path)
    assert second.stdout is not None
    assert "waiting for another process" in second.stdout.readline()
    (tmp_path / "go").touch()
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert all(output.endswith("base/k\n") for output in outputs)
    assert (tmp_path / "log").read_text("utf-8") == "made\n"


def test_a_killed_process_leaves_no_lock_and_no_half_entry(tmp_path: Path) -> None:
    first = worker(tmp_path)
    wait_for(tmp_path / "started")
    first.kill()
    first.communicate(timeout=60)
    assert not (tmp_path / "cache" / "base" / "k").exists()
    (tmp_path / "go").touch()
    assert worker(tmp_path).communicate(timeout=60)[0].endswith("base/k\n")


def test_pruning_keeps_what_was_used_last(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for age, name in enumerate(("new", "middle", "old")):
        path = cache.entry("base", name, Path.mkdir if name == "old" else Path.touch, silent)
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    (tmp_path / "base" / f"{UNFINISHED}now").mkdir()
    dead = tmp_path / "base" / f"{UNFINISHED}dead"
    dead.mkdir()
    os.utime(dead, (time.time() - 2 * ABANDONED_SECONDS,) * 2)
    cache.entry("base", "old", Path.mkdir, silent)
    assert {path.name for path in cache.prune("base", 2)} == {"middle", dead.name}
    assert {path.name for path in (tmp_path / "base").iterdir()} == {"new", "old", f"{UNFINISHED}now"}
    assert cache.prune("nothing", 1) == []


def test_a_cache_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="cannot be used") as caught:
        Cache(tmp_path / "file").entry("base", "k", Path.touch, silent)
    assert caught.value.exit_code == 3
    assert caught.value.hint


def test_the_users_cache_folder_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Cache().folder == tmp_path / "isms-golden-ami" / "images"
