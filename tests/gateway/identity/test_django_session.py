"""Sessions of Django's signed_cookies engine, beside Django's own signing: what one of the two refuses, the other never accepts."""

from __future__ import annotations

import base64
import json
import time
import zlib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from django.core.signing import JSONSerializer, TimestampSigner, b62_encode, loads
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.config import ConfigError, parse
from gateway.identity.caller import Caller
from gateway.identity.checked import checker
from gateway.identity.credential import LONGEST, Credential
from gateway.identity.django_session import LONGEST_SESSION, SessionError, Sessions
from gateway.masking import masked
from gateway.policy.admission import Standing
from gateway.settings import DjangoSession

KEY, OLD, OLDER = "the key of today: öffentlich", "the key of last month", "the key of last year"
SALT = "django.contrib.sessions.backends.signed_cookies"
AGE = 3600
USER = {"_auth_user_id": "17", "_auth_user_backend": "django.contrib.auth.backends.ModelBackend", "_auth_user_hash": "f" * 64}
COOKIE = Credential("sessionid", "")


class Signer(TimestampSigner):
    """Django's, at a moment of our choice."""

    def __init__(self, at: float, key: str = KEY, salt: str = SALT) -> None:
        super().__init__(key=key, salt=salt, fallback_keys=[])
        self._at = at

    def timestamp(self) -> str:
        return b62_encode(int(self._at))


def signed(session: object, *, age: float = 10, key: str = KEY, salt: str = SALT) -> str:
    """As SessionStore._get_session_key makes it, `age` seconds ago."""
    return Signer(time.time() - age, key, salt).sign_object(session, serializer=JSONSerializer, compress=True)


def sessions(*fallbacks: str, key: str = KEY, claims: list[str] | None = None, entries: int = 100, **more: object) -> Sessions:
    chosen = {"secret_key": key, "secret_key_fallbacks": fallbacks, "max_age": f"{AGE}s", **more}
    return Sessions(DjangoSession.model_validate(chosen), claims or [], entries)


def django(cookie: str, *fallbacks: str, key: str = KEY) -> Any:
    """What SessionStore.load reads, by the same call; None: it refuses."""
    try:
        return loads(cookie, key=key, fallback_keys=list(fallbacks), salt=SALT, serializer=JSONSerializer, max_age=AGE)
    except Exception:  # as SessionStore.load has it
        return None


def ours(subject: Sessions, cookie: str) -> dict[str, Any] | None:
    try:
        return subject.read(cookie.encode(errors="surrogatepass"), time.time())[0]
    except SessionError:
        return None


def why(subject: Sessions, cookie: str, now: float | None = None) -> str:
    with pytest.raises(SessionError) as raised:
        subject.read(cookie.encode(), time.time() if now is None else now)
    return raised.value.why


def call(subject: Sessions, cookie: str, now: float | None = None) -> Caller:
    return subject.caller(COOKIE, f"\r\nHost: shop\r\nCookie: theme=dark; sessionid={cookie}".encode(), time.time() if now is None else now)


def test_a_claim_that_is_half_a_character_says_nothing_and_costs_nobody_his_request() -> None:
    subject = sessions(claims=["plan", "country"])
    session = {"_auth_user_id": "7", "_auth_user_backend": "b", "_auth_user_hash": "h", "plan": "\ud800", "country": "\u00d6"}
    caller = call(subject, signed(session))
    assert (caller.user_id, caller.claims) == ("7", {"country": "\u00d6"})


# Beside Django

ANY_TEXT = st.text(st.characters(exclude_categories=()))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(ANY_TEXT, inner, max_size=5),
    max_leaves=20,
)
SESSIONS = st.dictionaries(ANY_TEXT, VALUES, max_size=8).filter(lambda session: "_session_expiry" not in session)


@given(SESSIONS)
@settings(deadline=None)
def test_every_session_that_django_signs_is_read_as_django_reads_it(session: dict[str, Any]) -> None:
    cookie = signed(session)
    assert ours(sessions(), cookie) == django(cookie) == session


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "delete", "cut", "front", "swap", "double", "case"]),
        st.integers(0, 10_000),
        st.characters(min_codepoint=33, max_codepoint=126) | st.sampled_from([":", ".", "=", "-", "_", "é"]),
    ),
    min_size=1,
    max_size=4,
)


