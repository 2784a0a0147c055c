"""Whether sudo asks, remembers and records as it should, and who can change that."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.suite import CannotTell, Host, Parameters, expect, path, paths, rule, texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAIN = "/etc/sudoers"
FOLDER = "/etc/sudoers.d"
INCLUDE = re.compile(rf"^\s*[#@]includedir\s+{FOLDER}/?\s*$")
DEFAULTS = re.compile(r"^Defaults(?P<scope>[:@!>][^\s]*)?\s+(?P<items>.*)$")
ITEM = re.compile(r'(?:[^,"\\]|\\.|"(?:[^"\\]|\\.)*")+')


@dataclass(frozen=True, slots=True)
class Default:
    """One setting of a Defaults line."""

    file: str
    scope: str
    """Empty for everybody; `:alice` for a user, `@`, `!`, `>` for host, command and target user."""
    name: str
    on: bool
    value: str


def lines(host: Host) -> Iterator[tuple[str, str]]:
    """Yield file and line in the order in which sudo reads them, continuations joined, comments left out."""
    files = texts(host, f"{MAIN} {FOLDER}/*")
    for line in joined(files.get(MAIN, "")):
        if INCLUDE.match(line):
            for name, text in files.items():
                if name.startswith(FOLDER) and "." not in name.removeprefix(FOLDER) and not name.endswith("~"):
                    yield from ((name, each) for each in joined(text) if not each.startswith(("#", "@")))
        elif not re.match(r"#(?!\d)|@", line):
            yield MAIN, line


def joined(text: str) -> Iterator[str]:
    """Yield logical lines without blanks around them; empty ones are left out."""
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        if line.strip():
            yield line.strip()


def defaults(host: Host) -> list[Default]:
    """Return every setting of every Defaults line, in order."""
    found = []
    for file, line in lines(host):
        if match := DEFAULTS.match(line):
            for item in ITEM.findall(match["items"]):
                name, _, value = item.strip().partition("=")
                bare = name.strip().rstrip("+-").strip()
                found.append(Default(file, match["scope"] or "", bare.lstrip("! "), not bare.startswith("!"), value.strip().strip('"')))
    return found


def effective(host: Host, name: str) -> Default | None:
    """Return the last setting for everybody; None when there is none."""
    return next((each for each in reversed(defaults(host)) if each.name == name and not each.scope), None)


def loosened(host: Host, name: str) -> list[str]:
    """Return where a setting is switched off for some users, hosts or commands."""
    return [f"{each.file}: Defaults{each.scope} !{name}" for each in defaults(host) if each.name == name and each.scope and not each.on]


@rule("sudo-sudoers-mode")
def test_sudoers_mode(host: Host) -> None:
    facts = path(host, MAIN)
    expect(f"owner of {MAIN}", facts and f"{facts.owner}:{facts.group}", equals="root:root")
    expect(f"mode of {MAIN}", facts and facts.octal, that=lambda mode: not int(mode, 8) & ~0o440, expected="0440 or less")


@rule("sudo-dropin-modes")
def test_dropin_modes(host: Host) -> None:
    loose = {
        name: f"{facts.octal} {facts.owner}:{facts.group}"
        for name, facts in paths(host, f"{FOLDER}/*").items()
        if facts.beyond(0o440) or (facts.owner, facts.group) != ("root", "root")
    }
    expect(f"files of {FOLDER} beyond root:root 0440", loose, equals={})


@rule("sudo-folder-mode")
def test_folder_mode(host: Host) -> None:
    facts = path(host, FOLDER)
    expect(f"owner of {FOLDER}", facts and f"{facts.owner}:{facts.group}", equals="root:root")
    expect(f"mode of {FOLDER}", facts and facts.octal, that=lambda mode: not int(mode, 8) & ~0o750, expected="0750 or less")


@rule("sudo-include")
def test_include(host: Host) -> None:
    text = texts(host, MAIN).get(MAIN)
    expect(f"{MAIN} includes {FOLDER}", None if text is None else any(map(INCLUDE.match, text.splitlines())), equals=True)


@rule("sudo-syntax")
def test_syntax(host: Host) -> None:
    # -f leaves modes to their own rules. A newer visudo shows the line that it does not understand, whatever that may be: it stays there.
    result = host.run(
        f"said=$(visudo -cf {MAIN} 2>&1); code=$?; "
        r"""printf '%s\n' "$said" | grep -E '^(>>> |visudo: |parse error|/[^ ]*: )|not found'; exit $code"""
    )
    if result.rc not in {0, 1}:
        message = f"visudo ended with {result.rc}: {result.stderr.strip()}"
        raise CannotTell(message)
    said = [line for line in (result.stdout + result.stderr).splitlines() if line.strip() and not line.endswith("parsed OK")]
    expect("what visudo complains about", said if result.rc else [], equals=[])


@rule("sudo-use-pty")
def test_use_pty(host: Host) -> None:
    setting = effective(host, "use_pty")
    expect("use_pty", setting and setting.on, equals=True)
    expect("use_pty switched off", loosened(host, "use_pty"), equals=[])


@rule("sudo-logfile")
def test_logfile(host: Host) -> None:
    setting = effective(host, "logfile")
    expect("logfile", setting and setting.on and setting.value, equals="/var/log/sudo.log")
    expect("logfile switched off", loosened(host, "logfile"), equals=[])


@rule("sudo-authenticate")
def test_authenticate(host: Host) -> None:
    off = [f"{each.file}: Defaults{each.scope} !authenticate" for each in defaults(host) if each.name == "authenticate" and not each.on]
    expect("authentication switched off", off, equals=[])


@rule("sudo-nopasswd")
def test_nopasswd(host: Host, parameters: Parameters) -> None:
    found: Mapping[str, str] = {
        user.strip(): file
        for file, line in lines(host)
        if re.search(r"\bNOPASSWD\s*:", line) and not re.match(r"Defaults|\w+_Alias\b", line)
        for user in re.split(r"(?<!,)\s+", line, maxsplit=1)[0].split(",")
    }
    expect("users that need no password", sorted(found), within=parameters.words("sudo_nopasswd_users"))


@rule("sudo-timestamp-timeout")
def test_timestamp_timeout(host: Host, parameters: Parameters) -> None:
    setting, most = effective(host, "timestamp_timeout"), parameters.integer("sudo_timestamp_timeout")
    # Not stated is 5 minutes, or what the distribution compiled in.
    expect("timestamp_timeout", setting and setting.value, at_least=0, at_most=most)
    for each in defaults(host):
        if each.name == "timestamp_timeout" and each.scope:
            expect(f"timestamp_timeout of {each.scope}", each.value if each.on else 0, at_least=0, at_most=most)


@rule("sudo-secure-path")
def test_secure_path(host: Host) -> None:
    setting = effective(host, "secure_path")
    expect("secure_path", setting and setting.on and setting.value, matches=r"^/[^:]*(:/[^:]*)*$")
    expect("secure_path switched off", loosened(host, "secure_path"), equals=[])
