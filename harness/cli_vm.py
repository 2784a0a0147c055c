"""`harness vm`: the virtual machines that `harness verify --vm --keep` left, taken up again in seconds and removed when done with."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.options import Format, Output, Quiet

if TYPE_CHECKING:
    from harness.vms.guest import Guest

vm_app = typer.Typer(
    name="vm", help="List, start and stop the virtual machines that were kept.", no_args_is_help=True, rich_markup_mode=None
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="As `harness vm list` shows it.")]


@vm_app.command("list")
def vm_list(*, output: Output = Format.TEXT) -> None:
    """Show every virtual machine: its state, its size on disk, whether there is a snapshot."""
    from harness.vms import store

    told = [described(guest) for guest in store.guests()]
    if output is Format.JSON:
        sys.stdout.write(json.dumps(told, ensure_ascii=False, indent=2) + "\n")
        return
    for one in told:
        sys.stdout.write(f"{one['uri']}  {one['state']}, {one['mebibytes']} MiB{', snapshot' if one['snapshot'] else ''}, {one['owner']}\n")
    if not told:
        sys.stdout.write("none\n")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(vm_app)


def described(guest: Guest) -> dict[str, object]:
    """Return what is worth knowing of a guest."""
    from harness.vms import store

    blocks = sum(path.lstat().st_blocks for path in guest.folder.iterdir() if path.exists())
    one = store.left(guest)
    return {
        "uri": f"vm://{guest.name}",
        "state": "running" if guest.running() else "off",
        "mebibytes": blocks * 512 >> 20,
        "snapshot": bool(guest.record.snapshot),
        "accelerator": guest.record.machine.accelerator,
        "owner": "kept" if one.kept else f"of a run, whose process is {one.owner().value}",
    }


@vm_app.command("import")
def vm_import(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A bootable disk with cloud-init: qcow2, raw, …; it stays as it is.")],
    *,
    name: Annotated[str, typer.Option("--name", help="What the machine is called.")],
    user: Annotated[str, typer.Option("--user", help="The image's default user, who may become root.")] = "ec2-user",
    quiet: Quiet = False,
) -> None:
    """Boot a disk image by its own boot loader, with a key for cloud-init, and keep it; then `harness verify --target vm://NAME`."""
    from harness import console
    from harness.errors import UsageError
    from harness.targets.vm import VmTarget
    from harness.vms import store

    if not image.is_file():
        raise UsageError(f"there is no disk image {image}")
    say = console.Progress(quiet=quiet)
    guest = store.of_image(image, say, name=name, user=user, keep=True)
    with VmTarget.boot(guest, keep=True, say=say) as target:
        target.come_up()
    sys.stdout.write(f"vm://{name}\n")


@vm_app.command("start")
def vm_start(
    name: Name,
    *,
    cold: Annotated[bool, typer.Option("--cold", help="Boot from the disk, although there is a snapshot.")] = False,
    quiet: Quiet = False,
) -> None:
    """Start a virtual machine where its snapshot was made, or boot it. A snapshot saves time and proves nothing about the boot."""
    from harness import console
    from harness.errors import UsageError
    from harness.targets.vm import VmTarget
    from harness.vms import store

    say = console.Progress(quiet=quiet)
    guest = store.find(name)
    if guest.running():
        raise UsageError(f"virtual machine {name} runs already", hint=f"`harness vm stop {name}`")
    snapshot = None if cold else guest.record.snapshot or None
    guest.start(snapshot=snapshot, outlive=True)
    with VmTarget.attach(guest) as target:
        if snapshot:
            target.set_clock()
        say(f"{target.uri} is up ({target.facts['system']}), {'from its snapshot' if snapshot else 'booted'}")
    sys.stdout.write(f"vm://{name}\n")


@vm_app.command("snapshot")
def vm_snapshot(name: Name) -> None:
    """Keep memory and disk of a running virtual machine as they are now; the next start goes on from here."""
    from harness.vms import store

    store.find(name).snapshot()


@vm_app.command("stop")
def vm_stop(name: Name) -> None:
    """Switch a virtual machine off; its disk and its snapshot stay."""
    from harness.vms import store

    guest = store.find(name)
    if guest.running():
        guest.shut_down()


@vm_app.command("remove")
def vm_remove(names: Annotated[list[str], typer.Argument(metavar="NAME…", help="As `harness vm list` shows them.")]) -> None:
    """End virtual machines and delete their disks and snapshots."""
    from harness.errors import TargetError
    from harness.vms import store

    for name in names:
        if not store.find(name).remove():
            raise TargetError(f"virtual machine {name} could not be removed", hint=f"delete its folder in {store.folder()}")
