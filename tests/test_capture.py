"""Whether a capture comes back from its file as it was, and what is none is told in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from harness import capture as captures
from harness.capture import Answer
from harness.errors import TargetError, UsageError
from harness.targets import open_target
from harness.targets.base import CommandTimeout
from harness.targets.capture import CaptureTarget
from tests.proof import CAPTURE

if TYPE_CHECKING:
    from pathlib import Path

HASH = "$6$saltsaltsalt$kJ9vYwQbqz1hVn0Zr5x0c7W2m3T4u5V6w7X8y9Z0"


@given(st.binary(max_size=200), st.binary(max_size=50), st.text(max_size=50).filter(lambda text: "$" not in text), st.booleans())
def test_answers_come_back_byte_for_byte(stdout: bytes, stderr: bytes, command: str, late: bool) -> None:  # noqa: FBT001 - drawn
    command = command.encode("utf-8", "ignore").decode()
    answers = (Answer(command, 3, stdout.replace(b"$", b""), stderr.replace(b"$", b""), 0.25, timed_out=late, moment=1),)
    capture = replace(CAPTURE, answers=answers, redacted={"token": 2})
    assert captures.unpacked(captures.packed(capture)) == capture


def test_a_file_is_for_its_owner_and_a_hash_never_reaches_it(tmp_path: Path) -> None:
    file = tmp_path / "host.json.zst"
    replace(CAPTURE, answers=(Answer("cat", 0, f"root:{HASH}:1".encode()),)).write(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert captures.read(file).answers[0].stdout == b"root:$6$[redacted password-hash]:1"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{}", "not a capture"),
        (zstandard.compress(b"[1]"), "the schema is None"),
        (zstandard.compress(b'{"schema": "isms-golden-ami/capture/99"}'), "the schema is 'isms-golden-ami/capture/99'"),
        (zstandard.compress(json.dumps({"schema": captures.SCHEMA}).encode()), "not a whole capture"),
        (captures.packed(CAPTURE)[:-9], "not a capture"),
    ],
)
def test_what_is_no_capture_is_told(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(UsageError, match=message):
        captures.read(tmp_path / "file")
    with pytest.raises(UsageError, match="cannot be read"):
        captures.read(tmp_path / "none")


def test_a_capture_as_a_target_answers_what_was_asked_and_nothing_else(tmp_path: Path) -> None:
    late = Answer("sleep 9", -1, b"begun", timed_out=True)
    host = Answer("if [ -e /etc/hostname ]; then cat -- /etc/hostname; else exit 66; fi", 0, b"web\n")
    replace(CAPTURE, answers=(*CAPTURE.answers, late, host)).write(tmp_path / "c.json.zst")
    with open_target(f"capture://{tmp_path}/c.json.zst") as target:
        assert isinstance(target, CaptureTarget)
        assert target.name == "harness-1"
        assert target.run("sshd -T").out == "permitrootlogin no\n"
        assert target.get("/etc/hostname") == b"web\n"
        with pytest.raises(CommandTimeout):
            target.run("sleep 9")
        for refused in (lambda: target.run("id"), lambda: target.put(b"", "/x"), target.restart):
            with pytest.raises(TargetError):
                refused()
