"""Audits of real machines: they change nothing, keep no secret, and say what a verification says."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import pytest
import zstandard
from testinfra.host import Host

from harness import audit, catalog, pytest_plugin
from harness import capture as captures
from harness import engine as engines
from harness.audit import Plan
from harness.images import standin
from harness.images.cache import Cache
from harness.judge import Scope, results
from harness.targets import open_target
from harness.targets.container import ContainerTarget
from harness.testinfra_backend import Replay
from tests.program import Done, harness

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from harness.engine import Engine

SECONDS = 600
AMI = "ami-0123456789abcdef0"
TRIES = 4
"""How often the read-only proof is tried: a log file that the machine itself writes meanwhile is no finding, one that an audit
writes comes back each time."""


@pytest.fixture(scope="module")
def engine() -> Engine:
    return engines.adapt(engines.find(), say=lambda _: None)


@pytest.fixture(scope="module")
def hardened(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Generator[Done]:
    done = harness("verify", "--target", "al2", "--base", "standin", "--keep", "--format", "json", cwd=tmp_path_factory.mktemp("verify"))
    name = done.run["target"]["uri"].partition("://")[2] if done.out else ""
    try:
        assert done.code == 0, done.err
        yield done
    finally:
        if name:
            engine.call("rm", "-f", "-t", "0", name, check=False)


@pytest.fixture(scope="module")
def bare(engine: Engine) -> Generator[ContainerTarget]:
    with ContainerTarget.start(engine, standin.build("al2", engine, Cache(), lambda _: None).reference) as target:
        yield target


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(catalog.load())


def verify_only(plan: Plan) -> set[str]:
    return {check.rule for check in plan.checks if check.verify_only is not None}


def test_a_hardened_host_is_clean_and_judged_as_by_the_verification(hardened: Done, plan: Plan, tmp_path: Path) -> None:
    done = harness("audit", hardened.run["target"]["uri"], "--format", "json", "--evidence", "kept", cwd=tmp_path)
    assert done.code == 0, done.err
    left_out = verify_only(plan)
    assert {rule: status for rule, status in done.statuses.items() if rule not in left_out} == {
        rule: status for rule, status in hardened.statuses.items() if rule not in left_out
    }
    for result in done.run["results"]:
        if result["rule"] in left_out:
            assert result["status"] == "not_applicable"
            assert result["reason"].strip()
    (folder,) = (tmp_path / "kept").iterdir()
    assert {path.name for path in folder.iterdir()} == {"run.json", "capture.json.zst", "manifest.json", "reports"}
    # A verification has asked this system before, so that the audit knows what to ask.
    assert captures.read(folder / "capture.json.zst").round_trips <= 3
    assert harness("evidence", "verify", str(folder), cwd=tmp_path).code == 0


@pytest.fixture
def box(engine: Engine, hardened: Done, tmp_path: Path) -> Generator[list[str]]:
    """Return how to reach the hardened container over SSH, as its user with a key: through an sshd of its own, started for the log-in."""
    name = hardened.run["target"]["uri"].partition("://")[2]
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True, timeout=SECONDS)
    admit = (
        "install -d -m 0700 -o ec2-user -g ec2-user ~ec2-user/.ssh && install -m 0600 -o ec2-user /dev/stdin ~ec2-user/.ssh/authorized_keys"
    )
    engine.call("exec", "-i", name, "bash", "-c", admit, input=(tmp_path / "key.pub").read_bytes())
    proxy = f"{engine.path} exec -i {name} /usr/sbin/sshd -i"
    lines = ["Host box", "User ec2-user", f"IdentityFile {tmp_path}/key", f"UserKnownHostsFile {tmp_path}/known", f"ProxyCommand {proxy}"]
    (tmp_path / "ssh_config").write_text("\n".join(lines) + "\n", "utf-8")
    try:
        yield ["ssh://box", "--ssh-config", str(tmp_path / "ssh_config")]
    finally:
        engine.call("exec", name, "rm", "-rf", "/home/ec2-user/.ssh")


def test_over_ssh_a_hardened_host_is_clean_and_what_only_its_host_could_show_is_said(
    box: list[str], engine: Engine, hardened: Done, tmp_path: Path
) -> None:
    unknown = harness("audit", *box, cwd=tmp_path)
    assert (unknown.code, "--accept-new" in unknown.err) == (3, True)
    name = hardened.run["target"]["uri"].partition("://")[2]
    data = json.dumps({"ds": {"meta_data": {"ami-id": AMI}}}, indent=1)
    engine.call(
        "exec", "-i", name, "bash", "-c", "mkdir -p /run/cloud-init && cat >/run/cloud-init/instance-data.json", input=data.encode()
    )
    done = harness("audit", *box, "--accept-new", "--format", "json", cwd=tmp_path)
    assert done.code == 0, done.err + done.out
    # What `harness promote --run` asks of an audit.
    assert done.run["target"]["ami"] == AMI
    assert (done.run["target"]["environment"], done.run["target"]["container"]) == (
        "host",
        hardened.run["target"]["uri"].partition("://")[0],
    )
    judged = {rule for rule, status in done.statuses.items() if status != "not_applicable"}
    assert len(judged) > 300
    assert {rule: done.statuses[rule] for rule in judged} == {rule: hardened.statuses[rule] for rule in judged}
    assert all(result["reason"] for result in done.run["results"] if result["status"] == "not_applicable")


def test_the_second_host_costs_one_round_trip(hardened: Done, plan: Plan) -> None:
    with open_target(hardened.run["target"]["uri"]) as target:
        audit.captured(target, plan)
        assert audit.captured(target, Plan(plan.content)).round_trips == 1


def test_a_capture_gives_the_same_verdict_offline_and_by_pytest(hardened: Done, plan: Plan, tmp_path: Path) -> None:
    assert harness("capture", hardened.run["target"]["uri"], "-o", "host.json.zst", cwd=tmp_path).code == 0
    first, second = (harness("evaluate", "host.json.zst", "--format", "json", cwd=tmp_path) for _ in range(2))
    assert (first.code, first.run["results"]) == (0, second.run["results"])
    assert harness("audit", "capture://host.json.zst", "--format", "json", cwd=tmp_path).run["results"] == first.run["results"]
    capture = captures.read(tmp_path / "host.json.zst")
    called = audit.evaluated(capture, plan)
    baseline = plan.baseline_of("it", capture.system)
    left_out = verify_only(plan)
    scope = Scope({rule: each for rule, each in plan.content.rules.items() if rule not in left_out}, baseline.excluded, capture.environment)
    host = Host(Replay("capture", {answer.command: answer for answer in capture.answers}))
    with open_target(f"capture://{tmp_path}/host.json.zst") as target, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        judging = pytest_plugin.judge(target, host, scope, called.parameters, known=plan.content.rules)
    assert list(results(scope, judging.outcomes)) == [result for result in called.results if result.rule not in left_out]


def test_other_values_and_rules_judge_an_old_capture_anew(hardened: Done, tmp_path: Path) -> None:
    with open_target(hardened.run["target"]["uri"]) as target:
        audit.captured(target, Plan(catalog.load())).write(tmp_path / "host.json.zst")
    stricter = audit.evaluated(captures.read(tmp_path / "host.json.zst"), Plan(catalog.load(), "al2", {"ssh_max_auth_tries": "1"}))
    assert [result.rule for result in stricter.results if result.status == "fail"] == ["ssh-max-auth-tries"]


def test_a_host_that_nobody_hardened_has_the_findings_of_a_verification(bare: ContainerTarget, plan: Plan, tmp_path: Path) -> None:
    done = harness("audit", bare.uri, "--format", "json", cwd=tmp_path)
    assert done.code == 1, done.err
    verified = harness("verify", "--target", bare.uri, "--as-is", "--format", "json", cwd=tmp_path)
    left_out = verify_only(plan)
    assert {rule for rule, status in done.statuses.items() if status == "fail"} == {
        rule for rule, status in verified.statuses.items() if status == "fail" and rule not in left_out
    }
    assert "error" not in done.statuses.values()
    text = harness("audit", bare.uri, cwd=tmp_path)
    assert text.code == 1
    assert "FAIL  ssh-root-login" in text.out


def test_the_wrong_baseline_and_hosts_that_are_away_are_told(bare: ContainerTarget, tmp_path: Path) -> None:
    wrong = harness("audit", bare.uri, "--baseline", "al2023", cwd=tmp_path)
    assert (wrong.code, wrong.out) == (2, "")
    assert "runs `amzn 2`, and the baseline al2023 is for `amzn 2023`" in wrong.err
    away = harness("audit", "podman://no-such-host", cwd=tmp_path)
    assert (away.code, away.out) == (3, "")
    both = harness("audit", "podman://no-such-host", bare.uri, "--format", "json", "--rule", "accounts-uid-zero", cwd=tmp_path)
    assert both.code == 3
    assert [run["summary"]["pass"] for run in both.run["runs"]] == [1]
    assert [missed["uri"] for missed in both.run["missed"]] == ["podman://no-such-host"]


SNAPSHOT = r"""
exec 2>/dev/null
all() { find / /run /tmp /dev/shm -xdev \( -path /proc -o -path /sys -o -path /dev/pts \) -prune -o "$@"; }
all -printf '%p|%y|%m|%U|%G|%n|%s|%i|%T@|%C@|%l\n' | sort
all -type f -print0 | sort -z | xargs -0 sha256sum
find /proc/sys/net /proc/sys/kernel /proc/sys/vm /proc/sys/fs -type f ! -path '*random*' ! -path '*/quota/*' ! -name '*-nr' \
  ! -name '*-state' ! -name ns_last_pid ! -name nr ! -name '*count*' | sort | while read -r f; do echo "$f=$(cat $f)"; done
