"""The program as a user runs it: a whole process, its exit code and what it printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

HARNESS = Path(sys.executable).with_name("harness")
SECONDS = 900


@dataclass(frozen=True)
class Done:
    """What a process left behind."""

    code: int
    out: str
    err: str
    pid: int

    @property
    def run(self) -> Any:  # noqa: ANN401 - JSON
        """Return the standard output, read as JSON."""
        return json.loads(self.out)

    @property
    def statuses(self) -> dict[str, str]:
        """Return rule to status of the run that was printed."""
        return {result["rule"]: result["status"] for result in self.run["results"]}

    @property
    def told(self) -> str:
        """Return the one error and its hint; anything more, or less, is a defect."""
        lines = [line for line in self.err.splitlines() if line.startswith(("error: ", "hint: "))]
        assert [line.partition(":")[0] for line in lines] in (["error"], ["error", "hint"]), self.err
        return "\n".join(lines)


def harness(
    *arguments: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    without: Collection[str] = (),
    descriptors: Collection[int] = (),
) -> Done:
    """Run harness with an empty standard input, and nothing of HARNESS_* but what is given. No traceback may appear."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HARNESS_") and name not in without}
    process = subprocess.Popen(
        [HARNESS, *arguments],
        cwd=cwd,
        env={**kept, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=tuple(descriptors),
    )
    try:
        out, err = process.communicate(timeout=SECONDS)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    assert "Traceback" not in err, err
    return Done(process.returncode, out, err, process.pid)
