"""Whether sshd lets in only whom it should, in the way it should."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.suite import CannotTell, Host, Parameters, expect, path, paths, read, rule, sshd, texts, unit, yaml_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAIN = "/etc/ssh/sshd_config"
DROP_INS = "/etc/ssh/sshd_config.d/*.conf"
DECISIVE = {
    "permitrootlogin",
    "passwordauthentication",
    "kbdinteractiveauthentication",
    "challengeresponseauthentication",
    "permitemptypasswords",
}
LONGEST_SILENCE = 600
"""Seconds; KISA U-12 asks for the end of an idle session within ten minutes."""


def option(host: Host, keyword: str) -> str | None:
    """Return sshd's effective value for ec2-user; None where this build does not know the keyword."""
    return sshd(host).get(keyword)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        pytest.param("passwordauthentication", "no", marks=rule("ssh-password-authentication")),
        pytest.param("permitemptypasswords", "no", marks=rule("ssh-empty-passwords")),
        pytest.param("pubkeyauthentication", "yes", marks=rule("ssh-public-key-authentication")),
        pytest.param("x11forwarding", "no", marks=rule("ssh-x11-forwarding")),
        pytest.param("allowagentforwarding", "no", marks=rule("ssh-agent-forwarding")),
        pytest.param("gatewayports", "no", marks=rule("ssh-gateway-ports")),
        pytest.param("permittunnel", "no", marks=rule("ssh-tunnel")),
        pytest.param("hostbasedauthentication", "no", marks=rule("ssh-hostbased-authentication")),
        pytest.param("ignorerhosts", "yes", marks=rule("ssh-ignore-rhosts")),
        pytest.param("permituserenvironment", "no", marks=rule("ssh-user-environment")),
        pytest.param("strictmodes", "yes", marks=rule("ssh-strict-modes")),
        pytest.param("usepam", "yes", marks=rule("ssh-pam")),
        pytest.param("banner", "/etc/issue.net", marks=rule("ssh-banner")),
    ],
)
def test_fixed_value(host: Host, keyword: str, value: str) -> None:
    expect(keyword, option(host, keyword), equals=value)


@rule("ssh-root-login")
def test_root_login(host: Host) -> None:
    expect("permitrootlogin for root", sshd(host, "root").get("permitrootlogin"), equals="no")


@rule("ssh-keyboard-interactive")
def test_keyboard_interactive(host: Host) -> None:
    expect("kbdinteractiveauthentication", option(host, "kbdinteractiveauthentication"), equals="no")
    # Up to 8.6 the old name is a setting of its own; newer ones print one name only.
    expect("challengeresponseauthentication", sshd(host).get("challengeresponseauthentication", "no"), equals="no")


@rule("ssh-gssapi-authentication")
def test_gssapi_authentication(host: Host) -> None:
    # A build without Kerberos prints no such keyword and cannot do it.
    expect("gssapiauthentication", sshd(host).get("gssapiauthentication", "no"), equals="no")


@rule("ssh-max-auth-tries")
def test_max_auth_tries(host: Host, parameters: Parameters) -> None:
    expect("maxauthtries", option(host, "maxauthtries"), at_least=1, at_most=parameters.integer("ssh_max_auth_tries"))


@rule("ssh-login-grace-time")
def test_login_grace_time(host: Host, parameters: Parameters) -> None:
    # 0 means without limit.
    expect("logingracetime", option(host, "logingracetime"), at_least=1, at_most=parameters.integer("ssh_login_grace_time"))


@rule("ssh-max-sessions")
def test_max_sessions(host: Host, parameters: Parameters) -> None:
    expect("maxsessions", option(host, "maxsessions"), at_least=1, at_most=parameters.integer("ssh_max_sessions"))


@rule("ssh-max-startups")
def test_max_startups(host: Host, parameters: Parameters) -> None:
    start, rate, full = map(int, parameters["ssh_max_startups"].split(":"))

    def strict_enough(value: str) -> bool:
        numbers = [int(number) for number in value.split(":")]
        return len(numbers) == len((start, rate, full)) and numbers[0] <= start and numbers[1] >= rate and numbers[2] <= full

    expect("maxstartups", option(host, "maxstartups"), that=strict_enough, expected=f"{start}:{rate}:{full} or stricter")


@rule("ssh-client-alive")
def test_client_alive(host: Host, parameters: Parameters) -> None:
    interval, count = option(host, "clientaliveinterval"), option(host, "clientalivecountmax")
    expect("clientaliveinterval", interval, at_least=1, at_most=parameters.integer("ssh_client_alive_interval"))
    expect("clientalivecountmax", count, at_least=1, at_most=parameters.integer("ssh_client_alive_count_max"))
    expect("seconds until a dead session is closed", int(interval or 0) * int(count or 0), at_most=LONGEST_SILENCE)


@pytest.mark.parametrize(
    "keyword",
    [
        pytest.param("allowtcpforwarding", marks=rule("ssh-tcp-forwarding")),
        pytest.param("allowstreamlocalforwarding", marks=rule("ssh-stream-local-forwarding")),
    ],
)
def test_forwarding(host: Host, parameters: Parameters, keyword: str) -> None:
    allowed = {"no": {"no"}, "local": {"no", "local"}, "yes": {"no", "local", "remote", "yes"}}[parameters["ssh_tcp_forwarding"]]
    expect(keyword, option(host, keyword), one_of=sorted(allowed))


