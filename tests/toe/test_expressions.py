"""References are read as AWSTOE reads them, and values are put in place as text."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.toe.expressions import Chain, ExpressionError, External, LoopMember, Name, Reference, occurrences, parse, splice


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" Version ", Name("Version")),
        ("a-b_9", Name("a-b_9")),
        ("build.Step.outputs.stdout", Chain("build.Step", "outputs", None, "stdout")),
        ("build.Step one.inputs[12].source", Chain("build.Step one", "inputs", 12, "source")),
        ("build.v1.2.outputs.stdout", Chain("build.v1.2", "outputs", None, "stdout")),
        ("build.outputs.inputs.path", Chain("build.outputs", "inputs", None, "path")),
        ("loop.index", LoopMember("loop", "index")),
        ("hosts.value", LoopMember("hosts", "value")),
        ("env:IMAGE_PHASE", External("env", "IMAGE_PHASE")),
        ("context:osName", External("context", "osName")),
        ("aws:imds:instance-id", External("aws:imds", "instance-id")),
        ("aws:ssm:/a/b", External("aws:ssm", "/a/b")),
        ("aws:ssm:resolve(Path)", External("aws:ssm", "", Name("Path"))),
        ("aws:ssm:resolve(aws:ssm:/a)", External("aws:ssm", "", External("aws:ssm", "/a"))),
    ],
)
def test_references(text: str, expected: Reference) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "ab", ".Names", "a b c", "range .Items", "loop.size", "env:", "aws:imds:iam/x", "aws:ssm:resolve(env:X)", "a" * 129]
)
def test_no_references(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ExpressionError):
        parse(text)
    list(occurrences(f"{{{{{text}}}}}"))


@given(st.text(alphabet="a{} \n"), st.text())
def test_splicing_touches_references_only(around: str, value: str) -> None:
    if "{{" not in around:
        before = around.rstrip("{")
        assert splice(f"{before} {{{{ Name }}}}", lambda _: value) == f"{before} {value}"
    assert splice("{{ Name }}{{Name}}", lambda _: None) == "{{ Name }}{{Name}}"
