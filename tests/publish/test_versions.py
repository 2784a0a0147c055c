"""Versions follow content."""

from __future__ import annotations

import pytest

from publish import versions


@pytest.mark.parametrize(
    ("taken", "following"),
    [
        ([], "1.0.0"),
        ([(1, 0, 0)], "1.0.1"),
        ([(1, 0, 9), (1, 0, 10), (1, 0, 2)], "1.0.11"),
        ([(2, 3, 4), (1, 9, 9)], "2.3.5"),
        ([(1, 0, versions.LIMIT)], "1.1.0"),
    ],
)
def test_next_version(taken: list[versions.Version], following: str) -> None:
    assert versions.spell(versions.following(taken)) == following


def test_version_and_build_of_an_arn() -> None:
    arn = "arn:aws:imagebuilder:ap-northeast-2:123456789012:component/x-1.2.3/1.0.10"
    assert versions.of_arn(arn) == versions.of_arn(f"{arn}/7") == (1, 0, 10)
    assert (versions.build_of(arn), versions.build_of(f"{arn}/7")) == (None, 7)
    with pytest.raises(ValueError, match="x"):
        versions.of_arn("arn:aws:imagebuilder:ap-northeast-2:123456789012:component/x/x.x.x")


def test_digest_in_a_description() -> None:
    assert versions.digest_in(f"hardening, sha256:{'a' * 64}") == "a" * 64
    assert versions.digest_in("by hand") is None
