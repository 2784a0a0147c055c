"""The actions on files, folders and symbolic links."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from harness.toe.actions.base import Action, Done, InputError
from harness.toe.session import ActionError

if TYPE_CHECKING:
    from harness.toe.session import Session

_PERMISSIONS: Final = re.compile(r"[0-7]{1,5}")
# What the system's umask leaves of the permissions in $1.
_LESS_UMASK: Final = 'less_umask() { printf "%o" $((0$1 & ~0$(umask))); }\n'
_REGULAR: Final = '[ -f "$1" ] || { echo "$1: no such file" >&2; exit 1; }\n'
_FOLDER: Final = '[ -d "$1" ] || { echo "$1: no such folder" >&2; exit 1; }\n'


def codec(encoding: str) -> str:
    """Return Python's name of an encoding as AWSTOE spells it: little endian unless it says otherwise, no byte order mark."""
    match = re.fullmatch(r"utf-?(8|16|32)(?:-(le|be))?", encoding.lower())
    if match is None or (match[1] == "8" and match[2]):
        raise InputError(f"`{encoding}` is no encoding", "encoding", "utf-8, utf-16, utf-32, and -LE or -BE after the latter two")
    return "utf-8" if match[1] == "8" else f"utf-{match[1]}-{match[2] or 'le'}"


def permissions_checked(permissions: str | None) -> None:
    """Refuse what is no octal mode. Raises InputError."""
    if permissions is not None and not _PERMISSIONS.fullmatch(permissions):
        raise InputError(f"`{permissions}` are no permissions", "permissions", "octal digits: 0644")


def pattern(path: str) -> str:
    """Write a path as bash text in which only the stars of the last part match anything."""
    folder, slash, last = path.rpartition("/")
    if "*" in folder:
        raise InputError(f"`{path}`: a * may stand after the last / only")
    return shlex.quote(folder + slash) + "".join("*" if part == "*" else shlex.quote(part) for part in re.split(r"(\*)", last) if part)


def ownership(owner: str | None, group: str | None) -> str:
    """Write what chown takes; nothing when there is nothing to change."""
    return f"{owner or ''}{':' + group if group else ''}"


@dataclass(frozen=True, slots=True)
class CreateFile(Action):
    """Create a file, with the folders above it."""

    many: ClassVar = True
    path: str
    content: str = ""
    encoding: str = "utf-8"
    owner: str | None = None
    group: str | None = None
    permissions: str | None = None
    overwrite: bool = True

    def __post_init__(self) -> None:
        """Check what has a form."""
        codec(self.encoding)
        permissions_checked(self.permissions)

    def run(self, session: Session) -> Done:
        """Owner and mode are set before the content is in, so that nobody reads it in between."""
        script = f"""set -e
{_LESS_UMASK}
if [ -e "$1" ] && [ "$2" = False ]; then echo "$1 exists, and overwrite is false" >&2; exit 1; fi
mkdir -p -- "$(dirname -- "$1")"
: >"$1"
[ -z "$4" ] || chown -- "$4" "$1"
[ -z "$3" ] || chmod -- "$(less_umask "$3")" "$1"
cat >"$1"
"""
        arguments = (self.path, str(self.overwrite), self.permissions or "", ownership(self.owner, self.group))
        session.check(script, *arguments, stdin=self.content.encode(codec(self.encoding), "surrogatepass"))
        return Done()


@dataclass(frozen=True, slots=True)
class AppendFile(Action):
    """Add to a file that is there."""

    many: ClassVar = True
    path: str
    content: str = ""
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        """Check what has a form."""
        codec(self.encoding)

    def run(self, session: Session) -> Done:
        """Append it."""
        session.check(f'{_REGULAR}cat >>"$1"', self.path, stdin=self.content.encode(codec(self.encoding), "surrogatepass"))
        return Done()


_TRANSFER: Final = """set -e
shopt -s nullglob dotglob
destination=$1 overwrite=$2 kind=$3 verb=$4
items=()
for item in {pattern}; do if [ "-$kind" "$item" ]; then items+=("$item"); fi; done
[ ${{#items[@]}} -gt 0 ] || {{ echo {source}": no such file or folder" >&2; exit 1; }}
if [ ${{#items[@]}} -gt 1 ] && [ "${{destination%/}}" = "$destination" ]; then
	echo "$destination must end with / for more than one source" >&2; exit 1
fi
for item in "${{items[@]}}"; do
	to=$destination
	if [ "${{destination%/}}" != "$destination" ]; then to=$destination$(basename -- "$item"); fi
	if [ -e "$to" ] && [ "$overwrite" = False ]; then echo "$to exists, and overwrite is false" >&2; exit 1; fi
	mkdir -p -- "$(dirname -- "$to")"
	case $verb$kind in
	copyf) cp -T -- "$item" "$to" ;;
	movef) mv -f -T -- "$item" "$to" ;;
	copyd) mkdir -p -- "$to"; cp -R --preserve=mode -- "$item/." "$to/" ;;
	moved) if [ -e "$to" ]; then cp -R -p -- "$item/." "$to/"; rm -rf -- "$item"; else mv -T -- "$item" "$to"; fi ;;
	esac
done
"""


