"""Whether a hardened image is still one that people can work with: logged in for real, and not read from a file.

Those that connect, reload or write temporary files are no part of an audit.
"""

from __future__ import annotations

import secrets
from ipaddress import IPv4Network, ip_address
from typing import TYPE_CHECKING, Any, Protocol

from harness.suite import AS_NOBODY, Host, Parameters, ask, expect, path, read, rule, sshd, texts, unit, units, verify_only, yaml_of

if TYPE_CHECKING:
    from collections.abc import Sequence


class Login(Protocol):
    """A way in over SSH, by a key of its own."""

    def __call__(self, user: str, command: str) -> tuple[int, str, str]:
        """Run a command as the user, and give exit code, output and errors."""
        ...

    def banner(self, user: str) -> str:
        """Return what sshd shows before the log-in."""
        ...


USER = "ec2-user"
CLOUD = "/etc/cloud/cloud.cfg /etc/cloud/cloud.cfg.d/*.cfg"
CLOUD_UNITS = ("cloud-init-local.service", "cloud-init.service", "cloud-config.service", "cloud-final.service")
ERRORS = """said=$(bash -lc 'bash -lc true' 2>&1 >/dev/null); code=$?
[ -z "$said" ] || printf '%s\\n' "$said" | awk -F: 'NR < 6 { print (NF > 2) ? $1 ":" $2 : "a message" }'; exit $code"""
"""Where a login shell's errors come from; a shell repeats what it does not understand, and that may be a secret."""
PROGRAMS = ("/var/lib/amazon/ssm", "/var/lib/cloud", "/var/tmp", "/opt/aws", "/usr/local/bin")
"""Where the SSM agent, cloud-init, package scripts and the CloudWatch agent start programs from."""
SERVICES = {"169.254.169.254": "instance metadata", "169.254.169.253": "names", "169.254.169.123": "time"}
NETWORKS = ("systemd-networkd.service", "NetworkManager.service", "network.service")


def said(login: Login, command: str) -> str:
    """Run a command as the default user; what it printed, or how it ended."""
    code, out, err = login(USER, command)
    return out.strip() if code == 0 else f"exit code {code}: {(err or out).strip()[:300]}"


@verify_only("it logs in with a key of its own")
@rule("survival-ssh-login")
def test_ssh_login(login: Login) -> None:
    expect("`id -un` over SSH", said(login, "id -un"), equals=USER)


@verify_only("it logs in with a key of its own")
@rule("survival-sudo")
def test_sudo(login: Login) -> None:
    expect("`sudo -n id -u` over SSH", said(login, "sudo -n id -u"), equals="0")


@verify_only("PAM writes down that somebody became another user")
@rule("survival-su")
def test_su(host: Host) -> None:
    """With and without a log-in shell: each has a PAM stack of its own."""
    for command in ("su", "su -"):
        expect(
            f"`{command} {USER}` by root", host.run(f"{command} {USER} -c 'id -un >&3' 3>&1 >/dev/null 2>&1").stdout.strip(), equals=USER
        )


@verify_only("it logs in with a key of its own")
@rule("survival-login-shell")
def test_login_shell(login: Login) -> None:
    """A shell within a shell as well: what is read-only in the first must not be set again in the second."""
    code, out, _ = login(USER, ERRORS)
    expect("exit code of a login shell", code, equals=0)
    expect("errors of a login shell", out.strip(), equals="")


@verify_only("it writes temporary files")
@rule("survival-temporary-files")
def test_temporary_files(login: Login) -> None:
    for folder in ("/tmp", "/var/tmp"):
        command = f'f=$(mktemp -p {folder}) && echo x >"$f" && cat "$f" && rm "$f"'
        expect(f"a file in {folder}", said(login, command), equals="x")


@verify_only("it logs in with a key of its own")
@rule("survival-names")
def test_names(host: Host, login: Login) -> None:
    expect("systemd-resolved.service is masked", unit(host, "systemd-resolved.service").file == "masked", equals=False)
    expect("`getent ahosts localhost` as a user", said(login, "getent ahosts localhost"), matches=r"^(127\.0\.0\.1|::1)\s")
    expect("`getent passwd root` as a user", said(login, "getent passwd root"), matches=r"^root:")


@verify_only("it reloads sshd")
@rule("survival-sshd-reload")
def test_sshd_reload(host: Host) -> None:
    result = host.run("sshd -t && systemctl reload sshd.service")
    expect("sshd -t and reload", "done" if result.rc == 0 else result.stderr.strip()[:300], equals="done")
    expect("sshd.service after the reload", ask(host, "systemctl is-active sshd.service", accept=(0, 3, 4)), equals="active")


@rule("survival-sftp")
def test_sftp(host: Host) -> None:
    _, _, program = sshd(host).get("subsystem", "").partition(" ")
    there = program == "internal-sftp" or (bool(program) and path(host, program.split()[0]) is not None)
    expect("sftp subsystem", program if there else None, that=bool, expected="a program that exists")


