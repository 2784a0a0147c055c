"""Images on their way: every state in order, what ends them early, and components that run for real."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from harness.errors import EngineError
from publish.emulator import Emulator, Pretence, TargetInstance, Threaded
from tests.publish.emulator.account import AMAZON, OWN, Account, Clock, Members, document
from tests.toe.local import LocalShellTarget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from publish.emulator import Instance, Order, Stepped

PATH = ["PENDING", "CREATING", "BUILDING", "TESTING", "DISTRIBUTING", "AVAILABLE"]


def watched(account: Account, scheduler: Stepped, arn: str) -> list[str]:
    """Return the states that an image goes through, as a client sees them."""
    seen = [account.status(arn)]
    more = True
    while more:
        more = scheduler.advance()
        seen.append(account.status(arn))
    return [state for number, state in enumerate(seen) if number == 0 or seen[number - 1] != state]


def parameters(name: str) -> Members:
    ami = {"name": "golden {{ imagebuilder:buildDate }}"}
    return {
        "distributions": [
            {"region": "ap-northeast-2", "amiDistributionConfiguration": ami, "ssmParameterConfigurations": [{"parameterName": name}]}
        ]
    }


def test_the_good_path(account: Account, scheduler: Stepped, builder: Pretence) -> None:
    component = account.component()
    recipe = account.recipe(f"{AMAZON}:component/update-linux/x.x.x", component, f"{AMAZON}:component/simple-boot-test-linux/x.x.x")
    arn = account.start(account.pipeline(recipe, distributionConfigurationArn=account.distribution(), imageTags={"a": "b"}))
    assert watched(account, scheduler, arn) == PATH
    assert builder.ran == [
        ("build", "update-linux", "build"),
        ("build", "hardening", "build"),
        ("build", "hardening", "validate"),
        ("test", "hardening", "test"),
        ("test", "simple-boot-test-linux", "test"),
    ]
    assert not builder.kept, "what was kept for the test is gone"
    image = account.image(arn)
    assert (image["name"], image["version"], image["tags"], image["buildType"]) == ("golden", "1.0.0/1", {"a": "b"}, "USER_INITIATED")
    (ami,) = image["outputResources"]["amis"]
    assert ami["name"] == "golden 2026-11-24T12-00-00.000Z"
    registered = account.emulator.alone.images[ami["image"]]
    assert registered.users == ("111122223333",)
    assert registered.tags == {"Hardened": "true", "CreatedBy": "EC2 Image Builder", "Ec2ImageBuilderArn": arn}


def test_without_tests(account: Account, scheduler: Stepped) -> None:
    arn = account.start(account.pipeline(imageTestsConfiguration={"imageTestsEnabled": False}))
    assert watched(account, scheduler, arn) == [state for state in PATH if state != "TESTING"]


def test_integrations_have_a_state(account: Account, scheduler: Stepped) -> None:
    distribution = account.distribution(**parameters("/imagebuilder/golden"))
    arn = account.start(account.pipeline(distributionConfigurationArn=distribution))
    assert watched(account, scheduler, arn) == [*PATH[:-1], "INTEGRATING", "AVAILABLE"]
    (ami,) = account.image(arn)["outputResources"]["amis"]
    assert account.emulator.alone.parameters == {("ap-northeast-2", "/imagebuilder/golden"): ami["image"]}


def test_a_parameter_that_the_service_may_not_write(account: Account, scheduler: Stepped) -> None:
    distribution = account.distribution(**parameters("/golden/ami"))
    arn = account.start(account.pipeline(distributionConfigurationArn=distribution))
    assert watched(account, scheduler, arn)[-2:] == ["INTEGRATING", "FAILED"]
    image = account.image(arn)
    assert "/golden/ami" in image["state"]["reason"]
    assert image["outputResources"]["amis"], "the AMI is there all the same"


@pytest.mark.parametrize(("phase", "state"), [("build", "BUILDING"), ("validate", "BUILDING"), ("test", "TESTING")])
def test_a_broken_component_says_where(account: Account, scheduler: Stepped, builder: Pretence, phase: str, state: str) -> None:
    builder.failures["hardening"] = (phase, f"Do_{phase}")
    pipeline = account.pipeline()
    arn = account.start(pipeline)
    assert watched(account, scheduler, arn)[-2:] == [state, "FAILED"]
    found = account.image(arn)["state"]
    component = f"{OWN}:component/hardening/1.0.0/1"
    assert f"Document {component} failed!" in found["reason"]
    context = found["failureContext"]
    assert context["imageStatus"] == state
    assert context["componentFailure"] == {
        "componentArn": component,
        "phaseName": phase,
        "stepName": f"Do_{phase}",
        "action": "ExecuteBash",
        "errorMessage": "it was told to fail",
    }
    log = [text for _, text in account.emulator.alone.logs["/aws/imagebuilder/golden", "1.0.0/1"]]
    assert f"Error Document {component} failed in phase {phase}, step Do_{phase} (ExecuteBash): it was told to fail" in log
    assert account.call("GetImagePipeline", imagePipelineArn=pipeline)["imagePipeline"]["lastRunStatus"] == "FAILED"


def test_workflows_show_how_far_it_came(account: Account, scheduler: Stepped, builder: Pretence) -> None:
    builder.failures["hardening"] = ("test", "Do_test")
    arn = account.start(account.pipeline())
    scheduler.drain()
    build, test = account.call("ListWorkflowExecutions", imageBuildVersionArn=arn)["workflowExecutions"]
    assert (build["type"], build["status"], build["totalStepsSucceeded"]) == ("BUILD", "COMPLETED", 6)
    assert (test["type"], test["status"], test["totalStepsFailed"], test["totalStepsSkipped"]) == ("TEST", "FAILED", 1, 1)
    steps = account.call("ListWorkflowStepExecutions", workflowExecutionId=test["workflowExecutionId"])["steps"]
    assert [(step["name"], step["status"]) for step in steps] == [
        ("LaunchTestInstance", "COMPLETED"),
        ("ApplyTestComponents", "FAILED"),
        ("TerminateTestInstance", "SKIPPED"),
    ]
    shown = account.call("GetWorkflowStepExecution", stepExecutionId=steps[1]["stepExecutionId"])
    assert "failed!" in shown["message"]
    assert account.call("GetWorkflowExecution", workflowExecutionId=test["workflowExecutionId"])["status"] == "FAILED"
    assert account.image(arn)["state"]["failureContext"]["failedStep"] == "ApplyTestComponents"


def test_a_failed_test_can_be_tried_again(account: Account, scheduler: Stepped, builder: Pretence) -> None:
    builder.failures["hardening"] = ("test", "Do_test")
    arn = account.start(account.pipeline())
    scheduler.drain()
    builder.failures.clear()
    account.call("RetryImage", imageBuildVersionArn=arn)
    assert watched(account, scheduler, arn) == ["PENDING", "TESTING", "DISTRIBUTING", "AVAILABLE"]


def test_a_failed_build_cannot(account: Account, scheduler: Stepped, builder: Pretence) -> None:
    builder.failures["hardening"] = ("build", "Do_build")
    arn = account.start(account.pipeline())
    scheduler.drain()
    with account.refuses("InvalidRequest", arn):
        account.call("RetryImage", imageBuildVersionArn=arn)


@pytest.mark.parametrize("steps", range(len(PATH) - 1))
def test_an_image_can_be_cancelled_in_every_state(account: Account, scheduler: Stepped, builder: Pretence, steps: int) -> None:
    arn = account.start(account.pipeline())
    for _ in range(steps):
        scheduler.advance()
    assert account.status(arn) == PATH[steps]
    account.call("CancelImageCreation", imageBuildVersionArn=arn)
    assert watched(account, scheduler, arn) == ["CANCELLED"]
    assert not builder.kept
    executions = account.call("ListWorkflowExecutions", imageBuildVersionArn=arn)["workflowExecutions"]
    assert not {"RUNNING", "PENDING"} & {execution["status"] for execution in executions}
    with account.refuses("ResourceInUse", "cannot be cancelled"):
        account.call("CancelImageCreation", imageBuildVersionArn=arn)


def test_images_count_builds(account: Account, scheduler: Stepped) -> None:
    pipeline = account.pipeline()
    arns = [account.start(pipeline) for _ in range(2)]
    assert [arn.rpartition("/")[2] for arn in arns] == ["1", "2"]
    with account.refuses("ResourceInUse", "cancel it first"):
        account.call("DeleteImage", imageBuildVersionArn=arns[0])
    scheduler.drain()
    versions = account.call("ListImages")["imageVersionList"]
    assert [image["arn"] for image in versions] == [f"{OWN}:image/golden/1.0.0"]
    builds = account.call("ListImageBuildVersions", imageVersionArn=versions[0]["arn"])["imageSummaryList"]
    assert [image["arn"] for image in builds] == arns
    assert len(account.call("ListImagePipelineImages", imagePipelineArn=pipeline)["imageSummaryList"]) == 2
    account.call("DeleteImage", imageBuildVersionArn=arns[0])
    assert account.image(f"{OWN}:image/golden/x.x.x")["arn"] == arns[1]


def test_a_state_changed_by_hand(account: Account, scheduler: Stepped) -> None:
    arn = account.start(account.pipeline())
    with account.refuses("ResourceInUse"):
        account.call("StartResourceStateUpdate", resourceArn=arn, state={"status": "DEPRECATED"})
    scheduler.drain()
    number = account.call("StartResourceStateUpdate", resourceArn=arn, state={"status": "DEPRECATED"})["lifecycleExecutionId"]
    assert account.status(arn) == "DEPRECATED"
    assert account.call("GetLifecycleExecution", lifecycleExecutionId=number)["lifecycleExecution"]["state"] == {"status": "SUCCESS"}
    assert len(account.call("ListLifecycleExecutions", resourceArn=arn)["lifecycleExecutions"]) == 1
    assert account.call("ListImages")["imageVersionList"] == []
    assert len(account.call("ListImages", includeDeprecated=True)["imageVersionList"]) == 1


def test_an_image_without_a_pipeline(account: Account, scheduler: Stepped) -> None:
    given = {"imageRecipeArn": account.recipe(account.component()), "infrastructureConfigurationArn": account.infrastructure()}
    arn = account.call("CreateImage", **given, loggingConfiguration={"logGroupName": "/ours"})["imageBuildVersionArn"]
    assert watched(account, scheduler, arn) == PATH
    assert set(account.emulator.alone.logs) == {("/ours", "1.0.0/1")}


WEEKLY = {"scheduleExpression": "cron(0 2 ? * sun *)", "timezone": "Asia/Seoul"}


def test_a_schedule_starts_an_image_when_something_is_new(account: Account, scheduler: Stepped, clock: Clock) -> None:
    component = account.component()
    recipe = account.recipe(f"{OWN}:component/hardening/1.x.x")
    account.pipeline(recipe, schedule=WEEKLY)
    assert account.emulator.run_due() == []
    clock.forward(days=4, hours=5)  # Saturday 17:00 UTC is Sunday 02:00 in Seoul
    (first,) = account.emulator.run_due()
    assert account.emulator.run_due() == []
    scheduler.drain()
    assert account.image(first)["buildType"] == "SCHEDULED"
    clock.forward(days=7)
    assert account.emulator.run_due() == [], "nothing is new"
    account.component(version="1.1.0", data=document(command="false"))
    assert account.emulator.run_due() == [], "not before the next Sunday"
    clock.forward(days=7)
    assert len(account.emulator.run_due()) == 1
    assert component


def test_a_schedule_that_always_starts(account: Account, clock: Clock) -> None:
    account.pipeline(schedule={**WEEKLY, "pipelineExecutionStartCondition": "EXPRESSION_MATCH_ONLY"})
    for _ in range(3):
        clock.forward(days=7)
        assert len(account.emulator.run_due()) == 1


def test_failures_in_a_row_disable_a_schedule(account: Account, scheduler: Stepped, builder: Pretence, clock: Clock) -> None:
    builder.failures["hardening"] = ("build", "Do_build")
    schedule = {**WEEKLY, "pipelineExecutionStartCondition": "EXPRESSION_MATCH_ONLY", "autoDisablePolicy": {"failureCount": 2}}
    arn = account.pipeline(schedule=schedule)
    for failures, status in ((1, "ENABLED"), (2, "DISABLED")):
        clock.forward(days=7)
        account.emulator.run_due()
        scheduler.drain()
        shown = account.call("GetImagePipeline", imagePipelineArn=arn)["imagePipeline"]
        assert (shown["consecutiveFailures"], shown["status"]) == (failures, status)
    clock.forward(days=7)
    assert account.emulator.run_due() == []


class Broken(Pretence):
    """A builder whose engine is not there, or that has a defect."""

    error: BaseException | None = None

    @contextmanager
    def build_instance(self, order: Order) -> Iterator[Instance]:
        if self.error is not None:
            raise self.error
        with super().build_instance(order) as instance:
            yield instance


@pytest.mark.parametrize("error", [EngineError("podman is not installed"), RuntimeError("a defect")])
def test_a_builder_that_breaks_fails_the_image(account: Account, scheduler: Stepped, error: BaseException) -> None:
    account.emulator.builder = broken = Broken()
    broken.error = error
    arn = account.start(account.pipeline())
    assert watched(account, scheduler, arn)[-1] == "FAILED"
    assert str(error) in account.image(arn)["state"]["reason"]


class Local(Pretence):
    """Runs the documents for real, on this machine's bash."""

    folder: Path

    @property
    def power_off(self) -> Path:
        return self.folder / "power-off"

    def cancel(self, order: Order) -> None:
        super().cancel(order)
        self.power_off.touch()

    @contextmanager
    def build_instance(self, order: Order) -> Iterator[Instance]:
        yield self._instance(order, "build")

    @contextmanager
    def test_instance(self, order: Order) -> Iterator[Instance]:
        yield self._instance(order, "test")

    def _instance(self, order: Order, kind: str) -> Instance:
        root = self.folder / order.version.replace("/", "-") / kind
        root.mkdir(parents=True)
        return TargetInstance(LocalShellTarget(root), root / "logs")


