"""What the stand-in consists of: the package lists in base.yaml and packages/, read into frozen data, and their content keys."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FOLDER = Path(__file__).parent
FILES = FOLDER / "files"
LAYOUTS = ("al2", "al2023")
BASE_CODE = ("base.yaml", "base.py", "commands.py", "debian.py", "definition.py", "rpms.py")
"""The files that decide what the neutral base is; the layouts add all the others."""


@dataclass(frozen=True, slots=True)
class Package:
    """One RPM: which Debian files it takes, which of ours it adds, what its scriptlets do."""

    name: str
    summary: str = ""
    layouts: tuple[str, ...] = LAYOUTS
    """Layouts whose repository holds it."""
    install: tuple[str, ...] = ()
    """Layouts that have it from the start."""
    version: str = ""
    """Empty: the version of its first Debian package."""
    debs: tuple[str, ...] = ()
    take: Mapping[str, str] | None = None
    """Path or pattern in the Debian packages → path in the image (a folder when it ends in `/`); None takes all as it is."""
    leave: tuple[str, ...] = ()
    """Patterns that are not taken."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Path → `MODE USER GROUP`, where they differ from what the source has."""
    folders: Mapping[str, str] = field(default_factory=dict)
    """Folders that the package owns → `MODE USER GROUP`."""
    volatile: tuple[str, ...] = ()
    """Files that change in normal life: `rpm -V` looks at their mode and owner only."""
    rewrite: Mapping[str, str] = field(default_factory=dict)
    """Texts inside Debian's programs (compiled-in paths and names) → what Amazon Linux has there, not longer than the old one."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Path → where the symbolic link leads."""
    units: tuple[str, ...] = ()
    """systemd units that the preset enables or disables at installation and that end at removal."""
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    group: str = "Unspecified"
    """`standin-clutter`: installed so that hardening has something to remove."""
    pre: str = ""
    post: str = ""
    auto: bool = True
    """Whether rpmbuild finds out the libraries it needs."""


@dataclass(frozen=True, slots=True)
class Base:
    """The neutral base that all layouts share."""

    suite: str
    request: tuple[str, ...]
    """Debian packages to ask apt for, besides those that packages/ name."""
    drop: tuple[str, ...]
    """Patterns of Debian package names that come along and are left out."""
    leave: tuple[str, ...]
    """tar patterns of files that no image needs (documents, translations)."""
    packages: Mapping[str, Package]
    """Base packages that are not one Debian package under its own name."""


def load_base() -> Base:
    """Read base.yaml."""
    content = _yaml(FOLDER / "base.yaml")
    packages = {name: _package(name, values) for name, values in content["packages"].items()}
    return Base(content["suite"], tuple(content["request"]), tuple(content["drop"]), tuple(content["leave"]), packages)


def load_packages(layout: str) -> dict[str, Package]:
    """Read packages/*.yaml: every package of a layout's repository, by name, with what holds for this layout only joined in."""
    found: dict[str, Package] = {}
    for path in sorted((FOLDER / "packages").glob("*.yaml")):
        for name, values in _yaml(path).items():
            package = _package(name, _for_layout(values or {}, layout))
            if layout in package.layouts:
                found[name] = package
    return found


def claimed_debs() -> set[str]:
    """Name the Debian packages that some layout packs itself, so that the base leaves them alone."""
    return {deb for layout in LAYOUTS for package in load_packages(layout).values() for deb in package.debs}


def base_key() -> str:
    """Name the content of the base: its definition, the code that makes it, and the Debian packages the layouts need from it."""
    return _digest([FOLDER / name for name in BASE_CODE], " ".join(sorted(claimed_debs())))


def layout_key(baseline: str) -> str:
    """Name the content of one layout's image: everything in this folder, whatever it is."""
    paths = (path for path in FOLDER.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return _digest(sorted(paths), baseline)


def _digest(paths: Iterable[Path], extra: str) -> str:
    digest = hashlib.sha256(extra.encode())
    for path in paths:
        digest.update(f"\0{path.relative_to(FOLDER)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _for_layout(values: Mapping[str, Any], layout: str) -> dict[str, Any]:
    joined = {key: value for key, value in values.items() if key not in LAYOUTS}
    for key, value in (values.get(layout) or {}).items():
        if isinstance(value, dict):
            joined[key] = {**joined.get(key, {}), **value}
        elif isinstance(value, list):
            joined[key] = [*joined.get(key, []), *value]
        else:
            joined[key] = value
    return joined


def _package(name: str, values: Mapping[str, Any]) -> Package:
    known: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    known.setdefault("install", known.get("layouts", LAYOUTS))
    return Package(name=name, **known)


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    content: dict[str, Any] = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe loaders
    return content
