"""Captures: what was asked on a host and what it answered, kept in one file that can be judged again, offline, with other rules."""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from harness import redaction
from harness.errors import Location, UsageError
from harness.model import Environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SCHEMA = "isms-golden-ami/capture/2"
SUFFIX = ".json.zst"
LARGEST = 512 * 1024 * 1024
"""Bytes that a capture may have when it is unpacked; more than that is no capture of ours."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One question, and what the host answered."""

    command: str
    exit_code: int
    stdout: bytes
    stderr: bytes = b""
    seconds: float = 0.0
    timed_out: bool = False
    """It was still running after its time and was killed; what it had printed is kept, its exit code says nothing."""
    moment: int = 0
    """Which judging pass asked, counted from 0: what was true before a restart is asked again after it."""

    def as_json(self) -> dict[str, object]:
        """Return it as it stands in a file; output that is not UTF-8 as base64."""
        told: dict[str, object] = {
            "command": self.command,
            "exit_code": self.exit_code,
            "stdout": as_text(self.stdout),
            "stderr": as_text(self.stderr),
            "seconds": round(self.seconds, 4),
            "moment": self.moment,
        }
        return {**told, "timed_out": True} if self.timed_out else told

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Answer:
        """Read it back. Raises KeyError, TypeError or ValueError for what is none."""
        return cls(
            command=str(data["command"]),
            exit_code=int(data["exit_code"]),
            stdout=as_bytes(data["stdout"]),
            stderr=as_bytes(data["stderr"]),
            seconds=float(data["seconds"]),
            timed_out=data.get("timed_out") is True,
            moment=int(data["moment"]),
        )


def as_text(data: bytes) -> str | dict[str, str]:
    """Return text as text and anything else as `{"base64": …}`."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def as_bytes(value: str | Mapping[str, str]) -> bytes:
    """Undo `as_text`."""
    return value.encode("utf-8") if isinstance(value, str) else base64.b64decode(value["base64"], validate=True)


@dataclass(frozen=True, slots=True)
class Capture:
    """Everything that one host was asked in one audit or verification, without secrets."""

    target: Mapping[str, str]
    """`uri`, `name`, `environment`, and the facts of the target: engine, host key, user, sudo …"""
    system: Mapping[str, str]
    """The fields of the host's os-release; empty where there is none."""
    user: str
    """Name and number of the user that the questions were asked as: `root 0`."""
    started: datetime
    finished: datetime
    harness_version: str
    answers: tuple[Answer, ...]
    redacted: Mapping[str, int] = field(default_factory=dict)
    """Kind of secret to how many were blotted out, on the host, before anything was sent."""
    round_trips: int = 0

    @property
    def environment(self) -> Environment:
        """What kind of target it was."""
        return Environment(self.target["environment"])

    def write(self, path: Path) -> None:
        """Write it to a file for the owner's eyes only. Raises UsageError when that cannot be done."""
        import os

        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(packed(self))
        except OSError as error:
            raise UsageError(f"the capture cannot be written: {error.strerror}", at=Location(path)) from None


def packed(capture: Capture) -> bytes:
    """Return the bytes of a capture file."""
    import zstandard

    data = {
        "schema": SCHEMA,
        "harness": capture.harness_version,
        "target": dict(capture.target),
        "system": dict(capture.system),
        "user": capture.user,
        "started": capture.started.isoformat(),
        "finished": capture.finished.isoformat(),
        "round_trips": capture.round_trips,
        "redacted": dict(capture.redacted),
        "answers": [answer.as_json() for answer in capture.answers],
    }
    text = redaction.redacted(json.dumps(data, ensure_ascii=False))
    return zstandard.compress(text.encode("utf-8", "backslashreplace"), 3)


def read(path: Path) -> Capture:
    """Read a capture file. Raises UsageError when it is none, or of a schema that this version does not know."""
    try:
        return unpacked(path.read_bytes())
    except OSError as error:
        raise UsageError(f"the capture cannot be read: {error.strerror}", at=Location(path)) from None
    except ValueError as error:
        raise UsageError(str(error), hint="`harness capture` writes such files", at=Location(path)) from None


def unpacked(data: bytes) -> Capture:
    """Read the bytes of a capture file. Raises ValueError that says in one line what is wrong."""
    import zstandard

    try:
        text = zstandard.decompress(data, LARGEST)
        content: Any = json.loads(text)
    except (zstandard.ZstdError, ValueError, RecursionError):
        raise ValueError("not a capture") from None
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"the schema is {schema!r}, not {SCHEMA!r}")
    try:
        return Capture(
            target={str(key): str(value) for key, value in content["target"].items()},
            system={str(key): str(value) for key, value in content["system"].items()},
            user=str(content["user"]),
            started=datetime.fromisoformat(content["started"]),
            finished=datetime.fromisoformat(content["finished"]),
            harness_version=str(content["harness"]),
            answers=tuple(Answer.from_json(answer) for answer in content["answers"]),
            redacted={str(kind): int(number) for kind, number in content["redacted"].items()},
            round_trips=int(content["round_trips"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"not a whole capture: {type(error).__name__} {error}") from None


def totals(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Unite what was redacted in several round trips."""
    united: Counter[str] = Counter()
    for each in counts:
        united.update(each)
    return dict(sorted(united.items()))
