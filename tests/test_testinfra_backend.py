"""Whether testinfra gets each answer once, as it is, and every command is kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from harness import testinfra_backend
from harness.targets.base import CommandTimeout
from harness.targets.local import LocalTarget
from harness.testinfra_backend import Beside, host_for, shares

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from harness.suite import Host


@pytest.fixture
def host() -> Generator[Host]:
    with LocalTarget() as target:
        yield host_for(target)


def test_the_same_question_is_asked_once_in_a_pass(host: Host) -> None:
    first = host.run("date +%%N; echo %s", "x").stdout
    assert host.run("date +%%N; echo %s", "x").stdout == first
    assert len(host.backend.records()) == 1
    assert len(host.backend.asked) == 2
    host.backend.forget()
    assert host.run("date +%%N; echo %s", "x").stdout != first
    assert [record.moment for record in host.backend.records()] == [0, 1]


def test_arguments_are_quoted_as_testinfra_does(host: Host) -> None:
    odd = "a 'b' \"c\" $HOME `x` ; | & % \\ 한"
    assert host.run("printf %%s %s", odd).stdout == odd
    assert host.run("echo 100%").stdout == "100%\n"


def test_records_hold_what_was_run(host: Host) -> None:
    host.run("echo out; echo err >&2; exit 3")
    host.run("printf '\\377\\376'")
    first, second = (record.as_json() for record in host.backend.records())
    assert {key: first[key] for key in ("command", "exit_code", "stdout", "stderr")} == {
        "command": "echo out; echo err >&2; exit 3",
        "exit_code": 3,
        "stdout": "out\n",
        "stderr": "err\n",
    }
    assert second["stdout"] == {"base64": "//4="}


def test_text_that_is_not_utf_8_stays_visible(host: Host) -> None:
    assert host.run("printf 'a\\377b'").stdout == "a\N{REPLACEMENT CHARACTER}b"
    assert host.run("printf 'a\\377b'").stdout_bytes == b"a\xffb"


def test_a_command_without_end_is_an_error_each_time_and_waited_for_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testinfra_backend, "SECONDS", 0.5)
    for _ in range(2):
        with pytest.raises(CommandTimeout):
            host.run("echo begun; sleep 60")
    (record,) = host.backend.records()
    assert (record.stdout, record.timed_out) == (b"begun\n", True)


def test_modules_of_testinfra_work(host: Host) -> None:
    assert host.file("/etc/passwd").is_file
    assert host.file("/etc/passwd").user == "root"
    assert host.user("root").uid == 0
    assert host.system_info.type == "linux"
    assert not host.file("/no/such/file").exists


def test_questions_asked_ahead_have_their_answers_when_a_check_comes(host: Host) -> None:
    host.backend.prepare(["date +%N", "echo ahead", "echo ahead"])
    assert host.backend.round_trips == 1
    assert [host.run("echo ahead").stdout, host.run("date +%N").stdout] == ["ahead\n", host.backend.known["date +%N"].stdout.decode()]
    assert host.backend.round_trips == 1
    host.run("echo later")
    assert host.backend.round_trips == 2
    assert [record.command for record in host.backend.records()] == ["date +%N", "echo ahead", "echo later"]


def test_a_secret_that_a_single_question_brings_up_stays_on_the_target(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("root:$6$saltsaltsalt$abcdefghijklmnopqrstuvwxyz:1\n", "utf-8")
    assert host.run(f"cat {tmp_path}/file").stdout == "root:$6$[redacted password-hash]:1\n"


class TwoLanes(LocalTarget):
    """A target that says that it runs two commands at a time."""

    lanes = 2


def test_two_lanes_share_all_questions_and_each_is_asked_once() -> None:
    questions = ["echo one", "find /etc/passwd", "echo two", "getent passwd root"]
    assert shares(questions) == [["echo one", "echo two"], ["find /etc/passwd", "getent passwd root"]]
    assert shares(["echo one"]) == [["echo one"]]
    assert shares([]) == [[]]
    with TwoLanes() as target:
        backend = host_for(target).backend
        backend.prepare(questions)
        assert backend.round_trips == 2
        assert sorted(record.command for record in backend.records()) == sorted(questions)
        backend.prepare(questions)
        assert backend.round_trips == 2


def test_threads_that_ask_the_same_get_one_answer() -> None:
    with TwoLanes() as target:
        backend = host_for(target).backend
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: Beside(backend).run("date +%N; sleep 0.1").stdout, range(4)))
        assert len(set(answers)) == 1
        assert len(backend.records()) == 1
