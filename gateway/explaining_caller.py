"""Who would be calling, as far as a request that nobody sends can tell: for explain.

Legacy is not asked: whose session a cookie is, the question has to say. What the edge checks by itself is checked here too, by the keys
that the gateway has.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gateway.config import Config
from gateway.identity.caller import ANONYMOUS, Caller, explained, refused
from gateway.identity.checked import checker
from gateway.identity.credential import Credential, CredentialError
from gateway.identity.received import RECEIVED
from gateway.identity.rules import rules
from gateway.policy.admission import Standing, refusal

if TYPE_CHECKING:
    from gateway.explain import Question


def who(config: Config, route: str, question: Question, fields: bytes) -> tuple[Caller, dict[str, Any] | None, dict[str, Any] | None]:
    """(the caller; what the route needs to know, and what is known; what the gateway itself would answer, if it lets nobody on).

    The second is None where nobody asks. Its `standing` is not-asked where only legacy, or a key server, knows, and nobody said it.
    """
    rule = rules(config).get(route)
    if rule is None:
        # Without any source the question is what flags would say of somebody; where a route ignores who calls, they are told of nobody.
        nobody = config.identity.source != "none" or (question.user is None and question.session is None)
        return ANONYMOUS if nobody else Caller(question.user, question.session), None, None
    caller, asked = _caller(config, rule.credential, question, fields)
    known = {
        "need": rule.need.value,
        "source": config.identity.source,
        "cookie": rule.credential.cookie,
        "scheme": rule.credential.scheme,
        "standing": caller.standing.value if asked else "not-asked",
        "why": caller.why,
    }
    kind = refusal(rule.need, caller.standing, question.method) if asked else None
    return caller, known, None if kind is None else {"status": kind.status, "code": kind.value, "detail": explained(caller)}


def _caller(config: Config, credential: Credential, question: Question, fields: bytes) -> tuple[Caller, bool]:
    if question.user is not None or question.session is not None:
        standing = Standing.NOBODY if question.user is None else Standing.KNOWN
        return Caller(question.user, question.session, standing=standing), True
    checks = checker(config)
    if checks is not None:
        caller = checks.caller(credential, fields, time.time())
        # Away from a gateway nobody has asked the key server, and that is all that can be said.
        jwt = config.identity.jwt
        return caller, caller.why != "no-keys" or jwt is None or RECEIVED.heard(jwt.origin)
    try:
        cookie, token = credential.read(fields)
    except CredentialError as error:
        return refused(error.why), True
    return ANONYMOUS, not cookie and not token
