"""Recordings in every format: what is written is read again, what is broken is named and costs itself alone, and no reader fails."""

from __future__ import annotations

import gzip
import json
import stat
import warnings
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of pyparsing, which mitmproxy uses in its old words
    from mitmproxy.io import FlowWriter
    from mitmproxy.test import tflow

from recorded import checked, flows, har, json_lines
from recorded.entry import Entry, Trouble
from recorded.reading import Format, Recording, RecordingError, detect
from recorded.writing import FORMATS, Writer, form_of

HOST = (b"Host", b"shop.test")
ENTRIES = [
    Entry(1, "GET", "/api/v1/reviews/3?page=2&q=%22a%22", 1.7e9, (HOST, (b"X-Latin", b"\xe4")), b"", 200, 0.25, 8,
          ((b"Content-Type", b"application/json"),), b'{"a": 1}', "192.0.2.7"),
    Entry(2, "POST", "/api/v1/reviews/3", 1.7e9 + 1.5, (HOST, (b"Content-Type", b"text/plain")), b"\xff\x00", 201, 0.5, 0, (), b"", None),
    Entry(3, "GET", "/image", 1.7e9 + 2, (HOST,), b"", 200, 0.1, 4, ((b"Content-Type", b"image/png"),), b"\x89PNG", None),
    Entry(4, "GET", '/quoted/[{"\\', 1.7e9 + 3, (HOST,), b"", None, None, None, (), None, None),
]  # fmt: skip
ENTRIES[3] = replace(ENTRIES[3], target="/quoted/[{")
READERS: dict[Format, Callable[[BinaryIO], Any]] = {Format.MITM: flows.read, Format.HAR: har.read, Format.JSONL: json_lines.read}
ELEMENTS = {Format.MITM: flows.element, Format.HAR: har.element, Format.JSONL: json_lines.line}
written = pytest.mark.parametrize("form", FORMATS)


def write(path: Path, form: Format, entries: list[Entry] = ENTRIES) -> bytes:
    writer = Writer(path, form)
    for entry in entries:
        assert writer.add(entry)
    writer.close()
    assert (writer.entries, writer.bytes) == (len(entries), path.stat().st_size)
    return path.read_bytes()


def read(path: Path, form: Format | None = None) -> list[Entry | Trouble]:
    with Recording(path, form) as recording:
        found = list(recording)
        assert recording.position == recording.size
        return found


@written
def test_what_is_written_is_read_again(tmp_path: Path, form: Format) -> None:
    path = tmp_path / "traffic"  # the name says nothing: its content does
    write(path, form)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    found = read(path)
    assert len(found) == len(ENTRIES)
    for entry, wanted in zip(found, ENTRIES, strict=True):
        assert isinstance(entry, Entry)
        for name in ("where", "method", "target", "fields", "body", "status", "answer_fields", "answer_body"):
            assert getattr(entry, name) == getattr(wanted, name), name
        assert entry.at == pytest.approx(wanted.at, abs=0.001)
        assert entry.duration == pytest.approx(wanted.duration) if wanted.duration else not entry.duration
        assert (entry.client or None) == wanted.client


@written
def test_a_compressed_one_is_read_as_it_is(tmp_path: Path, form: Format) -> None:
    data = gzip.compress(write(tmp_path / "plain", form))
    path = tmp_path / "traffic.gz"
    path.write_bytes(data)
    assert len(read(path)) == len(ENTRIES)
    path.write_bytes(data[:-20])
    *found, last = read(path)
    assert isinstance(last, Trouble)
    assert "compressed, and ends too soon" in last.why
    assert [entry.where for entry in found if isinstance(entry, Entry)][:2] == [1, 2]
    path.write_bytes(data[:40] + b"junk" + data[44:])
    assert isinstance(read(path, form)[-1], Trouble)
    whole = gzip.decompress(data)
    path.write_bytes(gzip.compress(whole[:500]) + gzip.compress(whole[500:]))  # in two members, as logs that are appended to
    assert len(read(path)) == len(ENTRIES)


