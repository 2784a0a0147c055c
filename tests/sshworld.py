"""Real sshds for tests: one container, as many sshds on loopback as a test wants, users of every odd kind, and a bad network."""

from __future__ import annotations

import os
import secrets
import select
import shlex
import socket
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from harness import engine as engines
from harness import images

if TYPE_CHECKING:
    from harness.engine import Engine

USERS = r"""
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
user() {
  id "$1" >/dev/null 2>&1 || useradd -m -s "$2" "$1"
  home=$(getent passwd "$1" | cut -d: -f6)
  install -d -m 0700 -o "$1" "$home/.ssh"
  printf '%s\n' "$keys" >"$home/.ssh/authorized_keys"
  chown -R "$1" "$home/.ssh"
}
user root /bin/bash
user ec2-user /bin/bash
for name in asks stranger ttys noisy hung; do user $name /bin/bash; done
user plain /usr/local/bin/plainsh
user dashing /usr/local/bin/dash
user closed /sbin/nologin
printf 'asks:pass word$1\n' | chpasswd
printf '%s\n' 'asks ALL=(ALL) ALL' 'ttys ALL=(ALL) NOPASSWD: ALL' 'Defaults:ttys requiretty' 'plain ALL=(ALL) NOPASSWD: ALL' \
  'dashing ALL=(ALL) NOPASSWD: ALL' 'noisy ALL=(ALL) NOPASSWD: ALL' 'Defaults:noisy use_pty' >>/etc/sudoers
cat >~noisy/.bashrc <<'RC'
echo "Welcome to this host"; echo "it is monitored" >&2; printf 'no line end'
export LANG=ko_KR.UTF-8 LC_ALL=ko_KR.UTF-8 BASH_ENV=/home/noisy/.bashrc TMOUT=1
alias sudo=false; sudo() { false; }; set -u
RC
echo 'echo waiting for you; cat >/dev/null; sleep 60' >~hung/.bashrc
printf 'A banner\nof three\nlines\n' >/etc/ssh/world_banner
"""
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
        engine.call("run", "-d", f"--name={world.name}", *given, "--network=host", *options, image, "/bin/sleep", "3600")
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
        """Make the keys and the users."""
        for name, kind, words in (("ed25519", "ed25519", ""), ("rsa", "rsa", ""), ("ecdsa", "ecdsa", ""), ("locked", "ed25519", "open it")):
            self.keys[name] = self.folder / name
            argv = ["ssh-keygen", "-q", "-t", kind, "-N", words, "-C", name, "-f", str(self.keys[name])]
            subprocess.run(argv, check=True, timeout=60)
        public = "".join(self.keys[name].with_name(f"{name}.pub").read_text() for name in self.keys)
        dash = Path("/bin/dash")
        if dash.exists():
            self.engine.call("cp", str(dash.resolve()), f"{self.name}:/usr/local/bin/dash")
        else:
            self.sh("ln -sf bash /usr/local/bin/dash")
        self.sh(f"keys={shlex.quote(public.strip())}\n{USERS}")

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
                    waiting.append((time.monotonic() + self.delay, host if link is client else client, data))
                while waiting and waiting[0][0] <= time.monotonic():
                    _, link, data = waiting.pop(0)
                    with suppress(OSError):
                        link.sendall(data)
