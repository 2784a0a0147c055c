"""Whether programs use strong algorithms only, and trust nobody whom somebody added."""

from __future__ import annotations

import re

from harness.suite import Host, Parameters, expect, paths, read, rule

ANCHORS = "/etc/pki/ca-trust/source/anchors/* /usr/share/pki/ca-trust-source/anchors/*"


def named(text: str | None) -> str | None:
    """Return the first line that is no comment: the policy's name."""
    found = [line.strip() for line in (text or "").splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return found[0] if found else None


@rule("crypto-policy")
def test_policy(host: Host, parameters: Parameters) -> None:
    allowed = parameters.words("crypto_policies")

    def strong(policy: str) -> bool:
        base, *modules = policy.split(":")
        return base in allowed and not any(re.match("SHA1|LEGACY", module) for module in modules)

    policy = named(read(host, "/etc/crypto-policies/config"))
    expect("crypto policy", policy, that=strong, expected=f"one of {', '.join(allowed)}, not weakened by a module")


@rule("crypto-policy-applied")
def test_policy_applied(host: Host) -> None:
    wanted = named(read(host, "/etc/crypto-policies/config"))
    expect("crypto policy in force", named(read(host, "/etc/crypto-policies/state/current")), equals=wanted)


@rule("crypto-policy-sshd")
def test_policy_sshd(host: Host) -> None:
    lines = [line for line in (read(host, "/etc/sysconfig/sshd") or "").splitlines() if re.match(r"\s*CRYPTO_POLICY=", line)]
    expect("CRYPTO_POLICY in /etc/sysconfig/sshd", lines, equals=[])


@rule("crypto-trust-anchors")
def test_trust_anchors(host: Host, parameters: Parameters) -> None:
    found = [name for name, facts in paths(host, ANCHORS).items() if facts.kind != "directory"]
    approved = parameters.words("crypto_trust_anchors")
    expect("certificate authorities that were added", [name for name in found if name.rsplit("/", 1)[-1] not in approved], equals=[])
