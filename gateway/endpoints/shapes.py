"""What one segment of a path is: a word of the API, or a value that stands for something else and must not be kept as it stands.

When in doubt it is a value. A word that is taken for one costs an endpoint its name; a value that is taken for a word may be somebody's
password reset. So a word is what looks like one: letters that can be spoken, a few digits where names have them, not too long. What looks
like a word and is none (a sunny-looking token of letters alone) is left to gateway/endpoints/templates.py, which keeps no segment that it
has not met several times.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.secret_patterns import PREFIXES

ID: Final = "{id}"
UUID: Final = "{uuid}"
HASH: Final = "{hash}"
DATE: Final = "{date}"
EMAIL: Final = "{email}"
TOKEN: Final = "{token}"  # noqa: S105 - none
ANY: Final = "{…}"
"""A value of which no more is known."""

LONGEST: Final = 48
"""Bytes of a word, its hyphens included."""
LONGEST_RUN: Final = 20
"""Letters in a row: "internationalization" has as many."""
MOST_PARTS: Final = 5
"""Parts between hyphens: what has more is a title."""

_DATE: Final = re.compile(rb"\d{4}-[01]\d(?:-[0-3]\d(?:T[0-9:.]{2,15}(?:Z|[+-]\d\d:?\d\d)?)?)?")
_NUMBER: Final = re.compile(rb"[+-]?\d{1,40}(?:[.,]\d{1,20})*")
_UUID: Final = re.compile(rb"(?i:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
_HEX: Final = re.compile(rb"(?i:(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,128})")
_PLAIN: Final = re.compile(rb"[A-Za-z0-9_.~:-]+")
_SPLIT: Final = re.compile(rb"[-_.~:]+")
_SPOKEN: Final = re.compile(rb"[A-Z]?[a-z]+(?:[A-Z][a-z]+)*|[A-Z]{2,10}|[A-Z]")
"""One case, or humps of two letters and more (userProfile)."""
_WITH_DIGITS: Final = re.compile(rb"([A-Za-z]{1,12})\d{1,3}|\d{1,2}([A-Za-z]{1,10})|([a-z])\d{1,2}[a-z]")
"""oauth2, sha256, v1; 2fa; i18n, e2e."""
_CONSONANTS: Final = re.compile(rb"[b-df-hj-np-tv-xz]{6,}|q[^ul]")
_VOWELS: Final = re.compile(rb"[aeiouy]")
_RARE: Final = re.compile(
    rb"(?=a[ehjoqz]|b[bdfghkmnpqvwxz]|c[bgjnqvwxz]|d[ghjkqvwxyz]|e[jkz]|f[bcdghjkmnpqvwxz]|g[bcdfjkpqtvwxyz]|h[bcdfghjklmnpqsuvwxyz]|"
    rb"i[hijquwy]|j[^esu]|k[bcdfghjkmnopqrtuvwxyz]|l[bghjkmqrwxz]|m[cdfghjknqrwxz]|n[bhjqwxz]|o[hjqyz]|p[bfgjkmnqvwxz]|q[^u]|r[hjqwxz]|"
    rb"s[bjqvxz]|t[bgjkqx]|u[hjkoquvwxyz]|v[bcdfghjklnpqrstuvwxyz]|w[bcdfgjklmpqtuvwxyz]|x[abdfghjklmnoqrsuvwxyz]|y[abfghjkoqruvwxyz]|"
    rb"z[bcdfghjklmnopqrstuvwxyz])[a-z]"
)
"""Pairs of letters that words in programs hardly have: of all their pairs, 1 in 200 or so. Of random ones it is every second."""
_EXTENSION: Final = re.compile(
    rb"(.+?)((?:\.min)?\.(?:js|mjs|css|map|json|xml|html?|txt|csv|pdf|png|jpe?g|gif|svg|webp|avif|ico|woff2?|ttf|mp4|webm|wasm|zip|gz|php|"
    rb"webmanifest))"
)
_PREFIXES: Final = (*(prefix.encode() for prefix in PREFIXES), b"eyJ")

SECRETS: Final = frozenset(
    b"activate activation apikey apikeys api-keys code codes confirm confirmation credential credentials download-link hooks invitation "
    b"invitations invite invites key keys l link links magic magic-link otp password passwords recover reset s secret secrets session "
    b"sessions share shared signature t token tokens unlock unsubscribe verification verify webhook webhooks".split()
)
"""Behind these stands a secret, whatever it looks like …"""
_PEOPLE: Final = frozenset(
    b"by-name customers customer member members people person profile profiles u user users username usernames".split()
)
"""… behind these a person's name …"""
_ANNOUNCING: Final = SECRETS | _PEOPLE
_NOT_ANNOUNCED: Final = frozenset(
    b"accept active add all avatar cancel change check complete confirm count create current delete done edit expired export failed form "
    b"forgot groups history import list login logout me new notifications orders password permissions preferences profile refresh register "
    b"request resend reset revoke roles search self send sent set settings signup statistics stats status success update validate "
    b"verify".split()
)
"""… but for these."""


