"""One walk over all resources, in the order in which they need each other: as a plan it only looks, as apply it makes things so.

Both are the same code, so a plan shows what apply does, and apply can be broken off anywhere and started again: what is there
already is found and kept. Client tokens follow from what is asked, so a request whose answer was lost is not done twice.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from harness.errors import PublishError
from publish import foundation as stacks
from publish import network, resources, tags, versions
from publish.aws import Refused
from publish.plan import LATER, Action, Change, Field, Plan, differences, tag_fields, with_volatile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.components import Rendered
    from publish.aws import Cloud
    from publish.resources import Foundation, Place, Publication

Json = dict[str, Any]

KEEP_VERSIONS: Final = 10
"""Recipes that stay, the wanted one and those for going back; older ones are retired with the components that only they use."""
FILTER_VALUES: Final = 10
RACES: Final = 20
NEW_PROFILE_SECONDS, NEW_PROFILE_TRIES = 5.0, 24
"""IAM tells the other services of a new instance profile within a minute or so."""


@dataclass(slots=True)
class Walk:
    """One pass over everything that is published."""

    cloud: Cloud
    publication: Publication
    place: Place
    expected: Plan | None = None
    """The plan that is to be carried out; None: only look."""
    say: Callable[[str], None] = lambda _: None
    plan: Plan = field(init=False)
    recipes: list[Json] = field(default_factory=list)
    """The versions that were there before this walk, the oldest first."""

    def __post_init__(self) -> None:
        """Begin with an empty plan."""
        self.plan = Plan(self.place.account, self.place.region)

    @property
    def applies(self) -> bool:
        """Whether this pass may change anything."""
        return self.expected is not None

    def run(self) -> Plan:
        """Walk, and return what was found to do, or was done. Raises the errors of harness.errors, and Refused."""
        publish = self.publication.publish
        if not self.applies and publish.subnet_id:
            vpc = publish.vpc_id
            self.plan.notes.append(network.check(self.cloud, vpc, publish.subnet_id, self.publication.at))
        foundation = self._foundation()
        arns = self._components(foundation)
        made = {"recipe": self._recipe(arns)}
        made["infrastructure"] = self._mutable(
            "infrastructure-configuration",
            "infrastructure",
            resources.infrastructure(self.publication, self.place, foundation),
            tags.VOLATILE,
        )
        made["distribution"] = self._mutable(
            "distribution-configuration", "distribution", resources.distribution(self.publication, self.place), tags.DATED
        )
        self._mutable("image-pipeline", "pipeline", resources.pipeline(self.publication, made, "ENABLED"), tags.DATED)
        policy = resources.lifecycle(self.publication, foundation)
        if policy is not None:
            self._mutable("lifecycle-policy", "lifecycle policy", policy, tags.VOLATILE)
        self._retire()
        return self.plan

    def _does(self, change: Change) -> bool:
        """Enter a change; tell whether it is to be made now. Raises PublishError when the plan says something else."""
        self.plan.changes.append(change)
        if self.expected is None or change.action is Action.KEEP:
            return False
        planned = [one for one in self.expected.changes if (one.kind, one.name) == (change.kind, change.name)]
        rebuilt = change.kind == "infrastructure" and self.plan.changes[0].action is not Action.KEEP
        if not rebuilt and not any(_same(one, change) for one in planned):
            raise PublishError(
                f"the {change.kind} {change.name} changed since the plan was made: somebody else publishes, too",
                hint="run again to see the new plan",
            )
        self.say(f"{change.action.value} {change.kind} {change.name}")
        return True

    def _foundation(self) -> Foundation:
        stack = stacks.Stack(self.cloud, self.publication, self.place)
        stack.read()
        parameters = stack.wanted_parameters()
        change = stack.change(parameters)
        bucket = self.publication.publish.log_bucket
        if change.action is not Action.KEEP and bucket and not stack.has_bucket(bucket):
            raise PublishError(f"there is no bucket {bucket}", hint="make it, or leave log_bucket out")
        if self._does(change):
            stack.deploy(change, parameters)
        return stack.foundation()

    def _components(self, foundation: Foundation) -> list[str]:
        publication = self.publication
        names = [publication.component(document) for document in publication.documents]
        listed: dict[str, list[Json]] = {name: [] for name in names}
        for start in range(0, len(names), FILTER_VALUES):
            chosen = [{"name": "name", "values": names[start : start + FILTER_VALUES]}]
            for one in self.cloud.pages("imagebuilder", "list_components", "componentVersionList", owner="Self", filters=chosen):
                listed.setdefault(one["name"], []).append(one)
        return [self._component(document, foundation, listed[publication.component(document)]) for document in publication.documents]

    def _component(self, document: Rendered, foundation: Foundation, listed: list[Json]) -> str:
        """Return the ARN of the build that holds a document, making it when there is none."""
        request = resources.component(self.publication, document)
        fitting = [one for one in listed if versions.digest_in(one.get("description", "")) == document.sha256]
        if not fitting:
            fitting = self._unlisted("get_component", "componentBuildVersionArn", "component", request["name"], listed)
            listed = [*listed, *fitting]
        for one in sorted(fitting, key=lambda found: versions.of_arn(found["arn"]), reverse=True):
            found = self._holding(one["arn"], document)
            if found is not None:
                spelled = versions.spell(versions.of_arn(found["arn"]))
                self._does(Change(Action.KEEP, "component", request["name"], found["arn"], note=spelled))
                return str(found["arn"])
        version = versions.following(versions.of_arn(one["arn"]) for one in listed)
        before = max((versions.of_arn(one["arn"]) for one in listed), default=None)
        long = resources.by_uri(document)
        note = f"sha256:{document.sha256[:12]}…" + (", by S3" if long else "")
        fields = (Field("version", versions.spell(before) if before else None, versions.spell(version)),)
        if not self._does(Change(Action.CREATE, "component", request["name"], fields=fields, note=note)):
            return f"{self.place.arn('component', request['name'], versions.spell(version))}/1"
        return self._make_component(document, request, version, foundation)

    def _unlisted(self, operation: str, key: str, kind: str, name: str, listed: list[Json]) -> list[Json]:
        """Return the versions after the listed ones: lists may lag behind by two minutes, asking by ARN does not."""
        version = versions.following(versions.of_arn(one["arn"]) for one in listed)
        found: list[Json] = []
        while True:
            answer = self.cloud.find("imagebuilder", operation, **{key: self.place.arn(kind, name, versions.spell(version))})
            if answer is None:
                return found
            found.append(next(body for body in answer.values() if isinstance(body, dict) and "arn" in body))
            version = versions.following([version])

    def _holding(self, arn: str, document: Rendered) -> Json | None:
        """Return the component behind an ARN if it holds the very bytes; None for another one, or none. Raises PublishError."""
        answer = self.cloud.find("imagebuilder", "get_component", componentBuildVersionArn=arn)
        if answer is None:
            return None
        found: Json = answer["component"]
        if not tags.is_ours(found.get("tags", {}), self.publication.publish.project_name):
            raise stacks.taken("component", found.get("name", arn))
        same = found.get("tags", {}).get(tags.DOCUMENTS) == f"sha256:{document.sha256}"
        systems = found.get("supportedOsVersions", [self.publication.base_image]) == [self.publication.base_image]
        data = found.get("data")
        if data is not None and (hashlib.sha256(data.encode()).hexdigest() == document.sha256) != same:
            raise PublishError(
                f"the component {arn} does not hold the document that its tags name",
                hint="delete that version; it is not what was verified",
            )
        return found if same and systems else None

    def _make_component(self, document: Rendered, request: Json, version: versions.Version, foundation: Foundation) -> str:
        content = self._content(document, foundation)
        name, fresh = request["name"], ""
        for _ in range(RACES):
            spelled = versions.spell(version)
            # Lists lag behind by up to two minutes: the version that looks free may be taken.
            there = self.cloud.find("imagebuilder", "get_component", componentBuildVersionArn=self.place.arn("component", name, spelled))
            if there is not None:
                found = self._holding(there["component"]["arn"], document)
                if found is not None:
                    return str(found["arn"])
                version = versions.following([version])
                continue
            asked = {**request, **content, "semanticVersion": spelled}
            try:
                answer = self.cloud.call("imagebuilder", "create_component", **asked, clientToken=token(asked, fresh))
                arn = str(answer["componentBuildVersionArn"])
            except Refused as refused:
                arn = arn_in(refused)
                if not refused.taken or not arn:
                    raise
            found = self._holding(arn, document)
            if found is None:
                # The token was used for a component that is gone since.
                fresh = secrets.token_hex(8)
            elif versions.build_of(arn) == 1:
                return arn
            else:
                # Somebody else made this version of other content a moment ago; a version has one content here.
                self.cloud.find("imagebuilder", "delete_component", componentBuildVersionArn=arn)
                version, fresh = versions.following([version]), secrets.token_hex(8)
        raise PublishError(f"no free version for the component {name}", hint="does somebody else publish all the time?")

    def _content(self, document: Rendered, foundation: Foundation) -> Json:
        """Return a document as part of the request, or where it was put when it is too long for that."""
        if not resources.by_uri(document):
            return {"data": document.data.decode()}
        where: Json = {"Bucket": foundation.log_bucket, "Key": resources.key_of(document), "ExpectedBucketOwner": self.place.account}
        if self.cloud.find("s3", "head_object", **where) is None:
            checksum = base64.b64encode(hashlib.sha256(document.data).digest()).decode()
            try:
                self.cloud.call("s3", "put_object", **where, Body=document.data, ChecksumSHA256=checksum, ContentType="application/yaml")
            except Refused as refused:
                if refused.absent or refused.denied:
                    message = f"the bucket {foundation.log_bucket} does not take documents: {refused.message or refused.code}"
                    raise PublishError(message, hint="is it this account's, and may you write to components/*?") from None
                raise
        return {"uri": f"s3://{where['Bucket']}/{where['Key']}"}

    def _recipe(self, arns: list[str]) -> str:
        """Return the ARN of the recipe that is the wanted one, making the next version when there is none."""
        request = resources.recipe(self.publication, self.place, arns)
        name, there = request["name"], self._recipes()

        def same() -> list[Json]:
            return [one for one in there if one.get("tags", {}).get(tags.RECIPE) == request["tags"][tags.RECIPE]]

        if not same():
            there += self._unlisted("get_image_recipe", "imageRecipeArn", "image-recipe", name, there)
        self.recipes, fitting = there, same()
        newest = self._get_recipe(there[-1]["arn"]) if there else None
        for one in reversed(fitting):
            found = newest if newest and newest["arn"] == one["arn"] else self._get_recipe(one["arn"])
            if found is not None and not differences("CreateImageRecipe", request, found):
                note = versions.spell(versions.of_arn(found["arn"]))
                self._does(Change(Action.KEEP, "recipe", name, found["arn"], note=note))
                return str(found["arn"])
        version = versions.spell(versions.following(versions.of_arn(one["arn"]) for one in there))
        fields = differences("CreateImageRecipe", request, newest) if newest else ()
        if not self._does(Change(Action.CREATE, "recipe", name, fields=fields, note=version)):
            return self.place.arn("image-recipe", name, version)
        # The service itself takes the next free patch number, so two publishers never get the same one.
        asked = {**request, "semanticVersion": f"{version.rpartition('.')[0]}.x"}
        base = str(there[-1]["arn"]) if there else ""
        answer = self.cloud.call("imagebuilder", "create_image_recipe", **asked, clientToken=token(asked, base))
        if self._get_recipe(answer["imageRecipeArn"]) is None:
            answer = self.cloud.call("imagebuilder", "create_image_recipe", **asked, clientToken=secrets.token_hex(16))
        return str(answer["imageRecipeArn"])

    def _recipes(self) -> list[Json]:
        chosen = [{"name": "name", "values": [self.publication.stem]}]
        found = self.cloud.pages("imagebuilder", "list_image_recipes", "imageRecipeSummaryList", owner="Self", filters=chosen)
        return sorted(found, key=lambda one: versions.of_arn(one["arn"]))

    def _get_recipe(self, arn: str) -> Json | None:
        answer = self.cloud.find("imagebuilder", "get_image_recipe", imageRecipeArn=arn)
        if answer is None:
            return None
        found: Json = answer["imageRecipe"]
        if not tags.is_ours(found.get("tags", {}), self.publication.publish.project_name):
            raise stacks.taken("recipe", found.get("name", arn))
        return found

    def _mutable(self, kind: str, word: str, request: Json, volatile: frozenset[str]) -> str:
        """Bring a resource that can be changed to what the request says; return its ARN."""
        shape = "".join(part.capitalize() for part in kind.split("-"))
        snake, member = kind.replace("-", "_"), shape[0].lower() + shape[1:]
        arn, name = self.place.arn(kind, request["name"]), request["name"]
        found = self._get(snake, member, arn)
        if found is None:
            if not self._does(Change(Action.CREATE, word, name)):
                return arn
            return self._create(snake, member, request)
        if not tags.is_ours(found.get("tags", {}), self.publication.publish.project_name):
            raise stacks.taken(word, name)
        if kind == "image-pipeline" and found.get("status") == "DISABLED":
            request = {**request, "status": "DISABLED"}
            self.plan.notes.append(f"the pipeline {name} is disabled in AWS, and stays so")
        wanted = with_volatile(request, found, volatile)
        fields = differences(f"Create{shape}", wanted, found)
        changed_tags = tags.missing(request["tags"], found.get("tags", {}), volatile)
        told = fields + tag_fields(changed_tags, found.get("tags", {}))
        stale = [key for key in (tags.EXCEPTION, tags.EVIDENCE) if key in found.get("tags", {}) and key not in request["tags"]]
        if kind in {"image-pipeline", "distribution-configuration"} and stale:
            told += tuple(Field(f"tags.{key}", found["tags"][key], None) for key in stale)
        else:
            stale = []
        if self._does(Change(Action.UPDATE if told else Action.KEEP, word, name, found["arn"], told)):
            if fields:
                body = {key: value for key, value in request.items() if key not in {"tags", "name"}}
                asked = {**body, f"{member}Arn": found["arn"]}
                stamp = str(found.get("dateUpdated") or found.get("dateCreated") or "")
                self._with_profile(f"update_{snake}", {**asked, "clientToken": token(asked, stamp)})
            if changed_tags:
                self.cloud.call("imagebuilder", "tag_resource", resourceArn=found["arn"], tags=changed_tags)
            if stale:
                self.cloud.call("imagebuilder", "untag_resource", resourceArn=found["arn"], tagKeys=stale)
        return str(found["arn"])

    def _get(self, snake: str, member: str, arn: str) -> Json | None:
        answer = self.cloud.find("imagebuilder", f"get_{snake}", **{f"{member}Arn": arn})
        if answer is None:
            return None
        found: Json = answer[member]
        return {**found, "arn": found.get("arn", arn)}

    def _create(self, snake: str, member: str, request: Json) -> str:
        try:
            answer = self._with_profile(f"create_{snake}", {**request, "clientToken": token(request, "")})
        except Refused as refused:
            if not refused.taken:
                raise
            raise PublishError(
                f"{request['name']} was made by somebody else a moment ago", hint="run again; the plan then shows what differs"
            ) from None
        arn = str(answer[f"{member}Arn"])
        if self._get(snake, member, arn) is None:
            # The token was used for one that is gone since.
            answer = self._with_profile(f"create_{snake}", {**request, "clientToken": secrets.token_hex(16)})
            arn = str(answer[f"{member}Arn"])
        return arn

    def _with_profile(self, operation: str, request: Json) -> Json:
        """Do it, waiting for an instance profile that is new."""
        for attempt in range(NEW_PROFILE_TRIES):
            try:
                return self.cloud.call("imagebuilder", operation, **request)
            except Refused as refused:
                if "instance profile does not exist" not in refused.message or attempt + 1 == NEW_PROFILE_TRIES:
                    raise
            self.cloud.sleep(NEW_PROFILE_SECONDS)
        raise AssertionError  # pragma: no cover - the loop returns or raises

    def _retire(self) -> None:
        """Remove recipes beyond the newest ones, and the components that no recipe uses any more."""
        wanted = {change.arn for change in self.plan.changes if change.kind == "recipe"}
        others = [one for one in self.recipes if one["arn"] not in wanted]
        for one in others[: -(KEEP_VERSIONS - 1)]:
            if not tags.is_ours(one.get("tags", {}), self.publication.publish.project_name):
                continue
            version = versions.spell(versions.of_arn(one["arn"]))
            found = self._get_recipe(one["arn"])
            if found and self._does(Change(Action.RETIRE, "recipe version", f"{self.publication.stem} {version}", one["arn"])):
                self.cloud.find("imagebuilder", "delete_image_recipe", imageRecipeArn=one["arn"])
                for arn in self._own_components(found):
                    self._drop(arn)

    def _own_components(self, recipe: Json) -> Iterator[str]:
        for entry in recipe.get("components", ()):
            if f":{self.place.account}:component/" in entry["componentArn"]:
                yield str(entry["componentArn"])

    def _drop(self, arn: str) -> None:
        try:
            self.cloud.find("imagebuilder", "delete_component", componentBuildVersionArn=arn)
        except Refused as refused:
            # A younger recipe uses it as well.
            if refused.code != "ResourceDependencyException":
                raise


def _same(planned: Change, now: Change) -> bool:
    """Tell whether a change is the planned one; what was not known when the plan was made may be anything now."""
    if planned.action is not now.action:
        return planned.action is Action.UPDATE and now.action is Action.KEEP
    return all(any((one.path, one.before) == (was.path, was.before) for was in planned.fields) for one in now.fields)


def token(request: Json, salt: str) -> str:
    """Return the client token of a request: the same for the same, so that nothing is made twice."""
    return resources.digest_of({"request": request, "salt": salt})


def arn_in(refused: Refused) -> str:
    """Return the ARN that a refusal names; empty for none."""
    match = re.search(r"arn:aws[^\s']*:imagebuilder:[^\s']+[0-9a-z]", refused.message)
    return match[0] if match else ""


__all__ = ["KEEP_VERSIONS", "LATER", "Walk"]
