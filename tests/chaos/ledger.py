"""What clients did and what they were told: the truth that the database is compared with."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import httpx

Kind = Literal["interaction", "order", "request"]
Trade = tuple[Literal["Buy", "Sell"], str]  # and the ISIN
Outcome = Literal["acknowledged", "rejected", "unknown"]


@dataclass(frozen=True)
class Call:
    """One thing that a customer did, however often it was tried or delivered.

    `sequence` orders one customer's calls: the next begins only after this one's last answer. `rejected` means that
    certainly nothing was kept, `unknown` that at most one effect may be there.
    """

    customer_id: str
    kind: Kind
    sequence: int
    key: str | None = None
    outcome: Outcome = "unknown"
    event_id: str | None = None  # from X-Request-ID
    answered_at: float = 0.0  # Unix time
    dismissed: str | None = None  # an ISIN that this customer gives no reason to list again
    trade: Trade | None = None  # of an order; a customer buys an asset once, and sells all of it or nothing


@dataclass
class Ledger:
    """All calls of a campaign; used from several threads."""

    _calls: list[Call] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)
    _sequences: dict[str, itertools.count[int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(
        self,
        customer_id: str,
        kind: Kind,
        *,
        key: str | None = None,
        dismissed: str | None = None,
        trade: Trade | None = None,
    ) -> Call:
        """Return a call of unknown outcome with the customer's next sequence number; `close` keeps it."""
        with self._lock:
            sequence = next(self._sequences.setdefault(customer_id, itertools.count(1)))
        return Call(customer_id, kind, sequence, key=key, dismissed=dismissed, trade=trade)

    def close(self, call: Call, outcome: Outcome, event_id: str | None = None) -> Call:
        """Keep what the client was told in the end."""
        closed = replace(call, outcome=outcome, event_id=event_id, answered_at=time.time())
        with self._lock:
            self._calls.append(closed)
            self._counts[outcome] += 1
        return closed

    def calls(self) -> tuple[Call, ...]:
        """Return everything that is closed."""
        with self._lock:
            return tuple(self._calls)

    def count(self, outcome: Outcome) -> int:
        """Return how many calls ended so."""
        return self._counts[outcome]

    def save(self, path: Path) -> None:
        """Write one JSON object a line, for whoever looks into a red campaign."""
        with path.open("w") as lines:
            lines.writelines(json.dumps(asdict(call)) + "\n" for call in self.calls())


def acknowledged(calls: Iterable[Call], kind: Kind) -> list[Call]:
    """Return the calls of a kind that were promised to have their effect, in each customer's order."""
    kept = (call for call in calls if call.kind == kind and call.outcome == "acknowledged")
    return sorted(kept, key=lambda call: (call.customer_id, call.sequence))


def outcome_of(answer: httpx.Response | httpx.TransportError) -> Outcome:
    """Return what an answer of the gateway, or the reason for having none, says about the event."""
    if isinstance(answer, httpx.TransportError):
        never_connected = isinstance(answer, httpx.ConnectError | httpx.ConnectTimeout)
        return "rejected" if never_connected else "unknown"
    if answer.status_code == httpx.codes.OK:
        return "acknowledged"
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return "rejected" if answer.json().get("outcome") == "not_accepted" else "unknown"
    return "rejected" if answer.status_code in (413, 415, 422) else "unknown"
