"""Whose tokens are believed: those that a key of ours has signed, for us, for now, and nobody else's."""

from __future__ import annotations

import base64
import json
import string
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import parse
from gateway.identity import keyring
from gateway.identity.caller import ANONYMOUS, Caller
from gateway.identity.checked import checker
from gateway.identity.credential import Credential
from gateway.identity.received import PATIENCE_SECONDS, Received
from gateway.identity.tokens import ASKING, Tokens
from gateway.policy.admission import Standing
from gateway.settings import Config
from tests.support.tokens import AUDIENCE, ISSUER, SECRET, b64, claims, confused, jwk, key, pem, signed, token, unsigned

ALL = ["HS256", "RS256", "ES256", "EdDSA"]
BEARER = Credential("", "Bearer")
URL = "https://login.test/jwks"


def config(folder: Path, *, keys: list[dict[str, Any]] | None = None, identity: dict[str, Any] | None = None, **jwt: Any) -> Config:
    """RS256 by the key "a", unless told otherwise."""
    if keys is None and "jwks_url" not in jwt:
        keys = [{"kid": "a", "algorithm": "RS256", "public_key": pem("RS256")}]
    table = {"algorithms": ["RS256"], "issuer": ISSUER, "audience": AUDIENCE, **({"keys": keys} if keys else {}), **jwt}
    whole = {"source": "jwt", "jwt": table, "claims": ["plan"], **(identity or {})}
    return parse(folder / "banyan.toml", f'identity = {toml(whole)}\n[upstreams]\nlegacy = "http://127.0.0.1:1"\n')


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def fields(*tokens: str | bytes) -> bytes:
    return b"\r\nHost: shop" + b"".join(
        b"\r\nAuthorization: Bearer " + (each if isinstance(each, bytes) else each.encode()) for each in tokens
    )


def asked(tokens: Tokens, *sent: str | bytes, now: float | None = None) -> Caller:
    return tokens.caller(BEARER, fields(*sent), time.time() if now is None else now)


def why(tokens: Tokens, *sent: str | bytes, now: float | None = None) -> str:
    caller = asked(tokens, *sent, now=now)
    assert caller.standing is Standing.REFUSED
    assert caller.user_id is None
    assert caller.expires is None
    return caller.why


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(config(tmp_path))


# What is good


@pytest.mark.parametrize("algorithm", ALL)
def test_each_algorithm(algorithm: str, tmp_path: Path) -> None:
    material = {"secret": SECRET} if algorithm == "HS256" else {"public_key": pem(algorithm)}
    one = Tokens(config(tmp_path, algorithms=[algorithm], keys=[{"kid": "a", "algorithm": algorithm, **material}]))
    said = claims(plan="pro", roles=["x"])
    caller = asked(one, signed(json.dumps(said).encode(), algorithm))
    assert (caller.standing, caller.user_id, caller.session_id, dict(caller.claims)) == (Standing.KNOWN, "7", None, {"plan": "pro"})
    assert caller.expires == said["exp"] + 30
    assert why(one, token(algorithm, 1)) == "signature"


