"""Whether the CloudWatch agent measures the machine and takes its logs away in time."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from harness.suite import Host, Parameters, expect, has_package, path, rule, texts, unit

if TYPE_CHECKING:
    from collections.abc import Mapping


def words(text: str) -> frozenset[str]:
    """Read a list of names."""
    return frozenset(text.split())


HOME = "/opt/aws/amazon-cloudwatch-agent/etc"
CONFIG = f"{HOME}/isms-cwagent.json"
FETCHED = f"{HOME}/amazon-cloudwatch-agent.d/file_isms-cwagent.json"
SOURCES = f"{CONFIG} {HOME}/amazon-cloudwatch-agent.json {HOME}/amazon-cloudwatch-agent.d/*"

TOP = frozenset({"agent", "metrics", "logs", "traces", "opentelemetry"})
DIMENSIONS = {name: f"${{aws:{name}}}" for name in ("ImageId", "InstanceId", "InstanceType", "AutoScalingGroupName")}
PLUGIN_KEYS = frozenset(
    {
        "measurement",
        "resources",
        "metrics_collection_interval",
        "append_dimensions",
        "totalcpu",
        "ignore_file_system_types",
        "drop_device",
        "drop_original_metrics",
    }
)
USAGE = ("active", "guest", "guest_nice", "idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user")
MEASUREMENTS: Mapping[str, frozenset[str]] = {
    "cpu": frozenset({*(f"usage_{name}" for name in USAGE), *(f"time_{name}" for name in USAGE)}),
    "mem": words("active available available_percent buffered cached free inactive shared total used used_percent"),
    "swap": words("free used used_percent"),
    "disk": words("free inodes_free inodes_total inodes_used total used used_percent"),
    "diskio": words("iops_in_progress io_time reads read_bytes read_time writes write_bytes write_time"),
    "net": words("bytes_sent bytes_recv drop_in drop_out err_in err_out packets_sent packets_recv"),
    "netstat": words(
        "tcp_close tcp_close_wait tcp_closing tcp_established tcp_fin_wait1 tcp_fin_wait2 tcp_last_ack tcp_listen tcp_none "
        "tcp_syn_sent tcp_syn_recv tcp_time_wait udp_socket"
    ),
    "processes": words("blocked dead idle paging running sleeping stopped total total_threads wait zombies"),
}
"""Names that the agent registers (its registered_metrics.go); its JSON schema lets any other pass, and the agent then ignores it."""

RETENTIONS = frozenset({-1, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653})
PACKAGE_LOGS = frozenset({"/var/log/yum.log", "/var/log/dnf.log"})


def documents(host: Host) -> Mapping[str, Any]:
    """Return the configuration files by name; one that is no JSON object stands as what is wrong with it."""
    found: dict[str, Any] = {}
    for name, text in texts(host, SOURCES).items():
        try:
            found[name] = json.loads(text)
        except ValueError as error:
            found[name] = f"no JSON: {error}"
    return found


def section(host: Host, *keys: str) -> list[Any]:
    """Return what stands at `keys` in each of the files that have it."""
    found: list[Any] = list(documents(host).values())
    for key in keys:
        found = [each[key] for each in found if isinstance(each, dict) and key in each]
    return found


def collected(host: Host) -> list[Mapping[str, Any]]:
    """Return the log entries of all files: those that name a path, and those of the journal."""
    files = [entry for entries in section(host, "logs", "logs_collected", "files", "collect_list") for entry in entries]
    journal = [entry for entries in section(host, "logs", "logs_collected", "journald", "collect_list") for entry in entries]
    return [*files, *({"file_path": "journal", **entry} for entry in journal)]


def names_of(plugin: str, measurement: object) -> list[str]:
    """Return the names in a measurement list, without the prefix that the agent allows."""
    items = measurement if isinstance(measurement, list) else []
    return [str(item.get("name") if isinstance(item, dict) else item).removeprefix(f"{plugin}_") for item in items]


def mistakes(document: Any) -> list[str]:  # noqa: ANN401 - whatever a JSON file holds
    """Return what the agent would ignore or refuse, beyond what its schema says."""
    if not isinstance(document, dict):
        return [document if isinstance(document, str) else "not an object"]
    found = [f"unknown key {key}" for key in document if key not in TOP]
    metrics = document.get("metrics", {})
    for name, value in metrics.get("append_dimensions", {}).items():
        if DIMENSIONS.get(name) != value:
            found.append(f"append_dimensions {name}={value}")
    for plugin, options in metrics.get("metrics_collected", {}).items():
        known = MEASUREMENTS.get(plugin)
        if known is None:
            found.append(f"unknown plug-in {plugin}")
            continue
        found += [f"{plugin}: unknown key {key}" for key in options if key not in PLUGIN_KEYS]
        found += [f"{plugin}: unknown measurement {name}" for name in names_of(plugin, options.get("measurement")) if name not in known]
        if not options.get("measurement"):
            found.append(f"{plugin}: no measurement")
    logs = document.get("logs", {}).get("logs_collected", {})
    entries = [entry for kind in ("files", "journald") for entry in logs.get(kind, {}).get("collect_list", [])]
    found += [f"retention {entry['retention_in_days']}" for entry in entries if entry.get("retention_in_days", -1) not in RETENTIONS]
    found += [f"entry without a path: {entry}" for entry in logs.get("files", {}).get("collect_list", []) if not entry.get("file_path")]
    for group in sorted({str(entry.get("log_group_name")) for entry in entries}):
        days = {entry.get("retention_in_days") for entry in entries if str(entry.get("log_group_name")) == group}
        if len(days) > 1:
            found.append(f"{len(days)} retentions for {group}")
    return found


@rule("agent-installed")
def test_installed(host: Host) -> None:
    expect("package amazon-cloudwatch-agent", has_package(host, "amazon-cloudwatch-agent"), equals=True)


@rule("agent-enabled")
def test_enabled(host: Host) -> None:
    expect("amazon-cloudwatch-agent.service", unit(host, "amazon-cloudwatch-agent.service").file, equals="enabled")


@rule("agent-active")
def test_active(host: Host) -> None:
    expect("amazon-cloudwatch-agent.service", unit(host, "amazon-cloudwatch-agent.service").active, equals="active")


@rule("agent-config-loaded")
def test_config_loaded(host: Host) -> None:
    names = set(documents(host))
    ways = {
        "isms-cwagent-config.service fetches it at the next boot": unit(host, "isms-cwagent-config.service").file == "enabled"
        and CONFIG in names,
        "it is in amazon-cloudwatch-agent.d": any("/amazon-cloudwatch-agent.d/" in name for name in names),
        "it is amazon-cloudwatch-agent.json": f"{HOME}/amazon-cloudwatch-agent.json" in names,
    }
    expect(
        "how the agent gets its configuration", [way for way, is_so in ways.items() if is_so], that=bool, expected="one way at the least"
    )
    if {CONFIG, FETCHED} <= names:
        found = documents(host)
        expect("what was fetched", "the same" if found[FETCHED] == found[CONFIG] else "an older configuration", equals="the same")


@rule("agent-config-valid")
def test_config_valid(host: Host) -> None:
    found = documents(host)
    expect("configuration files", len(found), at_least=1)
    expect("mistakes", [f"{name.rsplit('/', 1)[1]}: {text}" for name, document in found.items() for text in mistakes(document)], equals=[])


@pytest.mark.parametrize(
    "plugin",
    [
        pytest.param("cpu", marks=rule("agent-metrics-cpu")),
        pytest.param("mem", marks=rule("agent-metrics-memory")),
        pytest.param("disk", marks=rule("agent-metrics-disk")),
        pytest.param("diskio", marks=rule("agent-metrics-diskio")),
        pytest.param("net", marks=rule("agent-metrics-network")),
        pytest.param("swap", marks=rule("agent-metrics-swap")),
    ],
)
def test_metrics(host: Host, plugin: str) -> None:
    plugins = section(host, "metrics", "metrics_collected", plugin)
    names = {name for options in plugins if isinstance(options, dict) for name in names_of(plugin, options.get("measurement"))}
    expect(f"measurements of {plugin} that the agent knows", sorted(names & MEASUREMENTS[plugin]), that=bool, expected="one at the least")


@rule("agent-namespace")
def test_namespace(host: Host, parameters: Parameters) -> None:
    found = section(host, "metrics", "namespace")
    expect("metrics.namespace", sorted(set(map(str, found))), equals=[parameters["agent_namespace"]])


@rule("agent-metrics-interval")
def test_metrics_interval(host: Host, parameters: Parameters) -> None:
    found = section(host, "agent", "metrics_collection_interval")
    expect("agent.metrics_collection_interval", sorted(set(map(str, found))), equals=[parameters["agent_metrics_interval"]])


@pytest.mark.parametrize(
    ("group", "wanted"),
    [
        pytest.param("SystemLogs", ("/var/log/messages", "/var/log/cron", "/var/log/cloud-init.log"), marks=rule("agent-logs-system")),
        pytest.param("SecurityLogs", ("/var/log/audit/audit.log", "/var/log/aide/aide.log"), marks=rule("agent-logs-security")),
        pytest.param("AuthLogs", ("/var/log/secure", "/var/log/sudo.log"), marks=rule("agent-logs-auth")),
    ],
)
def test_logs(host: Host, parameters: Parameters, group: str, wanted: tuple[str, ...]) -> None:
    """The journal stands in for the files that only rsyslog writes."""
    name = f"{parameters['agent_log_group_prefix']}-{group}"
    paths = {str(entry.get("file_path")) for entry in collected(host) if entry.get("log_group_name") == name}
    if "journal" in paths:
        paths |= {"/var/log/messages", "/var/log/cron", "/var/log/secure"}
    lacking = [path for path in wanted if path not in paths]
    if group == "SystemLogs" and not paths & PACKAGE_LOGS:
        lacking.append("the package manager's log")
    expect(f"logs that {name} lacks", lacking, equals=[])


@rule("agent-retention")
def test_retention(host: Host, parameters: Parameters) -> None:
    entries = collected(host)
    expect("log entries", len(entries), at_least=1)
    other = [f"{entry.get('file_path')}: {entry.get('retention_in_days', 'for ever')}" for entry in entries if not keeps(entry, parameters)]
    expect(f"entries with a retention other than {parameters['agent_retention_days']}", other, equals=[])


def keeps(entry: Mapping[str, Any], parameters: Parameters) -> bool:
    """Tell whether an entry has the retention that the baseline chose."""
    return str(entry.get("retention_in_days")) == parameters["agent_retention_days"]


@rule("agent-reads-logs")
def test_reads_logs(host: Host) -> None:
    """Root is the agent's own default, so nothing said is well said, as long as there is a configuration at all."""
    found = documents(host)
    users = {str(user) for user in section(host, "agent", "run_as_user")} or ({"root"} if found else set())
    expect("agent.run_as_user", sorted(users), equals=["root"])


@rule("agent-config-permissions")
def test_config_permissions(host: Host) -> None:
    names = sorted(name for name in documents(host) if not re.search(r"/amazon-cloudwatch-agent\.d/", name))
    expect("configuration files", len(names), at_least=1)
    for name in names:
        facts = path(host, name)
        expect(name, facts and facts.owner, equals="root")
        if facts:
            expect(f"permission bits of {name} beyond 0644", f"{facts.beyond(0o644):04o}", equals="0000")
