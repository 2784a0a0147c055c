"""What a configuration says, checked and frozen: sources, builds with their components, publishing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

from harness.config.cron import six_fields
from harness.config.suggestions import did_you_mean
from harness.errors import Location, UsageError

Item = TypeVar("Item")


def _blank_is_unset(value: object) -> object:
    """Read `""` as not given, since that is how tfvars leave an optional key empty."""
    return None if value == "" else value


def _schedule(text: str) -> str:
    """Check the shape of a schedule; the text stays as it is written, see `Schedule.six_fields`."""
    six_fields(text)
    return text


def _principal(text: str) -> str:
    """Accept whom an AMI may be shared with: an account, an organization, an organizational unit."""
    if re.fullmatch(r"[0-9]{12}|arn:aws[a-z-]*:organizations::[0-9]{12}:(organization/o-[a-z0-9]+|ou/o-[a-z0-9]+/ou-[a-z0-9-]+)", text):
        return text
    raise ValueError("must be account ids of 12 digits, or ARNs of an organization or an organizational unit; never `all`")


def _topic(text: str | None) -> str | None:
    if text is None or re.fullmatch(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}", text):
        return text
    raise ValueError("must be the ARN of an SNS topic")


Frozen = Annotated[Mapping[str, Item], AfterValidator(lambda value: MappingProxyType(dict(value)))]
Optional = Annotated[str | None, BeforeValidator(_blank_is_unset)]
Principals = tuple[Annotated[str, AfterValidator(_principal)], ...]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,126}$")]
Region = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]+$")]


class Section(BaseModel):
    """A block of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    written: ClassVar[str]
    """How the block is written, for hints."""
    line: int = Field(repr=False)
    """Where it stands in the file."""


class Source(Section):
    """What hardening starts from."""

    written = 'source "container" "al2" { baseline = "al2" }'
    kind: Literal["container"]
    name: Word
    baseline: Word
    image: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][A-Za-z0-9._:/@-]*$")]
    """A reference as podman and docker take it; never begins with a dash."""
    engine: Literal["podman", "docker"] | None = None
    """None: the first one that works."""
    tls_verify: bool = True
    """False only for a registry on this machine, spoken to over plain HTTP."""

    @field_validator("tls_verify")
    @classmethod
    def _only_on_this_machine(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic's signature
        if value or re.match(r"(localhost|127(\.[0-9]+){3})(:[0-9]+)?/", info.data.get("image", "")):
            return value
        raise ValueError("= false is only for a registry on this machine: localhost or 127.x.x.x")

    @property
    def address(self) -> str:
        """Return what builds name it by."""
        return f"source.{self.kind}.{self.name}"


class Component(Section):
    """One component document of a build: one of ours, or a user's own with `source`."""

    written = 'component "name" { parameters = { … } }'
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_ -]{1,126}[A-Za-z0-9_-]$")]
    source: Path | None = None
    """Absolute; None for the documents that come with harness."""
    parameters: Frozen[str] = Field(default_factory=lambda: MappingProxyType({}))


class Build(Section):
    """Which components harden which sources, in their order."""

    written = 'build "golden" { sources = ["source.container.al2"] }'
    name: Word
    sources: tuple[str, ...] = Field(min_length=1)
    """Addresses, each of them a Source of the same Settings."""
    components: tuple[Component, ...]


class Schedule(Section):
    """When EC2 Image Builder starts the pipeline."""

    written = 'schedule { expression = "cron(0 2 ? * sun *)" }'
    expression: Annotated[str, AfterValidator(_schedule)]
    """As written; the five fields of old examples are accepted."""
    timezone: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9]{2,}(/[a-zA-Z0-9_+-]+)*$", min_length=3, max_length=100)] = "UTC"
    start_condition: Literal["EXPRESSION_MATCH_ONLY", "EXPRESSION_MATCH_AND_DEPENDENCY_UPDATES_AVAILABLE"] = (
        "EXPRESSION_MATCH_AND_DEPENDENCY_UPDATES_AVAILABLE"
    )

    @property
    def six_fields(self) -> str:
        """The expression in the form that the service takes."""
        return six_fields(self.expression)[0]

    @property
    def note(self) -> str | None:
        """What to tell about the difference between the two; None where there is none."""
        return six_fields(self.expression)[1]


class Distribution(Section):
    """One region that receives the AMI."""

    written = 'distribution "ap-northeast-2" { share_with = ["123456789012"] }'
    region: Region
    share_with: Principals = ()
    """Who may launch the AMI."""
    copy_to: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9]{12}$")], ...] = ()
    """Accounts that get a copy of their own."""
    kms_key_id: Optional = None
    """Key of the copy in this region."""
    ami_name: Optional = None
    ssm_parameter: Optional = None
    """Parameter that points to the newest AMI."""


