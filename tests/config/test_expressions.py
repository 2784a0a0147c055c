"""Expressions mean what they mean in Packer."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import hcl
from harness.config.expressions import Evaluation, Known, Scope
from harness.errors import ConfigError

PATH = Path("x.hcl")
VARIABLES = {
    "name": Known("golden"),
    "count": Known(3),
    "on": Known(True),  # noqa: FBT003 - a value
    "nothing": Known(None),
    "list": Known(["a", "b"]),
    "map": Known({"a": 1, "b-c": [{"d": "deep"}]}),
    "secret": Known("hunter2", sensitive=True),
}
SCOPE = Scope(PATH, {"var": VARIABLES, "local": {"name": Known("local")}}, {"HOME": "/root"})


def value(text: str) -> object:
    """Evaluate `text`."""
    return Evaluation(SCOPE).value(hcl.parse_expression(text, PATH))


def refusal(text: str) -> str:
    """Return what an expression is refused with."""
    with pytest.raises(ConfigError) as caught:
        value(text)
    assert caught.value.hint
    assert caught.value.at is not None
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3 - 4", 3),
        ("(1 + 2) * 3", 9),
        ("7 / 2", 3.5),
        ("6 / 2", 3),
        ("-7 % 3", -1),
        ("10 - 3 - 2", 5),
        ("-var.count", -3),
        ("1.50", 1.5),
        ("1e3", 1000),
        ('"2" * "3"', 6),
        ("!false && 1 < 2 || false", True),
        ("false && var.name", False),
        ("true || var.name", True),
        ('!"true"', False),
        ("1 == 1.0", True),
        ('1 == "1"', False),
        ("true == 1", False),
        ("[1, [true]] == [1, [true]]", True),
        ("[1] == [true]", False),
        ("null == null", True),
        ("{ a = 1 } != { a = 2 }", True),
        ('var.on ? "yes" : "no"', "yes"),
        ('var.count > 5 ? "many" : var.count > 2 ? "some" : "few"', "some"),
        ("1\n+ 2", 3),
        ("1 + # why\n2", 3),
        ("[\n1,\n2, # last\n]", [1, 2]),
        ('{ a = 1, "b" : 2, (var.name) = 3, 4 = "x", in = 5 }', {"a": 1, "b": 2, "golden": 3, "4": "x", "in": 5}),
        ("{\na = 1\nb = 2\n}", {"a": 1, "b": 2}),
        ("var.list[1]", "b"),
        ("var.list.0", "a"),
        ('var.list["1"]', "b"),
        ("var.map.a", 1),
        ('var.map["b-c"][0].d', "deep"),
        ("local.name", "local"),
        ('"${var.name}-${var.count}-${var.on}-${0.5}"', "golden-3-true-0.5"),
        ('"${var.list}"', ["a", "b"]),
        ('"a${"b${"c"}"}"', "abc"),
        ('"$${var.name} %%{if} $5 100%"', "${var.name} %{if} $5 100%"),
        ('"$${a ${var.count}}"', "${a 3}"),
        (r'"q\" b\\ n\n t\t u\u00e9 U\U0001F600"', 'q" b\\ n\n t\t ué U😀'),
        ('"한국어 # no comment // none"', "한국어 # no comment // none"),
        ("<<EOT\n one\n  two ${var.count}\n\nEOT\n", " one\n  two 3\n\n"),
        ("<<-EOT\n    one\n      two\n\n    ${var.name} $${x} \\n\n    EOT\n", "one\n  two\n\ngolden ${x} \\n\n"),
        ("<<EOT\nEOT\n", ""),
        ('<<EOT\n${upper("}")}\nEOT\n', "}\n"),
        ("upper(<<EOT\na\nEOT\n)", "A\n"),
    ],
)
def test_value(text: str, expected: object) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("merge()", {}),
        ("merge({ a = 1, b = 2 }, null, { b = 3 })", {"a": 1, "b": 3}),
        ("merge([{ a = 1 }, { b = 2 }]...)", {"a": 1, "b": 2}),
        ("concat([1], [], [2, [3]])", [1, 2, [3]]),
        ('join(", ", ["a", 1, true], ["b"])', "a, 1, true, b"),
        ('lower("ÄB")', "äb"),
        ('upper("ab")', "AB"),
        ('replace("1 + 2 + 3", "+", "-")', "1 - 2 - 3"),
        ('replace("a.b", "/./", "x")', "a.b"),
        ('format("%s is %d, %5.1f%%", "x", 3, 2.25)', "x is 3,   2.2%"),
        ('format("%v %v %t %q", null, 1.0, true, "a\\"b")', 'null 1 true "a\\"b"'),
        ('format("[%-4s|%4s|%04d|%+d|%x|%b]", "a", "b", 7, 7, 255, 5)', "[a   |   b|0007|+7|ff|101]"),
        ('lookup({ a = 1 }, "a")', 1),
        ('lookup({ a = 1 }, "b", 2)', 2),
        ('length("한글")', 2),
        ("length([1, 2, 3])", 3),
        ("length({})", 0),
        ('contains(["a", 1], 1)', True),
        ('contains(["1"], 1)', False),
        ('split(",", "a,b,,c")', ["a", "b", "", "c"]),
        ('split(",", "")', [""]),
        ('split("", "abc")', ["a", "b", "c"]),
        ('trimspace("\\n a b \\t")', "a b"),
        ('coalesce(null, "", "x", "y")', "x"),
        ("coalesce(0, 1)", 0),
        ('env("HOME")', "/root"),
        ('env("UNSET")', ""),
        ("try(var.map.none, var.list[9], 5)", 5),
        ("try(var.count, 5)", 3),
    ],
)
def test_function(text: str, expected: object) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("9" * 29 + " * " + "9" * 29, "too large"),
        ("9" * 31, "more than 30 characters"),
        ("1e99", "too large"),
        ('1 + "x"', "must be a number, it is a string"),
        ("1 + true", "must be a number, it is a bool"),
        ("var.list ? 1 : 2", "must be a bool, it is a list"),
        ("1 && true", "must be a bool"),
        ('"${var.list} x"', "must be a string, it is a list"),
        ('"${var.nothing} x"', "must be a string, it is a null"),
        ("var", "alone is no value"),
        ("var.nme", "unknown variable `var.nme`"),
        ("other.x", "unknown name `other`"),
        ("var.name.x", "this is a string"),
        ("var.map.c", "no key"),
        ("var.list[2]", "it has 2"),
        ("var.list[-1]", "no item -1"),
        ("var.list[0.5]", "no item 0.5"),
        ("var.name[0]", "cannot be indexed"),
        ("{ a = 1, a = 2 }", "given twice"),
        ("{ var.name = 1 }", "must be a word or a text"),
        ("upper()", "takes 1 arguments, 0 are given"),
        ("lookup({})", "takes 2 to 3 arguments"),
        ('lookup({}, "k")', 'no key "k"'),
        ("upper([])", "upper: the argument must be a string"),
        ("concat([1], 2)", "must be a list, it is a number"),
        ("merge({}, 2)", "must be a map, it is a number"),
        ("length(1)", "length"),
        ('coalesce("", null)', "null or empty"),
        ("merge({}...)", "needs a list"),
        ('format("%d", "x")', "must be a number"),
        ('format("%d", 1.5)', "whole number"),
        ('format("%s")', "fewer"),
        ('format("x", 1)', "more"),
        ('format("%z", 1)', "does not know `%z`"),
        ('format("%[1]d", 1)', "does not know"),
        ('format("%9999999999d", 1)', "pads"),
        ('replace("aaaa", "a", format("%1000s", "")) ', None),
        ("try(uper(1), 2)", "unsupported function `uper`"),
        ("try([var.nme], 2)", "unknown variable `var.nme`"),
        ("try()", "takes 1 or more"),
        ("try(upper(1, 2))", "takes 1 arguments"),
        (r'"\d"', r"`\d` is no escape"),
        (r'"\uD800"', "no character"),
        ('"a ${1 2} b"', "not expected"),
        ("1) y = (2", "closes nothing"),
        ("", "an expression is missing"),
        ("a::b::c(1)", "unsupported function `a::b::c`"),
    ],
)
def test_refusal(text: str, said: str | None) -> None:
    if said is None:
        assert isinstance(value(text), str)
    else:
        assert said in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "var.secret.x",
        "var.map[var.secret]",
        "var.list[var.secret]",
        "lookup({ a = 1 }, upper(var.secret))",
        '{ (var.secret) = 1, "hunter2" = 2 }',
    ],
)
def test_an_error_never_repeats_a_sensitive_value(text: str) -> None:
    said = refusal(text)
    assert "hunter2" not in said.replace(text, "")
    assert "HUNTER2" not in said


def test_an_evaluation_remembers_that_a_sensitive_value_went_in() -> None:
    evaluation = Evaluation(SCOPE)
    evaluation.value(hcl.parse_expression("upper(var.name)", PATH))
    assert not evaluation.sensitive
    evaluation.value(hcl.parse_expression("upper(var.secret)", PATH))
    assert evaluation.sensitive
