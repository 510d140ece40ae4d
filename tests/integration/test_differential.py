"""The real shop, asked directly and through the gateway: the same answer, but for what docs/reference/edge.md says the gateway changes."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from demo.shop import PASSWORD, Shop, start_shop
from tests.support.gateway import Client, Gateway, Response, gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

PER_HOP = {"connection", "keep-alive", "transfer-encoding"}
"""Each side frames its own answers."""
PER_ANSWER = {"date", "expires"}
"""The time of the answer: two are not always given in the same second."""
TOKEN = re.compile(rb'(name="csrfmiddlewaretoken" value=")\w+')
HOST = b"Host: localhost\r\n"
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde"
    b"\x00\x00\x00\x0cIDATx\x9cc\xf8\xcf\xc0\x00\x00\x03\x01\x01\x00\xc9\xfe\x92\xef\x00\x00\x00\x00IEND\xaeB`\x82"
)
MULTIPART = (
    b'--frontier\r\nContent-Disposition: form-data; name="note"\r\n\r\n\xc3\xa9t\xc3\xa9 \r\n--frontier\r\n'
    b'Content-Disposition: form-data; name="picture"; filename="p.png"\r\nContent-Type: image/png\r\n\r\n' + PNG + b"\r\n--frontier--\r\n"
)
FORM = b"username=user01&password=wrong&next=%2F"


def get(path: bytes, *fields: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    return b"%b %b %b\r\n" % (method, path, version) + HOST + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def post(path: bytes, body: bytes, *fields: bytes, method: bytes = b"POST", version: bytes = b"HTTP/1.1") -> bytes:
    return get(path, b"Content-Length: %d" % len(body), *fields, method=method, version=version) + body


def chunked(path: bytes, parts: list[bytes], *fields: bytes) -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    return get(path, b"Transfer-Encoding: chunked", *fields, method=b"POST") + framed


STATIC = b"/static/shop/shop.css"
JSON = b"Content-Type: application/json"
URLENCODED = b"Content-Type: application/x-www-form-urlencoded"
UPLOAD = b"Content-Type: multipart/form-data; boundary=frontier"
CSRF = b"Cookie: csrftoken=" + b"a" * 32
TOKEN_FIELD = b"X-CSRFToken: " + b"a" * 32

ORDINARY = {
    "page": get(b"/"),
    "page-2": get(b"/?page=2"),
    "page-for-a-browser": get(
        b"/items/3/",
        b"User-Agent: Mozilla/5.0",
        b"Accept: text/html;q=0.9, */*;q=0.1",
        b"Accept-Language: de, en;q=0.5",
        b"Accept-Encoding: gzip, br",
    ),
    "json": get(b"/api/v1/items/"),
    "json-query": get(b"/api/v1/items/?q=a&page=2"),
    "query-encoded": get(b"/api/v1/items/?q=%C3%A9t%C3%A9+%26%20x"),
    "query-odd": get(b'/api/v1/items/?q=a;b&q=&&=x&%zz=[1]{}|^`"<>'),
    "json-nested": get(b"/api/v1/reviews/summary/3"),
    "path-encoded": get(b"/api/v1/items/%33"),
    "path-encoded-slash": get(b"/api/v1/items%2F3"),
    "path-dots": get(b"/api/v1/../v1/items/3"),
    "path-double-slash": get(b"//api/v1/items/3"),
    "path-unicode": get(b"/caf%C3%A9"),
    "not-found": get(b"/nowhere"),
    "not-found-json": get(b"/api/nowhere"),
    "bad-parameter": get(b"/api/v1/items/?page=x"),
    "redirect-to-slash": get(b"/login"),
    "redirect-to-login": get(b"/exports/reviews.csv"),
    "health": get(b"/healthz"),
    "not-signed-in": get(b"/api/v1/users/me"),
    "bad-session": get(b"/api/v1/users/me", b"Cookie: sessionid=nonsense; theme=dark"),
    "several-cookies": get(b"/", b"Cookie: a=b", b'Cookie: c="d; e"'),
    "host-with-a-port": b"GET / HTTP/1.1\r\nHost: localhost:8000\r\n\r\n",
    "host-not-allowed": b"GET / HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n",
    "absolute-form": get(b"http://localhost/api/v1/items/3"),
    "static": get(STATIC),
    "static-svg": get(b"/static/shop/mark.svg"),
    "static-not-there": get(b"/static/shop/nothing.css"),
    "static-range": get(STATIC, b"Range: bytes=10-99"),
    "static-range-suffix": get(STATIC, b"Range: bytes=-50"),
    "static-range-open": get(STATIC, b"Range: bytes=20-"),
    "static-range-too-far": get(STATIC, b"Range: bytes=9999999-"),
    "static-range-several": get(STATIC, b"Range: bytes=0-1,5-6"),
    "static-head": get(STATIC, method=b"HEAD"),
    "head": get(b"/api/v1/items/3", method=b"HEAD"),
    "head-page": get(b"/", method=b"HEAD"),
    "head-not-found": get(b"/api/nowhere", method=b"HEAD"),
    "options": get(b"/api/v1/items/", method=b"OPTIONS"),
    "options-all": get(b"*", method=b"OPTIONS"),
    "put": post(b"/api/v1/items/3", b'{"a": 1}', JSON, CSRF, TOKEN_FIELD, method=b"PUT"),
    "patch": post(b"/api/v1/items/3", b'{"a": 1}', JSON, CSRF, TOKEN_FIELD, method=b"PATCH"),
    "delete": get(b"/api/v1/items/3", CSRF, TOKEN_FIELD, method=b"DELETE"),
    "delete-with-a-body": post(b"/api/v1/items/3", b"x" * 100, CSRF, TOKEN_FIELD, method=b"DELETE"),
    "get-with-a-body": post(b"/api/v1/items/3", b"x" * 100, method=b"GET"),
    "unknown-method": get(b"/api/v1/items/3", CSRF, TOKEN_FIELD, method=b"PROPFIND"),
    "post-without-csrf": post(b"/api/v1/reviews/", b"{}", JSON),
    "post-not-signed-in": post(b"/api/v1/reviews/", b'{"item": 1}', JSON, CSRF, TOKEN_FIELD),
    "post-nothing": post(b"/api/v1/reviews/", b"", CSRF, TOKEN_FIELD),
    "post-form": post(b"/login/", FORM + b"&csrfmiddlewaretoken=" + b"a" * 32, URLENCODED, CSRF),
    "post-form-expecting": post(b"/login/", FORM + b"&csrfmiddlewaretoken=" + b"a" * 32, URLENCODED, CSRF, b"Expect: 100-continue"),
    "post-form-chunked": chunked(b"/login/", [FORM[:7], FORM[7:], b"&csrfmiddlewaretoken=", b"a" * 32], URLENCODED, CSRF),
    "post-multipart": post(b"/api/v1/items/3/pictures", MULTIPART, UPLOAD, CSRF, TOKEN_FIELD),
    "post-gzip": post(b"/api/v1/reviews/", gzip.compress(b'{"item": 1}', mtime=0), JSON, b"Content-Encoding: gzip", CSRF, TOKEN_FIELD),
    "post-large": post(b"/login/", b"x=" + b"y" * 900_000 + b"&csrfmiddlewaretoken=" + b"a" * 32, URLENCODED, CSRF),
    "post-too-large": post(b"/api/v1/reviews/", b"x=" + b"y" * 1_100_000, URLENCODED, CSRF, TOKEN_FIELD),
    "post-bad-json": post(b"/api/v1/reviews/", b"{", JSON, CSRF, TOKEN_FIELD),
    "1.0": get(b"/api/v1/items/3", version=b"HTTP/1.0"),
    "1.0-page": get(b"/", version=b"HTTP/1.0"),
    "1.0-kept-alive": get(b"/api/v1/items/3", b"Connection: keep-alive", version=b"HTTP/1.0"),
    "1.0-post": post(b"/login/", FORM + b"&csrfmiddlewaretoken=" + b"a" * 32, URLENCODED, CSRF, version=b"HTTP/1.0"),
    "connection-close": get(b"/api/v1/items/3", b"Connection: close"),
    "forged": get(b"/api/v1/users/me", b"X-Forwarded-For: 6.6.6.6", b"X_Real_IP: 6.6.6.6", b"Banyan-Identity: forged"),
}
SIGNED_IN = {
    "me": get(b"/api/v1/users/me"),
    "home": get(b"/"),
    "orders": get(b"/api/v1/orders/"),
    "bad-order": post(b"/api/v1/orders/", b'{"lines": []}', JSON),
    "bad-picture": post(b"/api/v1/items/3/pictures", MULTIPART.replace(PNG, b"no picture"), UPLOAD),
    "own-review-of-nothing": post(b"/api/v1/reviews/", b'{"item": 99999, "rating": 5, "title": "a", "body": "b"}', JSON),
    "export-is-not-for-all": get(b"/exports/reviews.csv"),
    "login-page": get(b"/login/?next=/x"),
}


class World:
    def __init__(self, shop: Shop, gateway: Gateway) -> None:
        self.shop = shop
        self.gateway = gateway

    async def both(self, raw: bytes) -> tuple[Response, Response]:
        """(asked directly, asked through the gateway)."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.shop.port, limit=2**22)
        try:
            direct = await final(Client(reader, writer), raw)
        finally:
            writer.close()
        client = await self.gateway.connect()
        try:
            return direct, await final(client, raw)
        finally:
            client.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("differential")
    shop = await asyncio.to_thread(start_shop, folder / "shop")
    try:
        async with gateway(folder, f'[upstreams]\nlegacy = "http://127.0.0.1:{shop.port}"\n') as started:
            yield World(shop, started)
    finally:
        await asyncio.to_thread(shop.stop)


