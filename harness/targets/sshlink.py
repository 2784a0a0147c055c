"""A connection to a host's sshd: through proxies and other hosts, its key checked, the user logged in."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from harness.errors import TargetError
from harness.targets import sshconfig, sshhostkeys, sshkeys
from harness.targets.connection import CONNECT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    import paramiko

    from harness.targets.connection import Connection
    from harness.targets.sshconfig import HostConfig
    from harness.targets.sshhostkeys import HostKey

CLOSE_SECONDS = 5.0
UNANSWERED_MS = 30_000
"""How long sent bytes may stay unacknowledged before the kernel gives a connection up."""
MOST_HOPS = 8
RSA = ("rsa-sha2-512", "rsa-sha2-256")


IMPORTING = threading.Lock()


def transport_class() -> type[paramiko.Transport]:
    """Import paramiko and return its Transport, made to prefer what costs little."""
    with IMPORTING:
        return quick_transport()


@cache
def quick_transport() -> type[paramiko.Transport]:
    """See transport_class, which lets one thread in at a time."""
    sys.modules.setdefault("invoke", None)  # type: ignore[arg-type]  # half of the import's time, for a Match exec of its own that we do not use
    try:
        import paramiko
        from paramiko.kex_curve25519 import KexCurve25519
    finally:
        if sys.modules.get("invoke", ...) is None:
            del sys.modules["invoke"]
    # Its threads log tracebacks of what reaches us as an exception anyway.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)

    class Quick(paramiko.Transport):
        """The key exchange that costs 1 ms, under both its names: a hardened sshd may know only the newer."""

        _kex_info = paramiko.Transport._kex_info | {"curve25519-sha256": KexCurve25519}  # type: ignore[attr-defined]  # noqa: SLF001 - made for subclasses
        _preferred_kex = (
            "curve25519-sha256",
            "curve25519-sha256@libssh.org",
            *(name for name in paramiko.Transport._preferred_kex if not name.startswith("curve25519")),  # type: ignore[attr-defined]  # noqa: SLF001
        )

    return Quick


@dataclass(slots=True)
class Link:
    """A connection that is logged in, with what carries it."""

    transport: paramiko.Transport
    facts: dict[str, str]
    carriers: list[Callable[[], str]] = field(default_factory=list)
    """What ends what carries it: the process of a proxy."""

    @property
    def alive(self) -> bool:
        """Tell whether the other side still is there, as far as is known."""
        return self.transport.is_active()

    def close(self) -> None:
        """End the connection and all that carries it, and wait for its thread."""
        self.transport.close()
        self.transport.join(CLOSE_SECONDS)
        while self.carriers:
            self.carriers.pop(0)()


class Bastions:
    """Connections to hosts on the way, shared by all hosts that are reached through them."""

    def __init__(self) -> None:
        """Begin without any."""
        self._lock = threading.Lock()
        self._locks: dict[tuple[str, ...], threading.Lock] = {}
        self._links: dict[tuple[str, ...], Link] = {}

    def through(self, hops: tuple[str, ...], connection: Connection) -> Link:
        """Return the connection to the last of these hosts, each reached through the one before."""
        with self._lock:
            lock = self._locks.setdefault(hops, threading.Lock())
        with lock:  # nobody waits in a circle: who holds one of these asks for shorter ways only
            link = self._links.get(hops)
            if link is None or not link.alive:
                forget(link)
                self._links[hops] = link = reached(hop_config(hops[-1], connection), hops[:-1], connection, self)
            return link

    def close(self) -> None:
        """Close them, the farthest first."""
        with self._lock:
            for hops in sorted(self._links, key=len, reverse=True):
                self._links.pop(hops).close()
            self._locks.clear()


def parsed_hop(text: str) -> tuple[str | None, str, int | None]:
    """Split `[user@]host[:port]`, brackets around an IPv6 address. Raises TargetError."""
    text = text.removeprefix("ssh://")
    user, _, place = text.rpartition("@")
    host, port = place, ""
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
        port = port.removeprefix(":")
    elif place.count(":") == 1:
        host, _, port = place.partition(":")
    if not host or (port and not port.isdecimal()):
        raise TargetError(f"ProxyJump names `{text}`, which is no host", hint="[user@]host[:port]")
    return user or None, host, int(port) if port else None


def hop_config(hop: str, connection: Connection) -> HostConfig:
    """Return how a host in between is reached."""
    user, host, port = parsed_hop(hop)
    return sshconfig.load(connection.config).lookup(host, user=user, port=port)


def route(config: HostConfig, connection: Connection) -> tuple[str, ...]:
    """Return all hosts in between, the nearest first: the first that is named may be behind others itself. Raises TargetError."""
    hops = config.jumps
    while hops and (before := hop_config(hops[0], connection).jumps):
        hops = (*before, *hops)
        if len(hops) > MOST_HOPS:
            raise TargetError(f"{place(config)} is behind more than {MOST_HOPS} hosts", hint="do ProxyJump lines lead in a circle?")
    return hops


def opened(config: HostConfig, connection: Connection, bastions: Bastions) -> Link:
    """Connect and log in, through the hosts in between that ssh_config names. Raises TargetError."""
    return reached(config, route(config, connection), connection, bastions)


def reached(config: HostConfig, hops: tuple[str, ...], connection: Connection, bastions: Bastions) -> Link:
    """Connect and log in through these hosts."""
    where, seconds = place(config), patience(config, connection)
    carriers: list[Callable[[], str]] = []
    through: dict[str, str] = {}
    sock: socket.socket | paramiko.Channel
    if hops:
        through = {"through": ", ".join(hops)}
        sock = channel(bastions.through(hops, connection), config, where, seconds)
    elif config.proxy_command:
        through = {"through": "a ProxyCommand"}  # its text may hold a token, and facts become evidence
        sock, end = proxied(config.proxy_command, where)
        carriers.append(end)
    else:
        sock = dialled(config, where, seconds)
    try:
        return logged_in(sock, config, connection, carriers, through)
    except BaseException as error:
        said = [end() for end in carriers]
        if any(said) and isinstance(error, TargetError):
            raise TargetError(f"{error.message}; its ProxyCommand says: {said[0]}", hint=error.hint, at=error.at) from error
        raise


def patience(config: HostConfig, connection: Connection) -> float:
    """Return the limit for each phase of a log-in."""
    return connection.connect_seconds or config.connect_seconds or CONNECT_SECONDS


def place(config: HostConfig) -> str:
    """Name a host for people, with the port where it is not SSH's own."""
    return config.alias if config.port == 22 else f"{config.alias}:{config.port}"  # noqa: PLR2004 - SSH's own port


