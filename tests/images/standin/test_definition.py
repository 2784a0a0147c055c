"""Whether the package lists of the stand-in fit together, and whether its keys follow its content."""

from __future__ import annotations

import pytest

from harness.images.standin import definition
from harness.images.standin.definition import FILES, LAYOUTS, base_key, claimed_debs, layout_key, load_base, load_packages


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_folder_of_files_belongs_to_a_package_and_a_layout(layout: str) -> None:
    packages = load_packages(layout)
    owned = {folder.name for folder in FILES.iterdir() if {part.name for part in folder.iterdir()} & {"common", layout}}
    assert owned <= set(packages)
    assert {part.name for folder in FILES.iterdir() for part in folder.iterdir()} <= {"common", *LAYOUTS}


def test_every_unit_of_a_package_is_among_its_files(layout: str) -> None:
    for name, package in load_packages(layout).items():
        files = {path.name for part in ("common", layout) for path in (FILES / name / part).rglob("*")}
        assert set(package.units) <= files, name


def test_what_is_required_by_name_exists(layout: str) -> None:
    packages = load_packages(layout)
    known = {*packages, *load_base().packages, *load_base().request}
    for name, package in packages.items():
        assert set(package.requires) <= known, name


def test_only_layouts_of_a_package_install_it(layout: str) -> None:
    for name, package in load_packages(layout).items():
        assert set(package.install) <= set(LAYOUTS), name
        assert set(package.layouts) <= set(LAYOUTS), name


def test_names_of_accounts_and_groups_agree(layout: str) -> None:
    etc = FILES / "setup" / layout / "etc"
    columns = {
        name: [line.split(":") for line in (etc / name).read_text().splitlines()] for name in ("passwd", "group", "shadow", "gshadow")
    }
    assert [row[0] for row in columns["passwd"]] == [row[0] for row in columns["shadow"]]
    assert [row[0] for row in columns["group"]] == [row[0] for row in columns["gshadow"]]
    groups = {row[2] for row in columns["group"]}
    assert {row[3] for row in columns["passwd"]} <= groups
    assert not [row for row in columns["shadow"] if not row[1]], "an empty password"


def test_a_stand_in_says_what_it_is(layout: str) -> None:
    release = (FILES / "system-release" / layout / "usr/lib/os-release").read_text()
    assert 'PRETTY_NAME="STAND-IN' in release
    assert 'VARIANT_ID="standin"' in release
    placeholders = [package for package in load_packages(layout).values() if "placeholder" in package.summary.lower()]
    assert placeholders
    assert all("stand-in" in package.summary for package in placeholders)


def test_what_holds_for_one_layout_is_joined_in() -> None:
    assert "/etc/pam.d/system-auth" in load_packages("al2")["pam"].links
    assert "/etc/pam.d/system-auth" not in load_packages("al2023")["pam"].links
    assert "rsyslog" in load_packages("al2023")
    assert load_packages("al2023")["rsyslog"].install == ("al2",)
    assert "crypto-policies" not in load_packages("al2")


def test_the_base_leaves_alone_what_a_layout_packs() -> None:
    base = load_base()
    assert not claimed_debs() & {deb for package in base.packages.values() for deb in package.debs}
    assert "dpkg" in base.drop


def test_keys_name_the_content(monkeypatch: pytest.MonkeyPatch) -> None:
    assert base_key() == base_key()
    assert layout_key("al2") == layout_key("al2")
    assert layout_key("al2") != layout_key("al2023")
    before = base_key(), layout_key("al2")
    monkeypatch.setattr(definition, "BASE_CODE", definition.BASE_CODE[1:])
    assert base_key() != before[0]
