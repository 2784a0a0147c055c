"""The commands as users type them: exit codes, one line and a hint, and a gate that cannot be forgotten."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import boto3
import pytest
import yaml

from tests.publish.stage import ACCOUNT, REGION, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")
CLEAN = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "HARNESS_"))}
SECONDS = 120
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


def harness(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder, with no credentials but those given."""
    alone = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": str(folder / "none"), "HOME": str(folder)}
    path = os.pathsep.join(sys.path)
    given = {**CLEAN, **alone, "PYTHONPATH": path, **environment}
    program = "from harness.cli import main; main()"
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, timeout=SECONDS, check=False)


def told(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    """Return exit code, error and hint; anything else on standard error is a defect."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("[")]
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    return done.returncode, lines[0], lines[1]


@pytest.fixture
def company(stage: Stage, tmp_path: Path) -> dict[str, str]:
    """Write the mission's tfvars for the network in memory; return what the commands need of the environment."""
    (tmp_path / "terraform.tfvars").write_text(f'vpc_id = "{stage.vpc}"\nsubnet_id = "{stage.subnet}"\n', "utf-8")
    return {"AWS_ENDPOINT_URL": stage.endpoint.url, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


def test_from_plan_to_destroy(tmp_path: Path, company: dict[str, str]) -> None:
    reason = ("--despite-gate", "a test has no evidence")
    plan = harness(tmp_path, "plan", "--format", "json", "--detailed-exitcode", **company)
    assert plan.returncode == 1
    data = json.loads(plan.stdout)
    assert data["summary"]["create"] == len(data["changes"])
    assert len(data["next_runs"]) == 5
    assert harness(tmp_path, "publish", "--yes", **company).returncode == 1
    assert told(harness(tmp_path, "publish", *reason, **company))[0] == 2
    done = harness(tmp_path, "publish", "--yes", *reason, **company)
    assert done.returncode == 0, done.stderr
    assert "published  isms-golden-ami-al2" in done.stdout
    assert "a test has no evidence" in done.stdout
    again = harness(tmp_path, "publish", "--yes", *reason, **company)
    assert again.returncode == 0
    assert "0 to create, 0 to update" in again.stdout
    started = harness(tmp_path, "pipeline", "start", **company)
    assert started.stdout.strip().endswith("image/isms-golden-ami-al2/1.0.0/1")
    assert "1.0.0/1     PENDING" in harness(tmp_path, "pipeline", "status", **company).stdout
    assert "CANCELLED" in harness(tmp_path, "pipeline", "cancel", **company).stdout
    assert told(harness(tmp_path, "destroy", **company))[0] == 2
    assert harness(tmp_path, "destroy", "--yes", **company).returncode == 0
    assert harness(tmp_path, "destroy", **company).returncode == 0


def test_two_publishers_at_once_as_processes(tmp_path: Path, company: dict[str, str]) -> None:
    def publisher(kind: str) -> tuple[str, ...]:
        return ("publish", "--yes", "--quiet", "--despite-gate", "a race", "--var", f'instance_types=["{kind}"]')

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda kind: harness(tmp_path, *publisher(kind), **company), ("m5.large", "t3.large")))
    # Who comes so late that the other one is done already wins as well; nobody loses in silence, and never both.
    assert 0 in {done.returncode for done in ended}
    for done in ended:
        if done.returncode != 0:
            assert told(done)[0] == 1
    again = harness(tmp_path, *publisher("m5.large"), **company)
    assert again.returncode == 0, again.stderr
    plan = json.loads(harness(tmp_path, *publisher("m5.large"), "--format", "json", **company).stdout)
    assert plan["summary"] == {"create": 0, "update": 0, "keep": len(plan["changes"]), "retire": 0}
    pipelines = boto3.client("imagebuilder", region_name=REGION, endpoint_url=company["AWS_ENDPOINT_URL"]).list_image_pipelines()
    assert len(pipelines["imagePipelineList"]) == 1


