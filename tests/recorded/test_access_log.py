"""Access logs: what nginx and Apache write, what people append, and whatever else is in a file that is called a log."""

from __future__ import annotations

import gzip
import io
import random
import zlib
from datetime import UTC, datetime
from typing import BinaryIO, override

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.access import line
from recorded.access_log import CACHEABLE, PRIVATE, UNSAID, LineError, Reader, read
from recorded.entry import Entry, Trouble
from recorded.lines import LONGEST, Lines
from recorded.log_format import NGINX_COMBINED, Format, FormatError

AT = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC).timestamp()
COMBINED = b'203.0.113.7 - - [06/May/2026:07:08:09 +0000] "GET /a/1?x=2 HTTP/1.1" 200 12 "https://a.example/" "curl/8"'


def one(line: bytes, form: str = "") -> Entry:
    (entry,) = read([line], Format.parse(form) if form else None)
    assert isinstance(entry, Entry), entry
    return entry


def why(line: bytes, form: str = "") -> str:
    (trouble,) = read([line], Format.parse(form) if form else None)
    assert isinstance(trouble, Trouble), trouble
    return trouble.why


def lines(data: bytes) -> Lines:
    return Lines(io.BytesIO(data))


def test_a_line_of_combined_is_an_entry() -> None:
    assert one(COMBINED) == Entry(
        1,
        "GET",
        "/a/1?x=2",
        at=AT,
        fields=((b"referer", b"https://a.example/"), (b"user-agent", b"curl/8")),
        status=200,
        size=12,
        client="203.0.113.7",
    )


@pytest.mark.parametrize(
    ("behind", "seconds", "kind"),
    [
        (b"", None, ""),
        (b" 0.250", 0.25, "request"),
        (b" 0.250 0.125", 0.125, "upstream"),
        (b" 0.250 -", 0.25, "request"),
        (b' "0.250" "0.125"', 0.125, "upstream"),
        (b" 5.000 4.750, 0.125", 4.875, "upstream"),
        (b' "5.000" "4.750, 0.125 : 0.0625"', 4.9375, "upstream"),
        (b" 5.000 4.750 : -, 0.125", 4.875, "upstream"),
        (b" 5.000 -, 0.125", 0.125, "upstream"),
        (b" 4.500 4.750, 0.125", 4.5, "upstream"),
        (b" 0.250 -, - : -", 0.25, "request"),
        (b' "203.0.113.9" 5.000 4.750, 0.125', 4.875, "upstream"),
        (b" 4.750, 0.125 5.000", 4.875, "upstream"),
        (b" 250000", 0.25, "microseconds"),
        (b" rt=0.250 uct=0.001 uht=0.100 urt=0.125", 0.125, "upstream"),
        (b' rt=0.250 uct="0.001" urt="0.100, 0.025 : 0.5"', 0.625, "upstream"),
        (b" rt=250", None, ""),
        (b" request_time=0.250 upstream_response_time=-", 0.25, "request"),
        (b' "203.0.113.9"', None, ""),
        (b' "203.0.113.9, 10.0.0.1" 0.250', 0.25, "request"),
        (b' "-" "shop.example" sn="main" rt=0.250', 0.25, "request"),
        (b" 512 1024", None, ""),
        (b" shop.example 250000", 0.25, "microseconds"),
    ],
)
def test_durations_behind_the_user_agent_are_read(behind: bytes, seconds: float | None, kind: str) -> None:
    reader = Reader()
    assert reader.hit(COMBINED + behind).seconds == seconds
    assert reader.durations == ({kind: 1} if kind else {})


