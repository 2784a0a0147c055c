"""Whether secrets come from a person once, or from a descriptor, and from nowhere else."""

from __future__ import annotations

import getpass
import io
import os
import sys
import threading
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.targets import asking
from harness.targets.asking import from_descriptor, passphrases, sudo_password


def descriptor(data: bytes) -> int:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return reading


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("typed\n"))


@pytest.mark.parametrize(
    ("data", "password"),
    [(b"pass word$1\nmore\n", "pass word$1"), (b"no line end", "no line end"), (b"windows\r\n", "windows"), ("비밀\n".encode(), "비밀")],
)
def test_the_first_line_of_a_descriptor_is_the_password(data: bytes, password: str) -> None:
    reading = descriptor(data)
    give = sudo_password(reading)
    os.close(reading)
    assert give("a@b") == give("c@d") == password


@pytest.mark.parametrize("data", [b"", b"\n", b"\xff\xfe\n", b"x" * 5000])
def test_a_descriptor_without_a_password_is_a_mistake(data: bytes) -> None:
    reading = descriptor(data)
    with pytest.raises(UsageError, match="password") as caught:
        from_descriptor(reading)
    os.close(reading)
    assert "xxx" not in str(caught.value)


def test_a_descriptor_that_is_not_open_is_a_mistake() -> None:
    reading = descriptor(b"x")
    os.close(reading)
    with pytest.raises(UsageError, match=f"no password can be read from descriptor {reading}"):
        from_descriptor(reading)


@pytest.mark.usefixtures("nobody")
def test_where_nobody_sits_nobody_is_asked() -> None:
    with pytest.raises(UsageError, match="nobody can be asked"):
        sudo_password()
    assert passphrases() is None


def test_a_person_is_asked_once_whatever_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    questions: list[str] = []

    def answer(question: str) -> str:
        questions.append(question)
        return f"answer {len(questions)}"

    monkeypatch.setattr(asking, "person", lambda: True)
    monkeypatch.setattr(getpass, "getpass", answer)
    give, unlock = sudo_password(), passphrases()
    assert unlock is not None
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(give("who"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["answer 1"] * 8
    assert [unlock(Path("/a")), unlock(Path("/b")), unlock(Path("/a"))] == ["answer 2", "answer 3", "answer 2"]
    assert questions == ["sudo's password on the hosts: ", "passphrase of /a: ", "passphrase of /b: "]
