"""What people did in the console, and said. What was found about traffic is in shadow.models."""

from __future__ import annotations

from django.db import models


class Audit(models.Model):
    """One thing that somebody did, or tried and was refused. Never changed or deleted by the console but for its age."""

    at = models.FloatField(help_text="Unix seconds")
    by = models.CharField(max_length=200, help_text="the user's name; of a failed login the name that was tried")
    role = models.CharField(max_length=20, blank=True)
    action = models.CharField(max_length=40, help_text="a word such as login, rule-made, override-set")
    route = models.CharField(max_length=100, blank=True)
    subject = models.CharField(max_length=400, blank=True, help_text="what it was done to, in words")
    why = models.TextField(blank=True, help_text="the reason that was given")
    link = models.CharField(max_length=200, blank=True, help_text="the page of it, a path below the console's root")
    detail = models.JSONField(default=dict, help_text="what else there is to know, for machines; no secrets")

    class Meta:
        indexes = [models.Index(fields=["at"], name="audit_age"), models.Index(fields=["route", "at"], name="audit_route")]

    def __str__(self) -> str:
        return f"{self.by}: {self.action} {self.subject}".rstrip()


class Comment(models.Model):
    """What somebody said about a signature. It goes with it, and by the database: who purges signatures does not know the console."""

    signature = models.ForeignKey("shadow.Signature", on_delete=models.DB_CASCADE, related_name="comments")
    at = models.FloatField(help_text="Unix seconds")
    by = models.CharField(max_length=200)
    text = models.TextField()

    class Meta:
        indexes = [models.Index(fields=["signature", "at"], name="comment_thread")]

    def __str__(self) -> str:
        return f"{self.by} on {self.signature_id}"
