"""What Amazon itself offers in every region: a few images and components that recipes begin with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from harness.toe import load
from publish.emulator.store import Resource, stamp
from publish.emulator.versions import Arn

if TYPE_CHECKING:
    from publish.emulator.store import Region
    from publish.emulator.wire import Json

OWNER: Final = "aws"
_SINCE: Final = datetime(2026, 1, 5, tzinfo=UTC)
_IMAGES: Final = {
    "amazon-linux-2-x86": ("Amazon Linux 2 x86", "Amazon Linux 2", "2026.11.2"),
    "amazon-linux-2-arm64": ("Amazon Linux 2 ARM64", "Amazon Linux 2", "2026.11.2"),
    "amazon-linux-2023-x86": ("Amazon Linux 2023 x86", "Amazon Linux 2023", "2026.11.2"),
    "amazon-linux-2023-arm64": ("Amazon Linux 2023 ARM64", "Amazon Linux 2023", "2026.11.2"),
}
_STEP: Final = (
    "name: {slug}\nschemaVersion: '1.0'\nphases:\n  - name: {phase}\n    steps:\n      - name: {step}\n        action: {action}\n"
)
_COMMAND: Final = "        inputs:\n          commands:\n            - '{command}'\n"
_COMPONENTS: Final = {
    "update-linux": ("1.0.2", _STEP.format(slug="update-linux", phase="build", step="Update", action="UpdateOS")),
    "simple-boot-test-linux": (
        "1.0.0",
        _STEP.format(slug="simple-boot-test-linux", phase="test", step="Boot", action="ExecuteBash") + _COMMAND.format(command="uptime"),
    ),
    "reboot-test-linux": ("1.0.0", _STEP.format(slug="reboot-test-linux", phase="test", step="Reboot", action="Reboot")),
}


def stock(region: Region) -> None:
    """Put Amazon's own resources into a region."""
    for slug, (name, system, version) in _IMAGES.items():
        body: Json = {
            "name": name,
            "type": "AMI",
            "version": f"{version}/1",
            "platform": "Linux",
            "osVersion": system,
            "state": {"status": "AVAILABLE"},
            "imageSource": "AMAZON_MANAGED",
        }
        _add(region, Arn(region.name, OWNER, "image", slug, version, 1), body)
    for slug, (version, data) in _COMPONENTS.items():
        body = {
            "name": slug,
            "version": version,
            "type": load(data, name=slug).component_type,
            "platform": "Linux",
            "state": {"status": "ACTIVE"},
            "data": data,
            "encrypted": True,
            "parameters": [],
        }
        _add(region, Arn(region.name, OWNER, "component", slug, version, 1), body)


def _add(region: Region, arn: Arn, body: Json) -> None:
    more = {"arn": str(arn), "owner": "Amazon", "dateCreated": stamp(_SINCE), "tags": {}}
    region.add(Resource(arn, {**body, **more}, region.next_number(), _SINCE, hidden={"executions": []}))
