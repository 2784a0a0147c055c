"""Walks over configuration text once to find what a parser reports on the wrong line: open quotes, brackets, heredocs.

The same walk finds the end of `${…}` inside a heredoc, which the grammar hands over as one piece of text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from harness.errors import ConfigError, Location

if TYPE_CHECKING:
    from pathlib import Path

DEEPEST = 60
"""Brackets within brackets; real files stay below ten."""

CLOSES = {")": "(", "]": "[", "}": "{"}
HEREDOC = re.compile(r"<<-?([A-Za-z_][A-Za-z0-9._-]*)\n")
PLAIN = re.compile(r"[^\"#/(){}\[\]<\n]+")
QUOTED = re.compile(r"[^\"\\$%\n]+")
CANNOT_NEST = "take a part of it into a `locals` block"


@dataclass(slots=True)
class Scan:
    """A walk over `text` from `position`, which counts lines and keeps what is open."""

    text: str
    path: Path
    position: int = 0
    line: int = 1
    opened: list[tuple[str, int]] = field(default_factory=list)
    """What is open now, outermost first: a bracket, `${` or `"`, and the line it stands on."""

    def whole(self) -> None:
        """Walk to the end of the text; raises ConfigError for anything that stays open or closes nothing."""
        while self.position < len(self.text):
            self._step()
        if self.opened:
            sign, line = self.opened[-1]
            self._fail(f"`{sign}` is opened here and never closed", line, "add the missing `}`" if sign.endswith("{") else "close it")

    def interpolation(self) -> str:
        """Walk from just behind a `${` to its `}`, leave the position behind it, and return what stands between."""
        start = self.position
        self.opened = [("${", self.line)]
        while self.opened:
            if self.position >= len(self.text):
                hint = "add the missing `}`, or write `$${` for the plain characters"
                self._fail("`${` is opened here and never closed", self.opened[0][1], hint)
            self._step()
        return self.text[start : self.position - 1]

    def _step(self) -> None:
        if self.opened and self.opened[-1][0] == '"':
            self._quoted()
        else:
            self._code()

    def _quoted(self) -> None:
        text, at = self.text, self.position
        if text.startswith(("$${", "%%{"), at):
            self.position += 3
        elif text.startswith(("${", "%{"), at):
            self._open("${" if text[at] == "$" else "%{", 2)
        elif text[at] == "\\":
            self.position += 1 if text.startswith("\\\n", at) else 2
        elif text[at] == '"':
            self.opened.pop()
            self.position += 1
        elif text[at] == "\n":
            self._fail(
                "the quoted text that begins here is not closed on its line",
                self.opened[-1][1],
                'close it with `"`; text of several lines is a heredoc, <<EOT … EOT',
            )
        else:
            match = QUOTED.match(text, at)
            self.position = match.end() if match else at + 1

    def _code(self) -> None:
        text, at = self.text, self.position
        sign = text[at]
        if sign == "\n":
            self.line += 1
            self.position += 1
        elif sign == "#" or text.startswith("//", at):
            end = text.find("\n", at)
            self.position = len(text) if end < 0 else end
        elif text.startswith("/*", at):
            self._skip_to("*/", "the comment that begins here is never closed", "close it with `*/`")
        elif sign == "<" and (match := HEREDOC.match(text, at)):
            self._heredoc(match)
        elif sign in '([{"':
            self._open(sign, 1)
        elif sign in CLOSES:
            self._close(sign)
        else:
            match = PLAIN.match(text, at)
            self.position = match.end() if match else at + 1

    def _open(self, sign: str, width: int) -> None:
        if len(self.opened) >= DEEPEST:
            self._fail(f"nested more than {DEEPEST} levels deep", self.line, CANNOT_NEST)
        self.opened.append((sign, self.line))
        self.position += width

    def _close(self, sign: str) -> None:
        if not self.opened:
            self._fail(f"`{sign}` closes nothing", self.line, "remove it, or add what it should close")
        opener, line = self.opened.pop()
        if opener[-1] != CLOSES[sign]:
            self._fail(f"`{sign}` cannot close the `{opener}` of line {line}", self.line, "close the inner one first")
        self.position += 1

    def _heredoc(self, match: re.Match[str]) -> None:
        marker = re.compile(rf"^[ \t]*{re.escape(match[1])}$", re.MULTILINE)
        end = marker.search(self.text, match.end())
        if end is None:
            self._fail(
                f"the heredoc {match[1]} that begins here is never closed", self.line, f"{match[1]} must stand alone on its last line"
            )
        self.line += self.text.count("\n", self.position, end.end())
        self.position = end.end()

    def _skip_to(self, closing: str, message: str, hint: str) -> None:
        end = self.text.find(closing, self.position + 2)
        if end < 0:
            self._fail(message, self.line, hint)
        self.line += self.text.count("\n", self.position, end)
        self.position = end + len(closing)

    def _fail(self, message: str, line: int, hint: str) -> NoReturn:
        raise ConfigError(message, hint=hint, at=Location(self.path, line))


def split_template(text: str, path: Path, line: int) -> list[tuple[str, int, bool]]:
    """Split text with `${…}` into (piece, line, is an expression); `$${` and `%%{` become what they stand for."""
    scan = Scan(text, path, line=line)
    pieces: list[tuple[str, int, bool]] = []
    literal: list[str] = []
    while scan.position < len(text):
        at = scan.position
        if text.startswith(("$${", "%%{"), at):
            literal.append(text[at + 1 : at + 3])
            scan.position += 3
        elif text.startswith("%{", at):
            raise ConfigError(
                "`%{ … }` directives are not supported", hint='use a conditional: "${condition ? a : b}"', at=Location(path, scan.line)
            )
        elif text.startswith("${", at):
            pieces.append(("".join(literal), line, False))
            literal = []
            scan.position += 2
            start = scan.line
            pieces.append((scan.interpolation(), start, True))
        else:
            literal.append(text[at])
            scan.line += text[at] == "\n"
            scan.position += 1
    pieces.append(("".join(literal), line, False))
    return [piece for piece in pieces if piece[2] or piece[0]]
