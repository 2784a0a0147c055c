"""Whether the catalogue of last time is the one that a fresh reading gives, and is not taken for another."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from harness import catalog, catalogcache

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(catalogcache, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "catalogue"


def test_what_was_kept_is_what_is_read(own_cache: Path) -> None:
    fresh = catalog.loaded(catalog.CONTENT)
    assert catalogcache.cached(catalog.CONTENT, lambda: fresh) is fresh
    kept = catalogcache.cached(catalog.CONTENT, lambda: pytest.fail("read again"))
    assert kept == fresh
    assert kept is not fresh
    with pytest.raises(TypeError):
        kept.rules["x"] = next(iter(kept.rules.values()))  # type: ignore[index]  # that is the point
    assert len(list(own_cache.iterdir())) == 1


def test_a_changed_rule_is_read_anew(tmp_path: Path) -> None:
    shutil.copytree(catalog.CONTENT, tmp_path / "hardening")
    before = catalogcache.digest(tmp_path / "hardening")
    rules = tmp_path / "hardening" / "rules" / "ssh.yaml"
    rules.write_text(rules.read_text("utf-8").replace("severity: high", "severity: low", 1), "utf-8")
    assert catalogcache.digest(tmp_path / "hardening") != before


@pytest.mark.parametrize("spoil", ["cut", "writable", "other"])
def test_a_file_that_is_broken_or_not_ours_alone_is_not_read(own_cache: Path, spoil: str) -> None:
    fresh = catalog.loaded(catalog.CONTENT)
    catalogcache.cached(catalog.CONTENT, lambda: fresh)
    (file,) = own_cache.iterdir()
    if spoil == "cut":
        file.write_bytes(file.read_bytes()[:100])
    elif spoil == "writable":
        file.chmod(0o666)
    else:
        file.write_bytes(b"\x80\x05K\x01.")
    assert catalogcache.cached(catalog.CONTENT, lambda: fresh) is fresh
