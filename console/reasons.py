"""What people write in the console: reasons, links, comments. Checked once, here."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from shadow.rulebook import LONGEST_WHY

MAX_LINK = 500
MAX_COMMENT = 4000
"""Characters."""
DAY = 86400.0
LIFETIMES: Sequence[tuple[str, str | Promise]] = (
    ("7", gettext_lazy("7 days")),
    ("30", gettext_lazy("30 days")),
    ("90", gettext_lazy("90 days")),
    ("365", gettext_lazy("a year")),
    ("", gettext_lazy("no end")),
)
"""How long a rule may hold: days, in words."""
DEFAULT_LIFETIME = "90"
EXPIRING_SECONDS = 7 * DAY
"""A rule that ends within this time is told of."""


class WordsError(ValueError):
    """What was written can't be taken; the message says why, for whoever wrote it."""


def reason(text: str, most: int = LONGEST_WHY) -> str:
    """A reason that says something.

    Raises:
        WordsError: it says nothing, or too much.
    """
    found = text.strip()
    if not found:
        raise WordsError(_("Say why, for whoever meets it later."))
    if len(found) > most:
        raise WordsError(_("That is too long: %(length)d characters, and %(most)d may be.") % {"length": len(found), "most": most})
    return found


def one_of(word: str, words: Sequence[str], message: str) -> str:
    """`word`, where it is one of these.

    Raises:
        WordsError: with `message`; it is not.
    """
    if word not in words:
        raise WordsError(message)
    return word


def link(text: str) -> str:
    """An address in a tracker, or "".

    Raises:
        WordsError: it is none that may be followed from a page.
    """
    found = text.strip()
    if not found:
        return ""
    try:
        parts = urlsplit(found)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        usable = False
    if not usable or len(found) > MAX_LINK or not all("!" <= character <= "~" for character in found):
        raise WordsError(_("A link begins with http:// or https://, and has no name, password or space in it."))
    return found


def expiry(days: str, now: float) -> float | None:
    """When a rule ends that holds for one of LIFETIMES; None: never.

    Raises:
        WordsError: it is none of them.
    """
    if days not in dict(LIFETIMES):
        raise WordsError(_("That is none of the lifetimes that a rule may have."))
    return now + int(days) * DAY if days else None
