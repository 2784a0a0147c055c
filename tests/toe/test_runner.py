"""What a run does, seen from outside: on real processes of this machine, with documents in the shape of those in the field."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import TargetError, UsageError
from harness.toe import DocumentOutcome, Found, Runner, Semantics, Status, load
from tests.toe.local import LocalShellTarget

if TYPE_CHECKING:
    from collections.abc import Sequence

RUNS = Path(__file__).parents[1] / "data" / "toe" / "runs"
SCENARIOS = sorted(RUNS.glob("*.yml"))


@pytest.fixture
def target(tmp_path: Path) -> LocalShellTarget:
    (tmp_path / "root").mkdir()
    return LocalShellTarget(tmp_path / "root")


@pytest.fixture
def runner(tmp_path: Path, target: LocalShellTarget) -> Runner:
    return Runner(target, tmp_path / "logs", lambda _: None, semantics=Semantics(working_directory=str(tmp_path / "work")))


def document(steps: str, head: str = "schemaVersion: 1.0\n", name: str = "sample") -> str:
    return f"name: {name}\n{head}phases:\n  - name: build\n    steps:\n" + "".join(
        f"      {line}\n" for line in steps.strip("\n").split("\n")
    )


def bash(name: str, *commands: str, **keys: str) -> str:
    extra = "".join(f", {key}: {value}" for key, value in keys.items())
    return f"- {{name: {name}, action: ExecuteBash{extra}, inputs: {{commands: {json.dumps(commands)}}}}}"


def detailed(outcome: DocumentOutcome) -> dict[str, object]:
    data: dict[str, object] = json.loads((outcome.log_folder / "detailedoutput.json").read_text(encoding="utf-8"))
    return data


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path, runner: Runner, target: LocalShellTarget, tmp_path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    wanted = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    loaded = load(path)
    outcome = runner.run(loaded, parameters={"Root": str(target.root)} if any(item.name == "Root" for item in loaded.parameters) else {})
    assert outcome.status == wanted["status"], outcome.message
    if "prints" in wanted:
        assert " | ".join(outcome.lines()) == wanted["prints"]
    assert target.restarts == int(wanted.get("restarts", "0"))
    if "message" in wanted:
        assert outcome.failed_step is not None
        assert wanted["message"] in outcome.failed_step.message
        assert wanted["message"] in outcome.message
    assert detailed(outcome)["status"] == wanted["status"]
    assert list((tmp_path / "work").glob("*")) == [], "the working folder is removed"


def test_scenarios_are_there() -> None:
    assert len(SCENARIOS) >= 35


def test_log_folder_as_awstoe_writes_it(runner: Runner) -> None:
    runner.new_id = lambda: "0a1b2c3d-0000-0000-0000-000000000000"
    runner.now = lambda: datetime(2026, 8, 30, 17, 5, 9, tzinfo=UTC)
    text = document(bash("Hello", "echo out; echo err >&2"), head="description: greets\nschemaVersion: 1.0\n")
    outcome = runner.run(load(text))
    assert outcome.log_folder.name == "TOE_2026-08-30_17-05-09_UTC-0_0a1b2c3d-0000-0000-0000-000000000000"
    names = {path.name for path in outcome.log_folder.iterdir()}
    assert names == {"document.yaml", "application.log", "console.log", "detailedoutput.json", "chaining.json"}
    assert (outcome.log_folder / "document.yaml").read_text(encoding="utf-8") == text
    assert sorted((outcome.log_folder / "console.log").read_text(encoding="utf-8").splitlines()) == ["err", "out"]
    step = {
        "name": "Hello",
        "status": "success",
        "failureMessage": "",
        "timeoutSeconds": 7200,
        "onFailure": "Abort",
        "maxAttempts": 1,
        "action": "ExecuteBash",
        "startTime": "2026-08-30T17:05:09+00:00",
        "endTime": "2026-08-30T17:05:09+00:00",
        "inputs": '[{"commands": ["echo out; echo err >&2"]}]',
        "outputs": '[{"stdout": "out"}]',
        "loop": None,
        "detailedOutput": None,
    }
    times = {"startTime": "2026-08-30T17:05:09+00:00", "endTime": "2026-08-30T17:05:09+00:00"}
    common = {"status": "success", "failureMessage": "", **times}
    phase = {"name": "build", **common, "steps": [step]}
    written = {"name": "sample", "filePath": "document", "description": "greets", **common, "phases": [phase]}
    assert detailed(outcome) == {"executionId": outcome.execution_id, **common, "documents": [written]}
    chaining = json.loads((outcome.log_folder / "chaining.json").read_text(encoding="utf-8"))
    assert chaining == {"build.Hello": {"inputs": [{"commands": ["echo out; echo err >&2"]}], "outputs": [{"stdout": "out"}]}}
    assert outcome.summary()["executedStepCount"] == 1


def test_phases_run_in_the_order_of_the_document(runner: Runner) -> None:
    text = document(bash("One", "echo one")) + "  - name: test\n    steps: [" + bash("Three", "echo three")[2:] + "]\n"
    text += "  - name: validate\n    steps: [" + bash("Two", "echo two")[2:] + "]\n"
    assert list(runner.run(load(text), ("validate", "build")).lines()) == ["one", "two"]
    assert list(runner.run(load(text)).lines()) == ["one", "three", "two"]
    outcome = runner.run(load(text), ("verify",))
    assert (outcome.status, outcome.executed, outcome.warnings) == (Status.SUCCESS, 0, ("sample has no phase `verify`",))


def test_parameters(runner: Runner) -> None:
    head = "schemaVersion: 1.0\nparameters:\n  - First: {type: string, default: a}\n  - Other: {type: string}\n"
    loaded = load(document(bash("Show", "echo {{ First }}-{{ Other }}"), head))
    assert list(runner.run(loaded, parameters={"Other": "b"}).lines()) == ["a-b"]
    assert list(runner.run(loaded, parameters={"Other": "", "First": "x"}).lines()) == ["x-"]
    with pytest.raises(UsageError, match="needs a value for the parameter `Other`"):
        runner.run(loaded)
    with pytest.raises(UsageError, match="declares no parameter `Othr`") as caught:
        runner.run(loaded, parameters={"Othr": "b", "Other": "b"})
    assert caught.value.hint == "did you mean `Other`?"
    runner.semantics = Semantics(
        missing_parameters="empty", unknown_parameters="ignore", working_directory=runner.semantics.working_directory
    )
    outcome = runner.run(loaded, parameters={"Nope": "b"})
    assert list(outcome.lines()) == ["a-"]
    assert outcome.warnings == ("sample declares no parameter `Nope`",)


def test_a_value_is_spliced_once(runner: Runner) -> None:
    head = "schemaVersion: 1.0\nparameters:\n  - First: {type: string}\n"
    outcome = runner.run(load(document(bash("Show", "echo '{{ First }}'"), head)), parameters={"First": "{{ First }}"})
    assert list(outcome.lines()) == ["{{ First }}"]


def test_continue_may_stop_at_the_phase(runner: Runner) -> None:
    text = document(bash("One", "exit 1", onFailure="Continue")) + "  - name: validate\n    steps: [" + bash("Two", "echo two")[2:] + "]\n"
    runner.semantics = Semantics(continue_to_later_phases=False, working_directory=runner.semantics.working_directory)
    outcome = runner.run(load(text))
    assert [phase.name for phase in outcome.phases] == ["build"]


def test_failure_names_step_and_last_lines(runner: Runner) -> None:
    outcome = runner.run(load(document(bash("Good", "true") + "\n" + bash("Bad", "seq 50", "echo broken >&2", "exit 7"))))
    step = outcome.failed_step
    assert step is not None
    assert (step.phase, step.name, step.exit_code, step.attempts, step.status) == ("build", "Bad", 7, 1, Status.FAILED)
    # Two streams have no common order: what was said last on the other one may stand before it.
    assert "broken" in step.tail(60)
    assert len(step.tail(3)) == 3
    assert outcome.message == "Document sample failed in phase build: step Bad failed: exit code 7"


def test_live_lines_and_what_begins(runner: Runner) -> None:
    said: list[str] = []
    lines: list[tuple[str, str]] = []
    runner.say, runner.on_line = said.append, lambda stream, text: lines.append((stream, text))
    runner.run(load(document(bash("Hello", "echo out", "echo err >&2"))))
    assert said == ["sample: build: Hello (ExecuteBash)"]
    assert sorted(lines) == [("stderr", "err"), ("stdout", "out")]


def test_changed_lines_can_be_counted(runner: Runner) -> None:
    steps = bash("One", "echo changed a b", "echo unchanged", "echo changed lie >&2") + "\n" + bash("Two", "echo changed c d")
    assert len(list(runner.run(load(document(steps))).lines("changed "))) == 2


def test_disable_logging_hides_but_chains(runner: Runner) -> None:
    steps = (
        bash("Quiet", "echo s3cret", disableLogging="true")
        + "\n"
        + bash("Loud", "test '{{ build.Quiet.outputs.stdout }}' = s3cret && echo same")
    )
    lines: list[str] = []
    runner.on_line = lambda _, text: lines.append(text)
    outcome = runner.run(load(document(steps)))
    assert list(outcome.lines()) == ["same"]
    assert lines == ["same"]
    assert outcome.steps[0].outputs == ()
    assert "s3cret" not in (outcome.log_folder / "console.log").read_text(encoding="utf-8")


class Given:
    """A resolver with fixed values."""

    def resolve(self, namespace: str, key: str) -> Found:
        values = {
            ("aws:ssm", "/plain"): Found("/token"),
            ("aws:ssm", "/token"): Found('p"w', secret=True),
            ("aws:ssm", "/lines"): Found("a\nb"),
            ("context", "region"): Found("ap-northeast-2"),
        }
        if (namespace, key) not in values:
            raise LookupError("no such parameter")
        return values[namespace, key]


def test_values_from_outside(runner: Runner) -> None:
    runner.resolver = Given()
    head = "schemaVersion: 1.0\nparameters:\n  - Path: {type: string, default: /plain}\n"
    show = bash("Show", "echo {{ context:region }} '{{ aws:ssm:resolve(aws:ssm:resolve(Path)) }}'")
    outcome = runner.run(load(document(show, head)))
    assert list(outcome.lines()) == ["ap-northeast-2 ********"]
    for path in outcome.log_folder.iterdir():
        text = path.read_text(encoding="utf-8")
        assert 'p"w' not in text, path.name
        assert 'p\\"w' not in text, path.name
        assert 'p\\\\\\"w' not in text, path.name
    for key, message in (("/lines", "has more than one line"), ("/none", "`aws:ssm:/none` has no value: no such parameter")):
        failed = runner.run(load(document(bash("Show", f"echo {{{{ aws:ssm:{key} }}}}")))).failed_step
        assert failed is not None
        assert message in failed.message


def test_update_by_the_manager_that_is_there(runner: Runner, target: LocalShellTarget) -> None:
    update = "- name: U\n  action: UpdateOS\n  inputs: {include: [bash, kernel-tools, curl], exclude: ['kernel*']}"
    target.program(
        "apt-get", 'echo "apt $*" >>$(dirname $0)/calls; case "$*" in *-s*) echo "Inst bash [5] (6)"; echo "Inst kernel-tools (6)"; esac'
    )
    if (Path("/usr/bin") / "dnf").exists() or (Path("/usr/bin") / "yum").exists():
        pytest.skip("this machine has a package manager that would be found before apt-get")
    assert runner.run(load(document(update))).status is Status.SUCCESS
    assert (target.bin / "calls").read_text(encoding="utf-8").splitlines()[-1].endswith("install --only-upgrade bash")
    target.program("yum", 'echo "yum $*" >>$(dirname $0)/calls')
    assert runner.run(load(document(update))).status is Status.SUCCESS
    assert (target.bin / "calls").read_text(encoding="utf-8").splitlines()[-1] == "yum -y --exclude=kernel* update bash curl"
    target.program("dnf", "echo no network >&2; exit 1")
    failed = runner.run(load(document("- {name: U, action: UpdateOS}"))).failed_step
    assert failed is not None
    assert failed.message == "no network"


class Bucket:
    """S3 in a dictionary."""

    def __init__(self, **objects: bytes) -> None:
        self.objects = objects

    def list(self, bucket: str, prefix: str, *, owner: str | None) -> Sequence[str]:
        assert (bucket, owner) == ("packages", "111122223333")
        return [key for key in self.objects if key.startswith(prefix)]

    def get(self, bucket: str, key: str, *, owner: str | None) -> bytes:  # noqa: ARG002 - the protocol's
        if key not in self.objects:
            raise FileNotFoundError(f"{bucket} has no {key}")
        return self.objects[key]

    def put(self, bucket: str, key: str, data: bytes, *, owner: str | None) -> None:  # noqa: ARG002 - the protocol's
        self.objects[key] = data


def test_s3(runner: Runner, target: LocalShellTarget) -> None:
    bucket = Bucket(**{"agent/a": b"A", "agent/sub/b": b"\xff", "agent/": b"", "evil/../../x": b"X"})
    runner.storage = bucket
    root = target.root
    steps = f"""
