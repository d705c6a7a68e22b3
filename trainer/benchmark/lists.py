"""Lists as a file: time_point, customerID, rank, ISIN; written by `recommend`, checked before they are evaluated."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from shared.errors import ListsInvalid
from shared.recommender.list_rules import NO_ASSET
from shared.recommender.pipeline import K
from trainer.benchmark.known import KnownData, Lists, Split

COLUMNS = ["time_point", "customerID", "rank", "ISIN"]


def build_frame(lists: Lists, known: KnownData, split: Split) -> pd.DataFrame:
    """Return one row per place of (B, K) lists, customers in the split's order."""
    row, place = np.nonzero(lists != NO_ASSET)
    isins = np.array(known.id_map.isins, dtype=object)
    return pd.DataFrame(
        {
            "time_point": split.time_point.isoformat(),
            "customerID": np.array(split.customer_ids, dtype=object)[row],
            "rank": place + 1,
            "ISIN": isins[lists[row, place]],
        }
    )


def write_lists(frames: Iterable[pd.DataFrame], path: Path) -> None:
    """Write the file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    pd.concat([pd.DataFrame(columns=COLUMNS), *frames]).to_csv(part, index=False)
    part.replace(path)


def read_lists(path: Path) -> pd.DataFrame:
    """Read a file of lists; raises ListsInvalid when it is not one."""
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ListsInvalid(f"{path} cannot be read: {error}") from error
    missing = [column for column in COLUMNS if column not in frame]
    if missing:
        raise ListsInvalid(f"{path} lacks the column {missing[0]}")
    ranks = pd.to_numeric(frame["rank"], errors="coerce")
    wrong = ~ranks.isin(range(1, K + 1))
    if wrong.any():
        raise ListsInvalid(f"rank {frame['rank'][wrong].iloc[0]!r} is not one of 1 to {K} ({_where(frame[wrong])})")
    return frame[COLUMNS].assign(rank=ranks.astype(int))


def check_lists(frame: pd.DataFrame, split: Split, *, owned: pd.MultiIndex) -> None:
    """Raise ListsInvalid when lists of one time point name a stranger, an owned asset, or a place twice.

    owned: customer and ISIN of everything bought up to the time point.
    """
    named = pd.MultiIndex.from_frame(frame[["customerID", "ISIN"]])
    failures = {
        "is no customer of this time point": ~frame["customerID"].isin(split.customer_ids),
        "is no asset of this time point": ~frame["ISIN"].isin(split.isins),
        "has two assets at one rank": frame.duplicated(["customerID", "rank"]),
        "is listed twice": frame.duplicated(["customerID", "ISIN"]),
        "is owned already": pd.Series(named.isin(owned), index=frame.index),
    }
    for failure, wrong in failures.items():
        if wrong.any():
            of_customer = "customer" in failure or "rank" in failure
            subject = frame["customerID" if of_customer else "ISIN"][wrong].iloc[0]
            raise ListsInvalid(f"{subject} {failure} ({_where(frame[wrong])}; {int(wrong.sum())} such rows)")


def _where(frame: pd.DataFrame) -> str:
    first = frame.iloc[0]
    return f"time point {first['time_point']}, customer {first['customerID']}, rank {first['rank']}"
