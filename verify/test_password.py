"""Whether passwords are well chosen, stored, aged and guarded, and whoever has none is left alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import pytest

from harness.suite import REMEMBERED, CannotTell, Host, Parameters, database, expect, key_values, read, rule, texts, unit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LOGIN_DEFS, SHADOW = "/etc/login.defs", "/etc/shadow"
STACKS = ("/etc/pam.d/system-auth", "/etc/pam.d/password-auth")
# libpwquality reads the folder first and its main file last; the last value wins.
QUALITY = "/etc/security/pwquality.conf.d/*.conf /etc/security/pwquality.conf"
FAILLOCK = "/etc/security/faillock.conf"
NEVER = 99999
"""Days that chage writes for "never"."""
LINE = re.compile(r"^-?(?P<kind>auth|account|password|session)\s+(?P<control>\[[^\]]*\]|\S+)\s+(?P<module>\S+)(?P<arguments>.*)$")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a PAM stack."""

    kind: str
    control: str
    module: str
    arguments: tuple[str, ...]

    def value(self, name: str) -> str | None:
        """Return the value of `name=value`; the last one counts."""
        found = [argument.partition("=")[2] for argument in self.arguments if argument.startswith(name + "=")]
        return found[-1] if found else None


def stack(host: Host, name: str) -> Sequence[Line]:
    """Return the lines of a stack. Raises CannotTell when there is no such stack."""
    text = read(host, name)
    if text is None:
        message = f"there is no {name}"
        raise CannotTell(message)
    return stack_of(text)


@lru_cache(REMEMBERED)
def stack_of(text: str) -> Sequence[Line]:
    """Read the lines of a stack."""
    found = []
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        if match := LINE.match(line.split("#", 1)[0].strip()):
            module = match["module"].rsplit("/", 1)[-1]
            found.append(Line(match["kind"], match["control"], module, tuple(match["arguments"].split())))
    return found


def of(host: Host, name: str, kind: str, module: str) -> list[Line]:
    """Return the lines of one kind and module."""
    return [line for line in stack(host, name) if (line.kind, line.module) == (kind, module)]


def login_defs(host: Host, key: str) -> str | None:
    """Return a value of login.defs."""
    return key_values(read(host, LOGIN_DEFS), " ").get(key)


@rule("password-max-days")
def test_max_days(host: Host, parameters: Parameters) -> None:
    expect("PASS_MAX_DAYS", login_defs(host, "PASS_MAX_DAYS"), at_least=1, at_most=parameters.integer("password_max_days"))


@rule("password-min-days")
def test_min_days(host: Host, parameters: Parameters) -> None:
    expect("PASS_MIN_DAYS", login_defs(host, "PASS_MIN_DAYS"), at_least=parameters.integer("password_min_days"))


@rule("password-warn-days")
def test_warn_days(host: Host, parameters: Parameters) -> None:
    expect("PASS_WARN_AGE", login_defs(host, "PASS_WARN_AGE"), at_least=parameters.integer("password_warn_days"))


@dataclass(frozen=True, slots=True)
class Shadow:
    """One line of /etc/shadow; None where a field is empty, which means never."""

    name: str
    field: str
    """The kind of the password: locked, empty, or the algorithm of its hash."""
    least: int | None
    most: int | None
    warning: int | None
    inactive: int | None

    @property
    def usable(self) -> bool:
        """Tell whether a password can open the account."""
        return bool(self.field) and not self.field.startswith(("!", "*"))

    @property
    def ageing(self) -> str:
        """The values as a reader wants to see them."""
        return f"min {self.least} max {self.most} warn {self.warning} inactive {self.inactive}"


def shadow(host: Host) -> Iterator[Shadow]:
    """Yield the accounts of shadow. Raises CannotTell when it is missing or holds what is no account."""
    lines = database(host, SHADOW)
    if lines is None:
        message = f"there is no {SHADOW}"
        raise CannotTell(message)
    for line in lines:
        name, field, _, *numbers = [*line, *[""] * 9][:9]
        if not name or name.startswith("+"):
            continue
        try:
            least, most, warning, inactive = (int(number) if number.strip() else None for number in numbers[:4])
        except ValueError as error:
            message = f"{SHADOW}: {name} has an ageing that is no number"
            raise CannotTell(message) from error
        yield Shadow(name, field, least, most, warning, inactive)


@rule("password-ageing")
def test_ageing(host: Host, parameters: Parameters) -> None:
    longest, shortest, warning = (parameters.integer(f"password_{name}_days") for name in ("max", "min", "warn"))
    found = {
        each.name: each.ageing
        for each in shadow(host)
        if each.usable
        and not (each.most is not None and 1 <= each.most <= longest and (each.least or 0) >= shortest and (each.warning or 0) >= warning)
    }
    expect(f"passwords beyond max {longest}, min {shortest}, warn {warning}", found, equals={})


@rule("password-key-only-accounts")
def test_key_only_accounts(host: Host) -> None:
    found = {
        each.name: each.ageing
        for each in shadow(host)
        if each.field.startswith(("!", "*")) and ((each.most is not None and 0 <= each.most < NEVER) or (each.inactive or -1) >= 0)
    }
    expect("accounts without a password that age", found, equals={})


