"""What engines say about a pull becomes one line that says what to do."""

from __future__ import annotations

import pytest

from harness.errors import ContentError
from harness.images import preparation, registry


@pytest.mark.parametrize(
    ("reference", "host"),
    [
        ("public.ecr.aws/amazonlinux/amazonlinux:2", "public.ecr.aws"),
        ("127.0.0.1:5000/a/b", "127.0.0.1:5000"),
        ("localhost/a", "localhost"),
        ("amazonlinux:2", "docker.io"),
        ("library/amazonlinux:2", "docker.io"),
    ],
)
def test_the_registry_of_a_reference(reference: str, host: str) -> None:
    assert registry.host_of(reference) == host


PODMAN = "Error: initializing source docker://r.example/x:1: "
READING = PODMAN + "reading manifest 1 in r.example/x: "
PINGING = PODMAN + 'pinging container registry r.example: Get "https://r.example/v2/": '
DOCKER = "Error response from daemon: "
LOGIN = "podman login r.example"


@pytest.mark.parametrize(
    ("stderr", "message", "hint"),
    [
        (READING + "manifest unknown: manifest unknown", "has no r.example/x:1", "tag"),
        (DOCKER + "manifest for r.example/x:1 not found: manifest unknown: manifest unknown", "has no r.example/x:1", "tag"),
        (READING + "name unknown: repository name not known to registry", "has no r.example/x:1", "name"),
        (READING + "unauthorized: authentication required", "private", LOGIN),
        (PODMAN + "Requesting bearer token: invalid status code from registry 403 (Forbidden)", "private", LOGIN),
        (DOCKER + "pull access denied for x, repository does not exist or may require 'docker login'", "private", LOGIN),
        (DOCKER + "toomanyrequests: You have reached your pull rate limit.", "rate limit", LOGIN),
        (PINGING + "dial tcp: lookup r.example on 10.0.0.2:53: no such host", "(r.example: no such host)", "--base standin"),
        (DOCKER + "net/http: request canceled while waiting for connection (Client.Timeout exceeded)", "not answer", "--base standin"),
        (PINGING + "http: server gave HTTP response to HTTPS client", "plain HTTP", "tls_verify = false"),
        (DOCKER + "Get https://r.example/v2/: x509: certificate signed by unknown authority", "not trusted", "CA"),
        ('Error: short-name "x:1" did not resolve to an alias', "does not say which registry", "docker.io/library/"),
        ("Error: writing blob: storing blob: write /var/tmp/x: no space left on device", "no space", "system df"),
        ("Error: mkdir /var/lib/containers: permission denied", "cannot be pulled: mkdir", "--base standin"),
        ("Error: something new", "cannot be pulled: something new", "--base standin"),
    ],
)
def test_a_refusal_says_what_to_do(stderr: str, message: str, hint: str) -> None:
    error = registry.refusal("r.example/x:1", "podman", f"Trying to pull r.example/x:1...\n{stderr}\n".encode())
    assert message in error.message
    assert error.hint is not None
    assert hint in error.hint
    assert error.exit_code == 3


DIGESTS = ("sha256:" + "a" * 64, "sha256:" + "b" * 64, "sha256:" + "c" * 64)


@pytest.mark.parametrize(
    ("about", "reference", "digest"),
    [
        ({"RepoDigests": [f"r/x@{DIGESTS[0]}", f"r/x@{DIGESTS[1]}"], "Digest": DIGESTS[1], "Id": "i"}, "r/x:1", DIGESTS[1]),
        ({"RepoDigests": [f"r/y@{DIGESTS[0]}", f"r/x@{DIGESTS[1]}"], "Id": "i"}, "r/x:1", DIGESTS[1]),
        ({"RepoDigests": [f"docker.io/library/x@{DIGESTS[0]}"], "Id": "i"}, "x:1", DIGESTS[0]),
        ({"RepoDigests": [f"r:5/x@{DIGESTS[0]}"], "Id": "i"}, "r:5/x", DIGESTS[0]),
        ({"RepoDigests": [f"r/x@{DIGESTS[0]}"], "Id": "i"}, f"r/x@{DIGESTS[2]}", DIGESTS[2]),
        ({"RepoDigests": None, "Id": "c" * 64}, "localhost/x:1", DIGESTS[2]),
        ({"RepoDigests": [], "Id": DIGESTS[2]}, "x:1", DIGESTS[2]),
    ],
)
def test_the_digest_is_the_registrys_where_there_is_one(about: dict[str, object], reference: str, digest: str) -> None:
    assert registry.digest_of(about, reference) == digest


@pytest.mark.parametrize("baseline", ["al2", "al2023"])
def test_package_lists_are_complete_and_name_nothing_twice(baseline: str) -> None:
    packages = preparation.packages_of(baseline)
    names = [*packages.required, *packages.wanted]
    assert len(set(names)) == len(names)
    assert {"systemd", "openssh-server", "sudo", "audit", "chrony"} <= set(packages.required)
    # neither is on an AL2023 AMI
    assert {"rsyslog", "cronie"} <= set(packages.required) or baseline == "al2023"
    assert baseline == "al2" or not {"rsyslog", "cronie", "authconfig"} & set(names)


def test_a_baseline_without_a_list_is_told() -> None:
    with pytest.raises(ContentError, match="al2032") as caught:
        preparation.packages_of("al2032")
    assert caught.value.hint == "known: al2, al2023"