@written
def test_one_that_breaks_off_tells_what_it_has(tmp_path: Path, form: Format) -> None:
    path = tmp_path / "traffic"
    data = write(path, form)
    path.write_bytes(data[: data.index(b"image/png")])
    *entries, last = read(path)
    assert [entry.where for entry in entries] == [1, 2]
    assert isinstance(last, Trouble)
    assert last.where == 3
    assert "ends" in last.why


@written
def test_junk_between_two_entries_is_named_and_the_rest_goes_on(tmp_path: Path, form: Format) -> None:
    path = tmp_path / "traffic"
    data = write(path, form)
    one = ELEMENTS[form](ENTRIES[1])
    at = data.index(one) if form is not Format.MITM else _flow(data, 1)
    junk = {Format.HAR: b"null,\x00\xff 17,"}.get(form, b"\x00\xff junk\n")
    path.write_bytes(data[:at] + junk + data[at:])
    found = read(path, form)
    troubles = [each for each in found if isinstance(each, Trouble)]
    assert troubles
    assert {each.where for each in troubles} <= {2, 3}
    assert [each.target for each in found if isinstance(each, Entry)] == [entry.target for entry in ENTRIES]


def _flow(data: bytes, number: int) -> int:
    """Where flow `number` begins, from 0."""
    at = 0
    for _ in range(number):
        length, _, _ = data[at:].partition(b":")
        at += len(length) + 1 + int(length) + 1
    return at


def test_a_broken_flow_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "traffic.mitm"
    data = bytearray(write(path, Format.MITM))
    begin, end = _flow(bytes(data), 1), _flow(bytes(data), 2)
    data[begin + 8 : end - 8] = b"\xff" * (end - begin - 16)
    path.write_bytes(data)
    found = read(path)
    assert [entry.target for entry in found if isinstance(entry, Entry)] == [ENTRIES[number].target for number in (0, 2, 3)]
    assert [each.where for each in found if isinstance(each, Trouble)][:1] == [2]


def test_flows_that_are_no_http_are_told(tmp_path: Path) -> None:
    path = tmp_path / "traffic.mitm"
    with path.open("wb") as file:
        writer = FlowWriter(file)
        for flow in (tflow.ttcpflow(), tflow.tdnsflow(), tflow.tflow(resp=True), tflow.tflow(err=True)):
            writer.add(flow)
    tcp, dns, answered, failed = read(path)
    assert (tcp, dns) == (Trouble(1, "a tcp flow: no HTTP"), Trouble(2, "a dns flow: no HTTP"))
    assert isinstance(answered, Entry)
    assert (answered.target, answered.status, answered.answer_body) == ("/path", 200, b"message")
    assert isinstance(failed, Entry)
    assert failed.status is None


def one(**changes: Any) -> dict[str, Any]:
    """An entry of a HAR."""
    request = {"method": "GET", "url": "https://shop.test/a?b=1#c", "headers": [{"name": ":authority", "value": "shop.test"}]}
    response: dict[str, Any] = {
        "status": 200,
        "headers": [{"name": "Content-Encoding", "value": "br"}],
        "content": {"text": "ä", "size": 2},
    }
    whole: dict[str, Any] = {"startedDateTime": "2026-11-30T11:00:00.5+09:00", "time": 12.5, "request": request, "response": response}
    return whole | changes


def hared(*entries: Any, **log: Any) -> list[Entry | Trouble]:
    return list(har.read(BytesIO(json.dumps({"log": {**log, "entries": list(entries)}}).encode())))