@rule("ssh-log-level")
def test_log_level(host: Host, parameters: Parameters) -> None:
    expect("loglevel", option(host, "loglevel"), one_of=("VERBOSE",) if parameters["ssh_log_level"] == "VERBOSE" else ("INFO", "VERBOSE"))


@pytest.mark.parametrize(
    ("keyword", "parameter"),
    [
        pytest.param("ciphers", "ssh_ciphers", marks=rule("ssh-ciphers")),
        pytest.param("macs", "ssh_macs", marks=rule("ssh-macs")),
        pytest.param("kexalgorithms", "ssh_kex_algorithms", marks=rule("ssh-kex-algorithms")),
    ],
)
def test_algorithms(host: Host, parameters: Parameters, keyword: str, parameter: str) -> None:
    names = (option(host, keyword) or "").split(",")
    expect(keyword, names, within=parameters.words(parameter))


@rule("ssh-allow-groups")
def test_allow_groups(host: Host, parameters: Parameters) -> None:
    wanted = parameters.words("ssh_allow_groups")
    groups = (option(host, "allowgroups") or "").split()
    expect("allowgroups", groups or None, within=wanted)
    theirs = host.run("id -Gn ec2-user")
    if theirs.rc == 0:
        expect(
            "groups of ec2-user that may log in",
            [group for group in theirs.stdout.split() if group in groups],
            that=bool,
            expected="one at least",
        )


@rule("ssh-match-exceptions")
def test_match_exceptions(host: Host) -> None:
    found = [
        f"{name}: {keyword} {value}"
        for name, text in texts(host, f"{MAIN} {DROP_INS}").items()
        for keyword, value, inside in directives(text)
        if inside and keyword in DECISIVE and value != "no"
    ]
    expect("authentication opened in Match blocks", found, equals=[])


@rule("ssh-main-password-line")
def test_main_password_line(host: Host) -> None:
    lines = [value for keyword, value, inside in directives(read(host, MAIN) or "") if keyword == "passwordauthentication" and not inside]
    expect(f"PasswordAuthentication in the global part of {MAIN}", lines[0] if lines else None, equals="no")


def directives(text: str) -> Iterator[tuple[str, str, bool]]:
    """Yield keyword in lower case, value, and whether it stands in a Match block."""
    inside = False
    for line in text.splitlines():
        keyword, _, value = line.strip().replace("=", " ", 1).replace("\t", " ").partition(" ")
        if not keyword or keyword.startswith("#"):
            continue
        keyword = keyword.lower()
        inside = inside or keyword == "match"
        yield keyword, value.strip().strip('"'), inside


@rule("ssh-config-mode")
def test_config_mode(host: Host) -> None:
    facts = path(host, MAIN)
    expect(MAIN, facts and f"{facts.owner}:{facts.group}", equals="root:root")
    expect(f"mode of {MAIN}", facts and facts.octal, that=lambda mode: not int(mode, 8) & ~0o600, expected="0600 or less")


@pytest.mark.parametrize(
    ("patterns", "allowed"),
    [
        pytest.param(DROP_INS, 0o600, marks=rule("ssh-dropin-mode")),
        pytest.param("/etc/ssh/ssh_host_*_key.pub", 0o644, marks=rule("ssh-public-host-key-mode")),
    ],
)
def test_modes(host: Host, patterns: str, allowed: int) -> None:
    loose = {
        name: f"{facts.octal} {facts.owner}:{facts.group}"
        for name, facts in paths(host, patterns).items()
        if facts.beyond(allowed) or (facts.owner, facts.group) != ("root", "root")
    }
    expect(f"{patterns} beyond root:root {allowed:04o}", loose, equals={})


@rule("ssh-private-host-key-mode")
def test_private_host_key_mode(host: Host) -> None:
    loose = {}
    for name, facts in paths(host, "/etc/ssh/ssh_host_*_key").items():
        # RHEL's ssh-keysign runs as group ssh_keys and has to read them.
        allowed = 0o640 if facts.group == "ssh_keys" else 0o600
        if facts.beyond(allowed) or facts.owner != "root":
            loose[name] = f"{facts.octal} {facts.owner}:{facts.group}"
    expect("private host keys beyond root 0600", loose, equals={})


@rule("ssh-service")
def test_service(host: Host) -> None:
    expect("sshd.service at boot", unit(host, "sshd.service").file or None, equals="enabled")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("ssh_pwauth", False, marks=rule("ssh-cloud-init-passwords")),
        pytest.param("disable_root", True, marks=rule("ssh-cloud-init-root")),
        pytest.param("ssh_deletekeys", True, marks=rule("ssh-cloud-init-host-keys")),
    ],
)
def test_cloud_init(host: Host, key: str, value: object) -> None:
    files = texts(host, "/etc/cloud/cloud.cfg /etc/cloud/cloud.cfg.d/*.cfg")
    if not files:
        expect("cloud-init's configuration", None, equals=None)
        return
    expect(f"{key} of cloud-init", merged(files).get(key), equals=value)


def merged(files: Mapping[str, str]) -> Mapping[str, Any]:
    """Unite cloud-init's files as it does for plain values: the later one wins. Raises CannotTell for what is no YAML."""
    values: dict[str, Any] = {}
    for name, text in files.items():
        try:
            document = yaml_of(text)
        except ValueError as error:
            message = f"{name} is no YAML: {error}"
            raise CannotTell(message) from error
        if isinstance(document, dict):
            values.update(document)
    return values
