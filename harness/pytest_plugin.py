"""The pytest side of a suite: the `rule` marker is law, `host` and `parameters` are given, and outcomes are collected.

Two ways lead here. For a user's suites `harness verify` calls `judge`, which runs pytest in this process on one open target. By hand,
`pytest verify --hosts=podman://NAME` uses testinfra's own `host` fixture; verify/conftest.py loads this module.
"""

from __future__ import annotations

import os
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest

from harness import catalog as catalogue
from harness.errors import ContentError, TargetError
from harness.judge import Outcome, Scope, call
from harness.model import Environment, Status
from harness.suite import Host, Parameters
from harness.suites import SUITES

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping, Sequence
    from pathlib import Path

    from harness.login import Login
    from harness.targets.base import Target

DETECT = '. /etc/os-release && printf "%s %s" "$ID" "$VERSION_ID"'


@dataclass
class Judging:
    """One pass of the suites over one target."""

    scope: Scope
    known: Collection[str]
    """Every rule that there is, of which the scope may have chosen some."""
    parameters: Parameters
    suites: tuple[Path, ...]
    target: Target | None = None
    host: Host | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Suites that could not be loaded; a pass with one of these proves nothing."""
    lost: TargetError | None = None


WHOLE = {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED}
"""How pytest ends when every test was reached: a fixture that failed is told rule by rule, and there may be nothing to judge."""

JUDGING = pytest.StashKey[Judging]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what a run by hand may say."""
    group = parser.getgroup("harness")
    group.addoption("--baseline", help="al2 or al2023; without it the host's os-release decides")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", "rule(id): the rule that this test judges; every test of a suite has exactly one")
    config.addinivalue_line("markers", "verify_only(reason): why this test is no part of an audit")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse a test without a rule, since it would judge nothing that anybody asked for."""
    judging = config.stash.get(JUDGING, None)
    known = judging.known if judging else catalogue.load().rules
    for item in items:
        rules = [mark.args[0] for mark in item.iter_markers("rule") if mark.args]
        if len(rules) != 1:
            raise pytest.UsageError(f"{item.nodeid}: a test judges exactly one rule, this one {len(rules)}; mark it with @rule('…')")
        if rules[0] not in known:
            raise pytest.UsageError(f"{item.nodeid}: there is no rule `{rules[0]}`")


def rule_of(item: pytest.Item) -> str:
    """Return the rule that a test judges."""
    mark = item.get_closest_marker("rule")
    return str(mark.args[0]) if mark else ""


class Collector:
    """Runs the tests of `harness verify` and keeps what they found."""

    def __init__(self, judging: Judging) -> None:
        """Judge with the given scope, target and parameters."""
        self.judging = judging

    @pytest.fixture(scope="session")
    def host(self) -> Host:
        """Return testinfra's host on the open target."""
        return self.judging.host

    @pytest.hookimpl
    def pytest_configure(self, config: pytest.Config) -> None:
        """Hand the pass to the module's hooks."""
        config.stash[JUDGING] = self.judging

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what could not be loaded."""
        if report.failed:
            lines = [line for line in str(report.longrepr).splitlines() if line.strip()]
            self.judging.broken.append(f"{report.nodeid}: {lines[-1] if lines else 'cannot be loaded'}")

    @pytest.hookimpl
    def pytest_internalerror(self, excrepr: object) -> None:
        """Keep what went wrong inside pytest itself."""
        self.judging.broken.append(str(excrepr).strip().splitlines()[-1])

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what was not asked for or is not applicable here, before any fixture is made."""
        scope = self.judging.scope
        rules = {rule: scope.not_applicable(scope.rules[rule]) is None for rule in scope.rules}
        items[:] = [item for item in items if rules.get(rule_of(item), False)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool:
        """Run one check, classified by what it raises."""
        names = pyfuncitem._fixtureinfo.argnames  # noqa: SLF001 - pytest has no public way to ask which fixtures a function names
        arguments = {name: pyfuncitem.funcargs[name] for name in names}
        backend = self.judging.host.backend if self.judging.host is not None else None
        before = len(backend.asked) if backend else 0
        outcome = call(rule_of(pyfuncitem), lambda: self.guarded(pyfuncitem, arguments), *self.judging.suites)
        commands = tuple(dict.fromkeys(backend.asked[before:])) if backend else ()
        self.judging.outcomes.append(
            Outcome(outcome.rule, outcome.status, outcome.reason, outcome.seen, commands),
        )
        return True

    def guarded(self, item: pytest.Function, arguments: Mapping[str, object]) -> None:
        """Call the check; a lost target ends the pass, since every further answer would be a time-out."""
        try:
            item.obj(**arguments)
        except TargetError as error:
            self.judging.lost = error
            item.session.shouldstop = "the target is lost"
            raise

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a fixture that fails as a rule that could not be judged."""
        if report.failed and report.when != "call":
            text = report.longreprtext.strip().splitlines()
            text = [line.removeprefix("E").strip() for line in text if line.startswith("E  ")] or text
            rule = dict(report.user_properties).get("rule")
            self.judging.outcomes.append(Outcome(str(rule), Status.ERROR, text[0][:500] if text else "a fixture failed"))

    @pytest.hookimpl
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Note the rule where a failing fixture's report can find it."""
        item.user_properties.append(("rule", rule_of(item)))


def judge(  # noqa: PLR0913 - the parts of one pass
    target: Target,
    host: Host,
    scope: Scope,
    parameters: Mapping[str, str],
    suites: Sequence[Path] = (SUITES,),
    known: Collection[str] = (),
) -> Judging:
    """Run the suites on an open target and return what they found.

    Raises ContentError when a suite cannot be loaded, TargetError when the target is lost on the way, KeyboardInterrupt on Ctrl-C.
    """
    judging = Judging(
        scope=scope, known=known or scope.rules, parameters=Parameters(parameters), suites=tuple(suites), target=target, host=host
    )
    arguments = [
        *map(str, suites),
        "--disable-plugin-autoload",
        "--import-mode=importlib",
        f"--rootdir={SUITES}",
        f"--confcutdir={SUITES}",
        *("-p", __name__),
        *("-c", os.devnull),
        *(part for name in ("cacheprovider", "terminal", "junitxml", "pastebin", "doctest", "unittest") for part in ("-p", f"no:{name}")),
    ]
    output = StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        code = pytest.main(arguments, plugins=[Collector(judging)])
    if judging.lost is not None:
        raise judging.lost
    if code == pytest.ExitCode.INTERRUPTED and not judging.broken:
        raise KeyboardInterrupt
    if judging.broken or code not in WHOLE:
        text = judging.broken or output.getvalue().strip().splitlines() or [f"pytest ended with {code}"]
        raise ContentError(
            f"the suites cannot be run: {text[-1].removeprefix('ERROR: ')}", hint=f"try it by hand: pytest {suites[0]} --collect-only"
        )
    return judging


@pytest.fixture(scope="module")
def parameters(request: pytest.FixtureRequest) -> Parameters:
    """Return the values that the baseline and the user chose; in a run by hand, those of the host's baseline."""
    if (judging := request.config.stash.get(JUDGING, None)) is not None:
        return judging.parameters
    host = request.getfixturevalue("host")
    content = catalogue.load()
    name = request.config.getoption("--baseline") or detect(host, content)
    return Parameters(content.baseline(name).parameters)


@pytest.fixture
def login(request: pytest.FixtureRequest, host: Host) -> Generator[Login]:
    """Return a way to log in over SSH with a fresh key, which is taken away afterwards."""
    from harness.login import Login

    judging = request.config.stash.get(JUDGING, None)
    if judging is not None and judging.target is not None:
        with Login(judging.target) as way_in:
            yield way_in
        return
    backend = host.backend
    if backend.NAME not in {"podman", "docker"}:
        pytest.skip("by hand, log-ins are tried on containers only: the check adds a key for its time")
    from harness import targets

    with targets.open_target(f"{backend.NAME}://{backend.name}") as target, Login(target) as way_in:
        yield way_in


@pytest.fixture(autouse=True)
def _only_what_applies(request: pytest.FixtureRequest, host: Host) -> None:
    """Skip, with the declared reason, what the host's kind or system cannot show; for a run by hand.

    It names `host`, so that testinfra runs every test on every host, also one that only logs in.
    """
    item = request.node
    if JUDGING in request.config.stash:
        return
    content = catalogue.load()
    baseline = content.baseline(request.config.getoption("--baseline") or detect(host, content))
    kind = Environment.CONTAINER if type(host.backend).__name__.startswith(("Podman", "Docker")) else Environment.HOST
    reason = Scope(content.rules, baseline.excluded, kind).not_applicable(content.rules[rule_of(item)])
    if reason:
        pytest.skip(f"not applicable: {reason}")


def detect(host: Any, content: catalogue.Catalog) -> str:  # noqa: ANN401 - testinfra's host is untyped
    """Return the baseline for the system that the host says it runs."""
    words = str(host.run(DETECT).stdout).split()
    for baseline in content.baselines.values():
        if words == [baseline.os_id, baseline.os_version]:
            return baseline.name
    raise pytest.UsageError(f"no baseline is for {' '.join(words) or 'a system without os-release'}; choose one with --baseline")