@dataclass(frozen=True, slots=True)
class _Transfer(Action):
    many: ClassVar = True
    kind: ClassVar[str]
    verb: ClassVar[str]
    source: str
    destination: str
    overwrite: bool = True

    def __post_init__(self) -> None:
        """Check what has a form."""
        pattern(self.source.rstrip("/"))

    def run(self, session: Session) -> Done:
        """Copy or move every match of the source."""
        source = self.source.rstrip("/")
        script = _TRANSFER.format(pattern=pattern(source), source=shlex.quote(source))
        session.check(script, self.destination, str(self.overwrite), self.kind, self.verb)
        return Done()


@dataclass(frozen=True, slots=True)
class CopyFile(_Transfer):
    """Copy files."""

    kind: ClassVar = "f"
    verb: ClassVar = "copy"


@dataclass(frozen=True, slots=True)
class MoveFile(_Transfer):
    """Move files."""

    kind: ClassVar = "f"
    verb: ClassVar = "move"


@dataclass(frozen=True, slots=True)
class CopyFolder(_Transfer):
    """Copy the contents of folders; what the destination has beside them stays."""

    kind: ClassVar = "d"
    verb: ClassVar = "copy"


@dataclass(frozen=True, slots=True)
class MoveFolder(_Transfer):
    """Move folders."""

    kind: ClassVar = "d"
    verb: ClassVar = "move"


@dataclass(frozen=True, slots=True)
class DeleteFile(Action):
    """Delete files."""

    many: ClassVar = True
    path: str

    def __post_init__(self) -> None:
        """Check what has a form."""
        pattern(self.path)

    def run(self, session: Session) -> Done:
        """Delete every match; whether a path without match is a failure is a choice of Semantics."""
        script = f"""set -e
shopt -s nullglob dotglob
found=
for item in {pattern(self.path)}; do
	if [ -f "$item" ] || [ -L "$item" ]; then rm -f -- "$item"; found=yes; elif [ -e "$item" ] && [ "$item" = "$1" ]; then
		echo "$item is no file" >&2; exit 1
	fi
done
echo "$found"
"""
        if not session.check(script, self.path, echo=False).out.strip() and "*" not in self.path:
            missing(self.path, session)
        return Done()


def missing(path: str, session: Session) -> None:
    """Treat something to delete that is not there. Raises ActionError when the semantics say so."""
    if session.semantics.missing_files == "fail":
        raise ActionError(f"{path}: no such file or folder")
    session.warn(f"{path} was not there")


@dataclass(frozen=True, slots=True)
class DeleteFolder(Action):
    """Delete a folder."""

    many: ClassVar = True
    path: str
    force: bool = False

    def __post_init__(self) -> None:
        """Refuse what nobody can mean."""
        if not self.path.strip("/ "):
            raise InputError(f"`{self.path}` is not a folder to delete", "path")

    def run(self, session: Session) -> Done:
        """Delete it; with contents only when forced."""
        verb = "rm -rf" if self.force else "rmdir"
        script = f'[ -d "$1" ] || exit 100\n{verb} -- "$1"'
        done = session.run(script, self.path)
        if done.returncode == 100:  # noqa: PLR2004 - our own number, two lines above
            missing(self.path, session)
        elif done.returncode != 0:
            raise ActionError(done.err.strip() or f"exit code {done.returncode}", done.returncode)
        return Done()


@dataclass(frozen=True, slots=True)
class CreateFolder(Action):
    """Create a folder, with the folders above it."""

    many: ClassVar = True
    path: str
    owner: str | None = None
    group: str | None = None
    permissions: str | None = None
    overwrite: bool = True

    def __post_init__(self) -> None:
        """Check what has a form."""
        permissions_checked(self.permissions)

    def run(self, session: Session) -> Done:
        """Keep what an existing folder holds: the guide's "truncates" would empty /etc for a step that only sets a mode."""
        script = f"""set -e
{_LESS_UMASK}
if [ -e "$1" ] && [ "$2" = False ]; then echo "$1 exists, and overwrite is false" >&2; exit 1; fi
mkdir -p -- "$1"
[ -z "$4" ] || chown -- "$4" "$1"
[ -z "$3" ] || chmod -- "$(less_umask "$3")" "$1"
"""
        session.check(script, self.path, str(self.overwrite), self.permissions or "", ownership(self.owner, self.group))
        return Done()