def dialled(config: HostConfig, where: str, seconds: float) -> socket.socket:
    """Open a TCP connection whose small packets leave at once, and that notices when the other side has gone."""
    try:
        sock = socket.create_connection((config.hostname, config.port), timeout=seconds)
    except (socket.gaierror, UnicodeError) as error:
        hint = "is it spelled right? ssh_config may give it a HostName"
        said = error.strerror if isinstance(error, OSError) else "it is no name of a host"
        raise TargetError(f"{where}: the name {config.hostname} is not known ({said})", hint=hint) from error
    except TimeoutError as error:
        hint = "is it up, and does a firewall or security group let this machine in?"
        raise TargetError(f"{where} does not answer within {seconds:g} s", hint=hint) from error
    except ConnectionRefusedError as error:
        raise TargetError(f"{where} refuses connections on port {config.port}", hint="does sshd run there, and on this port?") from error
    except OSError as error:
        raise TargetError(f"{where} cannot be reached: {error.strerror or error}", hint="is there a route from this machine?") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", UNANSWERED_MS)):
        if (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
    return sock


def channel(bastion: Link, config: HostConfig, where: str, seconds: float) -> paramiko.Channel:
    """Reach a host through another one."""
    import paramiko

    try:
        return bastion.transport.open_channel("direct-tcpip", (config.hostname, config.port), ("127.0.0.1", 0), timeout=seconds)
    except paramiko.ChannelException as error:
        hint = "the host in between does not forward (AllowTcpForwarding)" if error.code == 1 else "can the host in between reach it?"
        raise TargetError(f"{where} cannot be reached through {bastion.facts['host']}: {error.text}", hint=hint) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise TargetError(
            f"{where} cannot be reached through {bastion.facts['host']}: {str(error) or 'the connection was lost'}"
        ) from error


def proxied(command: str, where: str) -> tuple[socket.socket, Callable[[], str]]:
    """Start a ProxyCommand on one end of a socket pair; return the other end and what ends the command and gives its last words."""
    ours, theirs = socket.socketpair()
    words = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the command
    try:
        argv = sshconfig.shell(f"exec {command}")
        process = subprocess.Popen(argv, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=words, start_new_session=True)
    except OSError as error:
        ours.close()
        words.close()
        raise TargetError(f"{where}: ProxyCommand cannot be started: {error.strerror}") from error
    finally:
        theirs.close()

    def end() -> str:
        ours.close()
        try:
            process.wait(0.3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with words:
            words.seek(0)
            lines = words.read().decode("utf-8", "replace").split("\n")
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")

    return ours, end


def logged_in(
    sock: socket.socket | paramiko.Channel,
    config: HostConfig,
    connection: Connection,
    carriers: list[Callable[[], str]],
    through: dict[str, str],
) -> Link:
    """Exchange keys over a socket, check the host's key, log in."""
    make = transport_class()
    where, seconds = place(config), patience(config, connection)
    name = config.host_key_alias or sshhostkeys.address(config.hostname, config.port)
    known = known_keys(config, connection, name)
    transport = make(sock)
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = transport.channel_timeout = seconds
    try:
        prefer(transport, sshhostkeys.kinds(known))
        shaken(transport, where, seconds)
        shown = transport.get_remote_server_key()
        key = sshhostkeys.HostKey(shown.get_name(), shown.asbytes())
        vouched(key, known, name, config, connection)
        identities = sshkeys.Identities(config, connection.identities, connection.passphrase)
        let_in = sshkeys.log_in(transport, config.user, identities, where)
    except BaseException:
        transport.close()
        transport.join(CLOSE_SECONDS)
        raise
    facts = {"host": config.hostname, "port": str(config.port), "user": config.user, "host_key": str(key), "log_in_key": let_in}
    return Link(transport, {**facts, "server": transport.remote_version, **through}, carriers)


def known_keys(config: HostConfig, connection: Connection, name: str) -> list[sshhostkeys.Entry]:
    """Return what is known of a host. A key noted down without the port counts where nothing is noted down with it, as in OpenSSH."""
    files = connection.known_hosts or (*config.known_hosts, *config.system_known_hosts)
    found = sshhostkeys.entries(files, name.lower())
    if not found and name.startswith("["):
        found = sshhostkeys.entries(files, config.hostname.lower())
    return found


def prefer(transport: paramiko.Transport, kinds: list[str]) -> None:
    """Ask the host for the kinds of keys that we know of it; otherwise it may show another, which nobody can judge."""
    names = [name for kind in kinds for name in (RSA if kind == "ssh-rsa" else (kind,))]
    options = transport.get_security_options()
    offered = list(options.key_types)
    options.key_types = [name for name in names if name in offered] + [name for name in offered if name not in names]


def shaken(transport: paramiko.Transport, where: str, seconds: float) -> None:
    """Exchange versions and keys."""
    import paramiko

    try:
        transport.start_client(timeout=seconds)
    except paramiko.ssh_exception.IncompatiblePeer as error:
        hint = "its sshd speaks only what is outdated, or only what is very new"
        raise TargetError(f"{where}: no common algorithm: {error}", hint=hint) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        said = failure(error, seconds)
        hint = "is it sshd that listens there, and does it let this machine in (MaxStartups, hosts.deny)?"
        raise TargetError(f"{where} does not speak SSH with us: {said}", hint=hint) from error
    if not transport.initial_kex_done:  # paramiko says nothing when the time is over
        raise TargetError(f"{where} does not speak SSH with us: no answer within {seconds:g} s", hint="is it sshd that listens there?")


def failure(error: Exception, seconds: float) -> str:
    """Say how a greeting failed; paramiko wraps what happened to the socket."""
    cause = error.__context__ if isinstance(error.__context__, OSError | EOFError) else error
    said = " ".join(str(error).split())
    if isinstance(cause, TimeoutError) or "timeout" in said.lower():
        return f"no answer within {seconds:g} s"
    if isinstance(cause, OSError | EOFError) or not said:
        return "the other side hung up"
    return said


def vouched(key: HostKey, known: list[sshhostkeys.Entry], name: str, config: HostConfig, connection: Connection) -> None:
    """Compare the key of a host with what is known. Raises TargetError unless it is known, or may be written down as new."""
    where = place(config)
    if sshhostkeys.judge(known, key, where):
        return
    files = connection.known_hosts or config.known_hosts
    if not connection.accept_new or not files:
        raise sshhostkeys.unknown(key, where)
    sshhostkeys.add(files[0], name, key, hashed=config.hash_known_hosts, where=where)


def forget(link: Link | None) -> None:
    """Close a link whose other side may be gone, without a word."""
    if link is not None:
        with suppress(OSError, EOFError):
            link.close()
