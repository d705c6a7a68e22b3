"""An in-memory stand-in for the worker's database; tests/integration/ports holds it to the real one."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np

from shared.errors import (
    DatabaseUnavailable,
    StaleOffsets,
)
from shared.events import (
    ASSETS_CHANGED,
    CLOSE_PRICES_RECORDED,
    CUSTOMERS_CHANGED,
    SUSPENSIONS_CHANGED,
    AssetChanged,
    ClosePriceRecorded,
    CustomerChanged,
    Event,
    InteractionRecorded,
    TransactionRecorded,
    content_digest,
)
from shared.far_trans.schema import build_customer
from shared.ports import KeptEvent, Message, Partition, StoredOffset
from shared.recommender.history import dismissed_isins
from shared.recommender.id_map import AssetIdMap
from shared.recommender.policy.market import Market
from shared.recommender.training_data import ClosePrices, day_number
from shared.recommender.types import (
    INTERACTION_WINDOW,
    Contributions,
    Customer,
    CustomerHistory,
    Interaction,
    InteractionType,
)
from tests.builders import build_top_assets
from worker.items import ListItems, build_lists, encode_display
from worker.ports import AssetDisplay, Decision, ServedList, Suspensions


@dataclass
class FakeTables:
    """What the fake database holds."""

    offsets: dict[Partition, int] = field(default_factory=dict)
    topic_ids: dict[Partition, str] = field(default_factory=dict)  # of the offsets
    interactions: dict[UUID, tuple[Message, InteractionRecorded, datetime]] = field(default_factory=dict)
    transactions: dict[UUID, tuple[Message, TransactionRecorded]] = field(default_factory=dict)
    decisions: dict[UUID, Decision] = field(default_factory=dict)
    lists: dict[str, Decision] = field(default_factory=dict)  # that made the list, or named it last
    known_by_lists: dict[str, tuple[int, str]] = field(
        default_factory=dict
    )  # interactions and orders, reference snapshot
    dead_letters: dict[tuple[Partition, int], tuple[Message, str]] = field(default_factory=dict)
    customers: dict[str, Customer] = field(default_factory=dict)
    owned: dict[str, set[str]] = field(default_factory=dict)  # loaded buys of unknown units
    displays: dict[str, AssetDisplay] = field(default_factory=dict)
    snapshots: dict[str, datetime] = field(default_factory=dict)
    reference_events: dict[tuple[str, UUID], Event] = field(default_factory=dict)  # in the order of the log

    @property
    def reference_snapshot(self) -> str:
        """Which reference data are loaded, and which assets and suspensions arrived since."""
        changes = len(self.events_of(ASSETS_CHANGED)) + len(self.events_of(SUSPENSIONS_CHANGED))
        return f"{sorted(self.snapshots.items())} {changes}"

    def events_of(self, topic: str) -> list[Any]:
        """Return the stored events of a topic, in the order of the log."""
        return [event for (name, _), event in self.reference_events.items() if name == topic]

    def current_displays(self) -> dict[str, AssetDisplay]:
        """Return the assets with what events say; loaded assets count as older than every event."""
        displays = dict(self.displays)
        for asset in sorted(self.events_of(ASSETS_CHANGED), key=lambda asset: asset.changed_on):
            assert isinstance(asset, AssetChanged)
            before = displays.get(asset.isin)
            displays[asset.isin] = replace(
                before or display_of(asset.isin, current_price=None, profitability=None),
                assetname=asset.asset_name or asset.asset_short_name or asset.isin,
                assetcategory=asset.asset_category,
                asset_sub_category=asset.asset_sub_category,
                sector=asset.sector,
                industry=asset.industry,
            )
        for price in sorted(self.events_of(CLOSE_PRICES_RECORDED), key=lambda price: price.priced_on):
            assert isinstance(price, ClosePriceRecorded)
            if price.isin in displays:
                displays[price.isin] = replace(displays[price.isin], current_price=price.close_price)
        return displays

    def market(self, id_map: AssetIdMap, *, as_of: date, days: int) -> Market:
        """Return the prices of these days."""
        last = day_number(as_of)
        rows = sorted(
            (id_map.asset_index(price.isin), day_number(price.priced_on), float(price.close_price))
            for price in self.events_of(CLOSE_PRICES_RECORDED)
            if price.isin in id_map and 0 <= last - day_number(price.priced_on) < days
        )
        asset, day, close = np.array(rows, dtype=np.float64).reshape(-1, 3).T
        nobody = np.empty(0, dtype=np.int32)
        return Market(ClosePrices(asset.astype(np.int32), day.astype(np.int32), close), nobody, nobody)

    def customer(self, customer_id: str) -> Customer:
        """Return the latest profile; a loaded one counts as older than every event."""
        versions = [one for one in self.events_of(CUSTOMERS_CHANGED) if one.customer_id == customer_id]
        if not versions:
            return self.customers.get(customer_id, Customer(customer_id))
        latest = sorted(versions, key=lambda one: one.changed_on)[-1]
        assert isinstance(latest, CustomerChanged)
        asked = latest.last_questionnaire_date
        return build_customer(customer_id, latest.risk_level, latest.investment_capacity, asked)


class FakeStore:
    """A database of one consumer group: all or nothing, and down when a test says so."""

    def __init__(self, tables: FakeTables | None = None) -> None:
        self.tables = tables or FakeTables()
        self.available = True
        self.broken_for: set[str] = set()  # storing anything of these customers fails like a bug
        self.lose_next_commit_answer = False
        self.transactions = 0
        self.display_reads = 0
        self.market_reads = 0
        self.display_date: date | None = None
        self._topic_ids: dict[Partition, str] = {}
        self._now = datetime(2026, 1, 1, tzinfo=UTC)

    @contextmanager
    def begin(self) -> Iterator[FakeTransaction]:
        self._check()
        self.transactions += 1
        working = copy.copy(self.tables)
        for name in vars(working):
            setattr(working, name, copy.copy(getattr(working, name)))
        yield FakeTransaction(working, self.tick(), self._topic_ids, frozenset(self.broken_for))
        self._check()
        self.tables.__dict__.update(vars(working))
        if self.lose_next_commit_answer:
            self.lose_next_commit_answer = False
            raise DatabaseUnavailable("the connection broke during COMMIT")

    def fetch_offsets(self, partitions: Sequence[Partition]) -> Mapping[Partition, StoredOffset]:
        self._check()
        tables = self.tables
        return {p: StoredOffset(tables.offsets[p], tables.topic_ids.get(p)) for p in partitions if p in tables.offsets}

    def note_topic_ids(self, topic_ids: Mapping[Partition, str]) -> None:
        self._topic_ids.update(topic_ids)

    def fetch_asset_displays(self, *, as_of: date | None = None) -> Mapping[str, AssetDisplay]:
        self._check()
        self.display_reads += 1
        self.display_date = as_of
        return self.tables.current_displays()

    def fetch_market(self, id_map: AssetIdMap, *, as_of: date, days: int) -> Market:
        """Return the prices of the events alone: the fake has no file of prices, and no dates of purchases."""
        self._check()
        self.market_reads += 1
        return self.tables.market(id_map, as_of=as_of, days=days)

    def fetch_suspensions(self) -> Suspensions:
        self._check()
        latest = {(one.kind, one.subject): one.suspended for one in self.tables.events_of(SUSPENSIONS_CHANGED)}

        def of(kind: str) -> frozenset[str]:
            return frozenset(subject for (name, subject), suspended in latest.items() if suspended and name == kind)

        return Suspensions(of("asset"), of("category"), of("model"))

    def fetch_snapshots(self) -> str:
        self._check()
        return self.tables.reference_snapshot

    def fetch_catalogue_version(self) -> str:
        self._check()
        return f"{self.tables.reference_snapshot} {len(self.tables.events_of(CLOSE_PRICES_RECORDED))}"

    def tick(self) -> datetime:
        """Return the database's time, later with each call."""
        self._now += timedelta(milliseconds=1)
        return self._now

    def _check(self) -> None:
        if not self.available:
            raise DatabaseUnavailable


