"""The worker's records and the port of its database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol
from uuid import UUID

from shared.events import Event, InteractionRecorded, TransactionRecorded
from shared.ports import KeptEvent, Message, OffsetSource, Partition
from shared.recommender.id_map import AssetIdMap
from shared.recommender.policy.market import Market
from shared.recommender.types import NO_OPTIONS, CustomerHistory, ListOptions, Weights
from shared.served_list import RecommendationItem


@dataclass(frozen=True)
class ServedList:
    """A customer's list, best first, and how it was scored. k: how many assets were asked; None in old rows.

    policy_digest: of the policy that it obeys; None in rows of older workers.
    """

    model_version: str
    basis: str
    weights: Weights
    items: Sequence[RecommendationItem]
    k: int | None = None
    options: ListOptions = NO_OPTIONS
    policy_digest: str | None = None


@dataclass(frozen=True)
class Decision:
    """One answered request; a preview is scored, and is the answer of its request alone.

    explanation: JSON of what became of the asset that the request asks about, None without one.
    """

    request_id: UUID
    customer_id: str
    action: str
    answered_from: str  # 'scored' or 'stored'
    answer: ServedList
    risk_level: int | None
    fingerprint: str | None
    partition: int
    event_offset: int
    requested_at: datetime
    decided_at: datetime
    content_digest: str | None = None  # of the request: shared.events.content_digest
    is_preview: bool = False
    explanation: str | None = None


@dataclass(frozen=True)
class AssetDisplay:
    """The fields of an asset that a list shows, and `asset_sub_category`, which its risk level depends on."""

    isin: str
    assetname: str
    assetcategory: str
    sector: str | None
    industry: str | None
    current_price: float | None
    profitability: float | None
    asset_sub_category: str | None = None
    price_date: date | None = None
    currency: str | None = None
    trailing_return_12m: float | None = None


@dataclass(frozen=True)
class Suspensions:
    """What operators suspended: assets by ISIN, categories by name, models by version."""

    assets: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()


class WorkerTransaction(Protocol):
    """One database transaction: the effects of a batch and its next offsets, together or not at all."""

    def lock_offsets(self, starts: Mapping[Partition, int]) -> None:
        """Lock these partitions' rows; raises StaleOffsets when a stored offset differs from its start.

        A partition without a row counts as stored at its start.
        """

    def store_offsets(self, next_offsets: Mapping[Partition, int]) -> None:
        """Write the offsets at which a restart continues."""

    def savepoint(self) -> AbstractContextManager[None]:
        """Undo the block when it raises, and keep the transaction usable."""

    def insert_interactions(self, interactions: Sequence[tuple[Message, InteractionRecorded]]) -> frozenset[UUID]:
        """Store each event_id once; return the event_ids that were new."""

    def fetch_kept(self, event_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
        """Return those of these interactions that are stored."""

    def fetch_bases(self, request_ids: Sequence[UUID]) -> Mapping[tuple[str, UUID], str]:
        """Return the basis of the list of each of these requests that is decided, by customer_id and request_id."""

    def insert_transactions(self, transactions: Sequence[tuple[Message, TransactionRecorded]]) -> frozenset[UUID]:
        """Store each event_id and each content once; return the event_ids that were stored."""

    def fetch_kept_transactions(self, event_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
        """Return those of these orders that are stored."""

    def insert_reference_events(self, topic: str, events: Sequence[tuple[Message, Event]]) -> frozenset[UUID]:
        """Store each event_id of one of REFERENCE_TOPICS once, in the order of the log; return those that were new."""

    def fetch_kept_reference_events(self, topic: str, event_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
        """Return those of these events of the topic that are stored."""

    def find_recorded_isins(self, isins: Collection[str]) -> frozenset[str]:
        """Return those of these assets that arrived as events, this transaction included."""

    def insert_dead_letters(self, letters: Sequence[tuple[Message, str]]) -> None:
        """Store messages that no retry can help, each once, with the reason."""

    def fetch_decided(self, request_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
        """Return those of these requests that have a decision."""

    def fetch_load_marker(self) -> str:
        """Return a text that changes with every load, append and undo of reference data, and every erasure."""

    def fetch_histories(self, customer_ids: Sequence[str]) -> Mapping[str, CustomerHistory]:
        """Return customer and history for every id; an unknown id gives a Customer without properties.

        Interactions are the last INTERACTION_WINDOW of the log that are no impressions, in its order, whatever the
        clocks of their senders say. Owned, formerly held and dismissed assets are complete, from loaded files and
        recorded orders.
        """

    def fetch_fresh_lists(self, customer_ids: Sequence[str]) -> Mapping[str, ServedList]:
        """Return stored lists that are fresh.

        A list is fresh while the customer's last interaction, order or change of profile, the loaded reference data
        and the assets are those that it was made with; an impression is no such interaction.
        """

    def insert_decisions(self, decisions: Sequence[Decision], *, reference_snapshot: str) -> frozenset[UUID]:
        """Store one row per request and return the new request_ids; a customer's last scored one becomes their list.

        `reference_snapshot` is the result of `fetch_snapshots` before the lists were made. A stored list that answers
        another request, whose decision has the same list, names that request from then on. Previews change no list.
        """


class WorkerStore(OffsetSource, Protocol):
    """The worker's database; every method raises DatabaseUnavailable when it cannot answer."""

    def begin(self) -> AbstractContextManager[WorkerTransaction]:
        """Open a transaction that commits at the end of the block and rolls back on an exception."""

    def fetch_asset_displays(self, *, as_of: date | None = None) -> Mapping[str, AssetDisplay]:
        """Return the latest version of each asset, by ISIN; trailing returns are those of `as_of`."""

    def fetch_market(self, id_map: AssetIdMap, *, as_of: date, days: int) -> Market:
        """Return the prices and purchases of these assets in the `days` up to `as_of`."""

    def fetch_suspensions(self) -> Suspensions:
        """Return what is suspended now."""

    def fetch_snapshots(self) -> str:
        """Return a text that changes with every load of reference data, and when an asset or a suspension changes."""

    def fetch_catalogue_version(self) -> str:
        """Return a text that changes when the one of `fetch_snapshots` does, and with new prices."""
