"""Finding one command's output in the endless streams of a shell, and its lines as they arrive."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class Frame:
    """One output stream of one command: what stands between its start marker and its end marker."""

    marker: bytes
    feed: Callable[[bytes], None]
    pieces: list[bytes] = field(default_factory=list)
    start: bytes | None = None
    """What the start marker carries; None before it was seen."""
    end: bytes | None = None
    """What the end marker carries; None before it was seen."""
    stray: bytes = b""
    """The end of what arrived outside of the markers: an earlier command left something behind that writes, or the shell did not start."""
    _pending: bytes = b""

    @property
    def content(self) -> bytes:
        """Return all that has arrived behind the start marker, up to the end marker if there is one."""
        return b"".join(self.pieces) + (self._pending if self.end is None else b"")

    def take(self, data: bytes) -> None:
        """Add bytes as they arrive. Each byte is looked at once, whatever the amount."""
        data = self._pending + data if self._pending else data
        while self.end is None:
            at = data.find(self.marker)
            close = data.find(b"\0", at + len(self.marker)) if at >= 0 else -1
            if close < 0:
                held = at if at >= 0 else len(data) - self._possible(data)
                self._content(data[:held])
                self._pending = data[held:]
                return
            self._content(data[:at])
            carried = data[at + len(self.marker) : close].strip()
            if carried.startswith(b"="):
                self.end = carried[1:]
            else:
                self.start = carried
            data = data[close + 1 :]
        self._pending = b""
        self.stray = (self.stray + data)[-4096:]

    def _possible(self, data: bytes) -> int:
        """Return how many bytes at the end may be the beginning of a marker."""
        floor, at = max(0, len(data) - len(self.marker)), len(data)
        while (at := data.rfind(b"\0", floor, at)) >= 0:
            if self.marker.startswith(data[at:]):
                return len(data) - at
        return 0

    def _content(self, data: bytes) -> None:
        if not data:
            return
        if self.start is None:
            self.stray = (self.stray + data)[-4096:]
            return
        self.pieces.append(data)
        self.feed(data)


class Lines:
    """Turns bytes as they arrive into whole lines for a callback."""

    def __init__(self, stream: str, on_line: Callable[[str, str], None] | None) -> None:
        """Report lines of `stream` to `on_line`."""
        self._stream, self._on_line = stream, on_line
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._parts: list[str] = []

    def feed(self, data: bytes) -> None:
        """Report every line that is now complete."""
        if self._on_line is None:
            return
        *lines, rest = self._decoder.decode(data).split("\n")
        for line in lines:
            self._parts.append(line)
            whole = "".join(self._parts)
            self._parts.clear()
            self._on_line(self._stream, whole)
        if rest:
            self._parts.append(rest)

    def finish(self) -> None:
        """Report a last line that has no line end."""
        if self._on_line is not None:
            rest = "".join(self._parts) + self._decoder.decode(b"", final=True)
            self._parts.clear()
            if rest:
                self._on_line(self._stream, rest)
