"""Whether software that has no place on a server is absent, and nothing that is needed went with it."""

from __future__ import annotations

import pytest

from harness.suite import AS_NOBODY, Host, Parameters, ask, expect, packages, rule, verify_only

ABSENT = {
    "packages-telnet-client": "telnet",
    "packages-telnet-server": "telnet-server",
    "packages-remote-shell": "rsh rsh-server",
    "packages-nis": "ypbind ypserv yp-tools",
    "packages-tftp": "tftp tftp-server",
    "packages-talk": "talk talk-server",
    "packages-finger": "finger finger-server",
    "packages-xinetd": "xinetd",
    "packages-ftp-server": "vsftpd proftpd",
    "packages-ftp-client": "ftp",
    "packages-cups": "cups",
    "packages-bluetooth": "bluez",
    "packages-avahi": "avahi avahi-autoipd",
    "packages-snmp": "net-snmp",
    "packages-x11": "xorg-x11-server-Xorg xorg-x11-server-common",
    "packages-ldap-client": "openldap-clients",
    "packages-setroubleshoot": "setroubleshoot setroubleshoot-server",
    "packages-mcstrans": "mcstrans",
}


@pytest.mark.parametrize("names", [pytest.param(names, id=name, marks=rule(name)) for name, names in ABSENT.items()])
def test_absent(host: Host, parameters: Parameters, names: str) -> None:
    installed = packages(host)
    for name in names.split():
        if name in parameters.words("packages_removed"):
            expect(f"package {name}", "installed" if name in installed else None, equals=None)
        else:
            expect(f"package {name}", "kept", equals="kept", expected="anything: packages_removed does not name it")


@verify_only("it proves what the build removed, and to check every dependency keeps a host busy for long")
@rule("packages-dependencies")
def test_dependencies(host: Host) -> None:
    missing = ask(host, f"{AS_NOBODY}rpm -Va --nofiles --noscripts --nodigest --nosignature", accept=(0, 1))
    expect("unsatisfied dependencies of installed packages", missing, equals="", expected="none")
