"""What travels through NATS: packs of exchanges that are redacted already, and of counts.

A pack is one message: MessagePack, compressed by zstd. It carries its own name (who sent it, and a number), by which it is counted once
however often it arrives. Of an exchange there is either the redacted Pair, for a shadow worker to compare, or the Judgement, where the
shipper had to come to it: a veiled page, whose values may not leave; what is too large; and equal bytes, of which nothing else is told.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Literal, overload

import msgspec
import zstandard

from shadow import recompute
from shadow.compare import Drift, Kind
from shadow.exchange import Side
from shadow.judge import Judgement, Sample
from shadow.noise import Manner
from shadow.normalise import Form, Headers
from shadow.storable import storable

FORMAT = "1"
"""Of a message. A worker that meets another counts what it holds as unreadable, by its headers."""
FORMAT_HEADER = "Banyan-Format"
COUNTS_HEADER = "Banyan-Counts"
"""JSON: route → [exchanges, noise exchanges]. What a pack holds can be counted though nobody can read it."""
ID_HEADER = "Nats-Msg-Id"
"""By it the stream itself refuses a second copy for some minutes."""
MOST_SAID = 1_000_000
"""Exchanges in one message, by what its headers say. Nobody sends so many."""
MAX_UNPACKED = 256 * 1024 * 1024
"""Bytes of a pack once decompressed. The shipper's are a hundredth of it."""

type TallyRow = tuple[str, int, str, int]
"""Route, second, name, how many."""


class PackError(ValueError):
    """Not a pack that this version can read."""


class PairSide(msgspec.Struct, array_like=True, gc=False):
    """One answer, redacted: shadow.normalise.Message without what follows from the rest."""

    upstream: str
    status: int
    headers: Headers
    elapsed: float
    error: str
    skipped: str
    form: Form
    text: str | None
    fields: dict[str, list[str]] | None
    """Of a form."""
    data: bytes
    """Only where nothing is redacted in bodies, so that there is no digest of them."""
    note: str
    size: int
    digest: str
    keyed: str
    """The keyed digest of what is left of the body, where `digest` is ''."""
    raw_size: int
    raw_digest: str
    """Of the body's bytes as they came: what is told of it where comparing takes too long."""


class Pair(msgspec.Struct, array_like=True, gc=False):
    """A redacted exchange, ready to be compared."""

    route: str
    request_id: str
    at: float
    method: str
    target: str
    host: str
    served: Side
    kind: Literal["pair", "noise"]
    reference: PairSide
    other: PairSide
    request: str
    """What a sample keeps of the request (shadow.request.kept), as JSON; '' where there will be no sample."""


class Told(msgspec.Struct, array_like=True, gc=False):
    """A Judgement. Its sample as JSON text: MessagePack has no room for JSON's larger numbers."""

    route: str
    at: float
    noise: bool
    outcome: str
    reason: str
    signatures: list[tuple[Kind, str]]
    sample: str
    more: str
    """The rest of it, as JSON. It was judged by the configuration's rules alone, so nothing there is by reviewed ones."""


class Pack(msgspec.Struct, array_like=True):
    """One message's contents."""

    producer: str
    number: int
    pairs: list[Pair] = []
    told: list[Told] = []
    tallies: list[TallyRow] = []


class Draft(msgspec.Struct, array_like=True):
    """A Pack as its sender has it, its records encoded already."""

    producer: str
    number: int
    pairs: list[msgspec.Raw] = []
    told: list[msgspec.Raw] = []
    tallies: list[TallyRow] = []

    @property
    def id(self) -> str:
        return f"{self.producer}-{self.number}"


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Pack)


def told(judgement: Judgement) -> Told:
    """`judgement` as it travels."""
    sample = json.dumps(asdict(judgement.sample), separators=(",", ":")) if judgement.sample is not None else ""
    return Told(
        judgement.route,
        judgement.at,
        judgement.noise,
        judgement.outcome,
        judgement.reason,
        list(judgement.signatures),
        sample,
        json.dumps(_more(judgement), separators=(",", ":")),
    )


def _more(judgement: Judgement) -> dict[str, Any]:
    combination = judgement.combination
    return {
        "configured": judgement.configured,
        "combination": None if combination is None else recompute.plain(combination),
        "drifts": [[drift.path, drift.legacy, drift.candidate] for drift in judgement.drifts],
        "manners": [[kind, path, manner.plain()] for (kind, path), manner in judgement.manners.items()],
        "places": sorted(judgement.places),
    }


