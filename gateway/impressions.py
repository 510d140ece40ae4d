"""Unleash's impression events: where a flag asks for impression data, each of its decisions as a line of JSON, for whoever analyses them.

They have the names that Unleash's SDKs give them. They are written as the access log is: by a thread, bounded, the lost ones counted.
"""

from __future__ import annotations

import time
import uuid

import orjson

from flags.snapshot import Context
from gateway.access import AccessLog


class Impressions:
    """`target` as in `AccessLog`. Called for each decision of such a flag."""

    def __init__(self, target: str, app_name: str, environment: str) -> None:
        self.log = AccessLog(target, "the impressions' file")
        self._fixed = {"appName": app_name, "environment": environment}

    def __call__(self, flag: str, context: Context, enabled: bool) -> None:
        if not self.log.enabled:
            return
        about: dict[str, object] = {
            **self._fixed,
            "userId": context.user_id,
            "sessionId": context.session_id,
            "remoteAddress": context.remote_address,
            "properties": dict(context.properties),
        }
        event = {
            "event_type": "isEnabled",
            "event_id": str(uuid.uuid4()),
            "time": time.time(),
            "feature_name": flag,
            "enabled": enabled,
            "context": about,
        }
        self.log.write(orjson.dumps(event) + b"\n")
