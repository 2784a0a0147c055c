"""Whether known holes are closed, packages come from where they should, and an instance stays as it was tested."""

from __future__ import annotations

import re
from configparser import RawConfigParser
from typing import TYPE_CHECKING

from harness.suite import Host, Parameters, ask, expect, key_values, read, rule, texts, verify_only

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAIN = "/etc/dnf/dnf.conf /etc/yum.conf"
REPOSITORIES = "/etc/yum.conf /etc/dnf/dnf.conf /etc/yum.repos.d/*.repo /etc/distro.repos.d/*.repo"
YES = {"1", "yes", "true", "on"}


def sections(text: str) -> dict[str, Mapping[str, str]]:
    """Read a file of yum's: sections of `key = value`, where a line that begins with a blank goes on with the value."""
    parser = RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#", ";"), default_section="\0")
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


def repositories(host: Host) -> Iterator[tuple[str, list[str], Mapping[str, str]]]:
    """Yield each repository in use: its name, its addresses with yum's variables put in, and what its section says."""
    variables = {name.rpartition("/")[2]: text.strip() for name, text in texts(host, "/etc/yum/vars/* /etc/dnf/vars/*").items()}
    for text in texts(host, REPOSITORIES).values():
        for name, section in sections(text).items():
            if name == "main" or section.get("enabled", "1").lower() not in YES:
                continue
            said = " ".join(section.get(key, "") for key in ("baseurl", "mirrorlist", "metalink"))
            addresses = re.sub(r"\$\{?(\w+)\}?", lambda found: variables.get(found[1], found[0]), said).replace(",", " ").split()
            yield name, addresses, section


@verify_only("the package manager downloads lists into its cache")
@rule("updates-security")
def test_security(host: Host, parameters: Parameters) -> None:
    # Without a release, Amazon Linux 2023 compares the image with its own release and always says that nothing is missing. And a
    # repository that does not answer must not look like one without updates.
    release = parameters["updates_releasever"]
    options = "'--setopt=*.skip_if_unavailable=0'" + (f" --releasever={release}" if release else "")
    said = ask(host, f"yum -q {options} updateinfo list security")
    expect("security updates that are not installed", [line.split()[-1] for line in said.splitlines() if "/Sec." in line], equals=[])


@rule("updates-signatures")
def test_signatures(host: Host) -> None:
    for name, text in texts(host, MAIN).items():
        expect(f"gpgcheck in {name}", sections(text).get("main", {}).get("gpgcheck", "absent").lower(), one_of=sorted(YES))


@rule("updates-repository-signatures")
def test_repository_signatures(host: Host) -> None:
    unsigned = [
        name
        for name, addresses, section in repositories(host)
        if section.get("gpgcheck", "1").lower() not in YES and not (addresses and all(address.startswith("file:") for address in addresses))
    ]
    expect("repositories on other machines without signature checks", unsigned, equals=[])


@rule("updates-repositories")
def test_repositories(host: Host) -> None:
    plain = [
        f"{name}: {address}"
        for name, addresses, _ in repositories(host)
        for address in addresses
        if not address.startswith(("https:", "file:"))
    ]
    expect("repositories that are not read over TLS", plain, equals=[])


@rule("updates-release-lock")
def test_release_lock(host: Host) -> None:
    lock = read(host, "/etc/dnf/vars/releasever")
    expect("release in /etc/dnf/vars/releasever", (lock or "absent").strip(), matches=r"^(absent|\d{4}(\.\d+)+)$")


@rule("updates-first-boot")
def test_first_boot(host: Host, parameters: Parameters) -> None:
    files = texts(host, "/etc/cloud/cloud.cfg /etc/cloud/cloud.cfg.d/*.cfg")
    # cloud-init reads cloud.cfg, then the drop-ins by name; the last one wins.
    said = {key: value for text in files.values() for key, value in key_values(text, ":").items()}
    wanted = parameters["updates_at_first_boot"]
    expect("repo_upgrade of cloud-init", said.get("repo_upgrade"), equals=wanted)
    expect("package_upgrade of cloud-init", said.get("package_upgrade"), equals="false" if wanted == "none" else "true")


@rule("updates-os-supported")
def test_os_supported(host: Host) -> None:
    today = ask(host, "date -u +%F")
    end = key_values(read(host, "/etc/os-release")).get("SUPPORT_END")
    expect("end of support of this release (SUPPORT_END)", end, that=lambda day: str(day) >= today, expected=f"{today} or later")
