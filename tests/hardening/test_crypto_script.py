"""crypto.sh on real machines: as they come, and after others have been there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine

CONFIG = "/etc/crypto-policies/config"
STATE = "/etc/crypto-policies/state/current"


@pytest.fixture(scope="module")
def parameters(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters of this subject."""
    return {name: value for name, value in values.items() if name.startswith("crypto_")}


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return one machine for the file."""
    return start()


def test_fresh_machine(machine: Machine, parameters: dict[str, str]) -> None:
    machine.apply("crypto", parameters)
    assert machine.script("crypto", "check", parameters).rules("fail") == set()


def test_a_weak_policy(machine: Machine, parameters: dict[str, str]) -> None:
    """Comments, CRLF and a module that weakens; the tool that a real system has is stood in for by one of two lines."""
    machine.sh("mkdir -p /etc/crypto-policies/state")
    machine.write(
        "/usr/local/bin/update-crypto-policies",
        f'#!/bin/sh\nfor last; do :; done\n[ "$last" = --no-reload ] || echo "$last" >{CONFIG}\ncp {CONFIG} {STATE}\n',
        "0755",
    )
    machine.sh("ln -sf /usr/local/bin/update-crypto-policies /usr/bin/update-crypto-policies")
    machine.write(CONFIG, "# DEFAULT\r\nDEFAULT:SHA1\r\n")
    machine.write(STATE, "DEFAULT:SHA1\n")
    assert "crypto-policy" in machine.script("crypto", "check", parameters).rules("fail")
    assert machine.apply("crypto", parameters).changed == ["crypto-policy"]
    assert machine.sh(f"cat {CONFIG}") == "DEFAULT\n"
    machine.write(STATE, "LEGACY\n")
    assert machine.apply("crypto", parameters).changed == ["crypto-policy-applied"]
    machine.write(CONFIG, "FUTURE\n")
    machine.write(STATE, "FUTURE\n")
    assert machine.apply("crypto", parameters).changes == 0
    assert machine.script("crypto", "check", parameters).code == 0


def test_an_exception_for_sshd(machine: Machine, parameters: dict[str, str]) -> None:
    machine.write("/etc/sysconfig/sshd", "# kept\nCRYPTO_POLICY=\nOPTIONS=-4\n")
    assert machine.apply("crypto", parameters).changed == ["crypto-policy-sshd"]
    assert machine.sh("cat /etc/sysconfig/sshd") == "# kept\nOPTIONS=-4\n"
    machine.sh("rm /etc/sysconfig/sshd")


def test_an_authority_that_nobody_approved(machine: Machine, parameters: dict[str, str]) -> None:
    """It is reported, never removed: it may be the company's own."""
    machine.write("/etc/pki/ca-trust/source/anchors/corp.pem", "x\n")
    machine.apply("crypto", parameters)
    assert machine.script("crypto", "check", parameters).rules("fail") == {"crypto-trust-anchors"}
    assert machine.script("crypto", "check", {**parameters, "crypto_trust_anchors": "other.pem, corp.pem"}).code == 0
