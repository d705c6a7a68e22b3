"""The ledger against the database: L lost, D doubled, O out of order, S stuck. Pure: no clock, no connection."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.ledger import Call, Kind, acknowledged

STUCK_SECONDS = 60.0

Place = tuple[str, int, int]  # topic, partition, offset


@dataclass(frozen=True)
class Row:
    """One effect: a row of user_interactions, recorded_transactions, recorded_customers or decisions."""

    event_id: str
    customer_id: str
    partition: int
    offset: int
    kept_at: float  # Unix time, by the worker's clock for decisions
    isins: frozenset[str] = frozenset()  # of a decision's list
    sequence: int = 0  # of an interaction or order: the order in which the worker kept them


@dataclass(frozen=True)
class Effects:
    """What the database holds at the end; `rewinds` are stored offsets that became smaller."""

    interactions: Sequence[Row]
    decisions: Sequence[Row]
    rewinds: Sequence[str] = ()
    transactions: Sequence[Row] = ()
    profiles: Sequence[Row] = ()  # only the fuzzer sends them

    def of(self, kind: Kind) -> Sequence[Row]:
        return {"interaction": self.interactions, "order": self.transactions, "request": self.decisions}[kind]


@dataclass(frozen=True)
class Finding:
    """One of the four numbers, and what it was found by."""

    count: int = 0
    examples: tuple[str, ...] = ()

    @classmethod
    def of(cls, examples: Sequence[str]) -> Finding:
        return cls(len(examples), tuple(examples[:20]))


@dataclass(frozen=True)
class FuzzedVerdict:
    """What became of the fuzzed messages; `messages` by verdict, their dead letters by error class."""

    messages: Mapping[str, int] = field(default_factory=dict)
    repetitions: int = 0
    dead_letters: Mapping[str, int] = field(default_factory=dict)
    lost: Finding = field(default_factory=Finding)  # accepted, and neither an effect nor a dead letter
    turned_away: Finding = field(default_factory=Finding)  # accepted, and a dead letter
    doubled: Finding = field(default_factory=Finding)
    let_through: Finding = field(default_factory=Finding)  # refused, and an effect or no dead letter
    misnamed: Finding = field(default_factory=Finding)  # the dead letter does not begin with the right class
    out_of_order: Finding = field(default_factory=Finding)

    def findings(self) -> Mapping[str, Finding]:
        """Return everything that has to be empty, by its name in the report."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Finding)}

    def is_clean(self) -> bool:
        return not any(finding.count for finding in self.findings().values())


@dataclass(frozen=True)
class Verdict:
    """All four, and how many calls were promised an effect."""

    acknowledged: int
    lost: Finding
    doubled: Finding
    out_of_order: Finding
    stuck: Finding
    fuzzed: FuzzedVerdict = field(default_factory=FuzzedVerdict)

    def is_clean(self) -> bool:
        findings = (self.lost, self.doubled, self.out_of_order, self.stuck)
        return not any(each.count for each in findings) and self.fuzzed.is_clean()


@dataclass(frozen=True)
class Outages:
    """Times at which something was down, as (began, ended) in Unix time: nothing is stuck while one lasts."""

    spans: Sequence[tuple[float, float]] = field(default=())

    def waited_seconds(self, since: float, until: float) -> float:
        """Return the longest time that somebody waited at a stretch in which everything was up."""
        longest, up_since = 0.0, since
        for began, ended in sorted(self.spans):
            if ended > since and began < until:
                longest = max(longest, began - up_since)
                up_since = max(up_since, ended)
        return max(longest, until - up_since)


def compare(calls: Sequence[Call], effects: Effects, *, outages: Outages, until: float) -> Verdict:
    """Return the verdict; `until` is when the database was read."""
    promised = promised_effects(calls)
    return Verdict(
        acknowledged=len(promised),
        lost=Finding.of(find_lost(promised, effects)),
        doubled=Finding.of(find_doubled(calls, effects)),
        out_of_order=Finding.of(
            find_inversions(calls, effects)
            + find_forgotten(calls, effects)
            + find_out_of_sequence(effects.interactions)
            + find_out_of_sequence(effects.transactions, "order")
            + [*effects.rewinds]
        ),
        stuck=Finding.of(find_stuck(promised, effects, outages=outages, until=until)),
    )


def promised_effects(calls: Sequence[Call]) -> list[Call]:
    """Return the acknowledged calls of every kind."""
    return [call for kind in KINDS for call in acknowledged(calls, kind)]


def find_out_of_sequence(rows: Sequence[Row], kind: str = "interaction") -> list[str]:
    """Return what of one customer and partition was kept in another order than the log's."""
    in_log = sorted(rows, key=lambda row: (*_series_of(row), row.offset))
    return [
        f"{kind} {later.event_id} was kept before {earlier.event_id}"
        for earlier, later in pairwise(in_log)
        if _series_of(earlier) == _series_of(later) and abs(later.sequence) < abs(earlier.sequence)
    ]


def _series_of(row: Row) -> tuple[str, int, bool]:
    """Return what is numbered in order; impressions have negative numbers, and no place among the others."""
    return row.customer_id, row.partition, row.sequence < 0


def find_lost(promised: Iterable[Call], effects: Effects) -> list[str]:
    """Return the acknowledged calls that have no row; a dead letter is no effect."""
    kept = {kind: {row.event_id for row in effects.of(kind)} for kind in KINDS}
    return [f"{call.kind} {call.event_id}" for call in promised if call.event_id not in kept[call.kind]]


