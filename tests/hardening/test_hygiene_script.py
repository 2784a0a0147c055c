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


def test_what_stays(machine: Machine, parameters: dict[str, str]) -> None:
    """The running builder, the way in, logs, a helper for registries; private keys are told and left."""
    machine.sh(
        "mkdir -p /tmp/TOE_run/x /tmp/imagebuilder_service /home/ec2-user/.ssh /home/ec2-user/.docker /opt/app;"
        "touch /tmp/TOE_run/input.sh /tmp/imagebuilder_service/y.sh /tmp/plain;"
        "echo 'ssh-ed25519 AAAA x' >/home/ec2-user/.ssh/authorized_keys;"
        'echo \'{"credHelpers": {"r": "ecr-login"}}\' >/home/ec2-user/.docker/config.json; touch /var/log/messages-20260101;'
        f"printf -- '{KEY}\\n' >/opt/app/tls.key; mkdir -p /etc/pki/tls/private; cp /opt/app/tls.key /etc/pki/tls/private/localhost.key"
    )
    said = machine.apply("hygiene", parameters)
    assert said.changes == 0
    assert "private key: /opt/app/tls.key" in said.out
    assert "localhost.key" not in said.out
    machine.sh(
        "ls /tmp/TOE_run/input.sh /tmp/imagebuilder_service/y.sh /tmp/plain /home/ec2-user/.ssh/authorized_keys"
        " /home/ec2-user/.docker/config.json /var/log/messages-20260101 /opt/app/tls.key"
    )
    assert machine.script("hygiene", "check", parameters).rules("fail") == {"hygiene-private-keys"}
    allowed = {"hygiene_allowed_keys": f"{parameters['hygiene_allowed_keys']},/opt/app/tls.key"}
    assert machine.script("hygiene", "check", allowed).code == 0
