"""Secrets of a log-in, asked for once: a person types them, or another program hands them over by a file descriptor."""

from __future__ import annotations

import getpass
import os
import sys
import threading
from typing import TYPE_CHECKING

from harness.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONGEST = 4096
"""Bytes of a password; more is no password but the wrong file."""


class Once:
    """Asks each question once, whichever thread comes first, and keeps the answer in memory for the others."""

    def __init__(self, ask: Callable[[str], str]) -> None:
        """Take what asks."""
        self._ask = ask
        self._lock = threading.Lock()
        self._answers: dict[str, str] = {}

    def __call__(self, question: str) -> str:
        """Return the answer."""
        with self._lock:
            if question not in self._answers:
                self._answers[question] = self._ask(question)
            return self._answers[question]


def person() -> bool:
    """Tell whether somebody sits there who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def sudo_password(descriptor: int | None = None) -> Callable[[str], str]:
    """Return what gives sudo's password, the same for all hosts: read from a descriptor now, or asked for when it is first needed.

    Raises UsageError when there is neither a descriptor nor a person, or nothing comes from the descriptor.
    """
    if descriptor is not None:
        given = from_descriptor(descriptor)
        return lambda _: given
    if not person():
        raise UsageError(
            "nobody can be asked for sudo's password here", hint="hand it over by a file descriptor: --sudo-password-fd 3 3<FILE"
        )
    once = Once(getpass.getpass)
    return lambda _: once("sudo's password on the hosts: ")


def passphrases() -> Callable[[Path], str] | None:
    """Return what asks for the passphrase of a key file; None where nobody can be asked."""
    if not person():
        return None
    once = Once(getpass.getpass)
    return lambda path: once(f"passphrase of {path}: ")


def from_descriptor(descriptor: int) -> str:
    """Read the first line that a descriptor gives. Raises UsageError when it is not open, or gives nothing."""
    try:
        data = bytearray()
        while b"\n" not in data and len(data) <= LONGEST and (more := os.read(descriptor, LONGEST)):
            data += more
        line = bytes(data).partition(b"\n")[0].decode().removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"no password can be read from descriptor {descriptor}: {error}", hint="open it in the shell: 3<FILE") from error
    if not line or len(line) > LONGEST:
        raise UsageError(f"descriptor {descriptor} gives no password", hint="its first line is taken")
    return line