def mangled(cookie: str, edits: list[tuple[str, int, str]]) -> str:
    for edit, place, character in edits:
        at = place % (len(cookie) + 1)
        before, here, after = cookie[:at], cookie[at : at + 1], cookie[at + 1 :]
        parts = cookie.split(":")
        chosen = place % len(parts)
        cookie = {
            "replace": before + character + after,
            "insert": before + character + here + after,
            "delete": before + after,
            "cut": before,
            "front": character + cookie,
            "swap": ":".join([*parts[:chosen][::-1], *parts[chosen:]]),
            "double": ":".join([*parts[: chosen + 1], parts[chosen], *parts[chosen + 1 :]]),
            "case": before + here.swapcase() + after,
        }[edit]
    return cookie


@given(st.sampled_from([USER, {**USER, "cart": [1, 2, 3] * 40}, {}]), EDITS)
@settings(max_examples=400, deadline=None)
def test_a_mangled_cookie_is_to_us_what_it_is_to_django(session: dict[str, Any], edits: list[tuple[str, int, str]]) -> None:
    cookie = mangled(signed(session), edits)
    # Quotes belong to the Cookie field, from which Django has taken them before it gets here.
    if not cookie.startswith('"'):
        assert ours(sessions(), cookie) == django(cookie)


PAYLOADS = (
    st.binary(max_size=60)
    | SESSIONS.map(lambda session: json.dumps(session).encode())
    | st.sampled_from([b"[]", b'"x"', b'{"a":"\xe9"}', b"{"])
)
STAMPS = st.integers(-(10**6), 10**12).map(b62_encode) | st.text("0Az-_!", max_size=4) | st.integers(-20, 2 * AGE)


@example(b'{"a":"\xe9"}', "plain", 0)
@given(PAYLOADS, st.sampled_from(["plain", "zipped", "cut", "followed", "dotted", "raw"]), STAMPS)
@settings(max_examples=400, deadline=None)
def test_odd_things_under_a_good_signature_are_to_us_what_they_are_to_django(payload: bytes, how: str, stamp: str | int) -> None:
    if isinstance(stamp, int):
        if abs(stamp - AGE) < 5:
            return  # a verdict that changes while the two are asked
        stamp = b62_encode(int(time.time()) - stamp)
    shrunk = zlib.compress(payload)
    data = {"zipped": shrunk, "cut": shrunk[:-1], "followed": shrunk + b"more"}.get(how, payload)
    text = base64.urlsafe_b64encode(data).decode().rstrip("=") if how != "raw" else data.decode("latin-1")
    signer = TimestampSigner(key=KEY, salt=SALT, fallback_keys=[])
    value = f"{'' if how in ('plain', 'raw') else '.'}{text}:{stamp}"
    cookie = f"{value}:{signer.signature(value)}"
    read = django(cookie)
    # A session that is no object makes Django fail later, whatever it is asked for.
    assert ours(sessions(), cookie) == (read if isinstance(read, dict) else None)


KEYS = st.sampled_from([KEY, OLD, OLDER, "a key that nobody has configured"])


@given(KEYS, st.permutations([KEY, OLD, OLDER]), st.integers(1, 3))
@settings(deadline=None)
def test_keys_rotate_as_djangos_do(signer: str, keys: list[str], count: int) -> None:
    key, *fallbacks = keys[:count]
    cookie = signed(USER, key=signer)
    read = ours(sessions(*fallbacks, key=key), cookie)
    assert read == django(cookie, *fallbacks, key=key)
    assert (read is not None) is (signer in keys[:count])


@pytest.mark.parametrize("salt", ["django.core.signing", "django.contrib.sessions.SessionStore", SALT + "signer", SALT[:-1]])
def test_what_the_same_key_signed_for_something_else_is_no_session(salt: str) -> None:
    cookie = signed(USER, salt=salt)
    assert django(cookie) is None
    assert why(sessions(), cookie) == "signature"