def shape(segment: bytes, after: bytes = b"") -> str:
    """What stands in a template for `segment`, which follows the segment `after`; "" where it is a word, and stands for itself."""
    if not segment:
        return ""
    if segment.isdigit() and len(segment) <= 40:  # as _NUMBER says, and most values are: in a fifth of the time
        return ID
    found = _value(segment)
    if not found and after.lower() in _ANNOUNCING and segment.lower() not in _NOT_ANNOUNCED:
        return ANY
    return found


def announcing(segment: bytes, name: str, after: bytes) -> bytes:
    """What the segment behind `segment`, which is `name` in a template and follows `after`, is to be looked at with: where a secret has
    several parts (/reset/MQ/c5x9h2-…), each of them is one."""
    return after if name in (ANY, TOKEN) and after.lower() in SECRETS else segment


def _value(segment: bytes) -> str:
    if segment.isalpha() and len(segment) <= 5 and segment.isascii():
        return "" if _SPOKEN.fullmatch(segment) else ANY
    if segment[:1].isdigit() or segment[:1] in (b"+", b"-"):
        if _DATE.fullmatch(segment):
            return DATE
        if _NUMBER.fullmatch(segment):
            return ID
    if b"@" in segment or b"%40" in segment:
        return EMAIL
    if len(segment) == 36 and _UUID.fullmatch(segment):
        return UUID
    if _HEX.fullmatch(segment):
        return HASH
    if segment.startswith(_PREFIXES) and len(segment) >= 12:
        return TOKEN
    if len(segment) > LONGEST:
        return TOKEN if _SPLIT.search(segment) is None else ANY
    if not _PLAIN.fullmatch(segment):
        return ANY
    file = _EXTENSION.fullmatch(segment)
    if file is not None:
        return _file(file[1], file[2])
    parts = _SPLIT.split(segment)
    if len(parts) > MOST_PARTS:
        return ANY
    for part in parts:
        if part and not _word(part):
            return TOKEN if len(part) >= 8 and not part.isdigit() else ANY
    return ""


def _file(stem: bytes, extension: bytes) -> str:
    """`app.3f2a1b9c.js` is one file of many, and `app.js` one."""
    found = _value(stem)
    if found:
        if found in (ANY, TOKEN) and any(_HEX.fullmatch(part) for part in _SPLIT.split(stem)):
            found = HASH
        return found + extension.decode()
    return ""


def _word(part: bytes) -> bool:
    if part.isdigit():
        return len(part) <= 2
    if not part.isalpha():
        found = _WITH_DIGITS.fullmatch(part)
        if found is None:
            return False
        part = found[1] or found[2] or found[3]
    return len(part) <= LONGEST_RUN and _SPOKEN.fullmatch(part) is not None and _speakable(part.lower())


def _speakable(letters: bytes) -> bool:
    """Whether a row of lower-case letters could be a word, or several. Of random rows it takes 1 in 20 of ten letters, and 1 in 500 of
    sixteen; of the words in Python's packages it refuses 1 in 100."""
    if len(letters) < 6:
        return True
    if _CONSONANTS.search(letters) is not None:
        return False
    if len(letters) < 8:
        return True
    vowels = len(_VOWELS.findall(letters)) / len(letters)
    return 0.2 <= vowels <= 0.75 and len(_RARE.findall(letters)) < (3 if len(letters) < 12 else 2)
