"""Removing what we own: listed first, then in the order in which things depend on each other. Images, logs and evidence stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from harness.errors import PublishError
from publish import foundation, tags
from publish.aws import Refused
from publish.plan import Action, Change, Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from publish.aws import Cloud
    from publish.resources import Place, Publication

Json = dict[str, Any]

SINGLE: Final = (
    ("image-pipeline", "pipeline", "imagePipeline"),
    ("lifecycle-policy", "lifecycle policy", "lifecyclePolicy"),
)
CONFIGURATIONS: Final = (
    ("distribution-configuration", "distribution", "distributionConfiguration"),
    ("infrastructure-configuration", "infrastructure", "infrastructureConfiguration"),
)
DELETE: Final = {
    "recipe": ("delete_image_recipe", "imageRecipeArn"),
    "component": ("delete_component", "componentBuildVersionArn"),
    "pipeline": ("delete_image_pipeline", "imagePipelineArn"),
    "lifecycle policy": ("delete_lifecycle_policy", "lifecyclePolicyArn"),
    "distribution": ("delete_distribution_configuration", "distributionConfigurationArn"),
    "infrastructure": ("delete_infrastructure_configuration", "infrastructureConfigurationArn"),
}
KEPT: Final = "images and AMIs, the log bucket and the log groups stay: they are evidence"


@dataclass(slots=True)
class Demolition:
    """What belongs to one source of a project, and its foundation once no other source needs it."""

    cloud: Cloud
    publication: Publication
    place: Place

    def plan(self) -> Plan:
        """List what would be removed, in order; nothing that harness did not make for this project is on it."""
        found = Plan(self.place.account, self.place.region, notes=[KEPT])
        found.changes += [*self._singles(SINGLE), *self._recipes(), *self._components(), *self._singles(CONFIGURATIONS)]
        stack = foundation.Stack(self.cloud, self.publication, self.place)
        stack.read()
        if stack.found is not None and tags.is_ours(stack.tags, self.publication.publish.project_name):
            name = foundation.stack_name(self.publication)
            others = sorted(self._others())
            action = Action.KEEP if others else Action.RETIRE
            note = f"used by {', '.join(others)}" if others else ""
            found.changes.append(Change(action, "foundation", name, str(stack.found["StackId"]), note=note))
        return found

    def carry_out(self, plan: Plan, say: Callable[[str], None]) -> None:
        """Remove what the plan lists; what is gone already is no trouble. Raises Refused and PublishError."""
        for change in plan.changes:
            if change.action is not Action.RETIRE:
                continue
            say(f"remove {change.kind} {change.name}")
            if change.kind == "foundation":
                self._remove_stack(change.name)
                continue
            operation, key = DELETE[change.kind]
            try:
                self.cloud.find("imagebuilder", operation, **{key: change.arn})
            except Refused as refused:
                if refused.code == "ResourceDependencyException":
                    raise PublishError(
                        f"{change.kind} {change.name} is used by something that harness did not make: {refused.message}",
                        hint="remove that first",
                    ) from None
                raise

    def _mine(self, found: Json) -> bool:
        return tags.is_ours(found.get("tags", {}), self.publication.publish.project_name)

    def _singles(self, kinds: tuple[tuple[str, str, str], ...]) -> Iterator[Change]:
        for kind, word, member in kinds:
            arn = self.place.arn(kind, self.publication.stem)
            answer = self.cloud.find("imagebuilder", f"get_{kind.replace('-', '_')}", **{f"{member}Arn": arn})
            if answer is not None and self._mine(answer[member]):
                yield Change(Action.RETIRE, word, self.publication.stem, arn)

    def _recipes(self) -> Iterator[Change]:
        chosen = [{"name": "name", "values": [self.publication.stem]}]
        for one in self.cloud.pages("imagebuilder", "list_image_recipes", "imageRecipeSummaryList", owner="Self", filters=chosen):
            if self._mine(one):
                yield Change(Action.RETIRE, "recipe", f"{one['name']} {one['arn'].rpartition('/')[2]}", one["arn"])

    def _components(self) -> Iterator[Change]:
        for version in self.cloud.pages("imagebuilder", "list_components", "componentVersionList", owner="Self"):
            if not version["name"].startswith(f"{self.publication.stem}-"):
                continue
            where = {"componentVersionArn": version["arn"]}
            for build in self.cloud.pages("imagebuilder", "list_component_build_versions", "componentSummaryList", **where):
                if self._mine(build):
                    number = "/".join(build["arn"].split("/")[-2:])
                    yield Change(Action.RETIRE, "component", f"{build['name']} {number}", build["arn"])

    def _others(self) -> Iterator[str]:
        """Yield the other pipelines of the project."""
        for one in self.cloud.pages("imagebuilder", "list_image_pipelines", "imagePipelineList"):
            if self._mine(one) and one["name"] != self.publication.stem:
                yield one["name"]

    def _remove_stack(self, name: str) -> None:
        self.cloud.call("cloudformation", "delete_stack", StackName=name)
        stack = foundation.Stack(self.cloud, self.publication, self.place)
        stack.read()
        if stack.status == "DELETE_FAILED":
            raise PublishError(f"the stack {name} could not be removed", hint="its events in CloudFormation say why; then run again")
