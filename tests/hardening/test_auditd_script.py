"""auditd.sh on real machines: what it writes, what it leaves to others, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine


@pytest.fixture(scope="module")
def parameters(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters of this subject."""
    return {name: value for name, value in values.items() if name.startswith("auditd_")}


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return one machine for the file."""
    return start()


def merged(machine: Machine) -> list[str]:
    """Return the lines of the file that auditd loads."""
    return machine.sh("cat /etc/audit/audit.rules").splitlines()


def test_fresh_machine(machine: Machine, parameters: dict[str, str]) -> None:
    first = machine.apply("auditd", parameters)
    assert {"auditd-rules-identity", "auditd-rules-privileged", "auditd-rules-locked", "auditd-rules-merged"} <= set(first.changed)
    assert machine.script("auditd", "check", parameters).code == 0
    assert merged(machine)[-1] == "-e 2"
    assert "-a always,exit -F path=/usr/bin/sudo -F perm=x -F auid>=1000 -F auid!=unset -k privileged" in merged(machine)


def test_settings_that_others_wrote(machine: Machine, parameters: dict[str, str]) -> None:
    """CRLF, a setting twice, a word in upper case that is right, a file that all may read."""
    machine.sh("sed -i -e 's/^space_left_action.*/space_left_action = SYSLOG/' -e 's/$/\\r/' /etc/audit/auditd.conf")
    machine.sh("chmod 0666 /etc/audit/auditd.conf")
    machine.sh("printf 'Num_logs = 2\\nnum_logs = 3\\n' >>/etc/audit/auditd.conf")
    broken = machine.script("auditd", "check", parameters)
    assert "auditd-log-count" in broken.rules("fail")
    machine.apply("auditd", parameters)
    text = machine.sh("cat /etc/audit/auditd.conf")
    assert text.lower().count("\nnum_logs") == 1
    assert f"num_logs = {parameters['auditd_num_logs']}\n" in text
    assert "space_left_action = SYSLOG" in text
    assert machine.sh("stat -c %a /etc/audit/auditd.conf").strip() == "640"


def test_rules_that_others_wrote(machine: Machine, parameters: dict[str, str]) -> None:
    """The stock file that records nothing, a tool's rules with one of ours among them, an early lock."""
    machine.write("/etc/audit/rules.d/audit.rules", "-D\r\n-a task,never\r\n")
    machine.write("/etc/audit/rules.d/40-tool.rules", "-w  /etc/passwd   -p wa -k identity\n-w /opt -p wa -k tool\n-b 64\n-e 2\n", "0644")
    assert machine.script("auditd", "apply", parameters).code == 0
    machine.apply("auditd", parameters)
    rules = [" ".join(line.split()) for line in merged(machine)]
    assert rules.count("-w /etc/passwd -p wa -k identity") == 1
    assert "-w /opt -p wa -k tool" in rules
    assert [line for line in rules if line.startswith(("-b", "-e")) or "never" in line] == ["-b 8192", "-e 2"]
    assert len(rules) == len(set(rules))
    machine.sh("rm /etc/audit/rules.d/40-tool.rules")
    assert "auditd-rules-identity" in machine.apply("auditd", parameters).changed


def test_a_rule_that_somebody_took_out(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh("sed -i '/sudoers/d' /etc/audit/rules.d/50-isms.rules /etc/audit/audit.rules")
    assert machine.script("auditd", "check", parameters).rules("fail") == {"auditd-rules-sudo-scope"}
    assert set(machine.apply("auditd", parameters).changed) == {"auditd-rules-sudo-scope", "auditd-rules-merged"}


def test_nothing_is_there(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh("systemctl disable -q auditd; rm -rf /etc/audit/rules.d /etc/audit/audit.rules")
    machine.sh("chmod 0777 /var/log/audit; chown nobody /var/log/audit")
    assert "auditd-enabled" in machine.apply("auditd", parameters).changed
    assert machine.sh("stat -c '%a %U' /var/log/audit").strip() == "700 root"


def test_no_configuration(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh("mv /etc/audit/auditd.conf /root/")
    said = machine.script("auditd", "apply", parameters)
    machine.sh("mv /root/auditd.conf /etc/audit/")
    assert (said.code, "reinstall audit" in said.err) == (3, True)


def test_arm64(machine: Machine, parameters: dict[str, str]) -> None:
    """Neither the other ABI nor calls that this architecture never had: one unknown name stops auditctl."""
    machine.write("/usr/sbin/uname", "#!/bin/sh\necho aarch64\n", "0755")
    machine.apply("auditd", parameters)
    rules = [line for line in merged(machine) if " -S " in line]
    machine.sh("rm /usr/sbin/uname")
    calls = {call for line in rules for call in line.split(" -S ", 1)[1].split()[0].split(",")}
    assert not any("b32" in line for line in rules)
    assert calls.isdisjoint({"chmod", "chown", "lchown", "creat", "open", "unlink", "rename"})
    assert {"fchmodat", "openat", "unlinkat", "renameat2"} <= calls
    machine.apply("auditd", parameters)


def test_boot_loader(machine: Machine, parameters: dict[str, str]) -> None:
    machine.write("/etc/default/grub", 'GRUB_TIMEOUT=0\r\nGRUB_CMDLINE_LINUX_DEFAULT="console=ttyS0 audit=0 nvme.io_timeout=1"\r\n')
    machine.apply("auditd", parameters)
    assert machine.sh("cat /etc/default/grub") == (
        'GRUB_TIMEOUT=0\nGRUB_CMDLINE_LINUX_DEFAULT="console=ttyS0 nvme.io_timeout=1 audit=1 audit_backlog_limit=8192"\n'
    )
    machine.write(
        "/usr/sbin/grubby",
        '#!/bin/bash\nif [ $1 = --info=ALL ]; then cat /root/entries; else echo "$*" >>/root/asked; '
        "sed -i 's/^args=.*/args=\"ro audit=1 audit_backlog_limit=8192\"/' /root/entries; fi\n",
        "0755",
    )
    machine.write(
        "/root/entries", 'index=0\nargs="ro audit=1 audit_backlog_limit=8192"\nindex=1\nargs="ro audit=1 audit_backlog_limit=81920"\n'
    )
    machine.apply("auditd", parameters)
    assert machine.sh("cat /root/asked") == "--update-kernel=ALL --args=audit=1 audit_backlog_limit=8192\n"
    machine.sh("rm /etc/default/grub /usr/sbin/grubby")
