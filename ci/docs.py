"""Keeps the documentation true: fills blocks that a command of harness generates, and tries every relative link.

A block is everything between `<!-- generated: harness rules -->` and `<!-- end -->`; it is replaced by what that command prints. Without
arguments the files are rewritten; with `--check` nothing is written, and a block that would change, or a dead link, ends it with 1.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "README.ko.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**/*.md")
BLOCK = re.compile(r"(?P<open><!-- generated: (?P<command>harness [^\n]*?) -->\n)(?P<body>.*?)(?P<end><!-- end -->)", re.DOTALL)
LINK = re.compile(r"\]\((?P<path>[^)#\s]+)(?:#[^)\s]*)?\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
COMMAND_SECONDS = 120


def pages() -> list[Path]:
    """Return every page of the documentation that there is."""
    return sorted({path for pattern in PAGES for path in ROOT.glob(pattern)})


def generated(command: str) -> str:
    """Return what a command of harness prints, as a block: Markdown as it is, all else as literal text."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    program, *arguments = shlex.split(command)
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=True,
    )
    text = "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())
    return f"{text}\n" if "markdown" in arguments else f"```text\n{text}\n```\n"


def renewed(text: str) -> str:
    """Return a page with every generated block filled anew."""
    return BLOCK.sub(lambda block: block["open"] + generated(block["command"]) + block["end"], text)


def dead_links(page: Path, text: str) -> list[str]:
    """Return the relative links of a page that lead nowhere; the web is not asked."""
    paths = [link["path"] for link in LINK.finditer(FENCE.sub("", text))]
    return [path for path in paths if not re.match(r"[a-z]+:", path) and not (page.parent / path).exists()]


def main(arguments: list[str]) -> int:
    """Renew or compare all pages."""
    check = arguments == ["--check"]
    if arguments and not check:
        print("usage: ci/docs.py [--check]", file=sys.stderr)
        return 2
    mistakes = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        new, name = renewed(text), page.relative_to(ROOT)
        if new != text and check:
            mistakes.append(f"{name}: a generated block is out of date; `ci/nox -s docs` renews it")
        elif new != text:
            page.write_text(new, encoding="utf-8")
            print(f"{name}: renewed")
        mistakes += [f"{name}: dead link {path}" for path in dead_links(page, new)]
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