@rule("password-ageing-timer")
def test_ageing_timer(host: Host) -> None:
    expect("isms-password-ageing.timer", unit(host, "isms-password-ageing.timer").file or None, equals="enabled")


def quality(host: Host, name: str) -> Mapping[str, str]:
    """Return what pam_pwquality goes by in a stack: its files, then the arguments of its line; flags have the value `yes`."""
    values: dict[str, str] = {}
    for text in texts(host, QUALITY).values():
        for raw in text.splitlines():
            key, _, value = raw.split("#", 1)[0].partition("=")
            if key.strip():
                values[key.strip()] = value.strip() or "yes"
    for line in of(host, name, "password", "pam_pwquality.so"):
        for argument in line.arguments:
            key, _, value = argument.partition("=")
            values[key] = value or "yes"
    return values


def precedes(order: list[str], module: str) -> bool:
    """Tell whether a module comes before pam_unix, which stores the password."""
    return module in [*order, "pam_unix.so"][: [*order, "pam_unix.so"].index("pam_unix.so")]


@pytest.mark.parametrize("name", STACKS)
@rule("password-quality-module")
def test_quality_module(host: Host, name: str) -> None:
    order = [
        line.module for line in stack(host, name) if line.kind == "password" and line.control in {"required", "requisite", "sufficient"}
    ]
    lines = of(host, name, "password", "pam_pwquality.so")
    expect(f"pam_pwquality in {name}", lines[0].control if lines else None, one_of=("required", "requisite"))
    expect(
        f"modules for new passwords of {name}",
        order,
        that=lambda seen: precedes(seen, "pam_pwquality.so"),
        expected="pam_pwquality.so before pam_unix.so",
    )
    expect(f"enforcing for {name}", quality(host, name).get("enforcing", "1"), equals="1")


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize(
    ("key", "low", "high"),
    [
        pytest.param("minlen", "password_min_length", None, marks=rule("password-length")),
        pytest.param("lcredit", None, -1, marks=rule("password-lowercase")),
        pytest.param("ucredit", None, -1, marks=rule("password-uppercase")),
        pytest.param("dcredit", None, -1, marks=rule("password-digits")),
        pytest.param("ocredit", None, -1, marks=rule("password-specials")),
        pytest.param("minclass", 4, None, marks=rule("password-classes")),
        pytest.param("maxrepeat", 1, "password_max_repeat", marks=rule("password-repeats")),
        pytest.param("maxsequence", 1, "password_max_sequence", marks=rule("password-sequences")),
        pytest.param("difok", "password_min_difference", None, marks=rule("password-difference")),
    ],
)
def test_quality(host: Host, parameters: Parameters, name: str, key: str, low: int | str | None, high: int | str | None) -> None:  # noqa: PLR0913 - a row of the table above
    least = parameters.integer(low) if isinstance(low, str) else low
    most = parameters.integer(high) if isinstance(high, str) else high
    expect(f"{key} for {name}", quality(host, name).get(key), at_least=least, at_most=most)


@pytest.mark.parametrize("name", STACKS)
@rule("password-dictionary")
def test_dictionary(host: Host, name: str) -> None:
    # Not stated is on; libraries before 1.3 know no such key and always look.
    expect(f"dictcheck for {name}", quality(host, name).get("dictcheck", "1"), at_least=1)


@pytest.mark.parametrize("name", STACKS)
@rule("password-quality-root")
def test_quality_root(host: Host, name: str) -> None:
    expect(f"enforce_for_root for {name}", quality(host, name).get("enforce_for_root"), equals="yes")


@pytest.mark.parametrize("name", STACKS)
@rule("password-history")
def test_history(host: Host, parameters: Parameters, name: str) -> None:
    lines = of(host, name, "password", "pam_pwhistory.so")
    expect(f"pam_pwhistory in {name}", lines[0].control if lines else None, one_of=("required", "requisite"))
    expect(f"remember for {name}", lines[0].value("remember"), at_least=parameters.integer("password_history"))
    expect(f"arguments of pam_pwhistory in {name}", lines[0].arguments, includes=("use_authtok",))
    order = [line.module for line in stack(host, name) if line.kind == "password"]
    expect(
        f"modules for new passwords of {name}",
        order,
        that=lambda seen: precedes(seen, "pam_pwhistory.so"),
        expected="pam_pwhistory.so before pam_unix.so",
    )


@pytest.mark.parametrize("name", STACKS)
@rule("password-history-root")
def test_history_root(host: Host, name: str) -> None:
    lines = of(host, name, "password", "pam_pwhistory.so")
    expect(f"arguments of pam_pwhistory in {name}", lines[0].arguments if lines else None, includes=("enforce_for_root",))


