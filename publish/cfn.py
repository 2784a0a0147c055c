"""CloudFormation templates as data: the short forms of YAML read, conditions worked out, text that any YAML reader takes written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]


class Loader(yaml.SafeLoader):
    """Reads `!Ref x` as {"Ref": "x"} and `!Sub x` as {"Fn::Sub": "x"}."""


class Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and no references to earlier nodes."""

    def ignore_aliases(self, data: object) -> bool:
        """Write everything where it stands."""
        del data
        return True


def _short_form(loader: Loader, suffix: str, node: yaml.Node) -> Json:
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = str(value).split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    else:  # pragma: no cover - YAML has three kinds of nodes
        raise TypeError(node)
    return {name: value}


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Loader.add_multi_constructor("!", _short_form)
Dumper.add_representer(str, _text)


def load(text: str) -> Json:
    """Read a template."""
    found: Json = yaml.load(text, Loader=Loader)  # noqa: S506 - a safe loader with the short forms of CloudFormation
    return found


def dump(template: Json) -> str:
    """Write a template with the long forms."""
    return yaml.dump(template, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def resources(template: Json, parameters: Mapping[str, str]) -> dict[str, str]:
    """Return logical id and type of every resource that a stack with these parameters has."""
    declared = template.get("Parameters", {})
    values = {name: str(parameters.get(name, one.get("Default", ""))) for name, one in declared.items()}
    conditions = template.get("Conditions", {})

    def true(expression: object) -> bool:
        match expression:
            case {"Condition": str(name)}:
                return true(conditions[name])
            case {"Fn::Not": [inner]}:
                return not true(inner)
            case {"Fn::And": list(inner)}:
                return all(true(one) for one in inner)
            case {"Fn::Equals": [left, right]}:
                return value(left) == value(right)
            case _:
                raise ValueError(expression)

    def value(expression: object) -> str:
        return values[expression["Ref"]] if isinstance(expression, dict) else str(expression)

    return {
        name: str(one["Type"])
        for name, one in template["Resources"].items()
        if "Condition" not in one or true({"Condition": one["Condition"]})
    }
