"""Tokens, by which programs are signed in: the shop's apps and its partners."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

from django.contrib.auth.models import User
from django.db import models
from django.utils import timezone


class Token(models.Model):
    """`Authorization: Token …` for one user. What is stored could not be used to sign in. A changed password ends sessions, not tokens."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the token")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="none: good until it is deleted")

    def __str__(self) -> str:
        return f"token {self.pk} of user {self.user_id}"

    @classmethod
    def issue(cls, user: User, expires_at: datetime | None = None) -> str:
        """Makes one for `user`, and returns what nobody can read again."""
        text = secrets.token_urlsafe(32)
        cls.objects.create(user=user, digest=digest(text), expires_at=expires_at)
        return text

    @classmethod
    def find(cls, text: str) -> Token | None:
        """The token that is this text, if it is good and its user active."""
        found = cls.objects.select_related("user").filter(digest=digest(text), user__is_active=True).first()
        if found is None or (found.expires_at is not None and found.expires_at <= timezone.now()):
            return None
        return found


def digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
