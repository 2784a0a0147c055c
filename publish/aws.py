"""The thin edge to AWS: one session, calls that are retried, and every refusal as one line with a hint."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from harness.errors import ConfigError, HarnessError, PublishError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from botocore.exceptions import ClientError

Json = dict[str, Any]

ATTEMPTS: Final = 12
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0
"""Seconds; doubled after each attempt, with jitter."""
THROTTLED: Final = frozenset(
    {
        "CallRateLimitExceededException",
        "TooManyRequestsException",
        "Throttling",
        "ThrottlingException",
        "RequestLimitExceeded",
        "SlowDown",
        "PriorRequestNotComplete",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "ServiceException",
        "InternalFailure",
        "InternalError",
        "RequestTimeout",
    }
)
EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
UNKNOWN_KEY: Final = frozenset(
    {"InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
)
DENIED: Final = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "ForbiddenException", "Forbidden", "NotAuthorized", "403"}
)
ABSENT: Final = frozenset(
    {
        "ResourceNotFoundException",
        "NoSuchBucket",
        "NoSuchEntity",
        "NotFound",
        "404",
        "ParameterNotFound",
        "ChangeSetNotFound",
        "ChangeSetNotFoundException",
    }
)
TAKEN: Final = frozenset({"ResourceAlreadyExistsException", "AlreadyExistsException"})
POLICY_HINT: Final = "`harness publish --print-iam-policy` prints what the publisher must be allowed to do"


class Refused(Exception):  # noqa: N818 - an answer, not yet an error: the caller may expect it
    """The service said no; `code` is its word for the reason."""

    def __init__(self, operation: str, code: str, message: str, *, passing: bool = False) -> None:
        """Keep what the service said; `passing` when it may say otherwise in a moment."""
        super().__init__(f"{operation}: {code}: {message}")
        self.operation, self.code, self.message, self.passing = operation, code, message, passing

    @property
    def absent(self) -> bool:
        """Whether there is no such thing."""
        gone = self.code == "ValidationError" and "does not exist" in self.message
        return self.code in ABSENT or self.code.endswith(".NotFound") or gone

    @property
    def taken(self) -> bool:
        """Whether there is such a thing already."""
        return self.code in TAKEN

    @property
    def denied(self) -> bool:
        """Whether the caller lacks a permission."""
        return self.code in DENIED

    def error(self) -> HarnessError:
        """Return what the user is told."""
        if self.denied:
            return UnreachableError(f"AWS does not let you call {self.operation}: {self.message}", hint=POLICY_HINT)
        if self.code == "ServiceQuotaExceededException":
            return PublishError(f"{self.operation}: {self.message}", hint="ask Service Quotas for more, or use less of it")
        if self.passing:
            return UnreachableError(f"{self.operation} is refused again and again: {self.message}", hint="run again later; it goes on here")
        if "Invalid" in self.code or self.code in {"ValidationError", "ValidationException"} or self.code.endswith(".Malformed"):
            return ConfigError(f"{self.operation}: {self.message}", hint="the publish block says something that AWS does not take")
        return PublishError(f"{self.operation}: {self.code}: {self.message}", hint="run again; what is done already is kept")


@dataclass(slots=True)
class Cloud:
    """AWS as one account in one region."""

    region: str
    endpoint: str | None = None
    """For every service; None: AWS itself, or what AWS_ENDPOINT_URL says."""
    sleep: Callable[[float], None] = time.sleep
    before: Callable[[str, str, Mapping[str, Any]], None] | None = None
    """Called with service, operation and parameters before each request that goes out; tests count, and break off, here."""
    after: Callable[[str, str], None] | None = None
    """Called when the answer is there."""
    clients: dict[tuple[str, str], Any] = field(default_factory=dict)
    session: Any = None
    _identity: tuple[str, str] | None = None

    def client(self, service: str, region: str | None = None) -> Any:  # noqa: ANN401 - boto3 makes them at run time
        """Return the client of a service. Raises UnreachableError."""
        key = (service, region or self.region)
        if key not in self.clients:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError

            # Retries are ours: botocore does not know that CallRateLimitExceededException is throttling.
            settings = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 1})
            try:
                self.session = self.session or boto3.session.Session()
                self.clients[key] = self.session.client(service, region_name=key[1], endpoint_url=self.endpoint, config=settings)
            except (BotoCoreError, ValueError) as error:
                raise unreachable(error, self.region) from None
        return self.clients[key]

    def call(
        self,
        service: str,
        operation: str,
        *,
        region: str | None = None,
        attempts: int = ATTEMPTS,
        **parameters: Any,  # noqa: ANN401 - as boto3
    ) -> Json:
        """Do one operation, named as in boto3. Raises Refused, or UnreachableError after the last attempt."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, ParamValidationError
        from botocore.parsers import ResponseParserError

        method = getattr(self.client(service, region), operation)
        pause = FIRST_PAUSE
        for attempt in range(1, attempts + 1):
            try:
                if self.before:
                    self.before(service, operation, parameters)
                answer: Json = method(**parameters)
                if self.after:
                    self.after(service, operation)
            except ClientError as error:
                if attempt == attempts or not passing(error):
                    raise refusal(error, self.region) from None
            except ParamValidationError as error:
                raise ConfigError(f"{operation}: {error}", hint="the publish block says something that AWS does not take") from None
            except (HTTPClientError, ResponseParserError) as error:
                if attempt == attempts:
                    raise unreachable(error, self.region) from None
            except BotoCoreError as error:
                raise unreachable(error, self.region) from None
            else:
                return answer
            self.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(pause * 2, LONGEST_PAUSE)
        raise AssertionError  # pragma: no cover - the loop returns or raises

    def find(self, service: str, operation: str, *, region: str | None = None, **parameters: Any) -> Json | None:  # noqa: ANN401 - as call
        """Do one operation; None when what it asks for is not there."""
        try:
            return self.call(service, operation, region=region, **parameters)
        except Refused as refused:
            if refused.absent:
                return None
            raise

    def pages(self, service: str, operation: str, key: str, **parameters: Any) -> Iterator[Json]:  # noqa: ANN401 - as call
        """Yield the items of a list, page after page."""
        more: Json = {}
        while True:
            answer = self.call(service, operation, **parameters, **more)
            yield from answer.get(key, ())
            token = next((name for name in ("nextToken", "NextToken") if answer.get(name)), None)
            if token is None:
                return
            more = {token: answer[token]}

    @property
    def account(self) -> str:
        """Number of the account that the credentials belong to."""
        return self.identity()[0]

    @property
    def partition(self) -> str:
        """First word of every ARN here: `aws`, or another in China."""
        return self.identity()[1]

    def identity(self) -> tuple[str, str]:
        """Return account and partition, asked once."""
        if self._identity is None:
            answer = self.call("sts", "get_caller_identity")
            self._identity = (str(answer["Account"]), str(answer.get("Arn", "arn:aws")).split(":")[1])
        return self._identity


