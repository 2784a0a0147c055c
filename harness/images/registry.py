"""Images of a registry: whether it answers, pulling, and what a refusal means."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from harness.engine import last_words
from harness.errors import EngineError, ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.engine import Engine
    from harness.images.base import Origin

PROBE_SECONDS = 8.0
"""For the question whether a registry answers; a network that swallows packets must not cost a minute."""
PULL_SECONDS = 900.0
UNREACHABLE = re.compile(
    r"no such host|connection refused|network is unreachable|no route to host|i/o timeout|handshake timeout|deadline exceeded|"
    r"name resolution|server misbehaving|connection reset|proxyconnect|request canceled|client\.timeout|did not end within"
)
REFUSALS: tuple[tuple[str, str, str], ...] = (
    (
        r"unauthorized|authentication required|no basic auth|access to the resource is denied|(?<!permission )\bdenied\b|forbidden",
        "the registry does not let us read {image}: it is private, or it does not exist",
        "log in first: {engine} login {host}",
    ),
    (r"manifest unknown|not found: manifest|manifest for .* not found", "the registry has no {image}", "check the tag in the source block"),
    (r"name unknown|repository .* not found|\b404\b", "the registry has no {image}", "check the name in the source block"),
    (
        r"toomanyrequests|rate limit",
        "the registry wants us to wait (rate limit) before it hands out {image}",
        "log in, or wait: {engine} login {host}",
    ),
    (
        r"http response to https client",
        "the registry {host} speaks plain HTTP",
        "tls_verify = false in the source block, for a registry on this machine",
    ),
    (r"x509|certificate", "the certificate of {host} is not trusted here", "add the company's CA to the system's trust store"),
    (
        r"short-name|unqualified-search|invalid reference",
        "{image} does not say which registry it is in",
        "write the registry's name in front: docker.io/library/{image}",
    ),
    (r"no space left", "no space left for {image}", "free disk space: `{engine} system df` shows what the engine holds"),
)
"""What the engine says in lower case → our message and hint."""


def host_of(reference: str) -> str:
    """Return the registry of an image reference; a name without one is Docker Hub's."""
    first, slash, _ = reference.partition("/")
    return first if slash and (set(".:") & set(first) or first == "localhost") else "docker.io"


def present(reference: str, engine: Engine) -> bool:
    """Tell whether the engine has an image already."""
    return engine.call("image", "inspect", "--format", "ok", reference, timeout=30, check=False).returncode == 0


def silence(origin: Origin, engine: Engine) -> str | None:
    """Ask the registry about the image; return why it does not answer, or None when it does, whatever the answer.

    The engine asks, since only it knows the mirrors, proxies and certificates that it is set up with. Only the plain HTTP of a
    registry on this machine is asked directly: `podman manifest inspect` learnt --tls-verify late.
    """
    host = host_of(origin.image)
    if not origin.tls_verify:
        return _silence_of_http(host)
    try:
        asked = engine.call("manifest", "inspect", origin.image, timeout=PROBE_SECONDS, check=False)
    except EngineError:
        return f"{host} does not answer within {PROBE_SECONDS:g} s"
    said = asked.stderr.decode("utf-8", "replace").lower()
    if asked.returncode and (found := UNREACHABLE.search(said)):
        return f"{host}: {found.group()}"
    return None


def _silence_of_http(host: str) -> str | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine is never behind a proxy
    try:
        opener.open(f"http://{host}/v2/", timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return f"{host}: {getattr(reason, 'strerror', None) or reason}".lower()
    return None


def pull(origin: Origin, engine: Engine, say: Callable[[str], None]) -> None:
    """Pull the image. Raises ImageError that says whether it is missing, private or unreachable."""
    say(f"pulling {origin.image}")
    # docker takes plain HTTP from a registry on this machine without being told, and has no option for it.
    options = ["--tls-verify=false"] if not origin.tls_verify and engine.name == "podman" else []
    try:
        done = engine.call("pull", "--quiet", *options, origin.image, timeout=PULL_SECONDS, check=False)
    except EngineError as error:
        raise ImageError(f"pulling {origin.image}: {error.message}", hint=standin_hint()) from None
    if done.returncode:
        raise refusal(origin.image, engine.name, done.stderr)


def refusal(image: str, engine: str, stderr: bytes) -> ImageError:
    """Turn an engine's complaint about a pull into one line with a hint."""
    said = stderr.decode("utf-8", "replace").lower()
    names = {"image": image, "host": host_of(image), "engine": engine}
    if found := UNREACHABLE.search(said):
        return unreachable(f"{names['host']}: {found.group()}")
    for pattern, message, hint in REFUSALS:
        if re.search(pattern, said):
            return ImageError(message.format(**names), hint=hint.format(**names))
    return ImageError(f"{image} cannot be pulled: {last_words(stderr)}", hint=standin_hint())


def unreachable(reason: str) -> ImageError:
    """Return the error for a registry that does not answer."""
    return ImageError(f"the registry does not answer ({reason})", hint=f"check network and proxy; {standin_hint()}")


def standin_hint() -> str:
    """Say what works without a registry."""
    return "`--base standin` needs no registry"


def inspect(reference: str, engine: Engine) -> dict[str, Any]:
    """Return what the engine knows of an image that it has."""
    answer = engine.call("image", "inspect", reference, timeout=30).stdout
    found: list[dict[str, Any]] = json.loads(answer)
    return found[0]


def digest_of(about: dict[str, Any], reference: str) -> str:
    """Return the registry's digest of an image; an image that never was in a registry has its id only."""
    repository = re.sub(r"(@.*|:[^/]*)$", "", reference)
    digests = [one.partition("@")[2] for one in about.get("RepoDigests") or [] if one.partition("@")[0].endswith(repository)]
    named = reference.partition("@")[2]
    own = str(about.get("Digest") or "")
    identity = str(about["Id"])
    return named or (own if own in digests else "") or next(iter(digests), "") or (identity if ":" in identity else f"sha256:{identity}")
