"""Access logs of nginx and Apache, line by line: quickly, in bounded memory, and whatever is in them.

Without a format, a line is read as `common` or `combined`, as both servers write them, with a virtual host before it or not, and with what
many append: nginx's `$request_time` and `$upstream_response_time` (decimals of seconds, bare or as `rt=0.123`), Apache's `%D` (a whole
number of microseconds); and the gateway's own access log is known. Any other format is given as its text (recorded/log_format.py).

A line that is none is told with its number, and the next one is read. A log says nothing of a request's fields but the few that its format
names, and nothing of its body.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final, NamedTuple

from recorded import checked
from recorded.durations import SECONDS, WHOLE, summed, trailing
from recorded.entry import Entry, Fields, Trouble
from recorded.lines import LONGEST, Lines
from recorded.log_format import Format

UNSAID: Final = 0
CACHEABLE: Final = 1
PRIVATE: Final = 2
"""What an answer says to shared caches, as gateway/endpoints/figures.py has it."""
UNKNOWN: Final = "it is in none of the formats that are known"
"""Why a line is none where no format was given. Who can be given one says so to it."""


class LineError(ValueError):
    """The line is none of an access log. The message says why."""


class Hit(NamedTuple):
    """One line, as far as figures need it."""

    at: float | None
    """Unix seconds."""
    method: str
    target: bytes
    """Path and query, in origin form."""
    status: int | None
    seconds: float | None
    """The upstream's time where the log has it, or else that of the whole request."""
    size: int | None
    cache: int
    """UNSAID, CACHEABLE or PRIVATE."""
    user: bool
    """Somebody was logged in by HTTP's own authentication ($remote_user)."""
    groups: tuple[bytes | None, ...]
    side: str = "legacy"
    """Who answered, where the log is a gateway's own: legacy, candidate or gateway. Of any other it is legacy."""
    route: str = ""
    tagged: bool = False
    """The answer had an ETag, where the log says so."""


_TEXT: Final = rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
_USUAL: Final = re.compile(
    rb'([^"\[]*+)\[([^\]"]*+)\] ' + _TEXT + rb" (\d{3}|-) (\d{1,18}|-)(?: " + _TEXT + rb" " + _TEXT + rb")?(?:[ ,](.*+))?", re.DOTALL
)
"""Who, when, request, status, size, referrer, user agent, the rest."""
_PLAIN: Final = re.compile(
    rb'([^"\[]*+)\[([^\]"]*+)\] "([A-Z]{1,32}) (/[!#-\[\]-~\x80-\xff]*+) HTTP/\d\.\d" (\d{3}) (\d{1,18})'
    rb'(?: "([^"\\]*+)" "([^"\\]*+)")?(?: (?:(\d{1,9}\.\d{1,9})(?: (\d{1,9}\.\d{1,9}))?|(\d{1,15})))?'
)
"""The same where nothing is odd, the request and the durations taken apart at once: in half the time, and so are nearly all lines."""
_REQUEST: Final = re.compile(rb"([A-Za-z][A-Za-z_-]{0,31}) ([^\s\x00-\x20\x7f]++)(?: HTTP/\d(?:\.\d)?)?")
_METHOD: Final = re.compile(rb"[A-Za-z][A-Za-z_-]{0,31}")
_NOBODY: Final = (b" - ", b"")
"""How what stands before the time ends where no user is named."""
_OWN: Final = b'{"time":'
_SIDES: Final = {b"legacy": "legacy", b"candidate": "candidate"}
_VERBS: Final = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
_ABSOLUTE: Final = re.compile(rb"[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*")
_BAD: Final = re.compile(rb"[\x00-\x20\x7f]")
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_LETTERS: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"v": b"\v"}

_TIME: Final = re.compile(rb"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)([0-5]\d)")
_MONTHS: Final = {name: index for index, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}

_PLACE: Final = re.compile(rb"\S*:\d{1,5}")
_NO_CACHE: Final = ("no-store", "private", "no-cache")


