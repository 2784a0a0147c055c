"""What `harness toe validate` and `harness toe run` do, as functions from files to data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import BuildError, UsageError
from harness.toe.reading import examine, load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.toe.document import Document, Problem
    from harness.toe.outcome import DocumentOutcome
    from harness.toe.runner import Runner


@dataclass(frozen=True, slots=True)
class Validation:
    """What was found in one file."""

    path: Path
    document: Document | None
    """None exactly if there are problems."""
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What came of all documents of one command."""

    outcomes: tuple[DocumentOutcome, ...]
    """One for each document that was started; after a failure that aborts, the rest are not."""

    @property
    def ok(self) -> bool:
        """Whether every document succeeded; ignored failures do not count."""
        return all(outcome.status.ok for outcome in self.outcomes)

    @property
    def exit_code(self) -> int:
        """0, or 1 when a document failed."""
        return 0 if self.ok else BuildError.exit_code

    def as_json(self) -> list[dict[str, str | int]]:
        """Return per document what `awstoe run` prints."""
        return [outcome.summary() for outcome in self.outcomes]


def validate_files(paths: Sequence[Path]) -> tuple[Validation, ...]:
    """Check every file, whatever the others are like."""
    return tuple(Validation(path, *examine(path)) for path in paths)


def run_files(
    runner: Runner,
    paths: Sequence[Path],
    *,
    phases: Sequence[str] = (),
    parameters: Mapping[str, str] | None = None,
    allow_empty: bool = False,
) -> RunSummary:
    """Run documents one after the other, each with the values for the parameters that it declares; stop after the first that failed.

    Raises DocumentError before anything runs when a file is wrong, and UsageError for a phase or parameter that no document has, unless
    `allow_empty` lets phases that run nothing pass, as `awstoe` does.
    """
    if not paths:
        raise UsageError("no document was given", hint="harness toe run DOCUMENT.yml")
    documents = [load(path) for path in paths]
    given = dict(parameters or {})
    _known(documents, phases, given, allow_empty=allow_empty)
    outcomes: list[DocumentOutcome] = []
    for document in documents:
        declared = {parameter.name for parameter in document.parameters}
        outcomes.append(runner.run(document, phases, {name: value for name, value in given.items() if name in declared}))
        if not outcomes[-1].status.ok:
            break
    return RunSummary(tuple(outcomes))


def _known(documents: Sequence[Document], phases: Sequence[str], given: Mapping[str, str], *, allow_empty: bool) -> None:
    there = {phase.name for document in documents for phase in document.phases}
    for name in phases:
        if name not in there and not allow_empty:
            raise UsageError(f"no document has a phase `{name}`", hint=f"phases: {', '.join(sorted(there))}")
    declared = {parameter.name for document in documents for parameter in document.parameters}
    for name in given:
        if name not in declared:
            raise UsageError(f"no document declares the parameter `{name}`", hint=f"parameters: {', '.join(sorted(declared)) or 'none'}")
