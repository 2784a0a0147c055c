"""An account of the emulator as its clients see it: boto3 over real HTTP, every answer held against the model."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError

from publish.emulator.shapes import violations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botocore.model import OperationModel

    from publish.emulator import Emulator

REGION = "ap-northeast-2"
OWN = f"arn:aws:imagebuilder:{REGION}:123456789012"
AMAZON = f"arn:aws:imagebuilder:{REGION}:aws"
PARENT = f"{AMAZON}:image/amazon-linux-2023-x86/x.x.x"
Members = dict[str, Any]
ANSWERED: set[str] = set()
"""Operations that were answered well, by all tests so far."""


def document(*phases: str, name: str = "hardening", command: str = "true") -> str:
    """Return a component document that has one step in each phase."""
    lines = [
        f"name: {name}",
        "schemaVersion: 1.0",
        "parameters:",
        "  - level: {type: string, default: '3', description: How much}",
        "phases:",
    ]
    for phase in phases or ("build", "validate", "test"):
        inputs = f"inputs: {{commands: ['{command}']}}"
        lines.append(f"  - name: {phase}\n    steps:\n      - name: Do_{phase}\n        action: ExecuteBash\n        {inputs}")
    return "\n".join(lines) + "\n"


@dataclass(slots=True)
class Clock:
    """Time that passes when it is told to."""

    now: datetime = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass(slots=True)
class Refusal:
    """What a refused call was told."""

    code: str = ""
    message: str = ""
    status: int = 0


@cache
def client_of(endpoint: str, region: str) -> Any:  # noqa: ANN401 - its methods come from the model
    """Return a client that checks nothing itself, so that everything reaches the service, and tries nothing twice."""
    config = Config(parameter_validation=False, retries={"mode": "standard", "total_max_attempts": 1})
    session: Any = boto3.session.Session("testing", "testing", region_name=region)
    client = session.client("imagebuilder", endpoint_url=endpoint, config=config)
    client.meta.events.register("before-parse.imagebuilder", judge)
    return client


def judge(operation_model: OperationModel, response_dict: Members, **_: object) -> None:
    """Hold an answer against the model, before botocore takes from it what it likes."""
    if response_dict["status_code"] != HTTPStatus.OK:
        assert response_dict["headers"]["x-amzn-ErrorType"]
        return
    assert operation_model.output_shape is not None
    # The model says that a map of tags has an entry; the service answers with empty ones, and so do we.
    found = [
        str(one) for one in violations(operation_model.output_shape, json.loads(response_dict["body"])) if "of tags is 0" not in str(one)
    ]
    assert not found, f"{operation_model.name}: {found}"
    ANSWERED.add(operation_model.name)


@dataclass(slots=True)
class Account:
    """A client, and the shortest ways to things that other things need."""

    endpoint: str
    emulator: Emulator
    region: str = REGION

    @property
    def client(self) -> Any:  # noqa: ANN401 - its methods come from the model
        """The client of boto3."""
        return client_of(self.endpoint, self.region)

    def call(self, operation: str, /, **parameters: object) -> Members:
        """Call an operation by its name in the model."""
        answer: Members = getattr(self.client, xform_name(operation))(**parameters)
        return answer

    @contextmanager
    def refuses(self, code: str, *parts: str) -> Iterator[Refusal]:
        """Expect a call in the block to be refused with this code and these parts of a message."""
        told = Refusal()
        try:
            yield told
        except ClientError as error:
            answer: Any = error.response
            told.code, told.message = answer["Error"]["Code"], answer["Error"]["Message"]
            told.status = answer["ResponseMetadata"]["HTTPStatusCode"]
            assert told.code == f"{code}Exception", told.message
            for part in parts:
                assert part in told.message
            return
        message = f"nothing was refused with {code}"
        raise AssertionError(message)

    def component(self, name: str = "hardening", version: str = "1.0.0", **more: object) -> str:
        given = {"data": document(name=name), **more} if "uri" not in more else more
        answer = self.call("CreateComponent", name=name, semanticVersion=version, platform="Linux", **given)
        return str(answer["componentBuildVersionArn"])

    def recipe(self, *components: str, name: str = "golden", version: str = "1.0.0", **more: object) -> str:
        configured = [{"componentArn": component} for component in components]
        given: Members = {"parentImage": PARENT, **({"components": configured} if configured else {}), **more}
        return str(self.call("CreateImageRecipe", name=name, semanticVersion=version, **given)["imageRecipeArn"])

    def infrastructure(self, name: str = "infra", **more: object) -> str:
        given = {"instanceProfileName": "profile", **more}
        return str(self.call("CreateInfrastructureConfiguration", name=name, **given)["infrastructureConfigurationArn"])

    def distribution(self, name: str = "distribution", **more: object) -> str:
        ami = {
            "name": "golden {{ imagebuilder:buildDate }}",
            "amiTags": {"Hardened": "true"},
            "launchPermission": {"userIds": ["111122223333"]},
        }
        given = {"distributions": [{"region": self.region, "amiDistributionConfiguration": ami}], **more}
        return str(self.call("CreateDistributionConfiguration", name=name, **given)["distributionConfigurationArn"])

    def pipeline(self, recipe: str | None = None, name: str = "weekly", **more: object) -> str:
        given: Members = {"imageRecipeArn": recipe or self.recipe(self.component())}
        if "infrastructureConfigurationArn" not in more:
            given["infrastructureConfigurationArn"] = self.infrastructure(name=f"{name}-infra")
        return str(self.call("CreateImagePipeline", name=name, **{**given, **more})["imagePipelineArn"])

    def start(self, pipeline: str) -> str:
        return str(self.call("StartImagePipelineExecution", imagePipelineArn=pipeline)["imageBuildVersionArn"])

    def image(self, arn: str) -> Members:
        found: Members = self.call("GetImage", imageBuildVersionArn=arn)["image"]
        return found

    def status(self, arn: str) -> str:
        return str(self.image(arn)["state"]["status"])
