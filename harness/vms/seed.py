"""A NoCloud seed: the small disk from which cloud-init of an official disk image takes its user and key, as it does from EC2's metadata."""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING

from harness.vms import initrd

if TYPE_CHECKING:
    from pathlib import Path

LABEL = "cidata"
"""By this name of the file system cloud-init finds it."""

ATTENDED = """\
modprobe -q virtio_console
cd /run && umask 0077 && printf '%s\\n' 'exec 6<>/run/harness-never 7>/dev/null' "$0" >harness-attendant
[ -p harness-never ] || mkfifo harness-never
for port in 1 3 5; do
  systemd-run --quiet --no-block --unit=harness-shell-$port --property=DefaultDependencies=no --setenv=HOME=/root -- \\
    /bin/bash --noprofile --norc /run/harness-attendant $port $((port + 1))
done
"""
"""Starts the attendants of all shells, as the initrd of our own disks does; their text is `$0`. All of it is gone at the next start."""


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
    """Return the configuration; JSON is YAML. `bootcmd` runs early at every start, so that the shells are there again after a restart."""
    config = {
        "user": {"name": user},
        "users": ["default"],
        "ssh_authorized_keys": [public_key],
        "ssh_pwauth": False,
        "repo_upgrade": "none",
        "package_upgrade": False,
        "locale": False,
        "bootcmd": [["bash", "-c", ATTENDED, initrd.ATTENDANT]],
    }
    return ("#cloud-config\n" + json.dumps(config) + "\n").encode()
