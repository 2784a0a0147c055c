"""hygiene.sh on real machines: what it removes, what it only tells, what it never touches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\\nAAAA\\n-----END OPENSSH PRIVATE KEY-----"


@pytest.fixture(scope="module")
def parameters(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters of this subject."""
    return {name: value for name, value in values.items() if name.startswith("hygiene_")}


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return one machine for the file."""
    return start()


def test_fresh_machine(machine: Machine, parameters: dict[str, str]) -> None:
    machine.apply("hygiene", parameters)
    assert machine.script("hygiene", "check", parameters).code == 0


def test_what_a_build_leaves(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh(
        "mkdir -p /root/.aws /root/.ssh /home/ec2-user/.ssh /home/ec2-user/.docker /var/lib/systemd/coredump /var/cache/dnf/x/packages;"
        "echo secret >/root/.bash_history; echo x >/home/ec2-user/.python_history; echo h >/home/ec2-user/.ssh/known_hosts;"
        'echo k >/root/.aws/credentials; echo \'{"auths": {"r": {"auth": "eA=="}}}\' >/home/ec2-user/.docker/config.json;'
        "touch /tmp/setup.sh '/var/tmp/a b.tar.gz' /var/cache/dnf/x/packages/p.rpm /core.123; echo c >/var/lib/systemd/coredump/core.x;"
        "echo x >/etc/udev/rules.d/70-persistent-net.rules"
    )
    broken = machine.script("hygiene", "check", parameters)
    names = ("shell-history", "known-hosts", "credentials", "temporary-files", "package-cache", "core-dumps", "device-names")
    wanted = {f"hygiene-{name}" for name in names}
    assert broken.rules("fail") == wanted
    assert set(machine.apply("hygiene", parameters).changed) == wanted
    assert machine.script("hygiene", "check", parameters).code == 0


def test_what_tools_installers_and_other_machines_leave(machine: Machine, parameters: dict[str, str]) -> None:
    """What is older than machine-id belongs to another machine; logs are emptied, and keep their modes."""
    machine.sh(
        "cd /root; mkdir -p venv/lib .aws/sso/cache /home/ec2-user/.cache/pip /tmp/packer-x /var/tmp/TOE_old;"
        "mkdir -p /opt/aws/amazon-cloudwatch-agent/var;"
        "mkdir -p /var/lib/amazon/ssm/Vault/Store /var/lib/cloud/instances/i-0 /var/lib/dhclient /etc/sysconfig/network-scripts;"
        "mkdir -p /var/log/journal/0123456789abcdef0123456789abcdef;"
        "touch venv/pyvenv.cfg .aws/sso/cache/empty.json; echo t >.aws/sso/cache/a.json; echo '//r/:_authToken=x' >.npmrc;"
        "echo k >anaconda-ks.cfg;"
        "echo 1 >/opt/aws/amazon-cloudwatch-agent/var/offset; echo k >/var/lib/amazon/ssm/Vault/Store/EC2RegistrationKey;"
        "echo l >/var/lib/dhclient/e.lease; echo HWADDR=0:1 >/etc/sysconfig/network-scripts/ifcfg-eth1; echo o >/etc/login.defs.rpmsave;"
        "head -c 65536 /dev/zero >/swapfile; echo x >/var/log/messages-20200101; echo x >/var/log/site.log; chmod 0640 /var/log/site.log;"
        "echo x >/var/log/journal/0123456789abcdef0123456789abcdef/x.journal;"
        "touch -d 2020-01-01 /var/tmp/TOE_old /var/lib/amazon/ssm/Vault/Store/EC2RegistrationKey /var/lib/dhclient/e.lease;"
        "echo '[7] [01234] [ts/0] [builder ] [pts/0 ] [10.0.0.9 ] [10.0.0.9 ] [2020-01-01T00:00:00,000000+00:00]' |"
        " utmpdump -r >/var/log/wtmp 2>/dev/null"
    )
    broken = machine.script("hygiene", "check", parameters)
    names = {"test-tools", "build-logs", "agent-state", "ssm-registration", "cloud-init", "identity", "device-names", "package-files"}
    changed = {f"hygiene-{name}" for name in names | {"swap-files", "rotated-logs", "installer-files", "credentials"}}
    assert broken.rules("fail") == changed | {"hygiene-login-records"}, broken.out
    assert set(machine.apply("hygiene", parameters).changed) == changed
    assert machine.script("hygiene", "check", parameters).code == 0
    assert machine.sh("stat -c '%a %s' /var/log/site.log") == "640 0\n"


def test_what_is_told_only(machine: Machine, parameters: dict[str, str]) -> None:
    """Host keys, a registration of this machine, a seed and a swap file that somebody wants: removing them could cut somebody off."""
    machine.sh(
        "touch -d 2020-01-01 /etc/ssh/ssh_host_ed25519_key; echo r >/var/lib/amazon/ssm/registration; mkdir -p /var/lib/cloud/seed/nocloud;"
        "echo s >/var/lib/cloud/seed/nocloud/user-data; head -c 65536 /dev/zero >/swap.img; echo '/swap.img none swap sw 0 0' >>/etc/fstab"
    )
    said = machine.apply("hygiene", parameters)
    assert said.changes == 0
    rules = {"hygiene-host-keys", "hygiene-ssm-registration", "hygiene-cloud-init", "hygiene-swap-files"}
    assert {rule for rule in rules if f"an image with it is refused ({rule})" in said.out} == rules, said.out
    assert machine.script("hygiene", "check", parameters).rules("fail") == rules
    machine.sh(
        "touch /etc/ssh/ssh_host_ed25519_key; rm -r /var/lib/amazon/ssm/registration /var/lib/cloud/seed /swap.img;"
        "sed -i '/swap.img/d' /etc/fstab"
    )


def test_what_stays(machine: Machine, parameters: dict[str, str]) -> None:
    """The running builder, the way in, an application's environment, a helper for registries; private keys are told and left."""
    machine.sh(
        "mkdir -p /tmp/TOE_run/x /tmp/imagebuilder_service /home/ec2-user/.ssh /home/ec2-user/.docker /opt/app;"
        "touch /tmp/TOE_run/input.sh /tmp/imagebuilder_service/y.sh /tmp/plain;"
        "echo 'ssh-ed25519 AAAA x' >/home/ec2-user/.ssh/authorized_keys;"
        'echo \'{"credHelpers": {"r": "ecr-login"}}\' >/home/ec2-user/.docker/config.json; mkdir -p /home/ec2-user/app;'
        "touch /home/ec2-user/app/pyvenv.cfg;"
        f"printf -- '{KEY}\\n' >/opt/app/tls.key; mkdir -p /etc/pki/tls/private; cp /opt/app/tls.key /etc/pki/tls/private/localhost.key"
    )
    said = machine.apply("hygiene", parameters)
    assert said.changes == 0
    assert "private key: /opt/app/tls.key" in said.out
    assert "localhost.key" not in said.out
    machine.sh(
        "ls /tmp/TOE_run/input.sh /tmp/imagebuilder_service/y.sh /tmp/plain /home/ec2-user/.ssh/authorized_keys"
        " /home/ec2-user/.docker/config.json /home/ec2-user/app/pyvenv.cfg /opt/app/tls.key"
    )
    assert machine.script("hygiene", "check", parameters).rules("fail") == {"hygiene-private-keys"}
    allowed = {"hygiene_allowed_keys": f"{parameters['hygiene_allowed_keys']},/opt/app/tls.key"}
    assert machine.script("hygiene", "check", allowed).code == 0
