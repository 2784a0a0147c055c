"""agent.sh on real machines: the configuration that it writes is one that the agent takes."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft4Validator

from tests.hardening.machine import CONTENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hardening.machine import Machine

SCHEMA = CONTENT.parent.parent / "shared" / "data" / "schemas" / "cloudwatch-agent.schema.json"
"""The agent's own schema (draft-04, MIT); it is not part of the product."""

HOME = "/opt/aws/amazon-cloudwatch-agent/etc"
CONFIG = f"{HOME}/isms-cwagent.json"


def mistakes(document: object) -> list[str]:
    """Ask the suite what the agent would ignore or refuse, beyond its schema."""
    spec = importlib.util.spec_from_file_location("suite_agent", CONTENT.parent / "verify" / "test_agent.py")
    assert spec is not None
    assert spec.loader is not None
    suite = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(suite)
    return list(suite.mistakes(document))


@pytest.fixture(scope="module")
def parameters(values: dict[str, str]) -> dict[str, str]:
    """Return the parameters of this subject."""
    return {name: value for name, value in values.items() if name.startswith("agent_")}


@pytest.fixture(scope="module")
def machine(start: Callable[[], Machine]) -> Machine:
    """Return one machine for the file, with rsyslog as the logging script leaves it."""
    machine = start()
    machine.sh("rpm -q rsyslog || yum -y -q install rsyslog; systemctl enable -q rsyslog")
    return machine


def config(machine: Machine) -> dict[str, Any]:
    """Return the configuration on the machine."""
    document: dict[str, Any] = json.loads(machine.sh(f"cat {CONFIG}"))
    return document


def paths(document: dict[str, Any]) -> dict[str, set[str]]:
    """Return the files per log group."""
    found: dict[str, set[str]] = {}
    for entry in document["logs"]["logs_collected"]["files"]["collect_list"]:
        found.setdefault(entry["log_group_name"], set()).add(entry["file_path"])
    return found


def test_fresh_machine(machine: Machine, parameters: dict[str, str]) -> None:
    assert {"agent-installed", "agent-enabled", "agent-config-loaded"} <= set(machine.apply("agent", parameters).changed)
    assert machine.script("agent", "check", parameters).code == 0
    document = config(machine)
    assert mistakes(document) == []
    assert {"/var/log/secure", "/var/log/sudo.log"} <= paths(document)["ISMS-GoldenAMI-AuthLogs"]
    assert "/var/log/audit/audit.log" in paths(document)["ISMS-GoldenAMI-SecurityLogs"]
    assert "/var/log/messages" in paths(document)["ISMS-GoldenAMI-SystemLogs"]
    assert set(document["metrics"]["metrics_collected"]) == {"cpu", "mem", "swap", "disk", "diskio", "net"}


def test_against_the_agents_schema(machine: Machine, parameters: dict[str, str]) -> None:
    if not SCHEMA.is_file():
        pytest.skip(f"the CloudWatch agent's schema is not beside the checkout: {SCHEMA.name}")
    validator = Draft4Validator(json.loads(SCHEMA.read_text("utf-8")))
    other = parameters | {
        "agent_namespace": "A.b#c:d/e-1",
        "agent_metrics_interval": "1",
        "agent_retention_days": "3653",
        "agent_log_group_prefix": "a/b_c",
    }
    for values in (other, parameters):
        machine.apply("agent", values)
        assert [error.message for error in validator.iter_errors(config(machine))] == []


def test_the_unit_gives_it_to_the_agent(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh("systemctl start isms-cwagent-config.service")
    fetched = f"{HOME}/amazon-cloudwatch-agent.d/file_isms-cwagent.json"
    assert json.loads(machine.sh(f"cat {fetched}")) == config(machine)
    assert machine.apply("agent", parameters).changes == 0
    machine.apply("agent", parameters | {"agent_retention_days": "731"})
    assert machine.sh(f"ls {fetched}", check=False).startswith("ls: cannot access"), "fetched again at the next boot"
    machine.apply("agent", parameters)


def test_a_running_agent_takes_it_at_once(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh("systemctl start amazon-cloudwatch-agent")
    machine.apply("agent", parameters | {"agent_namespace": "Now"})
    assert json.loads(machine.sh(f"cat {HOME}/amazon-cloudwatch-agent.d/file_isms-cwagent.json"))["metrics"]["namespace"] == "Now"
    machine.sh("systemctl stop amazon-cloudwatch-agent")
    machine.apply("agent", parameters)


def test_what_others_left(machine: Machine, parameters: dict[str, str]) -> None:
    machine.sh(f"printf 'no json\\r\\n' >{CONFIG}; chmod 0666 {CONFIG}; chown nobody {CONFIG}; chmod 0777 {HOME}")
    broken = machine.script("agent", "check", parameters)
    assert {"agent-config-valid", "agent-config-permissions"} <= broken.rules("fail")
    machine.apply("agent", parameters)
    assert machine.sh(f"stat -c '%a %U' {CONFIG} {HOME}") == "644 root\n755 root\n"
    assert machine.script("agent", "check", parameters).rules("fail") == set()


def test_without_rsyslog(machine: Machine, parameters: dict[str, str]) -> None:
    """The journal takes the place of the files, if this agent can read it; if not, that is said instead of shipping nothing."""
    machine.sh("systemctl disable -q rsyslog")
    said = machine.script("agent", "apply", parameters)
    assert (said.code, "cannot read the journal" in said.err) == (3, True)
    machine.write("/usr/sbin/rpm", '#!/bin/sh\ncase "$*" in *VERSION*) echo 1.300070.0 ;; *) exec /usr/bin/rpm "$@" ;; esac\n', "0755")
    machine.apply("agent", parameters)
    document = config(machine)
    machine.sh("rm /usr/sbin/rpm; systemctl enable -q rsyslog")
    assert mistakes(document) == []
    assert {entry["log_group_name"] for entry in document["logs"]["logs_collected"]["journald"]["collect_list"]} == {
        "ISMS-GoldenAMI-AuthLogs",
        "ISMS-GoldenAMI-SystemLogs",
    }
    assert "/var/log/secure" not in {path for each in paths(document).values() for path in each}
    if SCHEMA.is_file():
        assert list(Draft4Validator(json.loads(SCHEMA.read_text("utf-8"))).iter_errors(document)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["metrics"]["metrics_collected"]["cpu"]["measurement"].append("usage_idel"), "cpu: unknown measurement usage_idel"),
        (lambda d: d["metrics"]["metrics_collected"].update(memory={"measurement": ["used_percent"]}), "unknown plug-in memory"),
        (lambda d: d["metrics"]["metrics_collected"]["disk"].update(resource=["/"]), "disk: unknown key resource"),
        (lambda d: d["metrics"]["append_dimensions"].update(Host="x"), "append_dimensions Host=x"),
        (lambda d: d.update(metric={}), "unknown key metric"),
        (lambda d: d["logs"]["logs_collected"]["files"]["collect_list"][0].update(retention_in_days=730), "retention 730"),
        (lambda d: d["logs"]["logs_collected"]["files"]["collect_list"][0].update(retention_in_days=365), "2 retentions for"),
        (lambda d: d["logs"]["logs_collected"]["files"]["collect_list"][0].pop("file_path"), "entry without a path"),
    ],
)
def test_mistakes_that_the_schema_misses(
    machine: Machine, parameters: dict[str, str], change: Callable[[dict[str, Any]], object], said: str
) -> None:
    machine.apply("agent", parameters)
    document = config(machine)
    change(document)
    assert any(said in mistake for mistake in mistakes(document)), mistakes(document)
