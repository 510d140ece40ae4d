"""Keeps what people did: `record` is called by every view that changes something, within the same transaction where there is one."""

from __future__ import annotations

import time
from typing import Any

from django.http import HttpRequest

from console.models import Audit
from console.roles import role_of

MAX_SUBJECT = 400
MAX_LINK = 200


def record(
    request: HttpRequest,
    action: str,
    subject: str = "",
    *,
    route: str = "",
    why: str = "",
    link: str = "",
    detail: dict[str, Any] | None = None,
) -> Audit:
    """That the request's user did `action` to `subject`. `detail` is JSON without secrets."""
    return Audit.objects.create(
        at=time.time(),
        by=request.user.get_username()[:200],
        role=role_of(request.user).word,
        action=action,
        route=route[:100],
        subject=subject[:MAX_SUBJECT],
        why=why,
        link=link[:MAX_LINK],
        detail=detail or {},
    )
