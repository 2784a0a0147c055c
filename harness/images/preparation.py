"""The layer on top of a registry's image: the packages and the user that the AMI has, installed once and kept as a local image."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.engine import last_words
from harness.errors import ContentError, EngineError, ImageError, UnreachableError
from harness.images import registry
from harness.images.cache import Cache, key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from subprocess import CompletedProcess

    from harness.engine import Engine

FOLDER = Path(__file__).parent
SCRIPT = FOLDER / "preparation.sh"
LISTS = FOLDER / "preparation.yaml"
SECONDS = 1200.0
KEPT = 2
"""Prepared images per baseline: the newest, and the one that a run in another folder may be about to start."""
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
ENGINE_FAILED = frozenset({125, 126, 127})
"""Exit codes by which engines say that the container did not start; the script uses none of them."""
HOPELESS = frozenset({3, 4})
"""Exit codes of the script that another network cannot change: no package manager, a package that does not exist."""


@dataclass(frozen=True, slots=True)
class Packages:
    """What an image gets."""

    required: tuple[str, ...]
    wanted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that is to be made."""

    reference: str
    image: str
    packages: Packages
    origin: Mapping[str, str]
    """Label below `org.isms.` → what it says of where the layer comes from."""


def packages_of(baseline: str, path: Path = LISTS) -> Packages:
    """Return the list of a baseline. Raises ContentError when there is none."""
    from harness import locatedyaml

    lists = locatedyaml.load(path)
    if baseline not in lists.value:
        known = ", ".join(lists.value)
        raise ContentError(f"no packages are listed for the baseline `{baseline}`", hint=f"known: {known}", at=lists.at())
    chosen = lists.value[baseline]
    return Packages(tuple(chosen["required"]), tuple(chosen["wanted"]))


def prepared(reference: str, baseline: str, engine: Engine, cache: Cache, say: Callable[[str], None]) -> str:
    """Return a local image with everything that the AMI has, made from `reference` unless it is there already.

    An image that lacks nothing is only named, not changed. Raises ImageError when packages cannot be installed.
    """
    packages = packages_of(baseline)
    about = registry.inspect(reference, engine)
    content = key(str(about["Id"]), *packages.required, "--", *packages.wanted, SCRIPT.read_bytes())
    image = f"localhost/isms-prepared-{baseline}:{content}"
    if registry.present(image, engine):
        return image
    with cache.lock(f"prepared-{engine.name}-{content}", say):
        if not registry.present(image, engine):
            say(f"preparing {reference}: the packages that the AMI has")
            origin = {"base": reference, "base.digest": registry.digest_of(about, reference), "baseline": baseline}
            _prepare(Layer(reference, image, packages, origin), engine, say)
            with suppress(UnreachableError):  # another process prunes as well
                prune(image, engine)
    return image


def prune(image: str, engine: Engine, keep: int = KEPT) -> None:
    """Remove older images of the same repository as `image`, `keep` in all excepted; one that a container still uses stays."""
    repository = image.rpartition(":")[0]
    listed = engine.call("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference={repository}", timeout=60).stdout
    others = set(listed.decode("utf-8", "replace").split()) - {image}
    created = {other: str(registry.inspect(other, engine)["Created"]) for other in others}
    for other in sorted(others, key=lambda name: created[name], reverse=True)[keep - 1 :]:
        engine.call("rmi", other, timeout=120, check=False)


def _prepare(layer: Layer, engine: Engine, say: Callable[[str], None]) -> None:
    container = f"isms-prepare-{layer.image.rpartition(':')[2]}"
    try:
        lines = _installed(layer, container, engine).stdout.decode("utf-8", "replace").splitlines()
        for line in lines:
            if line.startswith("left out: "):
                say(f"{layer.reference}: {line.removeprefix('left out: ')} is not in the repository and is left out")
        if lines and lines[-1] == "unchanged":
            engine.call("tag", layer.reference, layer.image, timeout=60)
            return
        labels = [word for name, value in layer.origin.items() for word in ("--change", f"LABEL org.isms.{name}={value}")]
        engine.call("commit", "--change", 'CMD ["/sbin/init"]', *labels, container, layer.image, timeout=300)
    finally:
        engine.call("rm", "-f", container, timeout=60, check=False)


def _installed(layer: Layer, container: str, engine: Engine) -> CompletedProcess[bytes]:
    """Run the script in a new container that is left stopped.

    Of the networks the engine's own comes first; on machines where it cannot be set up, that of the host will do, since nothing but
    a package manager runs in it; the last needs none, which is enough where the repository is in the image.
    """
    # In the script, as an environment given to the container would become part of the image.
    settings = "".join(f"export {name}={_quoted(os.environ[name])}\n" for name in PROXIES if name in os.environ)
    script = settings.encode() + SCRIPT.read_bytes()
    no_proxy = ["--http-proxy=false"] if engine.name == "podman" else []
    started: list[str] = []
    refused: list[str] = []
    for network in ([], ["--network=host"], ["--network=none"]):
        engine.call("rm", "-f", container, timeout=60, check=False)  # left by a process that was killed
        try:
            done = engine.call(
                "run", "-i", "--name", container, "--user=0", "--entrypoint=", *engine.limit_options, *no_proxy, *network,
                layer.reference, "/bin/bash", "-s", "--", *layer.packages.required, "--", *layer.packages.wanted,
                input=script, timeout=SECONDS, check=False,
            )  # fmt: skip
        except EngineError as error:
            raise ImageError(f"{layer.reference} cannot be prepared: {error.message}", hint=registry.standin_hint()) from None
        if done.returncode == 0:
            return done
        (refused if done.returncode in ENGINE_FAILED else started).append(last_words(done.stderr))
        if done.returncode in HOPELESS:
            break
    hint = f"the repositories must be reachable from a container: check network and proxy; {registry.standin_hint()}"
    raise ImageError(f"{layer.reference} cannot be prepared: {(started or refused)[0]}", hint=hint)


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
