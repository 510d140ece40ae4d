"""What is kept of the comparison: counts per route, signatures, and a few samples of each.

Everything is bounded: counts by rolling seconds up into minutes and by retention, signatures per route by shadow.batch.MAX_SIGNATURES,
combinations of them by MAX_COMBINATIONS, samples per signature by MAX_SAMPLES. Bodies are in samples alone, as redaction left them.
Rules are the exception: people make them, and they are never deleted. Beside them, what the console saw of the flags' changes, and
what the guard did.
"""

from __future__ import annotations

from django.db import models

MAX_SAMPLES = 20
"""Samples kept per signature, the newest."""


class Tally(models.Model):
    """How often something happened on a route, in a second or, once that is an hour old, in a minute.

    One row a counter: adding up is always right, a new reason needs no new column. The names are in shadow/counters.py.
    """

    route = models.CharField(max_length=100)
    at = models.BigIntegerField(help_text="Unix seconds at which the span begins")
    width = models.PositiveSmallIntegerField(help_text="seconds: 1 or 60")
    name = models.CharField(max_length=100)
    count = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["route", "at", "width", "name"], name="tally_once")]
        indexes = [models.Index(fields=["width", "at"], name="tally_age")]

    def __str__(self) -> str:
        return f"{self.route} {self.name} {self.count}"


class TallySum(models.Model):
    """Tallies summed up by wider spans, so that a day's are few rows. Tally says all of it: shadow/sums.py keeps it."""

    route = models.CharField(max_length=100)
    width = models.PositiveSmallIntegerField(help_text="seconds: 600 or 3600; 60 only of what Tally has by the second")
    at = models.BigIntegerField(help_text="Unix seconds at which the span begins")
    name = models.CharField(max_length=100)
    count = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["route", "width", "at", "name"], name="tallysum_once")]
        # Not of (width, at): by that, a route's rows would be looked for among all routes'.
        indexes = [
            models.Index(fields=["at"], name="tallysum_age"),
            models.Index(fields=["at"], condition=models.Q(width=60), name="tallysum_minutes"),
        ]

    def __str__(self) -> str:
        return f"{self.route} {self.name} {self.count}"


class Signature(models.Model):
    """All differences of one route that have kind and generalised path in common: what a person reviews."""

    class State(models.TextChoices):
        NEW = "new"
        EXPECTED = "expected"
        BUG = "bug"
        FIXED = "fixed"

    route = models.CharField(max_length=100)
    kind = models.CharField(max_length=20)
    path = models.CharField(max_length=300)
    state = models.CharField(max_length=10, choices=State, default=State.NEW)
    count = models.BigIntegerField(help_text="exchanges in which it was seen")
    first_seen = models.FloatField(help_text="Unix seconds")
    last_seen = models.FloatField(help_text="Unix seconds")
    # A default of the database's own: shippers of before this column go on writing.
    state_since = models.FloatField(db_default=0.0, help_text="Unix seconds at which somebody gave it its state; 0: nobody has")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["route", "kind", "path"], name="signature_once")]
        indexes = [models.Index(fields=["last_seen"], name="signature_age")]

    def __str__(self) -> str:
        return f"{self.route}: {self.kind} {self.path}"


class StateChange(models.Model):
    """That a signature went from one state to another. Written by shadow/states.py alone."""

    signature = models.ForeignKey(Signature, on_delete=models.CASCADE, related_name="changes")
    at = models.FloatField(help_text="Unix seconds")
    old = models.CharField(max_length=10, choices=Signature.State)
    new = models.CharField(max_length=10, choices=Signature.State)
    by = models.CharField(max_length=200, help_text="who; banyan itself where it was seen again after the fix")
    why = models.TextField()

    class Meta:
        indexes = [models.Index(fields=["at"], name="statechange_age")]

    def __str__(self) -> str:
        return f"{self.signature_id}: {self.old} to {self.new}"