systemctl list-units --all --plain --no-legend --no-pager | grep -v 'not-found' | awk '{print $1, $2, $3, $4}' | sort
systemctl list-unit-files --plain --no-legend --no-pager | sort
ps -eo pid=,args= | grep -v -e ' ps -eo' -e ' bash' -e '/bin/bash' -e ' grep ' -e ' sort'
"""
"""Of every file what it is, when and how it last changed, and its content; kernel parameters; units; processes."""


def snapshot(engine: Engine, name: str) -> list[str]:
    return engine.call("exec", name, "/bin/bash", "-c", SNAPSHOT, timeout=120).stdout.decode("utf-8", "replace").splitlines()


def test_an_audit_changes_nothing(engine: Engine, hardened: Done, plan: Plan) -> None:
    name = hardened.run["target"]["uri"].partition("://")[2]
    changes: list[str] = []
    for _ in range(TRIES):
        before = snapshot(engine, name)
        with open_target(hardened.run["target"]["uri"]) as target:
            _, run = audit.audited(target, plan)
        after = snapshot(engine, name)
        assert run.clean()
        assert len(before) > 8000
        changes = sorted(set(before) ^ set(after))
        if not changes:
            return
    pytest.fail("an audit changes: " + "; ".join(changes[:20]))


PLANTED = {
    "shadow": "$6$plantedsalt$PlantedHashOfShadow0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH",
    "locked": "$5$lockedsalt$PlantedHashOfALockedAccount0123456789abcdefghi",
    "descrypt": "pl4ntedDESxyz",
    "group": "gr0upDEScrypt",
    "cloud": "$y$j9T$cloudsaltcloudsalt$PlantedHashOfCloudInit0123456789abcdefgh",
    "pem": "cGxhbnRlZC1wcml2YXRlLWtleS1sYXVua2V5LXBsYW50ZWQ",
    "yum": "pl4nted-proxy-passw0rd",
    "url": "pl4nted-url-passw0rd",
    "aws": "pl4ntedSecretAccessKey/abcdefghijklmnopq",
    "docker": "cGxhbnRlZDpkb2NrZXItYXV0aA",
    "accesskey": "AKIAPLANTEDKEYABCDEF",
    "github": "ghp_plantedplantedplantedplanted0123456789",
}
PLANT = """
set -e
{ echo 'planted:@shadow@:19000:0:90:7:::'; echo 'locked:!@locked@:19000::::::'; echo 'ancient:@descrypt@:19000::::::'; } >>/etc/shadow
{ echo 'planted:x:1501:1501::/home/planted:/bin/bash'; echo 'locked:x:1502:1502::/:/bin/bash'; } >>/etc/passwd
echo 'ancient:@descrypt@:1503:1503::/:/bin/bash' >>/etc/passwd
echo 'planted:@group@:1501:' >>/etc/group
mkdir -p /home/planted/.docker /home/planted/.aws /etc/cloud/cloud.cfg.d
printf 'users:\\n- {name: a, passwd: "@cloud@"}\\nchpasswd: {expire: false}\\n' >/etc/cloud/cloud.cfg.d/90_planted.cfg
for f in /etc/planted.pem /etc/profile.d/planted.sh /etc/sudoers.d/planted; do
  printf -- '-----BEGIN RSA PRIVATE KEY-----\\n@pem@\\n@pem@\\n' >>$f
