"""Whether the key that a host shows is the one we know: known_hosts files read, judged and added to."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import Location, TargetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

REVOKED, AUTHORITY = "@revoked", "@cert-authority"


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public key of a host."""

    kind: str
    """`ssh-ed25519`, `ssh-rsa` …"""
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """Return what `ssh-keygen -l` prints: `SHA256:…`."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.kind} {self.fingerprint}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a known_hosts file that speaks of the host in question."""

    key: HostKey
    marker: str
    at: Location


def address(host: str, port: int) -> str:
    """Return the name under which a host stands in known_hosts."""
    host = host.lower()
    return host if port == 22 else f"[{host}]:{port}"  # noqa: PLR2004 - the port of SSH


def entries(files: Iterable[Path], name: str) -> list[Entry]:
    """Return every line that matches a name, in order. Raises TargetError for a file that is there and cannot be read."""
    found: list[Entry] = []
    for path in files:
        try:
            known = path.stat()
            lines = split(path, known.st_mtime_ns, known.st_size)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise TargetError(f"{path} cannot be read: {error.strerror}", hint="it holds the keys of known hosts") from error
        found += [entry for line in lines if matches(line.names, name) and (entry := line.entry(path)) is not None]
    return found


class Line(NamedTuple):
    """A line of a known_hosts file, not yet understood."""

    number: int
    marker: str
    names: str
    kind: str
    text: str

    def entry(self, path: Path) -> Entry | None:
        """Return the entry; None when its key cannot be understood."""
        try:
            blob = base64.b64decode(self.text, validate=True)
        except ValueError:
            return None
        return Entry(HostKey(self.kind, blob), self.marker, Location(path, self.number))


@lru_cache(maxsize=16)
def split(path: Path, _changed: int, _size: int) -> tuple[Line, ...]:
    """Read a file and split its lines, once for all the hosts of a fleet and again when it has changed."""
    found: list[Line] = []
    for number, text in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        words = text.split(maxsplit=4)
        if not words or words[0].startswith("#"):
            continue
        marker = words.pop(0) if words[0].startswith("@") else ""
        if len(words) > 2:  # noqa: PLR2004 - names, kind, key
            names = words[0] if words[0].startswith("|") else words[0].lower()
            found.append(Line(number, marker, names, words[1], words[2]))
    return tuple(found)


def matches(patterns: str, name: str) -> bool:
    """Tell whether the first field of a line, in lower case, means a host: a hashed name, or patterns of which none is negated by `!`."""
    if patterns.startswith("|1|"):
        try:
            salt, digest = (base64.b64decode(part) for part in patterns[3:].split("|"))
        except ValueError:
            return False
        return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
    if not any(sign in patterns for sign in "*?!"):
        return name in patterns and name in patterns.split(",")
    found = False
    for pattern in patterns.split(","):
        wanted = pattern.removeprefix("!")
        # Brackets stand around an address with a port, and are no pattern here.
        if fnmatchcase(name, wanted.replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def kinds(known: Sequence[Entry]) -> list[str]:
    """Return the types of the keys that we know of a host, so that it is asked for one of these."""
    return list(dict.fromkeys(entry.key.kind for entry in known if not entry.marker))


def judge(known: Sequence[Entry], key: HostKey, where: str) -> bool:
    """Return True for a known key, False where nothing is known of the host. Raises TargetError for any other."""
    for entry in known:
        if entry.marker == REVOKED and entry.key.blob == key.blob:
            raise TargetError(
                f"{where} shows a host key that is revoked: {key}", hint="do not log in; ask who revoked the key", at=entry.at
            )
    plain = [entry for entry in known if not entry.marker]
    if any(entry.key.blob == key.blob for entry in plain):
        return True
    if plain:
        same = next((entry for entry in plain if entry.key.kind == key.kind), plain[0])
        raise TargetError(
            f"the host key of {where} has changed: known is {same.key}, it shows {key}",
            hint="somebody may stand between; if the host was made anew, remove the line and compare the new fingerprint",
            at=same.at,
        )
    for entry in known:
        if entry.marker == AUTHORITY:
            raise TargetError(
                f"{where} is known by a certificate authority only, and harness does not read host certificates",
                hint=f"it shows {key}; when that is right, add its plain key to known_hosts (`ssh-keyscan`)",
                at=entry.at,
            )
    return False


def unknown(key: HostKey, where: str) -> TargetError:
    """Return the error for a host that nobody has vouched for."""
    return TargetError(
        f"the host key of {where} is not known: {key}",
        hint="compare the fingerprint; --accept-new writes the key down, or `ssh-keyscan` into a known_hosts file",
    )


def add(path: Path, name: str, key: HostKey, *, hashed: bool = False, where: str = "") -> None:
    """Append the key of a host, in one write under a lock, so that several of us can do so at the same time.

    Raises TargetError when meanwhile another key was written down for the host, or the file cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TargetError(f"{path} cannot be written: {error.strerror}", hint="it is to hold the new host key") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if judge(entries([path], name), key, where or name):
            return
        size = os.fstat(descriptor).st_size
        separator = "\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else ""
        line = f"{separator}{digest(name) if hashed else name} {key.kind} {base64.b64encode(key.blob).decode()}\n"
        os.write(descriptor, line.encode())
    except OSError as error:
        raise TargetError(f"{path} cannot be written: {error.strerror}", hint="it is to hold the new host key") from error
    finally:
        os.close(descriptor)


def digest(name: str) -> str:
    """Return a name as `HashKnownHosts` writes it."""
    salt = secrets.token_bytes(20)
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(hmac.digest(salt, name.encode(), 'sha1')).decode()}"