@verify_only("the package manager downloads lists into its cache")
@rule("survival-package-manager")
def test_package_manager(host: Host) -> None:
    result = host.run("yum -q repolist")
    expect("yum repolist", "works" if result.rc == 0 else (result.stderr or result.stdout).strip()[:300], equals="works")
    expect("enabled repositories", len(result.stdout.strip().splitlines()), at_least=1)
    expect("packages in the rpm database", len(ask(host, f"{AS_NOBODY}rpm -qa").splitlines()), at_least=1)


@rule("survival-units")
def test_units(host: Host) -> None:
    failed = ask(host, "systemctl --failed --no-legend --plain --no-pager").splitlines()
    expect("failed units", [line.split()[0] for line in failed if line.strip()], equals=[])


@rule("survival-time")
def test_time(host: Host) -> None:
    expect("chronyd.service", unit(host, "chronyd.service").active, equals="active")


@rule("survival-ssm-agent")
def test_ssm_agent(host: Host) -> None:
    """The minimal AMI comes without the agent, and Image Builder installs it for the build: then there is nothing to keep."""
    agent = unit(host, "amazon-ssm-agent.service")
    expect("amazon-ssm-agent.service", agent.file if agent.exists else "not installed", one_of=("enabled", "not installed"))


def covering(mounts: Sequence[list[str]], folder: str) -> list[str]:
    """Return the options of the file system that a folder lies on; none when it has no line of its own or above it."""
    above = [line for line in mounts if (folder + "/").startswith(line[1].rstrip("/") + "/")]
    return max(above, key=lambda line: len(line[1]))[3].split(",") if above else []


@rule("survival-program-folders")
def test_program_folders(host: Host) -> None:
    now = [line.split() for line in ask(host, "cat /proc/mounts").splitlines()]
    lines = [line.split() for line in (read(host, "/etc/fstab") or "").splitlines() if not line.lstrip().startswith("#")]
    boot = [line for line in lines if len(line) > 3 and line[1].startswith("/")]
    for when, mounts in (("now", now), ("at boot", boot)):
        expect(
            f"folders of programs that nobody can start {when}",
            [each for each in PROGRAMS if "noexec" in covering(mounts, each)],
            equals=[],
        )


@rule("survival-link-local")
def test_link_local(host: Host) -> None:
    shut = [line.split() for line in ask(host, "ip -4 route show table all").splitlines()]
    shut = [words for words in shut if words[0] in {"blackhole", "unreachable", "prohibit"}]
    closed = [
        f"{name} ({address})" for address, name in SERVICES.items() if any(ip_address(address) in network(words[1]) for words in shut)
    ]
    expect("services of the instance's own network that a route closes", closed, equals=[])


def network(destination: str) -> IPv4Network:
    """Read a route's destination."""
    return IPv4Network("0.0.0.0/0" if destination == "default" else destination, strict=False)


