"""Whether an instance says whose it is."""

from __future__ import annotations

from harness.suite import Host, Parameters, expect, key_values, path, read, rule


@rule("site-asset-file")
def test_asset_file(host: Host, parameters: Parameters) -> None:
    expect("owner in /etc/asset", key_values(read(host, "/etc/asset")).get("owner"), equals=parameters["site_asset_owner"])


@rule("site-asset-mode")
def test_asset_mode(host: Host) -> None:
    facts = path(host, "/etc/asset")
    expect("/etc/asset", f"{facts.octal} {facts.owner}:{facts.group}" if facts else None, equals="0640 root:root")
