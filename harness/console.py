"""What people see: progress on standard error, tables on standard output."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, TextIO

from harness.model import SWITCHED_OFF, Answer, Run, Severity, Status, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.table import Table
    from rich.text import Text

STYLE = {Status.PASS: "green", Status.FAIL: "bold red", Status.ERROR: "bold magenta", Status.NOT_APPLICABLE: "dim", Status.WAIVED: "yellow"}


ANSWERED = {
    Answer.AUTOMATED: "automated",
    Answer.PARTLY: "partly, a person decides",
    Answer.NOT_APPLICABLE: "not applicable",
}
BAD = frozenset({Verdict.VULNERABLE, Verdict.ERROR})
SAYS_NO_MORE = {Answer.PARTLY: Verdict.MANUAL, Answer.NOT_APPLICABLE: Verdict.NOT_APPLICABLE}


class Progress:
    """Says on standard error what is being done now, with the seconds since the start."""

    def __init__(
        self, *, quiet: bool = False, verbose: bool = False, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Write to `stream` (standard error) unless quiet; `verbose` shows every line that a script prints."""
        self._quiet, self.verbose, self._clock = quiet, verbose, clock
        self._stream = stream if stream is not None else sys.stderr
        self._start = clock()

    def __call__(self, text: str) -> None:
        """Say one line."""
        if not self._quiet:
            self._stream.write(f"[{self._clock() - self._start:6.1f} s] {text}\n")
            self._stream.flush()

    def line(self, stream: str, text: str) -> None:
        """Show a line that a script printed, when asked for."""
        if self.verbose and not self._quiet:
            self._stream.write(f"           {'│' if stream == 'stdout' else '┆'} {text}\n")
            self._stream.flush()


def load() -> None:
    """Load what `show` needs in the background, for a caller that waits for something else meanwhile."""

    def all_of_it() -> None:
        import rich.console
        import rich.table
        import rich.text  # noqa: F401 - as the two above

    threading.Thread(target=all_of_it, name="loading", daemon=True).start()


def show(run: Run, stream: TextIO | None = None) -> None:
    """Print a run for people: where and on what, a table by subject, every finding, the sum."""
    from rich.console import Console
    from rich.text import Text

    out = stream or sys.stdout
    console = Console(file=out, highlight=False, soft_wrap=not out.isatty(), width=None if out.isatty() else 160)
    head = [Text(f"target    {run.target.get('uri', '?')}   baseline {run.baseline}"), Text(f"base      {run.base.get('label', '?')}")]
    if run.base.get("why"):
        head.append(Text(f"          {run.base['why']}"))
    for document in run.documents:
        again = "" if document.changes_again is None else f", second run {document.changes_again}"
        head.append(
            Text(f"document  {document.name}  {document.status}, {document.changes} changes{again}  sha256:{document.sha256[:16]}…")
        )
    counts = ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in run.counts().items() if number)
    tail = [*map(Text, control_lines(run)), Text(f"\n{len(run.results)} rules: {counts}")]
    # In three pieces: what each call of `print` costs, many rules would cost more than to judge them.
    console.print(Text("\n").join(head))
    console.print(table(run))
    console.print(Text("\n").join([*findings(run), *accepted(run), *tail]))


def findings(run: Run) -> Iterator[Text]:
    """Tell every finding, with what was expected and how to mend it."""
    from rich.text import Text

    for result in run.results:
        if result.status in {Status.FAIL, Status.ERROR}:
            yield Text(f"\n{result.status.upper()}  {result.rule}  ({result.severity})  {result.title.en}", style=STYLE[result.status])
            if result.expected:
                yield Text(f"  expected  {result.expected}\n  observed  {result.observed}")
            if result.reason:
                yield Text(f"  reason    {result.reason}")
            if result.fix:
                yield Text(f"  fix       {result.fix}")


def accepted(run: Run) -> Iterator[Text]:
    """Tell what does not count as a finding because somebody said so: waivers, and rules that are switched off."""
    from rich.text import Text

    for result in run.results:
        if result.status is Status.WAIVED:
            yield Text(f"\nWAIVED  {result.rule}  ({result.severity})  was {result.was}", style=STYLE[result.status])
            yield Text(f"  expected  {result.expected}\n  observed  {result.observed}\n  reason    {result.reason}")
    for result in run.results:
        if result.status is Status.NOT_APPLICABLE and result.reason.startswith(SWITCHED_OFF):
            yield Text(f"\nOFF  {result.rule}  ({result.severity})  {result.title.en}", style=STYLE[Status.WAIVED])
            yield Text(f"  reason    {result.reason}")


def control_lines(run: Run) -> list[str]:
    """Tell in one line per edition how its controls are answered, and what the run says of them; what is bad is named."""
    lines = []
    for edition in dict.fromkeys(f"{control.standard} {control.edition}" for control in run.controls):
        mine = [control for control in run.controls if f"{control.standard} {control.edition}" == edition]
        parts = []
        for answer, called in ANSWERED.items():
            of_it = [control for control in mine if control.answer is answer]
            statuses = Counter(control.status for control in of_it)
            told = []
            for status in (status for status in Verdict if statuses[status]):
                ids = "".join(f" {control.id}" for control in of_it if control.status is status) if status in BAD else ""
                told.append(f"{statuses[status]} {status.replace('_', ' ')}{f':{ids}' if ids else ''}")
            # A status that says no more than the answer does is not repeated.
            same = set(statuses) <= {SAYS_NO_MORE.get(answer)}
            more = "" if same else f" ({', '.join(told)})"
            parts.append(f"{len(of_it)} {called}{more}")
        lines.append(f"{edition}: {len(mine)} items: {'; '.join(parts)}")
    return [f"\n{lines[0]}", *lines[1:]] if lines else []


def table(run: Run) -> Table:
    """Return the table: a row per subject, findings by severity."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    made.add_column("subject")
    for name in ("pass", "fail high", "medium", "low", "error", "n/a", "waived"):
        made.add_column(name, justify="right")
    for subject in dict.fromkeys(result.subject for result in run.results):
        results = [result for result in run.results if result.subject == subject]
        numbers = [
            sum(result.status is Status.PASS for result in results),
            *(sum(result.status is Status.FAIL and result.severity is severity for result in results) for severity in Severity),
            *(sum(result.status is status for result in results) for status in (Status.ERROR, Status.NOT_APPLICABLE, Status.WAIVED)),
        ]
        bad = any(result.status in {Status.FAIL, Status.ERROR} for result in results)
        made.add_row(subject, *(str(number) if number else "·" for number in numbers), style="red" if bad else None)
    return made
