"""Lists of a time point are the same whatever happens later: rows after it are moved, deleted, corrupted or added."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.trainer.benchmark.planted_folder import TIME_POINTS, Folder, planted_folder, with_rows
from trainer.benchmark.algorithms.frontier import frontier_names
from trainer.benchmark.algorithms.registry import ALGORITHMS, missing_library
from trainer.benchmark.running import run_algorithms

TIME_POINT = TIME_POINTS[0].isoformat()
# These take seconds each; they see the same KnownData as all others, and one example of each change.
SLOW = {"als", "bpr", "lightfm", "lightfm-features", "price-random-forest", "price-lightgbm", "lambdamart"}
SLOW |= {"blend-lambdamart", "lightgcn"}
AVAILABLE = [name for name in ALGORITHMS if missing_library(name) is None]
FAST = [name for name in AVAILABLE if name not in SLOW]
TILTED = [name for name in frontier_names() if name.startswith("blend-") and name.endswith("@1")]
HOW = ("delete", "delete some", "move", "corrupt", "double", "shuffle")


def lists_of(folder: Folder, algorithms: list[str], *, relevant: bool = False) -> dict[str, pd.DataFrame]:
    """Make lists for the time point from a folder that is written for this alone."""
    with tempfile.TemporaryDirectory() as directory:
        data = folder.write(Path(directory), relevant=relevant)
        runs = run_algorithms(
            data,
            reference_tables=Path(directory) / "FAR-Trans",
            algorithms=algorithms,
            time_points=[TIME_POINT],
            jobs=1,
        )
        return {run.algorithm: run.lists for run in runs}


@cache
def expected() -> dict[str, pd.DataFrame]:
    return lists_of(planted_folder(), [*AVAILABLE, *TILTED], relevant=True)


def change(frame: pd.DataFrame, column: str, how: str, seed: int) -> pd.DataFrame:
    """Change only rows dated after the time point; they stay after it."""
    random = np.random.default_rng(seed)
    later = (frame[column] > TIME_POINT).to_numpy()
    changed = frame.copy()
    if how == "delete":
        return changed[~later]
    if how == "delete some":
        return changed[~(later & (random.random(len(changed)) < 0.5))]
    if how == "double":
        return pd.concat([changed, changed[later].iloc[::-1]])
    if how == "move":
        changed.loc[later, column] = random.choice(["2019-10-02", "2031-01-01"], int(later.sum()))
        return changed
    if how == "shuffle":
        return pd.concat([changed[later].sample(frac=1.0, random_state=seed), changed[~later]])
    return corrupt(changed, later, column, random)


def corrupt(frame: pd.DataFrame, later: np.ndarray, column: str, random: np.random.Generator) -> pd.DataFrame:
    for name in frame.columns.drop(column):
        if name == "closePrice":
            frame.loc[later, name] = random.choice([0.0, -1.0, 1e9, np.nan], int(later.sum()))
        else:
            frame.loc[later, name] = random.permutation(frame[name].to_numpy())[: int(later.sum())]
    return frame


def changed_folder(how: str, seed: int) -> Folder:
    folder = planted_folder()
    return with_rows(
        folder,
        first_buys=change(folder.first_buys, "date", how, seed),
        customers=change(folder.customers, "timestamp", how, seed),
        assets=change(folder.assets, "timestamp", how, seed),
        prices=change(folder.prices, "timestamp", how, seed),
    )


def assert_same(lists: dict[str, pd.DataFrame]) -> None:
    for name, frame in lists.items():
        assert len(frame), name
        pd.testing.assert_frame_equal(frame, expected()[name], obj=name)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(how=st.sampled_from(HOW), seed=st.integers(0, 2**16))
def test_no_row_after_the_time_point_reaches_a_list(how: str, seed: int) -> None:
    assert_same(lists_of(changed_folder(how, seed), [*FAST, *TILTED]))


@pytest.mark.parametrize("how", ["delete", "move", "corrupt"])
def test_no_row_after_the_time_point_reaches_a_slow_learner(how: str) -> None:
    assert_same(lists_of(changed_folder(how, 3), [name for name in AVAILABLE if name in SLOW]))


@pytest.mark.parametrize("name", [name for name in AVAILABLE if name not in {"random"}])
def test_rows_before_the_time_point_do_matter(name: str) -> None:
    """Without this the property above would also hold for an algorithm that reads nothing."""
    assert not fewer()[name].equals(expected()[name])


@cache
def fewer() -> dict[str, pd.DataFrame]:
    """Half of what was known is gone."""
    folder = planted_folder()
    halved = with_rows(
        folder,
        first_buys=folder.first_buys.iloc[::2],
        prices=folder.prices[folder.prices["timestamp"] > "2018-09-01"].assign(
            closePrice=lambda frame: frame["closePrice"][::-1].to_numpy()
        ),
    )
    return lists_of(halved, AVAILABLE)
