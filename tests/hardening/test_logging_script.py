"""logging.sh on real machines: as they come, and after others have been there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine


@pytest.fixture(scope="module")
def parameters(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters of this subject."""
    return {name: value for name, value in values.items() if name.startswith("logging_")}


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return one machine for the file."""
    return start()


def test_fresh_machine(machine: Machine, parameters: dict[str, str]) -> None:
    assert machine.apply("logging", parameters).changes > 5
    checked = machine.script("logging", "check", parameters)
    assert (checked.code, checked.rules("fail")) == (0, set())
    machine.sh("rsyslogd -N1")
    machine.sh("logger -p authpriv.info only-once; sleep 0.5; systemctl kill --kill-who=main -s HUP rsyslog; sleep 0.2")
    assert machine.sh("grep -c only-once /var/log/secure").strip() == "1"
    assert "only-once" not in machine.sh("cat /var/log/messages")


def test_rsyslog_that_others_wrote(machine: Machine, parameters: dict[str, str]) -> None:
    """CRLF, no include, a rule missing, a wide mode set twice, a drop-in of somebody else with a wide mode."""
    machine.write(
        "/etc/rsyslog.conf",
        "$ModLoad imuxsock\r\n$FileCreateMode 0666\r\n*.info;mail.none;authpriv.none /var/log/messages\r\n"
        "#cron.* /var/log/cron\r\n$FileCreateMode 0644\r\nmail.* -/var/log/maillog\r\n",
    )
    machine.write("/etc/rsyslog.d/50-tool.conf", "# a tool's own\n$FileCreateMode 0644\nlocal3.* /var/log/tool.log", "0666")
    machine.apply("logging", parameters)
    main = machine.sh("cat /etc/rsyslog.conf")
    assert "\r" not in main
    assert main.index("$IncludeConfig /etc/rsyslog.d/*.conf") < main.index("*.info;mail.none")
    assert "0666" not in main
    assert "0644" not in main
    own = machine.sh("cat /etc/rsyslog.d/00-isms.conf")
    assert "/var/log/secure" in own
    assert "/var/log/cron" in own
    assert "/var/log/messages" not in own
    assert machine.sh("cat /etc/rsyslog.d/50-tool.conf") == "# a tool's own\n$FileCreateMode 0640\nlocal3.* /var/log/tool.log\n"
    assert machine.sh("stat -c %a /etc/rsyslog.d/50-tool.conf").strip() == "640"


def test_nobody_sends_messages_from_outside(machine: Machine, parameters: dict[str, str]) -> None:
    """In the old form and in the new one; what else a module is loaded for stays."""
    machine.write(
        "/etc/rsyslog.conf",
        "$ModLoad imuxsock\n$ModLoad imudp\n$UDPServerRun 514\n*.info /var/log/messages\n",
    )
    machine.write(
        "/etc/rsyslog.d/60-collector.conf",
        'module(load="imtcp"\n  MaxSessions="500")\ninput(type="imtcp" port="514")\nlocal4.* /var/log/collector.log\n',
    )
    assert "logging-no-remote-reception" in machine.script("logging", "check", parameters).rules("fail")
    machine.apply("logging", parameters)
    assert "logging-no-remote-reception" not in machine.script("logging", "check", parameters).rules("fail")
    assert "\n# isms: $UDPServerRun 514\n" in machine.sh("cat /etc/rsyslog.conf")
    assert machine.sh("cat /etc/rsyslog.d/60-collector.conf") == (
        '# isms: module(load="imtcp"\n# isms:   MaxSessions="500")\n# isms: input(type="imtcp" port="514")\n'
        "local4.* /var/log/collector.log\n"
    )
    machine.sh("rsyslogd -N1")


def test_include_after_the_rules(machine: Machine, parameters: dict[str, str]) -> None:
    machine.write("/etc/rsyslog.conf", '*.info /var/log/messages\ninclude(file="/etc/rsyslog.d/*.conf" mode="optional")\n')
    machine.apply("logging", parameters)
    assert machine.sh("cat /etc/rsyslog.conf").startswith(f"$FileCreateMode {parameters['logging_file_mode']}\n*.info")


def test_rotation_that_others_wrote(machine: Machine, parameters: dict[str, str]) -> None:
    """Blocks in the main file, scripts with braces, CRLF, numbers larger than ours, other people's logs."""
    machine.sh("rm -f /etc/logrotate.d/*")
    machine.write(
        "/etc/logrotate.conf",
        "daily\r\nrotate 2\r\nmaxage 30\r\ninclude /etc/logrotate.d\r\n"
        "/var/log/wtmp {\r\n    monthly\r\n    create 0664 root utmp\r\n    rotate 1\r\n}\r\n",
    )
    machine.write(
        "/etc/logrotate.d/syslog",
        '/var/log/cron\n"/var/log/messages"\n/var/log/secure {\n    rotate 400\n'
        '    postrotate\n        rotate() { echo "}"; }\n    endscript\n}\n',
    )
    machine.write("/etc/logrotate.d/app", "/var/log/app.log {\n    rotate 3\n    daily\n}\n")
    app = machine.sh("cat /etc/logrotate.d/app /etc/logrotate.d/syslog")
    machine.apply("logging", parameters)
    assert machine.sh("cat /etc/logrotate.d/app /etc/logrotate.d/syslog") == app
    assert machine.sh("cat /etc/logrotate.conf") == (
        "daily\nrotate 365\nmaxage 365\ninclude /etc/logrotate.d\n"
        "/var/log/wtmp {\n    monthly\n    create 0664 root utmp\n    rotate 13\n}\n"
    )
    own = machine.sh("cat /etc/logrotate.d/isms")
    assert [log in own for log in ("/var/log/btmp", "/var/log/sudo.log", "/var/log/wtmp", "/var/log/cron")] == [True, True, False, False]