class Sample(models.Model):
    """One exchange that differed, as redaction left it."""

    signatures = models.ManyToManyField(Signature, through="Sighting", related_name="samples")
    at = models.FloatField(help_text="Unix seconds")
    request_id = models.CharField(max_length=200)
    method = models.CharField(max_length=40)
    target = models.TextField()
    request = models.JSONField(null=True, help_text="headers and body; none: of before these were kept")
    served = models.CharField(max_length=10, help_text="the side whose answer the client got")
    legacy = models.JSONField(help_text="status, headers, body and timing")
    candidate = models.JSONField(help_text="status, headers, body and timing")
    differences = models.JSONField(help_text="kind, path and both values of each")
    cut = models.BooleanField(default=False, help_text="there are more differences than are listed")

    class Meta:
        indexes = [models.Index(fields=["at"], name="sample_age")]

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


class Sighting(models.Model):
    """That a sample shows a signature."""

    signature = models.ForeignKey(Signature, on_delete=models.CASCADE)
    sample = models.ForeignKey(Sample, on_delete=models.CASCADE)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["signature", "sample"], name="sighting_once")]

    def __str__(self) -> str:
        return f"{self.signature_id} in {self.sample_id}"


class Noise(models.Model):
    """A difference that legacy shows against itself. It never counts in the match rate."""

    route = models.CharField(max_length=100)
    kind = models.CharField(max_length=20)
    path = models.CharField(max_length=300)
    count = models.BigIntegerField()
    first_seen = models.FloatField(default=0, help_text="Unix seconds")
    last_seen = models.FloatField(help_text="Unix seconds")
    manner = models.JSONField(default=dict, help_text="how the values differ, as shadow.noise.Manner, with redacted examples")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["route", "kind", "path"], name="noise_once")]

    def __str__(self) -> str:
        return f"{self.route}: {self.kind} {self.path}"


class Combination(models.Model):
    """What exchanges showed together: signatures, and what rules excused. How often is a Tally: shadow.counters.COMBINATION and `key`."""

    route = models.CharField(max_length=100)
    key = models.CharField(max_length=32)
    members = models.JSONField(help_text="kind, path, and the rule that excused it, of each")
    last_seen = models.FloatField(help_text="Unix seconds")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["route", "key"], name="combination_once")]

    def __str__(self) -> str:
        return f"{self.route}: {self.key}"


class Presence(models.Model):
    """In how many pairs of legacy's own answers a place was there; "" is every pair. What Noise counts are shares of."""

    route = models.CharField(max_length=100)
    path = models.CharField(max_length=300)
    pairs = models.BigIntegerField()
    last_seen = models.FloatField(help_text="Unix seconds")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["route", "path"], name="presence_once")]

    def __str__(self) -> str:
        return f"{self.route}: {self.path}"


class Drift(models.Model):
    """Two types that legacy and candidate had in a place that is ignored. How often is a Tally: shadow.counters.DRIFT and `key`."""

    route = models.CharField(max_length=100)
    key = models.CharField(max_length=32)
    path = models.CharField(max_length=300)
    legacy = models.CharField(max_length=20)
    candidate = models.CharField(max_length=20)
    last_seen = models.FloatField(help_text="Unix seconds")
    sample = models.ForeignKey(Sample, null=True, on_delete=models.SET_NULL, help_text="one exchange that showed it")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["route", "key"], name="drift_once")]

    def __str__(self) -> str:
        return f"{self.route}: {self.path} {self.legacy}->{self.candidate}"


class Decline(models.Model):
    """A suggested rule that somebody did not want, and what was known then."""

    route = models.CharField(max_length=100)
    kind = models.CharField(max_length=20, help_text="as shadow.rules.RuleKind")
    path = models.CharField(max_length=300)
    value = models.CharField(max_length=200, blank=True)
    by = models.CharField(max_length=200)
    reason = models.TextField()
    at = models.FloatField(help_text="Unix seconds")
    about = models.CharField(max_length=400, help_text="the evidence")
    lower = models.FloatField(help_text="of the share of legacy's own pairs that differ there")
    upper = models.FloatField()

    class Meta:
        indexes = [models.Index(fields=["route"], name="decline_route")]

    def __str__(self) -> str:
        return f"{self.route}: {self.kind} {self.path}"


