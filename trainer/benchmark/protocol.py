"""The benchmark folder, read so that a time point yields only what was known then; `relevant` is for the evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from shared.errors import ReferenceDataInvalid
from shared.far_trans.schema import (
    ASSET_INFORMATION,
    CLOSE_PRICES,
    CUSTOMER_INFORMATION,
    build_customer,
)
from shared.recommender.training_data import day_number, end_of_day
from shared.recommender.training_rows import TrainingRows, build_training_data
from shared.recommender.types import Asset, Customer
from trainer.benchmark.known import KnownData, Split

_FIRST_BUYS = {"customerID": "customer_id", "ISIN": "isin", "date": "bought_on"}
_RETURNS = {"time_point": "time_point", "ISIN": "isin", "monthly_return": "monthly_return"}
_PROFILE = ("customer_id", "risk_level", "investment_capacity", "last_questionnaire_date")
_CUSTOMERS = CUSTOMER_INFORMATION.csv_names(
    "customer_id", "risk_level", "investment_capacity", "last_questionnaire_date", "recorded_on"
)
_DESCRIPTION = ("asset_category", "asset_sub_category", "market_id", "sector", "industry", "asset_name")
_ASSETS = ASSET_INFORMATION.csv_names("isin", *_DESCRIPTION, "recorded_on")
_PRICES = CLOSE_PRICES.csv_names("isin", "priced_on", "close_price")
_UNKNOWN_CATEGORY = "unknown"


@dataclass(frozen=True)
class Benchmark:
    """The rows of a benchmark folder and of the reference tables, each with its day; `knowledge_at` cuts them off."""

    directory: Path
    first_buys: pd.DataFrame
    customers: pd.DataFrame
    assets: pd.DataFrame
    close_prices: pd.DataFrame

    @property
    def has_reference_tables(self) -> bool:
        """Whether customers and assets are described at all."""
        return bool(len(self.customers)) and bool(len(self.assets))

    def knowledge_at(self, split: Split) -> KnownData:
        """Return everything dated up to the time point."""
        day = day_number(split.time_point)
        rows = TrainingRows(
            assets=_build_assets(_latest(self.assets, "isin", day), self._isins(split, day)),
            customers=_build_customers(_latest(self.customers, "customer_id", day), split.customer_ids),
            purchases=_up_to(self.first_buys, day),
            close_prices=self.close_prices,
            interactions=_no_interactions(),
        )
        # This cuts prices off; purchases are cut above, or their customers would take positions.
        data = build_training_data(rows, now=end_of_day(split.time_point))
        return KnownData(data.known_at(split.time_point))

    def owned_before(self, time_point: date) -> pd.MultiIndex:
        """Return customer and ISIN of everything bought up to the end of this day."""
        bought = _up_to(self.first_buys, day_number(time_point))
        return pd.MultiIndex.from_frame(bought[["customer_id", "isin"]])

    def _isins(self, split: Split, day: int) -> list[str]:
        bought = _up_to(self.first_buys, day)["isin"].unique()
        return sorted({*split.isins, *map(str, bought)})


def read_benchmark(directory: Path, *, reference_tables: Path) -> Benchmark:
    """Read the first buys and, where they exist, the reference tables; raises ReferenceDataInvalid."""
    return Benchmark(
        directory=directory,
        first_buys=_read_first_buys(directory / "first_buys.csv"),
        customers=_read_customers(reference_tables / "customer_information.csv"),
        assets=_read_assets(reference_tables / "asset_information.csv"),
        close_prices=_read_prices(reference_tables / "close_prices.csv"),
    )


def find_reference_tables(directory: Path, given: Path) -> Path:
    """Return the given folder, or the one beside the benchmark when the given one holds no tables."""
    beside = directory.resolve().parent / "FAR-Trans"
    here = (given / "customer_information.csv").is_file()
    return given if here or not (beside / "customer_information.csv").is_file() else beside


def time_points(directory: Path, chosen: Sequence[str] = ()) -> list[str]:
    """Return the names of the splits in order of time, all or the chosen ones; raises ReferenceDataInvalid."""
    known = sorted(path.stem for path in (directory / "splits").glob("*.json"))
    unknown = sorted(set(chosen) - set(known))
    if unknown or not known:
        raise ReferenceDataInvalid(f"no split of {', '.join(unknown) or 'any time point'} in {directory / 'splits'}")
    return [name for name in known if not chosen or name in chosen]


def read_split(directory: Path, time_point: str) -> Split:
    """Read for whom and from what to recommend; nothing else of the file is looked at."""
    fields = _read_fields(directory, time_point)
    try:
        day = date.fromisoformat(fields["time_point"])
        return Split(day, tuple(map(str, fields["customers"])), tuple(map(str, fields["assets"])))
    except (KeyError, TypeError, ValueError) as error:
        raise ReferenceDataInvalid(f"split {time_point} is not as described: {error!r}") from error


def read_relevant(directory: Path, time_point: str) -> dict[str, frozenset[str]]:
    """Read what the customers bought afterwards, for evaluating lists; raises ReferenceDataInvalid without the key."""
    relevant = _read_fields(directory, time_point).get("relevant")
    if not isinstance(relevant, dict):
        raise ReferenceDataInvalid(f"split {time_point} does not say what was relevant, so lists cannot be evaluated")
    return {str(customer): frozenset(map(str, isins)) for customer, isins in relevant.items()}


def read_returns(directory: Path) -> pd.DataFrame:
    """Read the partial monthly returns: time_point, isin, monthly_return; empty without the file."""
    path = directory / "asset_returns.csv"
    frame = _read_optional(path, _RETURNS)
    frame["monthly_return"] = pd.to_numeric(frame["monthly_return"], errors="coerce")
    return frame.dropna(subset=["monthly_return"])


def _read_fields(directory: Path, time_point: str) -> dict[str, Any]:
    path = directory / "splits" / f"{time_point}.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReferenceDataInvalid(f"{path} cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise ReferenceDataInvalid(f"{path} is not an object")
    return fields


def read_csv(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read these columns as text, each by the name that `columns` gives it; raises ReferenceDataInvalid."""
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ReferenceDataInvalid(f"{path} cannot be read: {error}") from error
    missing = [column for column in columns if column not in frame]
    if missing:
        raise ReferenceDataInvalid(f"{path} lacks the column {missing[0]}")
    return frame[list(columns)].rename(columns=dict(columns))


