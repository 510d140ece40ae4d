"""h2, as it is used here: what it is told at a connection's beginning, and what it is kept from."""

from __future__ import annotations

from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings
from mypy_extensions import mypyc_attr

MAX_STREAMS: Final = 100
"""At once; what is opened beyond is refused. RFC 9113, 6.5.2 recommends no fewer. nginx: 128; HAProxy: 100; Envoy recommends 100."""
WINDOW: Final = 65_535
"""Bytes of a request's body that are on their way or wait for the upstream, for each stream."""
TABLE: Final = 4096
"""Bytes of what is remembered of fields for compression. A client may offer more memory than that, but not of ours; and a longer table
takes longer to look through."""
MAX_STREAM_ID: Final = 2**31 - 1

_CONFIG: Final = H2Configuration(
    client_side=False,
    # Fields are judged by gateway/net/http2_fields.py.
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
    # What goes out was valid HTTP/1 when it was taken apart.
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


@mypyc_attr(native_class=False)  # h2's class is interpreted
class State(H2Connection):
    """h2's connection, which would remember how 65,536 streams ended: 8 MB."""

    MAX_CLOSED_STREAMS = 1000

    def __init__(self, max_head: int) -> None:
        super().__init__(_CONFIG)
        self.local_settings = Settings(
            client=False, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS, SettingCodes.MAX_HEADER_LIST_SIZE: max_head}
        )
        self.initiate_connection()
        # A stream too many is refused by itself: h2 would end the connection.
        self.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = MAX_STREAM_ID
        self.local_settings.acknowledge()
        # Beyond what is announced a request is answered 431; beyond this it is not even unpacked.
        self.decoder.max_header_list_size = 4 * max_head
        # So wide that only the streams' own windows count: one whose upstream is slow must not stop the others.
        self.increment_flow_control_window((MAX_STREAMS - 1) * WINDOW)

    def bound_table(self) -> None:
        """After the client's SETTINGS."""
        if self.encoder.header_table_size > TABLE:
            self.encoder.header_table_size = TABLE