def find_doubled(calls: Sequence[Call], effects: Effects) -> list[str]:
    """Return effects beyond the one that a call may have.

    Seen are: one event_id in several rows; one Kafka message in several rows; one Idempotency-Key with several
    effects; and more rows that nobody was promised than there are calls of unknown outcome.
    """
    return [each for kind in KINDS for each in _doubled_of(kind, calls, effects.of(kind))]


def find_inversions(calls: Sequence[Call], effects: Effects) -> list[str]:
    """Return the pairs of one customer's calls whose effects stand in the log in another order than was promised."""
    found = []
    for kind in KINDS:
        rows = {row.event_id: row for row in effects.of(kind)}
        by_customer: dict[str, list[Row]] = defaultdict(list)
        for call in acknowledged(calls, kind):
            row = rows.get(call.event_id or "")
            if row is not None and row not in by_customer[call.customer_id][-1:]:
                by_customer[call.customer_id].append(row)
        for ordered in by_customer.values():
            found += [
                f"{kind} {later.event_id} stands before {earlier.event_id}"
                for earlier, later in pairwise(ordered)
                if (later.partition, later.offset) <= (earlier.partition, earlier.offset)
                or later.partition != earlier.partition
            ]
    return found


def count_read_your_clicks(calls: Sequence[Call]) -> int:
    """Return how many lists were promised after a dismissal or an order.

    So often `find_forgotten` could have found something.
    """
    first: dict[str, int] = {}
    for call in _excluding(calls):
        first[call.customer_id] = min(call.sequence, first.get(call.customer_id, call.sequence))
    return sum(call.sequence > first.get(call.customer_id, call.sequence) for call in acknowledged(calls, "request"))


def find_forgotten(calls: Sequence[Call], effects: Effects) -> list[str]:
    """Return the lists with an asset that the customer had dismissed, or bought and never sold, before they asked."""
    decisions = {row.event_id: row for row in effects.decisions}
    excluded: dict[str, list[Call]] = defaultdict(list)
    for call in _excluding(calls):
        excluded[call.customer_id].append(call)
    found = []
    for request in acknowledged(calls, "request"):
        row = decisions.get(request.event_id or "")
        found += [
            f"request {request.event_id} lists {isin}, {'dismissed' if earlier.dismissed else 'bought'} before"
            for earlier in excluded[request.customer_id]
            for isin in (earlier.dismissed, earlier.trade and earlier.trade[1])
            if row is not None and earlier.sequence < request.sequence and isin in row.isins
        ]
    return found


def _excluding(calls: Sequence[Call]) -> list[Call]:
    """Return the acknowledged dismissals, and the purchases that no call, whatever its outcome, was to sell."""
    sold = {(call.customer_id, call.trade[1]) for call in calls if call.trade and call.trade[0] == "Sell"}
    bought = [
        call
        for call in acknowledged(calls, "order")
        if call.trade and call.trade[0] == "Buy" and (call.customer_id, call.trade[1]) not in sold
    ]
    return [call for call in acknowledged(calls, "interaction") if call.dismissed is not None] + bought


def find_stuck(promised: Iterable[Call], effects: Effects, *, outages: Outages, until: float) -> list[str]:
    """Return the requests that waited over 60 s while everything was up, whether they were answered then or never."""
    kept_at = {row.event_id: row.kept_at for row in effects.decisions}
    return [
        f"request {call.event_id}"
        for call in promised
        if call.kind == "request"
        and outages.waited_seconds(call.answered_at, kept_at.get(call.event_id or "", until)) > STUCK_SECONDS
    ]


def _doubled_of(kind: Kind, calls: Sequence[Call], rows: Sequence[Row]) -> list[str]:
    ids = {row.event_id for row in rows}
    places = Counter((row.partition, row.offset) for row in rows)
    found = find_repeated_ids(kind, rows)
    found += [f"{kind} at {place}: {count} rows" for place, count in places.items() if count > 1]
    by_key: dict[str, set[str]] = defaultdict(set)
    for call in calls:
        if call.kind == kind and call.key and call.event_id in ids:
            by_key[call.key].add(call.event_id or "")
    found += [f"{kind} key {key}: {len(effects)} effects" for key, effects in by_key.items() if len(effects) > 1]
    return found + _unasked(kind, calls, rows)


def find_repeated_ids(kind: str, rows: Sequence[Row]) -> list[str]:
    """Return the events that have several rows."""
    counts = Counter(row.event_id for row in rows)
    return [f"{kind} {event_id}: {count} rows" for event_id, count in counts.items() if count > 1]


def _unasked(kind: Kind, calls: Sequence[Call], rows: Sequence[Row]) -> list[str]:
    promised = {call.event_id for call in calls if call.kind == kind and call.outcome == "acknowledged"}
    allowed = Counter(call.customer_id for call in calls if call.kind == kind and call.outcome == "unknown")
    strays = Counter(row.customer_id for row in rows if row.event_id not in promised)
    return [
        f"{kind}s of {customer}: {count} that nobody was promised, {allowed[customer]} of unknown outcome"
        for customer, count in strays.items()
        for _ in range(count - allowed[customer])
    ]


KINDS: tuple[Kind, ...] = ("interaction", "order", "request")
