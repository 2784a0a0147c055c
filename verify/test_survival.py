"""Whether a hardened image is still one that people can work with: logged in for real, and not read from a file.

Those that connect, reload or write temporary files are no part of an audit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from harness.suite import AS_NOBODY, Host, ask, expect, path, rule, sshd, texts, unit, units, verify_only, yaml_of

Login: TypeAlias = Callable[[str, str], tuple[int, str, str]]
"""`login(user, command)`: run over SSH, as the user, and give exit code, output and errors."""

USER = "ec2-user"
CLOUD = "/etc/cloud/cloud.cfg /etc/cloud/cloud.cfg.d/*.cfg"
CLOUD_UNITS = ("cloud-init-local.service", "cloud-init.service", "cloud-config.service", "cloud-final.service")
ERRORS = """said=$(bash -lc 'bash -lc true' 2>&1 >/dev/null); code=$?
[ -z "$said" ] || printf '%s\\n' "$said" | awk -F: 'NR < 6 { print (NF > 2) ? $1 ":" $2 : "a message" }'; exit $code"""
"""Where a login shell's errors come from; a shell repeats what it does not understand, and that may be a secret."""
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