async def final(client: Client, raw: bytes) -> Response:
    """The last answer: interim ones are the server's own affair."""
    answer = await client.request(raw)
    while answer.status < 200:
        answer = await client.response()
    return answer


def comparable(answer: Response) -> tuple[bytes, list[tuple[str, str]], bytes]:
    """(status line, fields, body) without what differs between two answers of the shop itself."""
    fields = []
    for line in answer.head.split(b"\r\n")[1:]:
        name, _, value = line.decode("latin-1").partition(":")
        key = name.lower()
        if not name or key in PER_HOP or key in PER_ANSWER:
            continue
        value = value.strip()
        if key == "set-cookie":
            value = re.sub(r"(=)[^;]*", r"\1…", value, count=1)
            value = re.sub(r"expires=[^;]*", "expires=…", value)
        fields.append((name, value))
    line = answer.head.split(b"\r\n")[0].replace(b"HTTP/1.0", b"HTTP/1.1")
    return line, fields, TOKEN.sub(rb"\1", answer.body)


@pytest.mark.parametrize("raw", ORDINARY.values(), ids=ORDINARY.keys())
async def test_the_same_answer(world: World, raw: bytes) -> None:
    direct, through = await world.both(raw)
    assert comparable(through) == comparable(direct)


async def test_not_modified(world: World) -> None:
    first = await world.gateway.request(get(STATIC))
    names = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}
    given = {asked: first.header(name) for asked, name in names.items() if first.header(name)}
    assert given
    for asked, value in given.items():
        direct, through = await world.both(get(STATIC, f"{asked}: {value}".encode()))
        assert through.status == 304
        assert comparable(through) == comparable(direct)


