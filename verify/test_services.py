"""Whether nothing runs, starts or listens that the image has no purpose for."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import NamedTuple

import pytest

from harness.suite import Host, Parameters, ask, expect, key_values, path, read, rule, texts, units

OFF = {
    "services-cups": "cups.service cups.socket cups.path cups-browsed.service",
    "services-bluetooth": "bluetooth.service",
    "services-avahi": "avahi-daemon.service avahi-daemon.socket",
    "services-rpcbind": "rpcbind.service rpcbind.socket",
    "services-nfs-server": "nfs-server.service nfs-mountd.service rpc-statd.service",
    "services-autofs": "autofs.service",
    "services-telnet": "telnet.socket",
    "services-remote-shell": "rsh.socket rlogin.socket rexec.socket",
    "services-tftp": "tftp.service tftp.socket",
    "services-nis": "ypserv.service ypbind.service yppasswdd.service ypxfrd.service",
    "services-xinetd": "xinetd.service",
    "services-talk": "talk.service talk.socket ntalk.service ntalk.socket",
    "services-finger": "finger.socket",
    "services-ftp": "vsftpd.service proftpd.service pure-ftpd.service",
    "services-snmp": "snmpd.service snmptrapd.service",
    "services-dns": "named.service named-chroot.service",
    "services-dnsmasq": "dnsmasq.service",
    "services-dhcp-server": "dhcpd.service dhcpd6.service",
    "services-samba": "smb.service nmb.service",
    "services-web": "httpd.service httpd.socket nginx.service",
    "services-proxy": "squid.service",
    "services-mail-access": "dovecot.service dovecot.socket cyrus-imapd.service",
    "services-rsync": "rsyncd.service rsyncd.socket",
    "services-ldap-server": "slapd.service",
}
"""A rule, and the units that must neither run nor start, unless `services_kept` names them."""

MAILERS = "sendmail.service exim.service"
ALL = tuple(" ".join((*OFF.values(), MAILERS)).split())

SIMPLE = {7: "echo", 9: "discard", 13: "daytime", 19: "chargen", 37: "time"}
MAIL_PORTS = {25, 465, 587}


class Listener(NamedTuple):
    """A socket that waits for others."""

    protocol: str
    address: str
    port: int
    process: str

    @property
    def local(self) -> bool:
        """Tell whether only this host can reach it."""
        return self.address not in {"*", ""} and ip_address(self.address).is_loopback

    def __str__(self) -> str:
        return f"{self.protocol}/{self.port} on {self.address} ({self.process or 'unknown'})"


def listeners(host: Host) -> list[Listener]:
    """Return the TCP and UDP sockets that wait; a datagram socket of dhclient on a port of its choice is no service."""
    found = []
    for line in ask(host, "ss -tulnp").splitlines()[1:]:
        protocol, _, _, _, local, _, *rest = line.split()
        address, _, port = local.rpartition(":")
        process = re.search(r'\(\("([^"]+)"', " ".join(rest))
        found.append(Listener(protocol, re.sub(r"%.*$", "", address.strip("[]").split("]")[0]), int(port), process[1] if process else ""))
    return [each for each in found if (each.protocol, each.process) != ("udp", "dhclient") or each.port < 1024]


def judge_off(host: Host, parameters: Parameters, names: str) -> None:
    """Judge that units are off, all of one question for the whole suite."""
    found, kept = units(host, ALL), parameters.words("services_kept")
    for name in names.split():
        state = found[name]
        if name in kept:
            expect(name, "kept", equals="kept", expected="anything: services_kept names it")
        else:
            observed = f"{state.load}, {state.active}, {state.file or 'not enabled'}"
            expect(name, observed, equals=observed if state.off else "off", expected="absent, or not running and disabled or masked")


@pytest.mark.parametrize("names", [pytest.param(names, id=name, marks=rule(name)) for name, names in OFF.items()])
def test_off(host: Host, parameters: Parameters, names: str) -> None:
    judge_off(host, parameters, names)


@rule("services-mail-transfer")
def test_mail_transfer(host: Host, parameters: Parameters) -> None:
    judge_off(host, parameters, MAILERS)
    main = read(host, "/etc/postfix/main.cf")
    if main is None:
        expect("postfix", None, equals=None, expected="absent, or on the loopback interface only")
    else:
        joined = re.sub(r"\n[ \t]+", " ", main)
        expect("inet_interfaces of postfix", key_values(joined).get("inet_interfaces"), matches=r"^(loopback-only|localhost|127\.0\.0\.1)$")
    expect("mail ports open to others", [str(each) for each in listeners(host) if each.port in MAIL_PORTS and not each.local], equals=[])


@rule("services-mail-commands")
def test_mail_commands(host: Host) -> None:
    for name, facts in {name: path(host, name) for name in ("/usr/sbin/postsuper", "/usr/sbin/exiqgrep")}.items():
        observed = "absent" if facts is None else "others run it" if facts.mode & 0o001 else "closed to others"
        expect(name, observed, one_of=("absent", "closed to others"))


@rule("services-mail-vrfy")
def test_mail_vrfy(host: Host) -> None:
    main = read(host, "/etc/postfix/main.cf")
    if main is None:
        expect("postfix", None, equals=None, expected="absent, or with disable_vrfy_command = yes")
    else:
        expect("disable_vrfy_command of postfix", key_values(re.sub(r"\n[ \t]+", " ", main)).get("disable_vrfy_command"), equals="yes")


@rule("services-simple-tcp")
def test_simple_tcp(host: Host) -> None:
    expect("sockets of " + ", ".join(SIMPLE.values()), [str(each) for each in listeners(host) if each.port in SIMPLE], equals=[])


@rule("services-listening-ports")
def test_listening_ports(host: Host, parameters: Parameters) -> None:
    approved = parameters.words("services_listening_ports")
    others = [str(each) for each in listeners(host) if not each.local and f"{each.protocol}/{each.port}" not in approved]
    expect("sockets open to others beside " + ", ".join(approved), others, equals=[])


@rule("services-name-multicast")
def test_name_multicast(host: Host) -> None:
    folders = ("/etc/systemd", "/run/systemd", "/usr/lib/systemd")
    files = texts(host, "/etc/systemd/resolved.conf " + " ".join(f"{folder}/resolved.conf.d/*.conf" for folder in folders))
    chosen: dict[str, str] = {}
    for name, text in files.items():
        chosen.setdefault(PurePosixPath(name).name, text)
    # The main file comes first; of the drop-ins, sorted by name, the last one wins.
    main = chosen.pop("resolved.conf", "")
    said = key_values("\n".join([main, *(chosen[name] for name in sorted(chosen))]))
    expect("LLMNR of systemd-resolved", said.get("LLMNR"), equals="no")
    expect("MulticastDNS of systemd-resolved", said.get("MulticastDNS"), equals="no")


@rule("services-default-target")
def test_default_target(host: Host) -> None:
    expect("default target", ask(host, "systemctl get-default"), one_of=("multi-user.target", "basic.target"))
