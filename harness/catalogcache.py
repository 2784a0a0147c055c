"""The catalogue as it was loaded last time: to read and check 400 rules again costs more than to judge a host by them.

A cache in the user's own folder, under a digest of every file that the catalogue is made from and of the program that makes it.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from harness import __version__
from harness.engine_trial import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.catalog import Catalog

MADE_BY = ("catalog.py", "controls.py", "specs.py", "model.py", "locatedyaml.py")
KEPT = 4
"""Files that stay; the oldest go."""


class Packer(pickle.Pickler):
    """Writes read-only mappings too, which pickle does not know."""

    def reducer_override(self, obj: object) -> Any:  # noqa: ANN401 - pickle's own signature
        """Say how a mapping is made again."""
        return (read_only, (dict(obj),)) if isinstance(obj, MappingProxyType) else NotImplemented


def read_only(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    """Make a read-only mapping; under a name by which pickle finds it."""
    return MappingProxyType(values)


def cached(folder: Path, load: Callable[[], Catalog]) -> Catalog:
    """Return the catalogue of a folder: the one of last time, if nothing has changed since, or what `load` returns."""
    file = cache_folder() / "catalogue" / f"{digest(folder)}.pickle"
    found = read(file)
    if found is None:
        found = load()
        write(file, found)
    return found


def digest(folder: Path) -> str:
    """Return a digest of everything that the catalogue depends on."""
    made = hashlib.sha256(f"{__version__} {sys.version} {folder}".encode())
    for path in sorted(path for part in ("rules", "baselines", "controls") for path in (folder / part).glob("*.yaml")):
        made.update(path.relative_to(folder).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    for name in MADE_BY:
        made.update(hashlib.sha256(Path(__file__).with_name(name).read_bytes()).digest())
    return made.hexdigest()[:32]


def read(file: Path) -> Catalog | None:
    """Read a file back; None when there is none that is ours alone, or it cannot be read."""
    try:
        with file.open("rb") as opened:
            state = os.fstat(opened.fileno())
            if state.st_uid != os.geteuid() or state.st_mode & 0o022:
                return None
            found: Catalog = pickle.load(opened)  # noqa: S301 - as above; nobody else can have written it
    except Exception:  # noqa: BLE001 - whatever is wrong with a cache, the catalogue is made anew
        return None
    return found if type(found).__name__ == "Catalog" else None


def write(file: Path, catalogue: Catalog) -> None:
    """Keep a catalogue; a folder that cannot be written costs time only."""
    packed = io.BytesIO()
    Packer(packed, protocol=5).dump(catalogue)
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("wb", dir=file.parent, delete=False) as opened:
            opened.write(packed.getbuffer())
        os.replace(opened.name, file)  # noqa: PTH105 - the temporary name is text
        for old in sorted(file.parent.glob("*"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            old.unlink(missing_ok=True)
