"""What became of a rehearsal, and by which policy its gate was opened."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.attestation import KMS
from harness.config.settings import Gate

if TYPE_CHECKING:
    from pathlib import Path

    from harness.config.settings import Settings, Source
    from harness.errors import BuildError


@dataclass(slots=True)
class Rehearsal:
    """The way of one source through it."""

    source: str
    base: str = ""
    """Label of what the containers were started from."""
    evidence: str = ""
    policy: tuple[str, ...] = ()
    """In what the gate's policy differs from that of the configuration."""
    published: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    """Resources per action of the plan."""
    image: str = ""
    status: str = ""
    states: list[tuple[str, float]] = field(default_factory=list)
    """Each state with its seconds, in order; the last one is where it ended."""
    amis: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    """From the evidence to the end."""
    reason: str = ""
    """What failed: component, phase and step."""
    hint: str = ""
    notes: list[str] = field(default_factory=list)

    def failed(self, state: str, seconds: float, error: BuildError) -> None:
        """Enter a component that failed before there was an image."""
        self.states, self.status = [(state, seconds), ("FAILED", 0.0)], "FAILED"
        self.reason, self.hint = error.message, error.hint or ""

    def as_json(self) -> str:
        """Return it for programs."""
        data: dict[str, Any] = {
            "schema": "isms-golden-ami/rehearsal/1",
            "source": self.source,
            "base": self.base,
            "evidence": self.evidence,
            "policy": list(self.policy),
            "published": self.published,
            "plan": self.counts,
            "image": self.image,
            "status": self.status,
            "states": [{"state": state, "seconds": round(seconds, 1)} for state, seconds in self.states],
            "amis": self.amis,
            "seconds": round(self.seconds, 1),
            "reason": self.reason,
            "hint": self.hint,
            "notes": self.notes,
        }
        return json.dumps(data, ensure_ascii=False, indent=2) + "\n"

    def as_text(self) -> str:
        """Return it for people."""
        lines = [f"rehearsal {self.source}; nothing of it is in AWS"]
        lines += [f"{word:9} {text}" for word, text in (("base", self.base), ("evidence", self.evidence)) if text]
        lines += [f"policy    {difference}" for difference in self.policy]
        lines += [f"note      {note}" for note in self.notes]
        made = ", ".join(f"{count} to {action}" for action, count in self.counts.items() if count)
        lines += [f"published {self.published}  {made}", f"image     {self.image}"] if self.published else []
        lines += [f"          {state:12} {seconds:5.1f} s" for state, seconds in self.states[:-1]]
        lines.append(f"          {self.status}")
        lines += [f"ami       {region} {ami}, made up" for region, ami in self.amis.items()]
        lines += [f"took      {self.seconds:.1f} s from the evidence on"] if self.published else [f"reason    {self.reason}"]
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rehearsal's own policy for the gate: that of the configuration, but for what is named in `differs`."""

    settings: Settings
    differs: tuple[str, ...]


def policy(settings: Settings, source: Source, key: Path | None) -> Policy:
    """Return the policy for a rehearsal of one source; `key` is the ephemeral public key of a verification that went before."""
    block = settings.gate or Gate(line=1)
    update: dict[str, Any] = {"targets": (source.name,), "allow_standin": True}
    differs = []
    if not block.allow_standin:
        differs.append("rehearsal: a stand-in may stand in for Amazon Linux")
    files = tuple(name for name in block.keys if not name.startswith(KMS))
    if key is not None:
        update |= {"keys": (str(key),), "signature": "required"}
        differs.append("rehearsal: the evidence is signed by an ephemeral key")
    elif not files:
        why = "keys of AWS KMS are not asked" if block.keys else "the gate names no key"
        update |= {"keys": (), "signature": "optional"}
        differs.append(f"rehearsal: the evidence needs no signature, since {why}")
    elif files != block.keys:
        update |= {"keys": files}
        differs.append("rehearsal: keys of AWS KMS are not asked")
    if others := [name for name in block.targets if name != source.name]:
        differs.append(f"rehearsal: evidence of {', '.join(others)} is not asked for")
    return Policy(settings.model_copy(update={"gate": block.model_copy(update=update)}), tuple(differs))
