"""What of a request is shown: a flow of its own, made of the real one.

A copy, because mitmweb may then do with it what it likes: no button reaches the request. Because its bodies can be cut short while the real
ones are still on their way. And because credentials can be left out: whoever looks over somebody's shoulder could sign in with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mitmproxy import connection, http
from mitmproxy.flow import Error
from mitmproxy.websocket import WebSocketData, WebSocketMessage

from gateway.mitm.relay import Relay
from gateway.set_cookie import NAME as SET_COOKIE
from gateway.set_cookie import without_value
from inspecting import marks
from shadow.exchange import Answer, Exchange
from shadow.redact import URL_HEADERS

HIDDEN = b"(hidden)"
_ADDRESSES = frozenset(name.encode() for name in URL_HEADERS)
MESSAGES = 200
"""Of an upgraded connection, the last so many …"""
MESSAGE_BYTES = 16 * 1024 * 1024
"""… and no more than that of them together, but for the last one."""

Fields = Iterable[tuple[bytes, bytes]]


class Veil:
    """Leaves out of heads who somebody is. `names`: of further fields, in lower case."""

    def __init__(self, names: Iterable[bytes], target: Callable[[bytes], bytes]) -> None:
        self._names = frozenset(names)
        self._target = target

    def fields(self, fields: Fields) -> tuple[tuple[bytes, bytes], ...]:
        return tuple((name, self._value(name.lower(), value)) for name, value in fields)

    def target(self, target: bytes) -> bytes:
        return self._target(target)

    def _value(self, name: bytes, value: bytes) -> bytes:
        if name == SET_COOKIE:
            return without_value(value)
        if name in self._names:
            return HIDDEN
        return self._address(value) if name in _ADDRESSES else value

    def _address(self, value: bytes) -> bytes:
        """Without secrets in its query; nor in its fragment, where a login may hand over a token too (RFC 6749, 4.2.2)."""
        before, mark, fragment = value.partition(b"#")
        return self._target(before) + mark + self._target(b"?" + fragment).removeprefix(b"?")


class Bare(Veil):
    """Hides nothing at all."""

    def __init__(self) -> None:
        super().__init__((), lambda target: target)

    def fields(self, fields: Fields) -> tuple[tuple[bytes, bytes], ...]:
        return tuple(fields)


def begin(flow: http.HTTPFlow, relay: Relay, veil: Veil) -> http.HTTPFlow:
    """The flow that is shown of a request of which nothing but the head is known."""
    shown = http.HTTPFlow(flow.client_conn, _server(flow, relay))
    shown.request = _request(flow, relay, veil, 0)
    shown.metadata.update(about(relay))
    mark(shown)
    return shown


def end(shown: http.HTTPFlow, flow: http.HTTPFlow, relay: Relay, veil: Veil, body: int) -> None:
    """The same of one that is over. `body`: bytes of each body that are shown."""
    shown.server_conn = _server(flow, relay)
    shown.request = _request(flow, relay, veil, body)
    known = about(relay)
    if marks.SHADOWED not in known:
        shown.metadata.pop(marks.SHADOWED, None)  # it was to be, and was not
    shown.metadata.update(known)
    cut = [_cut("request", flow.request, relay, 0, body)]
    if flow.response is not None:
        answer(shown, flow.response, relay, veil, body)
        cut.append(_cut("response", flow.response, relay, 1, body))
    elif relay.own is not None:
        answer(shown, relay.own, relay, veil, body)
    elif flow.error is not None:
        shown.error = Error(flow.error.msg, flow.error.timestamp)
    said = ", ".join(filter(None, cut))
    if said:
        shown.metadata[marks.CUT] = said
    mark(shown)


def answer(shown: http.HTTPFlow, response: http.Response, relay: Relay | None, veil: Veil, body: int) -> None:
    """Its answer."""
    data = response.data
    shown.response = http.Response(
        data.http_version,
        data.status_code,
        data.reason,
        http.Headers(veil.fields(data.headers.fields)),
        _body(response, relay, 1, body) if relay is not None else b"",
        None,
        data.timestamp_start,
        data.timestamp_end or shown.timestamp_created,
    )


def message(shown: http.HTTPFlow, said: WebSocketMessage, body: int) -> None:
    """One message of an upgraded connection."""
    if shown.websocket is None:
        shown.websocket = WebSocketData()
    kept = WebSocketMessage(said.type, said.from_client, said.content[:body], said.timestamp)
    shown.websocket.messages.append(kept)
    del shown.websocket.messages[:-MESSAGES]
    size = sum(len(each.content) for each in shown.websocket.messages)
    while size > MESSAGE_BYTES and len(shown.websocket.messages) > 1:
        size -= len(shown.websocket.messages.pop(0).content)


def empty(shown: http.HTTPFlow) -> None:
    """Lets go of what is large in it: a flow refers to itself, and waits for Python's collector."""
    for each in (shown.request, shown.response):
        if each is not None:
            each.data.content = b""
    shown.websocket = None


