"""The part of `harness audit` that asks many hosts: opens the folder, says how far it is, prints the summary."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.options import Format

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.audit import Plan
    from harness.console import Progress
    from harness.inventory import Entry
    from harness.model import Run
    from harness.targets.base import Target
    from harness.targets.connection import Connection
    from harness.targets.runcommand import RunCommand
    from harness.targets.sshlink import Bastions


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    plan: Plan
    finish: Callable[[Run], Run]
    """Waivers and controls."""
    connection: Connection
    inventory: Path | None = None
    hosts: tuple[str, ...] = ()
    """URIs beside the inventory's."""
    limit: tuple[str, ...] = ()
    jobs: int = 16
    seconds: float = 300.0
    evidence: Path | None = None
    """None: `evidence`."""
    resume: Path | None = None
    bucket: str | None = None
    """S3 bucket for what Systems Manager would cut."""


def carry_out(request: Request, output: Format, say: Progress) -> int:
    """Ask the hosts, keep and print what was found; return the exit code. After Ctrl-C what is finished is kept and told."""
    from harness import fleet, fleet_report, fleet_store

    if request.resume is not None:
        if request.inventory or request.hosts:
            raise UsageError("--resume knows its hosts", hint="leave the inventory out; --limit chooses among them")
        store = fleet_store.Store.resume(request.resume, fleet_store.judges(request.plan))
    else:
        store = fleet_store.Store.create(request.evidence or Path("evidence"), entries_of(request, say), fleet_store.judges(request.plan))
    before = store.finished() if request.resume is not None else {}
    rows = list(before.values())
    wanted = [entry for entry in chosen(store.entries, request) if entry.uri not in before]
    total = len(store.entries)
    say(f"{total} hosts{f', {len(before)} of them judged before' if before else ''}; evidence {store.folder}")
    plans = fleet.Plans(request.plan)

    def managed(entries: Sequence[Entry], keep: fleet.Kept, miss: fleet.Missed) -> None:
        from harness import fleet_ssm

        fleet_ssm.Asking(plans, run_command(request), request.seconds, keep, miss).ask(entries)

    from harness.targets.sshlink import Bastions

    between = Bastions()
    asking = fleet.Fleet(
        plans,
        store,
        fleet.Options(request.jobs, request.seconds),
        opener(request.connection, between),
        request.finish,
        managed,
    )
    interrupted: KeyboardInterrupt | None = None
    try:
        for row in asking.ask(wanted):
            rows.append(row)
            say(fleet_report.progress(row, fleet.counted(rows), total))
    except KeyboardInterrupt as interruption:
        interrupted = interruption
    finally:
        between.close()
    finished = None if interrupted or len(rows) < total else datetime.now(UTC)
    found = fleet.summary(rows, total, finished)
    store.write(found.rows, finished)
    if output is Format.JSON:
        sys.stdout.write(json.dumps(fleet_report.as_data(store, found), ensure_ascii=False, indent=2) + "\n")
    else:
        fleet_report.show(found, total, request.plan.content.rules)
        sys.stdout.write(f"evidence  {store.folder}\n")
    if found.waiting or any(not row.judged for row in rows):
        sys.stderr.write(f"hint: what is missing is asked by `harness audit --resume {store.folder}`\n")
    if interrupted is not None:
        raise interrupted
    return fleet.exit_code(rows)


def entries_of(request: Request, say: Progress) -> tuple[Entry, ...]:
    """Return the hosts of the inventory and of the command line."""
    from harness import inventory

    entries: list[Entry] = []
    if request.inventory is not None:
        read = inventory.load(request.inventory)
        for note in read.notes:
            say(f"note: {note}")
        entries += inventory.limited(read.entries, request.limit) if request.limit else read.entries
    known = {entry.uri for entry in entries}
    entries += [inventory.Entry(uri, uri) for uri in dict.fromkeys(request.hosts) if uri not in known]
    return with_tags(entries, request)


def with_tags(entries: Sequence[Entry], request: Request) -> tuple[Entry, ...]:
    """Return the hosts with each tag of instances replaced by the instances."""
    if not any(entry.uri.startswith("ssm://") for entry in entries):
        return tuple(entries)
    from harness import fleet_ssm

    return fleet_ssm.entries(entries, lambda: run_command(request))


def run_command(request: Request) -> RunCommand:
    """Return the way to instances behind Systems Manager."""
    from harness.targets.runcommand import RunCommand

    return RunCommand(request.bucket)


def chosen(entries: Sequence[Entry], request: Request) -> Sequence[Entry]:
    """Return the hosts that a resumed audit is limited to."""
    from harness import inventory

    return inventory.limited(entries, request.limit) if request.limit and request.resume else entries


def opener(connection: Connection, between: Bastions) -> Callable[[Entry, float], Target]:
    """Return what opens a host of an inventory: as its URI, then its entry, then the command says. Hosts share those in between."""
    from harness import targets

    def opened(entry: Entry, seconds: float) -> Target:
        if not entry.uri.startswith("ssh://"):
            return targets.open_target(entry.uri)
        from harness.targets import ssh
        from harness.targets.connection import CONNECT_SECONDS, Sudo

        sudo = Sudo.NONE if entry.sudo is False else Sudo.AUTO if entry.sudo and connection.sudo is Sudo.NONE else connection.sudo
        identities = (entry.identity_file, *connection.identities) if entry.identity_file else connection.identities
        most = min(connection.connect_seconds or CONNECT_SECONDS, seconds)
        own = replace(connection, sudo=sudo, identities=identities, connect_seconds=most)
        config = ssh.configured(entry.uri, own)
        if entry.proxy_jump:
            config = replace(config, jumps=tuple(entry.proxy_jump.split(",")), proxy_command=None)
        return ssh.SshTarget(entry.uri, config, own, between)

    return opened