def test_what_is_missing_or_wide(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh(
        "rm -f /var/log/btmp /var/log/wtmp /etc/logrotate.conf; rm -rf /var/log/journal;"
        "touch /var/log/secure /var/log/yum.log '/var/log/a b.log';"
        "chmod 0777 /var/log; chmod 0666 /var/log/secure '/var/log/a b.log'; chmod 0644 /var/log/yum.log; chown nobody /var/log/yum.log;"
        "systemctl disable --now -q rsyslog; systemctl mask -q rsyslog"
    )
    broken = machine.script("logging", "check", parameters)
    assert broken.code == 1
    assert {"logging-failed-logins", "logging-file-modes", "logging-file-owners", "logging-rsyslog-enabled"} <= broken.rules("fail")
    machine.apply("logging", parameters)
    assert (
        machine.sh("stat -c '%a %U' /var/log /var/log/secure '/var/log/a b.log' /var/log/yum.log")
        == "755 root\n640 root\n640 root\n640 root\n"
    )
    assert machine.sh("systemctl is-active rsyslog; stat -c '%a %U:%G' /var/log/btmp") == "active\n600 root:utmp\n"
    assert machine.script("logging", "check", parameters).rules("fail") == set()


def test_a_configuration_that_rsyslog_refuses(machine: Machine, parameters: dict[str, str]) -> None:
    machine.write("/etc/rsyslog.d/90-broken.conf", "this is no rule\n")
    said = machine.script("logging", "apply", parameters)
    assert (said.code, "rsyslog refuses its configuration" in said.err) == (3, True)
    machine.sh("rm /etc/rsyslog.d/90-broken.conf")


def test_a_rotation_that_logrotate_refuses(machine: Machine, parameters: dict[str, str]) -> None:
    machine.write("/etc/logrotate.d/broken", "/var/log/other.log {\n    no-such-word\n}\n")
    said = machine.script("logging", "apply", parameters)
    assert (said.code, "logrotate refuses its configuration" in said.err) == (3, True)
    machine.sh("rm /etc/logrotate.d/broken")
