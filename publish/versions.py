"""Semantic versions that follow content: the same content has the version that it got, other content the next one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

FIRST: Final = (1, 0, 0)
LIMIT: Final = 2**30 - 1
"""Largest number that EC2 Image Builder takes (user guide, "Semantic versioning")."""
DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")

Version = tuple[int, int, int]


def parse(text: str) -> Version:
    """Return the numbers of `1.2.3`, also of `1.2.3/4`. Raises ValueError."""
    major, minor, patch = (int(part) for part in text.partition("/")[0].split("."))
    return major, minor, patch


def of_arn(arn: str) -> Version:
    """Return the version that an ARN ends in, with or without a build. Raises ValueError."""
    match = re.search(r"/(\d+\.\d+\.\d+)(?:/\d+)?$", arn)
    if not match:
        raise ValueError(arn)
    return parse(match[1])


def build_of(arn: str) -> int | None:
    """Return the build number that an ARN ends in; None where it names all builds of a version."""
    match = re.search(r"/\d+\.\d+\.\d+/(\d+)$", arn)
    return int(match[1]) if match else None


def following(taken: Iterable[Version]) -> Version:
    """Return the version after the highest one."""
    highest = max(taken, default=None)
    if highest is None:
        return FIRST
    major, minor, patch = highest
    return (major, minor, patch + 1) if patch < LIMIT else (major, minor + 1, 0)


def spell(version: Version) -> str:
    """Return `1.2.3`."""
    return ".".join(map(str, version))


def digest_in(text: str) -> str | None:
    """Return the SHA-256 that a description names."""
    match = DIGEST.search(text)
    return match[1] if match else None