class Rule(models.Model):
    """A reviewed instruction to the comparison. Never deleted: who made it and why is part of what a match rate rests on."""

    class Origin(models.TextChoices):
        PERSON = "person"
        SUGGESTION = "suggestion"
        SIGNATURE = "signature"

    route = models.CharField(max_length=100)
    kind = models.CharField(max_length=20, help_text="as shadow.rules.RuleKind")
    path = models.CharField(max_length=300)
    value = models.CharField(max_length=200, blank=True)
    author = models.CharField(max_length=200)
    reason = models.TextField()
    created = models.FloatField(help_text="Unix seconds")
    expires = models.FloatField(null=True, help_text="Unix seconds; none: never")
    ended_at = models.FloatField(null=True, help_text="Unix seconds")
    ended_by = models.CharField(max_length=200, blank=True)
    ended_why = models.TextField(blank=True)
    origin = models.CharField(max_length=20, choices=Origin, default=Origin.PERSON)
    about = models.CharField(max_length=400, blank=True, help_text="the signature or the evidence that it came from")
    rested_on = models.JSONField(default=dict, help_text="what was known of its effect when it was made, as shadow.preview has it")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~models.Q(reason="") & ~models.Q(author=""), name="rule_reasoned"),
            models.UniqueConstraint(
                fields=["route", "kind", "path", "value"], condition=models.Q(ended_at=None), name="rule_once_at_a_time"
            ),
        ]
        indexes = [
            models.Index(fields=["route", "ended_at"], name="rule_route"),
            models.Index(fields=["created"], name="rule_created"),
            models.Index(fields=["ended_at"], name="rule_ended"),
            models.Index(fields=["expires"], name="rule_expires"),
        ]

    def __str__(self) -> str:
        return f"{self.route} {self.pk}: {self.kind} {self.path} {self.value}".rstrip()


class FlagChange(models.Model):
    """One change of a flag or of an override of it, as a gateway's supervisor saw it. `number` counts within one run of that."""

    class Kind(models.TextChoices):
        FLAG = "flag"
        OVERRIDE = "override"
        MISSED = "missed"
        """Not a change: that `missed` of them, up to `number`, were never seen."""

    gateway = models.CharField(max_length=100, help_text="the supervisor's run")
    number = models.BigIntegerField()
    at = models.FloatField(help_text="Unix seconds")
    kind = models.CharField(max_length=10, choices=Kind)
    flag = models.CharField(max_length=200)
    old = models.JSONField(null=True, help_text="the flag in the words of Unleash's client API, or an override; none: there was none")
    new = models.JSONField(null=True, help_text="as old")
    source = models.CharField(max_length=20, help_text="where the flags came from then: file, unleash, backup, none")
    by = models.CharField(max_length=400, help_text="who did it; empty: not known")
    why = models.TextField()
    missed = models.BigIntegerField(default=0)
    after = models.FloatField(null=True, help_text="Unix seconds: when the source had last confirmed the state before it")
    again = models.BooleanField(db_default=False, default=False, help_text="another gateway had told of it: pages show it once")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["gateway", "number"], name="flagchange_once")]
        indexes = [
            models.Index(fields=["at"], name="flagchange_age"),
            models.Index(fields=["flag", "at"], name="flagchange_flag"),
            models.Index(fields=["kind", "at"], name="flagchange_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.gateway} {self.number}: {self.kind} {self.flag}"


class Consumed(models.Model):
    """That a message of the stream is counted. Written in the transaction that counts it, so that it is counted once."""

    producer = models.CharField(max_length=64, help_text="one shipper's run")
    number = models.BigIntegerField(help_text="of the message, by its producer")
    sequence = models.BigIntegerField(help_text="of the message, in the stream")
    at = models.FloatField(help_text="Unix seconds at which it was counted")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["producer", "number"], name="consumed_once")]
        indexes = [models.Index(fields=["at"], name="consumed_age")]

    def __str__(self) -> str:
        return f"{self.producer}-{self.number}"


