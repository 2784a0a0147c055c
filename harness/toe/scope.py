"""The values that a run knows so far, and putting them in place of references."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.toe.actions.base import did_you_mean
from harness.toe.expressions import Chain, ExpressionError, External, LoopMember, Name, Reference, Resolver, splice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.toe.document import Document
    from harness.toe.loops import Loop
    from harness.toe.semantics import Semantics
    from harness.toe.tree import Plain


@dataclass(frozen=True, slots=True)
class Iteration:
    """Where a loop stands."""

    loop: Loop
    index: int
    value: str


@dataclass(slots=True)
class Scope:
    """Everything that a reference can name while one document runs."""

    names: Mapping[str, str]
    """Parameters and constants."""
    resolver: Resolver | None
    hide: Callable[[str], None]
    """Told of every secret before it is used."""
    taken: dict[str, tuple[Mapping[str, Plain], ...]] = field(default_factory=dict)
    """Inputs by `phase.step`."""
    left: dict[str, tuple[Mapping[str, str], ...]] = field(default_factory=dict)
    """Outputs by `phase.step`."""
    iteration: Iteration | None = None

    def text(self, text: str) -> str:
        """Put every value in place. Raises ExpressionError naming the reference that has none."""
        return splice(text, self._value)

    def all(self, value: Plain) -> Plain:
        """Put every value in place in a list or map."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, tuple):
            return tuple(self.all(item) for item in value)
        return {key: self.all(item) for key, item in value.items()}

    def chaining(self) -> dict[str, Any]:
        """Return what chaining.json holds."""
        return {steps: {"inputs": self.taken.get(steps, ()), "outputs": self.left.get(steps, ())} for steps in self.taken}

    def _value(self, reference: Reference) -> str | None:
        match reference:
            case Name(name):
                if name not in self.names:
                    raise ExpressionError(f"`{name}` is not declared")
                return self.names[name]
            case LoopMember(_, member):
                if self.iteration is None:
                    return None
                return str(self.iteration.index) if member == "index" else self.iteration.value
            case Chain():
                return self._chain(reference)
            case External():
                return self._external(reference)

    def _chain(self, chain: Chain) -> str:
        where = f"{chain.steps}.{chain.side}"
        elements = (self.left if chain.side == "outputs" else self.taken).get(chain.steps)
        if elements is None:
            raise ExpressionError(f"`{where}.{chain.name}` has no value, since that step has not run")
        if (chain.index or 0) >= len(elements):
            raise ExpressionError(f"`{where}[{chain.index or 0}]` does not exist: that step has {len(elements)} {chain.side}")
        value = elements[chain.index or 0].get(chain.name)
        if value is None:
            raise ExpressionError(f"`{where}` has no `{chain.name}`")
        if isinstance(value, tuple) and all(isinstance(item, str) for item in value):
            return "\n".join(map(str, value))
        if not isinstance(value, str):
            raise ExpressionError(f"`{where}.{chain.name}` is no text")
        return value

    def _external(self, reference: External) -> str:
        key = reference.key
        if reference.indirect is not None:
            key = self._value(reference.indirect) or ""
        written = f"{reference.namespace}:{key}"
        if self.resolver is None:
            raise ExpressionError(f"`{written}` comes from outside the document, and nothing is there to give it")
        try:
            found = self.resolver.resolve(reference.namespace, key)
        except LookupError as error:
            raise ExpressionError(f"`{written}` has no value: {error.args[0] if error.args else 'unknown'}") from None
        if found.secret:
            self.hide(found.text)
        if reference.namespace == "aws:ssm" and "\n" in found.text:
            raise ExpressionError(f"`{written}` has more than one line, which AWSTOE refuses")
        return found.text


def names(document: Document, given: Mapping[str, str], semantics: Semantics) -> tuple[dict[str, str], tuple[str, ...]]:
    """Work out the values of parameters and constants, and warnings. Raises UsageError for values missing or unknown."""
    declared = {parameter.name: parameter for parameter in document.parameters}
    values = {constant.name: constant.value for constant in document.constants}
    warnings = []
    for name in given:
        if name in declared:
            continue
        message = f"{document.name} declares no parameter `{name}`"
        if semantics.unknown_parameters == "reject":
            raise UsageError(message, hint=did_you_mean(name, declared) or f"parameters: {', '.join(declared) or 'none'}")
        warnings.append(message)
    for name, parameter in declared.items():
        value = given.get(name, parameter.default)
        if value is None and semantics.missing_parameters == "reject":
            raise UsageError(f"{document.name} needs a value for the parameter `{name}`", hint=f"give {name}=…, or the document a default")
        values[name] = value or ""
    return values, tuple(warnings)