def judgement(found: Told) -> Judgement:
    """What `told` made.

    Raises:
        PackError: its sample is none.
    """
    sample = None
    if found.sample:
        try:
            sample = Sample(**json.loads(found.sample))
        except (ValueError, TypeError, RecursionError) as error:
            raise PackError("a sample of another version") from error
    try:
        more = json.loads(found.more)
        combination = more["combination"]
        return Judgement(
            found.route,
            found.at,
            found.noise,
            found.outcome,
            found.reason,
            tuple(found.signatures),
            sample,
            more["configured"],
            None if combination is None else recompute.read(combination),
            drifts=tuple(Drift(*each) for each in more["drifts"]),
            manners={(Kind(kind), path): Manner.read(stored) for kind, path, stored in more["manners"]},
            places=frozenset(more["places"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise PackError("a judgement of another version") from error


def size(record: Pair | Told) -> int:
    """About the bytes that `record` takes in a pack."""
    if isinstance(record, Told):
        return len(record.sample) + len(record.more) + 200
    return 600 + len(record.request) + sum(_side_size(side) for side in (record.reference, record.other))


def _side_size(side: PairSide) -> int:
    text = len(side.text) if side.text is not None else 0
    return text + len(side.data) + sum(len(name) + len(value) + 4 for name, value in side.headers)


def encoded(record: Pair | Told) -> msgspec.Raw:
    """`record` as it stands in a pack.

    Raises:
        ValueError, TypeError, OverflowError: it holds something that MessagePack cannot.
    """
    return msgspec.Raw(_encoder.encode(record))


def pack(contents: Draft) -> bytes:
    """A message's body."""
    return zstandard.compress(_encoder.encode(contents), level=1)


@overload
def unpack(data: bytes, fields: dict[str, str]) -> Pack: ...
@overload
def unpack(data: bytes, fields: dict[str, str], limit: int) -> Pack | None: ...
def unpack(data: bytes, fields: dict[str, str], limit: int = MAX_UNPACKED) -> Pack | None:
    """What `pack` made, by a message's header fields; None: it is more than `limit` bytes, and may be a pack.

    Raises:
        PackError: it is no pack, or one of another version.
    """
    if fields.get(FORMAT_HEADER) != FORMAT:
        raise PackError("not a pack, or one of another version")
    try:
        with zstandard.ZstdDecompressor(max_window_size=MAX_UNPACKED).stream_reader(data) as reader:
            plain = reader.read(limit + 1)
        if len(plain) > limit:
            if limit < MAX_UNPACKED:
                return None
            raise PackError("larger than any pack")
        return _decoder.decode(plain)
    except (zstandard.ZstdError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PackError("not a pack, or one of another version") from error


def headers(contents: Draft, exchanges: Iterable[tuple[str, bool]] = ()) -> dict[str, str]:
    """A message's header fields. `exchanges`: (route, whether it is noise) of each in it."""
    counted: dict[str, list[int]] = {}
    for route, noise in exchanges:
        counted.setdefault(route, [0, 0])[noise] += 1
    return {ID_HEADER: contents.id, FORMAT_HEADER: FORMAT, COUNTS_HEADER: json.dumps(counted)}


def counts(fields: dict[str, str]) -> Counter[tuple[str, bool]]:
    """What a message holds, by its header fields: (route, whether it is noise) → how many. Empty where they do not say."""
    found: Counter[tuple[str, bool]] = Counter()
    try:
        said: Any = json.loads(fields.get(COUNTS_HEADER, ""))
        for route, (pairs, noise) in said.items():
            if not 0 <= int(pairs) <= MOST_SAID or not 0 <= int(noise) <= MOST_SAID:
                return Counter()
            name = storable(str(route))[:100]
            found[name, False] += int(pairs)
            found[name, True] += int(noise)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return Counter()
    return +found


def name_of(fields: dict[str, str]) -> tuple[str, int] | None:
    """(producer, number) by a message's header fields; None where they do not say."""
    producer, dash, number = fields.get(ID_HEADER, "").rpartition("-")
    good = dash and 0 < len(producer) <= 64 and producer.isprintable() and number.isdecimal() and len(number) < 19
    return (producer, int(number)) if good else None
