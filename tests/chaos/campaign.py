"""One campaign under way: what faults work with, and what they leave for the report."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.chaos.comparison import Outages, Place
from tests.chaos.fuzzed_comparison import Delivered
from tests.chaos.fuzzed_events import Fuzzer
from tests.chaos.ledger import Call, Ledger, outcome_of
from tests.chaos.load import Load
from tests.chaos.system import System

RECOVERY_SECONDS = 90.0  # a fault that is not over by then is a violation
_PROBE_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Lengths:
    """How long outages last, how much poison a stream gets, and how soon it must be gone."""

    broker_frozen_seconds: float = 30.0
    database_down_seconds: float = 60.0
    burst_seconds: float = 10.0
    poison_messages: int = 200
    dead_letter_seconds: float = 30.0  # until a message whose handling fails is given up

    @classmethod
    def brief(cls, poison_messages: int) -> Lengths:
        """For a campaign of two minutes; each still longer than the timeouts that it is to provoke."""
        return cls(12.0, 8.0, 4.0, poison_messages, 15.0)


@dataclass
class Campaign:
    """Used by the thread that injects faults; the load runs beside it."""

    system: System
    ledger: Ledger
    load: Load
    http: httpx.Client
    random: random.Random
    probe_customers: tuple[str, ...]
    isins: tuple[str, ...]
    lengths: Lengths
    calls_per_second: float
    log: Callable[[str], None]
    recoveries: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    recovered: list[float] = field(default_factory=list)  # the same, in the order of the faults
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: dict[str, object] = field(default_factory=dict)
    poison: set[Place] = field(default_factory=set)
    fuzzer: Fuzzer | None = None
    fuzzed: list[Delivered] = field(default_factory=list)
    forbidden_models: set[str] = field(default_factory=set)
    kills: int = 0
    _spans: list[tuple[float, float]] = field(default_factory=list)
    _probes: Iterator[int] = field(default_factory=itertools.count)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Something is down in here; afterwards it was started again, whether it works already or not."""
        began = time.time()
        try:
            yield
        finally:
            self._spans.append((began, time.time()))

    def outages(self) -> Outages:
        return Outages(tuple(self._spans))

    def wait_randomly(self, most_seconds: float = 1.5) -> None:
        """Let the load run on for a random time, so that a fault meets any moment of it."""
        time.sleep(self.random.uniform(0.1, most_seconds))

    def expect(self, holds: object, otherwise: str) -> bool:
        """Note a violation, which turns the campaign red, unless it holds."""
        if not holds:
            self.violations.append(otherwise)
            self.log(f"  VIOLATION: {otherwise}")
        return bool(holds)

    def recover(self, kind: str, *, since: float, ready: Callable[[], bool] = lambda: True) -> float | None:
        """Ask for a list until one can be read and `ready` holds; return the seconds since then (monotonic)."""
        customer = self.probe_customers[next(self._probes) % len(self.probe_customers)]
        deadline = since + RECOVERY_SECONDS
        asked: str | None = None
        while time.monotonic() < deadline:
            asked = asked or self.ask(customer)
            if asked and self.read_list(customer, asked) is not None and ready():
                seconds = time.monotonic() - since
                self.recoveries[kind].append(round(seconds, 3))
                self.recovered.append(seconds)
                return seconds
            time.sleep(_PROBE_PAUSE_SECONDS)
        self.expect(False, f"{kind}: not recovered within {RECOVERY_SECONDS:.0f} s (asked: {asked})")
        return None

    def count_effects(self, event_ids: Sequence[str]) -> int:
        """Return how many rows these events have."""
        [(count,)] = self.system.query(
            "SELECT (SELECT count(*) FROM user_interactions WHERE event_id = ANY(%s::uuid[]))"
            " + (SELECT count(*) FROM decisions WHERE request_id = ANY(%s::uuid[]))",
            [*event_ids],
            [*event_ids],
        )
        return int(count)

    def retrain(self) -> bool:
        """Ask for a training; return whether the gateway took it."""
        for _ in range(20):
            if self.is_accepted("/models/retrain"):
                return True
            time.sleep(0.5)
        return self.expect(False, "POST /models/retrain is not accepted")

    def is_accepted(self, path: str) -> bool:
        """POST an empty body; return whether the answer is 200."""
        try:
            return self.http.post(path, json={}).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def make(self, call: Call, path: str, body: Mapping[str, object]) -> Call:
        """Make a call of the ledger once, as one more client; return it with its outcome."""
        headers = {"Idempotency-Key": call.key} if call.key else {}
        try:
            answer = self.http.post(path, json=body, headers=headers)
        except httpx.TransportError as error:
            return self.ledger.close(call, outcome_of(error))
        event_id = answer.headers["x-request-id"] if answer.status_code == httpx.codes.OK else None
        return self.ledger.close(call, outcome_of(answer), event_id)

    def ask(self, customer: str) -> str | None:
        """Ask for a list; return the id of the request if it was acknowledged."""
        call = self.ledger.begin(customer, "request")
        return self.make(call, "/recommendations", {"customer_id": customer, "action": "refresh_recs"}).event_id

    def read_list(self, customer: str, request_id: str) -> list[str] | None:
        """Return the assets of the list that this request produced; None while it is not there."""
        try:
            answer = self.http.get(f"/recommendations/{customer}")
        except httpx.TransportError:
            return None
        if answer.status_code != httpx.codes.OK or answer.headers.get("x-request-id") != request_id:
            return None
        return [item["isin"] for item in answer.json()["recommendations"]]
