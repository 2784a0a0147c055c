"""Render component documents: scripts inlined, parameters declared, split when too large, with the SHA-256 of the very bytes.

A source document under hardening/components/ is an AWSTOE document in which three marks stand for bash:

    - harness:prepare           puts lib.sh on the image
    - harness:apply SUBJECT     puts the subject's script and files on the image and runs `apply`
    - harness:check SUBJECT     runs `check` of the script that is on the image

The marks are replaced in the text, so that comments and order stay and an assessor reads plain bash.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import yaml

from harness import locatedyaml
from harness.errors import ContentError, Location

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from harness.catalog import Catalog

FOLDER = "/usr/libexec/isms-hardening"
"""Where the scripts stay on the image, so that the test phase of a fresh instance can call `check`."""

DOCUMENT_LIMIT = 64_000
"""Bytes of one document: the service's quota is 64 KB through S3 (EC2 Image Builder user guide, quotas), less a reserve."""

MARK = re.compile(r"^(?P<indent> *)- harness:(?P<verb>prepare|apply|check)(?: +(?P<subject>[a-z]+))? *$", re.MULTILINE)
END = "ISMS_END_OF_FILE"

KEEP = """\
isms={folder}
keep() {{ # put $1.new in place of $1 with mode $2, unless it is the same
  if cmp -s "$1.new" "$1"; then rm -f "$1.new"; else chmod "$2" "$1.new" && mv -f "$1.new" "$1"; fi
}}
"""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A component document, ready to run and to publish."""

    name: str
    data: bytes
    subjects: tuple[str, ...]
    parameters: Mapping[str, str]
    """Values to run it with; only names that the document declares."""

    @property
    def sha256(self) -> str:
        """The digest of the bytes: what ran is what is published."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def file_name(self) -> str:
        """The name of the file that keeps the bytes as evidence."""
        return f"{self.name}.yml"


def render(  # noqa: PLR0913 - the facts of one document
    catalog: Catalog,
    name: str,
    defaults: Mapping[str, str],
    overrides: Mapping[str, str],
    *,
    off: Collection[str] = (),
    limit: int = DOCUMENT_LIMIT,
) -> tuple[Rendered, ...]:
    """Render the document `name`; several numbered ones when it outgrows `limit` bytes.

    `defaults` (the baseline's values) become the defaults that the document declares, `overrides` the values it is run with; the scripts
    leave the rules in `off` alone.
    """
    path = catalog.component(name)
    text = path.read_text("utf-8")
    subjects = tuple(dict.fromkeys(match["subject"] for match in MARK.finditer(text) if match["subject"]))
    whole = one(catalog, path, text, name, subjects, defaults, overrides, off)
    if len(whole.data) <= limit:
        return (whole,)
    groups = portions(catalog, path, text, name, subjects, defaults, off, limit)
    return tuple(
        one(catalog, path, excerpt(text, group), f"{name}-{number}", group, defaults, overrides, off)
        for number, group in enumerate(groups, start=1)
    )


def one(  # noqa: PLR0913 - the facts of one document
    catalog: Catalog,
    path: Path,
    text: str,
    name: str,
    subjects: Sequence[str],
    defaults: Mapping[str, str],
    overrides: Mapping[str, str],
    off: Collection[str] = (),
) -> Rendered:
    """Render one text whose marks name `subjects`."""
    names = {subject: parameters_of(catalog, subject) for subject in subjects}
    declared = sorted({parameter for each in names.values() for parameter in each})
    body = MARK.sub(lambda match: block(match["indent"], bash(catalog, path, match["verb"], match["subject"], names, off)), text)
    body = re.sub(r"^name:.*$", f"name: {name}", body, count=1, flags=re.MULTILINE)
    if declared:
        declaration = "".join(
            f"  - {parameter}:\n      type: string\n      default: {quoted(defaults[parameter])}\n"
            f"      description: {quoted(catalog.parameters[parameter].description)}\n"
            for parameter in declared
        )
        body = re.sub(r"^phases:", lambda _: f"parameters:\n{declaration}phases:", body, count=1, flags=re.MULTILINE)
    return Rendered(
        name=name,
        data=body.encode(),
        subjects=tuple(subjects),
        parameters={parameter: overrides[parameter] for parameter in declared if parameter in overrides},
    )


def parameters_of(catalog: Catalog, subject: str) -> tuple[str, ...]:
    """Return the parameters that a subject's script is given: those its own rule file declares."""
    return tuple(sorted(parameter.name for parameter in catalog.parameters.values() if parameter.subject == subject))