def test_a_har_as_browsers_write_it() -> None:
    cookies = [{"name": "Set-Cookie", "value": "a=1; Path=/\nb=2"}]
    binary = {"text": "iVBORw0K", "encoding": "base64", "size": 6}
    posted = one(request={"method": "POST", "url": "http://shop.test/f", "postData": {"params": [{"name": "a b", "value": "c&d"}]}})
    plain, image, form, lost = hared(
        one(),
        one(response={"status": 200, "headers": cookies, "content": binary}),
        posted,
        one(response={"status": 302, "headers": [], "content": {"size": -1}}),
        comment='"entries": [ "entries"',
        pages=[{"entries": [{}]}],
    )
    assert isinstance(plain, Entry)
    assert (plain.target, plain.at, plain.duration, plain.fields) == ("/a?b=1", 1796004000.5, 0.0125, (HOST,))
    assert plain.answer_body == "ä".encode()
    assert plain.answer_fields == ()  # the body is what was within the coding
    assert isinstance(image, Entry)
    assert image.answer_body == b"\x89PNG\r\n"
    assert image.answer_fields == ((b"Set-Cookie", b"a=1; Path=/"), (b"Set-Cookie", b"b=2"))
    assert isinstance(form, Entry)
    assert form.body == b"a+b=c%26d"
    assert isinstance(lost, Entry)
    assert (lost.status, lost.answer_body) == (302, None)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (7, "what stands here is no entry"),
        ("text", "what stands here is no entry"),
        ([], "it has no JSON object"),
        ({}, "it has no request"),
        (one(request={}), "it has no method"),
        (one(request={"method": "GET"}), "it has no target"),
        (one(request={"method": "G T", "url": "http://a/"}), "its method is none"),
        (one(request={"method": "GET", "url": "data:text/plain,x"}), "its URL is none of HTTP's"),
        (one(request={"method": "GET", "url": "http://[/"}), "its URL is none"),
        (one(request={"method": "GET", "url": "//[abc"}), "its URL is none"),
        (one(request={"method": "GET", "url": "http://a/ä"}), "its target has characters that no request may have"),
        (one(request={"method": "GET", "url": "http://a/", "headers": [{"name": "a b", "value": ""}]}), "a header field of it is none"),
        (one(request={"method": "GET", "url": "http://a/", "headers": [{"name": "a", "value": "b\0"}]}), "a header field of it is none"),
        (one(request={"method": "GET", "url": "http://a/", "headers": {}}), "its header fields are no list"),
        (one(response={"status": 99}), "its status is none"),
        (one(startedDateTime="yesterday"), "its time is none"),
        (one(time="long"), "a time of it is none"),
        (one(response={"status": 200, "content": {"text": "?", "encoding": "base64"}}), "a body of it is no base64"),
        (one(response={"status": 200, "content": {"text": 7}}), "a body of it is no text"),
    ],
)
def test_a_har_with_missing_or_broken_parts(entry: Any, why: str) -> None:
    first, broken, last = hared(one(), entry, one()) if not isinstance(entry, int | str) else (*hared(one(), entry, one()),)
    assert isinstance(first, Entry)
    assert broken == Trouble(2, why)
    assert isinstance(last, Entry)
    assert last.where == 3


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", '"EUC-KR"', "none-such", "UTF-8"])
@pytest.mark.parametrize("body", ["ä €".encode(), b"\xe4", b"plain", "한".encode("euc-kr")])
def test_a_body_is_the_same_bytes_whatever_charset_is_declared(charset: str, body: bytes) -> None:
    told = Entry(1, "GET", "/", status=200, answer_fields=((b"Content-Type", f"text/html; charset={charset}".encode()),), answer_body=body)
    (found,) = har.read(BytesIO(har.BEGIN + har.element(told) + har.END))
    assert isinstance(found, Entry)
    assert found.answer_body == body


