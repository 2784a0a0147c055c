"""Whether one bash serves every command as a fresh one would, whatever the commands do to it."""

from __future__ import annotations

import os
import re
import secrets
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import TargetError
from harness.targets.base import CommandTimeout
from harness.targets.shell import PersistentShell
from harness.targets.stream import Process

if TYPE_CHECKING:
    from collections.abc import Generator

BASH = ["/usr/bin/env", "-i", "/bin/bash", "--noprofile", "--norc"]


@pytest.fixture
def shell() -> Generator[PersistentShell]:
    with_bash = PersistentShell(BASH, name="test")
    yield with_bash
    with_bash.close()


def alive(mark: str) -> list[str]:
    """List the processes that carry a mark in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:  # it ended meanwhile
            continue
    return found


def gone(mark: str) -> bool:
    """Wait until no process carries a mark; a loaded machine takes its time to end what was killed."""
    deadline = time.monotonic() + 60
    while alive(mark):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def mark() -> str:
    """Return a number of seconds that no other process sleeps."""
    return f"{secrets.randbelow(10**9) + 10**9}"


@pytest.mark.parametrize(
    ("command", "code", "out", "err"),
    [
        ("echo out; echo err >&2; exit 3", 3, b"out\n", b"err\n"),
        ("exec echo replaced", 0, b"replaced\n", b""),
        ("set -e; false; echo never", 1, b"", b""),
        ("set -u; echo $nothing; echo never", 1, b"", b"/bin/bash: line 1: nothing: unbound variable\n"),
        ("exec >&- 2>&-; echo lost; true", 0, b"", b""),
        ("exec 3>&- 0<&-; echo here", 0, b"here\n", b""),
        ("trap 'echo bye' EXIT; false", 1, b"bye\n", b""),
        ("kill -KILL $BASHPID", 137, b"", b""),
        ("kill -TERM $BASHPID", 143, b"", b""),
        ("cat", 0, b"", b""),
        ("", 0, b"", b""),
        ("# nothing but a comment", 0, b"", b""),
        ("cat <<'END'\nfirst\n'\"\\ $x `y`\nEND", 0, b"first\n'\"\\ $x `y`\n", b""),
        ("echo one\nno-such-thing\n", 127, b"one\n", b"/bin/bash: line 2: no-such-thing: command not found\n"),
        ("printf '\\000\\001\\177\\377'", 0, b"\x00\x01\x7f\xff", b""),
        ("printf '%s' '\x01\x7f\x10\x11한'", 0, "\x01\x7f\x10\x11한".encode(), b""),
        ("f() { return 5; }; f", 5, b"", b""),
        ("shopt -s expand_aliases; alias x='echo y'\neval x", 0, b"y\n", b""),
        ("break 2>/dev/null; continue 2>/dev/null; return 2>/dev/null; echo still", 0, b"still\n", b""),
    ],
)
def test_a_command_ends_as_in_a_bash_of_its_own(shell: PersistentShell, command: str, code: int, out: bytes, err: bytes) -> None:
    for _ in range(2):
        done = shell.run(command, timeout=20)
        assert (done.returncode, done.stdout, done.stderr) == (code, out, err)
    assert shell.run("echo on", timeout=20).stdout == b"on\n"


@pytest.mark.parametrize("broken", ["'", "echo $((", "if true; then", ")", "fi; echo x", 'echo "', "<<X"])
def test_a_syntax_error_stays_within_its_command(shell: PersistentShell, broken: str) -> None:
    done = shell.run(broken, timeout=20)
    assert done.returncode in {0, 1, 2}
    assert shell.run("echo on", timeout=20).stdout == b"on\n"


def test_the_surroundings_are_fixed(shell: PersistentShell) -> None:
    shell.run("cd /tmp; HOME=/nowhere; PATH=/nowhere; umask 077; x=1; set -x; exec 5</etc/passwd; f() { :; }; export x", timeout=20)
    done = shell.run('pwd; echo "$HOME $PATH $LC_ALL ${x-unset}"; umask; ls /proc/self/fd | wc -l; declare -F; jobs', timeout=20)
    assert done.out.splitlines() == [
        "/",
        "/root /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin C unset",
        "0022",
        "4",
    ]
    assert done.err == ""


def test_nothing_of_the_shell_is_visible_to_a_command(shell: PersistentShell) -> None:
    names = set(re.findall(r"^(\w+)=", shell.run("set", stdin=b"x", timeout=20).out, re.MULTILINE))
    assert not {name for name in names if name.startswith("__")}
    assert {"HOME", "PATH", "LC_ALL"} <= names


def test_input_is_given_byte_for_byte(shell: PersistentShell) -> None:
    data = bytes(range(256)) * 12_000
    assert shell.run("cat", stdin=data, timeout=60).stdout == data
    assert shell.run("cat", stdin=b"", timeout=20).stdout == b""
    assert shell.run("head -c 3; exit 4", stdin=data, timeout=60).stdout == data[:3], "a reader that stops early disturbs nobody"
    assert shell.run("cat", timeout=20).stdout == b""


def test_long_commands_arrive_whole(shell: PersistentShell) -> None:
    text = "x'\"\\$ \n한" * 200_000
    done = shell.run(f"cat <<'END'\n{text}\nEND\ncat", stdin=b"and input", timeout=60)
    assert done.stdout == text.encode() + b"\nand input"
    with pytest.raises(ValueError, match="zero byte"):
        shell.run("echo \0")


def test_large_outputs_on_both_streams(shell: PersistentShell) -> None:
    done = shell.run("head -c 50000000 /dev/zero & head -c 50000000 /dev/zero >&2; wait", timeout=120)
    assert (done.returncode, len(done.stdout), len(done.stderr)) == (0, 50_000_000, 50_000_000)
    assert not done.stdout.strip(b"\0")


def test_text_that_looks_like_a_marker_is_only_text(shell: PersistentShell) -> None:
    fake = b"\0" + b"f" * 32 + b" =0\0"
    assert shell.run("cat; cat >&2 <<<x", stdin=fake, timeout=20).stdout == fake


def test_lines_are_told_while_the_command_runs(shell: PersistentShell) -> None:
    told: list[tuple[str, str]] = []
    with pytest.raises(CommandTimeout) as caught:
        shell.run("echo one; echo two >&2; printf partial; sleep 100", timeout=1.0, on_line=lambda *line: told.append(line))
    assert set(told) == {("stdout", "one"), ("stderr", "two"), ("stdout", "partial")}
    assert (caught.value.stdout, caught.value.stderr) == (b"one\npartial", b"two\n")


def test_a_listener_that_fails_stops_the_command(shell: PersistentShell, mark: str) -> None:
    def refuse(_stream: str, _line: str) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        shell.run(f"echo x; sleep {mark}", timeout=60, on_line=refuse)
    assert gone(mark)
    assert shell.run("echo on", timeout=20).stdout == b"on\n"


@pytest.mark.parametrize(
    "command",
    [
        "sleep {0}",
        "sleep {0} | cat",
        "(sleep {0} & sleep {0}) & wait",
        "setsid sleep {0} & setsid setsid sleep {0} & sleep {0}",
        "trap '' TERM INT HUP; bash -c \"trap '' TERM; while :; do sleep {0}; done\"",
        "(setsid bash -c '(sleep {0} &) ; exit' &) ; sleep 0.3; sleep {0}",
        "cat <(sleep {0})",
        "x=$(sleep {0}); echo $x",
    ],
)
def test_a_time_out_ends_everything_that_the_command_started(shell: PersistentShell, mark: str, command: str) -> None:
    first = shell.run("echo $$", timeout=20).out
    with pytest.raises(CommandTimeout):
        shell.run(command.format(mark), timeout=0.7)
    assert gone(mark)
    assert shell.run("echo $$", timeout=20).out == first, "the shell itself goes on"


def test_a_time_out_also_ends_what_floods_the_output(shell: PersistentShell, mark: str) -> None:
    with pytest.raises(CommandTimeout) as caught:
        shell.run(f"yes {mark} & yes {mark}", timeout=0.5)
    assert caught.value.stdout.startswith(mark.encode() + b"\n")
    assert gone(mark)
    assert shell.run("echo on", timeout=20).stdout == b"on\n"


def test_what_runs_on_in_the_background_never_mixes_with_later_output(shell: PersistentShell) -> None:
    done = shell.run("(for i in $(seq 40); do echo stray; echo stray >&2; sleep 0.02; done) & echo begun", timeout=20)
    assert done.stdout.startswith(b"begun\n") or done.stdout.startswith(b"stray\n")
    for _ in range(20):
        later = shell.run("sleep 0.03; echo mine", stdin=b"for the command", timeout=20)
        assert (later.stdout, later.stderr) == (b"mine\n", b"")


def test_a_daemon_in_a_session_of_its_own_is_left_alone(shell: PersistentShell, mark: str) -> None:
    shell.run(f"setsid sleep {mark} >/dev/null 2>&1 </dev/null &", timeout=20)
    assert shell.run("echo on", timeout=20).stdout == b"on\n"
    pids = alive(mark)
    assert len(pids) == 1
    os.kill(int(pids[0]), signal.SIGKILL)


def test_a_command_that_kills_the_shell_is_named(shell: PersistentShell) -> None:
    with pytest.raises(TargetError, match=r"test: the shell ended \(exit code -9\) while it ran: kill -9"):
        shell.run("kill -9 $$; sleep 0.5\nsecond line", timeout=20)
    assert shell.run("echo on", timeout=20).stdout == b"on\n"


@pytest.mark.parametrize(
    ("opening", "message"),
    [
        (["/no/such/program"], "/no/such/program cannot be started: No such file or directory"),
        (["/bin/sh", "-c", "echo 'time=x level=warning msg=noise' >&2; echo 'Error: no such container' >&2; exit 125"],
         "no shell on test: exit code 125: Error: no such container"),
        (["/bin/true"], "no shell on test: exit code 0"),
    ],
)  # fmt: skip
def test_a_shell_that_does_not_start_says_why(opening: list[str], message: str) -> None:
    with pytest.raises(TargetError) as caught:
        PersistentShell(opening, name="test").run("true")
    assert str(caught.value) == message


def test_threads_take_turns(shell: PersistentShell) -> None:
    answers: dict[int, bytes] = {}

    def ask(number: int) -> None:
        for _ in range(20):
            answers[number] = shell.run(f"echo {number}", timeout=60).stdout

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: f"{number}\n".encode() for number in range(8)}


def test_a_shell_that_cannot_fork_says_so() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become a user who may start nothing")
    confined = "ulimit -u 1; exec setpriv --reuid=65534 --clear-groups --bounding-set=-all --inh-caps=-all /bin/bash --noprofile --norc"
    limited = PersistentShell(["/bin/bash", "-c", confined], name="test")
    try:
        with pytest.raises(TargetError, match=r"the shell ended \(exit code 254\) while it ran: true") as caught:
            limited.run("true", timeout=60)
        assert "out of memory, or of process ids" in str(caught.value.hint)
    finally:
        limited.close()


def test_close_ends_what_is_left_and_stays_closed(mark: str) -> None:
    shell = PersistentShell(BASH, name="test")
    shell.run(f"sleep {mark} & true", timeout=20)
    shell.run("true", timeout=20)
    shell.close()
    shell.close()
    with pytest.raises(TargetError, match="test is closed"):
        shell.run("true")
    for pid in alive(mark):  # it was meant to outlive its command, and does
        os.kill(int(pid), signal.SIGKILL)


def test_interrupting_a_command_stops_it(mark: str) -> None:
    shell = PersistentShell(lambda: Process(BASH), name="test")
    threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        shell.run(f"sleep {mark}", timeout=60)
    assert gone(mark)
    shell.close()
