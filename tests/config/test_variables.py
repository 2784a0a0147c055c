"""Variables: where their values come from, which types they have, what may not be said of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.config import load
from harness.errors import ConfigError

SOURCE = 'source "container" "al2" {\n  baseline = "al2"\n  image = "example.org/al2:2"\n}\n'


def variables_of(folder: Path, text: str, *files: str, environ: dict[str, str] | None = None, **given: str) -> dict[str, object]:
    """Return the final values of the variables that `text` declares."""
    (folder / "harness.hcl").write_text(text + SOURCE, "utf-8")
    settings = load(None, variables=given, var_files=[Path(file) for file in files], environ=environ or {}, cwd=folder)
    return dict(settings.variables)


def refusal(folder: Path, text: str, *files: str, environ: dict[str, str] | None = None, **given: str) -> ConfigError:
    """Return the error that loading ends in."""
    with pytest.raises(ConfigError) as caught:
        variables_of(folder, text, *files, environ=environ, **given)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


def test_later_sources_win(tmp_path: Path) -> None:
    declared = "".join(f'variable "v{index}" {{ default = "default" }}\n' for index in range(8))
    layers = ["environment", "terraform.tfvars", "a.auto.tfvars", "b.auto.tfvars", "first.tfvars", "second.tfvars", "--var"]
    for index, name in enumerate(layers):
        if name.endswith("tfvars"):
            (tmp_path / name).write_text("".join(f'v{number} = "{name}"\n' for number in range(index + 1, 8)), "utf-8")
    environ = {f"HARNESS_VAR_v{number}": "environment" for number in range(1, 8)}
    found = variables_of(tmp_path, declared, "first.tfvars", "second.tfvars", environ=environ, v7="--var")
    assert list(found.values()) == ["default", *layers]


def test_files_are_read_beside_the_configuration_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "my.hcl").write_text('variable "a" { default = 1 }\n' + SOURCE, "utf-8")
    (tmp_path / "sub" / "terraform.tfvars").write_text("a = 2\n", "utf-8")
    (tmp_path / "terraform.tfvars").write_text("a = 3\n", "utf-8")
    settings = load(Path("sub/my.hcl"), variables={}, var_files=[], environ={}, cwd=tmp_path)
    assert settings.variables == {"a": 2}


@pytest.mark.parametrize(
    ("declaration", "text", "expected"),
    [
        ("type = string", "007", "007"),
        ("type = number", "7", 7),
        ("type = number", "7.5", 7.5),
        ("type = bool", "true", True),
        ("type = any", "[1]", "[1]"),
        ("", "[1]", "[1]"),
        ('default = "x"', "[1]", "[1]"),
        ("default = 1", "2", 2),
        ("default = []", '["a"]', ["a"]),
        ("default = {}", '{ a = "b" }', {"a": "b"}),
        ("type = list(string)", "[1, true]", ["1", "true"]),
        ("type = list(string)", '[\n"a",\n]', ["a"]),
        ("type = set(string)", '["a", "b", "a"]', ["a", "b"]),
        ("type = map(number)", '{ a = "1" }', {"a": 1}),
        ("type = list", "[1]", [1]),
        ("type = object({ a = string, b = list(number) })", '{ a = 1, b = ["2"] }', {"a": "1", "b": [2]}),
        ("type = tuple([string, number])", '[1, "2"]', ["1", 2]),
        ('type = "string"', "x", "x"),
        ("type = list(string)", "null", None),
    ],
)
def test_text_from_outside_is_read_as_the_type_says(tmp_path: Path, declaration: str, text: str, expected: object) -> None:
    assert variables_of(tmp_path, f'variable "v" {{\n{declaration}\n}}\n', v=text) == {"v": expected}
    assert variables_of(tmp_path, f'variable "v" {{\n{declaration}\n}}\n', environ={"HARNESS_VAR_v": text}) == {"v": expected}


@pytest.mark.parametrize(
    ("declaration", "text", "said"),
    [
        ("type = number", "x", "`v` must be of type number, given is a string"),
        ("type = bool", "yes", "`v` must be of type bool, given is a string"),
        ("type = list(string)", "123456789012", "`v` must be of type list(string)"),
        ("type = list(string)", "a,b", "cannot be read"),
        ("type = list(string)", "[var.x]", "cannot be read"),
        ("type = list(string)", '[["a"]]', "item 0 of `v` must be of type string, given is a list"),
        ("type = map(string)", "[1]", "`v` must be of type map(string), given is a list"),
        ("type = object({ a = string })", "{ b = 1 }", "has no `a`"),
        ("type = tuple([string])", "[]", "must be of type tuple([string])"),
    ],
)
def test_a_wrong_type_says_what_is_expected_and_where_it_came_from(tmp_path: Path, declaration: str, text: str, said: str) -> None:
    error = refusal(tmp_path, f'variable "v" {{\n{declaration}\n}}\n', v=text)
    assert said in error.message
    assert str(error.at) == "--var v"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('variable "a" {}\n', 1, "`a` has no value"),
        ('variable "a" { default = 1 }\nvariable "a" {}\n', 2, "declared twice, first on line 1"),
        ("variable {\n}\n", 1, "one name"),
        ('variable "a" {\n  defualt = 1\n}\n', 2, "no `defualt`"),
        ('variable "a" {\n  type = strnig\n}\n', 2, "unknown type `strnig`"),
        ('variable "a" {\n  type = lst(string)\n}\n', 2, "unknown type `lst(…)`"),
        ('variable "a" {\n  type = 3\n}\n', 2, "a type is a word"),
        ('variable "a" {\n  type = number\n  default = "x"\n}\n', 3, "the default of `a` must be of type number, given is a string"),
        ('variable "a" {\n  default = 1\n  description = 3\n}\n', 3, "a description is a text"),
        ('variable "a" {\n  default = var.b\n}\n', 2, "`var` cannot be used here"),
        ('variable "a" {\n  default = local.b\n}\n', 2, "`local` cannot be used here"),
        ('variable "a" {\n  default = 1\n  sensitive = "maybe"\n}\n', 3, "true or false"),
        ('variable "a" {\n  default = 1\n  validation {\n    condition = true\n  }\n}\n', 3, "no `error_message`"),
        ('variable "a" {\n  default = 1\n  validation {\n    conditon = true\n  }\n}\n', 4, "no `conditon`"),
        ('variable "a" {\n  default = 1\n  validation {\n    condition = 1\n    error_message = "x"\n  }\n}\n', 3, "must be true or false"),
        (
            'variable "a" {\n  default = 1\n  validation {\n    condition = var.a > 1\n    error_message = "too small: ${var.a}"\n  }\n}\n',
            1,
            "`a`: too small: 1",
        ),
    ],
)
def test_a_wrong_declaration(tmp_path: Path, text: str, line: int, said: str) -> None:
    error = refusal(tmp_path, text)
    assert said in error.message
    assert str(error.at) == f"{tmp_path / 'harness.hcl'}:{line}"


def test_the_default_may_come_from_the_environment(tmp_path: Path) -> None:
    assert variables_of(tmp_path, 'variable "a" { default = env("USER_NAME") }\n', environ={"USER_NAME": "kim"}) == {"a": "kim"}


def test_an_undeclared_name_is_an_error_where_it_is_a_typing_mistake(tmp_path: Path) -> None:
    declared = 'variable "vpc_id" { default = "" }\n'
    error = refusal(tmp_path, declared, vpc_di="x")
    assert "--var vpc_di" in error.message
    assert "did you mean `vpc_id`?" in (error.hint or "")
    (tmp_path / "terraform.tfvars").write_text('\nvpc_di = "x"\n', "utf-8")
    error = refusal(tmp_path, declared)
    assert str(error.at) == f"{tmp_path / 'terraform.tfvars'}:2"
    assert "did you mean `vpc_id`?" in (error.hint or "")
    assert 'variable "vpc_di"' in (error.hint or "")


def test_an_undeclared_name_in_the_environment_is_ignored(tmp_path: Path) -> None:
    assert variables_of(tmp_path, 'variable "a" { default = 1 }\n', environ={"HARNESS_VAR_b": "x"}) == {"a": 1}


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("a = \n", 1, "too early"),
        ("a = b\n", 1, "no plain value"),
        ('\na = "${var.b}"\n', 2, "no plain value"),
        ("a {\n}\n", 1, "block `a`"),
        ('a = "x\n', 1, "not closed"),
        ("a = [1]\n", 1, "`a` must be of type string, given is a list"),
        ('a = "1"\na = "2"\n', 2, "given twice"),
    ],
)
def test_a_mistake_in_tfvars(tmp_path: Path, content: str, line: int, said: str) -> None:
    (tmp_path / "my.tfvars").write_text(content, "utf-8")
    error = refusal(tmp_path, 'variable "a" {\n  type = string\n}\n', "my.tfvars")
    assert said in error.message
    assert str(error.at) == f"{tmp_path / 'my.tfvars'}:{line}"


def test_a_file_of_variables_that_is_not_there(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path, "", "none.tfvars").message


@pytest.mark.parametrize("name", ["terraform.tfvars.json", "x.auto.tfvars.json"])
def test_variables_in_json_are_refused_rather_than_overlooked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(json.dumps({"a": 1}), "utf-8")
    assert "JSON" in refusal(tmp_path, 'variable "a" { default = 1 }\n').message
    (tmp_path / name).rename(tmp_path / "my.json")
    assert "JSON" in refusal(tmp_path, 'variable "a" { default = 1 }\n', "my.json").message


SECRET = "correct-horse-battery"  # noqa: S105 - the secret of nobody
SENSITIVE = 'variable "s" {\n  default = ""\n  sensitive = true\n}\n'


@pytest.mark.parametrize(
    "rest",
    [
        "locals {\n  a = var.s + 1\n}\n",
        "locals {\n  a = { x = 1 }[var.s]\n}\n",
        'locals {\n  m = { (var.s) = 1 }\n  a = local.m["correct-horse-batterx"]\n}\n',
        'source "container" "b" {\n  baseline = "al2"\n  image = "${var.s} x"\n}\n',
        'source "container" "b" {\n  baseline = "al2"\n  image = "x"\n  engine = var.s\n}\n',
        'source "container" "b" {\n  baseline = var.s\n  image = ["x"]\n}\n',
        'build "b" {\n  sources = [var.s]\n}\n',
        'build "b" {\n  sources = ["source.container.al2"]\n  component "one" { source = var.s }\n}\n',
        'variable "t" {\n  type = number\n  sensitive = true\n  default = 1\n}\nlocals {\n  a = var.t.x\n  b = var.s.x\n}\n',
    ],
)
def test_a_sensitive_value_is_never_part_of_an_error(tmp_path: Path, rest: str) -> None:
    error = refusal(tmp_path, SENSITIVE + rest, s=SECRET)
    assert SECRET not in f"{error} {error.hint}"


@pytest.mark.parametrize(
    "content",
    [
        f"s = {SECRET}\n",
        f's = "{SECRET}\n',
        f's = ["{SECRET}" x]\n',
        f"s = <<EOT\n{SECRET}\n",
        f's = "a" {SECRET}\n',
        f's = {SECRET}("x")\n',
        f"s = '{SECRET}'\n",
        f's = "\\{SECRET}"\n',
        f's = ["{SECRET}"]\n',
    ],
)
def test_a_sensitive_value_in_a_broken_file_is_not_repeated(tmp_path: Path, content: str) -> None:
    (tmp_path / "terraform.tfvars").write_text(content, "utf-8")
    error = refusal(tmp_path, SENSITIVE.replace('default = ""', "type = string"))
    assert not any(word in f"{error} {error.hint}" for word in (SECRET, "correct", "horse", "battery"))


def test_a_sensitive_value_of_the_wrong_type_is_not_repeated(tmp_path: Path) -> None:
    for environ, given in (({}, {"s": SECRET}), ({"HARNESS_VAR_s": SECRET}, {})):
        error = refusal(tmp_path, SENSITIVE.replace('default = ""', "type = number"), environ=environ, **given)
        assert SECRET not in f"{error} {error.hint}"
        error = refusal(tmp_path, SENSITIVE.replace('default = ""', "type = list(string)"), environ=environ, **given)
        assert SECRET not in f"{error} {error.hint}"


def test_a_validation_does_not_tell_a_sensitive_value(tmp_path: Path) -> None:
    text = SENSITIVE.replace(
        "sensitive", 'validation {\n    condition = var.s == ""\n    error_message = "bad: ${upper(var.s)}"\n  }\n  sensitive'
    )
    error = refusal(tmp_path, text, s=SECRET)
    assert SECRET.upper() not in error.message
    assert "`s`: the value is not valid" in error.message


def test_settings_name_the_sensitive_variables_and_do_not_print_them(tmp_path: Path) -> None:
    (tmp_path / "harness.hcl").write_text(SENSITIVE + SOURCE, "utf-8")
    settings = load(None, variables={"s": SECRET}, var_files=[], environ={}, cwd=tmp_path)
    assert settings.sensitive == {"s"}
    assert SECRET not in repr(settings)