@pytest.mark.parametrize(
    ("text", "client", "size"),
    [
        (b'203.0.113.7 - ana [06/May/2026:09:08:09 +0200] "GET /a/1?x=2 HTTP/1.0" 200 12', "203.0.113.7", 12),
        (b'203.0.113.7 - ana b [06/May/2026:07:08:09 +0000] "GET /a/1?x=2 HTTP/2.0" 200 - "-" "-"', "203.0.113.7", 0),
        (b'shop.example:443 2001:db8::1 - - [06/May/2026:02:38:09 -0430] "GET /a/1?x=2 HTTP/1.1" 200 12 "-" "-"', "2001:db8::1", 12),
        (b'2001:db8::1 - - [06/May/2026:07:08:09 +0000] "GET https://shop.example/a/1?x=2 HTTP/1.1" 200 12', "2001:db8::1", 12),
        (b'unix: - - [06/May/2026:07:08:09 +0000] "GET /a/1?x=2" 200 12\r\n', "unix:", 12),
    ],
)
def test_what_both_servers_write(text: bytes, client: str, size: int) -> None:
    assert one(text) == Entry(1, "GET", "/a/1?x=2", at=AT, status=200, size=size, client=client)


@pytest.mark.parametrize(("before", "user"), [(b"::1 - - ", False), (b"::1 - ana ", True), (b"shop:80 ::1 - a b ", True), (b"", False)])
def test_a_named_user_is_known(before: bytes, user: bool) -> None:
    assert Reader().hit(before + COMBINED[COMBINED.index(b"[") :]).user is user
    assert Reader().hit(before + COMBINED[COMBINED.index(b"[") :] + b" -").user is user, "where it is read in the slower way, too"


def test_what_servers_escape_is_what_it_was() -> None:
    nginx = one(rb'1.2.3.4 - - [06/May/2026:07:08:09 +0000] "GET /caf\xC3\xA9/\x22/\x5C HTTP/1.1" 200 1 "-" "a \x22b\x22 c"')
    assert nginx.target == '/caf%C3%A9/"/\\'
    assert nginx.fields == ((b"user-agent", b'a "b" c'),)
    apache = one(rb'1.2.3.4 - - [06/May/2026:07:08:09 +0000] "GET /a\"b HTTP/1.1" 200 1 "-" "a \"b\\c\""')
    assert apache.target == '/a"b'
    assert apache.fields == ((b"user-agent", b'a "b\\c"'),)
    raw = one('1.2.3.4 - - [06/May/2026:07:08:09 +0000] "GET /café HTTP/1.1" 200 1'.encode())
    assert raw.target == "/caf%C3%A9"


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("combined", COMBINED),
        ('%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"', COMBINED),
        (f"log_format timed '{NGINX_COMBINED[:60]}'\n    '{NGINX_COMBINED[60:]} $request_time';\n a x;", COMBINED + b" 0.250"),
        (r'LogFormat "%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\" %D" timed', COMBINED + b" 250000"),
        ("'$time_iso8601|$remote_addr|$request_method|$request_uri|$status|$bytes_sent|$body_bytes_sent|$http_referer|$http_user_agent'",
         b"2026-05-06T09:08:09+02:00|203.0.113.7|GET|/a/1?x=2|200|99|12|https://a.example/|curl/8"),
        ('log_format j escape=json \'{"at":"$msec","a":"$remote_addr","m":"$request_method","p":"$uri","q":"$args","s":$status,'
         '"b":$body_bytes_sent,"r":"$http_referer","u":"$http_user_agent"}\';',
         f'{{"at":"{AT:.3f}","a":"203.0.113.7","m":"GET","p":"/a/1","q":"x=2","s":200,"b":12,"r":"https://a.example/","u":"curl/8"}}'
         .encode()),
        ("%a %{msec}t %m %U%q %>s %B %{Referer}i %{User-agent}i",
         f"203.0.113.7 {AT * 1000:.0f} GET /a/1?x=2 200 12 https://a.example/ curl/8".encode()),
    ],
)  # fmt: skip
def test_other_formats_are_read_by_their_text(form: str, text: bytes) -> None:
    entry = one(text, form)
    assert (entry.method, entry.target, entry.at, entry.status, entry.size) == ("GET", "/a/1?x=2", AT, 200, 12)
    assert entry.client == "203.0.113.7"
    assert entry.fields == ((b"referer", b"https://a.example/"), (b"user-agent", b"curl/8"))


