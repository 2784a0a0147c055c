"""Whether an image is free of what its build should have kept for itself."""

from __future__ import annotations

import re
from datetime import datetime

import pytest

from harness.suite import Host, Parameters, ask, expect, rule

SHELLS = ".bash_history .zsh_history .sh_history .ash_history .history .local/share/fish/fish_history .lesshst .viminfo .wget-hsts"
DATABASES = ".mysql_history .psql_history .rediscli_history .sqlite_history .mongo_history .dbshell .mongodb/mongosh/mongosh_repl_history"
HISTORIES = f"{SHELLS} {DATABASES} .python_history .node_repl_history .irb_history"
GOOGLE = ".config/gcloud/credentials.db .config/gcloud/application_default_credentials.json"
AZURE = ".azure/accessTokens.json .azure/msal_token_cache.json"
STORES = ".netrc .git-credentials .pypirc .pgpass .s3cfg .boto .vault-token .config/gh/hosts.yml .terraform.d/credentials.tfrc.json"
CREDENTIALS = f".aws/credentials {GOOGLE} {AZURE} {STORES}"
CLIENTS = ".docker/config.json .config/containers/auth.json .npmrc .pip/pip.conf .config/pip/pip.conf .my.cnf .kube/config .m2/settings.xml"
LOGIN = (
    r""""auth"[[:space:]]*:|_(authToken|auth|password)[[:space:]]*=|//[^/@[:space:]]+:[^/@[:space:]]+@|<password>|"""
    r"""^[[:space:]]*"?(password|token|client-key-data)"?[[:space:]]*[:=]"""
)
KEYS, HOSTS = ".ssh/authorized_keys .ssh/authorized_keys2", ".ssh/known_hosts .ssh/known_hosts.old"
HOMES = """getent passwd | awk -F: '$6 ~ "^/" { sub("/$", "", $6); print $6 }' | sort -u"""
IN_HOMES = f"""{HOMES} | while IFS= read -r h; do
for n in {KEYS} {HOSTS} {CREDENTIALS} {HISTORIES}; do [ ! -s "$h/$n" ] || [ ! -f "$h/$n" ] || printf '%s\\n' "$h/$n"; done
for n in {CLIENTS}; do [ ! -s "$h/$n" ] || grep -lE '{LOGIN}' -- "$h/$n" || [ $? = 1 ] || exit; done
[ ! -d "$h/.aws" ] || find "$h/.aws" -type f -path '*/cache/*.json' -size +0 || exit; done"""
"""Which of the files are there with something in them, in every home; those of clients only with a log-in inside."""
LEFT = r"""type find awk last grep >/dev/null || exit 127
born=/etc/machine-id; [ -s $born ] || exit 3; id=$(cat $born)
f() { k=$1; shift; w=; while [ "$1" != : ]; do [ ! -e "$1" ] || w="$w $1"; shift; done; shift
[ -z "$w" ] || find $w -xdev -ignore_readdir_race "$@" -printf "$k %p\n" || exit 1; }
agent=/opt/aws/amazon-cloudwatch-agent; q=/var/spool/postfix
f temporary /tmp /var/tmp : -maxdepth 2 \( -name 'TOE_*' -o -name imagebuilder_service -o -name 'systemd-private-*' \) -prune -o \
  -type f \( -name '*.sh' -o -name '*.py' -o -name '*.rpm' -o -name '*.tar' -o -name '*.tar.*' -o -name '*.tgz' -o -name '*.zip' \
  -o -name '*.pem' -o -name '*.key' -o -name '*.ppk' \)
f packages /var/cache /root : -type f -name '*.rpm'
f dumps /var/lib/systemd/coredump /var/crash /var/spool/abrt : -type f
f dumps / /tmp /var/tmp /root : -maxdepth 1 -type f \( -name 'core.[0-9]*' -o -name core \)
f mail /var/spool/mail /var/spool/mqueue /var/spool/clientmqueue $q/active $q/bounce $q/corrupt $q/defer $q/deferred $q/hold $q/incoming \
  $q/maildrop : -type f -size +0
f devices /etc/udev/rules.d : -maxdepth 1 -type f -name '70-persistent-*.rules'
for n in /etc/sysconfig/network-scripts/ifcfg-* /etc/systemd/network/*.network /etc/NetworkManager/system-connections/*; do
  [ ! -f "$n" ] || ! grep -qiE '^[[:space:]]*(HWADDR|MACADDR|(Permanent)?MACAddress|mac-address)[[:space:]]*=' -- "$n" || echo "devices $n"
done
f rotated /var/log $agent/logs : -path /var/log/journal -prune -o -type f ! -newer $born \( -name '*-20[0-9][0-9][01][0-9][0-3][0-9]*' \
  -o -name '*.[0-9]' -o -name '*.[0-9][0-9]' -o -name '*.gz' -o -name '*.xz' -o -name '*.bz2' -o -name '*.zst' -o -name '*.old' \)
f rotated /var/log/journal : -mindepth 2 -type f ! -path "/var/log/journal/$id/*"
for n in wtmp btmp; do [ ! -s /var/log/$n ] || last -w --time-format iso -f /var/log/$n >/dev/null || exit
  [ ! -s /var/log/$n ] || last -w --time-format iso -f /var/log/$n | sed "s/^/login /"; done
f build /tmp /var/tmp /root /home /opt /var/lib/amazon : -maxdepth 3 \( \( -name 'TOE_*' -o -name imagebuilder_service \) ! -newer $born \
  -o -name 'packer-*' -o -path '*/.ansible/tmp' -o -name .ansible_async \) -prune
f installer /root : -maxdepth 1 -type f \( -name '*-ks.cfg' -o -name 'ks-*' -o -name 'install.log*' \)
f installer /var/log/anaconda : -type f
f ssm /var/lib/amazon/ssm : -maxdepth 3 \( -path '*/ssm/registration' -o -path '*/Vault/Store/RegistrationKey' -o -name 'mi-*' \
  -o -path '*/Vault/Store/EC2RegistrationKey' ! -newer $born \) -prune
f agent $agent/logs $agent/var : -type f -size +0 ! -newer $born
f tests /root /tmp /var/tmp : -mindepth 2 -maxdepth 5 -name pyvenv.cfg
f tests /root /home /opt /tmp /var/tmp : -maxdepth 6 -type d \( -name .pytest_cache -o -name .tox -o -name .nox -o -name .mypy_cache \
  -o -name .ruff_cache -o -name .hypothesis -o -path '*/.cache/pip' -o -path '*/.cache/uv' -o -path '*/.cache/pipenv' \
  -o -path '*/.cache/pypoetry' -o -path '*/.npm/_cacache' \) -prune
now=$(readlink /var/lib/cloud/instance || :)
f cloud /var/lib/cloud/instances : -mindepth 1 -maxdepth 1 ! -name "${now##*/}"
f cloud /var/lib/cloud/seed : -type f
f keys /etc/ssh : -maxdepth 1 -type f -name 'ssh_host_*_key' ! -newermt "@$(($(stat -c %Y $born) - 1))"
f identity /var/lib/dhclient /var/lib/dhcp /var/lib/NetworkManager : -type f \( -name '*.lease*' -o -name secret_key \) ! -newer $born
f identity /var/lib/systemd/random-seed : ! -newer $born
f identity /etc : -maxdepth 1 -type f \( -name 'resolv.conf.predhclient*' -o -name 'resolv.conf.bak*' -o -name 'resolv.conf.save*' \)
grep -qF ' /etc/hostname ' /proc/self/mountinfo || grep -qsE '^[[:space:]]*localhost' /etc/hostname || f identity /etc/hostname : \
  -type f -size +0 ! -newer $born
n=/var/lib/dbus/machine-id; [ ! -f $n ] || [ -h $n ] || [ ! -s $n ] || [ "$(cat $n)" = "$id" ] || echo "identity $n"
f swap / /var /mnt /home /opt /tmp /var/tmp /root : -maxdepth 1 -type f -size +39k -iname '*swap*'
f copies /etc : -type f \( -name '*.rpmsave' -o -name '*.rpmnew' -o -name '*.rpmorig' -o -name '*~' -o -name '.*.sw[op]' \)
echo "born $(stat -c %Y $born)"
"""
"""What a build may leave, each line with its kind before it: one question for all. A machine is as old as its machine-id, which
Image Builder empties and the first boot writes: logs and keys that are older came with the image."""
SECRETS = r"""type grep awk sort >/dev/null || exit 127
grep -rIoHE --devices=skip -e '^-----BEGIN ([A-Z]+ )*PRIVATE KEY-----' -e '(^|[^0-9A-Za-z])(AKIA|ASIA)[0-9A-Z]{16}($|[^0-9A-Za-z])' \
/root /home /opt /etc 2>/dev/null | awk '
sub(/:-----BEGIN ([A-Z]+ )*PRIVATE KEY-----$/, "") { print "private-key " $0; next }
match($0, /:[^0-9A-Za-z]?A[KS]IA[0-9A-Z]+[^0-9A-Za-z]?$/) {
  name = substr($0, 1, RSTART - 1); key = substr($0, RSTART); gsub(/[^0-9A-Z]/, "", key); if (key !~ /EXAMPLE$/) print "access-key " name
}' | sort -u"""
"""One search for both; only the files' names leave the host. The key of AWS's own documentation ends in EXAMPLE and opens nothing."""


