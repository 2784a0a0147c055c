"""A fleet over real SSH and over an emulated Systems Manager: every host its verdict or its reason, nobody asked twice, one summary."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from harness import tampering
from harness.reports import json as runs
from tests import ssmworld
from tests.program import HARNESS, Done, harness
from tests.sshworld import World, free_port
from tests.ssmworld import REGION, Instance, container, ids, once
from tests.ssmworld import World as Manager

if TYPE_CHECKING:
    from pathlib import Path

RULES = ("ssh-root-login", "ssh-max-auth-tries", "kernel-source-route")
KEPT_OUT = frozenset({"SSH_AUTH_SOCK", "AWS_PROFILE"})


@pytest.fixture(scope="module")
def ports(world: World) -> tuple[int, ...]:
    return tuple(world.sshd() for _ in range(3))


@pytest.fixture
def home(world: World, tmp_path: Path) -> Path:
    """Return the home of a user who knows the hosts' keys."""
    (tmp_path / ".ssh").mkdir(mode=0o700)
    key = " ".join(world.sh("cat /etc/ssh/world_ed25519.pub").split()[:2])
    (tmp_path / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:* {key}\n", "utf-8")
    text = f"Host *\n  IdentityFile {world.keys['ed25519']}\n  IdentitiesOnly yes\n  HostKeyAlgorithms ssh-ed25519\n"
    (tmp_path / ".ssh" / "config").write_text(text, "utf-8")
    return tmp_path


def environment(home: Path, **more: str) -> dict[str, str]:
    given = {name: value for name, value in os.environ.items() if name not in KEPT_OUT}
    return {**given, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), **more}


def audit(home: Path, *arguments: str, rules: tuple[str, ...] = RULES, more: dict[str, str] | None = None) -> Done:
    chosen = [word for rule in rules for word in ("--rule", rule)]
    own = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), **(more or {})}
    return harness("audit", *arguments, *chosen, cwd=home, without=KEPT_OUT, env=own)


def inventory(home: Path, *lines: str) -> str:
    path = home / "hosts"
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return str(path)


def log_ins(world: World, ports: tuple[int, ...]) -> list[int]:
    return [world.log(port).count("Accepted publickey") for port in ports]


def test_each_host_has_its_verdict_or_its_reason_and_what_failed_is_asked_again(world: World, ports: tuple[int, ...], home: Path) -> None:
    away = free_port()
    host = "ansible_host=127.0.0.1"
    lines = [
        "[web]",
        f"web1 {host} user=root port={ports[0]}",
        f"web2 {host} user=root port={ports[1]}",
        "[db]",
        f"db1 {host} user=ec2-user sudo=no port={ports[2]}",
        f"db2 {host} user=root port={away}",
        f"db3 {host} user=root port={ports[2]} baseline=al2023",
    ]
    first = audit(home, "-i", inventory(home, *lines), "--jobs", "4", "--format", "json")
    assert first.code == 1, first.err
    told = json.loads(first.out)
    rows = {row["name"]: row for row in told["hosts"]}
    assert {name: row["status"] for name, row in rows.items()} | {"db1": ""} == {
        "web1": "fail",
        "web2": "fail",
        "db1": "",
        "db2": "error",
        "db3": "error",
    }
    assert "refuses connections" in rows["db2"]["error"]
    assert "the baseline al2023 is for" in rows["db3"]["error"]
    assert told["summary"] == {"hosts": 5, "judged": 3, "failing": told["summary"]["failing"], "error": 2, "waiting": 0}
    assert {"rule": "ssh-root-login", "severity": "high", "hosts": 2} in told["rules"] or told["rules"]
    folder = next((home / "evidence").glob("*-fleet-*"))
    assert json.loads((folder / "fleet.json").read_text())["summary"] == told["summary"]
    web1 = tampering.examine(folder / rows["web1"]["folder"])
    assert web1.problems == ()
    assert web1.run is not None
    assert web1.run.target["inventory"] == "web1"
    assert json.loads((folder / "hosts" / "db2" / "failure.json").read_text())["message"] == rows["db2"]["error"]
    assert "5/5 hosts" in first.err

    # The same verdict as of the host by itself.
    alone = audit(home, f"ssh://root@127.0.0.1:{ports[0]}", "--format", "json")
    assert [(one["rule"], one["status"], one["observed"]) for one in json.loads(alone.out)["results"]] == [
        (result.rule, result.status.value, result.observed) for result in web1.run.results
    ]

    before = log_ins(world, ports)
    config = f"/run/sshd/world_{ports[0]}"
    world.sh(f"sed 's/^Port .*/Port {away}/' {config} >/run/sshd/late; /usr/sbin/sshd -f /run/sshd/late")
    again = audit(home, "--resume", str(folder), "--limit", "web,db2", "--format", "json")
    rows = {row["name"]: row for row in json.loads(again.out)["hosts"]}
    assert again.code == 1
    assert rows["db2"]["status"] == "fail"
    assert set(rows) == {"web1", "web2", "db1", "db2"}
    assert log_ins(world, ports) == before
    other = audit(home, "--resume", str(folder), rules=RULES[:1])
    assert (other.code, "other rules judge now" in other.err) == (2, True)