class GuardTrip(models.Model):
    """One time that a gateway's guard turned a flag off. `number` counts within one run of that."""

    gateway = models.CharField(max_length=100, help_text="the supervisor's run")
    number = models.BigIntegerField()
    at = models.FloatField(help_text="Unix seconds")
    route = models.CharField(max_length=100)
    flag = models.CharField(max_length=200)
    reason = models.CharField(max_length=20, help_text="errors, latency, mismatch; restart: what was begun before one")
    why = models.TextField(help_text="the same in words, with the figures")
    figures = models.JSONField(help_text="of both sides")
    outcome = models.CharField(max_length=20, help_text="pending, switched-off, already-off, on-again")
    overridden = models.BooleanField(help_text="the flag was overridden on this gateway, at once")
    error = models.TextField(help_text="why it cannot be turned off where it lives")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["gateway", "number"], name="guardtrip_once")]
        indexes = [models.Index(fields=["at"], name="guardtrip_age"), models.Index(fields=["route", "at"], name="guardtrip_route")]

    def __str__(self) -> str:
        return f"{self.gateway} {self.number}: {self.flag} {self.reason}"


class Event(models.Model):
    """Something that happened at one moment, shown in charts and the timeline. Flags, guards and rules have tables of their own."""

    class Kind(models.TextChoices):
        DEPLOYMENT = "deployment"
        """Somebody, or a pipeline, said that a service is another one from here on."""
        GATE = "gate"
        RELOAD = "reload"
        SHED = "shed"
        IN_DOUBT = "in-doubt"
        """A payment of which nobody knows whether it was made."""

    at = models.FloatField(help_text="Unix seconds")
    kind = models.CharField(max_length=20, choices=Kind)
    route = models.CharField(max_length=100, blank=True, help_text="empty: of the whole gateway")
    text = models.TextField()
    by = models.CharField(max_length=200, blank=True, help_text="who said so; empty: Banyan saw it")
    detail = models.JSONField(default=dict)
    key = models.CharField(max_length=200, blank=True, help_text="the same for what is the same event, seen twice")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "key"], condition=~models.Q(key=""), name="event_once")]
        indexes = [
            models.Index(fields=["at"], name="event_age"),
            models.Index(fields=["route", "at"], name="event_route"),
            models.Index(fields=["kind", "at"], name="event_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class GateStart(models.Model):
    """That somebody began a route's gate anew: what was compared before counts for it no more. Never deleted; see shadow/gate_start.py."""

    route = models.CharField(max_length=100)
    at = models.FloatField(help_text="Unix seconds")
    by = models.CharField(max_length=200)
    why = models.TextField()
    ended_at = models.FloatField(null=True, help_text="Unix seconds at which it was taken back")
    ended_by = models.CharField(max_length=200, blank=True)
    ended_why = models.TextField(blank=True)

    class Meta:
        indexes = [models.Index(fields=["route", "ended_at", "at"], name="gatestart_route")]

    def __str__(self) -> str:
        return f"{self.route}: {self.pk}"


class EndpointSpan(models.Model):
    """What one endpoint was asked for in a span of time. Written and read by shadow/endpoint_store.py alone."""

    gateway = models.CharField(
        max_length=100, blank=True, help_text="a supervisor's run; empty: of all together, of spans longer than a minute"
    )
    at = models.BigIntegerField(help_text="Unix seconds at which the span begins")
    width = models.IntegerField(help_text="seconds: 60, 600, 3600, 86400")
    method = models.CharField(max_length=10, blank=True, help_text="empty, with the template: of all that have no row of their own")
    template = models.CharField(max_length=500, blank=True, help_text="the path, with names in place of values")
    figures = models.TextField(help_text="gateway.endpoints.figures.Figures as JSON")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["width", "at", "gateway", "method", "template"], name="endpointspan_once")]

    def __str__(self) -> str:
        return f"{self.method} {self.template} {self.at}/{self.width}"