def test_example_of_the_mission_is_accepted_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "terraform.tfvars").write_text(MISSION, "utf-8")
    done = harness(tmp_path, "export", "cloudformation", "-o", "out")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "template.yaml").read_text("utf-8")
    assert all(
        word in text for word in ("subnet-xxxxxxxxx", "vpc-xxxxxxxxx", "key/xxxxxxxx-", "t3.medium", "t3.large", "cron(0 2 ? * sun *)")
    )


def test_closed_gate_gives_every_reason(tmp_path: Path, company: dict[str, str]) -> None:
    done = harness(tmp_path, "publish", "--yes", **company)
    assert done.returncode == 1
    assert "closed: al2: " in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("empty", ["", "!!!"])
def test_a_reason_that_says_nothing_opens_nothing(tmp_path: Path, company: dict[str, str], empty: str) -> None:
    code, error, hint = told(harness(tmp_path, "publish", "--yes", f"--despite-gate={empty}", **company))
    assert (code, "is no reason" in error, "in words" in hint) == (2, True, True)


def test_policy_is_printed_for_this_account(tmp_path: Path, company: dict[str, str]) -> None:
    done = harness(tmp_path, "publish", "--print-iam-policy", **company)
    assert done.returncode == 0
    assert f"isms-golden-ami-image-builder-logs-{ACCOUNT}-{REGION}" in done.stdout
    assert json.loads(done.stdout)["Version"] == "2012-10-17"


def test_export_needs_no_account(tmp_path: Path) -> None:
    (tmp_path / "terraform.tfvars").write_text('vpc_id = "vpc-12345678"\nsubnet_id = "subnet-12345678"\n', "utf-8")
    done = harness(tmp_path, "export", "cloudformation", "-o", "out")
    assert done.returncode == 0, done.stderr
    template = yaml.safe_load((tmp_path / "out" / "template.yaml").read_text("utf-8"))
    assert {"Pipeline", "Recipe", "Logs", "BuildGroup"} <= set(template["Resources"])
    assert all((tmp_path / line).is_file() for line in done.stdout.split())


def test_no_credentials(tmp_path: Path) -> None:
    code, error, hint = told(harness(tmp_path, "pipeline", "status"))
    assert (code, "no AWS credentials" in error, "AWS_PROFILE" in hint) == (3, True, True)


def test_wrong_region(tmp_path: Path, company: dict[str, str]) -> None:
    code, error, _ = told(harness(tmp_path, "plan", "--var", "aws_region=us-east-1", **company))
    assert code == 2
    assert "no subnet" in error or "us-east-1" in error


def test_network_is_needed(tmp_path: Path, company: dict[str, str]) -> None:
    code, error, hint = told(harness(tmp_path, "plan", "--var", "subnet_id=", **company))
    assert (code, "subnet_id" in error, "terraform.tfvars" in hint) == (2, True, True)


def test_pipeline_that_is_not_there(tmp_path: Path, company: dict[str, str]) -> None:
    for arguments in (("start",), ("status",), ("watch",), ("logs",), ("cancel",)):
        code, error, hint = told(harness(tmp_path, "pipeline", *arguments, **company))
        assert (code, "no pipeline" in error, "harness publish" in hint) == (2, True, True)


ANSWER = "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{code} it is</Message></Error></ErrorResponse>"


@pytest.fixture
def refusing(request: pytest.FixtureRequest) -> Iterator[str]:
    """Serve one refusal to every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = ANSWER.format(code=request.param).encode()
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("refusing", "word"),
    [("ExpiredToken", "expired"), ("InvalidClientTokenId", "does not know"), ("AccessDenied", "GetCallerIdentity")],
    indirect=["refusing"],
)
def test_credentials_that_are_no_good(tmp_path: Path, refusing: str, word: str) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    code, error, _ = told(harness(tmp_path, "pipeline", "status", "--endpoint-url", refusing, **keys))
    assert code == 3
    assert word in error


def test_help_loads_no_aws() -> None:
    program = "import sys; import harness.cli; print([name for name in ('boto3', 'botocore', 'moto', 'yaml') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert done.stdout == "[]\n"