@pytest.mark.parametrize("text", ["{}", '{"log": {}}', '{"log": {"entries": 7}}', '{"log": []}', '{"entries": [{}]}', "{", "[[[", "}"])
def test_what_is_no_har_is_one_trouble(text: str) -> None:
    (found,) = har.read(BytesIO(text.encode()))
    assert isinstance(found, Trouble)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_a_har_may_come_in_any_pieces(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    entries = [one(comment='\\"[{' * 3 + "\\"), one(comment="ä\u2028"), one()]
    data = json.dumps({"log": {"pages": [], "entries": entries}}, ensure_ascii=False).encode()
    monkeypatch.setattr(har, "_PIECE", size)
    assert [found.where for found in har.read(BytesIO(data)) if isinstance(found, Entry)] == [1, 2, 3]


@pytest.mark.parametrize("size", [1, 7, 50, 64, 1 << 18])
@pytest.mark.parametrize("cut", ["}", "]", '"', "{", "[", ":", "}}"])
def test_what_one_entry_lacks_costs_no_other(monkeypatch: pytest.MonkeyPatch, size: int, cut: str) -> None:
    monkeypatch.setattr(har, "_PIECE", size)
    texts = [har.element(replace(entry, where=1)).decode() for entry in (ENTRIES[0], ENTRIES[1], ENTRIES[0], ENTRIES[1])]
    at = texts[1].rindex(cut)
    texts[1] = texts[1][:at] + texts[1][at + len(cut) :]
    found = list(har.read(BytesIO(har.BEGIN + ",\n".join(texts).encode() + har.END)))
    assert [each.target for each in found if isinstance(each, Entry)] == [ENTRIES[0].target, ENTRIES[0].target, ENTRIES[1].target]
    assert 1 <= sum(isinstance(each, Trouble) for each in found) <= 2


def test_what_is_whole_is_one_entry_whatever_is_in_it() -> None:
    nested = {"startedDateTime": "2026-01-01T00:00:00Z"}
    found = hared(one(_more=[nested, nested], _other=nested, comment='{"startedDateTime": {'), one())
    assert [each.where for each in found if isinstance(each, Entry)] == [1, 2]
    assert len(found) == 2


LINES = {
    b"{": "the line is no JSON",
    b"[]": "it has no JSON object",
    b"\xff\xfe": "the line is no JSON",
    b'{"method": "GET"}': "it has no target",
    b'{"method": "GET", "target": "/", "headers": {"a": "b"}}': "its header fields are no list of pairs",
    b'{"method": "GET", "target": "/", "headers": [["a"]]}': "its header fields are no list of pairs",
    b'{"method": "GET", "target": "/", "at": 1e999}': "the line is no JSON",
    b'{"method": "GET", "target": "/", "at": true}': "a time of it is none",
    b'{"method": "GET", "target": "/", "body_base64": "?"}': "a body of it is no base64",
    b'{"method": "GET", "target": "/", "status": "200"}': "its status is none",
    b"[" * 5000: "the line is no JSON",
}


@pytest.mark.parametrize(("line", "why"), LINES.items(), ids=map(repr, range(len(LINES))))
def test_a_broken_line_is_named_by_its_number(line: bytes, why: str) -> None:
    good = b'{"method": "GET", "target": "/"}\n'
    first, broken, last = json_lines.read(BytesIO(good + b"\n" + line + b"\n" + good))
    assert isinstance(first, Entry)
    assert isinstance(broken, Trouble)
    assert broken.where == 3
    assert broken.why.startswith(why)
    assert isinstance(last, Entry)
    assert last.where == 4


@pytest.mark.parametrize("form", [Format.HAR, Format.JSONL, Format.MITM])
def test_an_entry_that_is_too_long_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: Format) -> None:
    path = tmp_path / "traffic"
    write(path, form, [ENTRIES[0], replace(ENTRIES[1], body=b"x" * 50_000), ENTRIES[2]])
    for module in (checked, har, flows):
        monkeypatch.setattr(module, "MAX_ENTRY", 20_000)
    first, long, *rest = read(path)
    assert isinstance(first, Entry)
    assert isinstance(long, Trouble)
    assert "longer than 20000 bytes" in long.why
    assert [entry.target for entry in rest if isinstance(entry, Entry)] == ["/image"]


