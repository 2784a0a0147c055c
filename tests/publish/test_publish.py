"""Publishing over real HTTP: once, twice, after changes by hand, and beside somebody else."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import ConfigError, PublishError, UnreachableError
from publish import foundation, iam, session
from publish.converge import KEEP_VERSIONS, Walk
from publish.destroy import Demolition
from publish.emulator.faults import Fault
from tests.publish.stage import ACCOUNT, DOCUMENTS, NOW, PLACE, REGION, STEPS, changes, document, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.model import OperationModel

    from tests.publish.stage import Stage

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")


def test_first_publication_makes_everything_and_the_second_changes_nothing(stage: Stage) -> None:
    first = stage.publish()
    assert changes(first) == {
        "create": ["foundation", "component", "component", "recipe", "infrastructure", "distribution", "pipeline"],
    }
    assert len(stage.mutations()) == STEPS
    second = stage.publish()
    assert second.empty
    assert len(stage.calls) <= 25
    assert stage.mutations() == []


def test_the_next_day_and_the_same_evidence_change_nothing(stage: Stage) -> None:
    stage.publish()
    assert stage.plan(stage.what(today=date(2026, 12, 1))).empty


def test_published_bytes_are_the_verified_bytes(stage: Stage) -> None:
    stage.publish()
    held = {body["data"] for arn, body in stage.state().items() if ":component/" in arn}
    assert held == {one.data.decode() for one in DOCUMENTS}


def test_mission_tags_are_on_every_resource(stage: Stage) -> None:
    stage.publish()
    wanted = {
        "Name": "isms-golden-ami-golden-ami",
        "Environment": "prod",
        "BuildDate": "2026-11-24",
        "Purpose": "ISMS-Compliant-Golden-AMI",
        "Compliance": "ISMS-K-21.1",
        "BaseImage": "Amazon Linux 2",
        "Hardened": "true",
    }
    for arn, body in stage.state().items():
        if arn.startswith("arn:"):
            assert {key: body["tags"].get(key) for key in wanted} == wanted, arn
    tags = stage.cloud().client("cloudformation").describe_stacks()["Stacks"][0]["Tags"]
    assert wanted.items() <= {one["Key"]: one["Value"] for one in tags}.items()
    ami = stage.resource("distribution-configuration")["distributions"][0]["amiDistributionConfiguration"]
    assert {**wanted, "BuildDate": "{{imagebuilder:buildDate}}"}.items() <= ami["amiTags"].items()
    assert ami["amiTags"]["EvidenceDigest"] == f"sha256:{'e' * 64}"
    assert ami["amiTags"]["DocumentDigest"] == stage.what().digest


def test_pipeline_is_what_the_mission_asks_for(stage: Stage) -> None:
    stage.publish()
    pipeline, infrastructure, recipe = (stage.resource(kind) for kind in ("image-pipeline", "infrastructure-configuration", "image-recipe"))
    assert pipeline["schedule"] == {
        "scheduleExpression": "cron(0 2 ? * sun *)",
        "timezone": "Asia/Seoul",
        "pipelineExecutionStartCondition": "EXPRESSION_MATCH_AND_DEPENDENCY_UPDATES_AVAILABLE",
    }
    assert pipeline["imageTestsConfiguration"]["imageTestsEnabled"] is True
    assert infrastructure["instanceMetadataOptions"]["httpTokens"] == "required"
    assert infrastructure["terminateInstanceOnFailure"] is True
    assert infrastructure["logging"]["s3Logs"]["s3BucketName"] == f"isms-golden-ami-image-builder-logs-{ACCOUNT}-{REGION}"
    assert [one["componentArn"].split("component/")[1] for one in recipe["components"]] == [
        "update-linux/x.x.x",
        "isms-golden-ami-al2-isms-security-hardening/1.0.0/1",
        "isms-golden-ami-al2-cloudwatch-agent-config/1.0.0/1",
    ]
    assert recipe["components"][2]["parameters"] == [{"name": "agent_namespace", "value": ["ISMS"]}]
    ebs = recipe["blockDeviceMappings"][0]["ebs"]
    assert (ebs["encrypted"], ebs["volumeType"]) == (True, "gp3")
    assert not recipe["workingDirectory"].startswith("/tmp")


def test_changed_document_gets_the_next_version_and_an_old_one_its_own_again(stage: Stage) -> None:
    stage.publish()
    other = stage.what((DOCUMENTS[0], document("cloudwatch_agent_config", "other", parameters={"agent_namespace": "ISMS"})))
    plan = stage.publish(other)
    assert changes(plan)["create"] == ["component", "recipe"]
    assert stage.resource("image-pipeline")["imageRecipeArn"].endswith("/1.0.1")
    assert stage.plan(other).empty
    back = stage.publish()
    assert "create" not in changes(back)
    assert stage.resource("image-pipeline")["imageRecipeArn"].endswith("/1.0.0")


def test_new_evidence_is_told_by_pipeline_and_images_only(stage: Stage) -> None:
    stage.publish()
    stage.mutations()
    plan = stage.publish(stage.what(evidence=f"sha256:{'f' * 64}"))
    assert changes(plan)["update"] == ["distribution", "pipeline"]
    assert stage.resource("image-pipeline")["imageTags"]["EvidenceDigest"] == f"sha256:{'f' * 64}"
    assert {operation for _, operation in stage.mutations()} == {
        "update_distribution_configuration",
        "update_image_pipeline",
        "tag_resource",
    }


def test_reason_of_a_closed_gate_is_a_tag_until_the_gate_is_open(stage: Stage) -> None:
    stage.publish(stage.what(exception="the auditor waits"))
    assert stage.resource("image-pipeline")["tags"]["GateException"] == "the auditor waits"
    stage.publish()
    assert "GateException" not in stage.resource("image-pipeline")["tags"]
    assert (
        "GateException" not in stage.resource("distribution-configuration")["distributions"][0]["amiDistributionConfiguration"]["amiTags"]
    )
    assert stage.plan().empty


def test_change_by_hand_is_found_and_put_right(stage: Stage) -> None:
    stage.publish()
    stage.cloud().call(
        "imagebuilder",
        "update_infrastructure_configuration",
        infrastructureConfigurationArn=PLACE.arn("infrastructure-configuration", "isms-golden-ami-al2"),
        instanceProfileName=stage.resource("infrastructure-configuration")["instanceProfileName"],
        clientToken="by-hand",
    )
    plan = stage.plan()
    fields = {one.path for change in plan.changes for one in change.fields}
    assert changes(plan)["update"] == ["infrastructure"]
    assert {"subnetId", "instanceMetadataOptions", "logging", "instanceTypes"} <= fields
    stage.publish()
    assert stage.plan().empty


def test_disabled_pipeline_stays_disabled_and_is_told(stage: Stage) -> None:
    stage.publish()
    pipeline = stage.resource("image-pipeline")
    known = ("imageRecipeArn", "infrastructureConfigurationArn", "distributionConfigurationArn", "schedule", "imageTags", "description")
    request = {key: pipeline[key] for key in (*known, "loggingConfiguration")}
    arn = PLACE.arn("image-pipeline", "isms-golden-ami-al2")
    stage.cloud().call("imagebuilder", "update_image_pipeline", **request, imagePipelineArn=arn, status="DISABLED", clientToken="off")
    plan = stage.publish()
    assert plan.empty
    assert any("disabled" in note for note in plan.notes)


def test_a_rule_that_is_switched_off_is_told_in_the_plan(stage: Stage) -> None:
    off = {"filesystem-crontab": "switched off by the configuration: the job scheduler reads it"}
    plan = stage.plan(stage.what(off=off))
    told = "filesystem-crontab is switched off by the configuration: the job scheduler reads it"
    assert told in plan.notes
    assert f"note: {told}" in plan.as_text()
    assert told not in stage.plan().notes


def test_old_recipes_are_retired_with_their_components(stage: Stage) -> None:
    stage.publish()
    for number in range(KEEP_VERSIONS + 1):
        stage.publish(stage.what((DOCUMENTS[0], document("cloudwatch_agent_config", str(number), parameters={"agent_namespace": "ISMS"}))))
    recipes = [arn for arn in stage.state() if ":image-recipe/" in arn]
    assert KEEP_VERSIONS <= len(recipes) <= KEEP_VERSIONS + 1
    assert not any(arn.endswith("cloudwatch-agent-config/1.0.0/1") for arn in stage.state())
    stage.mutations()


def test_names_of_somebody_else_are_left_alone(stage: Stage) -> None:
    profile = {"InstanceProfileName": "theirs"}
    stage.cloud().client("iam").create_instance_profile(**profile)
    stage.cloud().call(
        "imagebuilder",
        "create_infrastructure_configuration",
        name="isms-golden-ami-al2",
        instanceProfileName="theirs",
        clientToken="theirs",
    )
    with pytest.raises(PublishError, match="harness did not make") as caught:
        stage.plan()
    assert caught.value.hint
    assert caught.value.exit_code == 1


def test_stack_of_somebody_else_is_left_alone(stage: Stage) -> None:
    template = '{"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}'
    stage.cloud().client("cloudformation").create_stack(StackName="isms-golden-ami-foundation", TemplateBody=template)
    with pytest.raises(PublishError, match="stack isms-golden-ami-foundation"):
        stage.plan()


def test_bucket_and_log_groups_that_are_there_are_taken_over(stage: Stage) -> None:
    cloud = stage.cloud()
    name = f"isms-golden-ami-image-builder-logs-{ACCOUNT}-{REGION}"
    cloud.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    cloud.client("logs").create_log_group(logGroupName="ISMS-GoldenAMI-AuthLogs")
    plan = stage.publish()
    made = {one.path for change in plan.changes if change.kind == "foundation" for one in change.fields}
    assert not {"Logs", "LogsPolicy", "AuthLogs"} & made
    assert {"SystemLogs", "SecurityLogs", "BuildProfile"} <= made
    assert stage.plan().empty


def test_bucket_of_another_account_is_told(stage: Stage) -> None:
    def foreign(_: str, operation: str, __: Mapping[str, Any]) -> None:
        if operation == "head_bucket":
            raise refusal(403, "403", "HeadBucket")

    with pytest.raises(PublishError, match="belongs to somebody else") as caught:
        session.plan(stage.cloud(foreign), stage.what(), NOW)
    assert "log_bucket" in str(caught.value.hint)


def test_what_the_company_has_is_used(stage: Stage) -> None:
    cloud = stage.cloud()
    cloud.client("iam").create_instance_profile(InstanceProfileName="company")
    cloud.client("s3").create_bucket(Bucket="company-logs", CreateBucketConfiguration={"LocationConstraint": REGION})
    group = cloud.client("ec2").create_security_group(GroupName="company", Description="-", VpcId=stage.vpc)["GroupId"]
    what = stage.what(block={"instance_profile": "company", "log_bucket": "company-logs", "security_group": group, "dashboard": False})
    plan = stage.publish(what)
    made = {one.path for change in plan.changes if change.kind == "foundation" for one in change.fields}
    assert made == {"SystemLogs", "SecurityLogs", "AuthLogs", "BuildLogs"}
    assert stage.resource("infrastructure-configuration")["instanceProfileName"] == "company"
    assert stage.plan(what).empty
    assert cloud.find("s3", "head_object", Bucket="company-logs", Key=f"components/{DOCUMENTS[0].sha256}.yml")


def test_changed_foundation_is_updated(stage: Stage) -> None:
    stage.publish()
    what = stage.what(block={"dashboard": False, "keep_images": 5})
    plan = stage.publish(what)
    assert changes(plan)["update"] == ["foundation"]
    assert stage.resource("lifecycle-policy")["policyDetails"][0]["filter"] == {"type": "COUNT", "value": 5}
    assert stage.plan(what).empty


def test_changed_template_is_told_resource_by_resource(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    older = foundation.template().replace("FromPort: 123", "FromPort: 124")
    assert older != foundation.template()
    with monkeypatch.context() as past:
        past.setattr(foundation, "template", lambda: older)
        stage.publish()
    plan = stage.plan()
    told = {one.path: (one.before, one.after) for change in plan.changes for one in change.fields}
    assert "template" in told
    egress = next(pair for path, pair in told.items() if path.startswith("template.Resources.BuildGroup.Properties."))
    assert ("124" in str(egress[0]), "123" in str(egress[1])) == (True, True)
    assert not any("Resources.Logs" in path for path in told)
    stage.publish()
    assert stage.plan().empty


def test_component_with_other_bytes_than_its_tags_say_is_refused(stage: Stage) -> None:
    stage.publish()
    region = stage.endpoint.emulator.region(REGION)
    body = next(one.body for arn, one in region.resources.items() if "cloudwatch-agent-config/" in arn)
    body["data"] = body["data"].replace("true", "curl http://evil.example")
    with pytest.raises(PublishError, match="does not hold the document"):
        stage.plan()


def test_destroyed_and_published_again(stage: Stage) -> None:
    stage.publish()
    whole = stage.state()
    demolition = Demolition(stage.cloud(), stage.what(), PLACE)
    demolition.carry_out(demolition.plan(), lambda _: None)
    assert [arn for arn in stage.state() if arn.startswith("arn:")] == []
    assert demolition.plan().empty
    stage.publish()
    assert {**stage.state(), "stacks": []} == {**whole, "stacks": []}


def test_foundation_stays_while_another_source_uses_it(stage: Stage) -> None:
    stage.publish()
    al2023 = stage.what(source="al2023", os_version="2023")
    stage.publish(al2023)
    assert stage.plan().empty
    demolition = Demolition(stage.cloud(), stage.what(), PLACE)
    demolition.carry_out(demolition.plan(), lambda _: None)
    assert stage.plan(al2023).empty


def test_no_call_is_made_that_the_policy_does_not_allow(stage: Stage) -> None:
    asked: set[str] = set()
    cloud = replace(stage.cloud(), clients={})
    allowed = iam.actions(iam.policy(project="isms-golden-ami", account=ACCOUNT, region=REGION)) | iam.FREE

    for service in ("imagebuilder", "cloudformation", "ec2", "s3", "logs", "sts", "ssm"):
        client = cloud.client(service)

        def record(model: OperationModel, **_: object) -> None:
            asked.add(iam.action(model.service_model.service_name, model.name))

        client.meta.events.register(f"before-call.{service}", record)
    stage.publish(cloud=cloud)
    stage.publish(stage.what((DOCUMENTS[1],), block={"keep_images": 3, "instance_types": ("t3.large",)}), cloud=cloud)
    demolition = Demolition(cloud, stage.what(), PLACE)
    demolition.carry_out(demolition.plan(), lambda _: None)
    assert len(asked) > 25
    assert asked - allowed == set()


def test_missing_permission_is_one_line_with_a_hint(stage: Stage) -> None:
    stage.endpoint.emulator.faults.add(Fault("Forbidden", frozenset({"ListComponents"}), times=None))
    with pytest.raises(UnreachableError, match="ListComponents") as caught:
        stage.plan()
    stage.endpoint.emulator.faults.clear()
    assert "--print-iam-policy" in str(caught.value.hint)
    assert caught.value.exit_code == 3


def test_subnet_of_another_vpc_and_unknown_subnet(stage: Stage) -> None:
    with pytest.raises(ConfigError, match="there is no subnet"):
        stage.plan(stage.what(block={"subnet_id": "subnet-0123456789abcdef0"} | {"vpc_id": stage.vpc}))
    vpc = stage.cloud().client("ec2").create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    what = stage.what()
    with pytest.raises(ConfigError, match="not in vpc_id"):
        stage.plan(replace(what, publish=what.publish.model_copy(update={"vpc_id": vpc})))


def test_walk_without_a_plan_changes_nothing(stage: Stage) -> None:
    Walk(stage.cloud(), stage.what(), PLACE).run()
    assert stage.mutations() == []
