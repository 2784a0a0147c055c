"""The tags that every resource carries, and which of their differences count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from publish.resources import Publication

MANAGED_BY: Final = "isms-golden-ami harness"
DOCUMENTS, EVIDENCE, RECIPE, EXCEPTION = "DocumentDigest", "EvidenceDigest", "RecipeDigest", "GateException"
BUILD_DATE: Final = "{{imagebuilder:buildDate}}"
"""EC2 Image Builder puts the moment of the build in its place in the tags of what it makes (user guide, "Tag output resources")."""
VOLATILE: Final = frozenset({"BuildDate", EVIDENCE, EXCEPTION})
"""Say when and on what evidence a thing was made; no reason to change it."""
SHARED: Final = frozenset({"BuildDate", "BaseImage"})
"""As above for the foundation, which images of several base images share."""
DATED: Final = frozenset({"BuildDate"})
"""For the pipeline and what it puts on images: there the evidence is that of the latest publishing."""


def of_project(publication: Publication) -> dict[str, str]:
    """Return the tags of the mission, and who looks after the resource. A user's own come first and overrule none."""
    publish = publication.publish
    return {
        **publish.tags,
        "Name": f"{publish.project_name}-golden-ami",
        "Environment": publish.environment,
        "BuildDate": publication.today.isoformat(),
        "Purpose": "ISMS-Compliant-Golden-AMI",
        "Compliance": "ISMS-K-21.1",
        "BaseImage": publication.base_image,
        "Hardened": "true",
        "Project": publish.project_name,
        "ManagedBy": MANAGED_BY,
    }


def of_build(publication: Publication) -> dict[str, str]:
    """Return the tags of what belongs to one set of documents: which ones they are, and which evidence opened the gate."""
    evidence = {EVIDENCE: publication.evidence} if publication.evidence else {}
    exception = {EXCEPTION: publication.exception} if publication.exception else {}
    return {**of_project(publication), DOCUMENTS: publication.digest, **evidence, **exception}


def of_image(publication: Publication) -> dict[str, str]:
    """Return the tags of the AMIs: as of_build, dated by EC2 Image Builder itself."""
    return {**of_build(publication), "BuildDate": BUILD_DATE}


def is_ours(tags: Mapping[str, str], project: str) -> bool:
    """Tell whether a resource was made by harness for this project."""
    return tags.get("ManagedBy") == MANAGED_BY and tags.get("Project") == project


def missing(wanted: Mapping[str, str], there: Mapping[str, str], volatile: frozenset[str]) -> dict[str, str]:
    """Return the tags that have to be written: all of the wanted ones as soon as one that counts differs, else none."""
    differs = any(there.get(key) != value for key, value in wanted.items() if key not in volatile)
    return {key: value for key, value in wanted.items() if there.get(key) != value} if differs else {}
