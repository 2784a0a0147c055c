"""Run Command over real HTTP against a service with its real limits: batches, pages, throttling, states, long output, one target."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from harness.errors import ConfigError, TargetError, UsageError
from harness.targets import open_target, ssm
from harness.targets.base import Completed, Target
from harness.targets.runcommand import MOST_SCRIPT, STATES, CutError, RunCommand, wrapped
from tests.ssmworld import REGION, Instance, World, asleep, ids

if TYPE_CHECKING:
    from collections.abc import Generator

FIRST = "i-0123456789abcdef0"


def here(script: str, seconds: float) -> tuple[int, bytes, bytes]:
    """Run a command's script on this machine, as the agent does."""
    done = subprocess.run(["/bin/bash", "-c", script], stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(name, value)
    for name in ("HARNESS_SSM_BUCKET", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def store() -> Generator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def bucket(store: str, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - a client of boto3
    """Return a client of a store with the bucket `audit-output`."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store)
    client = boto3.client("s3", endpoint_url=store, region_name=REGION)
    client.create_bucket(Bucket="audit-output", CreateBucketConfiguration={"LocationConstraint": REGION})
    yield client
    for one in client.list_objects_v2(Bucket="audit-output").get("Contents", ()):
        client.delete_object(Bucket="audit-output", Key=one["Key"])
    client.delete_bucket(Bucket="audit-output")


def fan(world: World, monkeypatch: pytest.MonkeyPatch, bucket: str | None = None) -> RunCommand:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", world.url)
    return RunCommand(bucket, sleep=asleep)


def told(outcome: Completed | TargetError) -> str:
    return str(outcome) if isinstance(outcome, TargetError) else f"out {outcome.out!r} err {outcome.err!r}"


def test_both_streams_arrive_as_they_were_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with World([Instance(FIRST, here)]) as world:
        outcomes = dict(fan(world, monkeypatch).run([FIRST], "printf 'a\\0b'; echo 가; echo err >&2; (exit 3)", 30))
    outcome = outcomes[FIRST]
    assert isinstance(outcome, Completed)
    assert (outcome.stdout, outcome.stderr) == (b"a\0b\xea\xb0\x80\n", b"err\n")


def test_nothing_printed_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with World([Instance(FIRST, here)]) as world:
        assert told(dict(fan(world, monkeypatch).run([FIRST], ":", 30))[FIRST]) == "out '' err ''"


def test_hundreds_of_instances_are_sent_to_in_fifties_and_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = list(ids(130))
    answer = here(wrapped("echo here"), 30)
    with World([Instance(one, lambda *_: answer, {"Role": "web"}) for one in fleet], throttle=60) as world:
        command = fan(world, monkeypatch)
        assert [one.id for one in command.managed(tag=("Role", "web"))] == fleet
        assert [one.id for one in command.managed(fleet[:60])] == fleet[:60]
        outcomes = dict(command.run([*fleet, fleet[0]], "echo here", 30))
        assert world.throttled > 0
    assert set(outcomes) == set(fleet)
    assert {told(outcome) for outcome in outcomes.values()} == {"out 'here\\n' err ''"}
    assert sorted(len(sent["InstanceIds"]) for sent in world.sent) == [30, 50, 50]
    assert {(sent["MaxConcurrency"], sent["MaxErrors"]) for sent in world.sent} == {("100%", "100%")}


def test_one_instance_that_went_away_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = list(ids(9))
    with World([Instance(one, here, ping="ConnectionLost" if one == fleet[4] else "Online") for one in fleet]) as world:
        outcomes = dict(fan(world, monkeypatch).run(fleet, "echo here", 30))
    assert "is in no state to be asked" in told(outcomes.pop(fleet[4]))
    assert {told(outcome) for outcome in outcomes.values()} == {"out 'here\\n' err ''"}
    assert len(outcomes) == 8


@pytest.mark.parametrize("state", ["Failed", *(state for state in STATES if state not in {"TimedOut", "NoInstancesInTag", "Incomplete"})])
def test_every_state_of_an_invocation_is_one_line(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    with World([Instance(FIRST, ends=state)]) as world:
        outcome = dict(fan(world, monkeypatch).run([FIRST], "echo", 30))[FIRST]
    assert isinstance(outcome, TargetError)
    assert str(outcome).startswith(f"{FIRST}: ")
    assert state in str(outcome)


def test_what_a_script_said_when_it_failed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with World([Instance(FIRST, lambda *_: (127, b"", b"sh: bash: not found\n"))]) as world:
        outcome = dict(fan(world, monkeypatch).run([FIRST], "echo", 30))[FIRST]
    assert str(outcome) == f"{FIRST}: the questions could not be run (Failed, exit code 127): sh: bash: not found"


def test_what_does_not_end_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.targets.runcommand.DELIVERY_SECONDS", 30)
    one, other = ids(2)
    with World([Instance(one, here), Instance(other, ends="InProgress")]) as world:
        outcomes = dict(fan(world, monkeypatch).run([one, other], "echo here", -29.5))
        assert world.cancelled == [other]
    assert told(outcomes[one]) == "out 'here\\n' err ''"
    assert "was not done within" in told(outcomes[other])


LONG = "head -c 60000 /dev/urandom | od -An -tx1"


def test_long_output_without_a_bucket_is_refused_and_never_half(monkeypatch: pytest.MonkeyPatch) -> None:
    with World([Instance(FIRST, here)]) as world:
        outcome = dict(fan(world, monkeypatch).run([FIRST], LONG, 30))[FIRST]
    assert isinstance(outcome, CutError)


def test_long_output_comes_back_whole_from_the_bucket(monkeypatch: pytest.MonkeyPatch, bucket: Any) -> None:  # noqa: ANN401
    with World([Instance(FIRST, here)], s3=bucket) as world:
        outcome = dict(fan(world, monkeypatch, "audit-output").run([FIRST], f"{LONG}; echo end >&2", 30))[FIRST]
    assert isinstance(outcome, Completed)
    assert len(outcome.stdout.split()) == 60000
    assert outcome.stderr == b"end\n"


def test_output_that_was_damaged_or_does_not_arrive_is_an_error(monkeypatch: pytest.MonkeyPatch, bucket: Any) -> None:  # noqa: ANN401
    monkeypatch.setattr("harness.targets.runcommand.UPLOAD_SECONDS", 0.1)
    with World([Instance(FIRST, lambda *_: (0, b"H4sIAAAA.", b"."))], s3=bucket) as world:
        assert "damaged" in told(dict(fan(world, monkeypatch).run([FIRST], "echo", 30))[FIRST])
        command = fan(world, monkeypatch, "audit-output")
        monkeypatch.setattr(bucket, "put_object", lambda **_: None)
        world.instances[FIRST].execute = here
        assert "has not arrived" in told(dict(command.run([FIRST], LONG, 30))[FIRST])


def test_what_the_service_would_refuse_or_change_is_refused_before() -> None:
    with pytest.raises(UsageError, match="bytes long; Systems Manager takes 60,000"):
        wrapped("x" * MOST_SCRIPT)
    with pytest.raises(UsageError, match=r"holds `\{\{`"):
        wrapped("docker ps --format '{{.Names}}'")


def test_a_denied_call_names_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.ssmworld import Refusal

    def denied(_: object) -> dict[str, Any]:
        raise Refusal("AccessDeniedException", "not authorized to perform: ssm:SendCommand")

    with World([Instance(FIRST, here)]) as world:
        monkeypatch.setattr(world, "SendCommand", denied)
        with pytest.raises(TargetError, match="SendCommand: AccessDeniedException") as caught:
            list(fan(world, monkeypatch).run([FIRST], "echo", 30))
    assert caught.value.hint == "harness audit --print-iam-policy prints what is needed"


def test_the_policy_names_what_is_called_and_nothing_else() -> None:
    plain, with_bucket = ssm.policy(None), ssm.policy("audit-output")
    actions = {name for one in plain["Statement"] for name in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])}
    assert actions == {f"ssm:{name}" for name in CALLED}
    assert with_bucket["Statement"][-1]["Resource"] == "arn:aws:s3:::audit-output/harness-audit/*"


CALLED = ("SendCommand", "ListCommandInvocations", "GetCommandInvocation", "DescribeInstanceInformation", "CancelCommand")


def opened(world: World, monkeypatch: pytest.MonkeyPatch, uri: str = f"ssm://{FIRST}") -> Target:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", world.url)
    monkeypatch.setattr("harness.targets.runcommand.PAUSES", (0.02,))
    return open_target(uri)


def test_one_instance_is_a_target(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[str, str]] = []
    with World([Instance(FIRST, here)]) as world, opened(world, monkeypatch) as target:
        done = target.run('pwd; echo "it\'s $HOME"; echo oops >&2; exit 7', timeout=30, on_line=lambda *line: lines.append(line))
        assert (done.returncode, done.out, done.err) == (7, "/\nit's /root\n", "oops\n")
        assert ("stderr", "oops") in lines
        assert target.get("/etc/hostname")
        with pytest.raises(FileNotFoundError):
            target.get("/nowhere")
        for forbidden in (lambda: target.put(b"", "/tmp/x"), target.restart, lambda: target.run("cat", stdin=b"x")):
            with pytest.raises(UsageError):
                forbidden()
        assert target.facts["through"] == "Systems Manager, AWS-RunShellScript"


@pytest.mark.parametrize(
    ("instance", "told"),
    [
        (Instance("i-0000000000000000f"), "is not managed by Systems Manager"),
        (Instance(FIRST, platform="Windows"), "runs Windows"),
        (Instance(FIRST, ping="ConnectionLost"), "does not report; last seen 2026-11-24"),
    ],
)
def test_an_instance_that_cannot_be_asked_says_why(monkeypatch: pytest.MonkeyPatch, instance: Instance, told: str) -> None:
    with World([instance]) as world, pytest.raises(TargetError, match=told):
        opened(world, monkeypatch)


@pytest.mark.parametrize("uri", ["ssm://", "ssm://web", "ssm://i-123", "ssm://tag:Role", "ssm://i-0123456789ABCDEF0"])
def test_what_names_no_instance_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match="names no instance"):
        ssm.parsed(uri)


def test_a_tag_is_no_single_target_and_no_region_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ssm.parsed("ssm://tag:Role=web") == ("Role", "web")
    with pytest.raises(UsageError, match="may be many instances"):
        open_target("ssm://tag:Role=web")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(ConfigError, match="no region"):
        RunCommand()