@pytest.fixture
def real(account: Account, tmp_path: Path) -> Local:
    builder = Local()
    builder.folder = tmp_path
    account.emulator.builder = builder
    return builder


def test_components_run_for_real(account: Account, scheduler: Stepped, real: Local) -> None:
    command = 'echo "level {{ level }}"'.replace('"', '\\"')
    component = account.component(data=document("build", "test").replace("['true']", f'["{command}"]'))
    recipe = account.recipe(components=[{"componentArn": component, "parameters": [{"name": "level", "value": ["7"]}]}])
    infrastructure = account.infrastructure(logging={"s3Logs": {"s3BucketName": "logs-bucket", "s3KeyPrefix": "ours"}})
    arn = account.start(account.pipeline(recipe, infrastructureConfigurationArn=infrastructure))
    assert watched(account, scheduler, arn)[-1] == "AVAILABLE"
    log = [text for _, text in account.emulator.alone.logs["/aws/imagebuilder/golden", "1.0.0/1"]]
    assert log.count("Stdout: level 7") == 2, "once in each stage"
    keys = [key for bucket, key in account.emulator.alone.objects if bucket == "logs-bucket"]
    consoles = [key for key in keys if key.startswith("ours/golden/1.0.0/1/wf-") and key.endswith("/console.log")]
    assert len(consoles) == 2
    assert b"level 7" in account.emulator.alone.objects["logs-bucket", consoles[0]]
    assert real.folder.is_dir()


