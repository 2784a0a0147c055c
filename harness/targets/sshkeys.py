"""The keys that a log-in tries, in the order that wastes the fewest of a host's few attempts, and the log-in itself."""

from __future__ import annotations

import base64
import copy
import os
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import paramiko

    from harness.targets.sshconfig import HostConfig

AGENT_SECONDS = 60.0
"""An agent may ask its user to confirm, or to touch a token."""

CERTIFIED = "-cert-v01@openssh.com"
"""How the kind of a certificate ends."""

LOADING = threading.Lock()
LOADED: dict[tuple[object, ...], paramiko.PKey] = {}
"""Keys by file and time: deriving the key of an encrypted file costs a tenth of a second, which a fleet pays once."""


class Identity(NamedTuple):
    """A key that can be tried."""

    key: paramiko.PKey
    label: str
    """For people: where it comes from."""
    certificate: Path | None = None
    """The certificate that it is shown with."""


class Agent:
    """The keys that an agent holds; closed at the end of the log-in."""

    def __init__(self, path: str | None) -> None:
        """Ask the agent at a socket (None: SSH_AUTH_SOCK); one that does not answer holds no keys."""
        import paramiko
        from paramiko.agent import AgentSSH

        self.keys: tuple[paramiko.AgentKey, ...] = ()
        self._link: socket.socket | None = None
        place = os.environ.get("SSH_AUTH_SOCK", "") if path is None else path
        if not place:
            return
        self._link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._link.settimeout(AGENT_SECONDS)
        speaker = AgentSSH()
        with suppress(OSError, paramiko.SSHException):
            self._link.connect(place)
            speaker._connect(self._link)  # type: ignore[attr-defined]  # noqa: SLF001 - the only way to another socket than SSH_AUTH_SOCK
            self.keys = speaker.get_keys()
        for key in self.keys:
            if key.name.endswith(CERTIFIED):
                # Without this, paramiko shows the plain key under the name of the certificate where it understands its kind (RSA).
                key.public_blob = paramiko.pkey.PublicBlob(key.name, key.blob)  # type: ignore[assignment]  # types-paramiko knows None only

    def close(self) -> None:
        """Let the agent go."""
        if self._link is not None:
            self._link.close()


class Identities:
    """The keys of one log-in, loaded one at a time, since most log-ins need one."""

    def __init__(self, config: HostConfig, extra: Sequence[Path], passphrase: Callable[[Path], str] | None) -> None:
        """Take what ssh_config and the caller name; `extra` comes first."""
        self._config, self._extra, self._passphrase = config, tuple(extra), passphrase
        self.passed: list[str] = []
        """Keys that could not be used, with the reason."""

    def __iter__(self) -> Iterator[Identity]:
        """Give named keys first, from the agent where it holds them, then what else the agent holds, then the default files."""
        agent = Agent(self._config.agent)
        try:
            yield from self._ordered(agent)
        finally:
            agent.close()

    def _ordered(self, agent: Agent) -> Iterator[Identity]:
        config = self._config
        files = tuple(dict.fromkeys(self._extra + (config.identities if config.named else ())))
        held = {key.blob: key for key in agent.keys}
        for path in files:
            public = public_half(path)
            if public in held:
                plain = held.pop(public)
                inside = [key for key in held.values() if key.name.endswith(CERTIFIED) and certifies(key.blob, plain)]
                for key in inside:
                    yield Identity(held.pop(key.blob), f"{path} from the agent with its certificate")
                yield from self._with_certificates(plain, path, f"{path} from the agent")
            else:
                yield from self._loaded(path, missing_is_a_fault=True)
        if not config.identities_only and not self._extra:
            for key in held.values():
                how = " with its certificate" if key.name.endswith(CERTIFIED) else ""
                yield Identity(key, f"{key.comment or key.get_name()} from the agent{how}")
        if not config.named and not self._extra:
            for path in config.identities:
                if public_half(path) not in {key.blob for key in agent.keys}:
                    yield from self._loaded(path, missing_is_a_fault=False)

    def _with_certificates(self, key: paramiko.PKey, path: Path, label: str) -> Iterator[Identity]:
        """Give a key with each certificate that is its own, then by itself: a host may know the key and not the authority."""
        beside = path.with_name(f"{path.name.removesuffix('.pub')}-cert.pub")
        for certificate in dict.fromkeys((*self._config.certificates, beside)):
            if vouches(certificate, key):
                yield Identity(showing(key, certificate), f"{label} with {certificate.name}", certificate)
        yield Identity(key, label)

    def _loaded(self, path: Path, *, missing_is_a_fault: bool) -> Iterator[Identity]:
        """Load a private key; what cannot be used is noted down."""
        import paramiko
        from cryptography.exceptions import UnsupportedAlgorithm

        if not path.exists():
            if missing_is_a_fault:
                self.passed.append(f"{path}: no such file")
            return
        try:
            key = self._opened(path)
        except (OSError, ValueError, TypeError, paramiko.SSHException, paramiko.pkey.UnknownKeyType, UnsupportedAlgorithm) as error:
            self.passed.append(f"{path}: {reason(error)}")
            return
        yield from self._with_certificates(key, path, str(path))

    def _opened(self, path: Path) -> paramiko.PKey:
        """Read a key file, once for all hosts, with its passphrase when it needs one and somebody can be asked."""
        with LOADING:
            mark = (path, path.stat().st_mtime_ns)
            if mark not in LOADED:
                LOADED[mark] = self._read(path)
            return LOADED[mark]

    def _read(self, path: Path) -> paramiko.PKey:
        import paramiko

        try:
            key = paramiko.PKey.from_path(path)
        except (TypeError, paramiko.PasswordRequiredException) as error:
            if self._passphrase is None:
                raise ValueError("it is encrypted, and nobody can be asked here; put it into the agent (`ssh-add`)") from error
            key = paramiko.PKey.from_path(path, self._passphrase(path).encode())  # type: ignore[arg-type]  # cryptography wants bytes
        key.public_blob = None  # a certificate beside it is tried first, and not instead
        return key