done
printf 'export AWS_SECRET_ACCESS_KEY=@aws@\\nexport AWS_ACCESS_KEY_ID=@accesskey@\\nGITHUB=@github@\\n' >>/etc/profile.d/planted.sh
printf '[planted]\\nname=p\\nbaseurl=https://me:@url@@mirror.example/\\nproxy_password=@yum@\\n' >/etc/yum.repos.d/planted.repo
printf '{"auths": {"r": {"auth": "@docker@"}}}' >/home/planted/.docker/config.json
printf 'aws_secret_access_key = @aws@\\n' >/home/planted/.aws/credentials
"""


def test_no_byte_of_a_secret_leaves_the_host(bare: ContainerTarget, tmp_path: Path) -> None:
    planted = bare.run(re.sub("@([a-z]+)@", lambda found: PLANTED[found[1]], PLANT))
    assert planted.returncode == 0, planted.err
    audited = harness("audit", bare.uri, "--evidence", "audit", cwd=tmp_path)
    verified = harness("verify", "--target", bare.uri, "--as-is", "--evidence", "verify", "--verbose", cwd=tmp_path)
    told = harness("audit", bare.uri, "--format", "json", cwd=tmp_path)
    everything = {"stdout": audited.out + verified.out + told.out, "stderr": audited.err + verified.err + told.err}
    for path in (path for folder in ("audit", "verify") for path in (tmp_path / folder).rglob("*") if path.is_file()):
        data = path.read_bytes()
        everything[str(path)] = (zstandard.decompress(data) if path.suffix == ".zst" else data).decode("utf-8", "replace")
    assert sum(path.endswith("capture.json.zst") for path in everything) == 2
    for what, secret in PLANTED.items():
        shown = [place for place, text in everything.items() if secret in text or secret[4:20] in text]
        assert shown == [], f"{what} is in {shown}"
    # The rules have seen what they must, all the same.
    failed = {rule for rule, status in told.statuses.items() if status == "fail"}
    assert {"accounts-shadowed", "hygiene-secrets", "hygiene-private-keys", "hygiene-credentials", "password-hash-accounts"} <= failed
    (folder,) = (tmp_path / "audit").iterdir()
    assert captures.read(folder / "capture.json.zst").redacted.keys() >= {"password-hash", "private-key", "credential"}
