"""The edge to AWS: what passes is tried again, what does not is one line with a hint and the right exit code."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from botocore import exceptions

from harness.errors import ConfigError, PublishError, UnreachableError
from publish.aws import ATTEMPTS, Cloud, Refused, refusal, unreachable
from tests.publish import stage

REGION = stage.REGION


class Scripted:
    """A client whose answers are given in advance."""

    def __init__(self, *answers: Exception | dict[str, Any]) -> None:
        self.answers, self.asked = list(answers), 0

    def get_thing(self, **_: object) -> dict[str, Any]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def cloud(client: Scripted, pauses: list[float] | None = None) -> Cloud:
    taken = pauses if pauses is not None else []
    return Cloud(REGION, sleep=taken.append, clients={("thing", REGION): client})


@pytest.mark.parametrize(
    ("status", "code"),
    [(429, "CallRateLimitExceededException"), (400, "Throttling"), (503, "ServiceUnavailable"), (500, "Whatever"), (503, "SlowDown")],
)
def test_what_passes_is_tried_again_with_growing_pauses(status: int, code: str) -> None:
    pauses: list[float] = []
    client = Scripted(*[stage.refusal(status, code, "GetThing")] * 5, {"a": 1})
    assert cloud(client, pauses).call("thing", "get_thing") == {"a": 1}
    assert client.asked == 6
    assert len(pauses) == 5
    assert all(0 < pause <= 20 for pause in pauses)
    assert pauses[4] > pauses[0]


def test_trouble_that_does_not_pass_ends_after_the_last_attempt() -> None:
    client = Scripted(stage.refusal(429, "CallRateLimitExceededException", "GetThing", "slow down"))
    with pytest.raises(Refused) as caught:
        cloud(client).call("thing", "get_thing")
    assert client.asked == ATTEMPTS
    error = caught.value.error()
    assert isinstance(error, UnreachableError)
    assert "again and again" in error.message


def test_a_lost_connection_is_tried_again() -> None:
    lost = exceptions.ConnectionClosedError(endpoint_url="https://aws")
    assert cloud(Scripted(lost, lost, {"a": 1})).call("thing", "get_thing") == {"a": 1}
    client = Scripted(exceptions.EndpointConnectionError(endpoint_url="https://nowhere"))
    with pytest.raises(UnreachableError, match="nowhere") as caught:
        cloud(client).call("thing", "get_thing")
    assert REGION in str(caught.value.hint)


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidParameterValueException", "ResourceNotFoundException"])
def test_a_refusal_for_good_is_not_tried_again(code: str) -> None:
    client = Scripted(stage.refusal(400, code, "GetThing"))
    with pytest.raises(Refused):
        cloud(client).call("thing", "get_thing")
    assert client.asked == 1


@pytest.mark.parametrize(
    ("code", "message", "kind", "hint"),
    [
        ("AccessDenied", "not authorized", UnreachableError, "--print-iam-policy"),
        ("UnauthorizedOperation", "", UnreachableError, "--print-iam-policy"),
        ("ServiceQuotaExceededException", "20 components", PublishError, "Service Quotas"),
        ("InvalidParameterValueException", "bad", ConfigError, "publish block"),
        ("ResourceInUseException", "busy", PublishError, "run again"),
    ],
)
def test_refusals_become_errors(code: str, message: str, kind: type[Exception], hint: str) -> None:
    error = Refused("GetThing", code, message).error()
    assert type(error) is kind
    assert hint in str(error.hint)
    assert "\n" not in error.message


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("ExpiredToken", "expired"),
        ("ExpiredTokenException", "expired"),
        ("InvalidClientTokenId", "does not know these credentials"),
        ("UnrecognizedClientException", "does not know these credentials"),
        ("OptInRequired", "does not use ap-northeast-2"),
    ],
)
def test_credentials_that_are_no_good_are_told(code: str, told: str) -> None:
    error = refusal(stage.refusal(403, code, "GetCallerIdentity"), REGION)
    assert isinstance(error, UnreachableError)
    assert told in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (exceptions.NoCredentialsError(), "no AWS credentials"),
        (exceptions.PartialCredentialsError(provider="env", cred_var="aws_secret_access_key"), "no AWS credentials"),
        (exceptions.ProfileNotFound(profile="other"), "no AWS credentials"),
        (exceptions.TokenRetrievalError(provider="sso", error_msg="old"), "cannot be renewed"),
        (exceptions.UnauthorizedSSOTokenError(), "cannot be renewed"),
        (exceptions.InvalidRegionError(region_name="seoul!"), "does not answer"),
    ],
)
def test_trouble_before_the_first_request(error: Exception, told: str) -> None:
    found = unreachable(error, REGION)
    assert told in found.message
    assert found.hint
    assert found.exit_code == 3


def test_absent_is_none_where_it_is_asked_for() -> None:
    assert cloud(Scripted(stage.refusal(404, "404", "HeadThing"))).find("thing", "get_thing") is None
    gone = stage.refusal(400, "ValidationError", "DescribeStacks", "Stack with id x does not exist")
    assert cloud(Scripted(gone)).find("thing", "get_thing") is None
    with pytest.raises(Refused):
        cloud(Scripted(stage.refusal(400, "ValidationError", "X", "bad"))).find("thing", "get_thing")


def test_pages_are_followed_by_either_spelling_of_the_token() -> None:
    client = Scripted({"items": [{"n": 1}], "nextToken": "a"}, {"items": [{"n": 2}], "NextToken": "b"}, {"items": [{"n": 3}]})
    assert [one["n"] for one in cloud(client).pages("thing", "get_thing", "items")] == [1, 2, 3]


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(UnreachableError, match="does not answer"):
        _ = Cloud(REGION, url, sleep=lambda _: None).account