class Reader:
    """Reads the lines of one log."""

    def __init__(self, form: Format | None = None) -> None:
        """`form`: None takes what is usual."""
        self.durations: dict[str, int] = {}
        """How many were read as what: by the keys of DURATIONS."""
        self._form = form
        self._own: Reader | None = None
        """For lines of a gateway, once one was met; what it finds has so many groups, other than what is found here."""
        self._own_groups = 0
        self._index = {} if form is None else _index(form)
        self._fields = () if form is None else tuple((i, kind[6:]) for i, kind in enumerate(form.kinds) if kind.startswith("field:"))
        self._answers = () if form is None else tuple((i, kind[7:]) for i, kind in enumerate(form.kinds) if kind.startswith("answer:"))
        self._stamp = b""
        self._at: float | None = None
        """Of `_stamp`: many lines are of the same second."""

    def hit(self, line: bytes) -> Hit:
        """One line, without its end.

        Raises:
            LineError: it is none.
        """
        if line[-1:] == b"\r":
            line = line[:-1]
        if len(line) > LONGEST:
            raise LineError(f"it is longer than {LONGEST // 1024} KiB")
        if self._form is not None:
            return self._formed(self._form, line)
        found = _PLAIN.fullmatch(line)
        if found is not None:
            groups = found.groups()
            who, stamp, verb, target, status, size, _, _, whole, upstream, micro = groups
            if stamp != self._stamp:
                self._at = _when(stamp)
                self._stamp = stamp
            seconds = None
            if whole is not None or micro is not None:
                seconds = self._appended(whole, upstream, micro)
            return Hit(
                self._at,
                _VERBS.get(verb) or verb.decode(),
                target,
                int(status),
                seconds,
                int(size),
                UNSAID,
                who[-3:] not in _NOBODY,
                groups,
            )
        return self._odd(line)

    def _odd(self, line: bytes) -> Hit:
        if line.startswith(_OWN):
            if self._own is None:
                form = Format.parse("banyan")
                self._own, self._own_groups = Reader(form), len(form.kinds)
                self._own.durations = self.durations
            return self._own.hit(line)
        found = _USUAL.fullmatch(line)
        if found is None:
            raise LineError(_unlike(line))
        groups = found.groups()
        who, stamp, request, status, size, _, _, rest = groups
        if stamp != self._stamp:
            self._at = _when(stamp)
            self._stamp = stamp
        method, target = _asked(request, status)
        return Hit(
            self._at,
            method,
            target,
            int(status) if status != b"-" else None,
            self._trailing(rest) if rest else None,
            int(size) if size != b"-" else 0,
            UNSAID,
            who[-3:] not in _NOBODY,
            groups,
        )

    def _trailing(self, rest: bytes) -> float | None:
        found = trailing(rest)
        return None if found is None else self._took(*found)

    def _appended(self, whole: bytes | None, upstream: bytes | None, micro: bytes | None) -> float:
        if whole is None:
            return self._took("microseconds", int(micro or b"0") / 1e6)
        if upstream is None:
            return self._took("request", float(whole))
        return self._took("upstream", min(float(whole), float(upstream)))

    def _took(self, kind: str, seconds: float) -> float:
        self.durations[kind] = self.durations.get(kind, 0) + 1
        return seconds

    def _formed(self, form: Format, line: bytes) -> Hit:
        found = form.pattern.fullmatch(line)
        if found is None:
            raise LineError(_unlike(line, "it does not have the format that was given"))
        groups = found.groups()
        values = {kind: groups[index] for kind, index in self._index.items()}
        status = values.get("status", b"-")
        if "request" in values:
            method, target = _asked(values["request"], status)
        else:
            method, target = _apart(values)
        size = values.get("size", b"-")
        return Hit(
            self._moment(values),
            method,
            target,
            _number(status, 3, "status"),
            self._duration(values),
            _number(size, 18, "size") if size != b"-" else 0,
            _cached(values),
            values.get("user", b"-") not in (b"-", b"", b'""'),
            groups,
            _SIDES.get(values["side"], "gateway") if "side" in values else "legacy",
            values.get("route", b"").decode("latin-1"),
            values.get("answer:etag", b"-") not in (b"-", b""),
        )

    def _moment(self, values: dict[str, bytes]) -> float | None:
        stamp = values.get("time")
        if stamp is not None:
            if stamp != self._stamp:
                self._at = _when(stamp)
                self._stamp = stamp
            return self._at
        if (iso := values.get("iso")) is not None:
            try:
                return datetime.fromisoformat(iso.decode("ascii")).timestamp()
            except ValueError:
                raise LineError("its time is none") from None
        for kind, unit in (("epoch", 1.0), ("epoch-ms", 1e3), ("epoch-us", 1e6)):
            if (text := values.get(kind)) is not None:
                if SECONDS.fullmatch(text) is None and WHOLE.fullmatch(text) is None:
                    raise LineError("its time is none")
                return float(text) / unit
        return None

    def _duration(self, values: dict[str, bytes]) -> float | None:
        for kind in ("upstream", "head", "seconds"):
            if (seconds := summed(values.get(kind, b""))) is not None:
                return self._took("request" if kind == "seconds" else "upstream", seconds)
        for kind, unit in (("microseconds", 1e6), ("milliseconds", 1e3)):
            if (text := values.get(kind)) is not None and WHOLE.fullmatch(text):
                return self._took("request", int(text) / unit)
        return None

    def entry(self, where: int, hit: Hit) -> Entry:
        """The same line as an entry.

        Raises:
            LineError: a header field of it is none.
        """
        if self._own is not None and len(hit.groups) == self._own_groups:
            return self._own.entry(where, hit)
        groups = hit.groups
        fields: Fields
        answers: Fields = ()
        if self._form is None:
            plainly = len(groups) == _PLAIN.groups
            named = ((b"referer", groups[6 if plainly else 5]), (b"user-agent", groups[7 if plainly else 6]))
            fields = _checked(named)
            who = (groups[0] or b"").split()
            client = who[1] if len(who) > 3 and _PLACE.fullmatch(who[0]) else who[0] if who else b""
        else:
            fields = _told(self._fields, groups)
            answers = _told(self._answers, groups)
            client = groups[self._index["client"]] or b"" if "client" in self._index else b""
        return Entry(
            where,
            hit.method,
            presentable(hit.target),
            at=hit.at,
            fields=fields,
            status=hit.status,
            duration=hit.seconds,
            size=hit.size,
            answer_fields=answers,
            client=client.decode("latin-1") if client and client != b"-" else None,
        )


