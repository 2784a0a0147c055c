"""The catalogue: rules, their parameters and the baselines, loaded from hardening/, with every cross-reference resolved."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from harness import catalogcache, controls, locatedyaml
from harness.errors import ContentError, Location, UsageError
from harness.model import Control, Environment, Rule, Title

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.controls import Edition
    from harness.locatedyaml import Located
    from harness.specs import RuleFileSpec, RuleSpec

CONTENT = Path(__file__).resolve().parent.parent / "hardening"
"""The content that comes with harness: the folder beside the package, in a checkout as in an installed wheel."""

SITE = "site-"
"""How the ids of a user's own rules begin; the names of their parameters begin with `site_`."""
SUBJECT = re.compile(r"[a-z]+")
RULE_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")
PARAMETER_NAME = re.compile(r"[a-z][a-z0-9_]{2,127}")
"""AWSTOE takes 3 to 128 characters; the rest keeps names valid as shell variables."""

UNSAFE = re.compile(r"[\"'\\$`\n\r{}]")
"""AWSTOE splices values into scripts as text, so what a shell or AWSTOE would read as syntax is refused."""

STANDARDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "isms-p": ("ISMS-P", "2023"),
        "kisa-unix-2026": ("KISA Unix", "2026"),
        "kisa-unix-2021": ("KISA Unix", "2021"),
        "cis-al2": ("CIS Amazon Linux 2", "3.0.0"),
        "cis-al2023": ("CIS Amazon Linux 2023", "1.0.0"),
    }
)
"""Key in a rule's `controls` to standard and edition."""

CONTROL_ID: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "isms-p": re.compile(r"2\.\d{1,2}\.\d{1,2}"),
        "kisa-unix-2026": re.compile(r"U-(0[1-9]|[1-5]\d|6[0-7])"),
        "kisa-unix-2021": re.compile(r"U-(0[1-9]|[1-6]\d|7[0-2])"),
        "cis-al2": re.compile(r"\d+(\.\d+)+"),
        "cis-al2023": re.compile(r"\d+(\.\d+)+"),
    }
)
"""The ids that an edition has: 67 KISA Unix items in 2026, 72 in 2021; chapter 2 of ISMS-P."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a user may set, and which values make sense."""

    name: str
    subject: str
    type: Literal["integer", "text", "flag", "words"]
    description: str
    minimum: int | None = None
    maximum: int | None = None
    pattern: str | None = None
    default: str | None = None
    """The value in every baseline; of a user's own rules only, since a baseline names ours."""

    def problem(self, value: str) -> str | None:
        """Say what is wrong with a value; None when it can be used."""
        if UNSAFE.search(value):
            return "holds a quote, a brace, a backslash, `$` or a line break, which a component document cannot carry"
        if self.type == "integer":
            if not re.fullmatch(r"-?\d{1,9}", value):
                return "is not a whole number"
            if self.minimum is not None and int(value) < self.minimum:
                return f"is less than {self.minimum}"
            if self.maximum is not None and int(value) > self.maximum:
                return f"is more than {self.maximum}"
        if self.type == "flag" and value not in {"true", "false"}:
            return "is neither true nor false"
        if self.pattern is not None and self.type in {"text", "words"}:
            words = [word for word in re.split(r"[,\s]+", value) if word] if self.type == "words" else [value]
            for word in words:
                if not re.fullmatch(self.pattern, word):
                    return f"does not match {self.pattern}"
        return None


