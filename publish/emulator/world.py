"""The rest of AWS as Image Builder sees it: profiles, objects, AMIs, parameters, logs."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LogLine = tuple[datetime, str]


@dataclass(frozen=True, slots=True)
class NewImage:
    """An AMI that is to be registered."""

    name: str
    description: str
    region: str
    tags: Mapping[str, str]
    users: tuple[str, ...] = ()
    """Accounts that may launch it."""


class World(Protocol):
    """What Image Builder asks of other services in one region. An implementation must be usable from several threads."""

    def has_instance_profile(self, name: str) -> bool:
        """Tell whether IAM has an instance profile of this name."""
        ...

    def has_image(self, image: str) -> bool:
        """Tell whether the caller may use an AMI."""
        ...

    def has_parameter(self, name: str) -> bool:
        """Tell whether Systems Manager has a parameter."""
        ...

    def read_object(self, bucket: str, key: str) -> bytes:
        """Return an S3 object. Raises LookupError with the reason."""
        ...

    def write_object(self, bucket: str, key: str, data: bytes) -> None:
        """Write a log into a bucket; what cannot be written is lost without a word, as with the service."""
        ...

    def log(self, group: str, stream: str, lines: Sequence[LogLine]) -> None:
        """Append to a log stream, making group and stream when they are not there."""
        ...

    def register_image(self, image: NewImage) -> str:
        """Make an AMI and return its id."""
        ...

    def write_parameter(self, region: str, name: str, value: str, data_type: str) -> None:
        """Write a parameter. Raises LookupError with the reason."""
        ...


@dataclass(slots=True)
class Alone:
    """A world without other services: whatever is asked for exists, and what is written is kept here."""

    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """By bucket and key; put documents here for components with a `uri`."""
    logs: dict[tuple[str, str], list[LogLine]] = field(default_factory=dict)
    """By group and stream."""
    images: dict[str, NewImage] = field(default_factory=dict)
    parameters: dict[tuple[str, str], str] = field(default_factory=dict)
    """By region and name."""
    missing: set[str] = field(default_factory=set)
    """Names of profiles, AMIs and parameters that do not exist here."""

    def has_instance_profile(self, name: str) -> bool:
        """Tell that it exists, unless it is said to be missing."""
        return name not in self.missing

    def has_image(self, image: str) -> bool:
        """Tell that it exists, unless it is said to be missing."""
        return image not in self.missing

    def has_parameter(self, name: str) -> bool:
        """Tell that it exists, unless it is said to be missing."""
        return name not in self.missing

    def read_object(self, bucket: str, key: str) -> bytes:
        """Return what was put here. Raises LookupError."""
        if (bucket, key) not in self.objects:
            raise LookupError("The specified key does not exist.")
        return self.objects[bucket, key]

    def write_object(self, bucket: str, key: str, data: bytes) -> None:
        """Keep an object."""
        self.objects[bucket, key] = data

    def log(self, group: str, stream: str, lines: Sequence[LogLine]) -> None:
        """Keep log lines."""
        self.logs.setdefault((group, stream), []).extend(lines)

    def register_image(self, image: NewImage) -> str:
        """Keep an AMI under a new id."""
        number = f"ami-{uuid.uuid4().hex[:17]}"
        self.images[number] = image
        return number

    def write_parameter(self, region: str, name: str, value: str, data_type: str) -> None:
        """Keep a parameter; its data type is of no use here."""
        del data_type
        self.parameters[region, name] = value
