"""The checks of the suites as plain calls: every test function, once for each row of its table, without a run of pytest."""

from __future__ import annotations

import hashlib
import inspect
import sys
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import marks
from harness.errors import ContentError, Location

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from types import ModuleType

SUITES = Path(__file__).resolve().parent.parent / "verify"
"""The suites that come with harness, beside the package in a checkout as in an installed wheel."""

GIVEN = ("host", "parameters")
"""The fixtures that an audit has. What wants others, such as a log-in, says by `verify_only` why it is no part of one."""


@dataclass(frozen=True, slots=True)
class Check:
    """One test of one rule."""

    rule: str
    name: str
    """`test_ssh.py::test_algorithms`."""
    function: Callable[..., object]
    arguments: Mapping[str, object]
    """The row of the table."""
    given: tuple[str, ...]
    """Which of GIVEN it takes."""
    verify_only: str | None
    """Why it is no part of an audit; None when it is."""
    folder: Path
    others: tuple[str, ...] = ()
    """Which fixtures it takes beyond GIVEN; whoever calls it brings them."""

    def __call__(self, host: object, parameters: object, **others: object) -> object:
        """Judge."""
        fixtures = {"host": host, "parameters": parameters}
        return self.function(**{name: fixtures[name] for name in self.given}, **others, **self.arguments)


def load(folders: Sequence[Path], known: Collection[str]) -> tuple[Check, ...]:
    """Load the checks of the suites in their order. Raises ContentError for what is no check of a rule among `known`."""
    checks = [check for folder in folders for path in sorted(folder.glob("test_*.py")) for check in of_module(imported(path), path)]
    for check in checks:
        if check.rule not in known:
            raise ContentError(f"{check.name}: there is no rule `{check.rule}`")
    return tuple(checks)


def digest(folders: Sequence[Path]) -> str:
    """Return a digest of the suites' texts, and of what words their questions."""
    found = hashlib.sha256()
    wording = [Path(__file__).with_name(name) for name in ("facts.py", "grouping.py")]
    for path in [*wording, *(path for folder in folders for path in sorted(folder.glob("*.py")))]:
        found.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def imported(path: Path) -> ModuleType:
    """Import one suite, once per process and folder."""
    name = f"harness_suite_{hashlib.sha256(str(path.parent).encode()).hexdigest()[:8]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ContentError("no suite", at=Location(path))
    module = sys.modules[name] = module_from_spec(spec)
    try:
        with marks.light():
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ContentError(
            f"the suite cannot be loaded: {type(error).__name__}: {error}",
            hint=f"try it by hand: pytest {path} --collect-only",
            at=Location(path),
        ) from error
    return module


def of_module(module: ModuleType, path: Path) -> Iterator[Check]:
    """Yield the checks of one suite in the order of its text."""
    for name, thing in vars(module).items():
        if name.startswith("Test") and inspect.isclass(thing) and thing.__module__ == module.__name__:
            raise ContentError(f"{name}: a check is a plain function, not a method", at=Location(path))
        if name.startswith("test") and inspect.isfunction(thing):
            yield from of_function(thing, marks_of(module), path)


def marks_of(thing: object) -> list[Any]:
    """Return the marks of a function or module, the nearest first."""
    found = getattr(thing, "pytestmark", [])
    return [getattr(mark, "mark", mark) for mark in (found if isinstance(found, list) else [found])]


def of_function(function: Callable[..., object], around: Sequence[Any], path: Path) -> Iterator[Check]:
    """Yield a check for each row of a function's tables; of several tables, the nearest turns slowest, as pytest has it."""
    name = f"{path.name}::{function.__name__}"
    at = Location(path, inspect.unwrap(function).__code__.co_firstlineno)
    own = [*marks_of(function), *around]
    tables = [rows(mark, name, at) for mark in own if mark.name == "parametrize"]
    for combination in product(*tables):
        arguments = {key: value for row, _ in combination for key, value in row.items()}
        worn = [*(mark for _, more in combination for mark in more), *own]
        if unknown := [mark.name for mark in worn if mark.name not in {"parametrize", "rule", "verify_only"}]:
            raise ContentError(f"{name}: a check cannot be marked `{unknown[0]}`", hint="there is no silent skip", at=at)
        rules = [mark.args[0] for mark in worn if mark.name == "rule"]
        if len(rules) != 1:
            raise ContentError(f"{name}: a test judges exactly one rule, this one {len(rules)}; mark it with @rule('…')", at=at)
        reason = next((str(mark.args[0]) for mark in worn if mark.name == "verify_only"), None)
        wanted = [wish for wish in inspect.signature(function).parameters if wish not in arguments]
        others = tuple(wish for wish in wanted if wish not in GIVEN)
        if reason is None and others:
            raise ContentError(
                f"{name} wants `{others[0]}`, which an audit does not have", hint="say why it is no part of one: @verify_only('…')", at=at
            )
        given = tuple(wish for wish in wanted if wish in GIVEN)
        yield Check(str(rules[0]), name, function, arguments, given, reason, path.parent, others)


def rows(mark: Any, name: str, at: Location) -> list[tuple[dict[str, object], list[Any]]]:  # noqa: ANN401 - pytest's mark is private to it
    """Return the rows of a table: values by name, and the marks of each."""
    names = mark.args[0].replace(",", " ").split() if isinstance(mark.args[0], str) else list(mark.args[0])
    found: list[tuple[dict[str, object], list[Any]]] = []
    for row in mark.args[1]:
        own = [getattr(each, "mark", each) for each in getattr(row, "marks", ())]
        values = row.values if hasattr(row, "marks") else (row,) if len(names) == 1 else row
        if len(values) != len(names):
            raise ContentError(f"{name}: a row of its table has {len(values)} values, not {len(names)}", at=at)
        found.append((dict(zip(names, values, strict=True)), own))
    return found