@dataclass(frozen=True, slots=True)
class CreateSymlink(Action):
    """Create a symbolic link."""

    many: ClassVar = True
    path: str
    target: str
    force: bool = False

    def run(self, session: Session) -> Done:
        """Link to something that exists; only another link is ever replaced."""
        script = """set -e
path=$1 target=$2
case $path in /*) ;; *) path=$PWD/$path ;; esac
case $target in /*) ;; *) target=$PWD/$target ;; esac
[ -e "$target" ] || { echo "$target: no such file or folder" >&2; exit 1; }
if [ -L "$path" ]; then
	[ "$3" = True ] || { echo "$path is a link already, and force is false" >&2; exit 1; }
elif [ -e "$path" ]; then echo "$path exists and is no link" >&2; exit 1; fi
mkdir -p -- "$(dirname -- "$path")"
ln -s -f -T -- "$target" "$path"
"""
        session.check(script, self.path, self.target, str(self.force))
        return Done()


@dataclass(frozen=True, slots=True)
class ListFiles(Action):
    """List the files of a folder."""

    many: ClassVar = True
    produces: ClassVar = ("files",)
    path: str
    file_name_pattern: str = "*"
    recursive: bool = False

    def run(self, session: Session) -> Done:
        """List full paths in the order of their bytes."""
        name = re.sub(r"([\[\]?\\])", r"\\\1", self.file_name_pattern)
        depth = () if self.recursive else ("-maxdepth", "1")
        path = self.path.rstrip("/") or "/"
        out = session.check(f'{_FOLDER}exec find "$@" -print0', path, *depth, "-type", "f", "-name", name, echo=False).out
        return Done(({"files": ",".join(sorted(filter(None, out.split("\0"))))},))


@dataclass(frozen=True, slots=True)
class ReadFile(Action):
    """Read a text file."""

    many: ClassVar = True
    produces: ClassVar = ("content",)
    path: str
    encoding: str = "utf-8"
    print_file_content: bool = False

    def __post_init__(self) -> None:
        """Check what has a form."""
        codec(self.encoding)

    def run(self, session: Session) -> Done:
        """Read it, following links."""
        content = text_of(self.path, self.encoding, session)
        if self.print_file_content:
            for line in content.splitlines():
                session.line("stdout", line)
        return Done(({"content": content},))


def text_of(path: str, encoding: str, session: Session) -> str:
    """Read a text file of the target. Raises ActionError when it is none."""
    data = session.check(f'{_REGULAR}exec cat -- "$1"', path, echo=False).stdout
    try:
        return data.decode(codec(encoding)).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ActionError(f"{path} is no {encoding} text: {error.reason} at byte {error.start}") from None


@dataclass(frozen=True, slots=True)
class SetFileEncoding(Action):
    """Convert a file from UTF-8."""

    many: ClassVar = True
    path: str
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        """Check what has a form."""
        codec(self.encoding)

    def run(self, session: Session) -> Done:
        """Write the new bytes into the same file, so that owner and mode stay."""
        session.check('cat >"$1"', self.path, stdin=text_of(self.path, "utf-8", session).encode(codec(self.encoding)))
        return Done()


@dataclass(frozen=True, slots=True)
class SetFileOwner(Action):
    """Change owner and group of a file, of a link's target; the group is the owner's own when none is named."""

    many: ClassVar = True
    path: str
    owner: str
    group: str | None = None

    def run(self, session: Session) -> Done:
        """Change them."""
        session.check(f'{_REGULAR}chown -- "$2" "$1"', self.path, f"{self.owner}:{self.group or ''}")
        return Done()


@dataclass(frozen=True, slots=True)
class SetFolderOwner(SetFileOwner):
    """Change owner and group of a folder and of what it holds."""

    recursive: bool = True

    def run(self, session: Session) -> Done:
        """Change them."""
        option = "-R" if self.recursive else ""
        session.check(f'{_FOLDER}chown {option} -- "$2" "$1"', self.path, f"{self.owner}:{self.group or ''}")
        return Done()


@dataclass(frozen=True, slots=True)
class SetFilePermissions(Action):
    """Change the mode of a file."""

    many: ClassVar = True
    path: str
    permissions: str

    def __post_init__(self) -> None:
        """Check what has a form."""
        permissions_checked(self.permissions)

    def run(self, session: Session) -> Done:
        """Change it."""
        session.check(f'{_REGULAR}chmod -- "$2" "$1"', self.path, self.permissions)
        return Done()


@dataclass(frozen=True, slots=True)
class SetFolderPermissions(SetFilePermissions):
    """Change the mode of a folder and of what it holds."""

    recursive: bool = True

    def run(self, session: Session) -> Done:
        """Change it."""
        option = "-R" if self.recursive else ""
        session.check(f'{_FOLDER}chmod {option} -- "$2" "$1"', self.path, self.permissions)
        return Done()


ACTIONS: Final = (
    *(AppendFile, CreateFile, CopyFile, MoveFile, DeleteFile, ListFiles, ReadFile, SetFileEncoding, SetFileOwner, SetFilePermissions),
    *(CreateFolder, CopyFolder, MoveFolder, DeleteFolder, SetFolderOwner, SetFolderPermissions, CreateSymlink),
)
