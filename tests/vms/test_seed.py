"""What cloud-init finds on its disk: the label, the two files, and nothing secret."""

from __future__ import annotations

import json
import subprocess
from io import BytesIO
from typing import TYPE_CHECKING

import pycdlib

from harness.vms import initrd, seed

if TYPE_CHECKING:
    from pathlib import Path


def test_the_seed_has_its_label_and_both_files_under_their_full_names(tmp_path: Path) -> None:
    path = seed.write(tmp_path / "seed.iso", name="i-one", user="ec2-user", public_key="ssh-ed25519 AAAA key")
    image = pycdlib.PyCdlib()
    image.open(str(path))
    try:
        assert image.pvd.volume_identifier.decode().strip() == "cidata"
        texts = {}
        for name in ("meta-data", "user-data"):
            for where in ({"joliet_path": f"/{name}"}, {"rr_path": f"/{name}"}):
                data = BytesIO()
                image.get_file_from_iso_fp(data, **where)
                texts[name] = data.getvalue().decode()
    finally:
        image.close()
    assert json.loads(texts["meta-data"])["instance-id"] == "i-one"
    first, _, config = texts["user-data"].partition("\n")
    assert first == "#cloud-config"
    assert json.loads(config)["ssh_authorized_keys"] == ["ssh-ed25519 AAAA key"]
    assert json.loads(config)["ssh_pwauth"] is False
    assert json.loads(config)["user"] == {"name": "ec2-user"}


def test_the_seed_starts_the_shells_at_every_boot() -> None:
    config = json.loads(seed.user_data("ec2-user", "key").partition(b"\n")[2])
    ((shell, option, script, attendant),) = config["bootcmd"]
    assert (shell, option, attendant) == ("bash", "-c", initrd.ATTENDANT)
    checked = subprocess.run(["bash", "-n", "-c", script], capture_output=True, timeout=10, check=False)
    assert checked.returncode == 0, checked.stderr
