"""ExecuteBash, ExecuteBinary and ExecuteDocument."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from harness.toe.actions.base import REBOOT_EXIT_CODE, Action, Done, InputError, Resume
from harness.toe.session import ActionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.targets.base import Completed
    from harness.toe.session import Session

# One round trip. The script is a file, as for AWSTOE, so that $0, `exit` and here-documents mean what they mean there; being called
# as bash's argument it also runs from a folder mounted noexec. Its standard input is empty, not the rest of the script.
_BASH: Final = 'cat >input.sh || exit 1\nexec /bin/bash "$PWD/input.sh" </dev/null'


def finished(done: Completed) -> Done:
    """Read the exit code of a command that the document wrote itself. Raises ActionError unless it is 0 or asks for a reboot."""
    if done.returncode == REBOOT_EXIT_CODE:
        return Done(exit_code=REBOOT_EXIT_CODE, reboot=Resume.SAME_STEP)
    if done.returncode != 0:
        raise ActionError(f"exit code {done.returncode}", done.returncode)
    return Done(({"stdout": done.out.rstrip("\n")},), exit_code=0)


@dataclass(frozen=True, slots=True)
class ExecuteBash(Action):
    """Run commands as one script; its exit code is that of its last command."""

    produces: ClassVar = ("stdout",)
    commands: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse a script without commands."""
        if not self.commands:
            raise InputError("`commands` is empty", "commands")

    def run(self, session: Session) -> Done:
        """Put the script on the target and run it."""
        script = "".join(f"{command}\n" if not command.endswith("\n") else command for command in self.commands)
        return finished(session.run(_BASH, stdin=script.encode("utf-8", "surrogateescape")))


@dataclass(frozen=True, slots=True)
class ExecuteBinary(Action):
    """Run a program with its arguments."""

    produces: ClassVar = ("stdout",)
    path: str
    arguments: tuple[str, ...] = ()

    def run(self, session: Session) -> Done:
        """Run it."""
        return finished(session.run('exec "$@"', self.path, *self.arguments))


@dataclass(frozen=True, slots=True)
class ExecuteDocument(Action):
    """Run another document."""

    produces: ClassVar = (
        "executedStepCount",
        "executionId",
        "failedStepCount",
        "failureMessage",
        "ignoredFailedStepCount",
        "logUrl",
        "status",
    )
    document: str
    document_s3_bucket_owner: str | None = field(default=None, metadata={"key": "document-s3-bucket-owner"})
    phases: str = ""
    parameters: tuple[Mapping[str, str], ...] = ()

    def run(self, session: Session) -> Done:
        """Run it with a log folder of its own."""
        phases = [phase.strip() for phase in self.phases.split(",") if phase.strip()]
        ok, outputs = session.nested(self.document, phases, {item["name"]: item["value"] for item in self.parameters})
        if not ok:
            raise ActionError(f"document {self.document} failed: {outputs['failureMessage']}")
        return Done((outputs,))


ACTIONS: Final = (ExecuteBash, ExecuteBinary, ExecuteDocument)