def cloud_config(host: Host) -> tuple[dict[str, Any], list[str]]:
    """Return cloud-init's configuration as it merges it (a later file replaces a key), and the files that are no YAML."""
    merged: dict[str, Any] = {}
    broken: list[str] = []
    for name, text in texts(host, CLOUD).items():
        try:
            document = yaml_of(text)
        except ValueError:
            broken.append(name)
            continue
        for key, value in (document or {}).items() if isinstance(document, dict | None) else ():
            old = merged.get(key)
            merged[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return merged, broken


@rule("survival-cloud-init-config")
def test_cloud_init_config(host: Host) -> None:
    config, broken = cloud_config(host)
    expect("files that are no YAML", broken, equals=[])
    user = (config.get("system_info") or {}).get("default_user") or {}
    expect("system_info.default_user.name", user.get("name"), equals=USER)
    expect("users", config.get("users", ["default"]), includes=["default"])
    expect("datasource_list", config.get("datasource_list", ["Ec2"]), includes=["Ec2"])


@rule("survival-cloud-init-enabled")
def test_cloud_init_enabled(host: Host) -> None:
    expect("/etc/cloud/cloud-init.disabled", path(host, "/etc/cloud/cloud-init.disabled"), equals=None)
    states = {name: found.file for name, found in units(host, CLOUD_UNITS).items()}
    expect(
        "units that do not start", [name for name, state in states.items() if state not in {"enabled", "static", "generated"}], equals=[]
    )


@rule("survival-network")
def test_network(host: Host) -> None:
    enabled = [name for name, found in units(host, NETWORKS).items() if found.file in {"enabled", "generated"}]
    expect("what brings the network up", enabled, that=bool, expected=f"one of {', '.join(NETWORKS)}")


@verify_only("it provokes an event")
@rule("survival-audit-record")
def test_audit_record(host: Host, login: Login) -> None:
    name = f"/root/isms-probe-{secrets.token_hex(8)}"
    code, _, _ = login(USER, f"cat {name}")
    expect(f"exit code of `cat` in /root by {USER}", code, equals=1)
    uid = ask(host, f"id -u {USER}")
    records = ask(host, f"ausearch --input-logs --raw --file {name}", accept=(0, 1)).splitlines()
    kept = [dict(word.partition("=")[::2] for word in line.split()) for line in records if line.startswith("type=SYSCALL")]
    expect("audit records of it", len(kept), at_least=1)
    expect("whom they name", {record.get("auid") for record in kept}, equals={uid})
    expect("its outcome", {record.get("success") for record in kept}, equals={"no"})


ADDED = """\
folder=/usr/local/bin
before=$(stat -c %y "$folder")
probe=$(mktemp "$folder/isms-probe.XXXXXXXX") || exit 70
trap 'rm -f "$probe"; touch -d "$before" "$folder"' EXIT
echo "$probe"
aide --check --limit '^/usr/local/bin/isms-probe' 2>&1
"""


@verify_only("it adds a file for the time of the check")
@rule("survival-integrity-alarm")
def test_integrity_alarm(host: Host) -> None:
    """AIDE's exit code is a sum: 1 new files, 2 removed, 4 changed; above 7 it could not look."""
    result = host.run(ADDED)
    probe, _, report = result.stdout.partition("\n")
    expect("exit code of aide --check", result.rc, one_of=(1, 5), expected="1 or 5: a new file")
    expect("names the file", probe in report, equals=True)


PEOPLE = """\
user=isms-probe
salt=$(tr -dc bdfhjmpr </dev/urandom | head -c 4)
good="Tr1al-$salt-of-words!q"
clean() {{ faillock --user $user --reset; rm -f /etc/sudoers.d/$user; userdel -rf $user; }}
if getent passwd $user; then clean; fi >/dev/null 2>&1
trap 'clean >/dev/null 2>&1' EXIT
{{ useradd -m $user && chage -m 0 -M 90 $user && echo "$user:$good" | chpasswd -c SHA512; }} || exit 70
umask 0337
printf 'Defaults:%s passwd_tries=1\\n%s ALL=(ALL) PASSWD: ALL\\n' $user $user >/etc/sudoers.d/$user
being="setpriv --reuid $(id -u $user) --regid $(id -g $user) --init-groups"
root() {{ said=$(printf '%s\\n' "$1" | $being sudo -k -S -p '' id -un 2>/dev/null); echo "${{said##*$'\\n'}}"; }}
change() {{ printf '%s\\n' "$good" "$1" "$1" | $being passwd >/dev/null 2>&1 && echo taken || echo refused; }}
echo weak=$(change password1)
new="An0ther:$salt:phrase?zk"
echo strong=$(change "$new")
good=$new
echo before=$(root "$good")
for i in $(seq {attempts}); do root wrong-$i & done
wait
echo locked=$(root "$good")
faillock --user $user --reset
echo after=$(root "$good")
"""
"""An account for the time of the check, that may become root by its password."""


def people(host: Host, parameters: Parameters) -> dict[str, str]:
    """Return what became of the passwords that an account tried."""
    text = ask(host, PEOPLE.format(attempts=parameters.integer("password_lockout_attempts")))
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)


@verify_only("it makes an account for the time of the check")
@rule("survival-lockout")
def test_lockout(host: Host, parameters: Parameters) -> None:
    found = people(host, parameters)
    expect("sudo with the right password", found.get("before"), equals="root")
    expect("the same after as many wrong ones as are allowed", found.get("locked"), equals="", expected="refused")
    expect("the same after `faillock --reset`", found.get("after"), equals="root")


@verify_only("it makes an account for the time of the check")
@rule("survival-weak-password")
def test_weak_password(host: Host, parameters: Parameters) -> None:
    found = people(host, parameters)
    expect("passwd with `password1`", found.get("weak"), equals="refused")
    expect("passwd with a long phrase", found.get("strong"), equals="taken")


@verify_only("it logs in with a key of its own")
@rule("survival-session-timeout")
def test_session_timeout(login: Login, parameters: Parameters) -> None:
    shown = said(login, "bash -lc 'echo \"$TMOUT\"; (TMOUT=0) 2>/dev/null && echo lifted; true'").splitlines()
    expect("TMOUT of a log-in shell", shown[0] if shown else None, at_least=1, at_most=parameters.integer("accounts_tmout"))
    expect("`TMOUT=0` of the user", "lifted" if "lifted" in shown else "refused", equals="refused")


@verify_only("it logs in with a key of its own")
@rule("survival-login-banner")
def test_login_banner(host: Host, login: Login) -> None:
    wanted = (read(host, sshd(host).get("banner", "none")) or "").split()
    expect("words in sshd's banner", len(wanted), at_least=1)
    expect("what is shown before the log-in", login.banner(USER).split(), equals=wanted, expected="sshd's banner, all of it")
