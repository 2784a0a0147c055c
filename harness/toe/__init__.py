"""AWSTOE: component documents, checked strictly and run on any target."""

from __future__ import annotations

from harness.toe.command import RunSummary, Validation, run_files, validate_files
from harness.toe.document import MAX_BYTES, MAX_INLINE_CHARACTERS, Document, Phase, Problem, Step
from harness.toe.expressions import Found, Resolver
from harness.toe.outcome import DocumentOutcome, Line, PhaseOutcome, Status, StepOutcome
from harness.toe.reading import examine, load, problems
from harness.toe.runner import Runner
from harness.toe.semantics import Semantics
from harness.toe.session import Storage

__all__ = [
    "MAX_BYTES",
    "MAX_INLINE_CHARACTERS",
    "Document",
    "DocumentOutcome",
    "Found",
    "Line",
    "Phase",
    "PhaseOutcome",
    "Problem",
    "Resolver",
    "RunSummary",
    "Runner",
    "Semantics",
    "Status",
    "Step",
    "StepOutcome",
    "Storage",
    "Validation",
    "examine",
    "load",
    "problems",
    "run_files",
    "validate_files",
]