@pytest.mark.parametrize(
    ("age", "good"), [(-600, True), (0, True), (AGE - 60, True), (AGE + 60, False), (10**9, False), (4 * 10**9, False)]
)
def test_a_session_is_as_old_as_its_signature_says(age: int, good: bool) -> None:
    cookie = signed(USER, age=age)
    assert (django(cookie) is not None) is good
    assert (ours(sessions(), cookie) is not None) is good


# What is refused beyond Django, and why


def test_each_refusal_says_why() -> None:
    good = signed(USER)
    payload, stamp, _ = good.split(":")
    subject = sessions()
    assert why(subject, good[:-1]) == why(subject, f"{payload}:{stamp}") == why(subject, payload) == why(subject, "") == "signature"
    assert why(subject, signed(USER, age=AGE + 60)) == "expired"
    for odd in ([], 1, "text", None):
        assert why(subject, signed(odd)) == "malformed"
    unsigned = TimestampSigner(key=KEY, salt=SALT, fallback_keys=[])
    for value in (payload, f"{payload}:", f"{payload}:{'z' * 11}", f"{payload}:-", f"%:{stamp}", f".{payload}:{stamp}"):
        assert why(subject, f"{value}:{unsigned.signature(value)}") == "malformed", value


def test_a_bomb_is_not_unfolded() -> None:
    bomb = signed({**USER, "note": "a" * 5_000_000})
    assert len(bomb) < LONGEST
    assert django(bomb) is not None
    assert why(sessions(), bomb) == "oversized"
    large = {**USER, "note": "a" * (LONGEST_SESSION - 1000)}
    assert ours(sessions(), signed(large)) == large


def test_deeper_than_anybody_nests() -> None:
    value = base64.urlsafe_b64encode(zlib.compress(b'{"a":' + b"[" * 60_000)).decode().rstrip("=")
    value = f".{value}:{b62_encode(int(time.time()))}"
    assert why(sessions(), f"{value}:{TimestampSigner(key=KEY, salt=SALT, fallback_keys=[]).signature(value)}") == "malformed"


NOW = 1_800_000_000


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(NOW + seconds, UTC).isoformat()


def lasting(expiry: object) -> str:
    """The cookie of a session that was saved 100 s before NOW, with this word about its end."""
    return Signer(NOW - 100).sign_object({**USER, "_session_expiry": expiry}, serializer=JSONSerializer, compress=True)


@pytest.mark.parametrize(
    ("expiry", "left"),
    [
        (None, AGE - 100),
        (0, AGE - 100),
        ("", AGE - 100),
        (300, 200),
        (300.5, 200.5),
        (10 * AGE, AGE - 100),
        (moment(500), 500),
        (moment(10 * AGE), AGE - 100),
        # Without a zone it may be as late as twelve hours after that time in UTC.
        (moment(500 - 12 * 3600).removesuffix("+00:00"), 500),
        ((datetime.fromtimestamp(NOW + 500, UTC).astimezone(timezone(timedelta(hours=9)))).isoformat(), 500),
    ],
)
def test_a_session_ends_by_its_own_word_and_never_later_than_max_age(expiry: object, left: float) -> None:
    caller = call(sessions(), lasting(expiry), NOW)
    assert (caller.standing, caller.expires) == (Standing.KNOWN, NOW + left)
    assert call(sessions(), lasting(expiry), NOW + left - 1).standing is Standing.KNOWN
    assert call(sessions(), lasting(expiry), NOW + left + 1).why == "expired"


@pytest.mark.parametrize(
    ("expiry", "code"),
    [
        (50, "expired"),
        (-1, "expired"),
        (moment(-1), "expired"),
        ("2020-01-01", "expired"),
        ("soon", "malformed"),
        (True, "malformed"),
        ([1], "malformed"),
        (float("nan"), "malformed"),
        (10**400, "malformed"),
    ],
)
def test_a_session_whose_own_word_has_ended_it(expiry: object, code: str) -> None:
    assert why(sessions(), lasting(expiry), NOW) == code


