"""[identity]: who is calling."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from gateway.settings.django_session import DjangoSession
from gateway.settings.jwt import Jwt
from gateway.settings.section import TOKEN, Section, host_name
from gateway.settings.stamp import Stamp
from gateway.units import Seconds, Timeout

RESERVED = frozenset(("appName", "currentTime", "environment", "method", "remoteAddress", "route", "sessionId", "userId"))
"""What flags are told in any case."""
_SHORTEST_KEY = 16
_SHORTEST_AGE = 60.0
"""Seconds."""


def cookie_name(value: str) -> str:
    """`value`, if it is a cookie's name or empty."""
    if value and not TOKEN.fullmatch(value):
        raise ValueError('write a cookie\'s name, such as "sessionid"')
    return value


def scheme_name(value: str) -> str:
    """`value`, if it is a scheme of Authorization or empty."""
    if value and not TOKEN.fullmatch(value):
        raise ValueError('write a scheme of Authorization, such as "Bearer"')
    return value


class Visitor(Section):
    """A signed cookie for visitors without an account, so that a gradual rollout keeps each of them on one side."""

    key: SecretStr
    """Signs it: at least 16 characters. Write ${NAME} to read it from the environment. Gateways that share visitors share it."""
    cookie: str = "banyan_visitor"
    """Its name."""
    max_age: Seconds = 365 * 86400.0
    """How long browsers keep it: at least 1m."""

    @field_validator("key")
    @classmethod
    def _key(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < _SHORTEST_KEY:
            raise ValueError(f"at least {_SHORTEST_KEY} characters, and random ones: openssl rand -hex 32 makes a good one")
        return value

    @field_validator("cookie")
    @classmethod
    def _cookie(cls, value: str) -> str:
        if not TOKEN.fullmatch(value):
            raise ValueError('write a cookie\'s name, such as "banyan_visitor"')
        return value

    @field_validator("max_age")
    @classmethod
    def _max_age(cls, value: float) -> float:
        if value < _SHORTEST_AGE:
            raise ValueError('it would be gone before the next page, and the visitor another one each time; write "1m" or more')
        return value


class Identity(Section):
    """Who is calling, as far as the flags need to know."""

    source: Literal["none", "introspection", "jwt", "django-session"] = "none"
    """none: everybody is anonymous. introspection: legacy is asked who a session belongs to. jwt: signed tokens are checked here.
    django-session: sessions of Django's signed_cookies engine are checked here, with a key that can forge them."""
    path: str = "/_banyan/identity"
    """Where legacy answers who is calling (legacy_django/banyan_identity)."""
    host: str | None = None
    """The Host that this is asked with, one of Django's ALLOWED_HOSTS; by default the address of legacy."""
    cookie: str | None = None
    """The name of the cookie that is the credential: by default "sessionid", and none for jwt. "" looks at no cookie."""
    scheme: str | None = None
    """The scheme of Authorization whose tokens are a credential too, such as "Token": by default "Bearer" for jwt, and none else. "" does
    not look at that field."""
    cache: Seconds = 10.0
    """How long an answer is remembered."""
    negative_cache: Seconds = 2.0
    """How long it is remembered that a session belongs to nobody."""
    grace: Seconds = 60.0
    """How much longer than `cache` the last answer is believed while legacy cannot say. After that, what requires login is answered 503."""
    timeout: Timeout = 2.0
    """How long legacy may take to say; after that the caller is whoever it was within `grace`, or nobody."""
    entries: int = Field(default=100_000, ge=1)
    """Answers that are remembered at the most."""
    claims: list[str] = []
    """What else legacy, or a token, says of a user that strategies may read, as properties of these names: those of the answer's "claims",
    or of the token itself."""
    jwt: Jwt | None = None
    """Whose tokens are believed, and for what."""
    django_session: DjangoSession | None = None
    """The key and age of django-session."""
    visitor: Visitor | None = None
    """With visitor = { key = "${BANYAN_VISITOR_KEY}" }, visitors whom nobody knows get a signed cookie, and are the same sessionId to the
    flags each time. Without it, a rollout by Unleash's default stickiness throws dice for them at every request."""

    stamp: Stamp | None = None
    """With stamp = { key = "${BANYAN_STAMP_KEY}" }, upstreams are told who calls, signed, in Banyan-Identity. Not those of routes whose
    identity is ignored, and not of requests that no route matches."""

    @field_validator("claims")
    @classmethod
    def _claims(cls, value: list[str]) -> list[str]:
        for name in value:
            if name in RESERVED or not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
                raise ValueError(
                    f"{name!r} cannot be a property: letters, digits, '.', '_' and '-', and none of {', '.join(sorted(RESERVED))}"
                )
        return value

    @field_validator("host")
    @classmethod
    def _host(cls, value: str | None) -> str | None:
        return value if value is None else host_name(value)

    @field_validator("path")
    @classmethod
    def _path(cls, value: str) -> str:
        if not re.fullmatch(r"/[!-~]*", value):
            raise ValueError('write a path that starts with / and has no spaces, such as "/_banyan/identity"')
        return value

    @field_validator("cookie")
    @classmethod
    def _cookie(cls, value: str | None) -> str | None:
        return value if value is None else cookie_name(value)

    @field_validator("scheme")
    @classmethod
    def _scheme(cls, value: str | None) -> str | None:
        return value if value is None else scheme_name(value)

    @property
    def credential(self) -> tuple[str, str]:
        """(the cookie's name, the scheme of Authorization) of routes that say nothing of their own."""
        cookie, scheme = ("", "Bearer") if self.source == "jwt" else ("sessionid", "")
        return (cookie if self.cookie is None else self.cookie), (scheme if self.scheme is None else self.scheme)

    @model_validator(mode="after")
    def _tokens(self) -> Identity:
        if self.source == "jwt":
            if self.jwt is None:
                raise ValueError(
                    'source = "jwt" needs [identity.jwt] with algorithms and keys, such as  jwt = { algorithms = ["RS256"], jwks_url = '
                    '"https://login.example.com/.well-known/jwks.json" }'
                )
            if self.credential == ("", ""):
                raise ValueError('cookie and scheme are both empty, so no token is ever looked at; write scheme = "Bearer"')
        elif self.jwt is not None:
            raise ValueError(f'[identity.jwt] is not used while source is "{self.source}"; write source = "jwt", or remove it')
        return self

    @model_validator(mode="after")
    def _django_session(self) -> Identity:
        chosen = self.source == "django-session"
        if chosen and self.django_session is None:
            raise ValueError(
                'identity.django_session is missing: source = "django-session" checks sessions with Django\'s own key; add '
                'django_session = { secret_key = "${NAME}" }'
            )
        if not chosen and self.django_session is not None:
            raise ValueError(
                "identity.django_session: this key can forge sessions, and is of no use unless identity.source is "
                '"django-session"; remove it'
            )
        if chosen:
            cookie, scheme = self.credential
            if scheme:
                raise ValueError("identity.scheme: a session of Django's is a cookie, never a token; remove it")
            if not cookie:
                raise ValueError('identity.cookie: source = "django-session" reads nothing but the cookie; name it, or remove the key')
            for name in self.claims:
                if name.startswith("_"):
                    raise ValueError(f"identity.claims: {name!r} is Django's own part of the session; name what the shop puts there")
        return self

    @property
    def lookup(self) -> Identity:
        """All that who calls is found out by: what is known of callers is as good as before where this has not changed."""
        return self.model_copy(update={"stamp": None})

    @model_validator(mode="after")
    def _somebody_to_stamp(self) -> Identity:
        if self.stamp is not None and self.source == "none":
            raise ValueError('stamp: nobody is ever stamped as long as source is "none"; set it to "introspection", for example')
        return self

    @model_validator(mode="after")
    def _own_cookie(self) -> Identity:
        cookie, _ = self.credential
        if self.visitor is not None and self.visitor.cookie == cookie:
            raise ValueError(f"identity.visitor.cookie: {cookie!r} is legacy's session, which it would log out; name another")
        return self