@pytest.mark.parametrize("raw", SIGNED_IN.values(), ids=SIGNED_IN.keys())
async def test_the_same_answer_to_somebody_signed_in(world: World, raw: bytes) -> None:
    """The session was begun through the gateway and holds on both ways."""
    form = await world.gateway.request(get(b"/login/"))
    found = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', form.body)
    assert found
    cookie = cookies(form)["csrftoken"]
    body = b"username=user05&password=%b&csrfmiddlewaretoken=%b" % (PASSWORD.encode(), found[1])
    signed = await world.gateway.request(post(b"/login/", body, URLENCODED, b"Cookie: csrftoken=" + cookie))
    assert signed.status == 302
    jar = cookies(signed)
    fields = b"Cookie: csrftoken=%b; sessionid=%b\r\nX-CSRFToken: %b\r\n" % (jar["csrftoken"], jar["sessionid"], jar["csrftoken"])
    direct, through = await world.both(raw.replace(HOST, HOST + fields, 1))
    assert direct.status not in (401, 403) or b"export" in raw
    assert comparable(through) == comparable(direct)


def cookies(answer: Response) -> dict[str, bytes]:
    return {name.decode(): value for name, value in re.findall(rb"(?i)\r\nset-cookie: (\w+)=([^;\r]+)", answer.head)}


async def test_what_the_gateway_changes(world: World) -> None:
    """Upstreams hear who asked, and the client gets nothing added (docs/reference/edge.md)."""
    direct, through = await world.both(get(b"/healthz"))
    names = [{line.partition(b":")[0].lower() for line in answer.head.split(b"\r\n")[1:]} for answer in (direct, through)]
    assert names[1] - names[0] == set()
    assert names[0] - names[1] <= {b"connection", b"keep-alive"}