- name: Down
  action: S3Download
  inputs:
    - {{source: 's3://packages/agent/*', destination: {root}/, expectedBucketOwner: '111122223333'}}
    - {{source: s3://packages/agent/a, destination: {root}/single}}
- name: Up
  action: S3Upload
  inputs:
    - {{source: {root}/s*, destination: s3://packages/up/, recurse: true}}
    - {{source: {root}/single, destination: s3://packages/up/renamed}}
"""
    outcome = runner.run(load(document(steps)))
    assert outcome.status is Status.SUCCESS, outcome.message
    assert (root / "sub" / "b").read_bytes() == b"\xff"
    assert {key: data for key, data in bucket.objects.items() if key.startswith("up/")} == {
        "up/single": b"A",
        "up/sub/b": b"\xff",
        "up/renamed": b"A",
    }
    owner = "expectedBucketOwner: '111122223333'"
    evil = f"- {{name: Evil, action: S3Download, inputs: {{source: 's3://packages/evil/*', destination: {root}, {owner}}}}}"
    for step, message in (
        (evil, "would land outside"),
        (f"- {{name: No, action: S3Download, inputs: {{source: s3://packages/no, destination: {root}/no}}}}", "packages has no no"),
    ):
        failed = runner.run(load(document(step))).failed_step
        assert failed is not None
        assert message in failed.message


def test_documents_in_documents(runner: Runner, target: LocalShellTarget) -> None:
    inner = document(bash("Say", "echo {{ Word }}"), "schemaVersion: 1.0\nparameters:\n  - Word: {type: string}\n", name="inner")
    (target.root / "inner.yml").write_text(inner, encoding="utf-8")
    inputs = f"{{document: {target.root}/inner.yml, phases: build, parameters: [{{name: Word, value: hi}}]}}"
    call = f"- name: Call\n  action: ExecuteDocument\n  inputs: {inputs}"
    outcome = runner.run(
        load(document(call + "\n" + bash("After", "echo {{ build.Call.outputs.status }} {{ build.Call.outputs.executedStepCount }}")))
    )
    assert outcome.status is Status.SUCCESS, outcome.message
    assert list(outcome.lines()) == ["hi", "success 1"]
    assert len(list(runner.log_folder.glob("TOE_*"))) == 2
    assert runner.outcome == outcome


def test_documents_in_a_circle(runner: Runner, target: LocalShellTarget) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        text = document(f"- {{name: Call, action: ExecuteDocument, inputs: {{document: {target.root}/{other}.yml}}}}", name=name)
        (target.root / f"{name}.yml").write_text(text, encoding="utf-8")
    outcome = runner.run(load(target.root / "one.yml"))
    assert "in a circle" in outcome.message
    (target.root / "bad.yml").write_text("phases: 1", encoding="utf-8")
    failed = runner.run(
        load(document(f"- {{name: Call, action: ExecuteDocument, inputs: {{document: {target.root}/bad.yml}}}}"))
    ).failed_step
    assert failed is not None
    assert "bad.yml:1: " in failed.message


def test_what_is_missing_may_fail(runner: Runner, target: LocalShellTarget) -> None:
    inputs = f"inputs: {{path: {target.root}/no}}"
    steps = f"- {{name: A, action: DeleteFolder, {inputs}}}\n- {{name: B, action: DeleteFile, {inputs}}}"
    outcome = runner.run(load(document(steps)))
    assert outcome.status is Status.SUCCESS
    assert outcome.steps[1].tail() == (f"warning: {target.root}/no was not there",)
    runner.semantics = Semantics(missing_files="fail", working_directory=runner.semantics.working_directory)
    for step in steps.split("\n"):
        assert "no such file or folder" in runner.run(load(document(step))).message


def test_documents_nest_three_deep(runner: Runner, target: LocalShellTarget) -> None:
    for level in range(1, 6):
        text = document(f"- {{name: Call, action: ExecuteDocument, inputs: {{document: {target.root}/{level + 1}.yml}}}}", name=str(level))
        (target.root / f"{level}.yml").write_text(text, encoding="utf-8")
    (target.root / "6.yml").write_text(document(bash("Say", "echo deep")), encoding="utf-8")
    assert list(runner.run(load(target.root / "3.yml")).lines()) == ["deep"]
    assert "more than 3 levels deep" in runner.run(load(target.root / "2.yml")).message


def test_a_zero_byte_cannot_become_a_command(runner: Runner) -> None:
    steps = (
        bash("Zero", "printf 'a\\0b'")
        + "\n- {name: Use, action: ExecuteBinary, inputs: {path: /bin/echo, arguments: ['{{ build.Zero.outputs.stdout }}']}}"
    )
    assert "cannot hold a zero byte" in runner.run(load(document(steps))).message


def test_a_dying_target_ends_the_run_with_logs(runner: Runner, target: LocalShellTarget) -> None:
    runner.on_line = lambda _, text: target.close() if text == "die" else None
    with pytest.raises(TargetError, match="the target died"):
        runner.run(load(document(bash("One", "echo one") + "\n" + bash("Two", "echo die") + "\n" + bash("Three", "echo three"))))
    outcome = runner.outcome
    assert outcome is not None
    assert outcome.status is Status.FAILED
    assert [(step.name, step.status) for step in outcome.steps] == [
        ("One", Status.SUCCESS),
        ("Two", Status.SUCCESS),
        ("Three", Status.FAILED),
    ]
    assert outcome.message == "the run was cut short: the target died"
    assert detailed(outcome)["failureMessage"] == "the run was cut short: the target died"


def test_an_interruption_goes_through_with_logs(runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = runner.target
    assert isinstance(target, LocalShellTarget)

    def restart() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(target, "restart", restart)  # Ctrl-C cannot be timed into a subprocess; here it comes in a known place
    with pytest.raises(KeyboardInterrupt):
        runner.run(load(document(bash("One", "echo changed x y") + "\n" + bash("Two", "exit 194"))))
    assert runner.outcome is not None
    assert [step.status for step in runner.outcome.steps] == [Status.SUCCESS, Status.FAILED]
    assert list(runner.outcome.lines("changed ")) == ["changed x y"]
    assert detailed(runner.outcome)["status"] == "failed"
    assert list((tmp_path / "work").glob("*")) == []


PROGRAM = """
import sys
from pathlib import Path
from harness.toe import Runner, Semantics, load
from tests.toe.local import LocalShellTarget
root = Path(sys.argv[1])
(root / "r").mkdir()
print("up", flush=True)
say = lambda *text: print(*text, flush=True)
semantics = Semantics(working_directory=f"{root}/work")
Runner(LocalShellTarget(root / "r"), root / "logs", say, on_line=say, semantics=semantics).run(load(Path(sys.argv[2])))
"""


def start(root: Path, source: Path) -> subprocess.Popen[str]:
    root.mkdir()
    repository = Path(__file__).parents[2]
    command = [sys.executable, "-c", PROGRAM, str(root), str(source)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=repository)


def test_a_real_interruption(tmp_path: Path) -> None:
    source = tmp_path / "document.yml"
    source.write_text(document(bash("One", "echo one") + "\n" + bash("Two", "echo waiting", "sleep 600")), encoding="utf-8")
    with start(tmp_path / "run", source) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while process.stdout.readline() != "stdout waiting\n":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.wait(60)
        assert "KeyboardInterrupt" in process.stderr.read()
    (folder,) = (tmp_path / "run" / "logs").iterdir()
    written = json.loads((folder / "detailedoutput.json").read_text(encoding="utf-8"))
    assert written["failureMessage"] == "the run was cut short: KeyboardInterrupt"
    assert [step["status"] for step in written["documents"][0]["phases"][0]["steps"]] == ["success", "failed"]
    assert list((tmp_path / "run" / "work").glob("*")) == []


def test_a_killed_process_leaves_whole_json(tmp_path: Path) -> None:
    """SIGKILL at eight different moments: what stands in the log folder can always be read."""
    source = tmp_path / "document.yml"
    source.write_text(document("\n".join(bash(f"S{number}", "true") for number in range(200))), encoding="utf-8")
    seen = 0
    for number in range(8):
        root = tmp_path / str(number)
        with start(root, source) as process:
            assert process.stdout is not None
            for _ in range(number * 2 + 3):
                process.stdout.readline()
            time.sleep(number / 500)
            process.kill()
            process.wait(30)
        for path in root.glob("logs/TOE_*/*.json"):
            json.loads(path.read_text(encoding="utf-8"))
            seen += 1
    assert seen >= 8
