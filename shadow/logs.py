"""How all of Banyan's processes log: lines for people, or with BANYAN_LOG_FORMAT=json a JSON object a line, for whoever gathers them.

It stands here because events and services may know this package, and not the gateway. What is about one request has its id, as the access
log, upstreams and problem documents have it: `extra=about(...)`.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, Final, override

import orjson

FORMAT: Final = "BANYAN_LOG_FORMAT"
LINE: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
ABOUT: Final = ("request_id", "route")
"""What a record may have besides."""


def about(request_id: str, route: str = "") -> dict[str, str]:
    """For `extra`."""
    return {"request_id": request_id, "route": route} if route else {"request_id": request_id}


def begin(process: str, level: int) -> None:
    """At a process' start: everything from `level` on goes to standard error. `process`: what it is called in JSON."""
    wanted = os.environ.get(FORMAT, "") or "text"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json(process) if wanted == "json" else Text(LINE))
    logging.basicConfig(level=level, handlers=[handler])
    if wanted not in ("json", "text"):
        logging.getLogger("banyan").warning('%s is "text" or "json", not %r: it is text', FORMAT, wanted[:40])


class Text(logging.Formatter):
    """A line as ever, with the request's id at its end where that is not in it."""

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        request_id = getattr(record, "request_id", "")
        return f"{line} [request {request_id}]" if request_id and request_id not in record.message else line


class Json(logging.Formatter):
    """One object a line. `time` is Unix time in seconds, as in the access log."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": round(record.created, 6),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": self._process,
            "pid": record.process,
            "message": record.getMessage(),
        }
        line |= {name: str(getattr(record, name)) for name in ABOUT if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line).decode()
        except TypeError:  # a lone surrogate, of a path that is no UTF-8
            return orjson.dumps({name: _clean(value) for name, value in line.items()}).decode()


def _clean(value: object) -> object:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
