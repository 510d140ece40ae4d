"""What Unleash is still to be told: how often each flag said yes and no, and which variant. Counts stay here until Unleash has taken them.

The SDK's own reports would lose some. What it can't post it forgets. And Unleash drops, with 202 all the same, the usage of a flag that it
does not know; it goes by a list of its flags that it reads anew when the list is 10 s old, so it drops that of a flag just made, too.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import requests

from flags.handover import reason
from flags.variants import NO_VARIANTS

_log = logging.getLogger("banyan.flags")

KNOWN_SECONDS: Final = 12.0
"""For how long a flag must have been seen before its usage is sent: Unleash's 10 s, and what reading its list may take."""
TIMEOUT: Final = (2.0, 5.0)
"""Seconds to connect and for the answer. Long, because after it there is a doubt, and only the next report waits."""
LAST_TIMEOUT: Final = (1.0, 2.0)
"""For the last report, which the end of the process waits for."""


class Usage:
    """`add` belongs to the event loop, the rest to the SDK's threads. As many counts as there are flags are kept, however long."""

    def __init__(self, url: str, headers: Mapping[str, str], about: Mapping[str, str], options: Mapping[str, Any]) -> None:
        """`url` is the API's base. `about` says whose usage it is; `options` are those of `requests.post`."""
        self._url = f"{url}/client/metrics"
        self._headers = {**headers, "Content-Type": "application/json"}
        self._about = about
        self._options = options
        self._waiting: dict[str, tuple[int, int]] = {}
        self._variants: dict[str, dict[str, int]] = {}
        self._lock = threading.Lock()
        self._seen: dict[str, float] = {}
        """Since when each flag that there is has been seen, by time.monotonic()."""
        self._since = datetime.now(UTC)
        self._refused = False

    def add(self, usage: Mapping[str, tuple[int, int]], variants: Mapping[str, Mapping[str, int]] = NO_VARIANTS) -> None:
        """Takes (yes, no) by flag, and how often each variant was the answer. Flags of `variants` are among those of `usage`."""
        with self._lock:
            for name, (yes, no) in usage.items():
                before = self._waiting.get(name, (0, 0))
                self._waiting[name] = (before[0] + yes, before[1] + no)
            for name, counts in variants.items():
                total = self._variants.setdefault(name, {})
                for variant, count in counts.items():
                    total[variant] = total.get(variant, 0) + count

    def known(self, features: bytes) -> None:
        """A new state: which flags there are."""
        now = time.monotonic()
        self._seen = {(name := feature["name"]): self._seen.get(name, now) for feature in orjson.loads(features)["features"]}

    def send(self, *, last: bool = False) -> None:
        """Reports what can be reported now; the `last` time, everything."""
        until = math.inf if last else time.monotonic() - KNOWN_SECONDS
        with self._lock:
            ready = {name: counts for name, counts in self._waiting.items() if self._seen.get(name, -math.inf) <= until}
            for name in ready:
                del self._waiting[name]
            variants = {name: self._variants.pop(name) for name in ready if name in self._variants}
        if not ready:
            return
        now = datetime.now(UTC)
        why = self._post(ready, variants, now, LAST_TIMEOUT if last else TIMEOUT)
        if not why:
            self._since = now
            if self._refused:
                _log.info("flags: Unleash takes usage again")
            self._refused = False
            return
        self.add(ready, variants)
        if last:
            _log.warning("flags: Unleash did not take the last usage (%s): it is not counted there", why)
        elif not self._refused:
            _log.warning("flags: Unleash does not take usage (%s); it is kept and added to the next report", why)
        self._refused = True

    def _post(
        self,
        counts: Mapping[str, tuple[int, int]],
        variants: Mapping[str, Mapping[str, int]],
        now: datetime,
        timeout: tuple[float, float],
    ) -> str:
        """Why it was not taken; empty where it was."""
        toggles = {name: {"yes": yes, "no": no, "variants": variants.get(name, {})} for name, (yes, no) in counts.items()}
        bucket = {"start": self._since.isoformat(), "stop": now.isoformat(), "toggles": toggles}
        body = orjson.dumps({**self._about, "bucket": bucket})
        try:
            answer = requests.post(self._url, data=body, headers=self._headers, timeout=timeout, **self._options)
        except requests.ReadTimeout:
            # It was sent, and Unleash counts before it answers: more likely late than lost. Sent again, it would count twice.
            _log.warning("flags: Unleash did not say in time whether it took usage; it is not sent again")
            return ""
        except requests.RequestException as error:
            return reason(error)
        return "" if 200 <= answer.status_code < 300 else reason(answer.status_code)
