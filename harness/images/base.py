"""A base image: what hardening starts from, and why it was this one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

Kind: TypeAlias = Literal["registry", "standin", "disk"]
Choice: TypeAlias = Literal["auto", "registry", "standin"]


@dataclass(frozen=True, slots=True)
class BaseImage:
    """An image that is there, in the storage of the engine that it was asked of."""

    kind: Kind
    reference: str
    """What the engine starts: the image itself, or the prepared layer on top of it. Of a disk image: its path."""
    digest: str
    """`sha256:…` of the image that was pulled or built, before any preparation. Of a disk image: of the file."""
    baseline: str
    label: str
    """For people: the registry's name of it, or the stand-in's, which never says Amazon Linux."""
    why: str
    """Why it was chosen, one sentence part: `the registry answers`."""


class Origin(Protocol):
    """What `ensure` needs of a source of the configuration."""

    @property
    def baseline(self) -> str:
        """Name of the baseline."""
        ...

    @property
    def image(self) -> str:
        """Reference of the registry's image."""
        ...

    @property
    def tls_verify(self) -> bool:
        """False for a registry on this machine without TLS."""
        ...
