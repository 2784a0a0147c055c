"""Base images: what hardening starts from, taken from a registry or, where none answers, made as a stand-in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.images.base import BaseImage, Choice, Kind, Origin

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.engine import Engine
    from harness.images.cache import Cache

__all__ = ["BaseImage", "Choice", "Kind", "Origin", "ensure"]


def ensure(choice: str, source: Origin, engine: Engine, say: Callable[[str], None], cache: Cache | None = None) -> BaseImage:
    """Return an image of `source` that the engine has, pulled, prepared or built if need be.

    `choice` is `auto`, `registry` or `standin`. `auto` takes the stand-in only when no registry answers: an image that is private or
    missing is a mistake in the configuration, and is not covered up. Raises ImageError, UsageError for another choice.
    """
    from harness.errors import UsageError
    from harness.images.cache import Cache

    if choice not in {"auto", "registry", "standin"}:
        raise UsageError(f"`{choice}` is no base", hint="auto, registry or standin")
    store = cache or Cache()
    if choice == "standin":
        return _standin(source, engine, store, say, "asked for")
    from harness.images import registry

    if registry.present(source.image, engine):
        made = str(registry.inspect(source.image, engine).get("Created", ""))[:10]
        return _registry(source, engine, store, say, f"{engine.name} has it already, made {made}")
    silence = registry.silence(source, engine)
    if silence is not None and choice == "registry":
        raise registry.unreachable(silence)
    if silence is not None:
        return _standin(source, engine, store, say, f"no registry answers ({silence})")
    registry.pull(source, engine, say)
    return _registry(source, engine, store, say, "the registry answers" if choice == "auto" else "asked for")


def _registry(source: Origin, engine: Engine, cache: Cache, say: Callable[[str], None], why: str) -> BaseImage:
    from harness.images import preparation, registry

    digest = registry.digest_of(registry.inspect(source.image, engine), source.image)
    reference = preparation.prepared(source.image, source.baseline, engine, cache, say)
    return BaseImage("registry", reference, digest, source.baseline, source.image, why)


def _standin(source: Origin, engine: Engine, cache: Cache, say: Callable[[str], None], why: str) -> BaseImage:
    from dataclasses import replace

    from harness.images import standin

    return replace(standin.build(source.baseline, engine, cache, say), why=why)
