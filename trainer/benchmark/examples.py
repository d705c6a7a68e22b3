"""Lists of a few customers for people to read: what each owns, and the list that would be served on a day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.far_trans.schema import ASSET_INFORMATION
from shared.recommender.pipeline import recommend
from shared.recommender.training_data import date_of
from shared.recommender.types import Customer, CustomerHistory, Ranking
from trainer.benchmark.algorithms.signals import fit_hybrid
from trainer.benchmark.cutoffs import priced_assets
from trainer.benchmark.known import KnownData, Split
from trainer.benchmark.protocol import Benchmark, read_csv
from trainer.benchmark.tables import cells, figure

_NAMES = ASSET_INFORMATION.csv_names("isin", "asset_name", "recorded_on")
LATEST_PURCHASES = 10


def example_sections(benchmark: Benchmark, far_trans: Path, *, day: date, customer_ids: Sequence[str]) -> list[str]:
    """Return Markdown for each customer, suitability included; whoever has no row is a customer without any history."""
    split = Split(day, tuple(customer_ids), tuple(priced_assets(far_trans, day, day)))
    known = benchmark.knowledge_at(split)
    histories = known.training.histories(known.customers_of(split).tolist())
    rankings = recommend(fit_hybrid(known, split), histories, now=known.training.now)
    names = _asset_names(far_trans, day)
    sections = []
    for history, ranking in zip(histories, rankings, strict=True):
        sections += [_title(history, ranking), _purchases(history, known, names), _table(ranking, known, names)]
    return sections


def _asset_names(far_trans: Path, day: date) -> dict[str, str]:
    rows = read_csv(far_trans / ASSET_INFORMATION.file_name, _NAMES)
    rows = rows[rows["recorded_on"].str[:10] <= day.isoformat()].sort_values("recorded_on", kind="stable")
    return dict(zip(rows["isin"], rows["asset_name"], strict=True))


def _title(history: CustomerHistory, ranking: Ranking) -> str:
    customer: Customer = history.customer
    level = customer.risk_level.name.capitalize() if customer.risk_level else "risk level unknown"
    return f"### {customer.customer_id}: {level}, owns {len(history.owned)}, basis {ranking.basis.value}"


def _purchases(history: CustomerHistory, known: KnownData, names: dict[str, str]) -> str:
    mine = np.flatnonzero(known.customer_index == known.positions[history.customer.customer_id])[::-1]
    latest = [
        f"{_name(known.id_map.isins[known.asset_index[row]], names)} ({date_of(int(known.bought_day[row]))})"
        for row in mine[:LATEST_PURCHASES]
    ]
    return f"Bought, latest first: {'; '.join(latest) or 'nothing'}" + (" ..." if len(mine) > len(latest) else "")


def _table(ranking: Ranking, known: KnownData, names: dict[str, str]) -> str:
    owners, last_price = known.counts(), _last_priced(known)
    titles = [
        "",
        "asset",
        "kind",
        "sector",
        "owners",
        "last price",
        "score",
        "collaborative",
        "content",
        "profitability",
    ]
    rows = [cells(titles), "|---" * len(titles) + "|"]
    for place in ranking.assets:
        index = known.id_map.asset_index(place.isin)
        asset = known.training.assets[index]
        kind = " ".join(filter(None, (asset.asset_category, asset.asset_sub_category)))
        contributions = [figure(value, 3) for value in place.contributions]
        priced = date_of(int(last_price[index])).isoformat() if last_price[index] else "none"
        described = [_name(place.isin, names), kind, asset.sector or "", f"{owners[index]:.0f}", priced]
        rows.append(cells([str(place.rank), *described, figure(place.score, 3), *contributions]))
    return "\n".join(rows)


def _last_priced(known: KnownData) -> NDArray[np.int64]:
    """Return (A,) the day of the last known price, 0 without any."""
    prices, last = known.training.close_prices, np.zeros(known.shape[1], dtype=np.int64)
    np.maximum.at(last, prices.asset_index, prices.day)
    return last


def _name(isin: str, names: dict[str, str]) -> str:
    return f"{names.get(isin) or 'no name'} `{isin}`"
