"""Whether the stand-in boots, answers as Amazon Linux's layout does, and is built once, wholly or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import engine as engines
from harness.errors import EngineError, UsageError
from harness.images import standin
from harness.images.cache import Cache
from harness.images.standin.definition import FILES, LAYOUTS
from harness.targets.container import ContainerTarget

if TYPE_CHECKING:
    from collections.abc import Generator

    from harness.engine import Engine

ROOT = Path(__file__).parents[2]
ACTIVE = {
    "al2": [
        "sshd",
        "rsyslog",
        "crond",
        "auditd",
        "chronyd",
        "atd",
        "amazon-ssm-agent",
        "postfix",
        "cups",
        "rpcbind.socket",
        "telnet.socket",
    ],
    "al2023": [
        "sshd",
        "auditd",
        "chronyd",
        "atd",
        "amazon-ssm-agent",
        "httpd",
        "cups",
        "rpcbind.socket",
        "telnet.socket",
        "tmp.mount",
    ],
}
ABSENT = {
    "al2": ["dnf", "crypto-policies", "aide", "dpkg", "perl"],
    "al2023": ["rsyslog", "cronie", "postfix", "authconfig", "tcp_wrappers", "dpkg"],
}
PRESENT = {
    "al2": ["yum", "rsyslog", "cronie", "crontabs", "authconfig", "tcp_wrappers", "postfix"],
    "al2023": ["dnf", "yum", "crontabs", "crypto-policies", "crypto-policies-scripts", "amazon-chrony-config"],
}
EVERYWHERE = [
    "openssh-server",
    "sudo",
    "pam",
    "shadow-utils",
    "passwd",
    "util-linux",
    "procps-ng",
    "iproute",
    "audit",
    "chrony",
    "libpwquality",
    "logrotate",
    "at",
    "nfs-utils",
    "rpcbind",
    "cloud-init",
    "amazon-ssm-agent",
    "update-motd",
    "initscripts",
    "setup",
    "system-release",
    "glibc",
    "bash",
    "systemd",
    "telnet",
    "cups",
    "avahi",
    "bluez",
]
WORN_BY_TOOLS = {"/etc/systemd/system/default.target", "/etc/yum.conf", "/etc/dnf/dnf.conf"}
"""What the wear changes without writing the whole path."""
INTERRUPTED = """
import subprocess, sys
from pathlib import Path
from harness.images import standin
from harness.images.cache import Cache

class NoImages:
    name, remote = "podman", False
    def call(self, *words, **options):
        return subprocess.CompletedProcess(words, 1, b"", b"")

