"""What `[shadow] sink = "jetstream"` says, as the sink and the shadow workers take it."""

from __future__ import annotations

from gateway.config import Config
from shadow.broker import Place
from shadow.sealing import Sealer
from shadow.sinks.jetstream import JetStreamSink
from shadow.sinks.local import redaction


def place_of(config: Config) -> Place:
    """Where NATS is."""
    settings = config.shadow.jetstream
    return Place(
        tuple(config.shadow.nats),
        settings.stream,
        settings.max_bytes,
        settings.replicas,
        settings.ack_wait,
        settings.user,
        settings.password.get_secret_value(),
        settings.token.get_secret_value(),
        *(
            str(config.resolve(name)) if name else ""
            for name in (settings.ca, settings.certificate, settings.key, settings.credentials, settings.nkey)
        ),
    )


def jetstream(config: Config) -> JetStreamSink:
    """The sink as `config` wants it. It touches no database, and NATS may be away.

    Raises:
        shadow.sinks.SinkError: something in the configuration can't be used.
    """
    folder, redactor, rules = redaction(config)
    settings = config.shadow.jetstream
    sealer = Sealer(redactor, rules, settings.max_message)
    return JetStreamSink(
        sealer,
        place_of(config),
        folder,
        buffer=settings.buffer,
        buffer_bytes=settings.buffer_bytes,
        processes=config.shadow.processes,
    )
