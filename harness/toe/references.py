"""Whether every `{{ … }}` of a document names something that is declared and already known when it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.toe import expressions, tree
from harness.toe.actions import ACTIONS, ASSERT
from harness.toe.actions.base import did_you_mean
from harness.toe.document import BUILDING, TESTING
from harness.toe.expressions import Chain, External, LoopMember, Name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from harness.toe.document import Step
    from harness.toe.reading import Findings
    from harness.toe.reading_steps import Draft


def check_references(drafts: Sequence[Draft], names: AbstractSet[str], findings: Findings) -> None:
    """Note every reference that has no value at its place."""
    steps = [draft.step for draft in drafts]
    for position, draft in enumerate(drafts):
        for node in draft.nodes:
            for scalar in tree.scalars(node):
                for offset, reference in expressions.occurrences(scalar.text):
                    mistake = _mistake(reference, draft.step, steps[:position], steps[position:], names)
                    if mistake is not None:
                        findings.add(scalar.line_of(offset), f"step `{draft.step.name}`: {mistake[0]}", mistake[1])


def _mistake(
    reference: expressions.Reference | expressions.ExpressionError,
    step: Step,
    earlier: Sequence[Step],
    later: Sequence[Step],
    names: AbstractSet[str],
) -> tuple[str, str | None] | None:
    match reference:
        case expressions.ExpressionError():
            return str(reference), reference.hint
        case Name(name) if name not in names:
            return f"`{name}` is not declared", did_you_mean(name, names) or "declare it under parameters or constants"
        case LoopMember(loop, _):
            return _loop_mistake(loop, step)
        case Chain():
            return _chain_mistake(reference, step, earlier, later)
        case External(indirect=indirect) if indirect is not None:
            return _mistake(indirect, step, earlier, later, names)
    return None


def _loop_mistake(loop: str, step: Step) -> tuple[str, str | None] | None:
    # `{{ loop.value }}` in a step without a loop stays as it is, without an error: the guide says so.
    own = step.loop.name if step.loop is not None else None
    if loop in {"loop", own}:
        return None
    return f"there is no loop `{loop}` in this step", "{{ loop.value }}" if step.loop is not None else None


def find(chain: Chain, steps: Sequence[Step]) -> Step | None:
    """Return the step that a chain names, out of those given."""
    return next((step for step in steps if f"{step.phase}.{step.name}" == chain.steps), None)


def _chain_mistake(chain: Chain, step: Step, earlier: Sequence[Step], later: Sequence[Step]) -> tuple[str, str | None] | None:
    source = find(chain, earlier)
    if source is None:
        if find(chain, later) is not None:
            return f"`{chain.steps}` has not run yet at this point", "refer to earlier steps only"
        known = [f"{candidate.phase}.{candidate.name}" for candidate in earlier]
        return f"there is no step `{chain.steps}`", did_you_mean(chain.steps, known)
    if {source.phase, step.phase} <= BUILDING | TESTING and (source.phase in BUILDING) != (step.phase in BUILDING):
        return (
            f"phase `{step.phase}` runs on another instance than `{source.phase}`, so the value is not there",
            "pass it on in a file of the image",
        )
    if source.action == ASSERT:
        return f"Assert has no {chain.side} to refer to", None
    action = ACTIONS[source.action]
    known = list(action.produces if chain.side == "outputs" else action.keys())
    if chain.name not in known:
        return f"{source.action} has no {chain.side[:-1]} `{chain.name}`", did_you_mean(
            chain.name, known
        ) or f"{chain.side}: {', '.join(known) or 'none'}"
    if chain.side == "inputs" and (chain.index or 0) >= len(source.inputs):
        return f"`{chain.steps}` has {len(source.inputs)} inputs, counted from 0", None
    return None
