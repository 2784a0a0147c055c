"""The steps of a phase: their keys, inputs, loops and conditions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.toe import conditions, loops, tree
from harness.toe.actions import ACTIONS, ASSERT, NAMES, WINDOWS_ONLY
from harness.toe.actions.base import did_you_mean
from harness.toe.document import DEFAULT_TIMEOUT, NO_TIMEOUT, OnFailure, Step
from harness.toe.expressions import NAME, has_reference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import StrEnum

    from harness.toe.reading import Findings
    from harness.toe.tree import Entries, Items, Node, Plain

_KEYS: Final = ("name", "action", "timeoutSeconds", "onFailure", "maxAttempts", "inputs", "loop", "if", "disableLogging")
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_MAP_OR_LIST: Final = "a map, or a list of maps"


@dataclass(frozen=True, slots=True)
class Draft:
    """A step together with the places of its texts."""

    step: Step
    nodes: tuple[Node, ...]
    """Where references may stand: inputs, loop, if."""


class StepReader:
    """Reads one phase."""

    def __init__(self, findings: Findings, phase: str) -> None:
        """Start with an empty phase."""
        self.findings, self.phase = findings, phase
        self.drafts: list[Draft] = []
        self.lines: dict[str, int] = {}
        self.loops: dict[str, int] = {}

    def read(self, items: Items | None) -> None:
        """Read all steps; those whose name or action cannot be told are left out, with a mistake noted."""
        for item in items or ():
            if (entries := self.findings.entries(item, f"a step of phase `{self.phase}`")) is not None:
                self._step(entries)

    def _step(self, entries: Entries) -> None:
        findings = self.findings
        name = findings.title(entries, f"a step of phase `{self.phase}`")
        what = f"step `{name}`" if name else "a step"
        findings.keys(entries, what, _KEYS, ("name", "action"))
        if name is not None and self.lines.setdefault(name, entries.line) != entries.line:
            findings.add(entries.line, f"{what} is there twice in phase `{self.phase}`, first on line {self.lines[name]}")
        action = self._action(entries, what)
        if name is None or action is None:
            return
        timeout = self._integer(entries, "timeoutSeconds", what, DEFAULT_TIMEOUT, "seconds above 0, or -1 for no limit")
        attempts = self._integer(entries, "maxAttempts", what, 1, "1 or more")
        if action == "ExecuteDocument" and (timeout not in {DEFAULT_TIMEOUT, NO_TIMEOUT} or attempts != 1):
            findings.add(entries.line, f"{what}: ExecuteDocument takes neither timeoutSeconds nor maxAttempts", "leave both out")
        loop_node, if_node, inputs_node = entries.get("loop"), entries.get("if"), entries.get("inputs")
        on_failure = self._choice(entries, "onFailure", what, OnFailure)
        reader = ConditionReader(findings, what)
        step = Step(
            name=name,
            phase=self.phase,
            action=action,
            line=entries.line,
            inputs=self._inputs(action, inputs_node, what, entries.line) if action != ASSERT else (),
            assertion=reader.assertion(inputs_node, entries.line) if action == ASSERT else None,
            condition=reader.condition(if_node) if if_node is not None else None,
            loop=self._loop(loop_node, what) if loop_node is not None else None,
            loop_as_written=_plain_map(loop_node),
            timeout_seconds=NO_TIMEOUT if action == "ExecuteDocument" else timeout,
            on_failure=OnFailure(on_failure or OnFailure.ABORT),
            max_attempts=attempts,
            disable_logging=self._flag(entries, "disableLogging", what),
        )
        self.drafts.append(Draft(step, tuple(node for node in (inputs_node, loop_node, if_node) if node is not None)))

    def _action(self, entries: Entries, what: str) -> str | None:
        name, node = self.findings.text(entries, "action", what), entries.get("action")
        if name is None or node is None:
            return None
        if name in WINDOWS_ONLY:
            self.findings.add(node.line, f"{what}: {name} runs on Windows only")
            return None
        if name not in NAMES:
            self.findings.add(
                node.line, f"{what}: there is no action `{name}`", did_you_mean(name, NAMES) or "see AWSTOE's list of action modules"
            )
            return None
        return name

    def _integer(self, entries: Entries, key: str, what: str, default: int, wanted: str) -> int:
        node = entries.get(key)
        if node is None:
            return default
        if not (isinstance(node, tree.Scalar) and node.tag == "int" and _INTEGER.fullmatch(node.text)):
            self.findings.add(node.line, f"`{key}` of {what} is no whole number", wanted)
            return default
        value = int(node.text)
        if value < 1 and not (key == "timeoutSeconds" and value == NO_TIMEOUT):
            self.findings.add(node.line, f"`{key}` of {what} is {value}", wanted)
            return default
        return value

    def _flag(self, entries: Entries, key: str, what: str) -> bool:
        node = entries.get(key)
        if node is None:
            return False
        if not isinstance(node, tree.Scalar) or node.text.lower() not in {"true", "false"}:
            self.findings.add(node.line, f"`{key}` of {what} is neither true nor false")
            return False
        return node.text.lower() == "true"

    def _choice(self, entries: Entries, key: str, what: str, choices: type[StrEnum]) -> str | None:
        node, text = entries.get(key), self.findings.text(entries, key, what)
        if node is None or text is None:
            return None
        if text not in {choice.value for choice in choices}:
            self.findings.add(node.line, f"`{key}` of {what} is `{text}`", f"one of {', '.join(choices)}")
            return None
        return text

    def _inputs(self, action: str, node: Node | None, what: str, line: int) -> tuple[Mapping[str, Plain], ...]:
        model = ACTIONS[action]
        if node is None or (isinstance(node, tree.Scalar) and node.tag == "null"):
            if model.required():
                self.findings.add(node.line if node else line, f"{what}: {action} needs inputs: {', '.join(model.required())}")
            return ({},)
        elements = node.items if isinstance(node, tree.Items) else (node,)
        if not elements:
            self.findings.add(node.line, f"{what}: the inputs of {action} are empty")
        if len(elements) > 1 and not model.many:
            self.findings.add(node.line, f"{what}: {action} takes one map of inputs, not {len(elements)}")
        result = []
        for element in elements:
            if not isinstance(element, tree.Entries):
                self.findings.add(element.line, f"{what}: inputs are {element.kind}, {_MAP_OR_LIST} was expected")
                continue
            plain = {key.text: tree.plain(value) for key, value in element.entries.items()}
            for mistake in model.mistakes(plain):
                key = element.key(mistake.key) if mistake.key else None
                self.findings.add(key.line if key else element.line, f"{what}: {mistake}", mistake.hint)
            result.append(plain)
        return tuple(result)

    def _loop(self, node: Node, what: str) -> loops.Loop | None:
        findings = self.findings
        entries = findings.entries(node, f"`loop` of {what}")
        if entries is None:
            return None
        findings.keys(entries, f"`loop` of {what}", ("name", "for", "forEach"))
        name = findings.title(entries, f"the loop of {what}")
        if name is not None and (not NAME.fullmatch(name) or name == "loop"):
            findings.add(entries.line, f"`{name}` cannot be the name of a loop", "3 to 128 letters, digits, - and _; not `loop`")
        if name is not None and self.loops.setdefault(name, entries.line) != entries.line:
            findings.add(entries.line, f"loop `{name}` is there twice in phase `{self.phase}`, first on line {self.loops[name]}")
        counted, each = entries.get("for"), entries.get("forEach")
        if (counted is None) == (each is None):
            findings.add(entries.line, f"`loop` of {what} needs either `for` or `forEach`")
            return None
        return self._counted(counted, name, what) if counted is not None else self._each(each, name, what)

    def _counted(self, node: Node, name: str | None, what: str) -> loops.Loop | None:
        entries = self.findings.entries(node, f"`for` of {what}")
        if entries is None:
            return None
        keys = ("start", "end", "updateBy")
        self.findings.keys(entries, f"`for` of {what}", keys, keys)
        numbers = []
        for key in keys:
            value = entries.get(key)
            if isinstance(value, tree.Scalar) and _INTEGER.fullmatch(value.text):
                numbers.append(int(value.text))
            elif value is not None:
                self.findings.add(value.line, f"`{key}` of {what} is no whole number", "references cannot stand here")
        if len(numbers) != len(keys):
            return None
        start, end, update_by = numbers
        if loops.never_ends(start, end, update_by):
            self.findings.add(entries.line, f"the loop of {what} never ends: from {start} to {end} by {update_by}")
            return None
        return loops.For(name, start, end, update_by)

    def _each(self, node: Node | None, name: str | None, what: str) -> loops.Loop | None:
        findings = self.findings
        if isinstance(node, tree.Items):
            findings.items(node, f"`forEach` of {what}")
            for item in node:
                if not isinstance(item, tree.Scalar):
                    findings.add(item.line, f"an entry of `forEach` of {what} is {item.kind}, a text was expected")
            return loops.ForEach(name, tuple(item.text for item in node if isinstance(item, tree.Scalar)))
        if not isinstance(node, tree.Entries):
            if node is not None:
                findings.add(node.line, f"`forEach` of {what} is {node.kind}", "a list, or a map of list and delimiter")
            return None
        findings.keys(node, f"`forEach` of {what}", ("list", "delimiter"), ("list",))
        text, delimiter = findings.text(node, "list", what), findings.text(node, "delimiter", what)
        if delimiter is not None and delimiter not in loops.DELIMITERS:
            findings.add(node.line, f"`delimiter` of {what} is {delimiter!r}", r"one of . , ; : - _, a blank, \n or \t in double quotes")
        return loops.ForEachOf(name, text, "," if delimiter is None else delimiter) if text is not None else None


class ConditionReader:
    """Reads `if` and the inputs of Assert."""

    def __init__(self, findings: Findings, what: str) -> None:
        """Remember what to call the step."""
        self.findings, self.what = findings, what

    def assertion(self, node: Node | None, line: int) -> conditions.Condition | None:
        """Read the inputs of Assert."""
        if node is None:
            self.findings.add(line, f"{self.what}: Assert needs inputs: a comparison")
            return None
        return self.one(node, "the inputs")

    def condition(self, node: Node) -> conditions.If | None:
        """Read an `if`."""
        node = _only(node)
        entries = self.findings.entries(node, f"`if` of {self.what}")
        if entries is None:
            return None
        branches = {}
        for key, default in (("then", conditions.Branch.EXECUTE), ("else", conditions.Branch.SKIP)):
            text = self.findings.text(entries, key, f"`if` of {self.what}")
            if text is not None and text not in set(conditions.Branch):
                self.findings.add(entries.line, f"`{key}` of {self.what} is `{text}`", f"one of {', '.join(conditions.Branch)}")
            branches[key] = conditions.Branch(text) if text in set(conditions.Branch) else default
        rest = tree.Entries({key: value for key, value in entries.entries.items() if key.text not in branches}, entries.line)
        found = self.one(rest, "`if`")
        return conditions.If(found, branches["then"], branches["else"]) if found is not None else None

    def one(self, node: Node, where: str, depth: int = 1) -> conditions.Condition | None:
        """Read one comparison or logical operator."""
        node = _only(node)
        if not isinstance(node, tree.Entries):
            self.findings.add(node.line, f"{where} of {self.what}: {node.kind} instead of one comparison")
            return None
        operators = [key for key in node.entries if key.text in conditions.COMPARISONS | conditions.LOGICAL]
        if len(operators) != 1:
            known = conditions.COMPARISONS | conditions.LOGICAL
            guess = next(filter(None, (did_you_mean(name, known) for name in node.names if name not in known)), None)
            said = "none" if not operators else " and ".join(key.text for key in operators)
            self.findings.add(
                node.line,
                f"{where} of {self.what} needs exactly one operator, and has {said}",
                guess if not operators else "join them with `and`",
            )
            return None
        key = operators[0]
        if key.text in conditions.LOGICAL:
            return self._logical(key.text, node, depth)
        return self._comparison(key.text, node)

    def _logical(self, operator: str, node: Entries, depth: int) -> conditions.Condition | None:
        self.findings.keys(node, f"`{operator}` of {self.what}", (operator,))
        if depth > conditions.MAX_DEPTH:
            self.findings.add(node.line, f"conditions of {self.what} are nested deeper than {conditions.MAX_DEPTH}")
            return None
        value = node.get(operator)
        if operator == "not" or value is None:
            found = self.one(value or node, "`not`", depth + 1)
            return conditions.Logical("not", (found,)) if found is not None else None
        items = self.findings.items(value, f"`{operator}` of {self.what}")
        parts = [self.one(item, f"`{operator}`", depth + 1) for item in items or ()]
        return conditions.Logical(operator, tuple(part for part in parts if part is not None)) if parts else None

    def _comparison(self, operator: str, node: Entries) -> conditions.Condition | None:
        other = "path" if operator in conditions.HASHES else "value" if operator in conditions.PAIRS else None
        keys = (operator, *([other] if other else []))
        self.findings.keys(node, f"`{operator}` of {self.what}", keys, keys)
        texts = [self.findings.text(node, key, self.what) for key in keys]
        if any(text is None for text in texts):
            return None
        baseline, *rest = (text or "" for text in texts)
        if operator == "patternMatches" and not has_reference(baseline) and (problem := conditions.pattern_problem(baseline)):
            self.findings.add(node.line, f"{self.what}: {problem}")
        if operator.startswith("number") and not has_reference(baseline) and not conditions.is_number(baseline):
            self.findings.add(
                node.line,
                f"{self.what}: `{baseline}` is no number, so {operator} would never hold",
                "digits, with a sign and a point if need be",
            )
        return conditions.Comparison(operator, baseline, *rest)


def _only(node: Node) -> Node:
    return node.items[0] if isinstance(node, tree.Items) and len(node.items) == 1 else node


def _plain_map(node: Node | None) -> Mapping[str, Plain] | None:
    plain = tree.plain(node) if node is not None else None
    return plain if isinstance(plain, dict) else None
