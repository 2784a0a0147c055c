"""The keys that a log-in tries, in the order that wastes the fewest of a host's few attempts, and the log-in itself."""

from __future__ import annotations

import base64
import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import paramiko

    from harness.targets.sshconfig import HostConfig

AGENT_SECONDS = 60.0
"""An agent may ask its user to confirm, or to touch a token."""

LOADING = threading.Lock()
LOADED: dict[tuple[object, ...], paramiko.PKey] = {}
"""Keys by file and time: deriving the key of an encrypted file costs a tenth of a second, which a fleet pays once."""


class Identity(NamedTuple):
    """A key that can be tried."""

    key: paramiko.PKey
    label: str
    """For people: where it comes from."""


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
        held = {key.asbytes(): key for key in agent.keys}
        for path in files:
            public = public_half(path)
            if public in held:
                yield Identity(held.pop(public), f"{path} from the agent")
            elif (identity := self._loaded(path, missing_is_a_fault=True)) is not None:
                yield identity
        if not config.identities_only and not self._extra:
            for key in held.values():
                yield Identity(key, f"{key.comment or key.get_name()} from the agent")
        if not config.named and not self._extra:
            for path in config.identities:
                if public_half(path) not in {key.asbytes() for key in agent.keys}:
                    identity = self._loaded(path, missing_is_a_fault=False)
                    if identity is not None:
                        yield identity

    def _loaded(self, path: Path, *, missing_is_a_fault: bool) -> Identity | None:
        """Load a private key; what cannot be used is noted down."""
        import paramiko
        from cryptography.exceptions import UnsupportedAlgorithm

        if not path.exists():
            if missing_is_a_fault:
                self.passed.append(f"{path}: no such file")
            return None
        try:
            key = self._opened(path)
        except (OSError, ValueError, TypeError, paramiko.SSHException, paramiko.pkey.UnknownKeyType, UnsupportedAlgorithm) as error:
            self.passed.append(f"{path}: {reason(error)}")
            return None
        return Identity(key, str(path))

    def _opened(self, path: Path) -> paramiko.PKey:
        """Read a key file, once for all hosts, with its passphrase when it needs one and somebody can be asked."""
        with LOADING:
            mark = (path, path.stat().st_mtime_ns, *self._config.certificates)
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
        for certificate in self._config.certificates:
            if vouches(certificate, key):
                key.load_certificate(str(certificate))
        return key


def vouches(certificate: Path, key: paramiko.PKey) -> bool:
    """Tell whether a certificate is this key's: it holds the numbers of the public key as they stand in the key itself."""
    try:
        blob = base64.b64decode(certificate.read_text("utf-8").split()[1])
    except (OSError, ValueError, IndexError):
        return False
    return key.asbytes()[4 + len(key.get_name()) :] in blob


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

    tried: list[str] = []
    allowed: list[str] = []
    for identity in identities:
        tried.append(identity.label)
        try:
            further = transport.auth_publickey(user, identity.key)
        except paramiko.BadAuthenticationType as error:
            allowed = error.allowed_types
            break
        except (paramiko.SSHException, OSError, EOFError):
            if not transport.is_active():
                raise refused(user, where, tried, [], identities.passed, ended=True) from None
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
    raise refused(user, where, tried, allowed, identities.passed, ended=not transport.is_active())


def refused(user: str, where: str, tried: Sequence[str], allowed: Sequence[str], passed: Sequence[str], *, ended: bool) -> TargetError:  # noqa: PLR0913 - the parts of one sentence
    """Return the error of a log-in that failed."""
    parts = [f"tried {', '.join(tried)}" if tried else "there is no key to try", *passed]
    if allowed:
        parts.append(f"the host offers {', '.join(allowed)}")
    hint = "name the key by --identity FILE or IdentityFile in ssh_config, and check the user's name and authorized_keys"
    if ended:
        parts.append("then the host hung up")
        if len(tried) > 1:
            hint = "hosts allow few attempts: name the one right key by --identity FILE, or IdentityFile with IdentitiesOnly yes"
    return TargetError(f"{where} does not let {user} in: {'; '.join(parts)}", hint=hint)
