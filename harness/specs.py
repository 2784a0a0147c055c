"""The shape of content files: what a YAML file may say, and how a mistake in it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import ContentError
from harness.model import Answer, Environment, Severity, Title

if TYPE_CHECKING:
    from harness.locatedyaml import Located


class Spec(BaseModel):
    """What a file may say: nothing but what is named."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


Kind = TypeVar("Kind", bound=Spec)


class TitleSpec(Spec):
    """A text in both languages."""

    ko: Annotated[str, Field(min_length=1)]
    en: Annotated[str, Field(min_length=1)]

    @property
    def title(self) -> Title:
        """The text as the model has it, on one line."""
        return Title(ko=" ".join(self.ko.split()), en=" ".join(self.en.split()))


class ParameterSpec(Spec):
    """A parameter as a rule file declares it."""

    type: Literal["integer", "text", "flag", "words"]
    description: Annotated[str, Field(min_length=1)]
    minimum: int | None = None
    maximum: int | None = None
    pattern: str | None = None
    default: str | None = None


class RuleSpec(Spec):
    """A rule as a rule file states it."""

    id: str
    title: TitleSpec
    severity: Severity
    rationale: Annotated[str, Field(min_length=1)]
    fix: Annotated[str, Field(min_length=1)]
    controls: dict[str, list[str]]
    parameters: tuple[str, ...] = ()
    applies_to: tuple[Environment, ...] = tuple(Environment)
    elsewhere: str | None = None


class RuleFileSpec(Spec):
    """A file of hardening/rules/."""

    parameters: dict[str, ParameterSpec] = Field(default_factory=dict)
    rules: list[RuleSpec]


class OsSpec(Spec):
    """Which operating system a baseline is for, in the words of os-release."""

    id: str
    version_id: str


class BaselineSpec(Spec):
    """A file of hardening/baselines/."""

    title: TitleSpec
    os: OsSpec
    parameters: dict[str, str]
    excluded: dict[str, str] = Field(default_factory=dict)
    editions: tuple[str, ...] = ()


class ItemSpec(Spec):
    """A control as a file states it."""

    id: str
    title: TitleSpec
    group: TitleSpec
    severity: Severity | None = None
    good: TitleSpec | None = None
    answer: Answer
    ask: TitleSpec | None = None
    reason: TitleSpec | None = None
    evidence: TitleSpec | None = None
    beside: Literal["publish", "run"] | None = None
    kept: tuple[str, ...] = ()


class EditionSpec(Spec):
    """A file of hardening/controls/."""

    standard: str
    edition: str
    title: TitleSpec
    issuer: str
    published: str
    controls: list[ItemSpec]


def validated(kind: type[Kind], document: Located) -> Kind:
    """Read a document as `kind`; the first mistake becomes one line with its place."""
    try:
        return kind.model_validate(document.value)
    except ValidationError as error:
        first = error.errors()[0]
        place = first["loc"]
        raise ContentError(f"{'.'.join(map(str, place)) or 'the file'}: {first['msg'].lower()}", at=document.at(*place)) from None
