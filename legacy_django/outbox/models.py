"""The outbox: a row is there from the commit of its change until a relay has it in the stream."""

from __future__ import annotations

from django.db import models


class Event(models.Model):
    """Read by relays (events/), which know the table and not this class. On PostgreSQL there is one column more, `txid xid8`: see the
    migration."""

    number = models.BigAutoField(primary_key=True)
    event_id = models.UUIDField(unique=True)
    partition = models.SmallIntegerField()
    key = models.CharField(max_length=120)
    source = models.CharField(max_length=40)
    type = models.CharField(max_length=60)
    subject = models.CharField(max_length=120)
    origin = models.CharField(max_length=40)
    time = models.CharField(max_length=32, help_text="RFC 3339: the same text in either database")
    data = models.TextField(help_text="JSON")

    class Meta:
        indexes = [models.Index(fields=["partition", "number"], name="outbox_in_order")]

    def __str__(self) -> str:
        return f"{self.number} {self.type} {self.key}"
