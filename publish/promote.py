"""Promoting an image: share its AMIs, point an SSM parameter at them, deprecate older ones; once, however often it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from harness.errors import PublishError, UsageError
from publish import resources, tags
from publish.plan import Action, Change, Field, Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.config.settings import Distribution
    from harness.model import Run
    from publish.aws import Cloud
    from publish.pipeline import Image
    from publish.resources import Place, Publication

Json = dict[str, Any]

GRACE: Final = timedelta(days=30)
"""Deprecated AMIs can be launched; new users no longer find them in lists from this day on."""
PROMOTED, WITHOUT_AUDIT = "Promoted", "PromotedWithoutAudit"


@dataclass(slots=True)
class Promotion:
    """One image on its way to its users."""

    cloud: Cloud
    publication: Publication
    place: Place
    image: Image
    now: datetime
    reason: str = ""
    """Why it is promoted without an audit; becomes a tag."""

    def check(self, run: Run | None) -> None:
        """Ask for a clean run on an instance of this very image, or for the reason why there is none. Raises UsageError, PublishError."""
        if self.image.status != "AVAILABLE":
            raise PublishError(f"{self.image.version} is {self.image.status}", hint="only an AVAILABLE image can be promoted")
        if self.reason:
            return
        if run is None:
            hint = "start an instance of it, `harness audit ssm://i-…`, then `harness promote --run evidence/…`"
            raise UsageError(f"no audit of an instance of {self.image.version} is named", hint=hint)
        made_from = {run.target.get(key, "") for key in ("image_id", "ami", "ami_id")} - {""}
        if not made_from & {ami for _, ami in self.image.amis}:
            told = ", ".join(sorted(made_from)) or "none that the run knows"
            raise PublishError(
                f"the run {run.id} is not of an instance of {self.image.version}: its AMI is {told}", hint="audit an instance of this image"
            )
        if not run.clean():
            raise PublishError(f"the run {run.id} has findings", hint="`harness report` shows them; a new image is needed")

    def carry_out(self, say: Callable[[str], None], *, apply: bool) -> Plan:
        """Return what changes, and change it when `apply`. Raises Refused."""
        plan = Plan(self.place.account, self.place.region)
        items = {item.region: item for item in resources.distributions(self.publication, self.place)}
        for region, ami in self.image.amis:
            for change, act in self._of_ami(region, ami, items.get(region)):
                plan.changes.append(change)
                if apply and change.action is not Action.KEEP:
                    say(f"{change.action.value} {change.kind} {change.name}")
                    act()
        return plan

    def _of_ami(self, region: str, ami: str, item: Distribution | None) -> list[tuple[Change, Callable[[], object]]]:
        steps = [self._tags(region, ami), self._parameter(region, ami)]
        if item is not None and item.share_with:
            steps.insert(0, self._sharing(region, ami, item))
        return [*steps, *self._older(region, ami)]

    def _sharing(self, region: str, ami: str, item: Distribution) -> tuple[Change, Callable[[], object]]:
        answer = self.cloud.call("ec2", "describe_image_attribute", region=region, ImageId=ami, Attribute="launchPermission")
        there = [value for entry in answer.get("LaunchPermissions", ()) for value in entry.values()]
        lacking = [who for who in item.share_with if who not in there and who != self.place.account]
        fields = (Field("shared with", there, [*there, *lacking]),) if lacking else ()
        add = [{_kind(who): who} for who in lacking]

        def act() -> object:
            return self.cloud.call(
                "ec2", "modify_image_attribute", region=region, ImageId=ami, Attribute="launchPermission", LaunchPermission={"Add": add}
            )

        return Change(Action.UPDATE if lacking else Action.KEEP, "sharing", f"{region} {ami}", fields=fields), act

    def _tags(self, region: str, ami: str) -> tuple[Change, Callable[[], object]]:
        found = self._describe(region, ImageIds=[ami])
        there = _tags_of(found[0]) if found else {}
        day = str(found[0].get("CreationDate", ""))[:10] if found else ""
        wanted = {PROMOTED: there.get(PROMOTED, self.now.date().isoformat()), **({WITHOUT_AUDIT: self.reason} if self.reason else {})}
        if day:
            # The moment of the build, as the mission spells dates.
            wanted["BuildDate"] = day
        changed = {key: value for key, value in wanted.items() if there.get(key) != value}
        fields = tuple(Field(f"tags.{key}", there.get(key), value) for key, value in changed.items())
        made = [{"Key": key, "Value": value} for key, value in changed.items()]
        change = Change(Action.UPDATE if changed else Action.KEEP, "tags", f"{region} {ami}", fields=fields)
        return change, lambda: self.cloud.call("ec2", "create_tags", region=region, Resources=[ami], Tags=made)

    def _parameter(self, region: str, ami: str) -> tuple[Change, Callable[[], object]]:
        name = parameter(self.publication)
        answer = self.cloud.find("ssm", "get_parameter", region=region, Name=name)
        before = str(answer["Parameter"]["Value"]) if answer else None
        action = Action.KEEP if before == ami else Action.UPDATE if before else Action.CREATE
        fields = (Field("value", before, ami),) if before != ami else ()
        request: Json = {"Name": name, "Value": ami, "Type": "String", "DataType": "aws:ec2:image", "Overwrite": True}
        change = Change(action, "parameter", f"{region} {name}", fields=fields)
        return change, lambda: self.cloud.call("ssm", "put_parameter", region=region, **request)

    def _older(self, region: str, ami: str) -> list[tuple[Change, Callable[[], object]]]:
        mine = [
            {"Name": "tag:Project", "Values": [self.publication.publish.project_name]},
            {"Name": "tag:ManagedBy", "Values": [tags.MANAGED_BY]},
            {"Name": "tag:BaseImage", "Values": [self.publication.base_image]},
        ]
        found = self._describe(region, Owners=["self"], Filters=mine)
        this = next((one for one in found if one["ImageId"] == ami), None)
        until = str(this["CreationDate"]) if this else ""
        old = [one for one in found if one["ImageId"] != ami and str(one["CreationDate"]) < until and not one.get("DeprecationTime")]
        at = self.now.astimezone(UTC) + GRACE
        return [self._deprecation(region, one, at) for one in sorted(old, key=lambda one: str(one["CreationDate"]))]

    def _deprecation(self, region: str, found: Json, at: datetime) -> tuple[Change, Callable[[], object]]:
        number = found["ImageId"]
        change = Change(Action.RETIRE, "AMI", f"{region} {number}", fields=(Field("deprecated at", None, f"{at:%Y-%m-%d}"),))
        return change, lambda: self.cloud.call("ec2", "enable_image_deprecation", region=region, ImageId=number, DeprecateAt=at)

    def _describe(self, region: str, **which: Any) -> list[Json]:  # noqa: ANN401 - as boto3
        found: list[Json] = self.cloud.call("ec2", "describe_images", region=region, **which)["Images"]
        return found


def parameter(publication: Publication) -> str:
    """Return the name of the SSM parameter that names the promoted AMI."""
    return f"/{publication.publish.project_name}/{resources.slug(publication.source)}/ami"


def _kind(who: str) -> str:
    return "UserId" if not who.startswith("arn:") else "OrganizationArn" if ":organization/" in who else "OrganizationalUnitArn"


def _tags_of(found: Json) -> Mapping[str, str]:
    return {one["Key"]: one["Value"] for one in found.get("Tags", ())}
