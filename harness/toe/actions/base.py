"""What an action is: a frozen dataclass whose fields are its inputs, and which runs on a session."""

from __future__ import annotations

import difflib
import re
from dataclasses import MISSING, Field, dataclass, fields
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from harness.toe.expressions import has_reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from harness.toe.session import Session
    from harness.toe.tree import Plain

REBOOT_EXIT_CODE: Final = 194


class InputError(ValueError):
    """Inputs that do not fit the action."""

    def __init__(self, message: str, key: str | None = None, hint: str | None = None) -> None:
        """Name the key at fault, where it is one."""
        super().__init__(message)
        self.key, self.hint = key, hint


class Resume(Enum):
    """What goes on after the reboot that an action asks for."""

    SAME_STEP = auto()
    NEXT_STEP = auto()


@dataclass(frozen=True, slots=True)
class Done:
    """What an action that succeeded leaves behind."""

    outputs: tuple[Mapping[str, str], ...] = ()
    exit_code: int | None = None
    reboot: Resume | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """One action with the inputs of one element. A subclass declares its inputs as fields; its name is the action's."""

    many: ClassVar[bool] = False
    """Whether the inputs may be a list of several elements."""
    produces: ClassVar[tuple[str, ...]] = ()
    """The names under `outputs`."""

    def run(self, session: Session) -> Done:
        """Do it. Raises ActionError when it does not succeed."""
        raise NotImplementedError

    @classmethod
    def run_all(cls, elements: Sequence[Self], session: Session) -> Done:
        """Do every element in order, up to the first that fails."""
        done = [element.run(session) for element in elements]
        return Done(tuple(output for one in done for output in one.outputs), done[-1].exit_code, done[-1].reboot)

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Return the names of the inputs as documents spell them."""
        return tuple(key_of(field) for field in fields(cls))

    @classmethod
    def required(cls) -> tuple[str, ...]:
        """Return the names of the inputs that have no default."""
        return tuple(key_of(field) for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING)

    @classmethod
    def build(cls, given: Mapping[str, Plain]) -> Self:
        """Make the action from resolved inputs. Raises InputError at the first that does not fit."""
        for mistake in shape_mistakes(cls, given):
            raise mistake
        values: dict[str, Any] = {field.name: read(field, given[key_of(field)]) for field in fields(cls) if key_of(field) in given}
        return cls(**values)

    @classmethod
    def mistakes(cls, given: Mapping[str, Plain]) -> Iterator[InputError]:
        """List what can be said of the inputs before they are resolved: all of it where no reference stands in them."""
        found = list(shape_mistakes(cls, given))
        yield from found
        for field in fields(cls):
            value = given.get(key_of(field))
            if value is None or (isinstance(value, str) and field.type in {"bool", "int"} and has_reference(value)):
                continue
            try:
                read(field, value)
            except InputError as error:
                found.append(error)
                yield error
        if not found and not any(has_reference(text) for value in given.values() for text in texts(value)):
            try:
                cls.build(given)
            except InputError as error:
                yield error


def key_of(field: Field[Any]) -> str:
    """Return how documents spell a field: `file_name_pattern` is `fileNamePattern`."""
    key: str | None = field.metadata.get("key")
    return key or re.sub(r"_([a-z])", lambda match: match[1].upper(), field.name)


def shape_mistakes(action: type[Action], given: Mapping[str, Plain]) -> Iterator[InputError]:
    """List keys that the action does not know, and those that it misses."""
    known, meant = action.keys(), set[str]()
    for key in given:
        if key not in known:
            meant.add(closest(key, known) or "")
            hint = did_you_mean(key, known) or f"inputs: {', '.join(known) or 'none'}"
            yield InputError(f"{action.__name__} has no input `{key}`", key, hint)
    for key in action.required():
        if key not in given and key not in meant:
            yield InputError(f"{action.__name__} needs the input `{key}`")


def closest(word: str, known: Iterable[str]) -> str | None:
    """Find the name that was probably meant."""
    choices = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), choices, n=1, cutoff=0.6)
    return choices[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Offer the name that was probably meant."""
    name = closest(word, known)
    return f"did you mean `{name}`?" if name else None


def texts(value: Plain) -> Iterator[str]:
    """Walk over every text of a value."""
    if isinstance(value, str):
        yield value
    else:
        for item in value if isinstance(value, tuple) else value.values():
            yield from texts(item)


LISTS: Final = ("tuple[str, ...]", "tuple[Mapping[str, str], ...]")


def read(field: Field[Any], value: Plain) -> object:
    """Turn a value into what the field declares; the annotation, a text, says what that is. Raises InputError."""
    key = key_of(field)
    if field.type in LISTS:
        if not isinstance(value, tuple):
            raise _no_list(key, value)
        return tuple(_item(key, index, item, maps=field.type == LISTS[1]) for index, item in enumerate(value))
    if not isinstance(value, str):
        raise InputError(f"`{key}` is {_kind(value)}, a text was expected", key, _quote_hint(value))
    if field.type == "bool":
        if value.lower() not in {"true", "false"}:
            raise InputError(f"`{key}` is `{value}`, true or false was expected", key)
        return value.lower() == "true"
    if field.type == "int":
        if not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII):
            raise InputError(f"`{key}` is `{value}`, a whole number was expected", key)
        return int(value)
    return value


def _item(key: str, index: int, item: Plain, *, maps: bool) -> object:
    if maps:
        if not (isinstance(item, dict) and set(item) == {"name", "value"} and all(isinstance(text, str) for text in item.values())):
            raise InputError(f"`{key}[{index}]` must have a name and a value", key, "- name: X, value: Y")
        return item
    if not isinstance(item, str):
        raise InputError(f"`{key}[{index}]` is {_kind(item)}, a text was expected", key, _quote_hint(item))
    return item


def _kind(value: Plain) -> str:
    return "a list" if isinstance(value, tuple) else "a map" if not isinstance(value, str) else "a text"


def _no_list(key: str, value: Plain) -> InputError:
    return InputError(f"`{key}` is {_kind(value)}, a list was expected", key, f"put `- ` before each entry below `{key}:`")


def _quote_hint(value: Plain) -> str | None:
    return "a text that holds ': ' needs quotes, or its own lines under `|`" if not isinstance(value, (str, tuple)) else None
