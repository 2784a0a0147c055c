"""From YAML to a Document: every mistake is found, told with its line, and none is passed over."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.errors import DocumentError, Location
from harness.toe import tree
from harness.toe.actions.base import closest, did_you_mean
from harness.toe.document import BUILDING, MAX_BYTES, TESTING, Constant, Document, Parameter, Phase, Problem
from harness.toe.expressions import NAME, has_reference
from harness.toe.reading_steps import StepReader
from harness.toe.references import check_references

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.toe.reading_steps import Draft
    from harness.toe.tree import Entries, Items, Node, Scalar

_VERSIONS: Final = ("1.0", "1")
_LIST_HINT: Final = "- NAME: {{type: string, {}: …}}"


def load(source: Path | str | bytes, *, name: Path | str = "document") -> Document:
    """Read a component document from a file, or from text that `name` stands for in messages.

    Raises DocumentError with the first mistake, its line and how many more there are.
    """
    document, problems = examine(source, name=name)
    if problems:
        raise problems[0].error(len(problems) - 1)
    if document is None:  # pragma: no cover - examine promises one of the two
        raise DocumentError("the document cannot be read")
    return document


def problems(source: Path | str | bytes, *, name: Path | str = "document") -> tuple[Problem, ...]:
    """List every mistake in the order of the lines; empty for a document that AWSTOE would accept."""
    return examine(source, name=name)[1]


def examine(source: Path | str | bytes, *, name: Path | str = "document") -> tuple[Document | None, tuple[Problem, ...]]:
    """Read a document; the Document is None exactly if there are problems."""
    path = source if isinstance(source, Path) else Path(name)
    findings = Findings(path)
    try:
        raw, text = _text(source, path)
        document = _Reader(findings).document(tree.parse(text, path), raw)
    except DocumentError as error:
        found = Problem(error.at or Location(path), error.message, error.hint)
        return None, (*findings.sorted(), found)
    found_problems = findings.sorted()
    return (None, found_problems) if found_problems else (document, ())


def _text(source: Path | str | bytes, path: Path) -> tuple[bytes, str]:
    if isinstance(source, Path):
        try:
            source = source.read_bytes()
        except OSError as error:
            raise DocumentError(f"cannot be read: {error.strerror or error}", at=Location(path)) from None
    raw = source.encode("utf-8", "surrogatepass") if isinstance(source, str) else source
    if len(raw) > MAX_BYTES:
        message = f"{len(raw)} bytes are more than the {MAX_BYTES} that Image Builder takes"
        raise DocumentError(message, hint="split the document", at=Location(path))
    try:
        return raw, raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError("the document is not UTF-8", at=Location(path, raw.count(b"\n", 0, error.start) + 1)) from None


@dataclass(slots=True)
class Findings:
    """The mistakes found so far, and the questions that most keys share."""

    path: Path
    problems: list[Problem] = field(default_factory=list)

    def add(self, line: int, message: str, hint: str | None = None) -> None:
        """Note a mistake."""
        self.problems.append(Problem(Location(self.path, line), message, hint))

    def sorted(self) -> tuple[Problem, ...]:
        """Return the mistakes in the order of the file."""
        return tuple(sorted(self.problems, key=lambda problem: problem.at.line or 0))

    def keys(self, entries: Entries, what: str, allowed: Iterable[str], required: Iterable[str] = ()) -> None:
        """Note unknown and missing keys; a key that was misspelled is not missing as well."""
        allowed, meant = tuple(allowed), set[str]()
        for key in entries.entries:
            if key.text not in allowed:
                meant.add(closest(key.text, allowed) or "")
                hint = did_you_mean(key.text, allowed) or f"known keys: {', '.join(allowed)}"
                self.add(key.line, f"{what} has no key `{key.text}`", hint)
        for name in required:
            if name not in entries.names and name not in meant:
                self.add(entries.line, f"{what} needs the key `{name}`")

    def text(self, entries: Entries, key: str, what: str) -> str | None:
        """Read a text; null is nothing."""
        node = entries.get(key)
        if node is None:
            return None
        if not isinstance(node, tree.Scalar):
            self.add(node.line, f"`{key}` of {what} is {node.kind}, a text was expected")
            return None
        return "" if node.tag == "null" else node.text

    def title(self, entries: Entries, what: str) -> str | None:
        """Read a `name` that cannot be empty and holds no reference."""
        node, name = entries.get("name"), self.text(entries, "name", what)
        if name is None or node is None:
            return None
        if not name.strip() or has_reference(name):
            self.add(node.line, f"the name of {what} is {'empty' if not name.strip() else 'a reference, which cannot be'}")
            return None
        return name

    def entries(self, node: Node, what: str) -> Entries | None:
        """Ask for a map."""
        if isinstance(node, tree.Entries):
            return node
        self.add(node.line, f"{what} is {node.kind}, a map was expected")
        return None

    def items(self, node: Node | None, what: str, hint: str | None = None) -> Items | None:
        """Ask for a list that holds something."""
        if node is None:
            return None
        if not isinstance(node, tree.Items):
            self.add(node.line, f"{what} is {node.kind}, a list was expected", hint)
            return None
        if not node.items:
            self.add(node.line, f"{what} is empty")
        return node


class _Reader:
    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.names: dict[str, int] = {}

    def document(self, root: Node, source: bytes) -> Document | None:
        findings = self.findings
        top = findings.entries(root, "the document")
        if top is None:
            return None
        findings.keys(
            top, "the document", ("name", "description", "schemaVersion", "parameters", "constants", "phases"), ("schemaVersion", "phases")
        )
        version = top.get("schemaVersion")
        if version is not None and findings.text(top, "schemaVersion", "the document") not in _VERSIONS:
            findings.add(version.line, "the only schemaVersion is 1.0", "schemaVersion: 1.0")
        parameters = tuple(self.parameters(top))
        constants = tuple(self.constants(top))
        phases, drafts = self.phases(top)
        check_references(drafts, {item.name for item in parameters} | {item.name for item in constants}, findings)
        name = findings.text(top, "name", "the document")
        description = findings.text(top, "description", "the document") or ""
        return Document(name or findings.path.stem, description, parameters, constants, phases, source, findings.path)

    def declarations(self, top: Entries, key: str, allowed: tuple[str, ...], required: tuple[str, ...]) -> Iterable[tuple[Scalar, Entries]]:
        """Read a list of maps of one key each, and tell authors of the flat form how it is written."""
        hint = _LIST_HINT.format(allowed[1])
        node = top.get(key)
        items = self.findings.items(node, f"`{key}`", hint) if not isinstance(node, tree.Scalar) or node.tag != "null" else None
        for item in items or ():
            entries = self.findings.entries(item, f"an entry of `{key}`")
            if entries is None:
                continue
            name, body = next(iter(entries.entries.items()), (None, None))
            if name is None or not isinstance(body, tree.Entries) or len(entries.entries) > 1:
                written = entries.get("name")
                meant = written.text if isinstance(written, tree.Scalar) else "NAME"
                self.findings.add(entries.line, f"an entry of `{key}` is a map of one key, the name", hint.replace("NAME", meant))
                continue
            if self.name(name, key):
                self.findings.keys(body, f"`{name.text}`", allowed, required)
                self.kind(body, name.text)
                yield name, body

    def name(self, name: Scalar, key: str) -> bool:
        if name.tag != "str" or not NAME.fullmatch(name.text):
            hint = "3 to 128 letters, digits, - and _; in quotes when it is a number or true, false, null"
            self.findings.add(name.line, f"`{name.text}` cannot be a name of `{key}`", hint)
            return False
        if name.text in self.names:
            self.findings.add(name.line, f"`{name.text}` is declared twice, first on line {self.names[name.text]}")
            return False
        self.names[name.text] = name.line
        return True

    def kind(self, body: Entries, name: str) -> None:
        kind = self.findings.text(body, "type", f"`{name}`")
        if kind is not None and kind != "string":
            self.findings.add(body.line, f"the type of `{name}` is `{kind}`; AWSTOE knows `string` only", "type: string")

    def parameters(self, top: Entries) -> Iterable[Parameter]:
        for name, body in self.declarations(top, "parameters", ("type", "default", "description"), ("type",)):
            default = self.findings.text(body, "default", f"`{name.text}`")
            description = self.findings.text(body, "description", f"`{name.text}`") or ""
            yield Parameter(name.text, default, description, name.line)

    def constants(self, top: Entries) -> Iterable[Constant]:
        for name, body in self.declarations(top, "constants", ("type", "value"), ("type", "value")):
            yield Constant(name.text, self.findings.text(body, "value", f"`{name.text}`") or "", name.line)

    def phases(self, top: Entries) -> tuple[tuple[Phase, ...], list[Draft]]:
        findings, phases, drafts = self.findings, dict[str, Phase](), list[StepReader]()
        items = findings.items(top.get("phases"), "`phases`", "- name: build")
        for item in items or ():
            entries = findings.entries(item, "a phase")
            if entries is None:
                continue
            findings.keys(entries, "a phase", ("name", "steps"), ("name", "steps"))
            name = findings.title(entries, "a phase")
            if name is not None and name in phases:
                findings.add(entries.line, f"phase `{name}` is there twice, first on line {phases[name].line}")
                continue
            steps = StepReader(findings, name or "?")
            steps.read(findings.items(entries.get("steps"), f"`steps` of phase `{name}`"))
            drafts.append(steps)
            if name is not None:
                phases[name] = Phase(name, tuple(draft.step for draft in steps.drafts), entries.line)
        if items is not None and items.items and phases and not (BUILDING | TESTING) & set(phases):
            hint = next(filter(None, (did_you_mean(name, ("build", "validate", "test")) for name in phases)), None)
            findings.add(items.line, "no phase is called build, validate or test, so Image Builder would run nothing", hint)
        return tuple(phases.values()), [draft for reader in drafts for draft in reader.drafts]