def read(lines: Iterable[bytes], form: Format | None = None) -> Iterator[Entry | Trouble]:
    """Every request of the log, and what could not be read of it, in its order. `lines`: `Lines`, or any; with their ends or without."""
    reader = Reader(form)
    where = 0
    for line in lines:
        where += 1
        line = line.rstrip(b"\r\n")  # noqa: PLW2901 - its end is no part of it
        if not line:
            continue
        try:
            yield reader.entry(where, reader.hit(line))
        except LineError as error:
            yield Trouble(where, str(error))
    if isinstance(lines, Lines) and lines.trouble:
        yield Trouble(where, f"nothing after this line can be read: {lines.trouble}")


def plain(value: bytes) -> bytes:
    r"""A value without its server's escapes: \x22 of nginx, \" and \n of Apache, \u0022 of JSON."""
    return _ESCAPE.sub(_unescaped, value) if b"\\" in value else value


def _unescaped(found: re.Match[bytes]) -> bytes:
    if found[1] is not None:
        return bytes.fromhex(found[1].decode())
    if found[2] is not None:
        return chr(int(found[2], 16)).encode("utf-8", "replace")
    return _LETTERS.get(found[3], found[3])


def presentable(target: bytes) -> str:
    """As it goes over the wire: what is not ASCII, percent-encoded."""
    if target.isascii():
        return target.decode("ascii")
    return "".join(chr(byte) if byte < 128 else f"%{byte:02X}" for byte in target)


def _asked(request: bytes, status: bytes) -> tuple[str, bytes]:
    """Method and target of a request line."""
    if b"\\" in request:
        request = plain(request)
    found = _REQUEST.fullmatch(request)
    if found is None:
        if request in (b"", b"-"):
            raise LineError(f"no request was sent on that connection (status {_shown(status)})")
        raise LineError(f"what was sent is no HTTP request (status {_shown(status)})")
    method, target = found.groups()
    return method.decode("ascii"), target if target[:1] == b"/" else _origin(method, target)