class Publish(Section):
    """How the build goes to AWS. Keys that the block leaves out are taken from the variables of the same name."""

    written = 'publish "imagebuilder" { schedule { … } }'
    kind: Literal["imagebuilder"]
    aws_region: Annotated[Region | None, BeforeValidator(_blank_is_unset)] = None
    project_name: Word = "isms-golden-ami"
    environment: Word = "prod"
    vpc_id: Optional = None
    subnet_id: Optional = None
    kms_key_id: Optional = None
    instance_types: tuple[str, ...] = ("t3.medium",)
    allowed_principals: Principals = ()
    tags: Frozen[str] = Field(default_factory=lambda: MappingProxyType({}))
    """More tags; those of the project itself cannot be changed."""
    source: Optional = None
    """Name of the source whose build is published; None is the first."""
    parent_image: Optional = None
    """What the recipe starts from, where it is not Amazon's newest image."""
    root_volume_gib: Annotated[int, Field(ge=8, le=16_000)] = 20
    working_directory: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/-]+$")] = "/var/lib"
    """Where components run from: /tmp may be mounted noexec."""
    instance_profile: Optional = None
    """An existing instance profile; None: the foundation has one, with its role."""
    security_group: Optional = None
    """An existing security group; None: the foundation has one."""
    log_bucket: Optional = None
    """An existing bucket; None: the foundation has one."""
    log_kms_key_id: Optional = None
    """Key of the log groups; its policy must let CloudWatch Logs use it."""
    dashboard: bool = True
    sns_topic: Annotated[str | None, BeforeValidator(_blank_is_unset), AfterValidator(_topic)] = None
    """Is told of every image that is made or fails."""
    execution_role: Optional = None
    """Role that writes SSM parameters outside of /imagebuilder/."""
    share: Literal["build", "promote"] = "build"
    """When others may launch an AMI: as soon as it is built, or after `harness promote`."""
    keep_images: Annotated[int, Field(ge=1, le=1000)] | None = None
    """How many images a life-cycle policy leaves; None: it is somebody else's job."""
    schedule: Schedule | None = None
    distributions: tuple[Distribution, ...] = ()


class Gate(Section):
    """What evidence must be like before anything is published."""

    written = 'gate { signature = "required" keys = ["./evidence-key.pem.pub"] }'
    block: tuple[Literal["high", "medium", "low"], ...] = ("high", "medium", "low")
    """Severities whose `fail` closes the gate; an `error` always does."""
    max_age_hours: Annotated[int, Field(ge=1, le=8760)] = 168
    targets: tuple[str, ...] = ()
    """Names of sources; none: every source that a build hardens."""
    signature: Literal["required", "optional"] = "required"
    keys: tuple[Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00]+$")], ...] = ()
    """Public keys that are trusted: PEM files, relative to the configuration, or `awskms:` with a key's id."""
    environments: tuple[Literal["container", "vm"], ...] = ()
    """Where a run must have judged every rule that applies there; `vm` asks for `harness verify --vm`."""
    allow_standin: bool = False
    """Whether evidence from a stand-in may open the gate: for rehearsals only."""


class Site(Section):
    """A folder with rules, scripts, suites and components of the user's own."""

    written = 'site { folder = "./site" }'
    folder: Path
    """Absolute; it is there."""


class Off(Section):
    """A rule that a user switches off."""

    written = 'off "ssh-banner" { reason = "…" }'
    rule: Word
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=10)]
    """What reports print; an assessor asks for it."""


class Choice(Section):
    """What a user changes in a baseline, beside the values of parameters."""

    written = 'baseline "al2" { editions = ["isms-p", "kisa-unix-2026"] }'
    name: Word
    editions: tuple[str, ...] = ()
    """Standards whose controls a run answers; none: every one."""
    off: tuple[Off, ...] = ()


class Settings(BaseModel):
    """Everything that one configuration file says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    bundled: bool
    """Whether it is the file that comes with harness."""
    variables: Frozen[Any] = Field(repr=False)
    """Final values; those named in `sensitive` must not be printed."""
    sensitive: frozenset[str] = frozenset()
    sources: tuple[Source, ...]
    builds: tuple[Build, ...]
    publish: Publish | None = None
    gate: Gate | None = None
    site: Site | None = None
    baselines: tuple[Choice, ...] = ()

    def source(self, name: str | None = None) -> Source:
        """Return what `--target NAME` means: a name, `container.NAME` or `source.container.NAME`; None is the first source.

        Raises UsageError for a name that none or several have.
        """
        if name is None:
            return self.sources[0]
        found = [source for source in self.sources if name in {source.name, f"{source.kind}.{source.name}", source.address}]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"`{name}` is more than one source", hint=f"say which: {', '.join(source.address for source in found)}")
        known = ", ".join(source.name for source in self.sources)
        hint = did_you_mean(name, [source.name for source in self.sources], what="known sources")
        raise UsageError(f"there is no source `{name}` in {self.path}", hint=hint if known in hint else f"{hint} Known sources: {known}")

    def builds_of(self, source: Source) -> tuple[Build, ...]:
        """Return the builds that harden a source."""
        return tuple(build for build in self.builds if source.address in build.sources)

    def at(self, section: Section) -> Location:
        """Return where a block stands, for errors found later."""
        return Location(self.path, section.line)
