"""A virtual machine as a target: booted, asked over a shell of its own, restarted for real, and always removed."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Self

from harness import leftovers
from harness.errors import TargetError, UsageError
from harness.model import Environment
from harness.targets import files, relay, vmssh
from harness.targets.base import Closing, CommandTimeout
from harness.targets.lanes import Lanes
from harness.targets.ports import Ports
from harness.targets.shell import PersistentShell
from harness.vms import machine as machines
from harness.vms import store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.targets.base import Completed
    from harness.targets.stream import Stream
    from harness.vms.guest import Guest

BOOT_SECONDS = 300.0
"""Until systemd is up; an emulated guest on a busy machine takes its time."""
QUESTION_SECONDS = 60.0
SHUTDOWN_SECONDS = 120.0
NEXT_SECONDS = 30.0
"""For a further shell of a guest that has given one."""
ATTENDED_SECONDS = 5.0
"""For the shells of a disk image to answer, before SSH is tried."""
POLL_SECONDS = 0.3
LOOK_SECONDS = 5.0
FULL = "stands still, since what it wrote found no space on the disk of this machine"
STILL_COMING = frozenset({"", "initializing", "starting", "offline", "unknown"})


class VmTarget(Closing):
    """A guest of qemu; commands run as its root, over a shell that no sshd, account or sudo of the guest stands in the way of."""

    environment = Environment.VM

    def __init__(
        self, guest: Guest, *, ours: bool, keep: bool = False, over_ssh: bool | None = None, say: Callable[[str], None] = lambda _: None
    ) -> None:
        """Take a guest that runs. `ours`: removed at the end, unless it is to be kept. `over_ssh` None: where no other shell answers."""
        self.guest = guest
        self.name = guest.name
        self._ours, self._keep, self._say = ours, keep, say
        self._facts: dict[str, str] = {}
        self._closed = False
        self._taken: set[int] = set()
        self._unattended = False
        self._halted, self._looked = False, time.monotonic()
        self._taking = threading.Lock()
        self._shell = Lanes([PersistentShell(self._open, name=f"virtual machine {guest.name}") for _ in machines.SHELLS[:-1]])
        self._over_ssh = over_ssh
        self._ssh = vmssh.Way(guest)

    @classmethod
    def boot(cls, guest: Guest, *, keep: bool = False, say: Callable[[str], None] = lambda _: None) -> Self:
        """Start a guest that this process made, and return it at once; `come_up` waits. Raises TargetError when qemu does not start."""
        leftovers.watch_removal(guest.name, guest.remove)
        target = cls(guest, ours=True, keep=keep, say=say)
        try:
            guest.start(outlive=keep)
        except BaseException:
            target.remove()
            raise
        return target

    @classmethod
    def attach(cls, guest: Guest, *, over_ssh: bool | None = None) -> Self:
        """Use a kept guest that runs, and leave it running. Raises TargetError when it does not."""
        if not guest.running():
            raise TargetError(f"virtual machine {guest.name} is off", hint=f"`harness vm start {guest.name}`")
        target = cls(guest, ours=False, over_ssh=over_ssh)
        target.come_up()
        return target

    @property
    def uri(self) -> str:
        """`vm://NAME`."""
        return f"vm://{self.name}"

    @property
    def facts(self) -> Mapping[str, str]:
        """How it was made and booted: kernel, accelerator, what was injected, and the state of its systemd."""
        return {**self.guest.record.facts, **self._facts, "channel": "ssh" if self._over_ssh or self._unattended else "serial ports"}

    @property
    def lanes(self) -> int:
        """How many commands it runs at a time; the last shell at its serial ports is for killing what hangs."""
        return 1 if self._over_ssh or self._unattended else len(machines.SHELLS) - 1

    def come_up(self) -> None:
        """Wait until the guest's systemd has started everything. Raises TargetError, with the console's last lines, when it does not."""
        began = time.monotonic()
        try:
            self._facts["system"] = self._settled(began + BOOT_SECONDS)
            self._facts["kernel"] = self.run("uname -r", timeout=QUESTION_SECONDS).out.strip()
        except BaseException:
            if self._ours:
                self.remove()
            raise
        self._say(f"virtual machine {self.name} is up after {time.monotonic() - began:.1f} s ({self._facts['system']})")

    def run(
        self,
        command: str,
        *,
        stdin: bytes | None = None,
        timeout: float | None = None,
        on_line: Callable[[str, str], None] | None = None,
    ) -> Completed:
        """See Target."""
        try:
            return self._shell.run(command, stdin=stdin, timeout=timeout, on_line=on_line)
        except TargetError as error:
            if self._closed or self._alive():
                raise
            raise self.dead(FULL if self._halted else "ended") from error

    def put(self, data: bytes, path: str, *, mode: int = 0o600) -> None:
        """See Target."""
        files.put(self, data, path, mode)

    def get(self, path: str) -> bytes:
        """See Target."""
        return files.get(self, path)

    def restart(self) -> None:
        """Shut the guest down as a reboot does, start it again from its disk, and wait until it is up."""
        with suppress(CommandTimeout, TargetError):
            self._shell.run("systemctl reboot", timeout=QUESTION_SECONDS)
        if not self.guest.ended(SHUTDOWN_SECONDS):
            self._say(f"{self.name} does not shut down within {SHUTDOWN_SECONDS:g} s; it is switched off")
            self.guest.kill()
        self._shell.reopen()
        self._ssh.close()
        self._unattended = False
        self.guest.start(outlive=self._keep or not self._ours)
        self.come_up()

    def set_clock(self) -> None:
        """Give the guest this machine's time: after a snapshot is taken up again its clock stands where it was made."""
        done = self.run(f"date -u -s @{time.time():.3f}", timeout=QUESTION_SECONDS)
        if done.returncode != 0:
            raise TargetError(f"the clock of {self.name} cannot be set: {done.err.strip()}")

    def close(self) -> None:
        """See Target."""
        if self._closed:
            return
        if self._ours and not self._keep:
            self.remove()
            return
        self._closed = True
        self._shell.close()
        self._ssh.close()
        leftovers.unwatch(self.guest.name)

    def let_go(self) -> None:
        """Close what leads to the guest and leave the guest to the caller; at the end of this process it is removed all the same."""
        self._closed = True
        with suppress(TargetError):
            self._shell.close()
        self._ssh.close()

    def remove(self) -> None:
        """End the guest and delete all that belongs to it."""
        self.let_go()
        if self.guest.remove():
            leftovers.unwatch(self.guest.name)
        else:
            self._say(f"virtual machine {self.name} could not be removed; try `harness vm remove {self.name}`")

    def proxy_command(self) -> list[str]:
        """Return a command whose standard input and output are connected to the guest's sshd, through a port on the loopback address."""
        return relay.command("127.0.0.1", self.guest.port())

    def dead(self, what: str) -> TargetError:
        """Say how a guest went, with the console's last lines."""
        lines = " | ".join(self.guest.console())
        return TargetError(
            f"virtual machine {self.name} {what}; its console's last lines: {lines or 'none'}",
            hint="`harness doctor` shows whether virtual machines work here",
        )

    def _alive(self) -> bool:
        """Tell whether the guest runs; every now and then also whether qemu had to stop it."""
        if not self._halted and time.monotonic() - self._looked > LOOK_SECONDS:
            self._halted, self._looked = self.guest.halted(), time.monotonic()
        return self.guest.running() and not self._halted

    def _settled(self, deadline: float) -> str:
        """Wait for systemd and return its state, with the units that failed."""
        while True:
            told = self._state(deadline)
            if told == "degraded":
                units = self.run("systemctl --failed --no-legend --plain --no-pager", timeout=QUESTION_SECONDS).out.splitlines()
                return f"degraded: {', '.join(line.split()[0] for line in units if line.split())} failed"
            if told in {"maintenance", "stopping"}:
                raise self.dead(f"is in the state {told}")
            if told not in STILL_COMING:
                return told
            if time.monotonic() > deadline:
                raise self.dead(f"does not come up within {BOOT_SECONDS:g} s ({told or 'silent'})")
            time.sleep(POLL_SECONDS)

    def _state(self, deadline: float) -> str:
        """Ask systemd once; empty while nothing answers."""
        try:
            return self._shell.run("systemctl is-system-running", timeout=max(1.0, deadline - time.monotonic())).out.strip()
        except (TargetError, CommandTimeout) as error:
            if not self._alive():
                raise self.dead(FULL if self._halted else "ended while it booted") from error
            return ""

    def _open(self) -> Stream:
        """Open a shell of the guest: on its serial ports, which no setting of sshd locks, else over SSH."""
        if self._over_ssh or self._unattended:
            return self._ssh.open()
        if self._over_ssh is False or self.guest.record.machine.shells:
            return self._port(BOOT_SECONDS)
        # A disk image starts its attendants late, or never; who answers first is asked from then on.
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            try:
                return self._port(ATTENDED_SECONDS)
            except TargetError:
                if not self._alive() or time.monotonic() > deadline:
                    raise
            if vmssh.answers(self.guest):
                with suppress(TargetError):
                    stream = self._ssh.open()
                    self._unattended = True
                    return stream

    def _port(self, seconds: float) -> Stream:
        """Connect to the first shell at the guest's serial ports that nobody of us uses."""
        with self._taking:
            number = next((number for number in range(len(machines.SHELLS)) if number not in self._taken), None)
            if number is None:
                raise TargetError(f"all shells of {self.name} are in use")
            if self._taken:  # the guest has answered before, and Ctrl-C must not wait for one that has stopped to
                seconds = min(seconds, NEXT_SECONDS)
            self._taken.add(number)
        out, err = (self.guest.folder / f"{name}.sock" for name in machines.SHELLS[number])
        try:
            return Ports(out, err, alive=self._alive, seconds=seconds, closed=partial(self._taken.discard, number))
        except BaseException:
            self._taken.discard(number)
            raise


def open_uri(uri: str) -> VmTarget:
    """Open `vm://NAME`: a guest that was kept, and runs."""
    scheme, _, name = uri.partition("://")
    if not name or "/" in name:
        raise UsageError(f"{uri} does not name a virtual machine", hint=f"write {scheme}://NAME; `harness vm list` lists them")
    return VmTarget.attach(store.find(name))
