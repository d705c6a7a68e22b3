"""History vectors: what is owned, and what was done in the app as a fraction of that."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.recommender.history import LEAST_HISTORY_WEIGHT, build_history_matrix, dismissed_isins, watched_isins
from shared.recommender.id_map import AssetIdMap
from shared.recommender.types import (
    INTERACTION_WINDOW,
    CustomerHistory,
    Interaction,
    InteractionType,
    InteractionWeights,
)
from tests.builders import NOW, build_history, build_interaction

ID_MAP = AssetIdMap(("A", "B", "C", "D"))
WEIGHTS = InteractionWeights(click=0.5, view=0.2, watchlist=0.8, half_life_days=30)


def row_of(history: CustomerHistory) -> list[float]:
    matrix = build_history_matrix(ID_MAP, [history], interaction_weights=WEIGHTS, now=NOW)
    assert matrix.dtype == np.float32
    return [float(value) for value in matrix.toarray()[0]]


def test_an_owned_asset_counts_one_and_unknown_isins_nothing() -> None:
    history = build_history(owned=["C", "A", "UNKNOWN", "A"], interactions=[build_interaction("UNKNOWN")])
    assert row_of(history) == [1, 0, 1, 0]


def test_each_type_of_interaction_has_its_weight() -> None:
    kinds = ["click", "view", "watchlist", "dismiss"]
    history = build_history(interactions=[build_interaction(*pair) for pair in zip("ABCD", kinds, strict=True)])
    assert row_of(history) == pytest.approx([0.5, 0.2, 0.8, 0])


def test_an_interaction_counts_half_after_each_half_life() -> None:
    history = build_history(interactions=[build_interaction(isin, days_ago=30 * n) for n, isin in enumerate("ABCD")])
    assert row_of(history) == pytest.approx([0.5, 0.25, 0.125, 0.0625])


def test_an_interaction_after_now_counts_as_just_happened() -> None:
    assert row_of(build_history(interactions=[build_interaction("A", days_ago=-30)])) == pytest.approx([0.5, 0, 0, 0])


def test_interactions_add_up_to_one_at_most() -> None:
    two, five = [build_interaction("A", "view")] * 2, [build_interaction("B")] * 5
    assert row_of(build_history(interactions=[*two, *five])) == pytest.approx([0.4, 1, 0, 0])


def test_what_was_owned_formerly_counts_like_what_is_owned_now() -> None:
    history = replace(build_history(owned=["A"]), formerly_held=("C", "UNKNOWN"))
    assert row_of(history) == row_of(build_history(owned=["A", "C"])) == [1, 0, 1, 0]


def test_interactions_add_nothing_to_an_owned_asset() -> None:
    assert row_of(build_history(owned=["A"], interactions=[build_interaction("A")])) == [1, 0, 0, 0]


def test_a_dismissal_takes_back_what_interactions_said_but_not_a_purchase() -> None:
    said = [build_interaction(isin, days_ago=2) for isin in "AB"]
    taken_back = [build_interaction(isin, "dismiss", days_ago=1) for isin in "AB"]
    assert row_of(build_history(owned=["B"], interactions=[*said, *taken_back])) == [0, 1, 0, 0]


def test_a_dismissal_older_than_the_interactions_takes_back_nothing_that_was_said_later() -> None:
    history = replace(build_history(interactions=[build_interaction("A")]), dismissed=("A", "B"))
    assert row_of(history) == pytest.approx([0.5, 0, 0, 0])


def done(*steps: str) -> tuple[Interaction, ...]:
    """Return interactions from "isin type" in the order of the log; clocks say the opposite."""
    return tuple(build_interaction(*step.split(), days_ago=0.001 * number) for number, step in enumerate(steps))


def test_a_watchlist_entry_before_an_unwatch_counts_nothing_and_clicks_still_do() -> None:
    steps = done("A watchlist", "A view", "B watchlist", "A unwatch", "C unwatch", "C watchlist", "D unwatch")
    assert row_of(build_history(interactions=steps)) == pytest.approx([0.2, 0.8, 0.8, 0], abs=1e-3)


def test_an_unwatch_takes_back_every_earlier_entry_and_no_later_one() -> None:
    steps = done("A watchlist", "A watchlist", "A unwatch", "A watchlist", "B watchlist", "B unwatch", "B unwatch")
    assert row_of(build_history(interactions=steps)) == pytest.approx([0.8, 0, 0, 0], abs=1e-3)
    assert watched_isins(steps) == {"A"}


def test_an_undismissed_asset_counts_as_if_it_had_not_been_dismissed() -> None:
    steps = done("A click", "A dismiss", "A undismiss", "B undismiss", "B click", "B dismiss")
    assert row_of(build_history(interactions=steps)) == pytest.approx([0.5, 0, 0, 0], abs=1e-3)
    assert dismissed_isins(build_history(interactions=steps)) == {"B"}


@pytest.mark.parametrize("kind", ["click", "view", "watchlist", "undismiss"])
def test_what_shows_interest_after_a_dismissal_ends_it(kind: str) -> None:
    assert dismissed_isins(build_history(interactions=done("A dismiss", f"A {kind}"))) == set()


@pytest.mark.parametrize("kind", ["impression", "unwatch"])
def test_what_shows_no_interest_after_a_dismissal_does_not_end_it(kind: str) -> None:
    recent = build_history(interactions=done("A dismiss", f"A {kind}"))
    old = replace(build_history(interactions=done(f"A {kind}")), dismissed=("A",))
    assert dismissed_isins(recent) == dismissed_isins(old) == {"A"}


def test_impressions_displace_no_click_from_the_window() -> None:
    shown = [build_interaction("B", "impression")] * (INTERACTION_WINDOW + 1)
    assert row_of(build_history(interactions=[build_interaction("A"), *shown])) == pytest.approx([0.5, 0, 0, 0])


all_steps = st.lists(st.tuples(st.sampled_from("ABCDX"), st.sampled_from([kind.value for kind in InteractionType])))


@given(all_steps)
def test_impressions_change_no_history_and_no_set(steps: list[tuple[str, str]]) -> None:
    with_them = build_history(interactions=done(*map(" ".join, steps)))
    kept = [one for one in with_them.interactions if one.type is not InteractionType.IMPRESSION]
    without = build_history(interactions=kept)
    assert row_of(with_them) == row_of(without)
    assert dismissed_isins(with_them) == dismissed_isins(without)
    assert watched_isins(with_them.interactions) == watched_isins(kept)


def test_only_the_newest_interactions_of_the_log_add_weight() -> None:
    old = [build_interaction("A")]
    many = [build_interaction("X", "view")] * (INTERACTION_WINDOW - 1)
    assert row_of(build_history(interactions=[*old, *many])) == pytest.approx([0.5, 0, 0, 0])
    assert row_of(build_history(interactions=[*old, *many, *many[:1]])) == [0, 0, 0, 0]


def test_what_is_almost_forgotten_leaves_no_entry() -> None:
    half_lives = np.log2(0.5 / LEAST_HISTORY_WEIGHT)
    history = build_history(
        interactions=[
            build_interaction("A", days_ago=30 * (half_lives - 0.1)),
            build_interaction("B", days_ago=30 * (half_lives + 0.1)),
        ]
    )
    matrix = build_history_matrix(ID_MAP, [history], interaction_weights=WEIGHTS, now=NOW)
    assert matrix.indices.tolist() == [0]


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        build_history_matrix(ID_MAP, [], interaction_weights=WEIGHTS, now=datetime(2022, 1, 1))


def test_no_histories_give_no_rows() -> None:
    assert build_history_matrix(ID_MAP, [], interaction_weights=WEIGHTS, now=NOW).shape == (0, 4)


def test_even_the_last_bit_does_not_depend_on_the_order_of_interactions() -> None:
    # 0.5 + 2^-25 lies halfway between two float32 values; two views together just tip it, one after the other do not.
    weights = InteractionWeights(click=0.5 + 2**-25, view=0.75 * 2**-54)
    click, view = build_interaction("A", "click"), build_interaction("A", "view")
    values = {
        build_history_matrix(
            ID_MAP, [build_history(interactions=done)], interaction_weights=weights, now=NOW
        ).data.tobytes()
        for done in ([click, view, view], [view, view, click])
    }
    assert len(values) == 1


kinds = st.sampled_from(["click", "view", "watchlist", "impression"])  # the others end what came before them
interactions = st.builds(
    lambda isin, kind, days: build_interaction(isin, kind, days_ago=days),
    st.sampled_from("ABCDX"),
    kinds,
    st.floats(-10, 1000),
)


@given(st.lists(st.sampled_from("ABCDX")), st.lists(interactions), st.randoms(use_true_random=False))
def test_the_order_of_what_happened_changes_no_bit(
    owned: list[str], done: list[Interaction], shuffle: random.Random
) -> None:
    plain = build_history_matrix(
        ID_MAP, [build_history(owned=owned, interactions=done)], interaction_weights=WEIGHTS, now=NOW
    )
    shuffle.shuffle(owned)
    shuffle.shuffle(done)
    shuffled = build_history_matrix(
        ID_MAP, [build_history(owned=owned, interactions=done)], interaction_weights=WEIGHTS, now=NOW
    )
    assert plain.data.tobytes() == shuffled.data.tobytes()
    assert plain.indices.tobytes() == shuffled.indices.tobytes()
    assert plain.has_canonical_format
    assert ((plain.data >= np.float32(LEAST_HISTORY_WEIGHT)) & (plain.data <= 1)).all()
