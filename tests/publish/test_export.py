"""One template for everything, which cfn-lint takes and whose documents are the very bytes."""

from __future__ import annotations

import yaml
from cfnlint.api import lint_all

from publish import export
from tests.publish.stage import DOCUMENTS, PLACE, publication, publish_block

BLOCK = publish_block(vpc_id="vpc-12345678", subnet_id="subnet-12345678", keep_images=5)


def test_cfn_lint_has_nothing_to_say() -> None:
    assert [str(match) for match in lint_all(export.template(publication(BLOCK), PLACE)) if match.rule.id[0] in "EW"] == []


def test_documents_are_the_very_bytes() -> None:
    template = yaml.safe_load(export.template(publication(BLOCK), PLACE))
    long, short = template["Resources"]["Component1"]["Properties"], template["Resources"]["Component2"]["Properties"]
    assert short["Data"].encode() == DOCUMENTS[1].data
    key = f"components/{DOCUMENTS[0].sha256}.yml"
    assert long["Uri"] == {"Fn::Sub": f"s3://${{DocumentBucket}}/{key}"}
    assert export.documents(publication(BLOCK)) == {key: DOCUMENTS[0].data}


def test_pipeline_stands_on_the_foundation_of_the_same_template() -> None:
    made = yaml.safe_load(export.template(publication(BLOCK), PLACE))["Resources"]
    infrastructure = made["Infrastructure"]["Properties"]
    assert infrastructure["InstanceProfileName"] == {"Fn::If": ["MakeRole", {"Ref": "BuildProfile"}, {"Ref": "InstanceProfile"}]}
    assert made["Pipeline"]["Properties"]["ImageRecipeArn"] == {"Fn::GetAtt": ["Recipe", "Arn"]}
    assert made["Pipeline"]["Properties"]["Schedule"]["ScheduleExpression"] == "cron(0 2 ? * sun *)"
    assert made["Recipe"]["Properties"]["ParentImage"] == {
        "Fn::Sub": "arn:${AWS::Partition}:imagebuilder:${AWS::Region}:aws:image/amazon-linux-2-x86/x.x.x"
    }
    assert made["Recipe"]["Properties"]["Tags"]["Compliance"] == "ISMS-K-21.1"
    ami = made["Distribution"]["Properties"]["Distributions"][0]["AmiDistributionConfiguration"]
    assert ami["LaunchPermissionConfiguration"] == {"UserIds": ["210987654321"]}
    assert ami["AmiTags"]["Hardened"] == "true"


def test_without_long_documents_no_bucket_is_asked_for() -> None:
    template = yaml.safe_load(export.template(publication(BLOCK, (DOCUMENTS[1],)), PLACE))
    assert "DocumentBucket" not in template["Parameters"]
