"""The shape of content files: what a YAML file may say, and how a mistake in it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import ContentError
from harness.model import Title

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


def validated(kind: type[Kind], document: Located) -> Kind:
    """Read a document as `kind`; the first mistake becomes one line with its place."""
    try:
        return kind.model_validate(document.value)
    except ValidationError as error:
        first = error.errors()[0]
        place = first["loc"]
        raise ContentError(f"{'.'.join(map(str, place)) or 'the file'}: {first['msg'].lower()}", at=document.at(*place)) from None
