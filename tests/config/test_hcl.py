"""Whatever stands in a file, reading it ends in syntax or in one ConfigError."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.config import BUNDLED, hcl, load
from harness.config.syntax import Literal, references
from harness.errors import ConfigError

PATH = Path("x.hcl")
EXAMPLE = BUNDLED.read_text("utf-8")
PIECES = [
    '"', "${", "$${", "%{", "}", "{", "[", "]", "(", ")", "\n", " ", "=", ":", ",", ".", "...", "[*]", ".*", "?", "=>", "::", "<<EOT\n",
    "<<-EOT\n", "EOT\n", "for", "in", "if", "null", "true", "var", ".x", "local", "1", "-", "0", "1e9", "1e999", "!", "&&", "||", "==",
    "<", "%", "#", "//", "/*", "*/", "\\", "\\u12", "\r", "\r\n", "\0", "\ufeff", "é", "variable", "locals", "source", '"container"',
    '"al2"', "try(", "format(", '"%d"', "merge(", "\t", "'",
]  # fmt: skip


@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(PIECES), max_size=40).map("".join)))
@example('a = "$${"\nb = "}"')
@example("a = <<A\n" * 30)
@example("a = " + "-" * 500 + "1")
@example("a = " + "x." * 500 + "x")
@example('a = "' + "${" * 70)
@example('a = "' + '${"' * 40 + '}"' * 40 + '"')
@example("a {" * 80 + "}" * 80)
@example("\\")
@example("a = \x0b")
@settings(max_examples=400, deadline=None)
def test_any_text_is_parsed_or_refused(text: str) -> None:
    refused = None
    try:
        hcl.parse(text, PATH)
    except ConfigError as error:
        refused = error
    if refused is not None:
        assert refused.hint
        assert refused.at is not None
        assert refused.at.line is not None
        assert 1 <= refused.at.line <= text.count("\n") + 2


@given(st.lists(st.tuples(st.integers(0, len(EXAMPLE)), st.integers(0, 30), st.sampled_from([*PIECES, ""])), min_size=1, max_size=3))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_example_is_loaded_or_refused(tmp_path: Path, damage: list[tuple[int, int, str]]) -> None:
    text = EXAMPLE
    for position, length, piece in damage:
        text = text[:position] + piece + text[position + length :]
    (tmp_path / "harness.hcl").write_text(text, "utf-8", newline="")
    refused = None
    try:
        load(None, variables={}, var_files=[], environ={}, cwd=tmp_path)
    except ConfigError as error:
        refused = error
    assert refused is None or refused.hint


@given(st.binary(max_size=60))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "harness.hcl").write_bytes(data)
    with pytest.raises(ConfigError):
        load(None, variables={}, var_files=[], environ={}, cwd=tmp_path)


def test_every_expression_knows_its_line() -> None:
    body = hcl.parse("a = [\n  1,\n\n  [\n    2,\n  ],\n]\nb = {\n  # c\n  k = 3\n}\n", PATH)
    assert [item.line for item in body.assignments] == [1, 8]
    outer = body.assignments[0].expression
    assert outer.line == 1
    assert [item.line for item in getattr(outer, "items", ())] == [2, 4]
    assert [pair[1] for pair in getattr(body.assignments[1].expression, "pairs", ())] == [Literal(3, 10)]


def test_references_are_found_wherever_they_stand() -> None:
    text = 'f(local.a, "${local.b ? [local.c] : { (local.d) = -local.e }}", local.f.g[local.h], var.x)'
    assert set(references(hcl.parse_expression(text, PATH), "local")) == set("abcdefh")
