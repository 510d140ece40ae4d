"""Bodies that mean harm, by what they are: a head for each, and the body."""

from __future__ import annotations

import gzip
import zlib

import brotli  # type: ignore[import-untyped]
import zstandard

JSON = b"Content-Type: application/json\r\n"
PAGE = b"Content-Type: text/html\r\n"
TEXT = b"Content-Type: text/plain\r\n"
ZEROS = bytes(100_000_000)


def coded(coding: str) -> bytes:
    return JSON + f"Content-Encoding: {coding}\r\n".encode()


HOSTILE: dict[str, tuple[bytes, bytes]] = {
    "a million keys": (JSON, b"{" + b",".join(b'"%x":0' % number for number in range(1_000_000)) + b"}"),
    "a million empty lists": (JSON, b"[" + b"[]," * 1_000_000 + b"0]"),
    "very deep": (JSON, b'{"a":' * 1_000_000),
    "deep and closed": (JSON, b"[" * 200_000 + b"]" * 200_000),
    "a huge number": (JSON, b"[" + b"9" * 4_000_000 + b"]"),
    "huge exponents": (JSON, b"[1e999999999,-1e999999999,1e-999999999]"),
    "not UTF-8": (JSON, b'{"a":"\xff\xfe\xc0\xaf\xed\xa0\x80"}'),
    "lone surrogates": (JSON, rb'{"a":"\ud800","\udfff":1}'),
    "one key many times": (JSON, b"{" + b'"a":1,' * 100_000 + b'"a":2}'),
    "NaN": (JSON, b'{"a":NaN,"b":Infinity,"c":-Infinity}'),
    "NUL": (JSON, b'{"a":"\0"}\0\0'),
    "a bomb in gzip": (coded("gzip"), gzip.compress(ZEROS)),
    "a bomb in deflate": (coded("deflate"), zlib.compress(ZEROS)),
    "a bomb in br": (coded("br"), brotli.compress(ZEROS, quality=3)),
    "a bomb in zstd": (coded("zstd"), zstandard.ZstdCompressor().compress(ZEROS)),
    "a coding within itself": (coded("gzip, gzip, gzip"), gzip.compress(gzip.compress(gzip.compress(bytes(10_000_000))))),
    "a coding that breaks off": (coded("gzip"), gzip.compress(b"x" * 100_000)[:-50]),
    "10 MB of tags": (PAGE, b"<b></b>" * 1_430_000),
    "tags that never end": (PAGE, b"<a b='" * 500_000),
    "deep tags": (PAGE, b"<div>" * 300_000),
    "references": (PAGE, b"<p>" + b"&amp;&#x26;&lt" * 200_000),
    "a million lines": (TEXT, b"a\n" * 1_000_000),
    "digits that may be cards": (TEXT, b"4111 1111-1111 " * 100_000),
    "almost a token": (TEXT, b"eyJ" + b"hbGciOiJ." * 200_000),
    "Bearer, Bearer": (TEXT, b"Bearer " * 300_000),
    "almost a form": (b"Content-Type: application/x-www-form-urlencoded\r\n", b"a=%zz&" * 200_000),
    "a form in parts without an end": (b"Content-Type: multipart/form-data; boundary=x\r\n", b"--x\r\nA: b\r\n\r\n" * 100_000),
}