def _read_optional(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    return read_csv(path, columns) if path.is_file() else pd.DataFrame(columns=list(columns.values()), dtype=str)


def _with_day(frame: pd.DataFrame, column: str, path: Path) -> pd.DataFrame:
    try:
        moments = pd.to_datetime(frame[column], format="ISO8601")
    except ValueError as error:
        raise ReferenceDataInvalid(f"{path} has a date that is none: {error}") from error
    days = (moments - pd.Timestamp("1970-01-01")).dt.days.astype("int32")
    return frame.drop(columns=column).assign(day=days)


def _read_first_buys(path: Path) -> pd.DataFrame:
    frame = _with_day(read_csv(path, _FIRST_BUYS), "bought_on", path)
    # The earliest of doubles: no later row can take its place, so this looks into no future.
    frame = frame.sort_values("day", kind="stable").drop_duplicates(["customer_id", "isin"])
    return frame.astype({"customer_id": "category", "isin": "category"})


def _read_customers(path: Path) -> pd.DataFrame:
    return _with_day(_read_optional(path, _CUSTOMERS), "recorded_on", path)


def _read_assets(path: Path) -> pd.DataFrame:
    return _with_day(_read_optional(path, _ASSETS), "recorded_on", path)


def _read_prices(path: Path) -> pd.DataFrame:
    frame = _with_day(_read_optional(path, _PRICES), "priced_on", path)
    prices = pd.to_numeric(frame["close_price"], errors="coerce").astype("float64")
    return frame.assign(close_price=prices).astype({"isin": "category"})


def _up_to(frame: pd.DataFrame, day: int) -> pd.DataFrame:
    return frame[frame["day"] <= day]


def _latest(frame: pd.DataFrame, key: str, day: int) -> pd.DataFrame:
    """Return the last line of the largest day up to `day`, for each key."""
    return _up_to(frame, day).sort_values("day", kind="stable").drop_duplicates(key, keep="last")


def _build_assets(described: pd.DataFrame, isins: Iterable[str]) -> tuple[Asset, ...]:
    columns = ("isin", *_DESCRIPTION)
    rows = zip(*(described[column].tolist() for column in columns), strict=True)
    known = {
        isin: Asset(isin, category, sub or None, market or None, sector or None, industry or None, name=name or None)
        for isin, category, sub, market, sector, industry, name in rows
    }
    return tuple(known.get(isin, Asset(isin, _UNKNOWN_CATEGORY)) for isin in sorted({*known, *isins}))


def _build_customers(described: pd.DataFrame, customer_ids: Iterable[str]) -> tuple[Customer, ...]:
    rows = zip(*(described[column].tolist() for column in _PROFILE), strict=True)
    known = {name: build_customer(name, level, cap, _day_or_none(asked)) for name, level, cap, asked in rows}
    return tuple(known.get(name, Customer(name)) for name in sorted({*known, *customer_ids}))


def _day_or_none(text: str) -> date | None:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None


def _no_interactions() -> pd.DataFrame:
    text: pd.Series[str] = pd.Series([], dtype=str)
    moments = pd.Series([], dtype=float)
    return pd.DataFrame({"customer_id": text, "isin": text, "interaction_type": text, "occurred_at": moments})
