"""Every mistake that an author can make is told with its line, and nothing else is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DocumentError
from harness.toe import MAX_BYTES, Problem, examine, load, problems

DOCUMENTS = Path(__file__).parents[1] / "data" / "toe" / "documents"
PASS = sorted(DOCUMENTS.glob("*.pass.yml"))
FAIL = sorted(DOCUMENTS.glob("*.fail.yml"))


def told(problem: Problem) -> str:
    line = f"{problem.at.line}: " if problem.at.line else ""
    return line + problem.message + (f"; {problem.hint}" if problem.hint else "")


@pytest.mark.parametrize("path", PASS, ids=lambda path: path.name)
def test_a_good_document_is_accepted(path: Path) -> None:
    assert [told(problem) for problem in problems(path)] == []
    assert load(path).source == path.read_bytes()


@pytest.mark.parametrize("path", FAIL, ids=lambda path: path.name)
def test_a_bad_document_is_refused_for_its_reason_only(path: Path) -> None:
    expected = path.read_text(encoding="utf-8").splitlines()[1].removeprefix("# expect: ")
    found = [told(problem) for problem in problems(path)]
    assert len(found) == 1, found
    assert found[0].startswith(expected) or (not expected[0].isdigit() and expected in found[0]), found[0]
    with pytest.raises(DocumentError) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_scenarios_are_there() -> None:
    assert len(PASS) >= 10
    assert len(FAIL) >= 50


def test_all_mistakes_are_listed_in_the_order_of_the_file() -> None:
    text = "phase: 1\nschemaVersion: 3\nphases:\n  - name: build\n    steps:\n      - {name: A, action: Nope}\n      - {action: UpdateOS}\n"
    found = problems(text, name="x.yml")
    assert [problem.at.line for problem in found] == [1, 2, 6, 7]
    with pytest.raises(DocumentError, match=r"x\.yml:1: .* \(and 3 more\)"):
        load(text, name="x.yml")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="cannot be read: No such file"):
        load(tmp_path / "missing.yml")
    with pytest.raises(DocumentError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(DocumentError, match=":2: the document is not UTF-8"):
        load(b"name: a\nb: \xff\n")
    with pytest.raises(DocumentError, match=r":2: not YAML: character .*not allowed"):
        load("name: a\nb: \x07\n")


def test_size_limit_of_the_service() -> None:
    head = "schemaVersion: 1.0\nphases: [{name: build, steps: [{name: A, action: UpdateOS}]}]\n#"
    assert problems(head + "x" * (MAX_BYTES - len(head))) == ()
    (found,) = problems(head + "x" * (MAX_BYTES - len(head) + 1))
    assert "65537 bytes are more than the 65536" in found.message


def test_name_falls_back_to_the_stem() -> None:
    document = load("schemaVersion: 1\nphases: [{name: test, steps: [{name: A, action: UpdateOS}]}]", name="folder/site_motd.yml")
    assert document.name == "site_motd"
    assert document.component_type == "TEST"


def test_values_keep_their_spelling() -> None:
    document = load(DOCUMENTS / "permissions-unquoted.pass.yml")
    assert [element["permissions"] for element in document.step("build", "Modes").inputs] == ["0777", "755"]


KEYS = st.sampled_from(
    [
        *(
            "name",
            "schemaVersion",
            "parameters",
            "constants",
            "phases",
            "steps",
            "action",
            "inputs",
            "loop",
            "for",
            "forEach",
            "if",
            "then",
            "and",
        ),
        *(
            "not",
            "stringEquals",
            "value",
            "commands",
            "path",
            "timeoutSeconds",
            "maxAttempts",
            "onFailure",
            "list",
            "delimiter",
            "type",
            "default",
        ),
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from(
        ["build", "test", "ExecuteBash", "Assert", "Reboot", "CreateFile", "UpdateOS", "1.0", "string", "Abort", "{{ Foo }}", "{{", ""]
    ),
    st.text(max_size=6),
)
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=30)


@given(st.dictionaries(KEYS, TREES, max_size=6))
def test_any_tree_gives_a_document_or_problems(data: dict[str, object]) -> None:
    import yaml

    document, found = examine(yaml.safe_dump(data, allow_unicode=True))
    assert (document is None) == bool(found)


@given(st.text(alphabet=st.sampled_from("abc:-{}[]&*!|>%@`'\"#,?\n\t <=0.\x85\u2028\ufeff~")))
def test_any_text_gives_a_document_or_problems(text: str) -> None:
    document, found = examine(text)
    assert (document is None) == bool(found)


@given(st.binary(max_size=60))
def test_any_bytes_give_a_document_or_problems(data: bytes) -> None:
    document, found = examine(data)
    assert (document is None) == bool(found)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        "{a: " * 5000,
        "- " * 5000,
        "&a " * 100,
        "!!python/object:os.system {}",
        "? [a]\n: b",
        "<<: 1",
        "<<: [a]",
        'name: "\\ud800"',
    ],
)
def test_hostile_text(text: str) -> None:
    document, found = examine(text)
    assert document is None
    assert found
