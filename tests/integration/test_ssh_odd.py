"""Whether the program, as a user runs it, ends in a verdict or in one clear line on hosts that are not what it was made for."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import tarfile
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import audit as auditing
from harness import capture as captures
from harness.errors import EngineError
from tests.program import HARNESS, Done, harness
from tests.sshworld import World, free_port, libraries, uri

if TYPE_CHECKING:
    from collections.abc import Generator

    from harness.engine import Engine

PASSWORD = "pass word$1"  # noqa: S105 - of a user who lives as long as this file
RULES = ("--rule", "ssh-root-login", "--rule", "updates-os-supported")


@pytest.fixture
def mine(world: World, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a user who has one key, and who knows no host yet."""
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / ".ssh/config").write_text(f"IdentityFile {world.keys['ed25519']}\nIdentitiesOnly yes\n")
    return {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / ".cache")}


def audit(mine: dict[str, str], *arguments: str, descriptors: tuple[int, ...] = ()) -> Done:
    return harness(
        "audit", "--accept-new", *arguments, cwd=Path(mine["HOME"]), env=mine, without={"SSH_AUTH_SOCK"}, descriptors=descriptors
    )


class Bare:
    """A host of busybox and dropbear, which are all that is on it: no bash, no sudo, no systemd, no OpenSSH."""

    def __init__(self, engine: Engine, name: str, port: int) -> None:
        """Take what was started."""
        self.engine, self.name, self.port = engine, name, port

    def system(self, text: str) -> None:
        """Say what system it is."""
        self.engine.call("exec", "-i", self.name, "/bin/sh", "-c", "cat >/etc/os-release", input=text.encode())

    def bash(self) -> None:
        """Give it a bash."""
        for path in (Path("/bin/bash"), *libraries(Path("/bin/bash"))):
            self.engine.call("cp", str(path.resolve()), f"{self.name}:{'/bin/bash' if path.name == 'bash' else path}")


