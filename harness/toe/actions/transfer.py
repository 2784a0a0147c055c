"""WebDownload, S3Download and S3Upload."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Self
from urllib.parse import unquote, urlsplit

from harness.toe.actions.base import Action, Done, InputError
from harness.toe.actions.files import pattern
from harness.toe.session import ActionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.toe.session import Session, Storage

_ALGORITHMS: Final = {"": "", "MD5": "md5sum", "SHA1": "sha1sum", "SHA256": "sha256sum", "SHA512": "sha512sum"}
_S3: Final = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<key>.*)", re.DOTALL)
MAX_OBJECTS: Final = 1000
"""How many objects one prefix may hold for S3Download."""

# curl tries five times in all, longer apart each time, as AWSTOE does, where trying again may help (408, 429, 5xx, time-outs).
_DOWNLOAD: Final = """set -e
url=$1 to=$2 overwrite=$3 sum=$4 program=$5 insecure=$6
type curl >/dev/null 2>&1 || { echo "the target has no curl" >&2; exit 1; }
matches() { [ "$("$program" <"$1" | cut -d ' ' -f 1)" = "$sum" ]; }
if [ -e "$to" ]; then
	if [ "$overwrite" = False ]; then echo "$to exists, and overwrite is false" >&2; exit 1; fi
	if [ -n "$sum" ] && matches "$to"; then exit 0; fi
