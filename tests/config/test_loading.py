"""A configuration file becomes settings, and each mistake in it one line with its place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.config import BUNDLED, load
from harness.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from harness.config.settings import Settings

SOURCE = 'source "container" "al2" {\n  baseline = "al2"\n  image = "example.org/al2:2"\n}\n'
"""Four lines that make a file valid."""
BUILD = SOURCE + 'build "golden" {\n  sources = ["source.container.al2"]\n'
PUBLISH = SOURCE + 'publish "imagebuilder" {\n'

MISSION = """\
# AWS 설정
aws_region = "ap-northeast-2"

# 프로젝트 설정
project_name = "isms-golden-ami"
environment  = "prod"

# 네트워크 설정
vpc_id    = "vpc-xxxxxxxxx"        # 실제 VPC ID
subnet_id = "subnet-xxxxxxxxx"     # 실제 프라이빗 서브넷 ID

# 암호화 (선택사항)
kms_key_id = "arn:aws:kms:ap-northeast-2:123456789012:key/xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"

# 빌드 인스턴스 타입
instance_types = ["t3.medium", "t3.large"]

# AMI 공유 대상 (선택사항)
allowed_principals = ["123456789012"]
"""
"""The terraform.tfvars that users of the Terraform solution have."""


def loaded(folder: Path, text: str, **variables: str) -> Settings:
    """Load `text` as the harness.hcl of a folder."""
    (folder / "harness.hcl").write_text(text, "utf-8")
    return load(None, variables=variables, var_files=[], environ={}, cwd=folder)


def refusal(folder: Path, text: str, **variables: str) -> ConfigError:
    """Return the error that `text` ends in, after checking what holds for every error."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, **variables)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


def where(error: ConfigError) -> str:
    """Return file name and line of an error."""
    assert error.at is not None
    return f"{error.at.path.name}:{error.at.line}"


def test_the_bundled_file_is_used_where_the_folder_has_none(tmp_path: Path) -> None:
    settings = load(None, variables={}, var_files=[], environ={}, cwd=tmp_path)
    assert settings.bundled
    assert settings.path == BUNDLED
    assert [source.name for source in settings.sources] == ["al2", "al2023"]
    assert [component.name for component in settings.builds[0].components] == ["isms_security_hardening", "cloudwatch_agent_config"]
    assert settings.publish is not None
    assert settings.publish.schedule is not None
    assert settings.publish.schedule.expression == "cron(0 2 ? * sun *)"
    assert settings.publish.vpc_id is None


def test_the_missions_tfvars_load_unchanged(tmp_path: Path) -> None:
    (tmp_path / "terraform.tfvars").write_text(MISSION, "utf-8")
    settings = load(None, variables={}, var_files=[], environ={}, cwd=tmp_path)
    assert settings.publish is not None
    assert settings.publish.subnet_id == "subnet-xxxxxxxxx"
    assert settings.publish.instance_types == ("t3.medium", "t3.large")
    assert settings.publish.distributions[0].share_with == ("123456789012",)
    assert settings.variables["kms_key_id"] == "arn:aws:kms:ap-northeast-2:123456789012:key/xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"


def test_mission_variables_reach_a_publish_block_that_does_not_repeat_them(tmp_path: Path) -> None:
    settings = loaded(tmp_path, SOURCE + 'variable "vpc_id" { default = "" }\npublish "imagebuilder" {}\n', vpc_id="vpc-1")
    assert settings.publish is not None
    assert settings.publish.vpc_id == "vpc-1"
    assert settings.publish.subnet_id is None


def test_an_own_file_in_the_folder_wins_over_the_bundled_one(tmp_path: Path) -> None:
    settings = loaded(tmp_path, SOURCE)
    assert not settings.bundled
    assert settings.path == tmp_path / "harness.hcl"


