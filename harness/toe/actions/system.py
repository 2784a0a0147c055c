"""UpdateOS and Reboot."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from harness.toe.actions.base import Action, Done, InputError, Resume
from harness.toe.session import ActionError

if TYPE_CHECKING:
    from harness.toe.session import Session

_PACKAGE: Final = re.compile(r"[A-Za-z0-9*@][A-Za-z0-9.+*:_~@-]*")
_FIND: Final = "for name in dnf yum apt-get; do if type $name >/dev/null 2>&1; then echo $name; exit; fi; done"
_APT: Final = "export DEBIAN_FRONTEND=noninteractive\napt-get -q -y -o Dpkg::Options::=--force-confold"
_APT_CANDIDATES: Final = "apt-get -q update >&2 && apt-get -q -s dist-upgrade | sed -n 's/^Inst \\([^ ]*\\) .*/\\1/p'"


@dataclass(frozen=True, slots=True)
class UpdateOS(Action):
    """Install the updates that the target's repositories offer."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no package name, since a package manager would read it as an option."""
        for key, names in (("include", self.include), ("exclude", self.exclude)):
            for name in names:
                if not _PACKAGE.fullmatch(name):
                    raise InputError(f"`{name}` is no package name", key)

    def run(self, session: Session) -> Done:
        """Use the package manager that the target has."""
        manager = session.ask(_FIND).strip()
        if not manager:
            raise ActionError("the target has no dnf, yum or apt-get")
        if manager == "apt-get":
            self._apt(session)
        else:
            self._rpm(manager, session)
        return Done()

    def _rpm(self, manager: str, session: Session) -> None:
        names = self._wanted(self.include)
        if self.include and not names:
            session.line("stdout", "nothing is left to update after the exclusions")
            return
        session.check('exec "$@"', manager, "-y", *(f"--exclude={name}" for name in self.exclude), "update", *names)

    def _apt(self, session: Session) -> None:
        candidates = tuple(session.check(_APT_CANDIDATES, echo=False).out.split())
        if self.include:
            candidates = tuple(name for name in candidates if any(fnmatchcase(name, pattern) for pattern in self.include))
        if names := self._wanted(candidates):
            session.check(f'{_APT} install --only-upgrade "$@"', *names)

    def _wanted(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if not any(fnmatchcase(name, pattern) for pattern in self.exclude))


@dataclass(frozen=True, slots=True)
class Reboot(Action):
    """Restart the system and go on with the next step."""

    delay_seconds: int = 0

    def run(self, session: Session) -> Done:
        """Wait, then ask for the restart."""
        session.sleep(self.delay_seconds)
        return Done(reboot=Resume.NEXT_STEP)


ACTIONS: Final = (UpdateOS, Reboot)