@pytest.mark.parametrize(
    ("form", "text", "seconds"),
    [
        ("$request $upstream_response_time;$request_time", b"GET / HTTP/1.1 0.1, 0.2;0.9", 0.3),
        ("$request $upstream_response_time;$request_time", b"GET / HTTP/1.1 -;0.9", 0.9),
        ("$request $upstream_header_time $request_time", b"GET / HTTP/1.1 0.05 0.9", 0.05),
        ("%r %D", b"GET / HTTP/1.1 1500", 0.0015),
        ("%r %{ms}T", b"GET / HTTP/1.1 15", 0.015),
        ("%r %T", b"GET / HTTP/1.1 2", 2.0),
        ("%r %T", b"GET / HTTP/1.1 -", None),
    ],
)
def test_a_formats_durations_are_read(form: str, text: bytes, seconds: float | None) -> None:
    found = one(text, form).duration
    assert found == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("said", "kept", "cache"),
    [
        (b"public, max-age=60", b"-", CACHEABLE),
        (b"max-age=60", b"MISS", CACHEABLE),
        (b"private, max-age=60", b"-", PRIVATE),
        (b"max-age=0, no-cache, no-store, must-revalidate, private", b"-", PRIVATE),
        (b"max-age=0", b"-", PRIVATE),
        (b"-", b"-", UNSAID),
        (b"-", b"HIT", CACHEABLE),
    ],
)
def test_what_a_log_says_of_caches(said: bytes, kept: bytes, cache: int) -> None:
    reader = Reader(Format.parse("$request|$sent_http_cache_control|$upstream_cache_status"))
    assert reader.hit(b"GET / HTTP/1.1|" + said + b"|" + kept).cache == cache


def test_of_credentials_nothing_is_read() -> None:
    form = "$request $http_authorization $http_cookie $http_x_api_key $sent_http_set_cookie $http_accept"
    entry = one(b"GET / HTTP/1.1 s1 s2 s3 s4 text/html", form)
    assert entry.fields == ((b"accept", b"text/html"),)
    assert entry.answer_fields == ()


