"""ssh.sh on real machines: as they come, and after others have been there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hardening.ways_in import by_key, key_and_sudo_work

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine

MAIN = "/etc/ssh/sshd_config"
FOLDER = "/etc/ssh/sshd_config.d"
DROP_IN = f"{FOLDER}/00-isms-hardening.conf"
SFTP = "Subsystem sftp /usr/libexec/openssh/sftp-server\n"


@pytest.fixture(scope="module")
def parameters(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters of this subject."""
    return {name: value for name, value in values.items() if name.startswith("ssh_")}


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return one machine for the file."""
    return start()


def effective(machine: Machine, user: str = "ec2-user") -> dict[str, list[str]]:
    """Return what sshd would do for a log-in."""
    found: dict[str, list[str]] = {}
    for line in machine.sh(f"sshd -T -C user={user},host=x,addr=10.0.0.1").splitlines():
        keyword, _, value = line.partition(" ")
        found.setdefault(keyword, []).append(value)
    return found


def hardened(machine: Machine, parameters: dict[str, str]) -> None:
    """Apply twice, check, and log in."""
    machine.apply("ssh", parameters)
    checked = machine.script("ssh", "check", parameters)
    assert (checked.code, checked.rules("fail")) == (0, set()), checked.out
    assert key_and_sudo_work(machine)


def test_fresh_machine(machine: Machine, parameters: dict[str, str]) -> None:
    assert "ssh-root-login" in machine.script("ssh", "check", parameters).rules("fail")
    first = machine.apply("ssh", parameters)
    assert {"ssh-root-login", "ssh-max-auth-tries", "ssh-x11-forwarding", "ssh-banner"} <= set(first.changed)
    hardened(machine, parameters)
    assert effective(machine)["passwordauthentication"] == ["no"]
    assert by_key(machine, "true", user="root") != ""
    assert "AllowGroups" in machine.sh(
        "ssh-keygen -q -t ed25519 -N '' -f /run/k; sshd -T -C user=ec2-user,host=x,addr=10.0.0.1 | sed 's/^allowgroups/AllowGroups/'"
    )


def test_running_daemon_follows(machine: Machine, parameters: dict[str, str]) -> None:
    """A reload keeps the process, and the process obeys the new text: the banner comes before log-in."""
    machine.write("/etc/issue.net", "a warning\n")
    before = machine.sh("systemctl show -p MainPID sshd")
    machine.sh(f"sed -i 's/^Banner .*/Banner none/' {MAIN} {FOLDER}/*.conf 2>/dev/null; systemctl reload sshd")
    machine.apply("ssh", parameters)
    assert machine.sh("systemctl show -p MainPID sshd") == before
    shown = machine.sh(
        "ssh -n -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null nobody@127.0.0.1 true", check=False
    )
    assert "a warning" in shown


def test_a_file_that_others_wrote(machine: Machine, parameters: dict[str, str]) -> None:
    """CRLF, duplicates, odd spelling, comments, and a Match block at the end that opens everything."""
    machine.write(
        MAIN,
        "# PermitRootLogin no\r\nPermitRootLogin yes\r\n  permitrootlogin=yes\r\nMaxAuthTries\t6\r\nPasswordAuthentication yes\r\n"
        + SFTP
        + "Match Group sftp\r\n  ForceCommand internal-sftp\r\n  X11Forwarding no\r\n  PasswordAuthentication yes\r\n"
        "Match User root\r\n PermitRootLogin yes\r\n",
        "0644",
    )
    assert "ssh-match-exceptions" in machine.script("ssh", "check", parameters).rules("fail")
    hardened(machine, parameters)
    text = machine.sh(f"cat {MAIN}")
    assert "\r" not in text
    assert "# PermitRootLogin no" in text
    assert "ForceCommand internal-sftp" in text
    assert effective(machine, "root")["permitrootlogin"] == ["no"]
    assert text.index("PasswordAuthentication no") < text.index("Match")
    assert machine.sh(f"stat -c %a {MAIN}") == "600\n"


def test_cloud_init_may_edit_the_main_file(machine: Machine, parameters: dict[str, str]) -> None:
    """The first boot rewrites every PasswordAuthentication line; it must find one outside of Match blocks."""
    assert machine.sh(f"sed '/^Match/,$d' {MAIN} | grep -c '^PasswordAuthentication no'") == "1\n"
    machine.write("/etc/cloud/cloud.cfg.d/99-zz.cfg", "ssh_pwauth: true\nother: 1\n")
    machine.apply("ssh", parameters)
    assert machine.sh("cat /etc/cloud/cloud.cfg.d/99-zz.cfg") == "other: 1\n"


def test_missing_main_file(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh(f"rm -f {MAIN}")
    hardened(machine, parameters)
    assert "Subsystem sftp" in machine.sh(f"cat {MAIN}")


def test_main_file_behind_a_link(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh(
        f"mv {MAIN} /etc/ssh/real_config; ln -s real_config {MAIN}; sed -i 's/^PermitRootLogin.*/PermitRootLogin yes/' /etc/ssh/real_config"
    )
    hardened(machine, parameters)
    assert machine.sh(f"readlink {MAIN}") == "real_config\n"
    machine.sh(f"rm {MAIN}; mv /etc/ssh/real_config {MAIN}")


def test_a_broken_file_stops_the_build(machine: Machine, parameters: dict[str, str]) -> None:
    """What sshd refuses is never put in place, and the file of before stays as it was."""
    machine.sh(f"cp -a {MAIN} /run/good; printf 'NoSuchKeyword yes\\n' >>{MAIN}")
    before = machine.sh(f"cat {MAIN}")
    said = machine.script("ssh", "apply", parameters)
    assert said.code == 3
    assert "NoSuchKeyword" in said.err
    assert machine.sh(f"cat {MAIN}") == before
    assert machine.sh("find /etc/ssh -name '.isms*'") == ""
    machine.sh(f"cp -a /run/good {MAIN}")


def test_methods_that_nobody_could_pass(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh(f"cp -a {MAIN} /run/good; sed -i '1i AuthenticationMethods publickey,password' {MAIN}")
    said = machine.script("ssh", "apply", parameters)
    assert (said.code, "AuthenticationMethods" in said.err) == (3, True)
    machine.sh(f"cp -a /run/good {MAIN}")


def test_unknown_algorithms_are_left_out(machine: Machine, parameters: dict[str, str]) -> None:
    changed = {**parameters, "ssh_kex_algorithms": "no-such-kex, curve25519-sha256"}
    machine.apply("ssh", changed)
    assert effective(machine)["kexalgorithms"] == ["curve25519-sha256"]
    said = machine.script("ssh", "apply", {**parameters, "ssh_macs": "no-such-mac"})
    assert (said.code, "no-such-mac" in said.err) == (3, True)
    machine.apply("ssh", parameters)


def test_before_the_first_boot(machine: Machine, parameters: dict[str, str]) -> None:
    """An image has no host keys: the script lends sshd one and leaves none behind."""
    machine.sh("mkdir /run/keys; mv /etc/ssh/ssh_host_* /run/keys/")
    machine.sh(f"sed -i 's/^MaxAuthTries.*/MaxAuthTries 6/' {MAIN} {FOLDER}/*.conf 2>/dev/null", check=False)
    machine.apply("ssh", parameters)
    assert machine.script("ssh", "check", parameters).code == 0
    assert machine.sh("ls /etc/ssh/ssh_host_* 2>/dev/null", check=False) == ""
    machine.sh("mv /run/keys/* /etc/ssh/; chmod 0666 /etc/ssh/ssh_host_ed25519_key /etc/ssh/ssh_host_ed25519_key.pub")
    machine.apply("ssh", parameters)
    assert machine.sh("stat -c %a /etc/ssh/ssh_host_ed25519_key /etc/ssh/ssh_host_ed25519_key.pub") == "600\n644\n"
    hardened(machine, parameters)


def test_service_that_was_off(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh("systemctl disable -q sshd.service")
    assert machine.script("ssh", "check", parameters).rules("fail") == {"ssh-service"}
    assert machine.apply("ssh", parameters).changed == ["ssh-service"]


class TestDropIns:
    """The layout of Amazon Linux 2023; on the other one these begin by making a folder of drop-ins."""

    @pytest.fixture(autouse=True)
    def _folder(self, machine: Machine) -> None:
        machine.sh(f"mkdir -p -m 0700 {FOLDER}; rm -f {FOLDER}/*")

    def test_include_at_the_top(self, machine: Machine, parameters: dict[str, str]) -> None:
        machine.write(MAIN, f"# vendor\nInclude {FOLDER}/*.conf\n{SFTP}X11Forwarding yes\n", "0600")
        machine.write(f"{FOLDER}/50-redhat.conf", "X11Forwarding yes\nGSSAPIAuthentication yes\n", "0644")
        hardened(machine, parameters)
        text = machine.sh(f"cat {MAIN}")
        assert text.count("Include") == 1
        assert "X11Forwarding" not in text
        assert machine.sh(f"cat {FOLDER}/50-redhat.conf") == "X11Forwarding yes\nGSSAPIAuthentication yes\n"
        assert machine.sh(f"stat -c %a {FOLDER}/50-redhat.conf {DROP_IN}") == "600\n600\n"

    def test_no_include(self, machine: Machine, parameters: dict[str, str]) -> None:
        """Only our file is switched on, not what the vendor left beside it."""
        machine.write(f"{FOLDER}/50-redhat.conf", "AllowUsers somebody\n")
        machine.write(MAIN, SFTP, "0600")
        hardened(machine, parameters)
        assert machine.sh(f"head -n 1 {MAIN}") == f"Include {DROP_IN}\n"
        assert "allowusers" not in effective(machine)

    def test_include_too_late(self, machine: Machine, parameters: dict[str, str]) -> None:
        machine.write(f"{FOLDER}/50-redhat.conf", "PermitRootLogin yes\n")
        machine.write(MAIN, f"PermitRootLogin yes\nMaxAuthTries 6\n{SFTP}Match User nobody\nInclude {FOLDER}/*.conf\n", "0600")
        hardened(machine, parameters)
        assert effective(machine, "root")["permitrootlogin"] == ["no"]

    def test_a_drop_in_before_ours(self, machine: Machine, parameters: dict[str, str]) -> None:
        machine.write(MAIN, f"Include {FOLDER}/*.conf\n{SFTP}", "0600")
        machine.write(f"{FOLDER}/00-aaa.conf", "PermitRootLogin yes\nPrintMotd no\n")
        machine.write(f"{FOLDER}/99-late.conf", "AllowGroups everybody\nMatch User x\nPasswordAuthentication yes\n")
        hardened(machine, parameters)
        assert machine.sh(f"cat {FOLDER}/00-aaa.conf") == "PrintMotd no\n"
        assert effective(machine)["allowgroups"] == ["wheel", "ec2-user"]
        assert effective(machine, "x")["passwordauthentication"] == ["no"]
