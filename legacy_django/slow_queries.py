"""A database that takes its time, for drills and load tests: BANYAN_SHOP_QUERY_MS is added to every query.

The thread waits as it would for a database that is far away or busy: without using the processor. So a shop with few threads has a capacity
that a laptop can exceed tenfold, and what is measured then is the crowd, not the laptop.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.db import connection
from django.http import HttpRequest
from django.http.response import HttpResponseBase


class SlowQueries:
    """See the module's docstring. Django leaves it out where the variable is not set."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        self._seconds = settings.QUERY_MS / 1000
        if not self._seconds:
            raise MiddlewareNotUsed

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with connection.execute_wrapper(self._wait):
            return self._get_response(request)

    def _wait(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        time.sleep(self._seconds)
        return execute(sql, params, many, context)
