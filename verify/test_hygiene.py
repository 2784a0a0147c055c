"""Whether an image is free of what its build should have kept for itself."""

from __future__ import annotations

import re

import pytest

from harness.suite import Host, Parameters, ask, expect, rule

SHELLS = ".bash_history .zsh_history .sh_history .history .python_history"
HISTORIES = f"{SHELLS} .lesshst .viminfo .mysql_history .psql_history .rediscli_history .sqlite_history"
CREDENTIALS = ".aws/credentials .netrc .git-credentials .pypirc .vault-token .azure/accessTokens.json .config/gcloud/credentials.db"
TEMPORARY = (
    r"find /tmp /var/tmp -xdev -maxdepth 2 \( -name 'TOE_*' -o -name imagebuilder_service -o -name 'systemd-private-*' \) -prune -o "
    r"-type f \( -name '*.sh' -o -name '*.py' -o -name '*.rpm' -o -name '*.tar' -o -name '*.tar.*' -o -name '*.tgz' -o -name '*.zip' "
    r"-o -name '*.pem' -o -name '*.key' -o -name '*.ppk' \) -print"
)
DUMPS = (
    "find /var/lib/systemd/coredump /var/crash -xdev -type f -print 2>/dev/null; "
    r"find / /tmp /var/tmp /root -xdev -maxdepth 1 -type f \( -name 'core.[0-9]*' -o -name core \) -print"
)
KEYS, HOSTS = ".ssh/authorized_keys .ssh/authorized_keys2", ".ssh/known_hosts .ssh/known_hosts.old"
REGISTRIES = ".docker/config.json .config/containers/auth.json"
HOMES = """getent passwd | awk -F: '$3 == 0 || ($3 >= 1000 && $1 !~ /^(nobody|nfsnobody)$/ && $6 != "/") { print $6 }' | sort -u"""
IN_HOMES = f"""{HOMES} | while IFS= read -r h; do
for n in {KEYS} {HOSTS} {CREDENTIALS} {HISTORIES}; do [ ! -s "$h/$n" ] || printf '%s\\n' "$h/$n"; done
for n in {REGISTRIES}; do [ ! -s "$h/$n" ] || grep -lE '"auth"[[:space:]]*:' -- "$h/$n" || [ $? = 1 ]; done; done"""
"""Which of the files are there with something in them, in /root and in the homes of people; the last ones only with a log-in inside."""
SECRETS = r"""type grep awk sort >/dev/null || exit 127
grep -rIoHE --devices=skip -e '^-----BEGIN ([A-Z]+ )*PRIVATE KEY-----' -e '(^|[^0-9A-Za-z])(AKIA|ASIA)[0-9A-Z]{16}($|[^0-9A-Za-z])' \
/root /home /opt /etc 2>/dev/null | awk '
sub(/:-----BEGIN ([A-Z]+ )*PRIVATE KEY-----$/, "") { print "private-key " $0; next }
match($0, /:[^0-9A-Za-z]?A[KS]IA[0-9A-Z]+[^0-9A-Za-z]?$/) {
  name = substr($0, 1, RSTART - 1); key = substr($0, RSTART); gsub(/[^0-9A-Z]/, "", key); if (key !~ /EXAMPLE$/) print "access-key " name
}' | sort -u"""
"""One search for both; only the files' names leave the host. The key of AWS's own documentation ends in EXAMPLE and opens nothing."""


def in_homes(host: Host, names: str) -> list[str]:
    """Return those of the names that are files with something in them, in /root or the home of a person."""
    return [name for name in ask(host, IN_HOMES).splitlines() if name.endswith(tuple(f"/{each}" for each in names.split()))]


def holding(host: Host, kind: str) -> list[str]:
    """Return the files that hold a secret of a kind."""
    return [name for each, _, name in (line.partition(" ") for line in ask(host, SECRETS).splitlines()) if each == kind]


@rule("hygiene-authorized-keys")
def test_authorized_keys(host: Host) -> None:
    expect("files with keys that may log in", in_homes(host, KEYS), equals=[])


@rule("hygiene-private-keys")
def test_private_keys(host: Host, parameters: Parameters) -> None:
    found = holding(host, "private-key")
    allowed = parameters.words("hygiene_allowed_keys")
    unknown = [name for name in found if name not in allowed and not re.fullmatch(r"/etc/ssh/ssh_host_\w+_key", name)]
    expect("private keys", sorted(unknown), equals=[])


@rule("hygiene-credentials")
def test_credentials(host: Host) -> None:
    expect("stored credentials", in_homes(host, f"{CREDENTIALS} {REGISTRIES}"), equals=[])


@rule("hygiene-secrets")
def test_secrets(host: Host) -> None:
    expect("files with an AWS access key", holding(host, "access-key"), equals=[])


@pytest.mark.parametrize(
    ("what", "names"),
    [
        pytest.param("histories", HISTORIES, marks=rule("hygiene-shell-history")),
        pytest.param("lists of known hosts", HOSTS, marks=rule("hygiene-known-hosts")),
    ],
)
def test_dot_files(host: Host, what: str, names: str) -> None:
    expect(what, in_homes(host, names), equals=[])


@pytest.mark.parametrize(
    ("what", "command"),
    [
        pytest.param(
            "downloaded packages", "find /var/cache /root -xdev -type f -name '*.rpm' -print", marks=rule("hygiene-package-cache")
        ),
        pytest.param("scripts, archives, packages and keys", TEMPORARY, marks=rule("hygiene-temporary-files")),
        pytest.param("core dumps", DUMPS, marks=rule("hygiene-core-dumps")),
        pytest.param("mail", "find /var/spool/mail /var/mail -xdev -type f -size +0 -print 2>/dev/null", marks=rule("hygiene-mail")),
        pytest.param(
            "rules with device names",
            "find /etc/udev/rules.d -maxdepth 1 -type f -name '70-persistent-*.rules' -print 2>/dev/null",
            marks=rule("hygiene-device-names"),
        ),
    ],
)
def test_files(host: Host, what: str, command: str) -> None:
    """A folder that does not exist holds nothing."""
    expect(what, sorted(set(ask(host, command, accept=(0, 1)).splitlines())), equals=[])