def test_a_key_from_a_file_is_read_as_the_configuration_holds_it(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(pem("RS256"))
    found = config(tmp_path, keys=[{"algorithm": "RS256", "public_key": "key.pem"}])
    one = Tokens(found)
    assert asked(one, token()).user_id == "7"
    found.hold({"key.pem": pem("RS256", 1).encode()})
    assert not one.same(found)
    other = checker(found, one)
    assert isinstance(other, Tokens)
    assert other is not one
    assert asked(other, token(number=1)).user_id == "7"


def test_a_reload_that_changes_nothing_keeps_who_is_remembered(tmp_path: Path) -> None:
    one = checker(config(tmp_path))
    assert isinstance(one, Tokens)
    assert checker(config(tmp_path), one) is one
    assert checker(config(tmp_path, audience="other"), one) is not one
    assert checker(parse(tmp_path / "banyan.toml", '[upstreams]\nlegacy = "http://127.0.0.1:1"'), one) is None


def test_the_claims_that_the_configuration_names(tmp_path: Path) -> None:
    one = Tokens(config(tmp_path, user_claim="uid", session_claim="sid"))
    caller = asked(one, token(uid=12, sid="s-1"))
    assert (caller.user_id, caller.session_id) == ("12", "s-1")
    assert asked(one, token(uid="ü 1", sid=["no"])).session_id is None
    assert why(one, token()) == "no-user"


@pytest.mark.parametrize("user", [None, "", True, [], {}, 1.5, "x" * 257, "a\nb", "a\x00"])
def test_a_user_is_text_or_a_whole_number(tokens: Tokens, user: object) -> None:
    assert why(tokens, signed(json.dumps({**claims(), "sub": user}).encode())) == "no-user"


@pytest.mark.parametrize("audience", [AUDIENCE, ["other", AUDIENCE], [AUDIENCE, 7]])
def test_one_of_several_audiences_is_enough(tokens: Tokens, audience: object) -> None:
    assert asked(tokens, token(aud=audience)).user_id == "7"


def test_a_cookie_can_hold_the_token(tokens: Tokens) -> None:
    either = Credential("jwt", "Bearer")
    good, now = token(), time.time()
    cookie = b"\r\nCookie: jwt=" + good.encode()
    assert tokens.caller(either, cookie, now).user_id == "7"
    assert tokens.caller(either, cookie + fields(good), now).user_id == "7"
    assert tokens.caller(either, cookie + fields(token(sub="8")), now).why == "doubled", "which of the two would the upstream read?"


@pytest.mark.parametrize(
    "sent", [b"", b"\r\nAuthorization: Basic eDp5", b"\r\nAuthorization: Bearer", b"\r\nX: Bearer x", b"\r\nCookie: sessionid=x"]
)
def test_without_a_token_it_is_nobody(tokens: Tokens, sent: bytes) -> None:
    assert tokens.caller(BEARER, sent, 0.0) is ANONYMOUS


# What is not


def test_forged(tokens: Tokens) -> None:
    head, body, signature = token().split(".")
    other = b64(json.dumps(claims(sub="1")).encode())
    assert why(tokens, f"{head}.{other}.{signature}") == "signature"
    assert why(tokens, f"{head}.{body}.") == "signature"
    assert why(tokens, f"{head}.{body}.{b64(b'x' * 256)}") == "signature"
    assert why(tokens, token(number=1)) == "signature"


@pytest.mark.parametrize("name", ["none", "None", "nOnE", ""])
def test_alg_none(tokens: Tokens, name: str) -> None:
    assert why(tokens, unsigned({"alg": name, "kid": "a"})) == "algorithm"
    assert why(tokens, unsigned({"alg": name}) + "AAAA") == "algorithm"


def test_hs_by_a_public_key(tmp_path: Path) -> None:
    shapes = [pem("RS256").encode(), pem("RS256").strip().encode(), key("RS256").as_der(), json.dumps(jwk("RS256")).encode()]
    only_rs = Tokens(config(tmp_path))
    both_keys = [{"kid": "a", "algorithm": "RS256", "public_key": pem("RS256")}, {"kid": "s", "algorithm": "HS256", "secret": SECRET}]
    both = Tokens(config(tmp_path, algorithms=["RS256", "HS256"], keys=both_keys))
    for secret in shapes:
        assert why(only_rs, confused(secret)) == "algorithm"
        assert why(both, confused(secret)) == "algorithm"
        assert why(both, confused(secret, kid="s")) == "signature"
        assert why(both, confused(secret, kid=None)) == "signature"
    assert asked(both, token("HS256", kid="s")).user_id == "7"
    assert why(both, token("HS256", kid="a")) == "algorithm"


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256", "HS256", "ES256", 7, None, ["RS256"], {"RS256": 1}])
def test_another_algorithm_by_the_right_key(tokens: Tokens, algorithm: object) -> None:
    assert why(tokens, signed(json.dumps(claims()).encode(), header={"alg": algorithm})) == "algorithm"


@pytest.mark.parametrize(
    "header",
    [
        {"jku": "https://evil.test/jwks"},
        {"jku": 7},
        {"jwk": "no key"},
        {"x5u": "https://evil.test/x"},
        {"x5c": ["AAAA"]},
        {"x5c": 1},
        {"from": "the future"},
    ],
)
def test_what_a_header_says_of_keys_is_ignored(tokens: Tokens, header: dict[str, Any]) -> None:
    assert asked(tokens, token(header=header)).user_id == "7"
    evil = {"jwk": jwk("RS256", 1)}
    assert why(tokens, token(number=1, header={**header, **evil})) == "signature"
    assert why(tokens, token(number=1, kid=None, header={**header, **evil})) == "signature"


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"b64": False, "crit": ["b64"]},
        {"b64": True},
        {"b64": False},
        {"kid": 7},
        {"kid": ["a"]},
        {"kid": "a" * 257},
    ],
)
def test_a_header_that_asks_for_more_than_we_do(tokens: Tokens, header: dict[str, Any]) -> None:
    assert why(tokens, token(header=header)) == "malformed"