def test_formats_are_told_by_their_content() -> None:
    assert detect(b'  \n{ "log" : {') is Format.HAR
    assert detect(b'\xef\xbb\xbf{"log":{') is Format.HAR
    assert detect(b'{"creator": 1, "log": {"entries": [') is Format.HAR
    assert detect(b'{"target": "/", "method": "GET"}') is Format.JSONL
    assert detect(b"1234:9:websocket;0:~") is Format.MITM
    assert detect(b'192.0.2.1 - - [30/Nov/2026:11:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "-"\n') is Format.ACCESS_LOG
    assert detect(b"broken\n" * 20 + b'192.0.2.1 - - [30/Nov/2026:11:00:00 +0000] "GET / HTTP/1.1" 200 5\n') is Format.ACCESS_LOG
    assert detect(b'{"time":"2026-11-30T11:00:00Z","method":"GET"}\n') is Format.ACCESS_LOG  # the gateway's own
    assert detect(b"") is None
    assert detect(b"\x7fELF\x00\x01") is None
    assert detect(b"hello\n") is None
    assert [form_of(Path(name)) for name in ("a.mitm", "a.HAR", "a.jsonl", "a.log", "a")] == [*FORMATS, None, None]


def test_what_is_no_recording_at_all_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="No such file"):
        Recording(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(RecordingError, match="it is empty"):
        Recording(empty)
    empty.write_bytes(b"\x7fELF\x00")
    with pytest.raises(RecordingError, match="no format that is known"):
        Recording(empty)
    assert all(isinstance(found, Trouble) for found in read(empty, Format.JSONL))


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "marked"
    log = b'192.0.2.1 - - [30/Nov/2026:11:00:00 +0000] "GET / HTTP/1.1" 200 5\n'
    for form, line in ((Format.JSONL, b'{"method": "GET", "target": "/", "client": "192.0.2.1"}\n'), (Format.ACCESS_LOG, log)):
        path.write_bytes(b"\xef\xbb\xbf" + line + line)
        with Recording(path) as recording:
            assert recording.format is form
        first, second = read(path)
        assert first == replace(second, where=1)


def test_a_folder_is_no_place_for_a_file(tmp_path: Path) -> None:
    for path in (tmp_path, Path(), Path("/")):
        with pytest.raises(IsADirectoryError):
            Writer(path, Format.JSONL)
    assert not list(tmp_path.iterdir())


def test_a_file_is_in_its_place_only_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "traffic.jsonl"
    path.write_text("before")
    writer = Writer(path, Format.JSONL)
    assert writer.add(ENTRIES[0])
    assert path.read_text() == "before"
    assert not writer.add(ENTRIES[0], most=writer.bytes + 10)
    writer.close()
    assert len(read(path)) == 1
    writer = Writer(path, Format.JSONL)
    writer.discard()
    assert len(read(path)) == 1
    assert list(tmp_path.iterdir()) == [path]


_PARTS = {form: [element(entry) for entry in ENTRIES[:2]] for form, element in ELEMENTS.items()}
WHOLE = {form: har.BEGIN + b",".join(parts) + har.END if form is Format.HAR else b"".join(parts) for form, parts in _PARTS.items()}
"""Made once: a flow has ids of its own each time."""


@pytest.mark.parametrize("form", READERS)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_bytes_make_a_reader_fail(form: Format, data: st.DataObject) -> None:
    damaged = bytearray(WHOLE[form])
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(damaged)))
        count = data.draw(st.integers(0, 40))
        damaged[at : at + count] = data.draw(st.binary(max_size=20))
    for found in READERS[form](BytesIO(bytes(damaged))):
        assert found.where > 0
        assert isinstance(found, Entry) or found.why


@pytest.mark.parametrize("form", READERS)
@settings(max_examples=200, deadline=None)
@given(junk=st.binary(max_size=400))
def test_binary_junk_is_trouble(form: Format, junk: bytes) -> None:
    for found in READERS[form](BytesIO(junk)):
        assert isinstance(found, Trouble)
