"""The log folder of a run, as AWSTOE writes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from harness.toe.document import Document, Step
    from harness.toe.outcome import DocumentOutcome, PhaseOutcome, StepOutcome

MASK: Final = "********"


class RunLog:
    """Writes `TOE_<UTC time>_UTC-0_<id>/`; whatever happens, the JSON files in it are whole."""

    def __init__(self, folder: Path, execution_id: str, document: Document, now: Callable[[], datetime]) -> None:
        """Make the folder and put the document's own bytes into it."""
        self.folder = folder / f"TOE_{now():%Y-%m-%d_%H-%M-%S}_UTC-0_{execution_id}"
        self.folder.mkdir(parents=True)
        self._document = document
        self._now = now
        self._secrets: set[str] = set()
        (self.folder / "document.yaml").write_bytes(document.source)
        self._application = (self.folder / "application.log").open("a", encoding="utf-8", errors="backslashreplace")
        self._console = (self.folder / "console.log").open("a", encoding="utf-8", errors="backslashreplace")

    def hide(self, secret: str) -> None:
        """Keep a value out of every file of the folder from now on."""
        if secret:
            self._secrets.add(secret)

    def masked(self, text: str) -> str:
        """Put asterisks in place of the secrets, the longest first, since one may hold another."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return text

    def tell(self, text: str, level: str = "Info") -> None:
        """Note what the runner does."""
        self._application.write(f"{self._now():%Y-%m-%d %H:%M:%S} {level} {self.masked(text)}\n")
        self._application.flush()

    def console(self, text: str) -> None:
        """Note a line that a command printed."""
        self._console.write(f"{self.masked(text)}\n")
        self._console.flush()

    def record(self, outcome: DocumentOutcome, chaining: Mapping[str, Any]) -> None:
        """Write the two JSON files; a reader finds the old or the new state, never half of one."""
        self._replace("detailedoutput.json", self._detailed(outcome))
        self._replace("chaining.json", chaining)

    def close(self) -> None:
        """Let go of the files."""
        self._application.close()
        self._console.close()

    def _replace(self, name: str, data: Mapping[str, Any]) -> None:
        temporary = self.folder / f".{name}.new"
        temporary.write_text(json.dumps(self.deep_masked(data), indent=2, ensure_ascii=False), encoding="utf-8", errors="backslashreplace")
        temporary.replace(self.folder / name)

    def deep_masked(self, data: Any) -> Any:  # noqa: ANN401 - JSON
        """Put asterisks in place of the secrets in every text of a value."""
        if not self._secrets:
            return data
        if isinstance(data, str):
            return self.masked(data)
        if isinstance(data, dict):
            return {key: self.deep_masked(value) for key, value in data.items()}
        return type(data)(self.deep_masked(item) for item in data) if isinstance(data, (list, tuple)) else data

    def _detailed(self, outcome: DocumentOutcome) -> dict[str, Any]:
        common = {
            "status": outcome.status.value,
            "startTime": outcome.started.isoformat(),
            "endTime": outcome.finished.isoformat(),
            "failureMessage": outcome.message,
        }
        document = {
            "name": outcome.name,
            "filePath": str(self._document.path),
            "description": self._document.description,
            **common,
            "phases": [self._phase(phase) for phase in outcome.phases],
        }
        return {"executionId": outcome.execution_id, **common, "documents": [document]}

    def _phase(self, phase: PhaseOutcome) -> dict[str, Any]:
        return {
            "name": phase.name,
            "status": phase.status.value,
            "startTime": phase.started.isoformat(),
            "endTime": phase.finished.isoformat(),
            "failureMessage": phase.message,
            "steps": [self._step(self._document.step(step.phase, step.name), step) for step in phase.steps],
        }

    def _step(self, step: Step, outcome: StepOutcome) -> dict[str, Any]:
        return {
            "name": outcome.name,
            "status": outcome.status.value,
            "failureMessage": outcome.message,
            "timeoutSeconds": step.timeout_seconds,
            "onFailure": step.on_failure.value,
            "maxAttempts": step.max_attempts,
            "action": outcome.action,
            "startTime": outcome.started.isoformat(),
            "endTime": outcome.finished.isoformat(),
            # Masked before they become a text in the text: JSON's escapes would hide a secret from the search.
            "inputs": json.dumps(self.deep_masked(list(outcome.inputs)), ensure_ascii=False),
            "outputs": json.dumps(self.deep_masked(list(outcome.outputs)), ensure_ascii=False),
            "loop": step.loop_as_written,
            "detailedOutput": None,
        }
