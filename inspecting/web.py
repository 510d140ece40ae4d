"""mitmweb, on a socket that the command has bound, and for looking only.

Of mitmweb's addons those are loaded that show; whatever would change, hold, answer or send requests again is not, and the requests of its
page that would are refused before they reach it. It never learns of the gateway's own flows: what it shows are copies (shown.py).
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from mitmproxy.addons.eventstore import EventStore
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.addons.view import View
from mitmproxy.master import Master
from mitmproxy.options import Options
from mitmproxy.tools.web import app
from mitmproxy.tools.web.master import WebMaster
from mitmproxy.tools.web.webaddons import WebAddon, WebAuth
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application, RequestHandler

MAX_BODY = 64 * 1024
"""Of a request for the page: a filter, a password."""
BEHIND = 2000
"""A page that has as many updates waiting as this is cut off: it would keep them all."""
LOOK_SECONDS = 1.0


class Stage(WebMaster):
    """mitmproxy with mitmweb. `sock` listens already; `password` is an argon2 hash."""

    def __init__(self, sock: socket.socket, password: str) -> None:
        # WebMaster's own would load everything that mitmproxy has.
        Master.__init__(self, Options())
        self.proxyserver = Proxyserver()  # type: ignore[no-untyped-call] # mitmproxy is typed in part
        self.events = EventStore()
        # Not among the addons: by its hooks the view would take the gateway's own flows in.
        self.view = View()
        self.view.sig_view_add.connect(self._sig_view_add)
        self.view.sig_view_remove.connect(self._sig_view_remove)
        self.view.sig_view_update.connect(self._sig_view_update)
        self.view.sig_view_refresh.connect(self._sig_view_refresh)
        self.events.sig_add.connect(self._sig_events_add)
        self.events.sig_refresh.connect(self._sig_events_refresh)
        self.addons.add(self.proxyserver, WebAddon(), WebAuth(), self.events)  # type: ignore[no-untyped-call] # as above
        self.options.update(  # type: ignore[no-untyped-call] # as above
            web_password=password,
            web_host="127.0.0.1",
            web_port=sock.getsockname()[1],
            web_open_browser=False,
            web_columns=["icon", "method", "path", "status", "comment", "size", "time"],
        )
        self.app = app.Application(self, debug=False)
        self._sock = sock
        self._http: HTTPServer | None = None
        self._watching: asyncio.Task[None] | None = None
        self.app.settings["log_function"] = _say_nothing  # the password is in a page's address

    async def running(self) -> None:
        """Not WebMaster's: that one binds by itself, and logs its address with the password."""
        self._http = HTTPServer(_Guard(self.app), max_buffer_size=MAX_BODY, max_body_size=MAX_BODY)
        self._http.add_socket(self._sock)
        self._watching = asyncio.get_running_loop().create_task(_cut_off_who_is_behind(), name="pages")
        await Master.running(self)

    async def done(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        if self._http is not None:
            self._http.stop()
        for page in list(app.ClientConnection.connections):
            page.close()
        await super().done()


async def _cut_off_who_is_behind() -> None:
    """mitmweb's queue for a page has no bound: one that does not read any more, as in a closed laptop, would take all memory."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        for page in list(app.ClientConnection.connections):
            if page._send_queue.qsize() > BEHIND:  # noqa: SLF001 - nothing public tells it
                app.ClientConnection.connections.discard(page)
                page.close()


class _Guard(Router):
    """Lets through what looks."""

    def __init__(self, pages: app.Application) -> None:
        self._pages = pages
        self._refusing = Application([(r".*", _Refusing)], log_function=_say_nothing)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        inside = self._pages if looks(request.method or "", request.path) else self._refusing
        found: HTTPMessageDelegate = inside.find_handler(request, **kwargs)
        return found


def looks(method: str, path: str) -> bool:
    """Whether a request to mitmweb only looks: reads, signs in, or empties the list."""
    return method in ("GET", "HEAD") or (method == "POST" and path in ("/", "/clear"))


class _Refusing(RequestHandler):
    def prepare(self) -> None:
        self.set_status(403)
        self.finish("banyan inspect only looks: it changes, holds and sends nothing. To send requests again there is banyan replay.\n")


def _say_nothing(_: RequestHandler) -> None:
    """In place of tornado's log of requests."""