@pytest.mark.usefixtures("real")
def test_a_component_that_is_broken_for_real(account: Account, scheduler: Stepped) -> None:
    good, bad = account.component("good"), account.component("bad", data=document("build", name="bad", command="echo no good; exit 3"))
    arn = account.start(account.pipeline(account.recipe(good, bad)))
    assert watched(account, scheduler, arn)[-2:] == ["BUILDING", "FAILED"]
    failure = account.image(arn)["state"]["failureContext"]["componentFailure"]
    assert (failure["componentArn"], failure["phaseName"], failure["stepName"]) == (bad, "build", "Do_build")
    assert "3" in failure["errorMessage"]
    log = [text for _, text in account.emulator.alone.logs["/aws/imagebuilder/golden", "1.0.0/1"]]
    assert "Stdout: no good" in log


@pytest.mark.usefixtures("real")
def test_a_parameter_without_a_value_fails_the_build(account: Account, scheduler: Stepped) -> None:
    component = account.component(data=document("build").replace(", default: '3'", ""))
    arn = account.start(account.pipeline(account.recipe(component)))
    assert watched(account, scheduler, arn)[-1] == "FAILED"
    assert "level" in account.image(arn)["state"]["reason"]


def test_a_running_component_is_cancelled(account: Account, clock: Clock, real: Local) -> None:
    """The image is CANCELLED at once; its instance is taken away, which is no failure."""
    account.emulator.scheduler = threaded = Threaded()
    command = f"until [ -e {real.power_off} ]; do echo on; sleep 0.02; done; exit 137"
    component = account.component(data=document("build", command=command))
    arn = account.start(account.pipeline(account.recipe(component)))
    while ("/aws/imagebuilder/golden", "1.0.0/1") not in account.emulator.alone.logs:
        clock.forward(seconds=1)  # the log goes out by the clock
    account.call("CancelImageCreation", imageBuildVersionArn=arn)
    assert account.status(arn) == "CANCELLED"
    assert threaded.join(60)
    assert account.image(arn)["state"] == {"status": "CANCELLED"}


def test_images_in_threads(account: Account) -> None:
    account.emulator.scheduler = threaded = Threaded()
    pipeline = account.pipeline()
    arns = [account.start(pipeline) for _ in range(5)]
    assert threaded.join(60)
    assert {account.status(arn) for arn in arns} == {"AVAILABLE"}


def test_a_reset_forgets_images_on_their_way(account: Account) -> None:
    account.emulator.scheduler = Threaded()
    account.start(account.pipeline())
    account.emulator.reset()
    assert account.call("ListImages")["imageVersionList"] == []
    assert Emulator().export()["regions"] == {}
