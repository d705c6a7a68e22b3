"""Write a whole invented data set, byte for byte the same for the same scale and seed."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from shared.far_trans import schema as far_trans
from shared.far_trans.synthetic import assets as synthetic_assets
from shared.far_trans.synthetic import customers as synthetic_customers
from shared.far_trans.synthetic.calendar import DAY_TEXTS
from shared.far_trans.synthetic.markets import MARKETS
from shared.far_trans.synthetic.prices import Floats, build_prices
from shared.far_trans.synthetic.sizes import build_sizes
from shared.far_trans.synthetic.transactions import CHANNELS, Transactions, build_transactions

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


def synthesize(output: Path, scale: float = 1.0, seed: int = 7) -> dict[str, int]:
    """Write the published files into `output` (made if missing) and return the rows of each. Raises ValueError."""
    sizes = build_sizes(scale)
    rng = np.random.default_rng(seed)
    assets = synthetic_assets.build_assets(sizes, rng=rng)
    prices = build_prices(assets, rng=rng)
    customers = synthetic_customers.build_customers(sizes, rng=rng)
    transactions = build_transactions(customers, assets, prices, sizes=sizes, rng=rng)
    customer_rows = synthetic_customers.build_version_rows(customers, sizes.customer_versions, rng=rng)
    asset_rows = synthetic_assets.build_version_rows(assets, sizes.asset_versions, rng=rng)
    lines = {
        far_trans.CUSTOMER_INFORMATION: (",".join(row) for row in customer_rows),
        far_trans.ASSET_INFORMATION: (",".join(row) for row in asset_rows),
        far_trans.MARKETS: _quote(market.as_row() for market in MARKETS),
        far_trans.LIMIT_PRICES: _build_limit_lines(assets, prices),
        far_trans.CLOSE_PRICES: _build_price_lines(assets, prices),
        far_trans.TRANSACTIONS: _build_transaction_lines(transactions, assets, customers.ids),
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / "questionnaires.csv").write_text(_QUESTIONNAIRE, encoding="utf-8", newline="")
    return {schema.file_name: _write(output, schema, rows) for schema, rows in lines.items()}


def _write(output: Path, schema: far_trans.TableSchema, lines: Iterable[str]) -> int:
    count = 0
    with (output / schema.file_name).open("w", encoding="utf-8", newline="") as stream:
        stream.write(",".join(column.csv_name for column in schema.columns) + "\n")
        for count, line in enumerate(lines, start=1):  # noqa: B007
            stream.write(line + "\n")
    return count


def _quote(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    class Line:
        def write(self, text: str) -> str:
            return text

    writer = csv.writer(Line(), lineterminator="")
    for row in rows:
        yield str(writer.writerow(row))


def _build_limit_lines(assets: list[synthetic_assets.SyntheticAsset], prices: Floats) -> Iterator[str]:
    for asset, series in zip(assets, prices, strict=True):
        first, last = float(series[asset.first_day]), float(series[asset.last_day])
        dates = f"{DAY_TEXTS[asset.first_day]},{DAY_TEXTS[asset.last_day]}"
        yield f"{asset.isin},{dates},{first},{last},{round((last - first) / first, 12)}"


def _build_price_lines(assets: list[synthetic_assets.SyntheticAsset], prices: Floats) -> Iterator[str]:
    for asset, series in zip(assets, prices, strict=True):
        days = slice(asset.first_day, asset.last_day + 1)
        for day, price in zip(DAY_TEXTS[days], series[days].tolist(), strict=True):
            yield f"{asset.isin},{day},{price}"


def _build_transaction_lines(
    transactions: Transactions, assets: list[synthetic_assets.SyntheticAsset], customer_ids: list[str]
) -> Iterator[str]:
    isins = [asset.isin for asset in assets]
    markets = [asset.market_id for asset in assets]
    columns = (
        transactions.customer.tolist(),
        transactions.asset.tolist(),
        transactions.transaction_id.tolist(),
        transactions.is_buy.tolist(),
        transactions.day.tolist(),
        transactions.total_value.tolist(),
        transactions.units.tolist(),
        transactions.channel.tolist(),
    )
    for customer, asset, number, is_buy, day, value, units, channel in zip(*columns, strict=True):
        kind = "Buy" if is_buy else "Sell"
        terms = f"{kind},{DAY_TEXTS[day]},{value},{units},{CHANNELS[channel]},{markets[asset]}"
        yield f"{customer_ids[customer]},{isins[asset]},{number},{terms}"
