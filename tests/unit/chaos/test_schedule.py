"""The schedule: the seed alone decides it, and every kind of fault is in a campaign of the usual size."""

from __future__ import annotations

import pytest

from tests.chaos.failpoints import CAMPAIGN
from tests.chaos.schedule import (
    CLOSING,
    FAULTS,
    KILLS,
    OPENING,
    OTHERS,
    STORMS,
    build_schedule,
    check_names,
    count_kills,
)


def test_the_same_seed_gives_the_same_schedule() -> None:
    assert build_schedule(seed=7, kills=25) == build_schedule(seed=7, kills=25)
    assert build_schedule(seed=7, kills=25) != build_schedule(seed=8, kills=25)


@pytest.mark.parametrize("kills", [0, 3, 25, 300])
def test_a_schedule_has_so_many_kills_and_every_other_fault_once(kills: int) -> None:
    schedule = build_schedule(seed=1, kills=kills)

    assert sum(map(count_kills, schedule)) == kills
    assert all(schedule.count(name) == 1 for name in (*OPENING, *OTHERS, *CLOSING))
    assert schedule[: len(OPENING)] == list(OPENING)
    assert schedule[-len(CLOSING) :] == list(CLOSING)


def test_twenty_five_kills_have_every_kind_and_every_failpoint() -> None:
    assert set(build_schedule(seed=3, kills=25)) == FAULTS.keys() - STORMS.keys()
    assert set(build_schedule(seed=3, kills=300)) == FAULTS.keys()
    assert {f"kill_at_{name}" for name in CAMPAIGN} < set(KILLS)


def test_a_fault_that_does_not_exist_is_refused() -> None:
    check_names(["kill_api", "zombie"])
    with pytest.raises(ValueError, match="no such fault: kill_everybody"):
        check_names(["kill_api", "kill_everybody"])
