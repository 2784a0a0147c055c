"""run.json: a run as data, versioned; what `--format json` prints, and what every other report can be made from later."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from harness.errors import Location, UsageError
from harness.model import Answer, ControlResult, DocumentRun, Result, Run, Severity, Status, Title, Verdict, Waiver

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = "isms-golden-ami/run/1"


def render(run: Run) -> bytes:
    """Write a run as JSON: UTF-8, two blanks, a newline at the end, keys in a fixed order."""
    return (json.dumps(as_data(run), ensure_ascii=False, indent=2) + "\n").encode()


def as_data(run: Run) -> dict[str, Any]:
    """Turn a run into plain data, in the shape of the schema."""
    return {
        "schema": SCHEMA,
        "run": {
            "id": run.id,
            "started": run.started.isoformat(),
            "finished": run.finished.isoformat(),
            "harness": run.harness_version,
        },
        "target": dict(run.target),
        "base": dict(run.base),
        "baseline": run.baseline,
        "parameters": dict(run.parameters),
        "documents": [asdict(document) for document in run.documents],
        "results": [plain(result) for result in run.results],
        "waivers": [{**asdict(waiver), "expires": waiver.expires.isoformat()} for waiver in run.waivers],
        "digests": dict(run.digests),
        "controls": [plain(control) for control in run.controls],
        "summary": run.counts(),
    }


def plain(noun: Result | ControlResult) -> dict[str, Any]:
    """Return a result's fields; `asdict` copies each value, which for a fleet costs more than judging it."""
    values = ((name, getattr(noun, name)) for name in noun.__slots__)
    return {name: {"ko": value.ko, "en": value.en} if isinstance(value, Title) else value for name, value in values}


def load(path: Path) -> Run:
    """Read a run.json back. Raises UsageError when it is none, or of a schema this version does not know."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"the run cannot be read: {error.strerror}", at=Location(path)) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"not a run: {error}", at=Location(path)) from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise UsageError(
            f"schema {schema!r} is not {SCHEMA!r}",
            hint="the file was written by another version of harness, or is no run.json",
            at=Location(path),
        )
    try:
        return from_data(data)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"not a complete run: {type(error).__name__} {error}", at=Location(path)) from None


def from_data(data: dict[str, Any]) -> Run:
    """Build a run from plain data."""
    return Run(
        id=data["run"]["id"],
        started=datetime.fromisoformat(data["run"]["started"]),
        finished=datetime.fromisoformat(data["run"]["finished"]),
        harness_version=data["run"]["harness"],
        target=data["target"],
        base=data["base"],
        baseline=data["baseline"],
        parameters=data["parameters"],
        documents=tuple(DocumentRun(**document) for document in data["documents"]),
        results=tuple(
            Result(
                **{
                    **result,
                    "status": Status(result["status"]),
                    "severity": Severity(result["severity"]),
                    "title": Title(**result["title"]),
                    "controls": tuple(result["controls"]),
                    "commands": tuple(result["commands"]),
                    "where": tuple(result.get("where", ())),
                    "was": Status(result["was"]) if result.get("was") else None,
                }
            )
            for result in data["results"]
        ),
        waivers=tuple(Waiver(**{**waiver, "expires": date.fromisoformat(waiver["expires"])}) for waiver in data.get("waivers", ())),
        digests=data.get("digests", {}),
        controls=tuple(control_result(control) for control in data.get("controls", ())),
    )


def control_result(data: dict[str, Any]) -> ControlResult:
    """Build what a run says of a control from plain data."""
    return ControlResult(
        **{
            **data,
            "title": Title(**data["title"]),
            "severity": Severity(data["severity"]) if data["severity"] else None,
            "answer": Answer(data["answer"]),
            "status": Verdict(data["status"]),
            "rules": tuple(data["rules"]),
            "reason": Title(**data["reason"]),
        }
    )
