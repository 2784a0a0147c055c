"""A NoCloud seed: the small disk from which cloud-init of an official disk image takes its user and key, as it does from EC2's metadata."""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LABEL = "cidata"
"""By this name of the file system cloud-init finds it."""


def write(path: Path, *, name: str, user: str, public_key: str) -> Path:
    """Write the seed as an ISO image. The user is the image's default user; no password is set, and nothing is installed or updated."""
    import pycdlib

    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    for plain, data in (("meta-data", meta_data(name)), ("user-data", user_data(user, public_key))):
        short = plain.replace("-", "").upper()[:8]
        image.add_fp(BytesIO(data), len(data), f"/{short}.;1", rr_name=plain, joliet_path=f"/{plain}")
    image.write(str(path))
    image.close()
    return path


def meta_data(name: str) -> bytes:
    """Return what names the instance: another name is another instance, for which everything happens anew."""
    return (json.dumps({"instance-id": name, "local-hostname": name}) + "\n").encode()


def user_data(user: str, public_key: str) -> bytes:
    """Return the configuration; JSON is YAML."""
    config = {
        "users": ["default"],
        "system_info": {"default_user": {"name": user}},
        "ssh_authorized_keys": [public_key],
        "ssh_pwauth": False,
        "repo_upgrade": "none",
        "package_upgrade": False,
        "locale": False,
    }
    return ("#cloud-config\n" + json.dumps(config) + "\n").encode()
