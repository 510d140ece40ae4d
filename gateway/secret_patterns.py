"""Secrets that are known by their looks, wherever they stand: card numbers and tokens.

A card number is 13 to 19 digits (ISO/IEC 7812-1), in groups of any length with up to two blanks, dashes or + between them, whose Luhn sum
is right and whose first digits some issuer has. The latter leaves alone what is not a card and would pass by chance, one in ten: Unix times
in milliseconds, microseconds and nanoseconds (13, 16 and 19 digits beginning with 1), dates written in digits (20…), and identifiers that
begin with 0 or 1. A longer row of digits without a gap, and the fraction of a number, are none either.

A token is a JWT (eyJ…), what follows `Bearer` or `Basic`, a private key in PEM, or begins as its issuer's do (`PREFIXES`).

Text is read as it stands and, up to three times over, with its escapes undone: percent-encoding, JSON's and JavaScript's, character
references. Everything takes time in proportion to the text, whatever it holds.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Final, Literal

type Kind = Literal["card", "token", "field"]
"""field: the value of a query parameter of a secret name."""
type Span = tuple[int, int, Kind, str]
"""Start and end in the text, and what stands there with its escapes undone."""

KINDS: Final = ("cards", "tokens")

LAYERS: Final = 3
"""How often escapes are undone: a URL in a query of a URL in JSON."""

PREFIXES: Final = {
    "sk_live_": r"\w{8,}",  # Stripe, as the next six
    "sk_test_": r"\w{8,}",
    "rk_live_": r"\w{8,}",
    "rk_test_": r"\w{8,}",
    "pk_live_": r"\w{8,}",
    "pk_test_": r"\w{8,}",
    "whsec_": r"[\w+/=-]{16,}",
    "ghp_": r"\w{20,}",  # GitHub, as the next five
    "gho_": r"\w{20,}",
    "ghu_": r"\w{20,}",
    "ghs_": r"\w{20,}",
    "ghr_": r"\w{20,}",
    "github_pat_": r"\w{20,}",
    "glpat-": r"[\w-]{16,}",  # GitLab
    "xoxa-": r"[\w-]{11,}",  # Slack, as the next five
    "xoxb-": r"[\w-]{11,}",
    "xoxp-": r"[\w-]{11,}",
    "xoxr-": r"[\w-]{11,}",
    "xoxs-": r"[\w-]{11,}",
    "xapp-": r"[\w-]{11,}",
    "AKIA": r"[A-Z0-9]{16}",  # AWS, as the next
    "ASIA": r"[A-Z0-9]{16}",
    "AIza": r"[\w-]{30,}",  # Google, as the next two
    "ya29.": r"[\w.-]{16,}",
    "GOCSPX-": r"[\w-]{16,}",
    "npm_": r"\w{30,}",
    "pypi-": r"[\w-]{30,}",
    "hf_": r"[A-Za-z0-9]{30,}",  # Hugging Face
    "sk-": r"[\w-]{20,}",  # OpenAI, Anthropic
    "SG.": r"[\w-]{16,}\.[\w-]{16,}",  # SendGrid
    "dop_v1_": r"[0-9a-f]{32,}",  # DigitalOcean
    "shpat_": r"[0-9A-Fa-f]{24,}",  # Shopify
}
"""How well-known credentials begin, and what has to follow."""

_BLANK = r" \t\xa0\u2007\u2009\u202f+\-\u2010-\u2015\u2212"
_MANY_DIGITS = re.compile(rf"[0-9](?:[{_BLANK}]{{0,2}}+[0-9]){{12}}")
_RUN = re.compile(rf"(?<![0-9])(?=[0-9](?:[{_BLANK}]{{0,2}}+[0-9]){{12}})[0-9]++(?:[{_BLANK}]{{1,2}}+[0-9]++)*+")
_ROW = bytes(48 if 48 <= code <= 57 else 10 for code in range(256))
_BETWEEN = bytes((9, 32, 43, 45, *range(128, 256)))
_THIRTEEN = b"0" * 13
_GROUP = re.compile(r"[0-9]+")
_ISSUED = re.compile(r"1[0-9]{14}|2[2-7][0-9]{14,17}|3[0-9]{13,18}|[4-6][0-9]{12,18}|[7-9][0-9]{15,18}")
_SHORTEST = (99, 15, 16, 14, 13, 13, 13, 16, 16, 16)
"""Of the numbers that begin with each digit, by the pattern above."""
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

MARKS: Final = (
    *("eyJ", "earer", "EARER", "asic", "ASIC", "PRIVATE KEY", "_live_", "_test_", "xox"),
    *(prefix for prefix in PREFIXES if not prefix.startswith(("sk_", "rk_", "pk_", "xox"))),
)
"""One of these is in every text that holds a token: looking for them all costs less than one alternation does."""
_TOKEN = re.compile(
    r"(?:(?<![A-Za-z0-9])|(?<=\\[bfnrt]))(?:"  # also after the escape of a line's end: \n
    + "|".join(rf"{re.escape(prefix)}(?a:{rest})" for prefix, rest in PREFIXES.items())
    + r")|eyJ(?a:[\w-]*+(?:\.[\w-]*+){0,4}+)"  # whether it is one is asked afterwards: so that nothing is read twice
    r"|(?<=[Bb]earer)[ +\t:]{1,4}+(?a:[\w.~/+-]{6,}+=*+)|(?<=BEARER)[ +\t:]{1,4}+(?a:[\w.~/+-]{6,}+=*+)"
    r"|(?<=[Bb]asic)[ +\t]{1,4}+(?a:[\w/+-]{6,}+=*+)"
    r"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[^-]*+(?:-----END [A-Z ]{0,20}PRIVATE KEY-----)?"
)
_WORD = re.compile(r"[a-z]+")
_LEAD = " +\t:"

_ESCAPE = re.compile(
    r"%(?:C2%A0|c2%a0|[2-7][0-9A-Fa-f])"
    r"|\\{1,4}(?:[uU]00|x)(?:[2-7][0-9A-Fa-f]|[Aa]0)"
    r"|&(?:\#(?:0{0,6}(?:1[0-2]\d|160|[3-9]\d)|[xX]0{0,6}(?:[2-7][0-9A-Fa-f]|[Aa]0));?|nbsp;|amp;|quot;|lowbar;|period;|plus;|equals;|hyphen;|dash;)"
)
_NAMED: Final = {"nbsp": " ", "amp": "&", "quot": '"', "lowbar": "_", "period": ".", "plus": "+", "equals": "=", "hyphen": "-", "dash": "-"}


def luhn(digits: str) -> bool:
    """Whether the check digit at its end is right (ISO/IEC 7812-1, annex B)."""
    return (sum(map(int, digits[-1::-2])) + sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])) % 10 == 0


def is_card(digits: str) -> bool:
    """Whether digits without anything between them are a card's number."""
    return _ISSUED.fullmatch(digits) is not None and luhn(digits)