# Who it is


def test_the_user_and_what_the_shop_says_of_him() -> None:
    session = {**USER, "plan": "pro", "beta": True, "cart": {"1": 2}, "secret": "x", "note": "n" * 1000}
    caller = call(sessions(claims=["plan", "beta", "cart", "note", "absent"]), signed(session))
    assert (caller.standing, caller.user_id, caller.why) == (Standing.KNOWN, "17", "")
    assert caller.claims == {"plan": "pro", "beta": "true"}


def test_a_visitors_session_is_nobodys() -> None:
    caller = call(sessions(claims=["plan"]), signed({"cart": [1], "plan": "pro"}))
    assert (caller.standing, caller.user_id, caller.session_id, caller.claims) == (Standing.NOBODY, None, None, {})


@pytest.mark.parametrize(
    "change",
    [
        {"_auth_user_id": 17},
        {"_auth_user_id": ""},
        {"_auth_user_id": None},
        {"_auth_user_id": "1\r\nX-User: 2"},
        {"_auth_user_id": "\ud800"},
        {"_auth_user_id": "1" * 300},
        {"_auth_user_hash": ""},
        {"_auth_user_hash": None},
        {"_auth_user_backend": ""},
        {"_auth_user_backend": ["x"]},
    ],
)
def test_what_djangos_login_never_wrote_is_nobody(change: dict[str, object]) -> None:
    session = {**USER, **change}
    assert call(sessions(), signed({name: value for name, value in session.items() if value is not None})).user_id is None
    assert call(sessions(), signed(session)) == Caller(standing=Standing.REFUSED, why="malformed")


def test_the_sessions_name_opens_nothing_and_stays_while_the_cookie_changes() -> None:
    first, later = signed(USER, age=500), signed({**USER, "cart": [1]})
    names = [call(sessions(), cookie).session_id for cookie in (first, later)]
    assert names[0] == names[1]
    assert names[0] is not None
    assert names[0] not in first + later
    others = [
        call(sessions(), signed({**USER, "_auth_user_id": "18"})),
        call(sessions(), signed({**USER, "_auth_user_hash": "e" * 64})),
        call(sessions(key=OLD), signed(USER, key=OLD)),
    ]
    assert len({names[0], *(other.session_id for other in others)}) == 4


# What of a request is read


def test_no_cookie_is_nobody() -> None:
    for head in (b"\r\nHost: a", b"\r\nCookie: sessionid=", b"\r\nCookie: xsessionid=1", b"\r\nX-Cookie: sessionid=1"):
        assert sessions().caller(COOKIE, head, 0.0) == Caller()


def test_a_cookie_in_quotes_is_what_is_between_them() -> None:
    assert call(sessions(), f'"{signed(USER)}"').user_id == "17"
    for wrong in (f'"{signed(USER)}', f'"{signed(USER)}x', f'x{signed(USER)}"'):
        assert call(sessions(), wrong).why == "signature"
    assert call(sessions(), '"').why == "signature"


def test_two_sessions_are_none() -> None:
    one, two = signed(USER), signed({**USER, "_auth_user_id": "18"})
    for head in (f"\r\nCookie: sessionid={one}; sessionid={two}", f"\r\nCookie: sessionid={one}\r\nCookie: sessionid={two}"):
        assert sessions().caller(COOKIE, head.encode(), time.time()) == Caller(standing=Standing.REFUSED, why="doubled")


def test_a_cookie_longer_than_any_is_not_even_hashed() -> None:
    assert call(sessions(), signed(USER) + "A" * LONGEST) == Caller(standing=Standing.REFUSED, why="oversized")


@given(st.binary(max_size=200).filter(lambda value: b"\r" not in value))
@settings(deadline=None)
def test_nothing_that_a_client_sends_raises(value: bytes) -> None:
    caller = sessions().caller(COOKIE, b"\r\nCookie: sessionid=" + value, time.time())
    assert caller.standing in (Standing.REFUSED, Standing.NOBODY)


# What is remembered


