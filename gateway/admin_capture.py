"""The admin port's part about capturing: where the shipper can be listened in on. The traffic itself goes by that socket, which is its
owner's alone, and never by this port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import admin_flags
from gateway.admin_answers import answer

if TYPE_CHECKING:
    from gateway.supervisor import Supervisor


def routes(supervisor: Supervisor) -> list[Route]:
    """What to serve."""

    async def capture(request: Request) -> Response:
        states = admin_flags.flag_states(supervisor)
        listed = [
            {
                "name": route.name,
                "flag": route.shadow_flag,
                "enabled": bool(states.get(route.shadow_flag)),
                "sample": route.shadow.sample,
                "methods": route.shadow.methods,
            }
            for route in supervisor.config.routes
            if not route.split
        ]
        return answer({"socket": supervisor.capturing, "routes": listed})

    return [Route("/capture", capture)]