def passing(error: ClientError) -> bool:
    """Tell whether a refusal may be over in a moment: throttling, or the service's own trouble."""
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return error.response["Error"].get("Code") in THROTTLED or status in {429, 500, 502, 503, 504}


def refusal(error: ClientError, region: str) -> Exception:
    """Turn a refusal into what callers handle, or into the end where nothing can be done."""
    code, message = str(error.response["Error"].get("Code", "")), str(error.response["Error"].get("Message", ""))
    operation = error.operation_name
    if code in EXPIRED:
        return UnreachableError("the AWS credentials have expired", hint="log in again, for example with `aws sso login`")
    if code in UNKNOWN_KEY:
        return UnreachableError(f"AWS does not know these credentials: {message}", hint="`aws sts get-caller-identity` must answer")
    if code in {"OptInRequired", "InvalidRegion"}:
        return UnreachableError(f"the account does not use {region}: {message}", hint="enable the region, or set aws_region")
    return Refused(operation, code, message, passing=passing(error))


def unreachable(error: Exception, region: str) -> UnreachableError:
    """Turn an error below HTTP into one line."""
    from botocore import exceptions

    absent = (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound)
    stale = (exceptions.TokenRetrievalError, exceptions.SSOError, exceptions.CredentialRetrievalError)
    if isinstance(error, absent):
        return UnreachableError(f"no AWS credentials: {error}", hint="set AWS_PROFILE, or log in, for example with `aws sso login`")
    if isinstance(error, stale):
        return UnreachableError(f"the AWS credentials cannot be renewed: {error}", hint="log in again, for example with `aws sso login`")
    hint = f"is aws_region {region} right, and is there a way to it from here? --endpoint-url names another address"
    return UnreachableError(f"AWS does not answer: {error}", hint=hint)
