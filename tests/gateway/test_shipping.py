"""The way to the shipper: what it would not take is not sent, and costs nobody else's record."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.shipping import ShipperLink
from shadow.exchange import MAX_RECORD, Answer, Exchange, Frames, Record


def exchange(number: int, body: bytes) -> Exchange:
    answers = Answer("legacy", "legacy", 200, b"", body, 0.0), Answer("candidate", "new", 200, b"", body, 0.0)
    return Exchange("r", f"q{number}", 0.0, "GET", "/", b"", b"", *answers)


async def test_a_record_that_is_too_large_is_dropped_and_told(tmp_path: Path) -> None:
    got: asyncio.Queue[Record] = asyncio.Queue()
    connections = 0

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        frames = Frames()
        while data := await reader.read(65536):
            for record in frames.feed(data):
                got.put_nowait(record)
        writer.close()

    path = tmp_path / "shipper"
    server = await asyncio.start_unix_server(receive, path)
    link = ShipperLink(asyncio.get_running_loop(), str(path), queue=10, queue_bytes=2**26)
    link.start()
    try:
        assert link.offer(exchange(1, b"x")) == ""
        assert link.offer(exchange(2, bytes(MAX_RECORD // 2))) == "record_too_large"
        assert link.offer(exchange(3, bytes(MAX_RECORD // 2 - 1000))) == ""
        async with asyncio.timeout(20):
            taken = [await got.get(), await got.get()]
        assert [record.request_id for record in taken if isinstance(record, Exchange)] == ["q1", "q3"]
        assert connections == 1
    finally:
        await link.close()
        server.close()
        await server.wait_closed()
