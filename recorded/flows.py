"""mitmproxy's flow files, read and written. The one module here that imports mitmproxy.

A flow is a tnetstring, whose length stands before it. So one that cannot be read costs itself alone; after bytes that are no flow at all
the next one is looked for by what every flow begins with.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from mitmproxy import connection, http
from mitmproxy.flow import Flow
from mitmproxy.io import compat, tnetstring

from recorded import checked
from recorded.checked import MAX_ENTRY, EntryError
from recorded.entry import Entry, Fields, Trouble

_BEGIN: Final = re.compile(rb"(?<![0-9])[1-9][0-9]{1,11}:(?:9:websocket|8:response|7:request|7:version|6:backup|5:error|4:type|2:id)[,;]")
_PREFIX: Final = re.compile(rb"(0|[1-9][0-9]{0,11}):")
_PIECE: Final = 256 * 1024
_LONGEST_BEGIN: Final = 32


def read(file: BinaryIO) -> Iterator[Entry | Trouble]:
    """What is in it."""
    number = 0
    left = b""  # read, and not yet used
    while True:
        if len(left) < _LONGEST_BEGIN:
            left += file.read(_PIECE)
        if not left:
            return
        number += 1
        prefix = _PREFIX.match(left)
        if prefix is None:
            yield Trouble(number, "what stands here is no flow")
            left = _next(file, left[1:])
            continue
        length = int(prefix[1]) + 1  # with its type
        if length > MAX_ENTRY:
            yield Trouble(number, f"the flow is longer than {MAX_ENTRY} bytes, or its length is none")
            left = _next(file, left[1:])
            continue
        data = left[prefix.end() :]
        if len(data) < length:
            data += file.read(max(length - len(data), 0) + _PIECE)
        if len(data) < length:
            yield Trouble(number, "the file ends within this flow")
            left = _next(file, data)
            continue
        flow, kind = memoryview(data)[: length - 1], data[length - 1]
        found = _flow(kind, flow, number)
        yield found
        # A broken one may be no flow at all, whose length says nothing: the next may begin within it.
        left = data[length:] if kind == ord("}") else _next(file, left[1 : prefix.end()] + data)


def _next(file: BinaryIO, left: bytes) -> bytes:
    """From where the next flow begins; b"" at the file's end."""
    while True:
        found = _BEGIN.search(left)
        if found is not None:
            return left[found.start() :]
        more = file.read(_PIECE)
        if not more:
            return b""
        left = left[-_LONGEST_BEGIN:] + more


def _flow(kind: int, data: memoryview, number: int) -> Entry | Trouble:
    try:
        state = tnetstring.parse(kind, data)
        if not isinstance(state, dict):
            return Trouble(number, "what stands here is no flow")
        flow = Flow.from_state(compat.migrate_flow(state))
    except Exception:  # mitmproxy converts as it goes, and checks little: a broken state makes it raise anything
        return Trouble(number, "the flow cannot be read: it is broken, or of a newer mitmproxy")
    if not isinstance(flow, http.HTTPFlow):
        return Trouble(number, f"a {flow.type} flow: no HTTP")
    try:
        return _entry(flow, number)
    except EntryError as error:
        return Trouble(number, str(error))
    except Exception:  # as above
        return Trouble(number, "the flow cannot be read: it is broken, or of a newer mitmproxy")


def _entry(flow: http.HTTPFlow, number: int) -> Entry:
    request, answer = flow.request, flow.response
    end = None if answer is None else answer.timestamp_end
    begin = checked.number(request.timestamp_start)
    peer = flow.client_conn.peername
    return Entry(
        number,
        checked.method(request.method),
        checked.target(request.path),
        begin,
        _with_host(request, checked.fields(request.headers.fields)),
        request.raw_content,
        None if answer is None else checked.status(answer.status_code),
        None if end is None or begin is None else max(0.0, end - begin),
        None if answer is None or answer.raw_content is None else len(answer.raw_content),
        () if answer is None else checked.fields(answer.headers.fields),
        None if answer is None else answer.raw_content,
        checked.text_or_none(peer[0] if peer else None),
    )


def _with_host(request: http.Request, fields: Fields) -> Fields:
    """HTTP/2 has no Host field, but says the same elsewhere."""
    if request.authority and not any(name.lower() == b"host" for name, _ in fields):
        return (*checked.fields([("Host", request.authority)]), *fields)
    return fields


def element(told: Entry) -> bytes:
    """What `read` reads as a flow, and mitmproxy too."""
    at = told.at if told.at is not None else time.time()
    host = next((value.decode("latin-1") for name, value in told.fields if name.lower() == b"host"), "") or "recorded.invalid"
    name, _, port = host.partition(":")
    number = int(port) if port.isascii() and port.isdigit() and 0 < int(port) < 65536 else 80
    client = connection.Client(peername=(told.client or "", 0), sockname=("", 0), timestamp_start=at)
    server = connection.Server(address=(name, number))
    flow = http.HTTPFlow(client, server)
    flow.request = http.Request(
        host=name,
        port=number,
        method=told.method.encode(),
        scheme=b"http",
        authority=b"",
        path=told.target.encode(),
        http_version=b"HTTP/1.1",
        headers=http.Headers(told.fields),
        content=told.body,
        trailers=None,
        timestamp_start=at,
        timestamp_end=at,
    )
    if told.status is not None:
        flow.response = http.Response(
            http_version=b"HTTP/1.1",
            status_code=told.status,
            reason=b"",
            headers=http.Headers(told.answer_fields),
            content=told.answer_body,
            trailers=None,
            timestamp_start=at,
            timestamp_end=at + (told.duration or 0.0),
        )
    state: dict[str, Any] = flow.get_state()
    return bytes(tnetstring.dumps(state))