fi
mkdir -p -- "$(dirname -- "$to")"
partial=$(mktemp -- "$to.XXXXXX")
trap 'rm -f -- "$partial"' EXIT
code=$(curl -q -sS -L --retry 4 --proto '=http,https' $insecure -o "$partial" -w '%{http_code}' -- "$url")
[ "$code" = 200 ] || { echo "$url answered $code" >&2; exit 1; }
if [ -n "$sum" ] && ! matches "$partial"; then echo "$url does not have the checksum $sum" >&2; exit 1; fi
chmod -- "$(printf %o $((0666 & ~0$(umask))))" "$partial"
mv -f -T -- "$partial" "$to"
"""


@dataclass(frozen=True, slots=True)
class WebDownload(Action):
    """Download over HTTP, from the target itself."""

    many: ClassVar = True
    produces: ClassVar = ("destination",)
    source: str
    destination: str
    overwrite: bool = True
    checksum: str = ""
    algorithm: str = ""
    ignore_certificate_errors: bool = False

    def __post_init__(self) -> None:
        """Check what has a form."""
        if urlsplit(self.source).scheme.lower() not in {"http", "https"}:
            raise InputError(f"`{self.source}` is no http:// or https:// address", "source")
        if bool(self.checksum) != bool(self.algorithm):
            raise InputError("`checksum` and `algorithm` go together", "checksum")
        if self.algorithm.upper() not in _ALGORITHMS:
            raise InputError(f"`{self.algorithm}` is no algorithm", "algorithm", "MD5, SHA1, SHA256 or SHA512")
        if self.destination.endswith("/") and not self._name:
            raise InputError(f"`{self.source}` names no file to put into a folder", "destination")

    @property
    def _name(self) -> str:
        return posixpath.basename(unquote(urlsplit(self.source).path))

    def run(self, session: Session) -> Done:
        """Download beside the destination, check, then put in place."""
        to = self.destination + self._name if self.destination.endswith("/") else self.destination
        program, insecure = _ALGORITHMS[self.algorithm.upper()], "--insecure" if self.ignore_certificate_errors else ""
        session.check(_DOWNLOAD, self.source, to, str(self.overwrite), self.checksum.lower(), program, insecure)
        return Done(({"destination": to},))

    @classmethod
    def run_all(cls, elements: Sequence[Self], session: Session) -> Done:
        """Unite the destinations in one output."""
        done = [element.run(session) for element in elements]
        return Done(({"destination": "\n".join(output["destination"] for one in done for output in one.outputs)},))


def s3(address: str, key: str) -> tuple[str, str]:
    """Split an address into bucket and key. Raises InputError naming the input."""
    match = _S3.fullmatch(address)
    if match is None:
        raise InputError(f"`{address}` is no s3://bucket/key", key)
    return match["bucket"], match["key"]


def storage(session: Session) -> Storage:
    """Return what stands for S3. Raises ActionError when the run has none."""
    if session.storage is None:
        raise ActionError("this run has no access to S3")
    return session.storage


_STORE: Final = """set -e
if [ -e "$1" ] && [ "$2" = False ]; then echo "$1 exists, and overwrite is false" >&2; exit 1; fi
cat >"$1"
"""


@dataclass(frozen=True, slots=True)
class S3Download(Action):
    """Copy an object, or all objects of a prefix, to the target."""

    many: ClassVar = True
    source: str
    destination: str
    expected_bucket_owner: str | None = None
    overwrite: bool = True

    def __post_init__(self) -> None:
        """Check what has a form."""
        s3(self.source, "source")
        if not self.source.endswith("*") and self.destination.endswith("/"):
            raise InputError("the destination of one object is a file", "destination", "name the file after the last /")

    def run(self, session: Session) -> Done:
        """Write into folders that exist."""
        bucket, key = s3(self.source, "source")
        store, owner = storage(session), self.expected_bucket_owner
        try:
            if not key.endswith("*"):
                self._write(self.destination, store.get(bucket, key, owner=owner), session)
                return Done()
            keys = store.list(bucket, key[:-1], owner=owner)
            if len(keys) > MAX_OBJECTS:
                raise ActionError(f"{self.source} has {len(keys)} objects, more than {MAX_OBJECTS}")
            for found in keys:
                self._below(found, key, store.get(bucket, found, owner=owner), session)
        except OSError as error:
            raise ActionError(f"{self.source}: {error}") from None
        return Done()

    def _below(self, found: str, key: str, data: bytes, session: Session) -> None:
        relative = found[key.rfind("/") + 1 :]
        if found.endswith("/"):
            return
        if ".." in relative.split("/"):
            raise ActionError(f"the object {found} would land outside of {self.destination}")
        folder, to = self.destination.rstrip("/"), f"{self.destination.rstrip('/')}/{relative}"
        session.check('[ -d "$1" ] || { echo "$1: no such folder" >&2; exit 1; }; mkdir -p -- "$(dirname -- "$2")"', folder or "/", to)
        self._write(to, data, session)

    def _write(self, to: str, data: bytes, session: Session) -> None:
        session.check(_STORE, to, str(self.overwrite), stdin=data)


@dataclass(frozen=True, slots=True)
class S3Upload(Action):
    """Copy files of the target to S3."""

    many: ClassVar = True
    source: str
    destination: str
    recurse: bool = False
    expected_bucket_owner: str | None = None

    def __post_init__(self) -> None:
        """Check what has a form."""
        s3(self.destination, "destination")
        pattern(self.source)

    def run(self, session: Session) -> Done:
        """Upload every match; folders only when asked to go into them."""
        bucket, key = s3(self.destination, "destination")
        store = storage(session)
        folder = posixpath.dirname(self.source.rstrip("/")) if self.source.rstrip("/") else ""
        depth = "" if self.recurse else "-maxdepth 0"
        script = f'set -e; shopt -s nullglob dotglob; for item in {pattern(self.source)}; do find "$item" {depth} -type f -print0; done'
        found = sorted(filter(None, session.check(script, echo=False).out.split("\0")))
        if not found:
            raise ActionError(f"{self.source}: no such file")
        single = "*" not in self.source and not self.recurse and not key.endswith("/")
        try:
            for path in found:
                data = session.check('exec cat -- "$1"', path, echo=False).stdout
                name = key if single else posixpath.join(key, posixpath.relpath(path, folder or "."))
                store.put(bucket, name, data, owner=self.expected_bucket_owner)
        except OSError as error:
            raise ActionError(f"{self.destination}: {error}") from None
        return Done()


ACTIONS: Final = (WebDownload, S3Download, S3Upload)
