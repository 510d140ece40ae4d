"""What a service takes for a stamp, and what it refuses: real keys, real signatures, a real key server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, override

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.caller import ANONYMOUS, Caller
from gateway.identity.stamp import Stamps
from gateway.identity.stamp_keys import StampKey, read_key
from gateway.policy.admission import Standing
from services.stamp import FixedKeys, Jwks, Key, Keys, Stamped, StampError, Verifier, from_environment, parse, verify
from services.stamp.keys import AGE, MOST_BYTES, PAUSE, KeyTextError
from services.stamp.verify import LONGEST
from tests.support.stamp_keys import OTHER_SECRET, SECRET, pem, private, public_pem

NOW = 1_700_000_000.0
ALGORITHMS = ["HS256", "ES256", "EdDSA", "RS256"]
ALICE = Caller("7", "abc", {"plan": "pro"}, standing=Standing.KNOWN)


class Pair:
    """A key as the gateway has it, and as services are told."""

    def __init__(self, algorithm: str) -> None:
        if algorithm == "HS256":
            self.text = self.public = SECRET
        else:
            key = private(algorithm)
            self.text, self.public = pem(key), public_pem(key)
        self.gateway = read_key(self.text)
        self.keys = FixedKeys(parse(self.public))


@pytest.fixture(scope="module", params=ALGORITHMS)
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(request.param)


def stamp(key: StampKey, caller: Caller = ALICE, audience: str = "reviews", now: float = NOW, ttl: float = 60) -> str:
    return Stamps(key.sign, key.kid, "banyan", ttl).field(caller, audience, now).partition(b": ")[2].decode()


def refused(token: str, keys: Keys, **more: Any) -> str:
    with pytest.raises(StampError) as caught:
        verify(token, keys, more.pop("audience", "reviews"), now=more.pop("now", NOW), **more)
    assert caught.value.status == (503 if caught.value.code == "unavailable" else 401)
    assert len(token.strip()) < 8 or token not in str(caught.value)  # shorter ones are in any sentence by chance
    return caught.value.code


def b64(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=="))


def changed(token: str, header: dict[str, object] | None = None, **claims: object) -> str:
    """The token with another header or other claims, and its signature as it was."""
    head, payload, signature = token.split(".")
    return f"{b64(unb64(head) | (header or {}))}.{b64(unb64(payload) | claims)}.{signature}"


def test_what_the_gateway_signs_is_read_whatever_the_key(pair: Pair) -> None:
    assert verify(stamp(pair.gateway), pair.keys, "reviews", now=NOW) == Stamped("7", "abc", {"plan": "pro"})
    assert verify(stamp(pair.gateway, ANONYMOUS), pair.keys, "reviews", now=NOW) == Stamped(None, None, {})


def test_the_private_half_serves_as_well(pair: Pair) -> None:
    assert verify(stamp(pair.gateway), FixedKeys(parse(pair.text)), "reviews", now=NOW).user == "7"


def test_it_is_good_for_its_time_and_the_leeway(pair: Pair) -> None:
    token = stamp(pair.gateway)
    for moment in (NOW - 5, NOW, NOW + 60, NOW + 64.9):
        assert verify(token, pair.keys, "reviews", now=moment).user == "7"
    assert refused(token, pair.keys, now=NOW + 65) == "expired"
    assert refused(token, pair.keys, now=NOW - 5.1) == "early"
    assert refused(token, pair.keys, now=NOW + 61, leeway=0) == "expired"


def test_another_service_s_is_refused_and_another_issuer_s(pair: Pair) -> None:
    token = stamp(pair.gateway, audience="legacy")
    assert refused(token, pair.keys) == "audience"
    assert refused(stamp(pair.gateway), pair.keys, issuer="other") == "issuer"


def test_forged_changed_and_truncated_ones_are_refused(pair: Pair) -> None:
    token = stamp(pair.gateway)
    head, payload, signature = token.split(".")
    assert refused(changed(token, sub="8"), pair.keys) == "signature"
    assert refused(changed(token, aud="legacy"), pair.keys, audience="legacy") == "signature"
    assert refused(changed(token, exp=NOW + 9999), pair.keys) == "signature"
    assert refused(f"{head}.{payload}.{signature[:-8]}", pair.keys) == "signature"
    assert refused(f"{head}.{payload}.{b64(b'x' * 64)}", pair.keys) == "signature"
    assert refused(f"{head}.{payload[:-6]}.{signature}", pair.keys) == "signature"
    for broken in (
        f"{head}.{payload}",
        f"{head}.{payload}.",
        f"{head}..{signature}",
        head,
        "forged",
        "a.b.c",
        f" {token}",
        f"{token}\n",
        "é.b.c",
    ):
        assert refused(broken, pair.keys) == "malformed", broken
    assert refused(f"{token}.{signature}", pair.keys) == "malformed"


def test_no_algorithm_is_none(pair: Pair) -> None:
    head, payload, signature = stamp(pair.gateway).split(".")
    for name in ("none", "None", "NONE", "nOnE", "", None, ["HS256"], 7):
        forged = b64(unb64(head) | {"alg": name})
        assert refused(f"{forged}.{payload}.{signature}", pair.keys) == "algorithm"
        assert refused(f"{forged}.{payload}.{b64(b'x')}", pair.keys) == "algorithm"
    assert refused(f"{forged}.{payload}.", pair.keys) == "malformed"


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_a_public_key_is_no_secret(algorithm: str) -> None:
    """The classic confusion: signed by HMAC with the public key, which everybody has, as the secret."""
    pair = Pair(algorithm)
    claims = {"iss": "banyan", "aud": "reviews", "iat": NOW, "exp": NOW + 60, "sub": "1"}
    for secret in (pair.public.encode(), pair.public.strip().encode(), json.dumps(dict(pair.gateway.public or {})).encode()):
        for kid in (pair.gateway.kid, base64.urlsafe_b64encode(hmac.digest(secret, b"banyan stamp key", "sha256")[:12]).decode()):
            signed = f"{b64({'alg': 'HS256', 'kid': kid, 'typ': 'banyan+jwt'})}.{b64(claims)}"
            forged = f"{signed}.{b64(hmac.digest(secret, signed.encode(), hashlib.sha256))}"
            assert refused(forged, pair.keys) == ("algorithm" if kid == pair.gateway.kid else "unknown-kid")


def test_every_other_algorithm_of_a_known_key_is_refused(pair: Pair) -> None:
    token = stamp(pair.gateway)
    for other in set(ALGORITHMS) - {pair.gateway.algorithm}:
        assert refused(changed(token, {"alg": other}), pair.keys) == "algorithm"
    for other in ("HS384", "HS512", "PS256", "ES384", "RS512", "Ed25519"):
        assert refused(changed(token, {"alg": other}), pair.keys) == "algorithm"


def test_another_key_s_stamp_and_another_kind_of_token_are_refused(pair: Pair) -> None:
    other = read_key(OTHER_SECRET)
    assert refused(stamp(other), pair.keys) == "unknown-kid"
    assert refused(changed(stamp(other), {"kid": pair.gateway.kid, "alg": pair.gateway.algorithm}), pair.keys) == "signature"
    for typ in ("JWT", "", None, "at+jwt"):
        assert refused(changed(stamp(pair.gateway), {"typ": typ}), pair.keys) == "malformed"
    for kid in (None, 7, ["a"]):
        assert refused(changed(stamp(pair.gateway), {"kid": kid}), pair.keys) == "malformed"
    assert refused(changed(stamp(pair.gateway), {"crit": ["b64"], "b64": False}), pair.keys) == "signature"
    for crit in (7, "exp", [], {}, None):
        assert refused(changed(stamp(pair.gateway), {"crit": crit}), pair.keys) == "signature"
    assert refused(changed(stamp(pair.gateway), {"x5c": 7, "cty": [], "jku": {}}), pair.keys) == "signature"
    assert refused(changed(stamp(pair.gateway), {"jwk": {"kty": "oct", "k": "AA"}, "jku": "http://127.0.0.1:1"}), pair.keys) == "signature"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": None}, "malformed"),
        ({"exp": "9999999999"}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"iat": None}, "malformed"),
        ({"aud": None}, "audience"),
        ({"aud": ["reviews"]}, "audience"),
        ({"iss": None}, "issuer"),
        ({"sub": 7}, "malformed"),
        ({"sub": ""}, "malformed"),
        ({"sid": 7}, "malformed"),
        ({"claims": ["a"]}, "malformed"),
        ({"claims": {"staff": True}}, "malformed"),
    ],
)
def test_a_signed_one_that_says_nothing_sensible_is_refused_too(claims: dict[str, object], code: str) -> None:
    key = read_key(SECRET)
    good = {"iss": "banyan", "aud": "reviews", "iat": NOW, "exp": NOW + 60, "sub": "7"}
    assert verify(key.sign(good).decode(), FixedKeys(parse(SECRET)), "reviews", now=NOW).user == "7"
    assert refused(key.sign(good | claims).decode(), FixedKeys(parse(SECRET))) == code


def test_missing_doubled_and_oversized(pair: Pair) -> None:
    token, verifier = stamp(pair.gateway), Verifier(pair.keys, "reviews")
    for values, code in (
        ([], "missing"),
        ([""], "missing"),
        ([token, token], "doubled"),
        ([token, "forged"], "doubled"),
        (["forged", token], "doubled"),
        ([f"{token},{token}"], "doubled"),
        ([f"{token}, forged"], "doubled"),
        (["a" * (LONGEST + 1)], "oversized"),
        ([f"{token}{'a' * LONGEST}"], "oversized"),
    ):
        with pytest.raises(StampError) as caught:
            verifier.read(values)
        assert (caught.value.code, caught.value.status) == (code, 401)
    assert refused("[" * 6000, pair.keys) == "malformed"
    deep = b64(b"[" * 6000)
    assert refused(f"{deep[:8000]}.a.b", pair.keys) == "malformed"


def test_who_must_have_logged_in() -> None:
    key = read_key(SECRET)
    verifier = Verifier(FixedKeys(parse(SECRET)), "reviews", leeway=1e12)
    assert verifier.read([stamp(key, ANONYMOUS)]).user is None
    assert verifier.read([stamp(key)], login=True).user == "7"
    with pytest.raises(StampError) as caught:
        verifier.read([stamp(key, ANONYMOUS)], login=True)
    assert (caught.value.code, caught.value.status) == ("anonymous", 401)


def test_without_keys_nothing_is_believed() -> None:
    for values in ([], [stamp(read_key(SECRET))]):
        with pytest.raises(StampError) as caught:
            Verifier(None, "reviews").read(values)
        assert (caught.value.code, caught.value.status) == ("unavailable", 503)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["banyan", "reviews", "banyan+jwt", "HS256", "none"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["alg", "kid", "typ", "crit", "b64", "zip", "jwk", "iss", "aud", "exp", "iat", "sub", "sid", "claims", "x"])


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}", fullmatch=True))
def test_whatever_comes_in_the_field_is_an_answer_not_a_crash(token: str) -> None:
    assert refused(token, FixedKeys(parse(SECRET)))


@given(st.dictionaries(NAMES, JSON), st.booleans())
def test_whatever_a_header_says_is_an_answer_not_a_crash(header: dict[str, object], kept: bool) -> None:
    head, payload, signature = stamp(read_key(SECRET)).split(".")
    said = (unb64(head) if kept else {}) | header
    if said != unb64(head):
        assert refused(f"{b64(said)}.{payload}.{signature}", FixedKeys(parse(SECRET)))


@given(st.dictionaries(NAMES, JSON))
def test_whatever_a_signed_one_claims_is_an_answer_not_a_crash(claims: dict[str, object]) -> None:
    key = read_key(SECRET)
    good = {"iss": "banyan", "aud": "reviews", "iat": NOW, "exp": NOW + 60, "sub": "7"}
    try:
        found = verify(key.sign(good | claims).decode(), FixedKeys(parse(SECRET)), "reviews", now=NOW)
    except StampError:
        return
    assert found.user == claims.get("sub", "7")


# Keys as text


def test_several_secrets_and_pem_keys_stand_in_one_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [Pair(algorithm) for algorithm in ALGORITHMS]
    text = f"{OTHER_SECRET}  {SECRET}\n" + "\n".join(pair.public for pair in pairs[1:])
    monkeypatch.setenv("BANYAN_STAMP_KEYS", text)
    monkeypatch.delenv("BANYAN_STAMP_JWKS", raising=False)
    keys = from_environment()
    assert keys is not None
    for pair in (*pairs, read_key(OTHER_SECRET)):
        token = stamp(pair.gateway if isinstance(pair, Pair) else pair)
        assert verify(token, keys, "reviews", now=NOW).user == "7"
    assert SECRET not in repr(parse(SECRET))


def test_nothing_set_is_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANYAN_STAMP_KEYS", " ")
    monkeypatch.delenv("BANYAN_STAMP_JWKS", raising=False)
    assert from_environment() is None
    assert not Verifier.from_environment("reviews").configured


@pytest.mark.parametrize(
    "text",
    [
        "short",
        f"{SECRET} short",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        f"-----BEGIN PUBLIC KEY-----{SECRET}",
        "é" * 40,
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(KeyTextError) as caught:
        parse(text)
    assert "BANYAN_STAMP_KEYS" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "127.0.0.1:9900/jwks", "http://", "http://u:p@a/jwks", "http://a:99999/"])
def test_what_is_no_address_of_a_key_set_is_refused(url: str) -> None:
    with pytest.raises(KeyTextError, match="BANYAN_STAMP_JWKS"):
        Jwks(url)


# Keys from a key server


class KeyServer:
    """Answers with `document`, and counts."""

    def __init__(self) -> None:
        self.document: object = {"keys": []}
        self.status = 200
        self.asked = 0
        self.wait: threading.Event | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                if outer.wait is not None:
                    outer.wait.wait(10)
                data = outer.document if isinstance(outer.document, bytes) else json.dumps(outer.document).encode()
                self.send_response(outer.status)
                self.end_headers()
                self.wfile.write(data)

            @override
            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="keys")
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks"

    def publish(self, *keys: StampKey) -> None:
        self.document = {"keys": [dict(key.public or {}) for key in keys]}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def key_server() -> Iterator[KeyServer]:
    server = KeyServer()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with key_server() as running:
        yield running


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


OLD, NEW, NEVER = read_key(pem(private("ES256"))), read_key(pem(private("EdDSA"))), read_key(pem(private("ES256")))


def reads(keys: Keys, key: StampKey) -> bool:
    try:
        return verify(stamp(key), keys, "reviews", now=NOW).user == "7"
    except StampError as error:
        if error.code != "unknown-kid":
            raise
        return False


def test_keys_are_fetched_once_and_again_when_an_unknown_one_signs(server: KeyServer) -> None:
    time, keys = Time(), None
    keys = Jwks(server.url, time)
    server.publish(OLD)
    assert [reads(keys, OLD) for _ in range(20)] == [True] * 20
    assert server.asked == 1
    server.publish(NEW, OLD)
    time.now += PAUSE
    assert reads(keys, NEW)
    assert reads(keys, OLD)
    assert server.asked == 2


def test_however_many_unknown_ones_come_it_is_asked_once_in_a_while(server: KeyServer) -> None:
    time = Time()
    keys = Jwks(server.url, time)
    server.publish(OLD)
    for _ in range(50):
        assert not reads(keys, NEVER)
    assert server.asked == 1
    time.now += PAUSE
    assert not reads(keys, NEVER)
    assert server.asked == 2


def test_many_at_once_wait_for_one_fetch(server: KeyServer) -> None:
    keys = Jwks(server.url)
    server.publish(OLD)
    server.wait = threading.Event()
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(reads(keys, OLD))) for _ in range(8)]
    for thread in threads:
        thread.start()
    server.wait.set()
    for thread in threads:
        thread.join(10)
    assert found == [True] * 8
    assert server.asked == 1


def test_old_keys_are_fetched_anew_beside_the_requests_and_what_was_withdrawn_is_refused_then(server: KeyServer) -> None:
    time = Time()
    keys = Jwks(server.url, time)
    server.publish(OLD)
    assert reads(keys, OLD)
    server.publish(NEW)
    time.now += AGE + 1
    server.wait = threading.Event()
    assert reads(keys, OLD)  # the fetch hangs, and nobody waits for it
    assert reads(keys, OLD)
    server.wait.set()
    thread = keys._renewing
    assert thread is not None
    assert thread.name == "stamp-keys"
    thread.join(10)
    assert server.asked == 2
    assert reads(keys, NEW)
    assert not reads(keys, OLD)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda server: setattr(server, "status", 500), id="500"),
        pytest.param(lambda server: setattr(server, "status", 302), id="redirect"),
        pytest.param(lambda server: setattr(server, "document", b"<html>"), id="html"),
        pytest.param(lambda server: setattr(server, "document", []), id="list"),
        pytest.param(lambda server: setattr(server, "document", {"keys": {}}), id="no list"),
        pytest.param(lambda server: setattr(server, "document", b"[" * 60_000), id="deep"),
        pytest.param(lambda server: setattr(server, "document", b" " * (MOST_BYTES + 1)), id="huge"),
        pytest.param(lambda server: server.stop(), id="gone"),
    ],
)
def test_a_key_server_in_trouble_costs_nobody_whose_key_is_known(broken: Callable[[KeyServer], None]) -> None:
    running = KeyServer()
    stopped = False
    try:
        time = Time()
        keys = Jwks(running.url, time)
        running.publish(OLD)
        assert reads(keys, OLD)
        good = running.document
        broken(running)
        stopped = not running._thread.is_alive()
        for _ in range(3):
            time.now += AGE + 1
            assert reads(keys, OLD)
            if keys._renewing is not None:
                keys._renewing.join(10)
            assert not reads(keys, NEVER)
        fresh = Jwks(running.url, time)
        assert refused(stamp(OLD), fresh) == "unavailable"
        if not stopped:
            running.document, running.status = good, 200
            time.now += PAUSE
            assert reads(fresh, OLD)
    finally:
        if not stopped:
            running.stop()


def test_secrets_and_unfit_keys_of_a_key_set_are_passed_over(server: KeyServer) -> None:
    secret = read_key(SECRET)
    oct_key = {"kty": "oct", "kid": secret.kid, "alg": "HS256", "k": b64(SECRET.encode())}
    public = dict(OLD.public or {})
    server.document = {
        "keys": [
            oct_key,
            7,
            {"kid": "a"},
            {"kid": "c", "kty": ["EC"]},
            {**public, "kid": "d", "x": 7},
            {"kty": "EC", "kid": "b", "crv": "P-256", "x": "AA", "y": "AA"},
            {**public, "kid": "wrong-alg", "alg": "HS256"},
            {**public, "kid": "for-encryption", "use": "enc"},
            public,
        ]
    }
    keys = Jwks(server.url)
    assert reads(keys, OLD)
    for kid in (secret.kid, "a", "b", "wrong-alg", "for-encryption"):
        assert keys.find(kid) is None
    found = keys.find(OLD.kid)
    assert isinstance(found, Key)
    assert found.algorithm == "ES256"


def test_a_service_may_have_secrets_and_a_key_server(server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANYAN_STAMP_KEYS", SECRET)
    monkeypatch.setenv("BANYAN_STAMP_JWKS", server.url)
    keys = from_environment()
    assert keys is not None
    server.publish(NEW)
    assert reads(keys, read_key(SECRET))
    assert server.asked == 0
    assert reads(keys, NEW)


def test_it_needs_nothing_of_the_gateway() -> None:
    folder = Path(__file__).resolve().parents[2] / "services"
    sources = [path.read_text() for path in folder.rglob("*.py")]
    assert len(sources) > 10
    assert not [source for source in sources if "import gateway" in source or "from gateway" in source]
