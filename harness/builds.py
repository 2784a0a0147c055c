"""What a build hardens a source with: its documents in their order, and the values that the configuration gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import components
from harness.errors import ContentError

if TYPE_CHECKING:
    from harness.catalog import Baseline, Catalog
    from harness.components import Rendered
    from harness.config.settings import Build, Settings, Source


def chosen_build(settings: Settings, source: Source | None) -> Build | None:
    """Return the build whose components harden a source: the first that names it; for a target by URI the first of all."""
    builds = settings.builds if source is None else settings.builds_of(source)
    return builds[0] if builds else None


def overrides_of(build: Build | None) -> dict[str, str]:
    """Return every parameter that the configuration sets for our documents."""
    if build is None:
        return {}
    return {name: value for component in build.components if component.source is None for name, value in component.parameters.items()}


def documents(content: Catalog, baseline: Baseline, build: Build | None) -> tuple[Rendered, ...]:
    """Render the documents of a build in its order: ours from their content, a user's as the bytes they are."""
    if build is None or not build.components:
        raise ContentError("the configuration builds nothing", hint='add a `component "isms_security_hardening" {}` to the build block')
    values = content.values(baseline, overrides_of(build))
    rendered: list[Rendered] = []
    for component in build.components:
        if component.source is not None:
            rendered.append(
                components.Rendered(
                    name=component.name, data=component.source.read_bytes(), subjects=(), parameters=dict(component.parameters)
                )
            )
            continue
        overrides = {name: values[name] for name in component.parameters}
        rendered.extend(components.render(content, component.name, baseline.parameters, overrides, off=baseline.off))
    return tuple(rendered)