@pytest.mark.parametrize("name", STACKS)
@rule("password-lockout-module")
def test_lockout_module(host: Host, name: str) -> None:
    marks: list[str] = []
    for line in stack(host, name):
        if line.kind == "auth" and line.module == "pam_faillock.so":
            marks += [step for step in ("preauth", "authfail") if step in line.arguments]
        elif line.kind == "auth" and line.module in {"pam_unix.so", "pam_deny.so"}:
            marks.append(line.module)
    expect(f"auth lines of {name}", marks, equals=["preauth", "pam_unix.so", "authfail", "pam_deny.so"])
    account = [line.module for line in stack(host, name) if line.kind == "account"]
    expect(f"account lines of {name}", account, includes=("pam_faillock.so",))
    expect(f"first account line of {name}", account[0], equals="pam_faillock.so")


def lockout(host: Host, name: str) -> list[tuple[str, Mapping[str, str]]]:
    """Return what each counting line of a stack goes by: faillock.conf, then its own arguments; flags have the value `yes`."""
    values: dict[str, str] = {}
    for raw in (read(host, FAILLOCK) or "").splitlines():
        key, _, value = raw.split("#", 1)[0].partition("=")
        if key.strip():
            values[key.strip()] = value.strip() or "yes"
    found: list[tuple[str, Mapping[str, str]]] = []
    for line in of(host, name, "auth", "pam_faillock.so"):
        own = {argument.partition("=")[0]: argument.partition("=")[2] or "yes" for argument in line.arguments}
        found.append((next((step for step in ("preauth", "authfail") if step in own), "line"), {**values, **own}))
    return found


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize(
    ("key", "low", "high"),
    [
        pytest.param("deny", 1, "password_lockout_attempts", marks=rule("password-lockout-attempts")),
        pytest.param("unlock_time", "password_lockout_seconds", None, marks=rule("password-lockout-time")),
        # Not stated is 900, pam_faillock's own value.
        pytest.param("fail_interval", 900, None, marks=rule("password-lockout-time")),
    ],
)
def test_lockout(host: Host, parameters: Parameters, name: str, key: str, low: int | str, high: str | None) -> None:  # noqa: PLR0913 - a row of the table above
    least = parameters.integer(low) if isinstance(low, str) else low
    found = lockout(host, name)
    expect(f"pam_faillock in {name}", "there" if found else None, equals="there")
    for step, values in found:
        value = values.get(key, "900" if key == "fail_interval" else None)
        if key == "unlock_time" and value in {"0", "never"}:
            expect(f"{key} for {step} of {name}", value, one_of=("0", "never"))
        else:
            expect(f"{key} for {step} of {name}", value, at_least=least, at_most=parameters.integer(high) if high else None)


@pytest.mark.parametrize("name", STACKS)
@rule("password-lockout-root")
def test_lockout_root(host: Host, name: str) -> None:
    found = lockout(host, name)
    expect(f"pam_faillock in {name}", "there" if found else None, equals="there")
    for step, values in found:
        expect(f"even_deny_root for {step} of {name}", values.get("even_deny_root"), equals="yes")


@rule("password-hash-login-defs")
def test_hash_login_defs(host: Host) -> None:
    expect("ENCRYPT_METHOD", login_defs(host, "ENCRYPT_METHOD"), one_of=("SHA512", "YESCRYPT"))
    expect("MD5_CRYPT_ENAB", login_defs(host, "MD5_CRYPT_ENAB") or "no", equals="no")


@pytest.mark.parametrize("name", STACKS)
@rule("password-hash-pam")
def test_hash_pam(host: Host, name: str) -> None:
    methods = {"md5", "bigcrypt", "sha256", "sha512", "blowfish", "yescrypt", "gost_yescrypt"}
    lines = of(host, name, "password", "pam_unix.so")
    chosen = [argument for line in lines for argument in line.arguments if argument in methods]
    expect(f"hash of pam_unix in {name}", chosen[-1] if chosen else None, one_of=("sha512", "yescrypt"))


@pytest.mark.parametrize("name", STACKS)
@rule("password-hash-rounds")
def test_hash_rounds(host: Host, parameters: Parameters, name: str) -> None:
    least = parameters.integer("password_hash_rounds")
    for line in of(host, name, "password", "pam_unix.so"):
        # yescrypt counts differently and is slow by itself.
        if "yescrypt" not in line.arguments:
            expect(f"rounds of pam_unix in {name}", line.value("rounds"), at_least=least)
    if login_defs(host, "ENCRYPT_METHOD") != "YESCRYPT":
        expect("SHA_CRYPT_MIN_ROUNDS", login_defs(host, "SHA_CRYPT_MIN_ROUNDS"), at_least=least)


@rule("password-hash-accounts")
def test_hash_accounts(host: Host) -> None:
    weak = [each.name for each in shadow(host) if each.usable and not re.match(r"\$(5|6|7|y|gy)\$", each.field)]
    expect("accounts with a weak hash", weak, equals=[])


@pytest.mark.parametrize("name", STACKS)
@rule("password-nullok")
def test_nullok(host: Host, name: str) -> None:
    found = [line.kind for line in stack(host, name) if line.module == "pam_unix.so" and {"nullok", "nullok_secure"} & set(line.arguments)]
    expect(f"pam_unix lines with nullok in {name}", found, equals=[])