def vouches(certificate: Path, key: paramiko.PKey) -> bool:
    """Tell whether a certificate is this key's."""
    try:
        blob = base64.b64decode(certificate.read_text("utf-8").split()[1])
    except (OSError, ValueError, IndexError):
        return False
    return certifies(blob, key)


def certifies(blob: bytes, key: paramiko.PKey) -> bool:
    """Tell whether a certificate holds the numbers of the public key as they stand in the key itself."""
    return key.asbytes()[4 + len(key.get_name()) :] in blob


def showing(key: paramiko.PKey, certificate: Path) -> paramiko.PKey:
    """Return a key that shows a certificate; the key itself, which other log-ins use as well, stays as it is."""
    import paramiko

    other = paramiko.AgentKey(key.agent, key.blob, key.comment) if isinstance(key, paramiko.AgentKey) else copy.copy(key)
    other.load_certificate(str(certificate))
    return other


def limits(certificate: Path, user: str) -> str:
    """Say why a host may refuse a certificate: its time, or for whom it is. Empty where it says nothing against it."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

    try:
        found = load_ssh_public_identity(certificate.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm):
        return ""
    if not isinstance(found, SSHCertificate):
        return ""
    now = time.time()
    if found.valid_before <= now:
        return f" (it ended on {moment(found.valid_before)})"
    if found.valid_after > now:
        return f" (it begins on {moment(found.valid_after)})"
    names = [name.decode("utf-8", "replace") for name in found.valid_principals]
    return f" (it is for {', '.join(names)})" if names and user not in names else ""


def moment(seconds: int) -> str:
    """Say when, in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def reason(error: Exception) -> str:
    """Say in a few words why a key cannot be used."""
    if isinstance(error, PermissionError):
        return "permission denied"
    return " ".join(str(error).split())[:120] or type(error).__name__


def public_half(path: Path) -> bytes | None:
    """Return the public key that lies beside a private one, or that the file itself is, the other half being in an agent."""
    for candidate in (path.with_name(f"{path.name}.pub"), path):
        try:
            kind, text, *_ = candidate.read_text("utf-8", "replace").split(maxsplit=2)
            if kind.startswith(("ssh-", "ecdsa-", "sk-")):
                return base64.b64decode(text)
        except (OSError, ValueError):
            continue
    return None


def log_in(transport: paramiko.Transport, user: str, identities: Identities, where: str) -> str:
    """Authenticate and return which key was let in. Raises TargetError that says what was tried."""
    import paramiko

    tried: list[Identity] = []
    allowed: list[str] = []
    for identity in identities:
        tried.append(identity)
        try:
            further = transport.auth_publickey(user, identity.key)
        except paramiko.BadAuthenticationType as error:
            allowed = error.allowed_types
            break
        except (paramiko.SSHException, OSError, EOFError) as error:
            if not transport.is_active():
                raise refused(user, where, tried, [], identities.passed, ended=last_words(transport)) from None
            if "timeout" in str(error).lower():
                hint = "what its sshd asks may be slow: a directory of users, a name server"
                raise TargetError(f"{where} does not answer within {transport.auth_timeout:g} s while {user} logs in", hint=hint) from None
            continue
        if further:
            raise TargetError(
                f"{where} wants {', '.join(further)} besides the key of {user}",
                hint="harness logs in by key only; allow that for this user, or use ssm://",
            )
        return identity.label
    if not allowed:
        try:
            transport.auth_none(user)
        except paramiko.BadAuthenticationType as error:
            allowed = error.allowed_types
        except (paramiko.SSHException, OSError, EOFError):
            allowed = []
        else:
            return "nothing: the host asks for no proof"
    ended = None if transport.is_active() else last_words(transport)
    raise refused(user, where, tried, allowed, identities.passed, ended=ended)


def last_words(transport: paramiko.Transport) -> str:
    """Return the last line that a host showed before it hung up: PAM's reason comes in the way of a banner."""
    shown = (transport.get_banner() or b"").decode("utf-8", "replace")
    return next((" ".join(line.split())[:200] for line in reversed(shown.splitlines()) if line.strip()), "")


def refused(  # noqa: PLR0913 - the parts of one sentence
    user: str, where: str, tried: Sequence[Identity], allowed: Sequence[str], passed: Sequence[str], *, ended: str | None
) -> TargetError:
    """Return the error of a log-in that failed; `ended` is what the host said before it hung up, None where it did not."""
    labels = [f"{each.label}{limits(each.certificate, user) if each.certificate else ''}" for each in tried]
    parts = [f"tried {', '.join(labels)}" if tried else "there is no key to try", *passed]
    if allowed:
        parts.append(f"the host offers {', '.join(allowed)}")
    hint = "name the key by --identity FILE or IdentityFile in ssh_config, and check the user's name and authorized_keys"
    if ended is not None:
        parts.append(f"then the host hung up{f', saying: {ended}' if ended else ''}")
        hint = "did the host take the key and refuse the account (expired, locked, pam_access)? Its log says so"
        if len(tried) > 1:
            hint = "hosts allow few attempts: name the one right key by --identity FILE, or IdentityFile with IdentitiesOnly yes"
    return TargetError(f"{where} does not let {user} in: {'; '.join(parts)}", hint=hint)