def test_expired_and_not_yet_to_the_second(tokens: Tokens) -> None:
    good = token(exp=2000, nbf=1000, iat=1000)
    assert why(tokens, good, now=969.9) == "not-yet"
    assert asked(tokens, good, now=972.0).user_id == "7", "a refusal is not remembered for longer than its time"
    assert asked(tokens, good, now=2029.9).user_id == "7"
    assert why(tokens, good, now=2030.0) == "expired"
    assert why(tokens, token(exp=2000, nbf=None, iat=1000), now=900.0) == "not-yet"


@pytest.mark.parametrize(
    ("name", "value"), [("exp", None), *((name, value) for name in ("exp", "nbf", "iat") for value in ("1999999999", True, [], {}))]
)
def test_times_are_numbers_and_exp_is_there(tokens: Tokens, name: str, value: object) -> None:
    assert why(tokens, signed(json.dumps({**claims(), name: value}).encode())) == "malformed"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_make_no_token_eternal(tokens: Tokens, number: str) -> None:
    said = json.dumps({**claims(), "exp": 1}).replace('"exp": 1', f'"exp": {number}')
    assert why(tokens, signed(said.encode())) == "malformed"


def test_for_somebody_else(tokens: Tokens, tmp_path: Path) -> None:
    for audience in ("bank", ["bank"], [], 7, {"shop": 1}, None, "shop "):
        assert why(tokens, token(aud=audience)) == "audience"
    for issuer in ("https://evil.test", None, [ISSUER], ISSUER + "/"):
        assert why(tokens, token(iss=issuer)) == "issuer"
    anybody = Tokens(config(tmp_path, audience=[]))
    assert asked(anybody, token(aud=None)).user_id == "7"
    assert why(anybody, token()) == "audience", "it is for somebody, and we are not told that we are he (RFC 7519, 4.1.3)"


@pytest.mark.parametrize("payload", [b"", b"[]", b"7", b"null", b'"x"', b"{", b"\xff\xfe", b'{"sub": "\\ud800"}', b"[" * 3000])
def test_what_is_signed_and_says_nothing(tokens: Tokens, payload: bytes) -> None:
    assert why(tokens, signed(payload)) == "malformed"


def test_truncated_at_every_byte(tmp_path: Path) -> None:
    good = token("ES256")
    one = Tokens(config(tmp_path, algorithms=["ES256"], keys=[{"kid": "a", "algorithm": "ES256", "public_key": pem("ES256")}]))
    assert asked(one, good).user_id == "7"
    for end in range(1, len(good)):
        assert asked(one, good[:end]).standing is Standing.REFUSED


@pytest.mark.parametrize(
    "sent",
    [
        "x",
        "..",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "eyJhbGciOiJSUzI1NiJ9.e30",
        b64(b"[" * 6000) + ".e30.AA",
        b64(b'{"alg":' * 500) + ".e30.AA",
        b64(b'["alg"]') + ".e30.AA",
        b64(b'"alg"') + ".e30.AA",
        b64(b'["alg","b64"]') + ".e30.AA",
        b64(b"{}") + ".e30.AA",
        b64(b'{"alg":"RS256"') + ".e30.AA",
        "é.é.é",
        b"\xff\xfe.\xff.\xff",
        "a.b.c.d.e",
    ],
)
def test_what_is_no_token(tokens: Tokens, sent: str | bytes) -> None:
    assert why(tokens, sent) == "malformed"


