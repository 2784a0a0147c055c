"""Logging in to a real container through its own sshd and PAM: let in, refused, and nothing left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import engine as engines
from harness.images import standin
from harness.images.cache import Cache
from harness.login import Login, Refused
from harness.suite import CannotTell
from harness.targets.container import ContainerTarget

if TYPE_CHECKING:
    from collections.abc import Generator

USER = "ec2-user"
KEYS = f"cd ~{USER} && stat -c '%n %a %U:%G %y' .ssh .ssh/* && cat .ssh/*; ls -d /run/isms-login-*"


@pytest.fixture(scope="module")
def target() -> Generator[ContainerTarget]:
    engine = engines.adapt(engines.find(), say=lambda _: None)
    image = standin.build("al2", engine, Cache(), print).reference
    with ContainerTarget.start(engine, image) as target:
        target.run(f"cd ~{USER}; install -d -m 0700 -o {USER} .ssh; echo 'ssh-ed25519 AAAA somebody' >.ssh/authorized_keys")
        yield target


class Counting:
    """A target that counts how often somebody wants to reach its sshd."""

    def __init__(self, target: ContainerTarget) -> None:
        self._target = target
        self.tries = 0
        self.run = target.run
        self.uri, self.name = target.uri, target.name

    def proxy_command(self) -> list[str]:
        self.tries += 1
        return self._target.proxy_command()


def login(target: object) -> Login:
    return Login(target)  # type: ignore[arg-type]  # a part of a target is enough


def test_all_that_a_user_does_goes_over_one_connection_and_the_keys_come_back(target: ContainerTarget) -> None:
    before = target.run(KEYS).out
    counting = Counting(target)
    with login(counting) as way_in:
        assert way_in(USER, "id -un; exit 3") == (3, f"{USER}\n", "")
        assert way_in(USER, "echo said >&2; cat") == (0, "", "said\n")
        assert isinstance(way_in.banner(USER), str)
        assert counting.tries == 1
        assert target.run(KEYS).out != before
    assert "somebody" in before
    assert target.run(KEYS).out == before


def test_an_account_that_pam_refuses_is_noticed_when_sshd_hangs_up_and_is_not_tried_again(target: ContainerTarget) -> None:
    """The connection then ends, which is not the same as no answer: that would be a time-out, 20 s later."""
    target.run(f"chage -E 1 {USER}")
    counting = Counting(target)
    try:
        with login(counting) as way_in:
            for _ in range(2):
                with pytest.raises(Refused, match=f"{USER} cannot log in with a key") as caught:
                    way_in(USER, "true")
                assert "timeout" not in str(caught.value).lower()
            with pytest.raises(Refused):
                way_in.banner(USER)
    finally:
        target.run(f"chage -E -1 {USER}")
    assert counting.tries == 1


def test_nobody_of_that_name_and_no_way_in_cannot_be_told(target: ContainerTarget) -> None:
    with login(target) as way_in, pytest.raises(CannotTell, match="no key can be added for nobody-knows"):
        way_in("nobody-knows", "true")

    class Elsewhere:
        uri = "ssm://i-0"

    with login(Elsewhere()) as way_in, pytest.raises(CannotTell, match="ssm://i-0 gives no way to reach its sshd"):
        way_in(USER, "true")
