"""Many customers who ask, click, dismiss, buy and sell through the HTTP API, each with one call at a time."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from tests.chaos.ledger import Call, Ledger, Outcome, Trade, outcome_of

PAUSE_POLL_SECONDS = 0.05
RETRY_SECONDS = (0.3, 1.5)
ATTEMPTS = 40
CALL_TIMEOUT = httpx.Timeout(25.0, connect=3.0)  # the gateway answers within its delivery timeout, 10 s
KEY_SHARE = 0.5  # of the calls carry an Idempotency-Key
REQUEST_SHARE = 0.45
READ_SHARE = 0.3  # of the requests are followed by a read of the list
ORDER_SHARE = 0.1  # of the calls, once a list was read
SELL_SHARE = 0.3  # of the orders, once something was bought
MOST_BOUGHT = 25
UNITS = 10  # of every order: what is sold is sold entirely
DISMISS_SHARE = 0.15  # of the interactions, once a list was read
MOST_DISMISSED = 25
WEIGHTS_SHARE = 0.1
_WITHOUT_INTEREST = ("impression", "unwatch")  # end no dismissal, so dismissed assets get them as well
_TYPES = ("click", "view", "watchlist", "undismiss", *_WITHOUT_INTEREST)


@dataclass(frozen=True)
class Population:
    """Who acts on what; `seed` decides what each customer does, not when they come to it."""

    customers: Sequence[str]
    isins: Sequence[str]
    seed: int


class Load:
    """Runs the population in a thread of its own from `start` to `stop`, at a pace that can be changed meanwhile."""

    def __init__(self, population: Population, *, port: int, ledger: Ledger, calls_per_second: float) -> None:
        self._population = population
        self._port = port
        self._ledger = ledger
        self._pace = _Pace(calls_per_second)
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load", daemon=True)

    def start(self) -> None:
        """Act from now on."""
        self._thread.start()

    def set_pace(self, calls_per_second: float) -> None:
        """Let all customers together make so many calls a second, if the gateway can take them."""
        self._pace.calls_per_second = calls_per_second

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """No customer begins a call in here; calls under way go on."""
        self._pace.paused = True
        try:
            yield
        finally:
            self._pace.paused = False

    def is_idle(self) -> bool:
        """Return whether no call is under way."""
        return self._pace.calls_under_way == 0

    def stop(self, *, timeout_seconds: float = 60.0) -> None:
        """Let every customer finish the call under way; a call that does not end in time stays unknown."""
        self._over.set()
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            raise TimeoutError("the load does not end")

    async def _run(self) -> None:
        customers = [
            _Customer(name, self._population, port=self._port, ledger=self._ledger, over=self._over)
            for name in self._population.customers
        ]
        await asyncio.gather(*(customer.act(self._pace) for customer in customers))


@dataclass
class _Pace:
    calls_per_second: float
    paused: bool = False
    calls_under_way: int = 0
    _next: float = 0.0

    async def turn(self) -> None:
        now = asyncio.get_running_loop().time()
        # No more than a tenth of a second is made up for: an outage must not end in a flood.
        self._next = max(self._next, now - 0.1) + 1.0 / self.calls_per_second
        await asyncio.sleep(max(0.0, self._next - now))
        while self.paused:
            await asyncio.sleep(PAUSE_POLL_SECONDS)


@dataclass
class _Customer:
    """One customer: sequential calls, retried with the same key when the outcome is unknown."""

    customer_id: str
    population: Population
    port: int
    ledger: Ledger
    over: threading.Event
    _dismissed: set[str] = field(default_factory=set)
    _listed: list[str] = field(default_factory=list)
    _list_request: str | None = None
    _bought: set[str] = field(default_factory=set)
    _held: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.population.seed}/{self.customer_id}")
        self._http = open_client(self.port)  # its own: calls of different customers never wait for one connection

    async def act(self, pace: _Pace) -> None:
        """Make calls until it is over."""
        async with self._http:
            while not self.over.is_set():
                await pace.turn()
                if self.over.is_set():
                    break
                pace.calls_under_way += 1
                chance = self._random.random()
                if chance < REQUEST_SHARE:
                    await self._request()
                elif chance < REQUEST_SHARE + ORDER_SHARE and (trade := self._choose_trade()):
                    await self._trade(trade)
                else:
                    await self._interact()
                pace.calls_under_way -= 1

    async def _request(self) -> None:
        body: dict[str, object] = {
            "customer_id": self.customer_id,
            "action": self._random.choice(("request_recs", "refresh_recs")),
        }
        if self._random.random() < WEIGHTS_SHARE:
            body["weights"] = {"collaborative": round(self._random.random(), 2), "content": 0.5}
        call = self.ledger.begin(self.customer_id, "request", key=self._key())
        await self._make(call, "/recommendations", body)
        if self._random.random() < READ_SHARE:
            await self._read()

    async def _interact(self) -> None:
        dismissed = self._choose_to_dismiss()
        kind = "dismiss" if dismissed else self._random.choice(_TYPES)
        isin = dismissed or self._choose_asset(kind)
        body: dict[str, object] = {"customer_id": self.customer_id, "isin": isin, "type": kind}
        if isin in self._listed:
            body |= {"request_id": self._list_request, "rank": self._listed.index(isin) + 1}
        if dismissed:
            self._dismissed.add(dismissed)
        call = self.ledger.begin(self.customer_id, "interaction", key=self._key(), dismissed=dismissed)
        await self._make(call, "/user_interactions", body)

    async def _trade(self, trade: Trade) -> None:
        kind, isin = trade
        body: dict[str, object] = {
            "customer_id": self.customer_id,
            "isin": isin,
            "type": kind,
            "units": UNITS,
            "total_value": round(self._random.uniform(1.0, 1e4), 2),
            "executed_at": datetime.now(UTC).isoformat(),
            "transaction_id": f"{self._random.getrandbits(96):024x}",
        }
        call = self.ledger.begin(self.customer_id, "order", key=self._key(), trade=trade)
        acknowledged = await self._make(call, "/transactions", body)
        if acknowledged and kind == "Buy":
            self._held.append(isin)

    async def _read(self) -> None:
        with contextlib.suppress(httpx.TransportError):
            answer = await self._http.get(f"/recommendations/{self.customer_id}")
            if answer.status_code == 200:
                self._listed = [item["isin"] for item in answer.json()["recommendations"]]
                self._list_request = answer.headers.get("x-request-id")

    async def _make(self, call: Call, path: str, body: dict[str, object]) -> bool:
        """Try until the outcome is known, as long as a key makes that safe; return whether it was acknowledged."""
        headers = {"Idempotency-Key": call.key} if call.key else {}
        may_be_kept = False
        for _ in range(ATTEMPTS):
            outcome, event_id = await post(self._http, path, body, headers)
            if outcome == "acknowledged":
                self.ledger.close(call, outcome, event_id)
                return True
            may_be_kept |= outcome == "unknown"
            await asyncio.sleep(self._random.uniform(*RETRY_SECONDS))
            if call.key is None or not may_be_kept or self.over.is_set():
                break
        self.ledger.close(call, "unknown" if may_be_kept else "rejected")
        return False

    def _key(self) -> str | None:
        return f"{self._random.getrandbits(96):024x}" if self._random.random() < KEY_SHARE else None

    def _choose_to_dismiss(self) -> str | None:
        wanted = self._random.random() < DISMISS_SHARE and len(self._dismissed) < MOST_DISMISSED
        listed = [isin for isin in self._listed if isin not in self._dismissed]
        return self._random.choice(listed) if wanted and listed else None

    def _choose_trade(self) -> Trade | None:
        """Choose what is sold entirely, or what of the last list is bought for the first time."""
        if self._held and self._random.random() < SELL_SHARE:
            return "Sell", self._held.pop(self._random.randrange(len(self._held)))
        listed = [isin for isin in self._listed if isin not in self._bought]
        if not listed or len(self._bought) >= MOST_BOUGHT:
            return None
        isin = self._random.choice(listed)
        self._bought.add(isin)
        return "Buy", isin

    def _choose_asset(self, kind: str) -> str:
        if kind in _WITHOUT_INTEREST:
            return self._random.choice(sorted(self._dismissed | set(self._listed)) or self.population.isins)
        while (isin := self._random.choice(self.population.isins)) in self._dismissed:
            pass
        return isin


def open_client(port: int) -> httpx.AsyncClient:
    """Return a client of the gateway on this port."""
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=CALL_TIMEOUT, trust_env=False, verify=False)


async def post(
    http: httpx.AsyncClient, path: str, body: Mapping[str, object], headers: Mapping[str, str]
) -> tuple[Outcome, str | None]:
    """Make a call once; return what is known of its effect, and the event id of an answer."""
    try:
        answer = await http.post(path, json=body, headers=headers)
    except httpx.TransportError as error:
        return outcome_of(error), None
    return outcome_of(answer), answer.headers.get("x-request-id")
