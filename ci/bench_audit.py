"""One host over SSH, as an audit and as stock testinfra ask it: what ci/bench.py needs an sshd and a slow network for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.sshworld import Network, World  # noqa: E402 - scripts are run by path

if TYPE_CHECKING:
    from ci.bench import Bench, Figure

BIN = Path(sys.executable).parent
ROUND_TRIPS = (0, 20)
"""Milliseconds."""
CONFIG = """\
Host 127.0.0.1
  User root
  IdentityFile {key}
  IdentitiesOnly yes
  UserKnownHostsFile {known}
"""


def ours(milliseconds: int) -> str:
    """Name the figure of an audit."""
    return f"harness audit, {milliseconds} ms"


def stock(milliseconds: int) -> str:
    """Name the figure of stock testinfra."""
    return f"stock paramiko://, {milliseconds} ms"


def one_host(bench: Bench) -> list[Figure]:
    """Measure both on the same sshd, with and without a round trip that takes time; the host is not hardened, so both find something."""
    folder = bench.folder / "ssh"
    folder.mkdir(mode=0o700)
    world = World.begin(folder)
    figures = []
    try:
        world.people()
        port = world.sshd()
        for milliseconds in ROUND_TRIPS:
            with Network(port, delay=milliseconds / 2000) as network:
                known, config = folder / f"known-{milliseconds}", folder / f"config-{milliseconds}"
                known.write_text(world.known(network.port, "ed25519"), "utf-8")
                config.write_text(CONFIG.format(key=world.keys["ed25519"], known=known), "utf-8")
                uri = f"root@127.0.0.1:{network.port}"
                audit = [str(BIN / "harness"), "audit", f"ssh://{uri}", "--ssh-config", str(config), "--baseline", "al2", "--quiet"]
                bench.run(audit, accept=(0, 1))
                figures.append(bench.measure(ours(milliseconds), audit, accept=(0, 1)))
                pytest = [str(BIN / "pytest"), "verify", f"--hosts=paramiko://{uri}", f"--ssh-config={config}", "--baseline", "al2"]
                figures.append(bench.measure(stock(milliseconds), [*pytest, "-q", "-p", "no:cacheprovider"], accept=(0, 1), most=2))
    finally:
        world.end()
    return figures


def compared(medians: dict[str, float]) -> dict[str, float]:
    """Return how many times as long stock testinfra takes."""
    return {
        f"stock paramiko:// takes this many times as long as harness audit, {each} ms": round(medians[stock(each)] / medians[ours(each)], 1)
        for each in ROUND_TRIPS
    }
