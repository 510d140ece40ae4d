"""Traces: what is believed, and what is begun."""

import pytest

from gateway.trace import Ids, valid

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("traceparent", "expected"),
    [
        (b"00-%b-%b-01" % (TRACE, SPAN), True),
        (b"cc-%b-%b-01" % (TRACE, SPAN), True),
        (b"cc-%b-%b-01-what-comes" % (TRACE, SPAN), True),  # W3C Trace Context, 3.2.4: later versions may say more
        (b"00-%b-%b-01-more" % (TRACE, SPAN), False),
        (b"ff-%b-%b-01" % (TRACE, SPAN), False),
        (b"00-%b-%b-01" % (b"0" * 32, SPAN), False),
        (b"00-%b-%b-01" % (TRACE, b"0" * 16), False),
        (b"00-%b-%b-01" % (TRACE.upper(), SPAN), False),
        (b"00-%b-%b-1" % (TRACE, SPAN), False),
        (b"00-%b-%b-01\n" % (TRACE, SPAN), False),
        (b"", False),
    ],
)
def test_valid(traceparent: bytes, expected: bool) -> None:
    assert valid(traceparent) is expected


def test_no_two_requests_are_called_the_same() -> None:
    made = []
    for ids in (Ids(), Ids()):
        for _ in range(5000):
            ids.begin()
            made.append((ids.request_id(), ids.traceparent()))
    traces = [trace for _, trace in made]
    assert all(valid(trace) and trace.endswith(b"-00") for trace in traces)
    assert len({request_id for request_id, _ in made}) == len({trace[3:35] for trace in traces}) == 10_000
    # Samplers go by the lower half: a tenth of all numbers catches about a tenth of the traces.
    low = sum(int(trace[19:35], 16) < 2**64 // 10 for trace in traces)
    assert 700 < low < 1300


def test_the_count_starts_afresh_under_another_name_before_it_gets_too_long() -> None:
    ids = Ids()
    ids._count = 999_999_998
    called = []
    for _ in range(3):
        ids.begin()
        called.append((ids.request_id(), ids.traceparent()))
    assert {(len(request_id), len(trace)) for request_id, trace in called} == {(21, 55)}
    assert len({request_id[:12] for request_id, _ in called}) == 2
