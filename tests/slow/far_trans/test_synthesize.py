"""The invented data set: sizes, skew, consistency, planted preferences, and the same bytes each time."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from shared.far_trans.schema import TABLES, parse_investment_capacity, parse_risk_level
from shared.far_trans.synthetic import synthesize
from shared.far_trans.synthetic.assets import SyntheticAsset
from shared.far_trans.synthetic.catalogue import compute_check_digit
from shared.far_trans.synthetic.sizes import allocate, build_sizes, settle
from shared.far_trans.synthetic.transactions import Buys, let_every_asset_be_bought
from tests.far_trans_files import clean

DEMO_CUSTOMER = "85583A768E48870A546D"
Rows = dict[str, list[dict[str, str]]]


def read(folder: Path) -> Rows:
    """Return the rows of each table by CSV column name."""
    tables: Rows = {}
    for schema in TABLES:
        with (folder / schema.file_name).open(encoding="utf-8", newline="") as stream:
            tables[schema.table] = list(csv.DictReader(stream))
    return tables


@pytest.fixture(scope="module", params=[(0.02, 7), (0.02, 3), (0.001, 1)], ids=lambda p: f"scale {p[0]} seed {p[1]}")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic")
    synthesize(path, *request.param)
    return path


@pytest.fixture(scope="module")
def rows(folder: Path) -> Rows:
    return read(folder)


def test_every_row_is_valid_to_the_loader(folder: Path) -> None:
    for schema in TABLES:
        header, body = (folder / schema.file_name).read_bytes().split(b"\n", 1)
        _, rejects, counted = clean(body, schema, header=header + b"\n")
        assert rejects == []
        assert counted.row_count > 0


def test_small_scales_keep_enough_customers_and_assets_and_trade_their_share(rows: Rows) -> None:
    assert len({row["customerID"] for row in rows["customer_information"]}) >= 300
    assert len({row["ISIN"] for row in rows["asset_information"]}) >= 150
    assert len(rows["markets"]) == 38
    assets = len({row["ISIN"] for row in rows["asset_information"]})
    assert len({row["ISIN"] for row in rows["transactions"]}) == round(assets * 321 / 806)


def test_few_assets_carry_most_transactions_and_most_customers_trade_little(rows: Rows) -> None:
    per_asset = Counter(row["ISIN"] for row in rows["transactions"])
    assert sum(count for _, count in per_asset.most_common(12)) > len(rows["transactions"]) / 2
    per_customer = Counter(row["customerID"] for row in rows["transactions"])
    few = sum(count <= 3 for count in per_customer.values())
    assert few > len({row["customerID"] for row in rows["customer_information"]}) / 2


def test_transactions_have_the_close_price_of_their_day(rows: Rows) -> None:
    prices = {(row["ISIN"], row["timestamp"]): float(row["closePrice"]) for row in rows["close_prices"]}
    for row in rows["transactions"]:
        price = prices[row["ISIN"], row["timestamp"]]
        assert float(row["totalValue"]) == pytest.approx(float(row["units"]) * price, abs=1e-4)


def test_nobody_sells_what_they_do_not_hold(rows: Rows) -> None:
    held: dict[tuple[str, str], float] = defaultdict(float)
    bought_today: set[tuple[str, str, str]] = set()
    sold_at_once = 0
    for row in rows["transactions"]:
        sign = 1 if row["transactionType"] == "Buy" else -1
        held[row["customerID"], row["ISIN"]] += sign * float(row["units"])
        assert held[row["customerID"], row["ISIN"]] > -1e-6
        of_today = (row["customerID"], row["ISIN"], row["timestamp"])
        sold_at_once += sign < 0 and of_today in bought_today
        if sign > 0:
            bought_today.add(of_today)
    assert sold_at_once < len(rows["transactions"]) / 20


def test_transactions_are_dated_in_order_on_weekdays(rows: Rows) -> None:
    dates = [row["timestamp"] for row in rows["transactions"]]
    assert dates == sorted(dates)
    assert all(date.fromisoformat(text).weekday() < 5 for text in set(dates))


def test_limit_prices_are_the_ends_of_the_price_series(rows: Rows) -> None:
    series: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in rows["close_prices"]:
        series[row["ISIN"]].append((row["timestamp"], row["closePrice"]))
    assert len(rows["limit_prices"]) == len(series) == len({row["ISIN"] for row in rows["asset_information"]})
    for row in rows["limit_prices"]:
        first, last = min(series[row["ISIN"]]), max(series[row["ISIN"]])
        assert (row["minDate"], row["priceMinDate"]) == first
        assert (row["maxDate"], row["priceMaxDate"]) == last
        expected = float(last[1]) / float(first[1]) - 1
        assert float(row["profitability"]) == pytest.approx(expected, abs=1e-9)


def test_check_digit_is_that_of_iso_6166() -> None:
    assert compute_check_digit("US037833100") == 5
    assert compute_check_digit("GRS00300303") == 5


def test_isins_have_their_check_digit_and_known_markets(rows: Rows) -> None:
    for row in rows["asset_information"]:
        assert len(row["ISIN"]) == 12
        assert row["ISIN"][-1] == str(compute_check_digit(row["ISIN"][:-1]))
    markets = {row["marketID"] for row in rows["markets"]}
    assert {row["marketID"] for row in rows["asset_information"]} <= markets


def test_some_transactions_share_their_id(rows: Rows) -> None:
    counts = Counter(row["transactionID"] for row in rows["transactions"])
    shared = sum(count for count in counts.values() if count > 1)
    assert shared / len(rows["transactions"]) == pytest.approx(29_000 / 388_049, rel=0.05)


def test_demo_customer_is_balanced_and_owns_a_few_assets(rows: Rows) -> None:
    versions = [row for row in rows["customer_information"] if row["customerID"] == DEMO_CUSTOMER]
    assert [row["riskLevel"] for row in versions] == ["Balanced"]
    trades = [row for row in rows["transactions"] if row["customerID"] == DEMO_CUSTOMER]
    assert 2 <= len(trades) <= 6
    assert {row["transactionType"] for row in trades} == {"Buy"}


def test_a_dozen_technology_assets_can_be_bought_at_the_end(rows: Rows) -> None:
    technology = {row["ISIN"] for row in rows["asset_information"] if row["sector"] == "Technology"}
    end = max(row["timestamp"] for row in rows["transactions"])
    tradable = {row["ISIN"] for row in rows["limit_prices"] if row["maxDate"] >= end} & technology
    assert len(tradable) >= 12
    assert tradable & {row["ISIN"] for row in rows["transactions"]}


def test_codes_are_those_that_the_system_understands(rows: Rows) -> None:
    for row in rows["customer_information"]:
        is_unknown = row["riskLevel"] == "Not_Available"
        assert (parse_risk_level(row["riskLevel"]) is None) == is_unknown
        assert (parse_investment_capacity(row["investmentCapacity"]) == 0) == is_unknown
    assert any(row["riskLevel"].startswith("Predicted_") for row in rows["customer_information"])


def test_customers_and_assets_come_in_several_dated_versions(rows: Rows) -> None:
    for table, key in (("customer_information", "customerID"), ("asset_information", "ISIN")):
        versions = Counter(row[key] for row in rows[table])
        assert max(versions.values()) > 1
        assert len({(row[key], row["timestamp"]) for row in rows[table]}) > len(versions)


def test_what_a_customer_buys_later_is_from_the_sectors_of_before(rows: Rows) -> None:
    """The planted signal: knowing a customer's own sectors beats knowing everybody's."""
    sector = {row["ISIN"]: row["sector"] for row in rows["asset_information"]}
    before: dict[str, set[str]] = defaultdict(set)
    overall: Counter[str] = Counter()
    hits = expected = total = 0.0
    cut = "2021-06-01"
    buys = [row for row in rows["transactions"] if row["transactionType"] == "Buy" and sector[row["ISIN"]]]
    for row in buys:
        if row["timestamp"] < cut:
            before[row["customerID"]].add(sector[row["ISIN"]])
            overall[sector[row["ISIN"]]] += 1
    for row in buys:
        known = before.get(row["customerID"], set())
        if row["timestamp"] >= cut and 1 <= len(known) <= 3:
            total += 1
            hits += sector[row["ISIN"]] in known
            expected += sum(overall[name] for name in known) / overall.total()
    assert hits / total > 1.25 * expected / total


def test_assets_of_a_sector_move_together(rows: Rows) -> None:
    series: dict[str, list[float]] = defaultdict(list)
    for row in rows["close_prices"]:
        series[row["ISIN"]].append(float(row["closePrice"]))
    full = max(len(prices) for prices in series.values())
    stocks = {row["ISIN"]: row["sector"] for row in rows["asset_information"] if row["assetCategory"] == "Stock"}
    whole = [isin for isin in stocks if len(series[isin]) == full and min(series[isin]) > 0.05]
    returns = np.diff(np.log([series[isin] for isin in whole]), axis=1)
    correlations = np.corrcoef(returns)
    same = np.array([[stocks[a] == stocks[b] != "" for b in whole] for a in whole]) & ~np.eye(len(whole), dtype=bool)
    other = np.array([[stocks[a] != stocks[b] for b in whole] for a in whole])
    assert correlations[other].mean() > 0.1  # the market
    assert correlations[same].mean() > correlations[other].mean() + 0.03  # the sector


def read_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_same_scale_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    synthesize(tmp_path / "one", 0.02, 5)
    synthesize(tmp_path / "two", 0.02, 5)
    assert read_bytes(tmp_path / "one") == read_bytes(tmp_path / "two")


def test_another_seed_gives_other_data(tmp_path: Path) -> None:
    synthesize(tmp_path / "one", 0.02, 5)
    synthesize(tmp_path / "two", 0.02, 6)
    one, two = read_bytes(tmp_path / "one"), read_bytes(tmp_path / "two")
    assert {name for name in one if one[name] == two[name]} == {"markets.csv", "questionnaires.csv"}


@pytest.mark.parametrize("scale", ["0", "-1", "nan", "inf", "1e9"])
def test_impossible_scale_is_refused(scale: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the scale must be"):
        synthesize(tmp_path, float(scale))


def test_scale_one_stands_for_the_published_counts() -> None:
    sizes = build_sizes(1.0)
    assert (sizes.customers, sizes.customer_versions, sizes.assets, sizes.asset_versions) == (29_090, 32_468, 806, 836)
    assert (sizes.traded_assets, sizes.close_prices) == (321, 703_303)
    assert (sizes.buys, sizes.buys + sizes.sells) == (228_913, 388_049)


def test_asset_that_nobody_chose_gets_a_buy_within_its_own_days() -> None:
    kind = ("name", "NAME", "Stock", "", "XATH", "Energy", "")
    traded = [SyntheticAsset(f"I{place}", *kind, first_day=10 * place, last_day=900) for place in range(3)]
    days = np.arange(1_000)
    buys = let_every_asset_be_bought(Buys(days % 7, days * 0, days), traded, rng=np.random.default_rng(1))
    assert sorted(np.bincount(buys.asset).tolist()) == [1, 1, 998]
    for place in (1, 2):
        (moved,) = np.flatnonzero(buys.asset == place)
        assert 10 * place <= buys.day[moved] <= 900
        assert buys.customer[moved] != 0


def test_allocate_sums_to_the_total_and_keeps_the_floors() -> None:
    shares = allocate(10, {"a": 8.0, "b": 1.0, "c": 1.0}, floors={"c": 3})
    assert sum(shares.values()) == 10
    assert shares["c"] == 3
    assert shares["a"] > shares["b"]


def test_settle_refuses_bounds_that_leave_no_room() -> None:
    values = np.array([1, 2, 3])
    with pytest.raises(ValueError, match="no room"):
        settle(values, 100, lower=values, upper=values + 1, rng=np.random.default_rng(1))
