"""Secrets are blotted out on the host, by one `sed` behind everything that a batch prints, and once more before anything is kept.

A mark says what stood there: `[redacted password-hash]`. What a check needs to know stays: of a hash its algorithm, of a key that
it is one. Suites do not ask for secrets in the first place; this is for those that turn up where nobody looked for them.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

KINDS = ("password-hash", "private-key", "credential", "access-key", "token")
MARK = re.compile(rf"\[redacted ({'|'.join(KINDS)})\]".encode())

ALGORITHM = r"\$((1|2[abxy]?|5|6|7|y|gy|md5|sha1|sm3)\$(rounds=[0-9]+\$)?)"
HASH = r"[./A-Za-z0-9$,+-]{8,}"
"""Without `=`, so that `$6$rounds=656000$` with a mark behind it is no hash."""
GRUB = r"grub\.pbkdf2\.sha[0-9]+\.[0-9]+\.[0-9A-F.]{16,}"
BEGIN = r"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----"
END = r"-----END ([A-Z0-9]+ )*PRIVATE KEY-----"
NAMES = (
    r"aws_session_token|secret_?access_?key|secret_?key|client_?secret|(api|access|auth|bearer|private|refresh|session)_?token|api_?key|"
    r"[a-z0-9_]*password|(plain_text|hashed)_passwd|passphrase"
)
"""What stands before a `=` or `:` and a secret. `passwd` alone is not among them: nsswitch.conf and sudoers have it before no secret."""
VALUE = r"[]!#$%&()*+./0-9:<=>?@A-Z\^_`a-z{|}~-]"
"""Characters of a secret; a list of what may stand in it, since the marks of a batch must stay whole."""
ACCESS_KEY = r"(AKIA|ASIA)[0-9A-Z]{16}"
TOKENS = (
    r"(gh[opsur]_|github_pat_|glpat-|xox[abeprs]-|hvs\.|npm_)[A-Za-z0-9_-]{16,}|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+"
)

SED = rf"""
/\$/s#{ALGORITHM}{HASH}#$\1[redacted password-hash]#g
s#{GRUB}#[redacted password-hash]#g
/PRIVATE KEY-----/s#({BEGIN})(\\n|[A-Za-z0-9+/= ])+#\1[redacted private-key]#g
/{BEGIN}/,/{END}|\x00|^=mark/s#^([ \t]*)[A-Za-z0-9+/=]+([ \t\r]*(\x00|$))#\1[redacted private-key]\2#
/[Pp][Aa][Ss][Ss]|[Kk][Ee][Yy]|[Tt][Oo][Kk][Ee][Nn]|[Ss][Ee][Cc][Rr][Ee][Tt]/{{
s#(({NAMES})["']?[ \t]*[=:][ \t]*["']?){VALUE}{{4,}}#\1[redacted credential]#Ig
}}
s#(://[A-Za-z0-9._%+~-]+:)[]!$%&()*+.0-9:<=>?A-Z\^_`a-z{{|}}~-]+@#\1[redacted credential]@#g
s#{ACCESS_KEY}#\1[redacted access-key]#g
s#{TOKENS}#[redacted token]#g
s#((Bearer|Basic) +)[A-Za-z0-9._~+/=-]{{16,}}#\1[redacted token]#g
/\x00mark[0-9a-f]+ end\x00/q
"""
"""Program for GNU sed -E. A key without an end ends at the next mark in any case; the marks are `mark` and hexadecimal digits, since
what a program is called with, and so a random mark in it, is seen by every command that lists processes."""

NET = (
    (re.compile(rf"(?P<kept>{ALGORITHM}){HASH}"), r"\g<kept>[redacted password-hash]"),
    (re.compile(GRUB), "[redacted password-hash]"),
    (
        re.compile(rf"(?P<kept>{BEGIN})(?:\\n|\s)*[A-Za-z0-9+/=]{{16,}}(?:\\n|\s|[A-Za-z0-9+/=])*"),
        r"\g<kept>[redacted private-key]",
    ),
    (re.compile(r"(?P<kept>AKIA|ASIA)[0-9A-Z]{16}"), r"\g<kept>[redacted access-key]"),
    (re.compile(TOKENS), "[redacted token]"),
)


def redacted(text: str) -> str:
    """Blot out in Python what has the form of a secret wherever it stands: the second net."""
    for pattern, replacement in NET:
        text = pattern.sub(replacement, text)
    return text


def counted(outputs: Iterable[bytes]) -> dict[str, int]:
    """Count the marks by kind."""
    found: Counter[str] = Counter()
    for output in outputs:
        if b"[redacted " in output:
            found.update(kind.decode() for kind in MARK.findall(output))
    return dict(sorted(found.items()))