@dataclass(frozen=True, slots=True)
class Baseline:
    """The rules and values chosen for one operating system."""

    name: str
    title: Title
    os_id: str
    os_version: str
    parameters: Mapping[str, str]
    excluded: Mapping[str, str]
    """Rule id to the reason why this operating system is not judged by it."""
    editions: tuple[str, ...] = ()
    """Keys of the editions whose controls a run answers; none: all of them."""
    off: frozenset[str] = frozenset()
    """Those of `excluded` that a user has switched off: the scripts leave them alone."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that hardening/ says, resolved."""

    folder: Path
    rules: Mapping[str, Rule]
    parameters: Mapping[str, Parameter]
    baselines: Mapping[str, Baseline]
    subjects: tuple[str, ...] = field(default=())
    editions: Mapping[str, Edition] = field(default_factory=dict)
    """The standards whose controls are known one by one; of CIS only the numbers of sections are."""
    site: Path | None = None
    """The folder with a user's own content."""
    site_subjects: frozenset[str] = frozenset()

    def root_of(self, subject: str) -> Path:
        """Return the folder that a subject's script and files lie in: ours, or the user's."""
        return self.site if self.site is not None and subject in self.site_subjects else self.folder

    def component(self, name: str) -> Path:
        """Return the source of a component document. Raises ContentError that lists the known ones."""
        folders = [folder for folder in (self.folder, self.site) if folder is not None]
        for folder in folders:
            if (path := folder / "components" / f"{name}.yml").is_file():
                return path
        known = [path.stem for folder in folders for path in sorted((folder / "components").glob("*.yml"))]
        raise ContentError(
            f"there is no component `{name}`",
            hint=f'known: {", ".join(known)}; a document of your own: component "{name}" {{ source = … }}',
        )

    @property
    def suites(self) -> tuple[Path, ...]:
        """The folders of a user's own suites; ours are known to the plug-in of pytest."""
        return (self.site / "verify",) if self.site is not None and self.site_subjects else ()

    def baseline(self, name: str) -> Baseline:
        """Return a baseline by name. Raises UsageError that lists the known ones."""
        try:
            return self.baselines[name]
        except KeyError:
            raise UsageError(f"there is no baseline `{name}`", hint=f"known baselines: {', '.join(self.baselines)}") from None

    def counting(self, baseline: Baseline) -> tuple[str, ...]:
        """Return the keys of the editions that a baseline is answered by: those that it names, else every one."""
        return tuple(key for key in self.editions if not baseline.editions or key in baseline.editions)

    def rule(self, rule_id: str) -> Rule:
        """Return a rule by id. Raises UsageError with the nearest ids."""
        try:
            return self.rules[rule_id]
        except KeyError:
            near = get_close_matches(rule_id, self.rules, n=3)
            raise UsageError(
                f"there is no rule `{rule_id}`", hint=f"did you mean {', '.join(near)}?" if near else "`harness rules` lists them"
            ) from None

    def values(self, baseline: Baseline, overrides: Mapping[str, str]) -> dict[str, str]:
        """Unite a baseline's values with a user's. Raises ContentError for an unknown name or an impossible value."""
        for name, value in overrides.items():
            parameter = self.parameters.get(name)
            if parameter is None:
                near = get_close_matches(name, self.parameters, n=3)
                raise ContentError(
                    f"there is no parameter `{name}`",
                    hint=f"did you mean {', '.join(near)}?" if near else "`harness rules` lists the parameters of each rule",
                )
            if problem := parameter.problem(value):
                raise ContentError(f"parameter {name} = `{value}` {problem}", hint=parameter.description)
        return {**baseline.parameters, **overrides}


def load(folder: Path = CONTENT, site: Path | None = None) -> Catalog:
    """Load controls, rules and baselines, and a user's own rules. Raises ContentError with file and line for whatever does not resolve.

    What comes with harness is read and checked once for each version of it; a user's own rules every time.
    """
    ours = catalogcache.cached(folder, lambda: loaded(folder)) if folder == CONTENT else loaded(folder)
    return ours if site is None else extended(ours, site)