def test_nested(tokens: Tokens) -> None:
    assert why(tokens, signed(token().encode(), header={"cty": "JWT"})) == "malformed"


def test_padding_and_other_spellings_of_the_same_signature(tokens: Tokens) -> None:
    good = token()
    for sent in (good + "=", good + "==", good + "A", good.replace(".", "=.", 1), " " + good[1:], good + "\x00"):
        assert asked(tokens, sent).standing is Standing.REFUSED


def test_doubled_and_oversized(tokens: Tokens) -> None:
    good = token()
    assert why(tokens, good, good) == "doubled"
    assert tokens.caller(BEARER, fields(good) + b"\r\nAuthorization: Basic eDp5", 0.0).why == "doubled"
    assert why(tokens, token(padding="x" * 9000)) == "oversized"
    assert asked(tokens, token(padding="x" * 4000)).user_id == "7"


# Which key


def test_without_kid_the_few_of_its_algorithm_are_tried(tmp_path: Path) -> None:
    several = [{"algorithm": "ES256", "public_key": pem("ES256", number)} for number in range(keyring.FEW)]
    one = Tokens(config(tmp_path, algorithms=["ES256"], keys=several))
    assert asked(one, token("ES256", keyring.FEW - 1, kid=None)).user_id == "7"
    assert asked(one, token("ES256", 3, kid="whatever")).user_id == "7", "a key without a name may be called by any"
    assert why(one, token("ES256", 20, kid=None)) == "signature"
    assert why(one, token("ES256", 20, kid="whatever")) == "unknown-key"


def test_of_more_than_a_few_none_is_tried(tmp_path: Path) -> None:
    world = World(tmp_path)
    nameless = [keyring.from_jwk(jwk("RS256"), "RS256")] * (keyring.FEW + 1)
    world.received.take(world.origin, keyring.dumped(nameless[1:]), 5000.0)
    good = token(kid=None, exp=10_000, iat=1000)
    assert asked(world.tokens, good, now=1000.0).user_id == "7"
    world.received.take(world.origin, keyring.dumped(nameless), 5000.0)
    assert why(world.tokens, good, now=1000.0) == "unknown-key"


def test_a_name_that_no_key_has(tokens: Tokens) -> None:
    assert why(tokens, token(kid="b")) == "unknown-key"
    assert asked(tokens, token(kid=None)).user_id == "7"