def in_homes(host: Host, names: str) -> list[str]:
    """Return those of the names that are files with something in them, in the home of anybody."""
    return [name for name in ask(host, IN_HOMES).splitlines() if name.endswith(tuple(f"/{each}" for each in names.split()))]


def left(host: Host, kind: str) -> list[str]:
    """Return what is left of a kind."""
    return sorted({name for each, _, name in (line.partition(" ") for line in ask(host, LEFT).splitlines()) if each == kind})


def earlier_log_ins(host: Host) -> list[str]:
    """Return the log-ins, and the refused ones, that are on record from before the machine existed."""
    born = int(left(host, "born")[0])
    found = (
        re.match(r"(?!reboot |shutdown |runlevel |[wb]tmp begins )(\S+) .*?(\d{4}-\d\d-\d\dT[\d:]+[+-][\d:]+)", line)
        for line in left(host, "login")
    )
    return [f"{entry[1]} at {entry[2]}" for entry in found if entry and datetime.fromisoformat(entry[2]).timestamp() < born]


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
    cached = [name for name in ask(host, IN_HOMES).splitlines() if "/.aws/" in name and "/cache/" in name]
    expect("stored credentials", in_homes(host, f"{CREDENTIALS} {CLIENTS}") + cached, equals=[])


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
    ("what", "kind"),
    [
        pytest.param("downloaded packages", "packages", marks=rule("hygiene-package-cache")),
        pytest.param("scripts, archives, packages and keys", "temporary", marks=rule("hygiene-temporary-files")),
        pytest.param("core dumps", "dumps", marks=rule("hygiene-core-dumps")),
        pytest.param("mail", "mail", marks=rule("hygiene-mail")),
        pytest.param("names bound to hardware", "devices", marks=rule("hygiene-device-names")),
        pytest.param("rotated logs of before this machine, and journals of another", "rotated", marks=rule("hygiene-rotated-logs")),
        pytest.param("working folders of build tools", "build", marks=rule("hygiene-build-logs")),
        pytest.param("files of an installer", "installer", marks=rule("hygiene-installer-files")),
        pytest.param("registrations with Systems Manager", "ssm", marks=rule("hygiene-ssm-registration")),
        pytest.param("logs and state of the agent of before this machine", "agent", marks=rule("hygiene-agent-state")),
        pytest.param("virtual environments and caches of tests", "tests", marks=rule("hygiene-test-tools")),
        pytest.param("state and seeds of other instances", "cloud", marks=rule("hygiene-cloud-init")),
        pytest.param("host keys that are older than this machine", "keys", marks=rule("hygiene-host-keys")),
        pytest.param("names, leases and seeds of another machine", "identity", marks=rule("hygiene-identity")),
        pytest.param("swap files", "swap", marks=rule("hygiene-swap-files")),
        pytest.param("copies left by packages and editors", "copies", marks=rule("hygiene-package-files")),
    ],
)
def test_files(host: Host, what: str, kind: str) -> None:
    """A folder that does not exist holds nothing."""
    expect(what, left(host, kind), equals=[])


@rule("hygiene-login-records")
def test_login_records(host: Host) -> None:
    expect("log-ins on record from before this machine", earlier_log_ins(host), equals=[])
