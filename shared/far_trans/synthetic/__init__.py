"""An invented data set in the published schema, with its published counts and skew and with preferences to find."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from shared.far_trans import schema as far_trans
from shared.far_trans.synthetic.assets import SyntheticAsset, build_asset_rows, build_assets, build_prices
from shared.far_trans.synthetic.catalogue import build_market_rows
from shared.far_trans.synthetic.customers import build_customer_rows, build_customers
from shared.far_trans.synthetic.sizes import DAY_TEXTS, Floats, build_sizes
from shared.far_trans.synthetic.transactions import build_transaction_rows

_QUESTIONNAIRE = """
Plans

\t1. How long can you leave this money invested?
\t\ta. Less than a year
\t\tb. One to five years
\t\tc. More than five years

Risk

\t2. Your investments lose a fifth of their value in a month. What do you do?
\t\ta. Sell all of them
\t\tb. Wait
\t\tc. Buy more
"""


def synthesize(output: Path, scale: float = 1.0, seed: int = 7, *, assets: int | None = None) -> dict[str, int]:
    """Write the published files into `output` (made if missing) and return the rows of each. Raises ValueError.

    The same arguments give the same bytes. `assets`: the size of the catalogue, where the scale does not decide it.
    """
    sizes = build_sizes(scale, assets=assets)
    rng = np.random.default_rng(seed)
    catalogue = build_assets(sizes, rng=rng)
    prices = build_prices(catalogue, rng=rng)
    customers = build_customers(sizes, rng=rng)
    transactions = build_transaction_rows(customers, catalogue, prices, sizes=sizes, rng=rng)
    output.mkdir(parents=True, exist_ok=True)
    (output / "questionnaires.csv").write_text(_QUESTIONNAIRE, encoding="utf-8", newline="")
    # Rows of customers and assets are drawn while they are written, in this order.
    rows_of = {
        far_trans.CUSTOMER_INFORMATION: build_customer_rows(customers, sizes.customer_versions, rng=rng),
        far_trans.ASSET_INFORMATION: build_asset_rows(catalogue, sizes.asset_versions, rng=rng),
        far_trans.MARKETS: build_market_rows(),
        far_trans.LIMIT_PRICES: _build_limit_rows(catalogue, prices),
        far_trans.CLOSE_PRICES: _build_price_rows(catalogue, prices),
        far_trans.TRANSACTIONS: transactions,
    }
    return {schema.file_name: _write(output / schema.file_name, schema, rows) for schema, rows in rows_of.items()}


def _write(path: Path, schema: far_trans.TableSchema, rows: Iterable[tuple[object, ...]]) -> int:
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.write(schema.header + "\n")
        return sum(1 for _ in map(csv.writer(stream, lineterminator="\n").writerow, rows))


def _build_limit_rows(assets: list[SyntheticAsset], prices: Floats) -> Iterator[tuple[object, ...]]:
    for asset, series in zip(assets, prices, strict=True):
        first, last = float(series[asset.first_day]), float(series[asset.last_day])
        dates = (DAY_TEXTS[asset.first_day], DAY_TEXTS[asset.last_day])
        yield (asset.isin, *dates, first, last, round((last - first) / first, 12))


def _build_price_rows(assets: list[SyntheticAsset], prices: Floats) -> Iterator[tuple[object, ...]]:
    for asset, series in zip(assets, prices, strict=True):
        days = slice(asset.first_day, asset.last_day + 1)
        for day, price in zip(DAY_TEXTS[days].tolist(), series[days].tolist(), strict=True):
            yield (asset.isin, day, price)
