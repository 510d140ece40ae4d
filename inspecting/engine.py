"""The mitmproxy engine with somebody who looks."""

from __future__ import annotations

import logging
import socket

from gateway.access import AccessLog
from gateway.mitm.engine import MitmEngine
from gateway.policy.decision import Policy
from gateway.settings import Config
from gateway.shipping import ShipperLink
from inspecting.inspector import Inspector
from inspecting.told import Told
from inspecting.web import Stage


class InspectEngine(MitmEngine):
    """What a worker of `banyan inspect` runs."""

    def __init__(self, config: Config, policy: Policy, access: AccessLog, shipper: ShipperLink | None, *, told: Told) -> None:
        logging.getLogger("tornado").setLevel(logging.ERROR)
        web = socket.socket(fileno=told.web)
        web.setblocking(False)
        stage = Stage(web, told.password)
        self._inspector = Inspector(stage.view, told, config)
        super().__init__(config, policy, access, shipper, (stage, stage.proxyserver), self._inspector)

    def reconfigure(self, config: Config, policy: Policy, shipper: ShipperLink | None) -> None:
        super().reconfigure(config, policy, shipper)
        self._inspector.reconfigure(config)

    async def close(self) -> None:
        await super().close()
        self._inspector.close()
