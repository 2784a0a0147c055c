"""Real sshds for tests: one container, as many sshds on loopback as a test wants, users of every odd kind, and a bad network."""

from __future__ import annotations

import os
import secrets
import select
import shlex
import shutil
import socket
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from harness import engine as engines
from harness import images

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine import Engine
    from harness.targets.base import Target

HOSTS = r"""
set -e
install -d -m 0755 /run/sshd
rm -f /run/nologin
for kind in ed25519 ecdsa rsa; do
  [ -e /etc/ssh/world_$kind ] || ssh-keygen -q -t $kind -N '' -f /etc/ssh/world_$kind
done
cat >/usr/local/bin/plainsh <<'SHELL'
#!/usr/bin/python3
# A log-in shell with a grammar of its own, as csh and fish have: it takes plain and single-quoted words only.
import os, re, shlex, sys
text = sys.argv[sys.argv.index("-c") + 1]
if re.sub(r"'[^']*'", "", text).translate({ord(c): None for c in "/ -_.="}).isalnum():
    words = shlex.split(text)
    os.execvp(words[0], words)
sys.exit("plainsh: syntax error: " + text)
SHELL
chmod 0755 /usr/local/bin/plainsh
printf 'A banner\nof three\nlines\n' >/etc/ssh/world_banner
"""
USER = r"""
set -e
id "$name" >/dev/null 2>&1 || useradd -m -s "$shell" "$name" 2>/dev/null
home=$(getent passwd "$name" | cut -d: -f6)
install -d -m 0700 "$home/.ssh"
printf '%s\n' "$keys" >"$home/.ssh/authorized_keys"
[ "$name" = root ] || [ -z "$sudo" ] || printf '%s\n' "$sudo" >>/etc/sudoers
[ -z "$password" ] || printf '%s:%s\n' "$name" "$password" | chpasswd
"""
NOPASSWD = "{name} ALL=(ALL) NOPASSWD: ALL"
COMMON = """\
ListenAddress 127.0.0.1
PidFile none
UsePAM yes
PermitRootLogin prohibit-password
PasswordAuthentication no
MaxStartups 200
LogLevel VERBOSE
"""


