"""Targets by URI: which module opens which scheme, imported only when it is used."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

from harness.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.targets.base import Target
    from harness.targets.connection import Connection

SCHEMES = {
    "podman": "harness.targets.container:open_uri",
    "docker": "harness.targets.container:open_uri",
    "local": "harness.targets.local:open_uri",
    "ssh": "harness.targets.ssh:open_uri",
    "vm": "harness.targets.vm:open_uri",
    "ssm": "harness.targets.ssm:open_uri",
    "capture": "harness.targets.capture:open_uri",
}
"""Scheme to `module:function`; the function takes the URI and returns an open Target."""


LOGGED_IN = frozenset({"ssh"})
"""Schemes whose function takes a Connection as well: how to log in and become root."""


def open_target(uri: str, connection: Connection | None = None) -> Target:
    """Open the target that a URI names, such as `podman://NAME` or `local://`; `connection` matters where one logs in.

    Raises UsageError for a scheme that is not known or not there yet, and TargetError or EngineError when it cannot be reached.
    """
    scheme, separator, _ = uri.partition("://")
    place = SCHEMES.get(scheme) if separator else None
    if place is None:
        message = f"{uri} is not the URI of a target"
        raise UsageError(message, hint=f"schemes: {', '.join(f'{name}://' for name in available())}")
    module, _, function = place.partition(":")
    if find_spec(module) is None:
        message = f"targets of the kind {scheme}:// are not available yet"
        raise UsageError(message, hint=f"schemes: {', '.join(f'{name}://' for name in available())}")
    opener = cast("Callable[..., Target]", getattr(import_module(module), function))
    return opener(uri, connection) if scheme in LOGGED_IN else opener(uri)


def available() -> list[str]:
    """List the schemes whose module is there."""
    return [scheme for scheme, place in SCHEMES.items() if find_spec(place.partition(":")[0]) is not None]