class World:
    """A worker's tokens by a key server's keys. The test is its supervisor."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.questions: list[str] = []
        self.received = Received(self.questions.append)
        self.tokens = Tokens(config(folder, jwks_url=URL, **settings), self.received)
        self.origin = self.tokens._origin

    def tell(self, *numbers: int, quiet_until: float = 0.0, origin: str | None = None) -> None:
        keys = [keyring.from_jwk(jwk("RS256", number), "RS256", f"k{number}") for number in numbers]
        self.received.take(self.origin if origin is None else origin, keyring.dumped(keys), quiet_until)

    def ask(self, number: int, now: float = 1000.0) -> Caller:
        return asked(self.tokens, token(number=number, kid=f"k{number}", exp=10_000, iat=1000), now=now)


def test_as_long_as_no_key_is_known_nobody_can_say(tmp_path: Path) -> None:
    world = World(tmp_path)
    for now in (1000.0, 1001.0):
        caller = world.ask(0, now)
        assert (caller.standing, caller.why) == (Standing.UNSAID, "no-keys")
    assert world.questions == [world.origin]
    world.tell(0)
    assert world.ask(0).user_id == "7", "it was not remembered"
    world.tell()
    assert world.ask(0).standing is Standing.UNSAID, "a server that says that there are no keys any more is believed"


def test_an_unknown_key_is_asked_for_once_and_then_not_before_its_time(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.tell(0)
    told: list[str] = []
    for number in (1, 2, 3):
        caller = world.ask(number)
        assert (caller.standing, caller.why) == (Standing.UNSAID, ASKING)
        world.tokens.wait(lambda: told.append("answered"))
    assert world.questions == [world.origin], "one in flight"
    assert world.ask(0).user_id == "7", "known keys go on meanwhile"
    assert told == []
    world.tell(0, 1, quiet_until=1030.0)
    assert told == ["answered"] * 3
    assert world.ask(1).user_id == "7"
    assert world.ask(2).why == "unknown-key"
    assert world.ask(2, 1029.9).why == "unknown-key"
    assert len(world.questions) == 1
    assert world.ask(2, 1032.0).why == ASKING
    assert len(world.questions) == 2
    world.tokens.wait(lambda: told.append("still asking"))
    assert len(told) == 3
    assert world.ask(2, 1032.0 + PATIENCE_SECONDS).why == ASKING, "a question that nobody answers is asked again"
    assert len(world.questions) == 3


def test_a_key_that_is_gone_takes_those_with_it_who_were_known_by_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.tell(0, 1, quiet_until=5000.0)
    assert world.ask(1).user_id == "7"
    world.tell(0, quiet_until=5000.0)
    assert world.ask(1).why == "unknown-key"
    world.tell(0, 1, quiet_until=5000.0)
    assert world.ask(1).user_id == "7", "nor is the refusal remembered"


def test_the_same_keys_told_again_forget_nobody(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.tell(0)
    world.ask(0)
    world.tell(0)
    world.ask(0)
    assert len(world.tokens._known) == 1


def test_keys_of_another_place_are_not_used(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.tell(0, origin="another")
    assert world.ask(0).why == "no-keys"
    world.tell(1)
    assert world.ask(0).why == ASKING
    other = Tokens(config(tmp_path, jwks_url=URL + "?v=2"), world.received)
    assert asked(other, token(kid="k1", number=1)).why == "no-keys"
    with pytest.raises(ValueError, match="invalid literal"):
        world.received.take(world.origin, b"no keys", 0.0)
    assert world.ask(1).user_id == "7"


def test_what_is_heard_is_bounded_and_whoever_waits_for_what_is_dropped_is_told(tmp_path: Path) -> None:
    world = World(tmp_path)
    told: list[int] = []
    world.tell(0)
    world.ask(1)
    world.tokens.wait(lambda: told.append(1))
    for number in range(5):
        world.tell(0, origin=f"another {number}")
    assert told == [1]
    assert len(world.received._keys) == 2


def test_a_servers_key_without_a_name_is_asked_for_too(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.tell(0)
    assert asked(world.tokens, token(number=1, kid=None)).why == ASKING
    assert asked(world.tokens, token(number=0, kid=None)).user_id == "7"


# What is remembered


def test_a_caller_is_remembered_for_the_cache_and_never_beyond_the_token(tmp_path: Path) -> None:
    one = Tokens(config(tmp_path, leeway="0s", identity={"cache": "10s", "negative_cache": "2s"}))
    good = token(exp=1005, iat=900)
    assert asked(one, good, now=1000.0) is asked(one, good, now=1004.9)
    assert why(one, good, now=1005.0) == "expired"
    longer = token(exp=2000, iat=900)
    assert asked(one, longer, now=1000.0) is asked(one, longer, now=1009.9)
    assert asked(one, longer, now=1000.0) is not asked(one, longer, now=1010.1)


def test_bad_tokens_do_not_push_out_good_ones_and_none_is_kept(tmp_path: Path) -> None:
    one = Tokens(config(tmp_path, identity={"entries": 3}))
    good = token()
    caller = asked(one, good)
    for number in range(10):
        why(one, token(number=1, jti=number))
    assert asked(one, good) is caller
    assert (len(one._known), len(one._refused)) == (1, 3)
    kept = b"".join((*one._known._callers, *one._refused._callers))
    assert good.encode() not in kept
    assert good.split(".")[2].encode()[:16] not in kept


# Whatever somebody makes up


GOODS = {algorithm: token(algorithm, kid=algorithm, exp=4_000_000_000, iat=1000) for algorithm in ALL}
GOOD = GOODS["RS256"]
HEAD, BODY, SIGNATURE = GOOD.split(".")
LETTERS = string.ascii_letters + string.digits + "-_"
goods = st.sampled_from(sorted(GOODS.values()))


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    public = [{"kid": each, "algorithm": each, "public_key": pem(each)} for each in ALL if each != "HS256"]
    keys = [*public, {"kid": "HS256", "algorithm": "HS256", "secret": SECRET}]
    found = Tokens(config(tmp_path_factory.mktemp("tokens"), algorithms=ALL, keys=keys))
    for each in GOODS.values():
        assert asked(found, each).user_id == "7"
    return found


@settings(deadline=None)
@given(goods, st.integers(0, 2000), st.sampled_from(LETTERS + ".=~ \x00"))
def test_no_token_with_another_byte_is_accepted(lasting: Tokens, good: str, place: int, letter: str) -> None:
    place %= len(good)
    mangled = good[:place] + letter + good[place + 1 :]
    assert (asked(lasting, mangled).standing is Standing.KNOWN) == (mangled.strip(" ") == good)


@settings(deadline=None)
@given(goods, st.integers(0, 2000), st.integers(0, 2000), st.text(LETTERS + ".", max_size=40))
def test_no_token_with_another_part_is_accepted(lasting: Tokens, good: str, one: int, other: int, between: str) -> None:
    begin, end = sorted((one % (len(good) + 1), other % (len(good) + 1)))
    mangled = good[:begin] + between + good[end:]
    caller = asked(lasting, mangled)
    assert (caller.standing is Standing.KNOWN) == (mangled == good)


@settings(deadline=None)
@given(goods, goods, goods)
def test_no_token_is_put_together_from_parts_of_others(lasting: Tokens, one: str, two: str, three: str) -> None:
    mixed = ".".join((one.split(".")[0], two.split(".")[1], three.split(".")[2]))
    assert (asked(lasting, mixed).standing is Standing.KNOWN) == (mixed in GOODS.values())


words = st.text("abc7é ", max_size=8)
json_values = st.none() | st.booleans() | st.floats() | st.integers() | words
json_values = json_values | st.lists(json_values, max_size=3) | st.dictionaries(words, json_values, max_size=3)
names = st.sampled_from(["alg", "kid", "crit", "b64", "jwk", "jku", "x5c", "typ", "cty", "zip"])
headers = st.dictionaries(names, st.sampled_from(["RS256", "none", "HS256", "a", None, ["b64"], False, True]) | json_values)


@settings(deadline=None)
@given(headers, st.binary(max_size=60))
def test_no_header_makes_up_for_a_signature(lasting: Tokens, header: dict[str, Any], signature: bytes) -> None:
    made_up = b64(json.dumps(header).encode()) + "." + BODY + "." + b64(signature)
    assert asked(lasting, made_up).standing is Standing.REFUSED
    assert asked(lasting, b64(json.dumps(header).encode()) + "." + BODY + "." + SIGNATURE).standing is Standing.REFUSED


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["exp", "nbf", "iat", "iss", "aud", "sub"]), json_values, min_size=1))
def test_whatever_is_signed_is_read_without_an_accident(lasting: Tokens, said: dict[str, Any]) -> None:
    caller = asked(lasting, signed(json.dumps({**claims(), **said}).encode(), kid="RS256"), now=time.time())
    if caller.standing is Standing.KNOWN:
        assert caller.user_id
        assert caller.expires is not None
        assert caller.expires > time.time() - 1


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_whatever_is_sent_is_read_without_an_accident(lasting: Tokens, sent: bytes) -> None:
    line = sent.translate(None, b"\r\n")
    assert asked(lasting, line).standing is not Standing.KNOWN
    assert asked(lasting, base64.urlsafe_b64encode(line) + b".e30.AA").standing is not Standing.KNOWN
