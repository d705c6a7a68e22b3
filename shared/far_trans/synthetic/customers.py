"""Invented customers: who they are, how much they trade, and which sectors each of them prefers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from shared.far_trans.synthetic.catalogue import SECTOR_NAMES, SECTORS
from shared.far_trans.synthetic.sizes import DAY_COUNT, DAY_TEXTS, DAYS, Integers, Rng, Sizes, settle

DEMO_CUSTOMER = "85583A768E48870A546D"
_DEMO_PREFERRED_SECTORS = ("Financial Services", "Energy")
_DEMO_TRANSACTIONS = 4

RISK_LEVELS = ("Conservative", "Income", "Balanced", "Aggressive")
CAPACITIES = ("CAP_LT30K", "CAP_30K_80K", "CAP_80K_300K", "CAP_GT300K")
UNKNOWN = -1
# Rows: risk levels; columns: capacities. In thousandths of the stated, then of the predicted ones.
_STATED = ((99, 11, 6, 1), (254, 83, 56, 7), (175, 90, 69, 14), (37, 38, 39, 14))
_PREDICTED = ((324, 45, 22, 1), (253, 55, 64, 1), (138, 24, 34, 1), (23, 4, 10, 1))
_STATED_SHARE, _PREDICTED_SHARE = 0.766, 0.224

# How many transactions a customer has, as a lognormal: more than half have 3 or fewer, 2.2 % more than 100.
_LOG_MEDIAN, _LOG_SPREAD = 1.03, 1.784
_MANY = 110
_LARGEST_SHARE = 0.0065


@dataclass(frozen=True)
class Customers:
    """Arrays over customers, the demo customer first. `preferred_sectors`: two positions in SECTORS, often equal."""

    ids: list[str]
    risk: Integers
    capacity: Integers
    is_predicted: NDArray[np.bool_]
    joined: Integers
    preferred_sectors: Integers
    transaction_counts: Integers


def build_customers(sizes: Sizes, *, rng: Rng) -> Customers:
    """Return the customers of a scale; the demo customer is Balanced, has the third capacity, and trades little."""
    count = sizes.customers
    kind = rng.random(count)
    is_predicted = (kind >= _STATED_SHARE) & (kind < _STATED_SHARE + _PREDICTED_SHARE)
    predicted, stated = _draw_segments(_PREDICTED, count, rng=rng), _draw_segments(_STATED, count, rng=rng)
    segments = np.where(is_predicted, predicted, stated)
    segments[kind >= _STATED_SHARE + _PREDICTED_SHARE] = UNKNOWN
    segments[0], is_predicted[0] = 2 * len(CAPACITIES) + 2, False
    risk = np.where(segments == UNKNOWN, UNKNOWN, segments // len(CAPACITIES))
    joined = np.where(rng.random(count) < 0.5, 0, rng.integers(0, DAY_COUNT - 60, count))
    joined[0] = 0
    preferred_sectors = _draw_preferred_sectors(risk, rng=rng)
    preferred_sectors[0] = [SECTOR_NAMES.index(sector) for sector in _DEMO_PREFERRED_SECTORS]
    return Customers(
        ids=[DEMO_CUSTOMER, *_draw_ids(count - 1, rng=rng)],
        risk=risk,
        capacity=np.where(segments == UNKNOWN, UNKNOWN, segments % len(CAPACITIES)),
        is_predicted=is_predicted,
        joined=joined,
        preferred_sectors=preferred_sectors,
        transaction_counts=_draw_transaction_counts(sizes, rng=rng),
    )


def _draw_segments(weights: tuple[tuple[int, ...], ...], count: int, *, rng: Rng) -> Integers:
    shares = np.array(weights, dtype=float).ravel()
    return rng.choice(len(shares), size=count, p=shares / shares.sum())


def _draw_preferred_sectors(risk: Integers, *, rng: Rng) -> Integers:
    """Return a preferred sector and, for half of the customers, a second one; shape (customers, 2).

    The risk level changes the weights of the sectors, so a segment says something about them, but not everything.
    """
    preference = np.array([sector.preference for sector in SECTORS.values()])
    daring = np.where(risk == UNKNOWN, 0.0, (risk - 1.5) / 1.5)
    weights = preference * np.exp(daring[:, None] * np.array([sector.daring for sector in SECTORS.values()]))
    edges = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    draws = rng.random((len(risk), 2))
    preferred_sectors: Integers = (draws[:, :, None] > edges[:, None, :-1]).sum(axis=2)
    has_one = rng.random(len(risk)) < 0.5
    preferred_sectors[has_one, 1] = preferred_sectors[has_one, 0]
    return preferred_sectors


def _draw_ids(count: int, *, rng: Rng) -> list[str]:
    """Return that many different ids of 20 hexadecimal capitals, as the published ones look."""
    ids: dict[str, None] = {}
    while len(ids) < count:
        ids.update(dict.fromkeys(rng.bytes(10).hex().upper() for _ in range(count - len(ids))))
    return list(ids)


def _draw_transaction_counts(sizes: Sizes, *, rng: Rng) -> Integers:
    """Return how many transactions each customer has; they sum to buys + sells."""
    total = sizes.buys + sizes.sells
    normal = NormalDist()
    places = [(rank + 0.5) / sizes.customers for rank in range(sizes.customers)]
    logs = np.array([_LOG_MEDIAN + _LOG_SPREAD * normal.inv_cdf(place) for place in places])
    largest = max(3 * _MANY, int(total * _LARGEST_SHARE))
    counts = np.clip(np.round(np.exp(logs)), 1, largest).astype(np.int64)
    # Only the customers with the most transactions take the difference, so that the skew stays as it is.
    is_busy = counts > _MANY
    lower, upper = np.where(is_busy, _MANY, counts), np.where(is_busy, 2 * largest, counts)
    counts = rng.permutation(settle(counts, total, lower=lower, upper=upper, rng=rng))
    swap = int(np.flatnonzero(counts == _DEMO_TRANSACTIONS)[0])
    counts[[0, swap]] = counts[[swap, 0]]
    return counts


def build_customer_rows(customers: Customers, row_count: int, *, rng: Rng) -> Iterator[tuple[str, ...]]:
    """Yield the rows of customer_information.csv; some customers have further, later rows, with another risk level."""
    count = len(customers.ids)
    changing = rng.choice(np.arange(1, count), size=max(1, count * 8 // 100), replace=False)
    extra = np.bincount(rng.choice(changing, size=row_count - count), minlength=count)
    for customer, later_versions in enumerate(extra.tolist()):
        joined, risk = int(customers.joined[customer]), int(customers.risk[customer])
        yield _build_row(customers, customer, risk=risk, day=joined, rng=rng)
        for day in np.sort(rng.integers(joined + 1, DAY_COUNT, size=later_versions)).tolist():
            if risk != UNKNOWN:
                risk = min(max(risk + int(rng.integers(-1, 2)), 0), len(RISK_LEVELS) - 1)
            yield _build_row(customers, customer, risk=risk, day=day, rng=rng)


def _build_row(customers: Customers, customer: int, *, risk: int, day: int, rng: Rng) -> tuple[str, ...]:
    capacity = int(customers.capacity[customer])
    customer_type = _draw_type(capacity, rng=rng)
    codes, questionnaire = ("Not_Available", "Not_Available"), "2000-01-01"
    if capacity != UNKNOWN:
        codes = (RISK_LEVELS[risk], CAPACITIES[capacity])
        if customers.is_predicted[customer]:
            codes = (f"Predicted_{codes[0]}", f"Predicted_{codes[1]}")
        else:
            questionnaire = str(DAYS[day] - np.timedelta64(int(rng.integers(0, 900)), "D"))
    return (customers.ids[customer], customer_type, *codes, questionnaire, DAY_TEXTS[day])


def _draw_type(capacity: int, *, rng: Rng) -> str:
    draw = rng.random()
    if draw < 0.07:
        return "Professional" if draw < 0.061 else "Inactive" if draw < 0.0675 else "Legal Entity"
    return "Premium" if capacity >= 2 or draw < 0.2 else "Mass"