@pytest.mark.parametrize("change", [lambda data: b"\xef\xbb\xbf" + data, lambda data: data.replace(b"\n", b"\r\n")])
def test_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path, change: object) -> None:
    assert callable(change)
    text = BUILD + '  component "one" {\n    parameters = { banner = <<EOT\nhi\nEOT\n    }\n  }\n}\n'
    (tmp_path / "harness.hcl").write_bytes(change(text.encode()))
    settings = load(None, variables={}, var_files=[], environ={}, cwd=tmp_path)
    assert settings.builds[0].components[0].parameters == {"banner": "hi\n"}


def test_parameters_become_the_text_that_documents_carry(tmp_path: Path) -> None:
    text = BUILD + '  component "one" {\n    parameters = { a = 3, b = true, c = ["x", 1], d = 0.5, e = null, f = [] }\n  }\n}\n'
    settings = loaded(tmp_path, text)
    assert settings.builds[0].components[0].parameters == {"a": "3", "b": "true", "c": "x,1", "d": "0.5", "f": ""}


def test_a_component_of_the_users_own_is_found_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "motd.yml").write_text("name: x", "utf-8")
    settings = loaded(
        tmp_path, SOURCE + 'build "b" {\n  sources = ["source.container.al2"]\n  component "motd" { source = "./motd.yml" }\n}\n'
    )
    assert settings.builds[0].components[0].source == tmp_path / "motd.yml"


def test_a_registry_on_this_machine_may_do_without_tls(tmp_path: Path) -> None:
    settings = loaded(tmp_path, SOURCE.replace("example.org/", "127.0.0.1:5000/").replace("}", "  tls_verify = false\n}"))
    assert not settings.sources[0].tls_verify


def test_settings_are_frozen_and_say_where_things_stand(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "\n\n" + SOURCE)
    assert str(settings.at(settings.sources[0])) == f"{tmp_path / 'harness.hcl'}:3"
    with pytest.raises(TypeError):
        settings.variables["x"] = 1  # type: ignore[index]  # that is the point
    with pytest.raises(ValueError, match="frozen"):
        settings.sources[0].image = "other"  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize("name", ["al2", "container.al2", "source.container.al2", None])
def test_a_target_is_named_by_its_source(tmp_path: Path, name: str | None) -> None:
    settings = loaded(tmp_path, SOURCE)
    assert settings.source(name) is settings.sources[0]
    assert settings.builds_of(settings.sources[0]) == ()


def test_an_unknown_target_names_the_known_ones(tmp_path: Path) -> None:
    settings = load(None, variables={}, var_files=[], environ={}, cwd=tmp_path)
    with pytest.raises(UsageError) as caught:
        settings.source("al2032")
    assert "al2032" in caught.value.message
    assert caught.value.hint is not None
    assert "did you mean `al2023`?" in caught.value.hint
    assert "al2, al2023" in caught.value.hint


def test_locals_may_need_each_other_in_any_order(tmp_path: Path) -> None:
    text = (
        'locals {\n  image = "${local.host}/x:${var.tag}"\n}\nlocals {\n  host = lower("EXAMPLE.org")\n}\nvariable "tag" { default = 2 }\n'
    )
    settings = loaded(tmp_path, text + 'source "container" "a" {\n  baseline = "al2"\n  image = local.image\n}\n')
    assert settings.sources[0].image == "example.org/x:2"


def test_a_circle_of_locals_is_told_as_a_path(tmp_path: Path) -> None:
    error = refusal(tmp_path, SOURCE + "locals {\n  a = local.b\n  b = [local.c]\n  c = local.a\n}\n")
    circle = error.message.rsplit(": ", 1)[1].split(" → ")
    assert circle[0] == circle[-1]
    assert "".join(circle[:-1]) * 2 in {"abcabc", "bcabca", "cabcab"}
    assert where(error) in {"harness.hcl:6", "harness.hcl:7", "harness.hcl:8"}