def loaded(folder: Path) -> Catalog:
    """Read and check what comes with harness."""
    editions = controls.load(folder / "controls", STANDARDS)
    rules: dict[str, Rule] = {}
    parameters: dict[str, Parameter] = {}
    subjects: list[str] = []
    add_files(folder, rules, parameters, subjects, editions, own=True)
    if problems := controls.unanswered(editions.values(), rules.values()):
        raise ContentError(problems[0], hint="change its `answer`, or the `controls` of the rules", at=Location(folder / "controls"))
    baselines = {path.stem: load_baseline(path, rules, parameters) for path in sorted((folder / "baselines").glob("*.yaml"))}
    return Catalog(
        folder=folder,
        rules=MappingProxyType(rules),
        parameters=MappingProxyType(parameters),
        baselines=MappingProxyType(baselines),
        subjects=tuple(subjects),
        editions=MappingProxyType(editions),
    )


def extended(ours: Catalog, site: Path) -> Catalog:
    """Return a catalogue with the rules of a user's folder as well; their parameters have the same value in every baseline."""
    rules, parameters, subjects = dict(ours.rules), dict(ours.parameters), list(ours.subjects)
    add_files(site, rules, parameters, subjects, ours.editions, own=False)
    defaults = {name: one.default for name, one in parameters.items() if one.default is not None}
    return replace(
        ours,
        rules=MappingProxyType(rules),
        parameters=MappingProxyType(parameters),
        baselines=MappingProxyType(
            {name: replace(one, parameters=MappingProxyType({**one.parameters, **defaults})) for name, one in ours.baselines.items()}
        ),
        subjects=tuple(subjects),
        site=site,
        site_subjects=frozenset(subjects) - frozenset(ours.subjects),
    )


def add_files(  # noqa: PLR0913 - the parts of a catalogue
    root: Path,
    rules: dict[str, Rule],
    parameters: dict[str, Parameter],
    subjects: list[str],
    editions: Mapping[str, Edition],
    *,
    own: bool,
) -> None:
    """Read every file of rules/ below a folder: ours (`own`), or a user's."""
    from harness import specs

    for path in sorted((root / "rules").glob("*.yaml")):
        document = locatedyaml.load(path)
        if not SUBJECT.fullmatch(path.stem) or path.stem in subjects:
            hint = "one word of lower-case letters that no other subject has"
            raise ContentError(f"`{path.stem}` cannot be a subject", hint=hint, at=document.at())
        subjects.append(path.stem)
        spec = specs.validated(specs.RuleFileSpec, document)
        add_parameters(parameters, spec, document, own=own)
        for index, one in enumerate(spec.rules):
            if one.id.startswith(SITE) is own:
                hint = "site-… is reserved for users" if own else "rules of your own are called site-…"
                raise ContentError(f"`{one.id}` cannot be the id of a rule here", hint=hint, at=document.at("rules", index, "id"))
            add_rule(rules, one, document, index, editions)
            for name in one.parameters:
                if name not in parameters or parameters[name].subject != path.stem:
                    raise ContentError(
                        f"rule {one.id} names a parameter that this file does not declare: {name}",
                        hint="declare it under `parameters:` of the same file",
                        at=document.at("rules", index, "parameters"),
                    )


def add_parameters(parameters: dict[str, Parameter], spec: RuleFileSpec, document: Located, *, own: bool) -> None:
    """Check and add the parameters of one file; a user's bring their value with them."""
    for name, one in spec.parameters.items():
        at = document.at("parameters", name)
        if not PARAMETER_NAME.fullmatch(name):
            raise ContentError(f"`{name}` is no parameter name: 3 to 128 lower-case letters, digits and underscores", at=at)
        if name in parameters:
            raise ContentError(f"parameter `{name}` is declared by {parameters[name].subject} too", at=at)
        if name.startswith("site_") is own:
            raise ContentError(
                f"`{name}` cannot be a parameter here", hint="parameters of your own rules are called site_…, and no others are", at=at
            )
        if (one.default is None) is not own:
            hint = "a baseline gives the value" if own else "no baseline knows it: give the value as `default`"
            raise ContentError(f"parameter `{name}`: {'`default` cannot stand here' if own else '`default` is missing'}", hint=hint, at=at)
        parameters[name] = Parameter(name=name, subject=document.path.stem, **one.model_dump())
        if one.default is not None and (problem := parameters[name].problem(one.default)):
            raise ContentError(f"{name} = `{one.default}` {problem}", at=document.at("parameters", name, "default"))