def _apart(values: dict[str, bytes]) -> tuple[str, bytes]:
    """The same of a log that has them apart."""
    method = values.get("method", b"GET")
    if _METHOD.fullmatch(method) is None:
        raise LineError("its method is none")
    target = plain(values.get("target") or values.get("path") or b"")
    if "target" not in values and (query := plain(values.get("query", b"")).removeprefix(b"?")) not in (b"", b"-"):
        target += b"?" + query
    if not target or _BAD.search(target):
        raise LineError("what was asked for is no path")
    return method.decode("ascii"), target if target[:1] == b"/" else _origin(method, target)


def _origin(method: bytes, target: bytes) -> bytes:
    """Of an absolute form (RFC 9112, 3.2.2) what follows the host; the * of OPTIONS."""
    if target == b"*" and method == b"OPTIONS":
        return target
    found = _ABSOLUTE.match(target)
    if found is None:
        raise LineError("what was asked for is no path")
    rest = target[found.end() :]
    return rest if rest[:1] == b"/" else b"/" + rest


def _when(stamp: bytes) -> float:
    found = _TIME.fullmatch(stamp)
    if found is None:
        raise LineError("its time is none")
    day, name, year, hour, minute, second, sign, hours, minutes = found.groups()
    month = _MONTHS.get(name, 0)
    try:
        datetime(int(year), month, int(day), int(hour), int(minute), min(59, int(second)))  # noqa: DTZ001 - only whether there is such a one
    except ValueError:
        raise LineError("its time is none") from None
    east = (int(hours) * 60 + int(minutes)) * (60 if sign == b"+" else -60)
    return float(timegm((int(year), month, int(day), int(hour), int(minute), int(second))) - east)


def _number(text: bytes, digits: int, what: str) -> int | None:
    if text in (b"-", b""):
        return None
    if not text.isdigit() or len(text) > digits:
        raise LineError(f"its {what} is no number")
    return int(text)


def _cached(values: dict[str, bytes]) -> int:
    """What the answer says to shared caches (RFC 9111, 5.2.2), or that nginx's own cache kept it."""
    if values.get("cache", b"-") in (b"HIT", b"STALE", b"UPDATING", b"REVALIDATED"):
        return CACHEABLE
    said = values.get("answer:cache-control", b"-").lower().decode("latin-1")
    if said in ("-", ""):
        return UNSAID
    if any(word in said for word in _NO_CACHE):
        return PRIVATE
    if "public" in said or re.search(r"(?:s-maxage|max-age)=0*[1-9]", said):
        return CACHEABLE
    return PRIVATE if "max-age=0" in said else UNSAID


def _index(form: Format) -> dict[str, int]:
    """The first of each kind that is not left out."""
    found: dict[str, int] = {}
    for index, kind in enumerate(form.kinds):
        if kind != "skip" and not kind.startswith("field:"):
            found.setdefault(kind, index)
    return found


def _told(named: tuple[tuple[int, str], ...], groups: tuple[bytes | None, ...]) -> Fields:
    return _checked((name.encode(), groups[index]) for index, name in named)


def _checked(named: Iterable[tuple[bytes, bytes | None]]) -> Fields:
    """Without their server's escapes, behind which anything may stand: so what is no field's value is told only now."""
    told = [(name, plain(value)) for name, value in named if value and value != b"-"]
    try:
        found = checked.fields(told)
    except checked.EntryError as error:
        raise LineError(str(error)) from None
    if len(found) != len(told):  # a line end within one, of which browsers' recordings make several
        raise LineError("a header field of it is none")
    return found


def _unlike(line: bytes, otherwise: str = UNKNOWN) -> str:
    if b"\0" in line:
        return "it is binary: no line of a log"
    return otherwise


def _shown(status: bytes) -> str:
    return status.decode("ascii") if status.isdigit() and len(status) <= 3 else "-"