def test_answers_fields_are_read() -> None:
    assert one(b"GET / HTTP/1.1 W/x", "$request $sent_http_etag").answer_fields == ((b"etag", b"W/x"),)
    assert one(b"GET / HTTP/1.1 W/x", "%r %{ETag}o").answer_fields == ((b"etag", b"W/x"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"hello", "in none of the formats"),
        (b"\x00\x01\x02", "it is binary"),
        (b"a" * (LONGEST + 1), "longer than 64 KiB"),
        (COMBINED[:60], "in none of the formats"),
        (COMBINED.replace(b"GET /a/1?x=2 HTTP/1.1", b"-"), r"no request was sent on that connection (status 200)"),
        (COMBINED.replace(b"GET /a/1?x=2 HTTP/1.1", rb"\x16\x03\x01\x02"), "what was sent is no HTTP request"),
        (COMBINED.replace(b"GET /a/1?x=2", b"CONNECT a.example:443"), "what was asked for is no path"),
        (COMBINED.replace(b"/a/1?x=2", rb"/a\x00b"), "what was sent is no HTTP request"),
        (COMBINED.replace(b"curl/8", rb"x\x0d\x0aCookie: a=1"), "a header field of it is none"),
        (COMBINED.replace(b"curl/8", rb"x\r\nCookie: a=1"), "a header field of it is none"),
        (COMBINED.replace(b"curl/8", rb"x\nCookie: a=1"), "a header field of it is none"),
        (COMBINED.replace(b"https://a.example/", rb"\u000d\u000aCookie: a=1"), "a header field of it is none"),
        (COMBINED.replace(b"curl/8", b"x\0"), "a header field of it is none"),
        (COMBINED.replace(b"06/May", b"36/May"), "its time is none"),
        (COMBINED.replace(b"06/May", b"06/Mai"), "its time is none"),
        (COMBINED.replace(b"06/May/2026", b"31/Feb/2026"), "its time is none"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_line_is_said(text: bytes, said: str) -> None:
    assert said in why(text)


def test_no_option_is_named_that_not_every_reader_has() -> None:
    assert why(b"hello") == "it is in none of the formats that are known"


def test_a_named_field_with_a_line_end_is_none() -> None:
    assert one(b'"a" "GET / HTTP/1.1"', '"$http_x_a" "$request"').fields == ((b"x-a", b"a"),)
    assert why(rb'"a\x0D\x0ACookie: a=1" "GET / HTTP/1.1"', '"$http_x_a" "$request"') == "a header field of it is none"
    assert why(rb'"a\x0D\x0ACookie: a=1" "GET / HTTP/1.1"', '"$sent_http_x_a" "$request"') == "a header field of it is none"


def test_a_broken_line_ends_nothing_and_is_named() -> None:
    found = list(read(lines(COMBINED + b"\n\x00\xff\n\n" + COMBINED + b"\r\n" + COMBINED[:70])))
    assert [(type(each), each.where) for each in found] == [(Entry, 1), (Trouble, 2), (Entry, 4), (Trouble, 5)]


def test_a_gateways_own_log_is_read() -> None:
    own = line(AT, b"1f", "203.0.113.7", "GET", b'/a/"1"?x=2', 200, 12, 0.25, "reviews", "candidate", "new", "flag", False)
    found, usual = read([own, COMBINED])
    assert found == Entry(1, "GET", '/a/"1"?x=2', at=AT, status=200, size=12, duration=0.25, client="203.0.113.7")
    assert isinstance(usual, Entry)
    assert usual.fields, "both in one log: who knows why"
    hit = Reader().hit(own.rstrip(b"\n"))
    assert (hit.side, hit.route) == ("candidate", "reviews")
    assert Reader().hit(COMBINED).side == "legacy"


@pytest.mark.parametrize("text", ["", "hello", "$status", "%h %t", "$request$status", "%z" * 90, "$request " * 90])
def test_what_is_no_format_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Format.parse(text)


def test_a_line_of_junk_costs_no_more_than_its_length() -> None:
    form = Format.parse(" | ".join(f"$http_x{number}" for number in range(40)) + ' "$request"')
    reader, usual = Reader(form), Reader()
    for junk in (b" | " * 20000, b'"' * 60000, b"\\" * 60000, b" " * 60000, b"[" * 60000, b'- - [] "' * 8000, b'"a\\"' * 15000):
        for each in (reader, usual):
            with pytest.raises(LineError):
                each.hit(junk)  # if it went back and forth, it would not end within the test's time


# Files


def test_a_gziped_log_is_read_as_it_is() -> None:
    data = b"".join(COMBINED.replace(b"/a/1", b"/a/%d" % number) + b"\n" for number in range(5000))
    found = list(read(lines(gzip.compress(data[:100000]) + gzip.compress(data[100000:]) + b"\0" * 512)))
    assert [entry.target for entry in found if isinstance(entry, Entry)] == [f"/a/{number}?x=2" for number in range(5000)]


def test_where_a_gziped_log_is_cut_off_is_said() -> None:
    chance = random.Random(1)
    data = b"".join(COMBINED + b" %.3f\n" % chance.random() for _ in range(5000))
    whole = gzip.compress(data)
    *found, last = read(lines(whole[: len(whole) // 2]))
    assert len(found) > 1000
    assert isinstance(last, Trouble)
    assert "cut off" in last.why
    *found, last = read(lines(whole[: len(whole) // 2] + b"\xff" * 100 + whole[len(whole) // 2 + 100 :]))
    assert isinstance(last, Trouble)
    assert "damaged" in last.why
    *found, last = read(lines(whole + b"more"))
    assert len(found) == 5000
    assert isinstance(last, Trouble)
    assert "not gzip'ed" in last.why


def test_what_is_packed_another_way_is_said() -> None:
    (trouble,) = read(lines(b"\x28\xb5\x2f\xfd" + b"x" * 100))
    assert isinstance(trouble, Trouble)
    assert "zstd" in trouble.why


class _Endless(io.RawIOBase):
    """A file of one line, as long as is wanted; never more than a block of it in memory."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.largest = 0

    @override
    def read(self, size: int = -1, /) -> bytes:
        assert size > 0, "all of it at once"
        taken = min(size, self.left)
        self.left -= taken
        self.largest = max(self.largest, taken)
        return b"x" * taken


def test_a_line_without_end_takes_no_memory() -> None:
    endless: BinaryIO = _Endless(2**28)  # type: ignore[assignment]  # a raw file reads the same way
    (trouble,) = read(Lines(endless))
    assert isinstance(trouble, Trouble)
    assert "longer than" in trouble.why


def test_a_gziped_bomb_takes_no_memory() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(b"\0" * 2**20) for _ in range(256)) + packer.flush()
    assert len(bomb) < 2**20
    (chunk,) = lines(bomb).chunks()
    assert LONGEST < len(chunk) <= LONGEST + 2**18


def test_a_file_that_breaks_while_it_is_read_is_said() -> None:
    class Breaking(_Endless):
        @override
        def read(self, size: int = -1, /) -> bytes:
            if self.left:
                self.left = 0
                return COMBINED + b"\n"
            raise OSError(5, "Input/output error")

    breaking: BinaryIO = Breaking(1)  # type: ignore[assignment]  # a raw file reads the same way
    entry, trouble = read(Lines(breaking))
    assert isinstance(entry, Entry)
    assert isinstance(trouble, Trouble)
    assert "Input/output error" in trouble.why


# Whatever comes

TEXTS = (
    "combined",
    "%h %t %r %>s %U%q %D",
    "$msec $request_uri '$args' $status $request_time",
    '$request_uri "$http_x_a" "$sent_http_x_b" $http_x_c',
)
FORMS = [None, *(Format.parse(text) for text in TEXTS)]
VALID = [COMBINED, COMBINED + b" 0.1 0.2", b"1 [06/May/2026:07:08:09 +0000] GET / HTTP/1.1 200 /?x 5", b"1.5 /x 'y' 200 0.1"]
VALID.append(b'/x "some value" "another value" a third')
ESCAPED = [rb"\r\nCookie: a", rb"\x0d\x0aCookie: a", rb"\u000aCookie: a", rb"\x00", rb"\x22"]
JUNK = st.one_of(st.binary(max_size=20), st.sampled_from(ESCAPED))


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=200),
            st.tuples(st.sampled_from(VALID), st.integers(0, 110), st.integers(0, 20), JUNK).map(
                lambda given: given[0][: given[1]] + given[3] + given[0][given[1] + given[2] :]
            ),
        ),
        max_size=20,
    ),
    st.sampled_from(FORMS),
    st.sampled_from(["plain", "packed", "cut", "spoilt"]),
)
def test_whatever_is_in_a_log_each_line_is_an_entry_or_named(junk: list[bytes], form: Format | None, how: str) -> None:
    data = b"\n".join(junk)
    whole = gzip.compress(data) if how != "plain" else data
    given = {"cut": whole[: len(whole) * 2 // 3], "spoilt": whole[:12] + b"\xa5" + whole[13:]}.get(how, whole)
    found = list(read(lines(given), form))
    assert [each.where for each in found] == sorted(each.where for each in found)
    for each in found:
        if isinstance(each, Entry):
            assert each.target.isascii()
            assert each.target.startswith("/") or each.target == "*"
            assert not set(each.target) & set(" \n\r\t\0")
            assert each.status is None or 0 <= each.status <= 999
            for _, value in (*each.fields, *each.answer_fields):
                assert all(byte == 9 or 32 <= byte != 127 for byte in value)
        else:
            assert each.why
            assert each.why.isprintable()
    if how in ("plain", "packed") and not data.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ", b"PK", b"\xef\xbb\xbf")):
        assert len({each.where for each in found}) == sum(bool(line.rstrip(b"\r\n")) for line in data.split(b"\n"))
