"""The action modules of AWSTOE, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.toe.actions import execution, files, system, transfer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.toe.actions.base import Action

ACTIONS: Final[Mapping[str, type[Action]]] = {
    action.__name__: action for group in (execution, files, system, transfer) for action in group.ACTIONS
}
"""What this runner can do. Adding an action: write it in its group and name it in the group's ACTIONS."""

ASSERT: Final = "Assert"
"""The one action whose inputs are a condition; the runner evaluates it itself."""

WINDOWS_ONLY: Final = frozenset({"ExecutePowerShell", "InstallMSI", "UninstallMSI", "SetRegistry"})

NAMES: Final = frozenset({*ACTIONS, ASSERT, *WINDOWS_ONLY})