@dataclass
class World:
    """A container that shares the network of this machine, and the sshds in it."""

    engine: Engine
    name: str
    folder: Path
    keys: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def begin(cls, folder: Path, *, options: tuple[str, ...] = ()) -> Self:
        """Start the container. Raises EngineError without an engine."""
        engine = engines.adapt(engines.find(), say=lambda _: None)
        image = os.environ.get("HARNESS_TEST_IMAGE_AL2") or images.ensure("standin", Source(), engine, lambda _: None).reference
        world = cls(engine, f"isms-ssh-{secrets.token_hex(4)}", folder)
        given = [option for option in engine.run_options if not option.startswith("--network")]
        engine.call("run", "-d", f"--name={world.name}", *given, "--network=host", *options, image, "/bin/sleep", "7200")
        return world

    def end(self) -> None:
        """Remove the container with everything in it."""
        self.engine.call("rm", "-f", "-t", "0", self.name, check=False)

    def sh(self, script: str, *, check: bool = True) -> str:
        """Run a script in it as root."""
        done = self.engine.call("exec", "-i", self.name, "/bin/bash", "-s", input=script.encode(), check=False)
        assert not check or done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def people(self) -> None:
        """Make the keys, and the users that most tests need."""
        for name, kind, words in (("ed25519", "ed25519", ""), ("rsa", "rsa", ""), ("ecdsa", "ecdsa", ""), ("locked", "ed25519", "open it")):
            self.keys[name] = self.folder / name
            argv = ["ssh-keygen", "-q", "-t", kind, "-N", words, "-C", name, "-f", str(self.keys[name])]
            subprocess.run(argv, check=True, timeout=60)
        self.sh(HOSTS)
        self.user("root", sudo="")
        self.user("ec2-user", sudo="")
        self.user("plain", "/usr/local/bin/plainsh")

    @property
    def public(self) -> str:
        """Return the public keys, as authorized_keys holds them."""
        return "".join(self.keys[name].with_name(f"{name}.pub").read_text() for name in self.keys).strip()

    def user(
        self,
        name: str,
        shell: str = "/bin/bash",
        *,
        sudo: str = NOPASSWD,
        password: str = "",
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Make a user who logs in with the keys; `files` are written into the home."""
        given = {"name": name, "shell": shell, "sudo": sudo.format(name=name), "password": password, "keys": self.public}
        text = "".join(f"{key}={shlex.quote(value)}\n" for key, value in given.items()) + USER
        for path, content in (files or {}).items():
            place = f'"$home"/{shlex.quote(path)}'
            text += f'mkdir -p "$(dirname {place})"\nprintf %s {shlex.quote(content)} >{place}\n'
        self.sh(text + 'chown -R "$name" "$home"')

    def lend(self, program: str, *folders: str) -> str:
        """Copy a program of this machine into the container, with the libraries that are missing there; return its place."""
        found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if found is None:
            pytest.skip(f"there is no {program} on this machine (python ci/system_packages.py tests)")
        place = f"/usr/local/bin/{program}"
        if self.sh(f"test -e {place} && echo there", check=False):
            return place
        self.engine.call("cp", str(Path(found).resolve()), f"{self.name}:{place}")
        for library in libraries(Path(found)):
            if not self.sh(f"ldconfig -p | grep -F {library.name} || true"):
                self.engine.call("cp", str(library.resolve()), f"{self.name}:/usr/lib/{library.name}")
        for folder in folders:
            self.engine.call("cp", folder, f"{self.name}:{folder}")
        self.sh("ldconfig")
        return place

    def sshd(self, *lines: str, keys: tuple[str, ...] = ("ed25519", "ecdsa", "rsa"), common: str = COMMON) -> int:
        """Start an sshd and return its port on 127.0.0.1."""
        port = free_port()
        hostkeys = "".join(f"HostKey /etc/ssh/world_{kind}\n" for kind in keys)
        text = f"Port {port}\n" + "".join(f"{line}\n" for line in lines if not line.startswith("Match")) + common + hostkeys
        text += "".join(f"{line}\n" for line in lines if line.startswith("Match"))
        config = f"/run/sshd/world_{port}"
        self.sh(f"cat >{config} <<'END'\n{text}END\n/usr/sbin/sshd -f {config} -E {config}.log")
        deadline = time.monotonic() + 30
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return port
            assert time.monotonic() < deadline, self.sh(f"cat {config}.log")
            time.sleep(0.02)

    def log(self, port: int) -> str:
        """Return what an sshd wrote down."""
        return self.sh(f"cat /run/sshd/world_{port}.log")

    def known(self, port: int, *kinds: str) -> str:
        """Return lines for known_hosts."""
        return "".join(f"[127.0.0.1]:{port} {' '.join(self.sh(f'cat /etc/ssh/world_{kind}.pub').split()[:2])}\n" for kind in kinds)


@dataclass(frozen=True)
class Source:
    """What a source of the configuration says."""

    baseline: str = "al2"
    image: str = ""
    tls_verify: bool = True


def libraries(program: Path) -> list[Path]:
    """Return the libraries that a program of this machine loads."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=30, check=False).stdout
    return [Path(word) for word in listed.split() if word.startswith("/") and ":" not in word]


def uri(user: str, port: int) -> str:
    """Return the URI of somebody on one of the sshds."""
    return f"ssh://{user}@127.0.0.1:{port}"


def whoami(target: Target) -> str:
    """Ask a target as whom its commands run."""
    return target.run("id -un", timeout=30).out.strip()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Network:
    """A TCP proxy on loopback that delays what it carries, counts the turns of a conversation, and can be cut."""

    def __init__(self, port: int, *, delay: float = 0.0) -> None:
        """Forward to a port of 127.0.0.1; every byte takes `delay` seconds in each direction."""
        self.delay = delay
        self.turns = 0
        """How often the client spoke after the server had."""
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._server.getsockname()[1])
        self.frozen = threading.Event()
        """Once set, nothing is carried any more, and nobody is told."""
        self.freeze_after: int | None = None
        """It freezes when the client speaks for this many times after the server."""
        self.cut_after: int | None = None
        """Every connection is cut when the client speaks for this many times after the server."""
        self._pairs: list[socket.socket] = []
        self._last = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.set()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        self._thread.join()

    def cut(self) -> None:
        """Cut every connection."""
        while self._pairs:
            link = self._pairs.pop()
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        workers = []
        while not self._closing.is_set():
            try:
                client, _ = self._server.accept()
                host = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                break
            for link in (client, host):
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._pairs.append(link)
            workers.append(threading.Thread(target=self._carry, args=(client, host), daemon=True))
            workers[-1].start()
        for worker in workers:
            worker.join()

    def _carry(self, client: socket.socket, host: socket.socket) -> None:
        """Carry bytes both ways until one side ends."""
        waiting: list[tuple[float, socket.socket, bytes]] = []
        with client, host:
            while True:
                now = time.monotonic()
                left = max(0.0, waiting[0][0] - now) if waiting else None
                readable, _, _ = select.select([client, host], [], [], left)
                for link in readable:
                    try:
                        data = link.recv(65536)
                    except OSError:
                        return
                    if not data:
                        return
                    side = "client" if link is client else "host"
                    self.turns += side == "client" and self._last == "host"
                    self._last = side
                    if self.cut_after is not None and self.turns >= self.cut_after:
                        return
                    if self.frozen.is_set() or (self.freeze_after is not None and self.turns >= self.freeze_after):
                        continue
                    waiting.append((time.monotonic() + self.delay, host if link is client else client, data))
                while waiting and waiting[0][0] <= time.monotonic():
                    _, link, data = waiting.pop(0)
                    with suppress(OSError):
                        link.sendall(data)
