"""Waivers: dates that mean what they say, names that exist, and a true status that stays visible."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import waivers
from harness.config import BUNDLED
from harness.errors import ContentError, UsageError
from harness.model import Result, Severity, Status, Waiver
from tests.reports.test_json import RUN

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = ("ssh-root-login", "ssh-banner", "kernel-x")
ENTRY = {
    "rule": "ssh-banner",
    "target": "al2",
    "reason": "The banner is shown by the jump host.",
    "category": "compensating-control",
    "owner": "platform team",
    "approver": "CISO",
    "ticket": "SEC-1",
    "expires": "2026-11-24",
}
WAIVER = Waiver(
    rule="ssh-banner",
    target="al2",
    reason="The banner is shown by the jump host.",
    category="compensating-control",
    owner="platform team",
    approver="CISO",
    ticket="SEC-1",
    expires=date(2026, 11, 24),
    timezone="Asia/Seoul",
)
FAILED = Result("ssh-banner", Status.FAIL, Severity.LOW, "banner: set", "banner: none")
BROKEN = Result("ssh-banner", Status.ERROR, Severity.LOW, reason="no answer within 60 s")
NOON = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
"""Noon of 24 November in Seoul."""


def text(*entries: dict[str, str], top: str = "") -> str:
    return (
        top + "waivers:\n" + "".join("  - " + "\n    ".join(f"{key}: {value}" for key, value in entry.items()) + "\n" for entry in entries)
    )


def written(folder: Path, content: str) -> Path:
    path = folder / "waivers.yaml"
    path.write_text(content, "utf-8")
    return path


def test_a_file_is_read_as_it_says(tmp_path: Path) -> None:
    path = written(tmp_path, text(ENTRY, {**ENTRY, "target": '"web-*"', "expires": '"2027-01-31"'}))
    assert waivers.load(path, KNOWN) == (WAIVER, replace(WAIVER, target="web-*", expires=date(2027, 1, 31)))


def test_the_timezone_of_the_file_counts(tmp_path: Path) -> None:
    path = written(tmp_path, text(ENTRY, top="timezone: America/New_York\n"))
    assert waivers.load(path, KNOWN)[0].timezone == "America/New_York"


def test_the_example_waives_nothing_and_its_comment_is_a_valid_waiver(tmp_path: Path) -> None:
    example = BUNDLED.with_name("waivers.yaml")
    assert waivers.load(example, KNOWN) == ()
    commented = example.read_text("utf-8").partition("# waivers:\n")[2].partition("---")[0]
    path = written(tmp_path, "waivers:\n" + commented.replace("# ", ""))
    assert waivers.load(path, ["ssh-max-auth-tries"])[0].target == "al2"


@pytest.mark.parametrize("content", ["", "waivers:\n", "waivers: []\n", "timezone: UTC\n"])
def test_a_file_without_waivers_waives_nothing(tmp_path: Path, content: str) -> None:
    assert waivers.load(written(tmp_path, content), KNOWN) == ()


@pytest.mark.parametrize(
    ("key", "value", "line", "what"),
    [
        ("rule", "ssh-baner", 2, "there is no rule `ssh-baner`"),
        ("category", "because", 5, "`because` is no category"),
        ("expires", "2026-02-30", 9, "2026-02-30"),
        ("expires", '"2026-02-30"', 9, "2026-02-30"),
        ("expires", "2026-11-24T10:00:00", 9, "last valid day"),
        ("expires", "2026-11-24 00:00:00+09:00", 9, "last valid day"),
        ("expires", "11/24/2026", 9, "last valid day"),
        ("expires", "20261124", 9, "last valid day"),
        ("expires", "true", 9, "last valid day"),
        ("expires", "never", 9, "last valid day"),
        ("expires", "", 9, "needs `expires`"),
        ("reason", '" "', 4, "must be a text"),
        ("reason", "", 4, "needs `reason`"),
        ("owner", "[a, b]", 6, "must be a text"),
        ("approver", "yes", 7, "must be a text"),
        ("ticket", "{a: b}", 8, "must be a text"),
    ],
)
def test_each_mistake_is_told_with_its_line(tmp_path: Path, key: str, value: str, line: int, what: str) -> None:
    path = written(tmp_path, text({**ENTRY, key: value}))
    with pytest.raises(ContentError) as caught:
        waivers.load(path, KNOWN)
    assert what in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize("key", list(ENTRY))
def test_no_key_can_be_left_out(tmp_path: Path, key: str) -> None:
    path = written(tmp_path, text({name: value for name, value in ENTRY.items() if name != key}))
    with pytest.raises(ContentError, match=f"waivers.yaml:2: a waiver needs `{key}`"):
        waivers.load(path, KNOWN)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("- 1\n", "holds `waivers:`"),
        ("waivers: 3\n", "holds `waivers:`"),
        ("waivers: [3]\n", ":1: a waiver is a map"),
        ("waiver: []\n", ":1: `waiver` cannot stand here"),
        ("timezone: Asia/Seol\nwaivers: []\n", ":1: `Asia/Seol` is no timezone"),
        ("timezone: 9\nwaivers: []\n", ":1: `9` is no timezone"),
        ("timezone: ../etc/passwd\n", "is no timezone"),
        ('timezone: ""\n', "is no timezone"),
        ("timezone: Asia\n", "is no timezone"),
        ("waivers: [\n", "not YAML"),
        (text(ENTRY, ENTRY), ":10: ssh-banner is waived twice"),
        (text({**ENTRY, "until": "x"}), ":10: a waiver has no `until`"),
    ],
)
def test_other_mistakes_are_told_too(tmp_path: Path, content: str, what: str) -> None:
    with pytest.raises(ContentError) as caught:
        waivers.load(written(tmp_path, content), KNOWN)
    assert what in str(caught.value)


def test_the_unknown_rule_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ContentError) as caught:
        waivers.load(written(tmp_path, text({**ENTRY, "rule": "ssh-baner"})), KNOWN)
    assert caught.value.hint == "did you mean `ssh-banner`?"


def test_a_named_file_must_be_there_the_one_beside_need_not(tmp_path: Path) -> None:
    assert waivers.of(None, tmp_path, KNOWN) == ()
    with pytest.raises(UsageError, match="no waivers file"):
        waivers.of(tmp_path / "other.yaml", tmp_path, KNOWN)
    written(tmp_path, text(ENTRY))
    assert waivers.of(None, tmp_path, KNOWN) == (WAIVER,)
    assert waivers.of(tmp_path / "waivers.yaml", tmp_path / "elsewhere", KNOWN) == (WAIVER,)


@pytest.mark.parametrize("result", [FAILED, BROKEN])
def test_what_is_waived_still_says_what_it_is(result: Result) -> None:
    applied = waivers.apply([WAIVER], [result], {"al2"}, NOON)
    (waived,) = applied.results
    assert (waived.status, waived.was) == (Status.WAIVED, result.status)
    assert (waived.expected, waived.observed) == (result.expected, result.observed)
    for words in ("compensating-control", "SEC-1", "CISO", "2026-11-24", "jump host", result.reason):
        assert words in waived.reason
    assert applied.waivers == (WAIVER,)


def test_an_expired_waiver_fails_by_name() -> None:
    applied = waivers.apply([WAIVER], [FAILED], {"al2"}, NOON + timedelta(days=1))
    (result,) = applied.results
    assert (result.status, result.was) == (Status.FAIL, None)
    assert "waiver of ssh-banner for `al2` (SEC-1, owner platform team) expired on 2026-11-24" in result.reason
    assert applied.waivers == (WAIVER,)
    assert "expired" in applied.warnings[0]


@pytest.mark.parametrize("status", [Status.PASS, Status.NOT_APPLICABLE])
def test_a_waiver_changes_no_status_that_needs_none(status: Status) -> None:
    result = replace(FAILED, status=status)
    applied = waivers.apply([WAIVER], [result], {"al2"}, NOON)
    assert applied.results == (result,)
    assert "is not needed" in applied.warnings[0]


@pytest.mark.parametrize(("days", "warned"), [(0, True), (30, True), (31, False), (400, False)])
def test_the_warning_comes_thirty_days_before(days: int, warned: bool) -> None:  # noqa: FBT001 - parametrised
    applied = waivers.apply([WAIVER], [FAILED], {"al2"}, NOON - timedelta(days=days))
    assert applied.results[0].status is Status.WAIVED
    assert bool(applied.warnings) is warned
    if warned:
        assert f"expires in {days} days, on 2026-11-24" in applied.warnings[0]


def test_of_several_the_one_that_holds_longest_counts() -> None:
    wide = replace(WAIVER, target="*", expires=date(2026, 12, 31), ticket="SEC-2")
    for order in ([WAIVER, wide], [wide, WAIVER]):
        applied = waivers.apply(order, [FAILED], {"al2"}, NOON + timedelta(days=5))
        assert applied.results[0].status is Status.WAIVED
        assert "SEC-2" in applied.results[0].reason


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        ("al2", True), ("*", True), ("web-*", True), ("ssh://*", True), ("web-0?", True), ("ec2-user@web-01:22", True), ("small", True),
        ("AL2", False), ("al", False), ("db-*", False), ("web-0", False), ("standin", False),
    ],
)  # fmt: skip
def test_a_target_is_named_by_source_baseline_uri_or_host(pattern: str, covered: bool) -> None:  # noqa: FBT001 - parametrised
    names = waivers.names({"uri": "ssh://ec2-user@web-01:22", "source": "small", "kind": "standin"}, "al2")
    assert waivers.covers(replace(WAIVER, target=pattern), "ssh-banner", names) is covered
    assert not waivers.covers(replace(WAIVER, target=pattern), "ssh-root-login", names)


@pytest.mark.parametrize("pattern", ["AL2", "al2023", "web-*"])
def test_a_rule_that_fails_and_is_waived_for_other_targets_only_is_told(pattern: str) -> None:
    other = replace(WAIVER, target=pattern)
    applied = waivers.apply([other], [FAILED], {"al2"}, NOON)
    assert applied.results == (FAILED,)
    assert applied.waivers == ()
    assert [warning for warning in applied.warnings if f"`{pattern}`" in warning and "names no target of this run: al2" in warning]
    assert waivers.apply([other, WAIVER], [FAILED], {"al2"}, NOON).results[0].status is Status.WAIVED
    assert waivers.apply([other], [replace(FAILED, status=Status.PASS)], {"al2"}, NOON).warnings == ()


def test_a_target_without_names_is_covered_by_nothing() -> None:
    assert waivers.names({}, "") == frozenset()
    assert not waivers.covers(replace(WAIVER, target="*"), "ssh-banner", frozenset())


def test_a_run_keeps_the_waivers_that_concern_it() -> None:
    other = replace(WAIVER, target="al2023")
    unjudged = replace(WAIVER, rule="ssh-port")
    run, _ = waivers.onto(RUN, [WAIVER, other, unjudged])
    assert run.waivers == (WAIVER,)
    assert run.counts()["waived"] == 1
    assert [result.was for result in run.results] == [None, Status.FAIL, None, None]


DATES = st.dates(date(1980, 1, 1), date(2100, 1, 1))
ZONES = st.sampled_from(
    ["Asia/Seoul", "UTC", "America/New_York", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Europe/Berlin", "Asia/Kolkata"]
)
TIMES = st.times()


@given(last=DATES, zone=ZONES, time=TIMES, seen_from=ZONES)
def test_the_whole_last_day_is_valid_and_no_moment_of_the_next(last: date, zone: str, time: object, seen_from: str) -> None:
    waiver = replace(WAIVER, expires=last, timezone=zone)
    assert hasattr(time, "hour")
    there = ZoneInfo(zone)
    on_the_day = datetime.combine(last, time, there).astimezone(ZoneInfo(seen_from))  # type: ignore[arg-type] # hypothesis gives times
    # A wall time that a change of the clocks leaves out belongs to its day all the same.
    if on_the_day.astimezone(there).date() == last:
        assert not waivers.expired(waiver, on_the_day)
    next_day = datetime.combine(last + timedelta(days=1), time, there).astimezone(ZoneInfo(seen_from))  # type: ignore[arg-type] # as above
    if next_day.astimezone(there).date() > last:
        assert waivers.expired(waiver, next_day)


@given(last=DATES, zone=ZONES)
def test_it_ends_with_the_first_second_of_the_next_day(last: date, zone: str) -> None:
    waiver = replace(WAIVER, expires=last, timezone=zone)
    midnight = datetime.combine(last + timedelta(days=1), datetime.min.time(), ZoneInfo(zone)).astimezone(UTC)
    assert waivers.expired(waiver, midnight)
    assert not waivers.expired(waiver, midnight - timedelta(microseconds=1))


@given(last=DATES, now=st.builds(datetime.combine, DATES, TIMES, ZONES.map(ZoneInfo)), hours=st.integers(1, 10_000))
def test_what_has_expired_never_holds_again(last: date, now: datetime, hours: int) -> None:
    waiver = replace(WAIVER, expires=last)
    if waivers.expired(waiver, now):
        assert waivers.expired(waiver, now + timedelta(hours=hours))
    status = waivers.apply([waiver], [FAILED], {"al2"}, now).results[0].status
    assert status is (Status.FAIL if waivers.expired(waiver, now) else Status.WAIVED)


def test_a_moment_without_a_timezone_is_refused() -> None:
    with pytest.raises(ValueError, match="timezone"):
        waivers.expired(WAIVER, datetime(2026, 11, 24))  # noqa: DTZ001 - the point of the test


def test_midnight_in_seoul_is_the_border_whoever_looks() -> None:
    assert not waivers.expired(WAIVER, datetime(2026, 11, 24, 14, 59, 59, tzinfo=UTC))
    assert waivers.expired(WAIVER, datetime(2026, 11, 24, 15, 0, 0, tzinfo=UTC))
    assert waivers.expired(replace(WAIVER, timezone="UTC"), datetime(2026, 11, 25, 0, 0, tzinfo=UTC))
    assert not waivers.expired(replace(WAIVER, timezone="UTC"), datetime(2026, 11, 24, 23, 59, tzinfo=UTC))