standin.build("al2", NoImages(), Cache(Path(sys.argv[1])), lambda text: print(text, flush=True))
"""


@pytest.fixture(scope="module")
def engine() -> Engine:
    try:
        return engines.find()
    except EngineError as error:
        pytest.skip(f"no container engine: {error}")


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def box(engine: Engine, layout: str) -> Generator[ContainerTarget]:
    """Return a container of the stand-in that the read-only tests share."""
    image = standin.build(layout, engine, Cache(), lambda _: None)
    with ContainerTarget.start(engine, image.reference) as target:
        yield target


@pytest.fixture
def fresh(engine: Engine, layout: str) -> Generator[ContainerTarget]:
    """Return a container of its own for a test that changes it."""
    image = standin.build(layout, engine, Cache(), lambda _: None)
    with ContainerTarget.start(engine, image.reference) as target:
        yield target


def out(box: ContainerTarget, command: str) -> str:
    """Run a command that must succeed; return what it printed."""
    done = box.run(command, timeout=120)
    assert done.returncode == 0, f"{command}: {done.err}{done.out}"
    return done.out


def test_it_boots_without_a_failed_unit(box: ContainerTarget, layout: str) -> None:
    assert out(box, "systemctl is-system-running --wait").strip() == "running"
    assert out(box, "systemctl --failed --no-legend") == ""
    for unit in ACTIVE[layout]:
        assert box.run(f"systemctl is-active {unit}").out.strip() == "active", unit


def test_it_says_what_it_is(box: ContainerTarget, engine: Engine, layout: str) -> None:
    release = dict(line.split("=", 1) for line in out(box, "cat /etc/os-release").splitlines())
    assert release["ID"] == '"amzn"'
    assert release["VERSION_ID"] == {"al2": '"2"', "al2023": '"2023"'}[layout]
    assert release["PRETTY_NAME"].startswith('"STAND-IN')
    image = standin.build(layout, engine, Cache(), lambda _: None)
    assert image.kind == "standin"
    assert "Amazon" not in image.label
    labels = engine.call("image", "inspect", "--format", "{{.Config.Labels}}", image.reference).stdout.decode()
    assert f"{standin.LABEL}:true" in labels


def test_packages_carry_the_names_of_amazon_linux(box: ContainerTarget, layout: str) -> None:
    installed = set(out(box, "rpm -qa --qf '%{NAME}\\n'").split())
    assert installed >= {*EVERYWHERE, *PRESENT[layout]}
    assert not installed & set(ABSENT[layout])
    assert box.run("command -v dpkg dpkg-query apt-get perl").out == ""
    assert bool(box.run("command -v dnf").out) == (layout == "al2023")


def test_the_package_database_is_honest(box: ContainerTarget) -> None:
    """Whatever differs from its package is named in the script that wears the image out."""
    wear = (FILES / "standin-worn/common/usr/libexec/standin/wear").read_text()
    differs = [line.rsplit(" ", 1)[1] for line in out(box, "rpm -Va || :").splitlines()]
    assert "/etc/ssh/sshd_config" in differs
    assert [path for path in differs if path not in wear and path not in WORN_BY_TOOLS] == []
    assert out(box, "rpm -qf --qf '%{NAME} ' /usr/bin/sudo /etc/ssh/sshd_config /usr/sbin/useradd /etc/passwd").split() == [
        "sudo",
        "openssh-server",
        "shadow-utils",
        "setup",
    ]


def test_files_that_hardening_meets_are_as_on_the_real_thing(box: ContainerTarget, layout: str) -> None:
    facts = dict(
        line.split(" ", 1) for line in out(box, "stat -c '%n %a %U %G %F' /etc/shadow /etc/motd /etc/pam.d/system-auth").splitlines()
    )
    modes = "rpm -q --qf '[%{FILENAMES} %{FILEMODES:octal}\\n]' setup"
    assert "/etc/shadow 100000" in out(box, modes).splitlines(), "as it came, whatever was done to it since"
    assert facts["/etc/motd"].endswith("symbolic link")
    assert ("symbolic" in facts["/etc/pam.d/system-auth"]) == (layout == "al2")
    assert box.run("test -e /etc/security/faillock.conf").returncode == (layout == "al2")
    assert box.run("test -d /etc/cron.d").returncode == (layout == "al2023")
    assert out(box, "readlink /etc/sysctl.d/99-sysctl.conf").strip() == "../sysctl.conf"
    assert "-a task,never" in out(box, "cat /etc/audit/rules.d/audit.rules")


def test_sshd_keeps_the_first_value_it_meets(box: ContainerTarget, layout: str) -> None:
    if layout == "al2":
        assert "Include" not in out(box, "cat /etc/ssh/sshd_config")
        return
    settings = dict(line.split(" ", 1) for line in out(box, "sshd -T").splitlines() if " " in line)
    assert settings["x11forwarding"] == "yes", "50-redhat.conf says so before the main file can"
    assert "aes128-cbc" in settings["ciphers"], "10-company.conf says so before the policy can"
    assert "aes256-cbc" not in out(box, "cat /etc/crypto-policies/back-ends/opensshserver.config")


def test_the_default_user_is_there(box: ContainerTarget) -> None:
    assert set(out(box, "id -nG ec2-user").split()) == {"ec2-user", "adm", "wheel", "systemd-journal"}
    assert out(box, "getent shadow ec2-user").split(":")[1].startswith("!")
    assert out(box, "runuser -u ec2-user -- sudo -n id -u").strip() == "0"


def test_a_signed_package_is_installed_with_what_it_needs(fresh: ContainerTarget) -> None:
    assert "gpgcheck=1" in out(fresh, "cat /etc/yum.repos.d/*.repo")
    out(fresh, "yum -y install aide")
    assert out(fresh, "rpm -q --qf '%{NAME} ' aide mhash").split() == ["aide", "mhash"]
    assert fresh.run("rpm -V aide").returncode == 0
    assert out(fresh, "rpm -K $(find /usr/share/standin/repo -name 'aide-*.rpm' | head -n 1)").rstrip().endswith("signatures OK")


def test_a_security_update_brings_that_and_nothing_else(fresh: ContainerTarget, layout: str) -> None:
    release = "" if layout == "al2" else "--releasever=latest"
    assert fresh.run("yum -q check-update").returncode == (100 if layout == "al2" else 0), "al2023 is locked to its release"
    assert fresh.run(f"yum -q {release} check-update").returncode == 100
    assert "standin-secdemo" in out(fresh, f"yum -q {release} updateinfo list security")
    out(fresh, f"yum -y {release} update --security")
    assert out(fresh, "rpm -q --qf '%{NAME}-%{RELEASE} ' standin-secdemo standin-bugdemo").split() == [
        "standin-secdemo-2.standin",
        "standin-bugdemo-1.standin",
    ]


def test_clutter_can_be_removed_and_its_units_end(fresh: ContainerTarget) -> None:
    out(fresh, "yum -y remove telnet cups avahi telnet-server")
    assert fresh.run("systemctl is-active cups.service telnet.socket").out.split() == ["inactive", "inactive"]
    assert fresh.run("command -v telnet").returncode != 0
    assert out(fresh, "systemctl --failed --no-legend") == ""


def test_it_comes_back_after_a_restart(fresh: ContainerTarget, layout: str) -> None:
    out(fresh, "touch /etc/kept")
    fresh.restart()
    assert out(fresh, "systemctl is-system-running --wait").strip() == "running"
    assert fresh.run("test -e /etc/kept").returncode == 0
    assert fresh.run(f"systemctl is-active {ACTIVE[layout][0]}").out.strip() == "active"


def test_log_lines_reach_the_files_of_the_layout(fresh: ContainerTarget, layout: str) -> None:
    if layout == "al2023":
        assert fresh.run("test -e /var/log/secure").returncode == 1, "nothing but the journal by default"
        out(fresh, "yum -y install rsyslog && systemctl enable --now rsyslog.service")
    out(fresh, "logger -p authpriv.info standin-mark")
    out(fresh, "timeout 20 sh -c 'until grep -q standin-mark /var/log/secure; do sleep 0.1; done'")
    assert fresh.run("grep -q standin-mark /var/log/messages").returncode == 1


def test_a_job_of_at_runs(fresh: ContainerTarget) -> None:
    out(fresh, "echo 'echo done >/root/at' | at now")
    out(fresh, "timeout 60 sh -c 'until test -s /root/at; do sleep 0.1; done'")


def test_the_audit_daemon_restarts_by_service_only(fresh: ContainerTarget) -> None:
    assert fresh.run("systemctl restart auditd").returncode != 0
    out(fresh, "service auditd restart")
    assert out(fresh, "systemctl is-active auditd").strip() == "active"


def test_a_second_build_builds_nothing(engine: Engine, layout: str) -> None:
    first = standin.build(layout, engine, Cache(), lambda _: None)
    said: list[str] = []
    assert standin.build(layout, engine, Cache(), said.append) == first
    assert said == []


def test_an_unknown_layout_is_refused(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no stand-in for `al1`"):
        standin.build("al1", engine, Cache(tmp_path), lambda _: None)


@pytest.mark.parametrize("moment", ["packing the base", "installing the base"])
def test_an_interrupted_build_leaves_nothing(tmp_path: Path, moment: str) -> None:
    words = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "cache")]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if moment in line:
                process.send_signal(signal.SIGINT)
                break
        _, stderr = process.communicate(timeout=120)
    if "the stand-in cannot be built here" in stderr or "built by root only" in stderr:
        pytest.skip(stderr.splitlines()[-1])
    assert process.returncode != 0
    left = [path for kind in ("standin", "standin-base") for path in (tmp_path / "cache" / kind).glob("*")]
    assert left == [], stderr
    assert [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(tmp_path) in line] == []
