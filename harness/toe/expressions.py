"""The `{{ … }}` references of component documents: what they may say, and putting values in their place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME: Final = re.compile(r"[A-Za-z0-9_-]{3,128}")
"""What parameters and constants may be called."""
_REFERENCE: Final = re.compile(r"\{\{(.*?)\}\}")
_CHAIN: Final = re.compile(r"(?P<steps>.+)\.(?P<side>inputs|outputs)(?:\[(?P<index>\d+)\])?\.(?P<name>[^.\[\]\s]+)")
_LOOP: Final = re.compile(r"(?P<loop>[A-Za-z0-9_-]+)\.(?P<member>index|value)")
_RESOLVE: Final = re.compile(r"resolve\((?P<inner>.*)\)", re.DOTALL)
NAMESPACES: Final = ("aws:ssm", "aws:imds", "env", "context")
_FORBIDDEN_METADATA: Final = ("iam/", "identity-credentials/")


class ExpressionError(ValueError):
    """A reference that cannot be read, or has no value."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        """Say what is wrong and what to write instead."""
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Name:
    """`{{ Version }}`: a parameter or constant."""

    name: str


@dataclass(frozen=True, slots=True)
class Chain:
    """`{{ build.Step.outputs[0].stdout }}`: what a step took or left."""

    steps: str
    """`phase.step`; both names may hold dots, so only a document can split it."""
    side: str
    index: int | None
    name: str


@dataclass(frozen=True, slots=True)
class LoopMember:
    """`{{ loop.value }}` or, with the loop's name, `{{ hosts.index }}`."""

    loop: str
    member: str


@dataclass(frozen=True, slots=True)
class External:
    """`{{ env:PATH }}`, `{{ aws:ssm:/path }}` …: a value from outside the document."""

    namespace: str
    key: str
    indirect: Name | External | None = None
    """What `aws:ssm:resolve(…)` reads the key from; `key` is empty then."""


Reference: TypeAlias = Name | Chain | LoopMember | External


@dataclass(frozen=True, slots=True)
class Found:
    """A value from outside the document."""

    text: str
    secret: bool = False
    """Whether the value is hidden in logs (SecureString, Secrets Manager)."""


class Resolver(Protocol):
    """Gives the values of the namespaces `aws:ssm`, `aws:imds`, `env` and `context`."""

    def resolve(self, namespace: str, key: str) -> Found:
        """Return the value. Raises LookupError, with a text for people, when there is none."""
        ...


def parse(text: str) -> Reference:
    """Read what stands between the braces. Raises ExpressionError when it is no reference of AWSTOE's."""
    body = text.strip()
    for namespace in NAMESPACES:
        if body.startswith(f"{namespace}:"):
            return _external(namespace, body[len(namespace) + 1 :].strip())
    if chain := _CHAIN.fullmatch(body):
        index = chain["index"]
        return Chain(chain["steps"], chain["side"], int(index) if index is not None else None, chain["name"])
    if loop := _LOOP.fullmatch(body):
        return LoopMember(loop["loop"], loop["member"])
    if NAME.fullmatch(body):
        return Name(body)
    raise ExpressionError(
        f"`{{{{{text}}}}}` is no reference",
        "AWSTOE reads every {{ }}: a parameter, phase.step.outputs.name, loop.value, env:, context: or aws:; "
        "templates of other tools (Go, Jinja) must be kept out of the document",
    )


def _external(namespace: str, key: str) -> External:
    if not key:
        raise ExpressionError(f"`{namespace}:` names nothing", f"write {{{{ {namespace}:NAME }}}}")
    if namespace == "aws:imds" and key.lstrip("/").startswith(_FORBIDDEN_METADATA):
        raise ExpressionError(f"`aws:imds:{key}` holds credentials, which AWSTOE refuses", "read another key of the metadata")
    if namespace == "aws:ssm" and (indirect := _RESOLVE.fullmatch(key)):
        inner = parse(indirect["inner"])
        if isinstance(inner, Name) or (isinstance(inner, External) and inner.namespace == "aws:ssm"):
            return External(namespace, "", inner)
        raise ExpressionError("resolve(…) takes a parameter of the document or another aws:ssm: reference")
    return External(namespace, key)


def occurrences(text: str) -> Iterator[tuple[int, Reference | ExpressionError]]:
    """List every reference of a text with its position, and the mistake where it is none."""
    for match in _REFERENCE.finditer(text):
        try:
            yield match.start(), parse(match[1])
        except ExpressionError as error:
            yield match.start(), error


def has_reference(text: str) -> bool:
    """Tell whether the text depends on a value that is known at run time only."""
    return _REFERENCE.search(text) is not None


def splice(text: str, value: Callable[[Reference], str | None]) -> str:
    """Put the values in place as text, once: what a value holds is not read again. None leaves the reference as it stands."""

    def replace(match: re.Match[str]) -> str:
        found = value(parse(match[1]))
        return match[0] if found is None else found

    return _REFERENCE.sub(replace, text)
