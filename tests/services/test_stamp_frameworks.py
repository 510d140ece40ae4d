"""The stamp in FastAPI and in Django, each under its real server and asked over real sockets."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from demo.processes import Running, answers, listen, python, start
from gateway.identity.caller import ANONYMOUS, Caller
from gateway.identity.stamp import Stamps
from gateway.identity.stamp_keys import StampKey, read_key
from gateway.policy.admission import Standing
from tests.support.stamp_keys import OTHER_SECRET, SECRET, pem, private, public_pem

ALICE = Caller("7", "abc", {"plan": "pro"}, standing=Standing.KNOWN)
KEY = private("ES256")
SIGNER = read_key(pem(KEY))

FASTAPI = """
from typing import Annotated
from fastapi import Depends, FastAPI
from services.stamp import Stamped, Verifier
from services.stamp.dependency import Stamp

verifier = Verifier.from_environment("reviews")
app = FastAPI()

@app.get("/healthz")
def healthz() -> dict[str, str]:
    return {}

@app.get("/")
def anybody(caller: Annotated[Stamped, Depends(Stamp(verifier))]) -> dict[str, object]:
    return {"user": caller.user, "session": caller.session, "claims": dict(caller.claims)}

@app.get("/login")
def login(caller: Annotated[Stamped, Depends(Stamp(verifier, login=True))]) -> dict[str, object]:
    return {"user": caller.user}
"""
DJANGO = """
from django.conf import settings
settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="a key for tests alone",
    MIDDLEWARE=["services.stamp.middleware.StampMiddleware"],
    BANYAN_STAMP_AUDIENCE="reviews", BANYAN_STAMP_EXEMPT=["/healthz"],
)
import django
django.setup()
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

def anybody(request):
    caller = request.stamped
    return JsonResponse({"user": caller.user, "session": caller.session, "claims": dict(caller.claims)})

urlpatterns = [path("", anybody), path("healthz", lambda request: JsonResponse({"ok": True}))]
app = get_wsgi_application()
"""


@pytest.fixture(scope="module", params=["fastapi", "django"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "stamped_app.py").write_text(FASTAPI if request.param == "fastapi" else DJANGO)
    command = {
        "fastapi": python("-m", "uvicorn", "--app-dir", str(folder), "--fd", "{fd}", "stamped_app:app"),
        "django": python("-m", "gunicorn", "--chdir", str(folder), "--pythonpath", ".", "--bind", "fd://{fd}", "stamped_app:app"),
    }[request.param]
    env = {"BANYAN_STAMP_KEYS": f"{SECRET} {public_pem(KEY)}"}
    running = start(request.param, command, log_dir=folder, sock=listen(), env=env, ready=answers("/healthz"))
    yield running
    running.stop()


def stamp(key: StampKey = SIGNER, caller: Caller = ALICE, audience: str = "reviews", now: float | None = None) -> str:
    made = Stamps(key.sign, key.kid, "banyan", 60).field(caller, audience, time.time() if now is None else now)
    return made.partition(b": ")[2].decode()


def get(service: Running, *fields: tuple[str, str], path: str = "/") -> tuple[int, Any, str | None]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    try:
        connection.putrequest("GET", path)
        for name, value in fields:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.getheader("WWW-Authenticate")
    finally:
        connection.close()


def code(document: Any) -> str:
    return str(document["detail"]["code"] if isinstance(document["detail"], dict) else document["error"])


@pytest.mark.parametrize("key", [SIGNER, read_key(SECRET)], ids=["ES256", "HS256"])
def test_a_stamp_says_who_calls(service: Running, key: StampKey) -> None:
    found = get(service, ("Banyan-Identity", stamp(key)))
    assert found == (200, {"user": "7", "session": "abc", "claims": {"plan": "pro"}}, None)
    assert get(service, ("banyan-identity", stamp(key, ANONYMOUS)))[:2] == (200, {"user": None, "session": None, "claims": {}})


def refused(why: str) -> list[tuple[str, str]]:
    """Fields that are refused for this reason. Made when they are asked for: stamps expire."""
    good, field = stamp(), "Banyan-Identity"
    head, payload, signature = good.split(".")
    return {
        "missing": [],
        "doubled": [(field, good), (field, good)],
        "doubled in another spelling": [(field, good), ("BANYAN-identity", "forged")],
        "doubled in one line": [(field, f"{good},{good}")],
        "audience": [(field, stamp(audience="legacy"))],
        "expired": [(field, stamp(now=time.time() - 3600))],
        "unknown-kid": [(field, stamp(read_key(OTHER_SECRET)))],
        "signature": [(field, f"{head}.{payload}.{signature[:-4]}")],
        "malformed": [(field, f"{head}.{payload}")],
        "algorithm": [(field, "eyJhbGciOiJub25lIn0.e30.YQ")],
    }[why]


@pytest.mark.parametrize(
    "why",
    [
        "missing",
        "doubled",
        "doubled in another spelling",
        "doubled in one line",
        "audience",
        "expired",
        "unknown-kid",
        "signature",
        "malformed",
        "algorithm",
    ],
)
def test_what_is_no_stamp_for_this_service_is_refused(service: Running, why: str) -> None:
    status, document, challenge = get(service, *refused(why))
    assert (status, code(document), challenge) == (401, why.partition(" ")[0], "Banyan-Identity")


@pytest.mark.parametrize("service", ["fastapi"], indirect=True)  # gunicorn itself refuses a field of that length
def test_an_oversized_one_is_refused(service: Running) -> None:
    status, document, _ = get(service, ("Banyan-Identity", "a" * 8000 + "." + "a" * 200 + ".b"))
    assert (status, code(document)) == (401, "oversized")


@pytest.mark.parametrize("service", ["fastapi"], indirect=True)  # with Django, a view looks at request.stamped.user itself
def test_where_a_login_is_needed_an_anonymous_stamp_is_not_enough(service: Running) -> None:
    assert get(service, ("Banyan-Identity", stamp()), path="/login")[:2] == (200, {"user": "7"})
    status, document, _ = get(service, ("Banyan-Identity", stamp(caller=ANONYMOUS)), path="/login")
    assert (status, code(document)) == (401, "anonymous")


def test_an_exempt_path_is_open(service: Running) -> None:
    assert get(service, path="/healthz")[0] == 200
