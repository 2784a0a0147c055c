"""The stand-in: base images made from Debian packages with Amazon Linux's layout, for machines that reach no registry."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.errors import EngineError, ImageError, UsageError
from harness.images.base import BaseImage
from harness.images.standin.definition import LAYOUTS, base_key, layout_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.engine import Engine
    from harness.images.cache import Cache

__all__ = ["LABEL", "LAYOUTS", "build", "forget", "reference_of"]

LABEL = "org.isms.standin"
"""Label of every stand-in image; `true`. Its date is in `org.isms.standin.built`."""
STALE_DAYS = 30
"""Age of the Debian packages from which a note asks for a new build. Nothing is rebuilt by itself: the same inputs give the same image."""
SPACE = 1_500_000_000
"""Bytes that a build needs for a while in the cache folder."""


def reference_of(baseline: str) -> str:
    """Return the name under which the engine has, or would have, the stand-in as it is defined now."""
    return f"{_repository(baseline)}:{layout_key(baseline)}"


def build(baseline: str, engine: Engine, cache: Cache, say: Callable[[str], None], *, now: datetime | None = None) -> BaseImage:
    """Return the stand-in of a baseline, imported into the engine, after making it if this machine never did.

    Raises UsageError for a baseline without a stand-in, and ImageError when it cannot be made here: tools missing, not root, no space,
    no Debian mirror. The hint says what to do, and names the log where a tool failed.
    """
    if baseline not in LAYOUTS:
        raise UsageError(f"there is no stand-in for `{baseline}`", hint=f"there is one for {' and '.join(LAYOUTS)}")
    reference = reference_of(baseline)
    present = _inspect(reference, engine)
    if present is None:
        folder = cache.entry("standin", f"{baseline}-{layout_key(baseline)}", lambda path: _make(baseline, path, cache, say), say)
        say(f"stand-in {baseline}: importing into {engine.name}")
        _import(folder, reference, engine)
        engine.call("tag", reference, f"{_repository(baseline)}:latest")
        _remove_superseded(baseline, engine)
        cache.prune("standin", keep=2 * len(LAYOUTS))
        cache.prune("standin-base", keep=2)
        present = _inspect(reference, engine)
    if present is None:
        raise EngineError(f"{engine.name} imported {reference} but does not show it", hint=f"`{engine.name} images` lists what is there")
    digest, built = present
    days = ((now or datetime.now(UTC)) - datetime.fromisoformat(built)).days if built else 0
    if days > STALE_DAYS:
        say(
            f"stand-in {baseline}: its Debian packages are {days} days old; for new ones remove {cache.folder} "
            f"and `{engine.name} rmi {reference}`"
        )
    return BaseImage("standin", reference, digest, baseline, f"STAND-IN with the layout of {baseline} (Debian binaries)", "asked for")


def forget(baseline: str, engine: Engine, cache: Cache) -> None:
    """Make the next `build` start from today's Debian packages; containers that use the image keep it until they are gone."""
    engine.call("rmi", reference_of(baseline), check=False)
    for kind, name in (("standin", f"{baseline}-{layout_key(baseline)}"), ("standin-base", base_key())):
        shutil.rmtree(cache.path(kind, name), ignore_errors=True)


def _repository(baseline: str) -> str:
    return f"localhost/isms-standin-{baseline}"


def _remove_superseded(baseline: str, engine: Engine) -> None:
    """Drop the stand-ins of earlier definitions, 200 MB each; the engine keeps those that a container still uses."""
    listed = engine.call("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"label={LABEL}=true", check=False).stdout
    for name in listed.decode().split():
        if name.startswith(f"{_repository(baseline)}:") and not name.endswith((":latest", f":{layout_key(baseline)}")):
            engine.call("rmi", name, check=False)


def _make(baseline: str, target: Path, cache: Cache, say: Callable[[str], None]) -> None:
    """Fill the cache entry `target`: image.tar.zst and about.json."""
    from harness.images.standin.commands import Journal, require_tools
    from harness.images.standin.layout import make_layout

    if platform.machine() != "x86_64":
        message = f"the stand-in is made for x86_64 only, this machine is {platform.machine()}"
        raise ImageError(message, hint="use a registry image (--base registry)")
    require_tools()
    if shutil.disk_usage(target.parent).free < SPACE:
        message = f"the stand-in needs {SPACE // 10**9 + 1} GB of free space in {cache.folder} while it is built"
        raise ImageError(message, hint="free some space, or set XDG_CACHE_HOME to a folder elsewhere")
    base = cache.entry("standin-base", base_key(), lambda path: _make_base(path, cache, say), say)
    target.mkdir()
    journal = Journal(cache.folder / "logs" / f"standin-{baseline}.log")
    make_layout(baseline, base, target, journal, say)


def _make_base(target: Path, cache: Cache, say: Callable[[str], None]) -> None:
    from harness.images.standin.base import make_base
    from harness.images.standin.commands import Journal

    target.mkdir()
    make_base(target, Journal(cache.folder / "logs" / "standin-base.log"), say)


def _inspect(reference: str, engine: Engine) -> tuple[str, str] | None:
    """Return an image's digest and the date of its Debian packages, None when the engine has no such image."""
    template = f'{{{{.Id}}}} {{{{index .Config.Labels "{LABEL}.built"}}}}'
    answer = engine.call("image", "inspect", "--format", template, reference, check=False)
    if answer.returncode != 0:
        return None
    digest, _, built = answer.stdout.decode().strip().partition(" ")
    return (digest if digest.startswith("sha256:") else f"sha256:{digest}"), built


def _import(folder: Path, reference: str, engine: Engine) -> None:
    built = json.loads((folder / "about.json").read_bytes())["built"]
    changes = [f"ENV container={engine.name}", 'CMD ["/sbin/init"]', f"LABEL {LABEL}=true", f"LABEL {LABEL}.built={built}"]
    if engine.name == "podman":
        # docker refuses to import this one; its targets give the signal when they start a container.
        changes.append("STOPSIGNAL SIGRTMIN+3")
    options = [word for change in changes for word in ("--change", change)]
    if engine.name == "podman" and not engine.remote:
        engine.call("import", "--quiet", *options, str(folder / "image.tar.zst"), reference, timeout=300)
        return
    # docker reads no zstd, and a remote engine no file of ours.
    unpack = ["zstd", "-dc", str(folder / "image.tar.zst")]
    with (
        subprocess.Popen(unpack, stdout=subprocess.PIPE) as unpacker,
        engine.popen("import", *options, "-", reference, stdin=unpacker.stdout) as importer,
    ):
        _, complaint = importer.communicate(timeout=300)
    if importer.returncode != 0:
        raise engine.refusal("import", complaint)