class Patterns:
    """What is looked for in text. `names`: query parameters, in lower case, whose values are secrets."""

    def __init__(self, kinds: Iterable[str], names: Iterable[str] = ()) -> None:
        self.cards = "cards" in kinds
        self.tokens = "tokens" in kinds
        self._query = _query(names)

    def find(self, text: str) -> list[Span]:
        """Secrets in `text`, in order, none overlapping another."""
        found: list[Span] = []
        view, places = text, None
        for layer in range(LAYERS + 1):
            for start, end, kind in self._seen(view):
                first, last = (start, end) if places is None else (places[start], places[end])
                found.append((first, last, kind, view[start:end]))
            if layer == LAYERS or not ("%" in view or "\\" in view or "&" in view):
                break
            undone = _undone(view, places)
            if undone is None:
                break
            view, places = undone
        return _merged(text, found) if len(found) > 1 else found

    def replace(self, text: str, stand_in: Callable[[Kind, str], str]) -> str:
        """`text` with `stand_in` in place of every secret; the very same object where there is none."""
        found = self.find(text)
        if not found:
            return text
        parts: list[str] = []
        position = 0
        for start, end, kind, secret in found:
            parts += (text[position:start], stand_in(kind, secret))
            position = end
        return "".join((*parts, text[position:]))

    def readings(self, text: str) -> Iterator[str]:
        """`text`, and what it says with one layer of escapes undone, and another."""
        yield text
        for _ in range(LAYERS):
            undone = _undone(text, None) if "%" in text or "\\" in text or "&" in text else None
            if undone is None:
                return
            text = undone[0]
            yield text

    def _seen(self, text: str) -> Iterator[tuple[int, int, Kind]]:
        if self._query is not None and "=" in text:
            for match in self._query.finditer(text):
                yield *match.span(1), "field"
        if self.cards and len(text) >= 13 and _many_digits(text):
            yield from _cards(text)
        if self.tokens and any(mark in text for mark in MARKS):
            for match in _TOKEN.finditer(text):
                start, end = match.span()
                while text[start] in _LEAD:
                    start += 1
                if _is_token(text, match.start(), start, end):
                    yield start, end, "token"