def bash(  # noqa: PLR0913 - the facts of one mark
    catalog: Catalog, path: Path, verb: str, subject: str | None, names: Mapping[str, Sequence[str]], off: Collection[str]
) -> str:
    """Return the bash that a mark stands for."""
    if verb == "prepare":
        return (
            "set -eu\numask 022\n"
            + KEEP.format(folder=FOLDER)
            + 'mkdir -p "$isms/files"\n'
            + here(catalog.folder / "scripts" / "lib.sh", "$isms/lib.sh", "0600")
        )
    if subject is None:
        raise ContentError(f"`harness:{verb}` needs a subject", at=Location(path))
    root = catalog.root_of(subject)
    script = root / "scripts" / f"{subject}.sh"
    if not script.is_file():
        raise ContentError(f"there is no script for the subject `{subject}`", hint=f"write {script}", at=Location(path))
    arguments = "".join(f" \\\n  {name}='{{{{ {name} }}}}'" for name in names[subject])
    if mine := [rule.id for rule in catalog.rules.values() if rule.subject == subject and rule.id in off]:
        arguments += f" \\\n  isms_off='{' '.join(mine)}'"
    call = f'exec bash "$isms/{subject}.sh" {verb}{arguments}\n'
    if verb == "check":
        return f"isms={FOLDER}\n{call}"
    files = sorted(file for file in (root / "files" / subject).rglob("*") if file.is_file())
    parts = ["set -eu\numask 022\n", KEEP.format(folder=FOLDER)]
    folders = sorted({file.parent.relative_to(root).as_posix() for file in files})
    parts.extend(f'mkdir -p "$isms/{folder}"\n' for folder in folders)
    parts.extend(here(file, f"$isms/{file.relative_to(root).as_posix()}", "0600") for file in files)
    parts.append(here(script, f"$isms/{subject}.sh", "0700"))
    return "".join(parts) + call


def here(file: Path, target: str, mode: str) -> str:
    """Return bash that writes `file` to `target` on the image, byte for byte, when it is not there already."""
    text = file.read_bytes().decode()
    if END in text or "{{" in text or "\r" in text or not text.endswith("\n"):
        raise ContentError(
            "a script or file of hardening/ must end with a newline and hold no carriage return, no `{{` and no end mark",
            hint="AWSTOE reads `{{` as a reference, also inside a script",
            at=Location(file),
        )
    return f'cat >"{target}.new" <<\'{END}\'\n{text}{END}\nkeep "{target}" {mode}\n'


def block(indent: str, text: str) -> str:
    """Write text as a literal block item of a YAML list."""
    body = "".join(f"{indent}    {line}" if line.strip() else "\n" for line in text.splitlines(keepends=True))
    return f"{indent}- |\n{body}".rstrip("\n")


@lru_cache(maxsize=4096)
def quoted(value: str) -> str:
    """Write a value as a YAML string, whatever it looks like."""
    return yaml.dump(value, default_style='"', allow_unicode=True, width=10_000).strip()


def portions(  # noqa: PLR0913 - as `one`
    catalog: Catalog,
    path: Path,
    text: str,
    name: str,
    subjects: Sequence[str],
    defaults: Mapping[str, str],
    off: Collection[str],
    limit: int,
) -> list[tuple[str, ...]]:
    """Group the subjects, in their order, so that each group's document stays within `limit`."""
    groups: list[tuple[str, ...]] = []
    current: tuple[str, ...] = ()
    for subject in subjects:
        tried = (*current, subject)
        size = len(one(catalog, path, excerpt(text, tried), f"{name}-9", tried, defaults, {}, off).data)
        if size > limit and not current:
            raise ContentError(
                f"the subject {subject} alone makes a document of {size} bytes; the limit is {limit}",
                hint="split the script or its files",
                at=Location(path),
            )
        if size > limit:
            groups.append(current)
            current = (subject,)
        else:
            current = tried
    return [*groups, current]


@lru_cache(maxsize=8)
def composed(text: str) -> Any:  # noqa: ANN401 - PyYAML's nodes carry no types
    """Parse a source document once, however many excerpts are made of it."""
    return yaml.compose(text, Loader=locatedyaml.LOADER)


def excerpt(text: str, subjects: Sequence[str]) -> str:
    """Return the source text without the steps of other subjects and without phases that are left empty."""
    root = composed(text)
    lines = text.splitlines(keepends=True)
    dropped: set[int] = set()
    phases = next(value for key, value in root.value if key.value == "phases")
    for phase in phases.value:
        steps = next(value for key, value in phase.value if key.value == "steps")
        gone = 0
        for step in steps.value:
            span = range(step.start_mark.line, last_line(step) + 1)
            marks = [match["subject"] for match in MARK.finditer("".join(lines[index] for index in span)) if match["subject"]]
            if marks and not set(marks) & set(subjects):
                dropped.update(span)
                gone += 1
        if gone == len(steps.value):
            dropped.update(range(phase.start_mark.line, last_line(phase) + 1))
    return "".join(line for index, line in enumerate(lines) if index not in dropped)


def last_line(node: yaml.Node) -> int:
    """Return the line on which a node's last scalar stands; libyaml's own end mark lies behind the blank lines after it."""
    if isinstance(node, yaml.MappingNode):
        return max((last_line(value) for _, value in node.value), default=node.start_mark.line)
    if isinstance(node, yaml.SequenceNode):
        return max((last_line(value) for value in node.value), default=node.start_mark.line)
    return int(node.start_mark.line if node.end_mark.column == 0 else node.end_mark.line)
