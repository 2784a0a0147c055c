"""Whether many commands in one round trip end, print and fail as each would alone, and whether no secret leaves the host."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from harness import grouping, redaction
from harness.batch import batch, framed, replacing
from harness.targets.base import Completed
from harness.targets.local import LocalTarget

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from harness.capture import Answer

HASH = "$6$rounds=656000$saltsaltsaltsalt$kJ9vYwQbqz1hVn0Zr5x0c7W2m3T4u5V6w7X8y9Z0a1B2c3D4e5F6"
BODY = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\nQyNTUxOQAAACBqY2FwdHVyZQ=="


@pytest.fixture(scope="module")
def target() -> Generator[LocalTarget]:
    with LocalTarget() as opened:
        yield opened


def asked(target: LocalTarget, *commands: str, limit: float = 60.0) -> Mapping[str, Answer]:
    questions = batch(commands, limit=limit)
    answers, _ = questions.answers(target.run(questions.text, timeout=questions.seconds))
    return answers


def test_each_command_has_its_own_end_and_streams(target: LocalTarget) -> None:
    commands = [
        "echo out; echo err >&2; exit 3",
        "printf 'a\\0b'",
        "kill -KILL $BASHPID",
        "cd /etc; pwd",
        "pwd",
        "exec 1>&-; exit 4",
        "x=1",
        "echo $x.",
    ]
    found = asked(target, *commands)
    assert [(found[text].exit_code, found[text].stdout, found[text].stderr) for text in commands] == [
        (3, b"out\n", b"err\n"),
        (0, b"a\0b", b""),
        (137, b"", b""),
        (0, b"/etc\n", b""),
        (0, b"/\n", b""),
        (4, b"", b""),
        (0, b"", b""),
        (0, b".\n", b""),
    ]


def test_standard_input_is_empty_and_a_reader_takes_nothing_from_the_next(target: LocalTarget) -> None:
    found = asked(target, "cat", "cat; echo done", 'read line; echo "[$line]"')
    assert [answer.stdout for answer in found.values()] == [b"", b"done\n", b"[]\n"]


def test_a_command_without_end_is_killed_with_what_it_started_and_the_rest_is_answered(target: LocalTarget) -> None:
    found = asked(target, "echo begun; sleep 1000 & sleep 1001", "echo next", "sleep 1002 & echo left", "ps -eo args=", limit=0.5)
    first = found["echo begun; sleep 1000 & sleep 1001"]
    assert (first.stdout, first.timed_out) == (b"begun\n", True)
    assert [answer.timed_out for answer in found.values()] == [True, False, False, False]
    assert found["sleep 1002 & echo left"].stdout == b"left\n"
    running = found["ps -eo args="].stdout.decode().splitlines()
    assert not {"sleep 1000", "sleep 1001", "sleep 1002"} & set(running)


def test_what_leaves_its_session_is_not_waited_for(target: LocalTarget) -> None:
    questions = batch(["setsid sleep 37.5 & echo left", "echo next"])
    answers, _ = questions.answers(target.run(questions.text, timeout=30))
    target.run("pkill -f '^sleep 37.5$'")
    assert [answer.stdout for answer in answers.values()] == [b"left\n", b"next\n"]


def test_nobody_can_print_the_marks_of_a_batch() -> None:
    """A command does not know its token; and what stands outside of the marks belongs to nobody."""
    stream = b"noise\0tok 0\0one\0other =7\0\0tok =3\0stray\0tok 1\0cut off"
    assert {number: (each.data, each.code) for number, each in framed(stream, "tok").items()} == {0: (b"one\0other =7\0", 3)}


def test_a_batch_that_did_not_run_answers_nothing() -> None:
    questions = batch(["true"])
    answers, redacted = questions.answers(Completed(questions.text, 127, b"", b"bash: not found\n", 0.1))
    assert not answers
    assert not redacted


@pytest.mark.parametrize(
    ("kind", "text", "secret", "kept"),
    [
        ("password-hash", f"root:{HASH}:19000:0", "saltsalt", "root:$6$rounds=656000$[redacted password-hash]:19000:0"),
        ("password-hash", "x $y$j9T$abcdefgh12345678$ABCDEFGHIJ. y", "abcdefgh", "x $y$[redacted password-hash] y"),
        (
            "password-hash",
            "GRUB2_PASSWORD grub.pbkdf2.sha512.10000.AAAABBBBCCCCDDDDEEEE.FFFF0000",
            "CCCCDDDD",
            "GRUB2_PASSWORD [redacted password-hash]",
        ),
        (
            "private-key",
            f"a\n-----BEGIN OPENSSH PRIVATE KEY-----\n{BODY}\n-----END OPENSSH PRIVATE KEY-----\nPATH=/usr/bin",
            "b3BlbnNzaC",
            "PATH=/usr/bin",
        ),
        ("private-key", f"-----BEGIN PRIVATE KEY-----\n{BODY}", "TUxOQAAACB", "-----BEGIN PRIVATE KEY-----"),
        (
            "private-key",
            '{"key": "-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADAN\\n-----END PRIVATE KEY-----"}',
            "MIIEvQ",
            "-----END PRIVATE KEY-----",
        ),
        (
            "credential",
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzzzz",
            "wJalr",
            "aws_secret_access_key = [redacted credential]",
        ),
        ("credential", "  password: 'hunter2!x'\n  lock_passwd: true", "hunter2", "lock_passwd: true"),
        ("credential", "baseurl=https://mirror:s3cr3t@repo.example/x", "s3cr3t", "https://mirror:[redacted credential]@repo.example/x"),
        ("access-key", "export AWS_ACCESS_KEY_ID=AKIAZZZZYYYYXXXXWWWW", "ZZZZYYYY", "AKIA[redacted access-key]"),
        ("token", "token ghp_abcdefghijklmnopqrstuvwxyz0123456789 end", "ghp_abc", "token [redacted token] end"),
        ("token", "Authorization: Bearer abcdefghijklmnop0123456789", "abcdefghijklmnop", "Bearer [redacted token]"),
    ],
)
def test_a_secret_is_blotted_out_on_the_host_on_both_streams(  # noqa: PLR0913 - a row of the table above
    target: LocalTarget, tmp_path: Path, kind: str, text: str, secret: str, kept: str
) -> None:
    (tmp_path / "secret").write_text(text, "utf-8")
    questions = batch([f"cat {tmp_path}/secret; cat {tmp_path}/secret >&2", "echo next"])
    completed = target.run(questions.text, timeout=60)
    assert secret not in (completed.out + completed.err)
    answers, redacted = questions.answers(completed)
    first, following = answers.values()
    assert kept in first.stdout.decode()
    assert kept in first.stderr.decode()
    assert following.stdout == b"next\n"
    assert redacted[kind] >= 2


@pytest.mark.parametrize(
    "text",
    [
        "passwd:     files sss\nshadow:     files\n",
        "ec2-user ALL=(ALL) NOPASSWD:ALL\n",
        "PermitEmptyPasswords no\npasswordauthentication no\nkexalgorithms curve25519-sha256,ecdh-sha2-nistp256\n",
        "password requisite pam_pwquality.so retry=3\npassword sufficient pam_unix.so sha512 rounds=65536\n",
        "-w /etc/passwd -p wa -k identity\n-a always,exit -F path=/usr/bin/passwd -F perm=x -F key=privileged\n",
        "gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY\nbaseurl=https://cdn.example/$awsregion/x86_64\n",
        "lock_passwd: true\nssh_pwauth: false\nhashed: no\n",
        "smtp_sasl_password_maps = hash:/etc/postfix/sasl\n",
    ],
)
def test_what_rules_go_by_is_no_secret(target: LocalTarget, tmp_path: Path, text: str) -> None:
    (tmp_path / "plain").write_text(text, "utf-8")
    command = f"cat {tmp_path}/plain"
    assert asked(target, command)[command].stdout.decode() == text
    assert redaction.redacted(text) == text


def test_the_second_net_changes_nothing_that_the_host_has_blotted_out() -> None:
    hashes = "$6$rounds=5000$[redacted password-hash]:1\n$1$[redacted password-hash]\n"
    text = f"{hashes}-----BEGIN RSA PRIVATE KEY-----\n[redacted private-key]\n-----END RSA PRIVATE KEY-----\n"
    assert redaction.redacted(text) == text


def test_questions_asked_together_have_the_answers_that_each_has_alone(target: LocalTarget, tmp_path: Path) -> None:
    for name, text in (
        ("whole", "a\nb\n"),
        ("cut", "a\nb"),
        ("empty", ""),
        ("blank", "\n\n"),
        ("d/one.conf", "1\n"),
        ("d/two.conf", "=mark 2"),
        ("shadow", f"root:{HASH}:19000:0\nbin:*:1\nlocked:!!{HASH}:1\nempty::1\nodd\n"),
        ("group", "root:x:0:\n\nlast:x:1:ec2-user"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    (tmp_path / "zero").write_bytes(b"a\0b\n")
    (tmp_path / "link").symlink_to("whole")
    (tmp_path / "dangling").symlink_to("nowhere")
    names = ["whole", "cut", "empty", "blank", "zero", "link", "dangling", "none", "d"]
    commands = [
        *(grouping.READ.format(tmp_path / name) for name in names),
        *(f"stat -L -c '{grouping.STAT}' -- {tmp_path / name}" for name in names),
        *(f"stat -c '{grouping.STAT}' -- {tmp_path / name}" for name in names),
        *(patterns.join(grouping.TEXTS) for patterns in (f"{tmp_path}/d/*.conf", f"{tmp_path}/none {tmp_path}/cut {tmp_path}/d/one.conf")),
        *(patterns.join(grouping.PATHS) for patterns in (f"{tmp_path}/*", f"{tmp_path}/none* {tmp_path}/dangling")),
        *(grouping.READ.format(f"/proc/sys/{name}") for name in ("kernel/ostype", "kernel/no_such", "net/ipv4/tcp_rmem")),
        *(f"cat /proc/{name}" for name in ("cmdline", "filesystems")),
        *(
            grouping.DATABASE % (tmp_path / name, shlex.quote(grouping.KIND), tmp_path / name)
            for name in ("shadow", "group", "empty", "none")
        ),
    ]
    questions = batch(commands)
    assert len(questions.groups) == 3
    assert not questions.rest
    answers, _ = questions.answers(target.run(questions.text, timeout=60))
    for text in commands:
        alone = target.run(text)
        if text in answers:
            assert (answers[text].exit_code, answers[text].stdout, answers[text].stderr) == (
                alone.returncode,
                alone.stdout,
                alone.stderr,
            ), text
    assert HASH not in str(answers)
    # What cannot be known exactly together is asked again alone: here, the text of a folder.
    assert [text for text in commands if text not in answers] == [grouping.READ.format(tmp_path / "d")]


@pytest.mark.parametrize(
    "said",
    [
        b"System has not been booted with systemd as init system (PID 1). Can't operate.\nFailed to connect to bus: Host is down\n",
        b"Failed to get D-Bus connection: Operation not permitted\n",  # systemd 219
    ],
)
def test_where_no_systemd_runs_each_unit_is_refused_as_all_are_together(said: bytes) -> None:
    commands = [f"{grouping.UNIT}sshd.service", f"{grouping.UNIT}a.service b.service"]
    (group,), rest = grouping.grouped(commands, "token")
    assert not rest
    assert list(group.answers((1, b"", said))) == [(command, (1, b"", said)) for command in commands]
    # Anything else is asked alone: it may be about one of them only.
    assert not list(group.answers((1, b"", b"Failed to get properties: Unit name x is not valid.\n")))
    assert not list(group.answers((1, b"Id=x\n", said)))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Port 22\n# Match user x\nPermitRootLogin no", True),
        ("", True),
        ("Include {0}/d/*.conf {0}/none\n", True),
        ("Include {0}/d/* {0}/matching\n", False),
        ("Match User x\n  PermitRootLogin yes\n", False),
        ("\tmatch all\n", False),
        ("Port 22\nmAtCh all", False),
        ('"Match" User x\n', False),
        ("Match=User x\n", False),
        ('Include "{0}/matching"\n', False),
        ("Include={0}/matching\n", False),
        ("include none*\n", True),
    ],
)
def test_sshd_is_asked_once_where_it_treats_everybody_alike(target: LocalTarget, tmp_path: Path, text: str, *, plain: bool) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "one.conf").write_text("X11Forwarding no\n", "utf-8")
    (tmp_path / "matching").write_text("Match User x\nX11Forwarding yes\n", "utf-8")
    (tmp_path / "sshd_config").write_text(text.format(tmp_path), "utf-8")
    users = ("user=root,host=a", "user=ec2-user,host=a")
    questions = [f"{grouping.SSHD}{user}" for user in users]
    (group,), rest = grouping.grouped(questions, "token")
    assert not rest
    sshd = 'sshd() { echo "$# $3"; echo "of $3" >&2; return 3; }\n'
    done = target.run(sshd + group.text.replace("/etc/ssh/sshd_config", f"{tmp_path}/sshd_config"))
    told = [users[0], users[0] if plain else users[1]]
    answers = [(3, f"3 {user}\n".encode(), f"of {user}\n".encode()) for user in told]
    assert list(group.answers((done.returncode, done.stdout, done.stderr))) == list(zip(questions, answers, strict=True))
    assert not list(group.answers((127, b"", b"bash: sshd: command not found\n")))


@pytest.mark.parametrize(
    ("text", "run"),
    [
        ("find /dev -xdev \\( -name x -o -name 'y z' \\) -print 2>/dev/null", "exec find /dev"),
        ('setpriv --reuid "$(id -u ec2-user)" env -i true </dev/null 3>&1 >/dev/null', "exec setpriv"),
        ("if [ -e /etc/audit ]; then find /etc/audit -type f; fi", "then exec find"),
        ("if type aide >/dev/null 2>&1; then aide --config-check 2>&1; else exit 127; fi", "then exec aide"),
        ("if [ -e /x ]; then cat /x; cat /y; fi", "then cat /x"),
        ("cat /x; rm /x", "cat /x;"),
        ("cat /x | wc", "cat /x |"),
        ("cat /x >/y", "cat /x >"),
        ('cat "$(rm -f /x; echo)"', 'cat "'),
        ("cat /x\nrm /x", "cat /x\n"),
        ("reboot", "reboot"),
    ],
)
def test_only_one_program_takes_the_place_of_its_shell(text: str, run: str) -> None:
    assert run in replacing(text)
    assert replacing(text).replace("exec ", "") == text
    assert (replacing(text) != text) is ("exec" in run)