def test_a_local_that_needs_itself_is_a_circle(tmp_path: Path) -> None:
    assert "a → a" in refusal(tmp_path, SOURCE + "locals {\n  a = local.a\n}\n").message


MISTAKES = {
    "open quote": ('source "container" "a" {\n  image = "x\n}\n', 2, "not closed on its line"),
    "open brace": (SOURCE + "locals {\n  a = {\n  b = 1\n}\n", 5, "never closed"),
    "brace too many": (SOURCE + "}\n", 5, "closes nothing"),
    "wrong bracket": (SOURCE + "locals {\n  a = [1, 2}\n}\n", 6, "cannot close"),
    "open comment": (SOURCE + "/* never\n", 5, "comment"),
    "open heredoc": (SOURCE + "locals {\n  a = <<EOT\n  text\n  EOTX\n}\n", 6, "heredoc EOT"),
    "open interpolation in a heredoc": (SOURCE + "locals {\n  a = <<EOT\nfine\n${ var.x\nEOT\n}\n", 8, "never closed"),
    "no value": (SOURCE + "locals {\n  a =\n}\n", 6, "too early"),
    "single quotes": (SOURCE + "locals {\n  a = 'x'\n}\n", 6, "`'`"),
    "two on a line": (SOURCE + "locals {\n  a = 1 b = 2\n}\n", 6, "two settings"),
    "given twice": (SOURCE + "locals {\n  a = 1\n  a = 2\n}\n", 7, "given twice, first on line 6"),
    "unknown block": (SOURCE + 'sorce "container" "b" {}\n', 5, "`sorce`"),
    "packer's own block": (SOURCE + "packer {}\n", 5, "`packer`"),
    "provisioner": (BUILD + '  provisioner "shell" {}\n}\n', 7, "provisioner"),
    "setting outside": (SOURCE + "a = 1\n", 5, "outside of a block"),
    "unknown key": ('source "container" "a" {\n  baseline = "al2"\n  imgae = "x"\n}\n', 3, "imgae"),
    "missing key": (SOURCE + 'source "container" "b" {\n  image = "x"\n}\n', 5, "needs `baseline`"),
    "wrong type": ('source "container" "a" {\n  baseline = "al2"\n  image = ["x"]\n}\n', 3, "must be a string, given is a list"),
    "wrong word": ('source "container" "a" {\n  baseline = "al2"\n  image = "x"\n  engine = "dokcer"\n}\n', 4, "'dokcer'"),
    "no TLS far away": (
        'source "container" "a" {\n  baseline = "al2"\n  image = "r.example/x"\n  tls_verify = false\n}\n',
        4,
        "this machine",
    ),
    "an image that is an option": ('source "container" "a" {\n  baseline = "al2"\n  image = "--privileged"\n}\n', 3, "--privileged"),
    "unknown kind": (SOURCE + 'source "contaner" "b" {}\n', 5, "contaner"),
    "labels": (SOURCE + 'source "container" {}\n', 5, "2 names"),
    "source twice": (SOURCE + SOURCE, 1, "declared twice"),
    "unknown source": (SOURCE + 'build "b" {\n  sources = ["source.container.al3"]\n}\n', 6, "source.container.al3"),
    "source without quotes": (SOURCE + 'build "b" {\n  sources = [source.container.al2]\n}\n', 6, "named by text"),
    "build without sources": (SOURCE + 'build "b" {\n}\n', 5, "needs `sources`"),
    "build with no source": (SOURCE + 'build "b" {\n  sources = []\n}\n', 6, "sources"),
    "component twice": (BUILD + '  component "one" {}\n  component "one" {}\n}\n', 7, "twice"),
    "component file missing": (BUILD + '  component "one" {\n    source = "./none.yml"\n  }\n}\n', 8, "none.yml"),
    "parameters no map": (BUILD + '  component "one" {\n    parameters = 3\n  }\n}\n', 8, "must be a map, given is a number"),
    "parameter a map": (BUILD + '  component "one" {\n    parameters = { a = {} }\n  }\n}\n', 8, "must be a string, it is a map"),
    "comma in a list": (BUILD + '  component "one" {\n    parameters = { a = ["x,y"] }\n  }\n}\n', 8, "comma"),
    "source named twice": (SOURCE + 'build "b" {\n  sources = ["source.container.al2", "source.container.al2"]\n}\n', 6, "named twice"),
    "build twice": (BUILD + "}\n" + 'build "golden" {\n  sources = ["source.container.al2"]\n}\n', 5, "declared twice"),
    "component file no text": (BUILD + '  component "one" {\n    source = 3\n  }\n}\n', 8, "given is a number"),
    "component in a source": (SOURCE.replace("}", '  component "one" {}\n}'), 4, "cannot stand here in `source`"),
    "locals with a name": (SOURCE + 'locals "x" {\n}\n', 5, "no name"),
    "local twice": (SOURCE + "locals {\n  a = 1\n}\nlocals {\n  a = 2\n}\n", 9, "first on line 6"),
    "another way to publish": (SOURCE + 'publish "packer" {}\n', 5, "packer"),
    "two schedules": (PUBLISH + '  schedule {\n    expression = "rate(7 days)"\n  }\n  schedule {}\n}\n', 9, "one schedule"),
    "no schedule": (PUBLISH + '  schedule {\n    expression = "sundays"\n  }\n}\n', 7, "cron("),
    "a name with a reference": (SOURCE + 'build "b${1}" {\n}\n', 5, "cannot hold"),
    "a wrong list item": (
        PUBLISH + '  instance_types = ["t3.medium", []]\n}\n',
        6,
        "an item of `instance_types` must be a string, given is a list",
    ),
    "deep blocks": ("a {\n" * 70 + "}\n" * 70, 61, "nested"),
    "four cron fields": (PUBLISH + '  schedule {\n    expression = "cron(0 2 * sun)"\n  }\n}\n', 7, "4 cron fields"),
    "a numbered weekday of old": (PUBLISH + '  schedule {\n    expression = "cron(0 2 * * 0)"\n  }\n}\n', 7, "write its name"),
    "no question mark": (PUBLISH + '  schedule {\n    expression = "cron(0 2 * * sun *)"\n  }\n}\n', 7, "`?`"),
    "start condition": (PUBLISH + '  schedule {\n    expression = "rate(7 days)"\n    start_condition = "ALWAYS"\n  }\n}\n', 8, "ALWAYS"),
    "region": (PUBLISH + '  distribution "seoul" {}\n}\n', 6, "seoul"),
    "region twice": (PUBLISH + '  distribution "us-east-1" {}\n  distribution "us-east-1" {}\n}\n', 6, "twice"),
    "everybody": (PUBLISH + '  distribution "us-east-1" {\n    share_with = ["all"]\n  }\n}\n', 7, "share_with"),
    "publish twice": (PUBLISH + "}\n" + 'publish "imagebuilder" {}\n', 7, "one publish block"),
    "unknown variable": (SOURCE + "locals {\n  a = var.nothing\n}\n", 6, "var.nothing"),
    "unknown local": (SOURCE + "locals {\n  a = 1\n  b = [\n    local.aa,\n  ]\n}\n", 8, "local.aa"),
    "unknown function": (SOURCE + 'locals {\n  a = regex("x", "y")\n}\n', 6, "regex"),
    "for expression": (SOURCE + "locals {\n  a = [for x in [1] : x]\n}\n", 6, "`for`"),
    "splat": (SOURCE + "locals {\n  a = var.x[*].y\n}\n", 6, "splat"),
    "directive": (SOURCE + 'locals {\n  a = "%{ if true }x%{ endif }"\n}\n', 6, "directives"),
    "text without quotes": (SOURCE + "locals {\n  a = hello\n}\n", 6, "hello"),
    "leading zero": (SOURCE + "locals {\n  a = 012345678901\n}\n", 6, "begins with 0"),
    "nesting": (SOURCE + "locals {\n  a = " + "[" * 200 + "]" * 200 + "\n}\n", 6, "nested"),
    "long chain": (SOURCE + "locals {\n  a = " + "1 + " * 500 + "1\n}\n", 6, "nested"),
    "error in a heredoc": (SOURCE + "locals {\n  a = <<-EOT\n    one\n    ${var.two}\n  EOT\n}\n", 8, "var.two"),
    "error behind a comment": (SOURCE + "locals {\n  # one\n  /* two\n  three */\n  a = 1 + # four\n    var.five\n}\n", 10, "var.five"),
    "no source": ("# nothing\n", None, "declares no source"),
    "empty": ("", None, "declares no source"),
    "nul": (SOURCE + "\0", 5, "NUL"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, name: str) -> None:
    text, line, said = MISTAKES[name]
    error = refusal(tmp_path, text)
    assert where(error) == f"harness.hcl:{line}"
    assert said in error.message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (SOURCE + 'sorce "container" "b" {}\n', "did you mean `source`?"),
        ('source "container" "a" {\n  baseline = "al2"\n  imgae = "x"\n}\n', "did you mean `image`?"),
        ('source "container" "a" {\n  baseline = "al2"\n  image = "x"\n  engine = "dokcer"\n}\n', "did you mean `docker`?"),
        (SOURCE + 'variable "image_tag" { default = "" }\nlocals {\n  a = var.image_tga\n}\n', "did you mean `image_tag`?"),
        (SOURCE + 'locals {\n  a = lowr("x")\n}\n', "did you mean `lower`?"),
        (SOURCE + 'locals {\n  a = md5("x")\n}\n', "coalesce, concat, contains, env"),
        (BUILD + '  provisioner "shell" {}\n}\n', "component"),
    ],
)
def test_hints_name_what_was_meant(tmp_path: Path, text: str, hint: str) -> None:
    assert hint in (refusal(tmp_path, text).hint or "")


