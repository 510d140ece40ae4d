"""[identity.django_session]: the monolith's own key, by which the edge reads sessions of Django's signed_cookies engine."""

from __future__ import annotations

from pydantic import SecretStr, field_validator

from gateway.settings.section import Section
from gateway.units import Timeout

_SHORTEST_KEY = 16


class DjangoSession(Section):
    """For source = "django-session". Whoever has this key can log in as anybody: docs/guide says what to weigh before it is put here."""

    secret_key: SecretStr
    """Django's SECRET_KEY, which can forge any session: write ${NAME} to read it from the environment, never the key itself."""
    secret_key_fallbacks: list[SecretStr] = []
    """Django's SECRET_KEY_FALLBACKS: sessions that an older key has signed are good as long as it stands here."""
    max_age: Timeout = 14 * 86400.0
    """Django's SESSION_COOKIE_AGE, or less. A changed password ends a session at legacy only; here it lives until it is this old."""
    salt: str = "django.contrib.sessions.backends.signed_cookies"
    """What Django signs sessions with beside the key. Another one only for an engine of your own."""

    @field_validator("secret_key")
    @classmethod
    def _key(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < _SHORTEST_KEY:
            raise ValueError(
                f"at least {_SHORTEST_KEY} characters: a shorter one can be found out from any cookie that it has signed, in Django too"
            )
        return value

    @field_validator("secret_key_fallbacks")
    @classmethod
    def _keys(cls, value: list[SecretStr]) -> list[SecretStr]:
        for key in value:
            cls._key(key)
        return value

    @field_validator("salt")
    @classmethod
    def _salt(cls, value: str) -> str:
        if not value:
            raise ValueError("remove the key: Django has no session without a salt")
        return value
