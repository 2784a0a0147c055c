"""A machine to try hardening scripts on: a real container with systemd, scripts pushed into it as the component documents do."""

from __future__ import annotations

import io
import shlex
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.engine import Engine

CONTENT = Path(__file__).resolve().parents[2] / "hardening"
FOLDER = "/usr/libexec/isms-hardening"

FINGERPRINT = (
    "find /etc /var/log /var/lib/aide /opt /root /usr/lib/systemd /boot -xdev -type f -not -path '/var/log/journal/*' -not -name '*.log' "
    "-not -path /var/log/messages -not -path /var/log/secure -not -path /var/log/cron "
    "-printf '%p %m %u %g %s %T@\\n' 2>/dev/null | sort"
)
"""Every file that a script could touch, with mode, owner, size and time; logs that grow by themselves are left out."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a script printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def changes(self) -> int:
        """The number in its summary; -1 when it has none."""
        last = self.out.strip().rsplit("\n", 1)[-1]
        return int(last.partition("=")[2]) if last.startswith("summary changes=") else -1

    @property
    def changed(self) -> list[str]:
        """The rules that it changed something for."""
        return [line.split(" ", 2)[1] for line in self.out.splitlines() if line.startswith("changed ")]

    def rules(self, word: str) -> set[str]:
        """Return the rules that `check` called `pass` or `fail`."""
        return {line.split(" ", 2)[1] for line in self.out.splitlines() if line.startswith(word + " ")}


@dataclass(frozen=True, slots=True)
class Machine:
    """A running container."""

    engine: Engine
    name: str

    def sh(self, text: str, *, check: bool = True, stdin: bytes = b"") -> str:
        """Run bash text as root and return its standard output, errors included."""
        done = self.engine.call("exec", "-i", self.name, "bash", "-c", text, input=stdin, timeout=120, check=False)
        out = (done.stdout + done.stderr).decode("utf-8", "replace")
        assert not check or done.returncode == 0, f"{text}\n{out}"
        return out

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        """Put a file."""
        self.sh(f"mkdir -p $(dirname {shlex.quote(path)}); cat >{shlex.quote(path)}; chmod {mode} {shlex.quote(path)}", stdin=text.encode())

    def push(self) -> None:
        """Bring the scripts and their files."""
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            archive.add(CONTENT / "scripts", ".")
            archive.add(CONTENT / "files", "files")
        self.sh(f"mkdir -p {FOLDER} && tar -C {FOLDER} --no-same-owner -xf -", stdin=data.getvalue())

    def script(self, subject: str, verb: str, parameters: dict[str, str]) -> Said:
        """Run a script's verb."""
        values = [f"{name}={value}" for name, value in parameters.items()]
        done = self.engine.call("exec", self.name, "bash", f"{FOLDER}/{subject}.sh", verb, *values, timeout=300, check=False)
        return Said(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))

    def apply(self, subject: str, parameters: dict[str, str]) -> Said:
        """Run `apply`, which must succeed, and again, which must change nothing at all."""
        first = self.script(subject, "apply", parameters)
        assert first.code == 0, first
        before = self.sh(FINGERPRINT)
        second = self.script(subject, "apply", parameters)
        assert second.code == 0, second
        assert second.changes == 0, second.out
        assert self.sh(FINGERPRINT) == before
        return first
