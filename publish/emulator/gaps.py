"""What moto's CloudFormation lacks of the resources that our templates name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def fill() -> None:
    """Teach moto that there is a policy of a bucket; it finds the subclasses of its model by itself, so that once is enough.

    The policy is entered, and has no effect: moto judges statements without their conditions, and would shut the bucket for everybody.
    """
    from moto.core.common_models import CloudFormationModel

    if any(model.__name__ == "BucketPolicy" for model in CloudFormationModel.__subclasses__()):
        return

    class BucketPolicy(CloudFormationModel):
        def __init__(self, bucket: str) -> None:
            self.bucket = self.physical_resource_id = bucket

        @staticmethod
        def cloudformation_name_type() -> str:
            return ""

        @staticmethod
        def cloudformation_type() -> str:
            return "AWS::S3::BucketPolicy"

        @classmethod
        def create_from_cloudformation_json(
            cls, resource_name: str, cloudformation_json: Mapping[str, Any], account_id: str, region_name: str, **_: object
        ) -> BucketPolicy:
            del resource_name, account_id, region_name
            return cls(cloudformation_json["Properties"]["Bucket"])

        @classmethod
        def update_from_cloudformation_json(cls, _old: object, _name: str, given: Mapping[str, Any], *_: object) -> BucketPolicy:
            return cls(given["Properties"]["Bucket"])

        @classmethod
        def delete_from_cloudformation_json(cls, *_: object) -> None:
            """Leave it; it goes with its bucket."""