def test_a_good_session_is_read_once_until_it_ends() -> None:
    subject, now = sessions(), time.time()
    cookie = signed({**USER, "_session_expiry": 300}, age=0)
    first = call(subject, cookie, now)
    assert call(subject, cookie, now + 200) is first
    assert call(subject, cookie, now + 302) == Caller(standing=Standing.REFUSED, why="expired")


def test_made_up_cookies_push_nobody_out() -> None:
    subject = sessions(entries=2)
    cookie = signed(USER)
    first = call(subject, cookie)
    for number in range(10):
        assert call(subject, f"{number}{cookie}").why == "signature"
    assert call(subject, cookie) is first
    for number in range(2):
        call(subject, signed({**USER, "_auth_user_id": f"1{number}"}))
    assert call(subject, cookie) is not first


# The configuration

TOML = """
[upstreams]
legacy = "http://127.0.0.1:8001"
reviews = "http://127.0.0.1:8101"
[identity]
source = "django-session"
{identity}
[[routes]]
name = "reviews"
match = "/reviews/*"
candidate = "reviews"
{route}
"""
SECTION = 'django_session = { secret_key = "the key of today", secret_key_fallbacks = ["the key of last month"], max_age = "1h" }'


def test_reloading_keeps_what_is_remembered_where_it_still_holds() -> None:
    path = Path("banyan.toml")
    text = TOML.format(identity=SECTION, route="")
    before = checker(parse(path, text))
    assert isinstance(before, Sessions)
    assert checker(parse(path, text + 'flag = "other"'), before) is before
    for change in ("today", "last month"):
        after = checker(parse(path, text.replace(change, "tomorrow!!")), before)
        assert isinstance(after, Sessions)
        assert after is not before
        assert after.read(signed(USER, key="the key of tomorrow!!").encode(), time.time())
    assert checker(parse(path, text.replace(SECTION, SECTION + '\nclaims = ["plan"]')), before) is not before
    assert checker(parse(path, text.replace("django-session", "introspection").replace(SECTION, "")), before) is None


def test_the_keys_are_shown_nowhere() -> None:
    config = parse(Path("banyan.toml"), TOML.format(identity=SECTION, route=""))
    subject = checker(config)
    shown = f"{config!r} {masked(config)} {subject!r} {vars(subject)!r}"
    assert "the key of" not in shown
    assert masked(config)["identity"]["django_session"]["secret_key_fallbacks"] == ["**********"]


@pytest.mark.parametrize(
    ("identity", "route", "said"),
    [
        ("", "", "identity.django_session is missing"),
        ('django_session = { secret_key = "tiny" }', "", "identity.django_session.secret_key: at least 16 characters"),
        (SECTION.replace("of last month", ""), "", "identity.django_session.secret_key_fallbacks: at least 16 characters"),
        (SECTION.replace("1h", "0s"), "", "identity.django_session.max_age: in no time"),
        (SECTION.replace("max_age", "salt = '', max_age"), "", "identity.django_session.salt: remove the key"),
        (SECTION + '\nscheme = "Token"', "", "identity.scheme: a session of Django's is a cookie"),
        (SECTION + '\ncookie = ""', "", "identity.cookie: source = "),
        (SECTION + '\nclaims = ["_auth_user_hash"]', "", "identity.claims: '_auth_user_hash' is Django's own"),
        (SECTION, 'credential = { cookie = "sessionid", scheme = "Token" }', "route 'reviews': credential: source = "),
        (SECTION, 'credential = { scheme = "Token" }', "route 'reviews': credential: source = "),
    ],
)
def test_what_cannot_be_configured(identity: str, route: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(Path("banyan.toml"), TOML.format(identity=identity, route=route))
    assert [problem for problem in refused.value.problems if said in problem], refused.value.problems
    assert "tiny" not in str(refused.value)


def test_a_key_that_nobody_needs_is_not_kept() -> None:
    for source in ("none", "introspection"):
        with pytest.raises(ConfigError, match=r"identity\.django_session: this key can forge sessions"):
            parse(Path("banyan.toml"), TOML.format(identity=SECTION, route="").replace('"django-session"', f'"{source}"'))
