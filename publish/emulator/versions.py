"""Semantic versions and ARNs, as Image Builder counts and spells them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

from publish.emulator.errors import ServiceError, bad_value

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_NODE: Final = 2**30 - 1
"""Upper limit of major, minor and patch (user guide, "Semantic versioning")."""
WILDCARD: Final = "x"
_ARN: Final = re.compile(
    r"arn:(?P<partition>aws[^:]*):imagebuilder:(?P<region>[^:]+):(?P<account>[^:]+):"
    r"(?P<kind>workflow/(?:build|test|distribution)|[a-z-]+)/(?P<slug>[a-z0-9-_]+)"
    r"(?:/(?P<version>[0-9x]+\.[0-9x]+\.[0-9x]+)(?:/(?P<build>[0-9]+))?)?"
)

Version = tuple[int, int, int]


def parse(text: str) -> Version:
    """Return the numbers of `1.2.3`. Raises ServiceError for numbers beyond the limit."""
    nodes = tuple(int(node) for node in text.split("."))
    if any(node > MAX_NODE for node in nodes):
        raise ServiceError("InvalidVersionNumber", f"The version number '{text}' is not valid. Each node is at most {MAX_NODE}.")
    major, minor, patch = nodes
    return major, minor, patch


def spell(version: Version) -> str:
    """Return `1.2.3`."""
    return ".".join(map(str, version))


def matches(pattern: str, version: Version) -> bool:
    """Tell whether a version is one of those that `1.x.x` stands for."""
    return all(wanted in (WILDCARD, str(node)) for wanted, node in zip(pattern.split("."), version, strict=True))


def check_pattern(pattern: str, parameter: str) -> None:
    """Refuse a number to the right of an `x`, and numbers beyond the limit. Raises ServiceError."""
    nodes = pattern.split(".")
    if WILDCARD in nodes and any(node != WILDCARD for node in nodes[nodes.index(WILDCARD) :]):
        raise bad_value(parameter, f"In version '{pattern}' all nodes to the right of the first x must be x.")
    parse(pattern.replace(WILDCARD, "0"))


def assign(pattern: str, taken: Iterable[Version]) -> Version:
    """Return the version that a recipe gets: the one asked for, or the next free one that `1.0.x` stands for.

    Raises ServiceError for more than one `x` and for a pattern that is used up.
    """
    if WILDCARD not in pattern:
        return parse(pattern)
    check_pattern(pattern, "semanticVersion")
    if pattern.count(WILDCARD) > 1:
        raise ServiceError("InvalidVersionNumber", f"The version number '{pattern}' is not valid. Only the patch node can be x.")
    last = max((version[2] for version in taken if matches(pattern, version)), default=-1)
    return parse(pattern.replace(WILDCARD, str(last + 1)))


def references(arn: Arn) -> dict[str, str]:
    """Return the ARNs that follow the newest version, for use in recipes and pipelines."""
    if arn.version is None or WILDCARD in arn.version:
        return {}
    major, minor, patch = arn.version.split(".")
    spelled = {
        "latestVersionArn": "x.x.x",
        "latestMajorVersionArn": f"{major}.x.x",
        "latestMinorVersionArn": f"{major}.{minor}.x",
        "latestPatchVersionArn": f"{major}.{minor}.{patch}",
    }
    return {name: str(replace(arn, version=version, build=None)) for name, version in spelled.items()}


def slug(name: str) -> str:
    """Return a name as it stands in an ARN; two names with one slug are one resource."""
    return re.sub(r"[ _]", "-", name.lower())


@dataclass(frozen=True, slots=True)
class Arn:
    """An ARN of Image Builder, with or without version and build, also with `x` in it."""

    region: str
    account: str
    kind: str
    """`component`, `image-recipe`, `workflow/build` …"""
    slug: str
    version: str | None = None
    build: int | None = None
    partition: str = "aws"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take an ARN apart. Raises ValueError for anything else."""
        match = _ARN.fullmatch(text)
        if not match:
            message = f"'{text}' is no ARN of Image Builder"
            raise ValueError(message)
        build = match["build"]
        return cls(
            match["region"],
            match["account"],
            match["kind"],
            match["slug"],
            match["version"],
            int(build) if build else None,
            match["partition"],
        )

    @property
    def versionless(self) -> Arn:
        """The same resource in any version."""
        return replace(self, version=None, build=None)

    def __str__(self) -> str:
        version = f"/{self.version}" if self.version else ""
        build = f"/{self.build}" if self.build is not None else ""
        return f"arn:{self.partition}:imagebuilder:{self.region}:{self.account}:{self.kind}/{self.slug}{version}{build}"