def bare_system(public: str) -> bytes:
    """Return the files of such a host, as an archive."""
    programs = {name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") for name in ("busybox", "dropbear", "dropbearkey")}
    if lacking := [name for name, place in programs.items() if place is None]:
        pytest.skip(f"there is no {' and no '.join(lacking)} on this machine (python ci/system_packages.py tests)")
    texts = {
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nec2-user:x:1000:1000::/home/ec2-user:/bin/sh\n",
        "etc/group": "root:x:0:\nec2-user:x:1000:\n",
        "etc/shadow": "root:*:19000::::::\nec2-user:*:19000::::::\n",
        "etc/shells": "/bin/sh\n",
        "etc/os-release": "ID=alpine\nVERSION_ID=3.20.3\n",
        "root/.ssh/authorized_keys": public,
        "home/ec2-user/.ssh/authorized_keys": public,
    }
    data = BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:

        def add(name: str, content: bytes, mode: int) -> None:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            member.uid = member.gid = 1000 if name.startswith("home/") else 0
            archive.addfile(member, BytesIO(content))

        folders = ("etc/dropbear", "root/.ssh", "home/ec2-user/.ssh", "usr/bin", "tmp", "run", "bin", "lib", "lib64")
        for folder in dict.fromkeys(part for name in folders for part in (*reversed(Path(name).parents), Path(name)) if part.name):
            member = tarfile.TarInfo(str(folder))
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            member.uid = member.gid = 1000 if str(folder).startswith("home/") else 0
            archive.addfile(member)
        for name, text in texts.items():
            add(name, text.encode(), 0o600 if "shadow" in name or ".ssh" in name else 0o644)
        for name, place in programs.items():
            add(f"bin/{name}", Path(str(place)).read_bytes(), 0o755)
        for library in dict.fromkeys(path for place in programs.values() for path in libraries(Path(str(place)))):
            add(str(library).lstrip("/"), library.read_bytes(), 0o755)
        listed = subprocess.run([str(programs["busybox"]), "--list"], capture_output=True, text=True, check=True, timeout=30).stdout
        for name in dict.fromkeys(listed.split()):
            member = tarfile.TarInfo("usr/bin/env" if name == "env" else f"bin/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, "/bin/busybox"
            if name != "busybox":
                archive.addfile(member)
    return data.getvalue()


@pytest.fixture(scope="module")
def bare(world: World) -> Generator[Bare]:
    engine, port = world.engine, free_port()
    name = f"{world.name}-bare"
    image = f"localhost/{name}:latest"
    engine.call("import", "-", image, input=bare_system(world.public + "\n"))
    start = f"dropbearkey -t ed25519 -f /etc/dropbear/key >/dev/null 2>&1; exec dropbear -F -E -s -p 127.0.0.1:{port} -r /etc/dropbear/key"
    given = [option for option in engine.run_options if not option.startswith("--network")]
    try:
        engine.call("run", "-d", f"--name={name}", *given, "--network=host", image, "/bin/sh", "-c", start)
        deadline = time.monotonic() + 30
        while f":{port:04X} ".encode() not in Path("/proc/net/tcp").read_bytes():
            assert time.monotonic() < deadline, engine.call("logs", name, check=False).stderr.decode()
            time.sleep(0.05)
        yield Bare(engine, name, port)
    finally:
        engine.call("rm", "-f", "-t", "0", name, check=False)
        engine.call("rmi", "-f", image, check=False)


def test_a_host_without_bash_or_with_another_system_is_never_judged(bare: Bare, mine: dict[str, str]) -> None:
    done = audit(mine, uri("root", bare.port))
    assert (done.code, done.out) == (3, "")
    assert "has no /bin/bash" in done.told
    done = audit(mine, uri("ec2-user", bare.port))
    assert (done.code, "has no sudo" in done.told) == (3, True)
    bare.bash()
    for system, words in (
        ("ID=alpine\nVERSION_ID=3.20.3\n", "alpine 3.20.3"),
        ('ID=debian\nVERSION_ID="12"\n', "debian 12"),
        ("", "a system without os-release"),
    ):
        bare.system(system)
        done = audit(mine, uri("root", bare.port))
        assert (done.code, done.out) == (2, "")
        assert f"runs `{words}`, for which there is no baseline" in done.told
    done = audit(mine, uri("root", bare.port), "--baseline", "al2")
    assert (done.code, "runs `a system without os-release`, and the baseline al2 is for" in done.told) == (2, True)


def test_a_host_that_says_it_is_amazon_linux_and_has_nothing_of_it_fails_and_passes_nothing_that_needs_a_program(
    bare: Bare, mine: dict[str, str]
) -> None:
    """No sshd, no sudo, no systemd, no rpm, no auditd: what they would have to show must not pass for their absence."""
    bare.bash()
    bare.system("ID=amzn\nVERSION_ID=2\n")
    done = audit(mine, uri("root", bare.port), "--format", "json")
    assert done.code == 1, done.err
    passed = {rule for rule, status in done.statuses.items() if status == "pass"}
    needs = ("ssh-root-login", "ssh-max-auth-tries", "sudo-installed", "auditd-enabled", "time-synchronised", "pam-faillock")
    assert not passed.intersection(needs)
    counted = {status: list(done.statuses.values()).count(status) for status in ("pass", "fail", "error")}
    assert counted["error"] > 50
    assert counted["fail"] > 100


def test_a_release_past_its_end_is_a_finding(port: int, mine: dict[str, str]) -> None:
    file = Path(mine["HOME"], "host.json.zst")
    taken = harness("capture", "--accept-new", uri("ec2-user", port), "-o", file, cwd=file.parent, env=mine, without={"SSH_AUTH_SOCK"})
    assert taken.code == 0, taken.err
    # In a container nobody is asked that; as a host it is, whose answers these are but for this one.
    capture = captures.read(file)
    answers = [replace(one, stdout=b"none\n") if one.command == auditing.CONTAINED else one for one in capture.answers]
    target = {name: value for name, value in capture.target.items() if name != "container"}
    replace(capture, answers=tuple(answers), target=target).write(file)
    done = harness("evaluate", file, *RULES, "--format", "json", cwd=file.parent, env=mine)
    assert done.code == 1, done.err
    (finding,) = (result for result in done.run["results"] if result["rule"] == "updates-os-supported")
    assert (finding["status"], "2026-06-30" in str(finding["observed"])) == ("fail", True), finding


def test_a_disk_that_is_full_and_a_system_that_is_read_only_change_no_verdict(world: World, mine: dict[str, str]) -> None:
    try:
        small = (f"--tmpfs={place}" for place in ("/run:size=2m", "/tmp:size=64k", "/var/tmp:size=64k"))
        other = World.begin(world.folder, options=("--read-only", *small))
    except EngineError as error:
        pytest.skip(f"no container engine: {error}")
    try:
        other.sh("install -d -m 0755 /run/sshd; ssh-keygen -q -t ed25519 -N '' -f /run/sshd/key")
        other.sh(f"cat >/run/sshd/keys <<'END'\n{world.public}\nEND")
        port = other.sshd("HostKey /run/sshd/key", "UsePAM no", "AuthorizedKeysFile /run/sshd/keys", "StrictModes no", keys=())
        before = audit(mine, uri("root", port), "--format", "json")
        other.sh("for place in /tmp /var/tmp /run; do cat /dev/zero >$place/full || true; done", check=False)
        assert "100%" in other.sh("df /tmp")
        after = audit(mine, uri("root", port), "--format", "json")
    finally:
        other.end()
    assert before.code == after.code == 1, after.err
    assert before.statuses == after.statuses
    assert list(after.statuses.values()).count("pass") > 20


def test_sudo_s_password_comes_from_a_descriptor_and_stands_nowhere(world: World, port: int, mine: dict[str, str]) -> None:
    world.user("handed", sudo="handed ALL=(ALL) ALL", password=PASSWORD)
    place = Path(mine["HOME"], "secret")
    for content, code in ((f"{PASSWORD}\nnot this\n", 1), ("wrong\n", 3), ("", 2)):
        place.write_text(content)
        descriptor = os.open(place, os.O_RDONLY)
        try:
            done = audit(
                mine, uri("handed", port), "--sudo", "password", "--sudo-password-fd", str(descriptor), *RULES, descriptors=(descriptor,)
            )
        finally:
            os.close(descriptor)
        assert done.code == code, done.err
        assert PASSWORD not in done.out + done.err
    done = audit(mine, uri("handed", port), "--sudo", "password", *RULES)
    assert (done.code, "nobody can be asked" in done.told, "--sudo-password-fd 3" in done.told) == (2, True, True)
    assert audit(mine, uri("handed", port), "--sudo-password-fd", "3", *RULES).code == 2


def test_a_person_is_asked_for_passphrase_and_password_without_an_echo(world: World, port: int, mine: dict[str, str]) -> None:
    world.user("typing", sudo="typing ALL=(ALL) ALL", password=PASSWORD)
    setsid = shutil.which("setsid")
    if setsid is None:
        pytest.skip("there is no setsid, which gives a process a terminal of its own")
    command = [setsid, "--ctty", "--wait", str(HARNESS), "audit", "--accept-new", "--identity", str(world.keys["locked"]), *RULES]
    command += ["--sudo", "password", uri("typing", port)]
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"} | mine
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=mine["HOME"])
    os.close(theirs)
    answers = [(b"passphrase of", b"open it\n"), (b"sudo's password on the hosts", PASSWORD.encode() + b"\n")]
    seen = b""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 1.0)[0]:
            continue
        try:
            seen += os.read(ours, 65536)
        except OSError:  # its end of the terminal is closed
            break
        if answers and answers[0][0] in seen:
            os.write(ours, answers.pop(0)[1])
    process.wait(30)
    os.close(ours)
    assert process.returncode == 1, seen.decode("utf-8", "replace")
    assert not answers
    assert b"open it" not in seen
    assert PASSWORD.encode() not in seen


def test_each_mistake_at_a_host_is_one_line_and_a_hint(port: int, mine: dict[str, str]) -> None:
    only = ["--rule", "ssh-root-login"]
    for host, code, words in (
        (uri("nobody-here", port), 3, "does not let nobody-here in: tried"),
        (uri("ec2-user", free_port()), 3, "refuses connections on port"),
        ("ssh://ec2-user@nowhere.invalid", 3, "the name nowhere.invalid is not known"),
        ("ssh://root:secret@127.0.0.1", 2, "a password does not belong into a URI"),
        ("telnet://web1", 2, "is not the URI of a target"),
    ):
        done = audit(mine, host, *only)
        assert (done.code, done.out) == (code, ""), done.err
        assert words in done.told
        assert "hint: " in done.told
        assert "secret" not in done.told
    # Of several hosts the others are judged, and what is worst decides.
    done = audit(mine, uri("ec2-user", port), uri("ec2-user", free_port()), *only, "--format", "json")
    assert len(done.run["runs"]) == len(done.run["missed"]) == 1
    assert done.code == (1 if any(result["status"] in {"fail", "error"} for result in done.run["runs"][0]["results"]) else 3)