def test_what_the_first_host_was_asked_later_the_next_is_asked_at_once(ports: tuple[int, ...], home: Path) -> None:
    # One question of this rule depends on the answer to another.
    hosts = inventory(home, *(f"root@127.0.0.1:{port}" for port in ports[:2]))
    done = audit(home, "-i", hosts, "--jobs", "1", "--format", "json", rules=("auditd-log-permissions",))
    rounds = {row["name"]: row["round_trips"] for row in json.loads(done.out)["hosts"]}
    assert rounds == {f"root@127.0.0.1:{ports[0]}": 2, f"root@127.0.0.1:{ports[1]}": 1}


def test_nothing_but_hosts_that_are_away_ends_in_3_and_a_slow_one_in_its_own_time(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=8) as silent:
        hosts = inventory(home, f"root@127.0.0.1:{silent.getsockname()[1]}", f"root@127.0.0.1:{free_port()}")
        done = audit(home, "-i", hosts, "--timeout", "2")
    assert done.code == 3, done.err
    assert "2 hosts: 0 without findings, 0 failing, 2 unreachable" in done.out
    assert "--resume" in done.err
    assert "Traceback" not in done.err


def test_an_interruption_keeps_what_is_finished(world: World, ports: tuple[int, ...], home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=8) as silent:
        places = [*(f"root@127.0.0.1:{port}" for port in ports[:2]), f"root@127.0.0.1:{silent.getsockname()[1]}", "slow.invalid"]
        hosts = inventory(home, *places)
        command = [str(HARNESS), "audit", "-i", hosts, "--jobs", "3", "--timeout", "120", "--rule", RULES[0], "--limit", "127.0.0.1*"]
        with subprocess.Popen(
            command, cwd=home, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as running:
            assert running.stderr is not None
            for line in running.stderr:
                if "2/3 hosts" in line:
                    break
            running.send_signal(signal.SIGINT)
            started = time.monotonic()
            out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert time.monotonic() - started < 60
    assert "1 not asked" in out
    folder = next((home / "evidence").glob("*-fleet-*"))
    assert len(list(folder.glob("hosts/*/run.json"))) == 2
    assert not list(folder.glob("hosts/.*.part"))
    before = log_ins(world, ports)
    again = audit(home, "--resume", str(folder), "--timeout", "1", rules=RULES[:1])
    assert "3 hosts: " in again.out
    assert log_ins(world, ports) == before


def test_instances_behind_systems_manager_get_the_verdict_that_ssh_gives(
    world: World, ports: tuple[int, ...], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = list(ids(60))
    execute = once(container([world.engine.path], world.name))
    gone = Instance("i-0fffffffffffffff1", tags={"Role": "web"}, ends="Undeliverable")
    lost = Instance("i-0fffffffffffffff2", tags={"Role": "web"}, ping="ConnectionLost")
    with Manager([*(Instance(one, execute, {"Role": "web"}) for one in fleet), gone, lost], throttle=90) as manager:
        account = {"AWS_ENDPOINT_URL_SSM": manager.url, "AWS_REGION": REGION, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
        done = audit(home, "ssm://tag:Role=web", "--format", "json", more=account)
        assert done.code == 1, done.err
        told = json.loads(done.out)
        # Whatever the service cuts is asked in smaller pieces.
        monkeypatch.setattr(ssmworld, "MOST_OUTPUT", 8000)
        one = audit(home, f"ssm://{fleet[0]}", "--format", "json", rules=(), more=account)
    assert told["summary"] | {"failing": 0} == {"hosts": 62, "judged": 60, "failing": 0, "error": 2, "waiting": 0}
    errors = {row["uri"]: row["error"] for row in told["hosts"] if row["error"]}
    assert "cannot be delivered" in errors[f"ssm://{gone.id}"]
    assert "does not report" in errors[f"ssm://{lost.id}"]
    assert max(len(sent["InstanceIds"]) for sent in manager.sent) == 50
    # Two pieces at first; each that was cut is asked again in halves.
    assert len([sent for sent in manager.sent if sent["InstanceIds"] == fleet[:1]]) > 4
    by_ssh = audit(home, f"ssh://root@127.0.0.1:{ports[0]}", "--format", "json", rules=())
    assert verdicts(json.loads(one.out)) == verdicts(json.loads(by_ssh.out))
    folder = next((home / "evidence").glob("*-fleet-*"))
    kept = runs.load(folder / "hosts" / fleet[7] / "run.json")
    assert kept.target["through"] == "Systems Manager, AWS-RunShellScript"


def verdicts(run: dict[str, Any]) -> dict[str, str]:
    """Return the statuses; what listens differs while an sshd forks for the one and not for the other."""
    return {one["rule"]: one["status"] for one in run["results"]}