def _is_token(text: str, lead: int, start: int, end: int) -> bool:
    if text.startswith("eyJ", start) and lead == start:
        return end - start >= (12 if "." in text[start:end] else 32)  # without a dot: JSON in Base64, as signed cookies hold it
    basic = lead != start and text[lead - 1] in "cC"
    return not basic or _WORD.fullmatch(text, start, end) is None  # "basic information"


def _query(names: Iterable[str]) -> re.Pattern[str] | None:
    words = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?i:(?:\A|[?&;])(?:{words})=)(?!redacted:[0-9a-f]{{16}}(?!\w))([^&;#\s\"'<>\\]++)") if words else None


def _many_digits(text: str) -> bool:
    # First without any pattern, which takes a tenth of the time: nearly no text has so many digits with nothing but blanks between them.
    row = text.encode("utf-8", "replace").translate(_ROW, _BETWEEN)
    return _THIRTEEN in row and _MANY_DIGITS.search(text) is not None


def _cards(text: str) -> Iterator[tuple[int, int, Kind]]:
    for run in _RUN.finditer(text):
        groups = [group.span() for group in _GROUP.finditer(text, *run.span())]
        if len(groups) == 1:
            start, end = groups[0]
            fraction = start >= 2 and text[start - 1] in ".," and text[start - 2] in "0123456789"
            if end - start <= 19 and not fraction and is_card(text[start:end]):
                yield start, end, "card"
        else:
            yield from _windows(text, groups)


def _windows(text: str, groups: list[tuple[int, int]]) -> Iterator[tuple[int, int, Kind]]:
    """Rows of whole groups that are a card's number: beside one there may be its expiry or its check code. At each start the longest."""
    digits = "".join(text[start:end] for start, end in groups)
    ends = list(accumulate(end - start for start, end in groups))
    # Sums up to each digit, with every even digit doubled and with every odd one: so that any row's costs one subtraction.
    values = list(map(int, digits))
    sums = [
        list(accumulate((_DOUBLED[value] if index % 2 == parity else value for index, value in enumerate(values)), initial=0))
        for parity in (0, 1)
    ]
    first = 0
    last = 0
    for index, (start, _) in enumerate(groups):
        if index:
            first = ends[index - 1]
        last = max(last, index)
        while last < len(groups) and ends[last] - first <= 19:
            last += 1
        least = first + _SHORTEST[values[first]]
        for other in range(last - 1, index - 1, -1):
            end = ends[other]
            if end < least:
                break
            total = sums[end % 2]
            if (total[end] - total[first]) % 10 == 0 and _ISSUED.fullmatch(digits, first, end):
                yield start, groups[other][1], "card"
                break


def _undone(text: str, places: array[int] | None) -> tuple[str, array[int]] | None:
    """`text` with one layer of escapes undone, and for each of its characters, and for its end, where that is in the first text of all.
    `places`: the same for `text`. None: there are none."""
    parts: list[str] = []
    found: array[int] = array("I")
    position = 0
    if _ESCAPE.search(text) is None:
        return None
    if places is None:
        places = array("I", range(len(text) + 1))
    for match in _ESCAPE.finditer(text):
        start = match.start()
        parts += (text[position:start], _character(match[0]))
        found += places[position : start + 1]
        position = match.end()
    parts.append(text[position:])
    found += places[position:]
    return "".join(parts), found


def _character(escape: str) -> str:
    if escape[0] == "%":
        return chr(int(escape[1:], 16)) if len(escape) == 3 else " "
    if escape[0] == "\\":
        code = int(escape[-2:], 16)
    elif escape[1] != "#":
        return _NAMED[escape[1:-1]]
    else:
        code = int(escape[3:].rstrip(";"), 16) if escape[2] in "xX" else int(escape[2:].rstrip(";"))
    return " " if code == 0xA0 else chr(code)


def _merged(text: str, spans: list[Span]) -> list[Span]:
    """In order, and those that overlap as one: of two readings of a place neither may stay in part."""
    merged: list[Span] = []
    grown = 0
    for span in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not merged or span[0] >= max(grown, merged[-1][1]):
            _grow(text, merged, grown)
            merged.append(span)
            grown = 0
        elif span[1] > max(grown, merged[-1][1]):
            grown = span[1]
    _grow(text, merged, grown)
    return merged


def _grow(text: str, merged: list[Span], end: int) -> None:
    """Has the last of `merged` reach to `end`, unless that is 0."""
    if end:
        start, _, kind, _ = merged[-1]
        merged[-1] = (start, end, kind, text[start:end])
