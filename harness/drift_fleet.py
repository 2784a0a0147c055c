"""The drift of a fleet: each host against its own earlier run, or all of them against the run of the image that they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import drift
from harness.errors import UsageError
from harness.fleet_store import HOSTS, NAME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from securesystemslib.signer import Key

    from harness.drift import Drift, Source

SCHEMA = "isms-golden-ami/fleet-drift/1"
SHOWN = 3
"""Rules that a host's line names."""


@dataclass(frozen=True, slots=True)
class Host:
    """One host of the newer fleet."""

    name: str
    drift: Drift | None
    """None: the older fleet has no run of it."""
    old: Source | None
    new: Source


@dataclass(frozen=True, slots=True)
class Fleets:
    """Two fleets, or a fleet and the run of an image."""

    hosts: tuple[Host, ...]
    gone: tuple[str, ...]
    """Hosts of the older fleet that the newer has no run of."""
    against: str
    """What the hosts are compared with, and who vouches for it."""

    @property
    def worse(self) -> bool:
        """Tell whether something is worse on any host."""
        return any(host.drift is not None and bool(host.drift.worse) for host in self.hosts)


def is_fleet(path: Path) -> bool:
    """Tell whether a folder is that of a fleet's audit."""
    return (path / NAME).is_file()


def compare(old: Path, new: Path, keys: Sequence[Key]) -> Fleets:
    """Compare every host of `new` with its run in `old`, or with `old` itself where that is a single run. Raises UsageError."""
    after = sources(new)
    if not is_fleet(old):
        golden = drift.read(old, keys)
        hosts = (Host(name, drift.compare(golden.run, one.run), golden, one) for name, one in after.items())
        return Fleets(tuple(sorted(hosts, key=order)), (), f"{golden.path} ({golden.evidence})")
    if keys:
        raise UsageError("the hosts' runs of an audit are not signed", hint="--key is for OLD being the run of an image")
    before = sources(old)
    found = []
    for name, one in after.items():
        earlier = before.get(name)
        found.append(Host(name, drift.compare(earlier.run, one.run) if earlier else None, earlier, one))
    gone = tuple(name for name in before if name not in after)
    return Fleets(tuple(sorted(found, key=order)), gone, f"{old} (an earlier audit of the fleet)")


def sources(folder: Path) -> Mapping[str, Source]:
    """Return the runs of a fleet by their host's folder. Raises UsageError when there is none, or one was changed."""
    found = {path.parent.name: drift.read(path.parent) for path in sorted((folder / HOSTS).glob("*/run.json"))}
    if not found:
        raise UsageError(f"{folder} has no run of any host", hint="`harness audit --resume` asks them again")
    return found


def order(host: Host) -> tuple[int, str]:
    """Put the hosts where most is worse first."""
    return (-len(host.drift.worse) if host.drift else 0, host.name)


def as_data(found: Fleets) -> dict[str, Any]:
    """Return it as data: for each host what `drift.as_data` says of two runs."""
    return {
        "schema": SCHEMA,
        "against": found.against,
        "worse": found.worse,
        "hosts": {host.name: drift.as_data(host.drift, host.old, host.new) if host.drift and host.old else None for host in found.hosts},
        "gone": list(found.gone),
    }


def as_text(found: Fleets) -> str:
    """Tell it to people: a line per host, and the rules that are worse by number of hosts."""
    lines = [f"against {found.against}", ""]
    width = max(len(host.name) for host in found.hosts)
    rules: dict[str, int] = {}
    for host in found.hosts:
        if host.drift is None:
            lines.append(f"{host.name:{width}}  new: the older fleet has no run of it")
            continue
        worse = [each.rule for each in host.drift.worse]
        for rule in worse:
            rules[rule] = rules.get(rule, 0) + 1
        better = sum(each.kind is drift.Kind.BETTER for each in host.drift.differences)
        named = f": {', '.join(worse[:SHOWN])}{', …' if len(worse) > SHOWN else ''}" if worse else ""
        unlike = "; not judged alike" if host.drift.judged else ""
        lines.append(f"{host.name:{width}}  {len(worse)} worse, {better} better, {host.drift.same} as they were{unlike}{named}")
    lines += [f"{name:{width}}  gone: no run of it now" for name in found.gone]
    if rules:
        lines += ["", "hosts  rule that is worse there"]
        lines += [f"{number:5}  {rule}" for rule, number in sorted(rules.items(), key=lambda pair: (-pair[1], pair[0]))]
    return "\n".join(lines) + "\n"