class FakeTransaction:
    """One transaction on a copy of the tables."""

    def __init__(
        self,
        tables: FakeTables,
        now: datetime,
        topic_ids: Mapping[Partition, str],
        broken_for: frozenset[str] = frozenset(),
    ) -> None:
        self._tables = tables
        self._now = now
        self._topic_ids = topic_ids
        self._broken_for = broken_for
        self._aborted = False

    def _store(self, customer_id: str) -> None:
        if customer_id in self._broken_for:
            self._aborted = True
            raise ValueError(f"{customer_id} cannot be stored")

    def _check_not_aborted(self) -> None:
        """As PostgreSQL: after a failed statement nothing works until the savepoint, or the transaction, is undone."""
        if self._aborted:
            raise DatabaseUnavailable("current transaction is aborted")

    def lock_offsets(self, starts: Mapping[Partition, int]) -> None:
        for partition, start in starts.items():
            if partition not in self._tables.offsets:
                self.store_offsets({partition: start})
            stored = StoredOffset(self._tables.offsets[partition], self._tables.topic_ids.get(partition))
            if stored.next_offset != start or not stored.is_of(self._topic_ids.get(partition)):
                raise StaleOffsets(f"{partition}: stored {stored}, expected {start}")

    def store_offsets(self, next_offsets: Mapping[Partition, int]) -> None:
        self._check_not_aborted()
        self._tables.offsets.update(next_offsets)
        self._tables.topic_ids.update({p: self._topic_ids[p] for p in next_offsets if p in self._topic_ids})

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        before = {name: copy.copy(value) for name, value in vars(self._tables).items()}
        try:
            yield
        except BaseException:
            self._tables.__dict__.update(before)
            self._aborted = False
            raise

    def insert_interactions(self, interactions: Sequence[tuple[Message, InteractionRecorded]]) -> frozenset[UUID]:
        for _, event in interactions:
            self._store(event.customer_id)
        self._check_not_aborted()
        kept = self._tables.interactions  # the order of insertion is the order of the log
        new = {event.event_id for _, event in interactions} - kept.keys()
        for message, event in interactions:
            kept.setdefault(event.event_id, (message, event, self._now))
        return frozenset(new)

    def fetch_kept(self, event_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
        events = {event_id: event for event_id, (_, event, _) in self._tables.interactions.items()}
        return {
            event_id: KeptEvent(
                {name: getattr(event, name) for name in ("customer_id", "isin", "type", "request_id", "rank")},
                event.fingerprint,
            )
            for event_id in event_ids
            if (event := events.get(event_id)) is not None
        }

    def fetch_bases(self, request_ids: Sequence[UUID]) -> Mapping[tuple[str, UUID], str]:
        self._check_not_aborted()
        decided = (self._tables.decisions[one] for one in request_ids if one in self._tables.decisions)
        return {(one.customer_id, one.request_id): one.answer.basis for one in decided}

    def insert_transactions(self, transactions: Sequence[tuple[Message, TransactionRecorded]]) -> frozenset[UUID]:
        for _, event in transactions:
            self._store(event.customer_id)
        self._check_not_aborted()
        kept, new = self._tables.transactions, set()
        contents = {content_digest(event) for _, event in kept.values()}
        for message, event in transactions:
            if event.event_id not in kept and content_digest(event) not in contents:
                kept[event.event_id] = (message, event)
                contents.add(content_digest(event))
                new.add(event.event_id)
        return frozenset(new)

    def fetch_kept_transactions(self, event_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
        kept = self._tables.transactions
        return {
            event_id: KeptEvent(
                {"customer_id": event.customer_id, "isin": event.isin}, event.fingerprint, content_digest(event)
            )
            for event_id in event_ids
            if event_id in kept
            for event in [kept[event_id][1]]
        }

    def insert_reference_events(self, topic: str, events: Sequence[tuple[Message, Event]]) -> frozenset[UUID]:
        for _, event in events:
            self._store((event.key() or b"").decode())
        self._check_not_aborted()
        new = set()
        for _, event in events:
            if (topic, event.event_id) not in self._tables.reference_events:
                self._tables.reference_events[topic, event.event_id] = event
                new.add(event.event_id)
        return frozenset(new)

    def fetch_kept_reference_events(self, topic: str, event_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
        kept = self._tables.reference_events
        return {
            event_id: KeptEvent(
                {str(event.key_field): (event.key() or b"").decode()}, event.fingerprint, content_digest(event)
            )
            for event_id in event_ids
            if (event := kept.get((topic, event_id))) is not None
        }

    def find_recorded_isins(self, isins: Collection[str]) -> frozenset[str]:
        return frozenset(asset.isin for asset in self._tables.events_of(ASSETS_CHANGED)).intersection(isins)

    def insert_dead_letters(self, letters: Sequence[tuple[Message, str]]) -> None:
        self._check_not_aborted()
        for message, reason in letters:
            place = ((message.topic, message.partition), message.offset)
            self._tables.dead_letters.setdefault(place, (message, reason))

    def fetch_decided(self, request_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
        return {
            request_id: KeptEvent(
                {"customer_id": one.customer_id, "action": one.action},
                one.fingerprint,
                one.content_digest and one.content_digest[:32],
            )
            for request_id in request_ids
            if (one := self._tables.decisions.get(request_id)) is not None
        }

    def fetch_load_marker(self) -> str:
        self._check_not_aborted()
        return str(sorted(self._tables.snapshots.items()))

    def fetch_histories(self, customer_ids: Sequence[str]) -> Mapping[str, CustomerHistory]:
        self._check_not_aborted()
        return {customer_id: self._history(customer_id) for customer_id in sorted(set(customer_ids))}

    def fetch_fresh_lists(self, customer_ids: Sequence[str]) -> Mapping[str, ServedList]:
        return {
            customer_id: stored.answer
            for customer_id in set(customer_ids)
            if (stored := self._tables.lists.get(customer_id)) is not None
            and self._tables.known_by_lists[customer_id] == self._known_now(customer_id)
        }

    def insert_decisions(self, decisions: Sequence[Decision], *, reference_snapshot: str) -> frozenset[UUID]:
        new = {decision.request_id for decision in decisions} - self._tables.decisions.keys()
        for decision in decisions:
            self._store(decision.customer_id)
            if decision.request_id in self._tables.decisions:
                continue
            self._tables.decisions[decision.request_id] = decision
            if decision.is_preview:
                continue
            if decision.answered_from == "scored":
                self._tables.lists[decision.customer_id] = decision
                known = (self._count_writes(decision.customer_id), reference_snapshot)
                self._tables.known_by_lists[decision.customer_id] = known
            else:
                answered = self._tables.lists[decision.customer_id]
                self._tables.lists[decision.customer_id] = replace(answered, request_id=decision.request_id)
        return frozenset(new)

    def _known_now(self, customer_id: str) -> tuple[int, str]:
        return self._count_writes(customer_id), self._tables.reference_snapshot

    def _count_writes(self, customer_id: str) -> int:
        changes = [one for one in self._tables.events_of(CUSTOMERS_CHANGED) if one.customer_id == customer_id]
        return len(self._of(customer_id)) + len(self._orders_of(customer_id)) + len(changes)

    def _orders_of(self, customer_id: str) -> list[TransactionRecorded]:
        return [event for _, event in self._tables.transactions.values() if event.customer_id == customer_id]

    def _history(self, customer_id: str) -> CustomerHistory:
        interactions = tuple(
            Interaction(event.isin, event.type, event.occurred_at) for _, event, _ in self._of(customer_id)
        )
        loaded = self._tables.owned.get(customer_id, set())
        held = find_held(loaded, self._orders_of(customer_id))
        bought = loaded | {order.isin for order in self._orders_of(customer_id) if order.type == "Buy"}
        history = CustomerHistory(
            self._tables.customer(customer_id),
            tuple(sorted(held)),
            interactions,
            formerly_held=tuple(sorted(bought - held)),
        )
        dismissed = tuple(sorted(dismissed_isins(history)))
        return replace(history, interactions=interactions[-INTERACTION_WINDOW:], dismissed=dismissed)

    def _of(self, customer_id: str) -> list[tuple[Message, InteractionRecorded, datetime]]:
        rows = (row for row in self._tables.interactions.values() if row[1].customer_id == customer_id)
        return [row for row in rows if row[1].type is not InteractionType.IMPRESSION]


def find_held(loaded: Collection[str], orders: Sequence[TransactionRecorded]) -> set[str]:
    """Return the assets that are held after these orders, which came in this order of the log.

    `loaded` are assets that were bought before, in unknown units: any sale closes them. Orders count by their day.
    """
    unknown, units = set(loaded), dict.fromkeys([order.isin for order in orders], 0.0)
    bought = dict.fromkeys(units, 0.0)
    for order in sorted(orders, key=lambda order: order.executed_at.astimezone(UTC).date()):
        if order.type == "Buy":
            units[order.isin] += order.units
            bought[order.isin] += order.units
        else:
            units[order.isin] = max(0.0, units[order.isin] - order.units)
            unknown.discard(order.isin)
    return unknown | {isin for isin, left in units.items() if left > 1e-9 * bought[isin]}


def display_of(isin: str, **fields: Any) -> AssetDisplay:
    """Build what a list shows of an asset."""
    known = AssetDisplay(isin, f"Name of {isin}", "Stock", "Technology", "Software", 3.76, 0.160494)
    return replace(known, **fields)


def build_list(shown: Sequence[tuple[AssetDisplay, Contributions]], *, made_at: datetime) -> ListItems:
    """Build a list in which each asset has its own components that say nothing."""
    contents, numbers = list[str](), list[ListItems]()
    for display, parts in shown:
        top, silent = build_top_assets([[parts]])
        contents.append(encode_display(display))
        numbers += build_lists(top, contents=contents[-1:], silent=silent, decided_at=made_at)
    if all(one.millionths is not None for one in numbers):
        return ListItems(contents, [value for one in numbers for value in one.millionths or ()], made_at=made_at)
    return ListItems(contents, None, made_at=made_at, large=[value for one in numbers for value in one.contributions])
