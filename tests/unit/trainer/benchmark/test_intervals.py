"""Intervals over time points: the figures of single draws, and what pairing and missing values do."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.benchmark.intervals import BLOCK_LENGTH, difference_intervals_95, intervals_95, resampled_means
from trainer.evaluation.bootstrap import interval_95

VALUES = np.random.default_rng(3).normal(0.4, 0.05, 31)


def test_intervals_are_those_of_the_trainers_bootstrap() -> None:
    random = np.random.default_rng(0)
    alone = interval_95(VALUES, random=random, resamples=5_000)
    blocks = interval_95(VALUES, random=random, resamples=5_000, block=BLOCK_LENGTH)

    assert intervals_95(VALUES[:, np.newaxis], block="independent") == [pytest.approx(alone)]
    assert intervals_95(VALUES[:, np.newaxis]) == [pytest.approx(blocks)]


def test_a_constant_difference_is_beyond_noise_however_noisy_both_are() -> None:
    (low, high), *_ = difference_intervals_95(VALUES, (VALUES + 0.001)[:, np.newaxis])  # type: ignore[misc]

    assert (low, high) == pytest.approx((0.001, 0.001))
    own = intervals_95(VALUES[:, np.newaxis])[0]
    assert own is not None
    assert own[1] - own[0] > 0.01


def test_missing_values_are_left_out_of_each_mean() -> None:
    some = VALUES.copy()
    some[::2] = np.nan
    drawn = resampled_means(np.stack([some, np.where(np.isnan(some), 7.0, 1.0)], axis=1))[:, 0]

    assert np.nanmin(drawn) >= np.nanmin(some)
    assert np.nanmax(drawn) <= np.nanmax(some)


def test_below_two_blocks_of_known_values_there_is_no_interval() -> None:
    some = np.full((31, 2), np.nan)
    some[: 2 * BLOCK_LENGTH, 0] = 1.0
    some[: 2 * BLOCK_LENGTH - 1, 1] = 1.0

    assert intervals_95(some) == [(1.0, 1.0), None]


def test_few_time_points_are_drawn_one_by_one_for_differences() -> None:
    three = np.array([0.1, 0.2, 0.4])

    assert difference_intervals_95(three, three[:, np.newaxis] + [[0.0], [0.1], [0.2]]) == [pytest.approx((0.0, 0.2))]
    assert difference_intervals_95(three[:1], three[:1, np.newaxis]) == [None]