def add_rule(rules: dict[str, Rule], spec: RuleSpec, document: Located, index: int, editions: Mapping[str, Edition]) -> None:
    """Check one rule against what the schema cannot say, and add it."""
    place = document.at("rules", index, "id")
    if not RULE_ID.fullmatch(spec.id):
        raise ContentError(f"`{spec.id}` is no rule id: words joined by hyphens, such as ssh-root-login", at=place)
    if spec.id in rules:
        raise ContentError(f"rule `{spec.id}` exists already, in {rules[spec.id].subject}.yaml", at=place)
    if (set(spec.applies_to) != set(Environment)) != (spec.elsewhere is not None):
        raise ContentError(f"rule {spec.id}: `elsewhere` gives the reason exactly when `applies_to` leaves an environment out", at=place)
    rules[spec.id] = Rule(
        id=spec.id,
        subject=document.path.stem,
        title=Title(ko=spec.title.ko, en=spec.title.en),
        severity=spec.severity,
        rationale=" ".join(spec.rationale.split()),
        fix=" ".join(spec.fix.split()),
        controls=controls_of(spec, document, index, editions),
        applies_to=frozenset(spec.applies_to),
        elsewhere=spec.elsewhere,
        parameters=tuple(spec.parameters),
    )


def controls_of(spec: RuleSpec, document: Located, index: int, editions: Mapping[str, Edition]) -> tuple[Control, ...]:
    """Resolve the controls that a rule names."""
    found = []
    for key, ids in spec.controls.items():
        at = document.at("rules", index, "controls", key)
        if key not in STANDARDS:
            raise ContentError(f"rule {spec.id}: there is no standard `{key}`", hint=f"known: {', '.join(STANDARDS)}", at=at)
        standard, edition = STANDARDS[key]
        for control in ids:
            if not (control in editions[key].items if key in editions else CONTROL_ID[key].fullmatch(control)):
                raise ContentError(f"rule {spec.id}: {standard} {edition} has no `{control}`", at=at)
            found.append(Control(standard=standard, edition=edition, id=control))
    return tuple(found)


def load_baseline(path: Path, rules: Mapping[str, Rule], parameters: Mapping[str, Parameter]) -> Baseline:
    """Load one baseline: a value for every parameter, and reasons for what it leaves out."""
    from harness import specs

    document = locatedyaml.load(path)
    spec = specs.validated(specs.BaselineSpec, document)
    for name, value in spec.parameters.items():
        if name not in parameters:
            raise ContentError(f"no rule declares the parameter `{name}`", at=document.at("parameters", name))
        if problem := parameters[name].problem(value):
            raise ContentError(f"{name} = `{value}` {problem}", at=document.at("parameters", name))
    if missing := sorted(set(parameters) - set(spec.parameters)):
        raise ContentError(
            f"no value for {', '.join(missing)}", hint="a baseline gives every parameter its value", at=document.at("parameters")
        )
    for index, key in enumerate(spec.editions):
        if key not in STANDARDS:
            raise ContentError(f"there is no edition `{key}`", hint=f"known: {', '.join(STANDARDS)}", at=document.at("editions", index))
    for rule_id, reason in spec.excluded.items():
        if rule_id not in rules:
            raise ContentError(f"`{rule_id}` is no rule", at=document.at("excluded", rule_id))
        if not reason.strip():
            raise ContentError(f"{rule_id} is left out without a reason", at=document.at("excluded", rule_id))
    return Baseline(
        name=path.stem,
        title=Title(ko=spec.title.ko, en=spec.title.en),
        os_id=spec.os.id,
        os_version=spec.os.version_id,
        parameters=MappingProxyType(dict(spec.parameters)),
        excluded=MappingProxyType(dict(spec.excluded)),
        editions=tuple(spec.editions),
    )