def beside(exchange: Exchange, place: tuple[str, int], client: connection.Client, veil: Veil, body: int) -> http.HTTPFlow:
    """What the upstream was asked that is asked beside, and what it said: the exchange as it is compared, without credentials.

    Raises:
        ValueError: its heads cannot be shown.
    """
    said = exchange.shadow
    server = connection.Server(address=place)
    shown = http.HTTPFlow(client, server)
    began = exchange.at
    asked = http.Headers((*veil.fields(_lines(exchange.head)), (b"Banyan-Shadow", b"1")))
    shown.request = http.Request(
        place[0],
        place[1],
        exchange.method.encode("latin-1"),
        b"http",
        b"",
        veil.target(exchange.target.encode("latin-1")),
        b"HTTP/1.1",
        asked,
        exchange.body[:body],
        None,
        began,
        began,
    )
    if said.status:
        fields = http.Headers(veil.fields(_lines(said.head)))
        shown.response = http.Response(b"HTTP/1.1", said.status, b"", fields, said.body[:body], None, began, began + said.elapsed)
    else:
        shown.error = Error(said.error or "no answer", began + said.elapsed)
    shown.metadata.update(_about_beside(exchange, said))
    mark(shown)
    return shown


def judge(shown: http.HTTPFlow, verdict: str, difference: str) -> None:
    """What comparing it came to."""
    shown.metadata[marks.VERDICT] = verdict
    if difference:
        shown.metadata[marks.DIFFERENCE] = difference
    mark(shown)


def mark(shown: http.HTTPFlow) -> None:
    shown.marked = marks.marker(shown.metadata)
    shown.comment = marks.comment(shown.metadata)


def weight(shown: http.HTTPFlow) -> int:
    """About how many bytes of memory it holds."""
    size = 4096 + len(shown.request.data.path)  # its objects
    for each in (shown.request, shown.response):
        if each is not None:
            size += sum(len(name) + len(value) + 100 for name, value in each.headers.fields) + len(each.raw_content or b"")
    if shown.websocket is not None:
        size += sum(len(each.content) + 200 for each in shown.websocket.messages)
    return size


def about(relay: Relay) -> dict[str, str]:
    """What is known of a request: the words of the access log and of Banyan-Route."""
    serve = relay.serve
    ours = relay.problem is not None or serve is None
    said = {
        marks.ROUTE: relay.route,
        marks.SERVED: marks.OURS if serve is None or ours else serve.side,
        marks.REASON: relay.problem.value if relay.problem is not None else relay.reason,
        marks.REQUEST: relay.request_id.decode("latin-1"),
    }
    if serve is not None:
        said[marks.UPSTREAM] = serve.upstream
    if relay.caller is not None:
        said[marks.CALLER] = relay.caller.standing.value
    decision = relay.decision
    if decision is not None and decision.shadow is not None and relay.capture is not None:
        said[marks.SHADOWED] = decision.shadow.upstream
    return said


def _about_beside(exchange: Exchange, answer: Answer) -> dict[str, str]:
    return {
        marks.ROUTE: exchange.route,
        marks.SERVED: exchange.served.side,
        marks.UPSTREAM: answer.upstream,
        marks.SHADOWED: marks.THIS if exchange.kind == "pair" else marks.NOISE,
        marks.REQUEST: exchange.request_id,
        **({marks.CUT: f"answer not kept: {answer.skipped}"} if answer.skipped else {}),
    }


def _server(flow: http.HTTPFlow, relay: Relay) -> connection.Server:
    """Whom it is with: mitmproxy's own connection, or that of a client of ours, of which mitmproxy knows nothing."""
    if relay.serve is None:
        return flow.server_conn
    place = relay.terms.config.upstreams[relay.serve.upstream].address
    its = flow.server_conn
    return its if its.address == place and its.timestamp_start is not None else connection.Server(address=place)


def _request(flow: http.HTTPFlow, relay: Relay, veil: Veil, body: int) -> http.Request:
    request = flow.request
    data = request.data
    return http.Request(
        data.host,
        data.port,
        data.method,
        data.scheme,
        b"",
        veil.target(data.path),
        data.http_version,
        http.Headers(veil.fields(data.headers.fields)),
        _body(request, relay, 0, body),
        None,
        data.timestamp_start,
        data.timestamp_end,
    )


def _body(message: http.Message, relay: Relay, which: int, limit: int) -> bytes | None:
    """The beginning of a body: whole in the message, or what was seen of it while it was streamed."""
    if message.raw_content:
        return message.raw_content[:limit]
    return relay.peeks[which].kept if relay.peeks is not None else message.raw_content


def _cut(name: str, message: http.Message, relay: Relay, which: int, limit: int) -> str:
    """How much of a body is not shown."""
    seen = relay.peeks[which].size if relay.peeks is not None else 0
    size = len(message.raw_content) if message.raw_content else seen
    return f"{name}: {limit} of {size} bytes" if size > limit else ""


def _lines(head: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """The fields of a head as an exchange has it: each line ended by CRLF."""
    pairs = (line.partition(b":") for line in head.split(b"\r\n") if line)
    return tuple((name, value.strip(b" \t")) for name, _, value in pairs)
