"""Who is calling, checked here, or asked of legacy itself by this engine's own client (what is remembered: gateway/identity/callers.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.identity.caller import Caller, unsaid
from gateway.identity.callers import MAX_ANSWER, Callers, Question, renewals, understand
from gateway.identity.checked import Checker, check
from gateway.identity.credential import Credential
from gateway.mitm.client import Ask, Client, Reply
from gateway.mitm.fields import Fields, field_lines
from gateway.mitm.shared import Shared
from gateway.mitm.terms import Terms


async def checked(checker: Checker, credential: Credential, fields: bytes, wall: Callable[[], float]) -> Caller:
    """The caller whose head has these field lines. `wall`: a clock of Unix time."""
    answer: asyncio.Future[Caller] = asyncio.get_running_loop().create_future()

    def known(caller: Caller) -> None:
        if not answer.done():
            answer.set_result(caller)

    caller = check(checker, credential, fields, known, wall)
    return caller if caller is not None else await answer


class Introspection:
    """The questions of requests that go by `terms`."""

    def __init__(self, shared: Shared, terms: Terms, callers: Callers) -> None:
        self._shared = shared
        self._settings = terms.config.identity
        self._callers = callers
        self._client: Client = terms.clients["legacy"]
        host, port = terms.config.upstreams["legacy"].address
        self._host = (self._settings.host or f"{host}:{port}").encode()

    async def who(self, credential: Credential, fields: Fields) -> Caller:
        """The caller whose head has these fields."""
        answer: asyncio.Future[Caller] = asyncio.get_running_loop().create_future()

        def learned(caller: Caller) -> None:
            if not answer.done():
                answer.set_result(caller)

        found = self._callers.lookup(credential, field_lines(fields), learned, self._shared.now())
        if isinstance(found, Question):
            self._shared.keep(self._ask(found), "introspection")
            if found.meanwhile is not None:
                return found.meanwhile
        elif found is not None:
            return found
        return await answer

    async def _ask(self, question: Question) -> None:
        caller, known, lifetime = unsaid("closing"), False, None
        ask = Ask(
            "GET",
            self._settings.path.encode(),
            (
                (b"Host", self._host),
                (b"Accept", b"application/json"),
                (b"X-Forwarded-Proto", b"https"),
                (b"Via", b"1.1 banyan"),
                *question.fields,
            ),
        )
        try:
            async with asyncio.timeout(self._settings.timeout):
                reply = await self._client.ask(ask, limit=MAX_ANSWER, repeatable=True)
            if not isinstance(reply, Reply):
                caller = unsaid(reply.code)
            elif reply.skipped:
                caller = unsaid("too-long")
            else:
                cookies = renewals(field_lines(reply.fields), question.credential.cookie)
                caller, known, lifetime = understand(reply.status, reply.body, self._settings.claims, cookies, wall=self._shared.wall())
        except TimeoutError:
            caller = unsaid("timeout")
        finally:
            self._callers.learned(question, caller, self._shared.now(), known=known, lifetime=lifetime)