def test_a_sensitive_value_never_becomes_a_parameter(tmp_path: Path) -> None:
    text = 'variable "token" {\n  default = "x"\n  sensitive = true\n}\n' + BUILD
    error = refusal(tmp_path, text + '  component "one" {\n    parameters = { a = upper(var.token) }\n  }\n}\n')
    assert "sensitive" in error.message
    assert where(error) == "harness.hcl:12"


def test_a_link_that_leads_nowhere_is_not_replaced_by_the_bundled_file(tmp_path: Path) -> None:
    (tmp_path / "harness.hcl").symlink_to("gone.hcl")
    with pytest.raises(ConfigError, match="no such file"):
        load(None, variables={}, var_files=[], environ={}, cwd=tmp_path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes("a = 1\nname = 'é'".encode("latin-1"))
    (tmp_path / "huge").write_bytes(b"#" * (1 << 20) + b"\n")
    (tmp_path / "loop").symlink_to("loop")
    for name, said in {
        "none.hcl": "no such file",
        ".": "folder",
        "latin": "UTF-8",
        "huge": "larger",
        "loop": "cannot be read",
        "a\0b": "cannot be read",
    }.items():
        with pytest.raises(ConfigError, match=said) as caught:
            load(Path(name), variables={}, var_files=[], environ={}, cwd=tmp_path)
        assert caught.value.hint
    with pytest.raises(ConfigError) as caught:
        load(Path("latin"), variables={}, var_files=[], environ={}, cwd=tmp_path)
    assert where(caught.value) == "latin:2"


def test_importing_the_package_loads_neither_parser_nor_pydantic() -> None:
    code = "import sys, harness.config; print([name for name in ('hcl2', 'lark', 'pydantic') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "[]"
