"""Programs that behave as podman and docker do on machines that refuse something."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

INFO = json.dumps({"host": {"arch": "amd64", "cgroupVersion": "v2", "serviceIsRemote": False, "security": {"rootless": True}}})
FAKE = """\
#!/bin/bash
# A stand-in for podman that refuses what the environment says, and writes down what it was asked.
echo "$*" >>"$0.log"
echo 'time="x" level=warning msg="noise"' >&2
if [[ $1 == --runtime ]]; then runtime=$2; shift 2; fi
case $1 in
--version) echo "podman version 9.9.9" ;;
info) echo '{info}' ;;
import) cat >/dev/null ;;
run)
	case " $* " in {refused}) echo "Error: {reason}" >&2; exit 126 ;; esac
	if [[ ${{runtime-default}} != {runtime} ]]; then echo "Error: OCI runtime: cgroups in hybrid mode not supported" >&2; exit 126; fi
	echo 0123456789ab ;;
esac
"""


IDLE_DOCKER = """\
#!/bin/bash
[[ $1 == --version ]] && { echo Docker version 1.2.3; exit; }
echo 'Cannot connect to the Docker daemon' >&2
exit 1
"""


def program(path: Path, name: str, text: str) -> Path:
    """Write a program into a folder."""
    place = path / name
    place.write_text(text, encoding="utf-8")
    place.chmod(0o755)
    return place


def podman(
    path: Path, *, refused: str = "'no such option'", reason: str = "setrlimit: operation not permitted", runtime: str = "default"
) -> Path:
    return program(path, "podman", FAKE.format(info=INFO, refused=refused, reason=reason, runtime=runtime))
