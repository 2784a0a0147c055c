"""What one account has in one region: resources by ARN, who uses whom, and the answers that were given before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from publish.emulator import versions
from publish.emulator.errors import ServiceError, not_found
from publish.emulator.versions import Arn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from publish.emulator.wire import Json

KINDS: Final = {
    "component": "Component",
    "image-recipe": "ImageRecipe",
    "infrastructure-configuration": "InfrastructureConfiguration",
    "distribution-configuration": "DistributionConfiguration",
    "image-pipeline": "ImagePipeline",
    "image": "Image",
    "lifecycle-policy": "LifecyclePolicy",
}
"""The kinds that are kept here, by their word in ARNs, and what error messages call them."""


def stamp(moment: datetime) -> str:
    """Return a moment as the service writes it: UTC, milliseconds."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


@dataclass(slots=True)
class Resource:
    """One thing with an ARN."""

    arn: Arn
    body: Json
    """What its Get operation shows."""
    number: int
    """Position in the order of creation; never used twice, so a list can go on where it stopped."""
    created: datetime
    uses: tuple[str, ...] = ()
    """References to other resources as they were given, also with `x`."""
    hidden: Json = field(default_factory=dict)
    """What no Get operation shows."""

    @property
    def version(self) -> versions.Version:
        """The version as numbers; zeros where there is none."""
        return versions.parse(self.arn.version) if self.arn.version else (0, 0, 0)


@dataclass(slots=True)
class Region:
    """Everything of one account in one region."""

    account: str
    name: str
    resources: dict[str, Resource] = field(default_factory=dict)
    answers: dict[tuple[str, str], tuple[Json, Json]] = field(default_factory=dict)
    """Parameters and answer by operation and client token."""
    lifecycle_executions: dict[str, Json] = field(default_factory=dict)
    last_number: int = 0

    def next_number(self) -> int:
        """Return the number of the next resource."""
        self.last_number += 1
        return self.last_number

    def add(self, resource: Resource) -> Resource:
        """Keep a new resource. Raises ServiceError when its ARN is taken."""
        if str(resource.arn) in self.resources:
            raise already_exists(resource.arn)
        self.resources[str(resource.arn)] = resource
        return resource

    def get(self, arn: str) -> Resource:
        """Return a resource; an ARN with `x`, or without a build, is the newest that it stands for. Raises ServiceError."""
        found = self.resolve(arn)
        if found is None:
            raise not_found(arn)
        return found

    def resolve(self, reference: str) -> Resource | None:
        """Return what a reference stands for now; None for nothing."""
        if reference in self.resources:
            return self.resources[reference]
        candidates = [resource for resource in self.resources.values() if _stands_for(reference, resource)]
        return max(candidates, key=lambda resource: (resource.version, resource.arn.build or 0), default=None)

    def of(self, kind: str, *, owner: str | None = None) -> Iterator[Resource]:
        """Yield the resources of a kind in the order of their creation, those of the owner only."""
        owner = owner or self.account
        return (resource for resource in self.resources.values() if (resource.arn.kind, resource.arn.account) == (kind, owner))

    def family(self, arn: Arn) -> list[Resource]:
        """Return every version and build of a resource."""
        return [resource for resource in self.resources.values() if resource.arn.versionless == arn.versionless]

    def remove(self, arn: str) -> None:
        """Forget a resource. Raises ServiceError when there is none, or when another one still uses it."""
        resource = self.resources.get(arn)
        if resource is None or resource.arn.account != self.account:
            raise not_found(arn)
        if any(self.resolve(used) is resource for other in self.resources.values() for used in other.uses):
            raise ServiceError(
                "ResourceDependency", f"Resource dependency error: The resource ARN '{arn}' has other resources depended on it."
            )
        del self.resources[arn]


def already_exists(arn: Arn) -> ServiceError:
    """Refuse to make what is there already."""
    return ServiceError("ResourceAlreadyExists", f"The following resource '{KINDS.get(arn.kind, arn.kind)}' already exists: '{arn}'.")


def _stands_for(reference: str, resource: Resource) -> bool:
    try:
        wanted = Arn.parse(reference)
    except ValueError:
        return False
    if wanted.versionless != resource.arn.versionless or wanted.version is None or resource.arn.version is None:
        return False
    return wanted.build in {None, resource.arn.build} and versions.matches(wanted.version, resource.version)
