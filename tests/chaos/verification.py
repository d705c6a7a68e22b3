"""The end of a campaign: wait for the effect of every acknowledged call, for a limited time; then compare."""

from __future__ import annotations

import time
from dataclasses import replace

from tests.chaos.campaign import Campaign
from tests.chaos.comparison import (
    STUCK_SECONDS,
    Effects,
    FuzzedVerdict,
    Row,
    Verdict,
    compare,
    count_read_your_clicks,
    find_lost,
    promised_effects,
)
from tests.chaos.fuzzed_comparison import Letter, compare_fuzzed
from tests.chaos.fuzzed_events import COMMANDS, NAME_SPACE
from tests.chaos.system import System

# What is not there a minute after the last fault is stuck; what is not there after two counts as lost.
EFFECT_TIMEOUT_SECONDS = 2 * STUCK_SECONDS
# Customers of the fault whose partition stops by design are checked by that fault alone.
SEPARATE_CUSTOMERS = "separate-"


def verify(campaign: Campaign, *, timeout_seconds: float = EFFECT_TIMEOUT_SECONDS) -> Verdict:
    """Return the verdict on every acknowledged call; call it when everything runs and the load has ended."""
    deadline = time.monotonic() + timeout_seconds
    calls = campaign.ledger.calls()
    promised = promised_effects(calls)
    while True:
        effects = fetch_effects(campaign.system)
        fuzzed = _compare_fuzzed(campaign)
        missing = len(find_lost(promised, effects)) + fuzzed.lost.count + fuzzed.let_through.count
        if not missing or time.monotonic() > deadline:
            break
        time.sleep(1.0)
    campaign.notes["lists asked for after a dismissal or an order"] = count_read_your_clicks(calls)
    _check_dead_letters(campaign)
    _check_models(campaign)
    verdict = compare(calls, effects, outages=campaign.outages(), until=time.time())
    return replace(verdict, fuzzed=fuzzed)


def fetch_effects(system: System, *, fuzzed: bool = False) -> Effects:
    """Read all effects, of the fuzzer's customers or of all others."""
    mine = "starts_with(customer_id, %s)" if fuzzed else "NOT starts_with(customer_id, %s)"
    condition, parameters = f"{mine} AND NOT starts_with(customer_id, %s)", (NAME_SPACE, SEPARATE_CUSTOMERS)
    interactions = system.query(
        "SELECT event_id::text, customer_id, partition, event_offset, extract(epoch FROM recorded_at)::float, sequence"
        f" FROM user_interactions WHERE {condition}",
        *parameters,
    )
    transactions, profiles = (
        system.query(
            "SELECT event_id::text, customer_id, partition, event_offset, extract(epoch FROM recorded_at)::float,"
            f" sequence FROM {table} WHERE {condition}",
            *parameters,
        )
        for table in ("recorded_transactions", "recorded_customers")
    )
    decisions = system.query(
        "SELECT request_id::text, customer_id, partition, event_offset, extract(epoch FROM decided_at)::float,"
        " ARRAY(SELECT isin FROM decision_items shown WHERE shown.request_id = decisions.request_id)"
        f" FROM decisions WHERE {condition}",
        *parameters,
    )
    rewinds = system.query("SELECT consumer_group, topic, partition, was, became FROM chaos_rewinds ORDER BY seen_at")
    return Effects(
        [Row(*row[:5], sequence=row[5]) for row in interactions],  # type: ignore[misc]
        [Row(*row[:5], frozenset(row[5])) for row in decisions],  # type: ignore[call-arg]
        [
            f"offset of {group}: {topic}[{partition}] from {was} back to {now}"
            for group, topic, partition, was, now in rewinds
        ],
        [Row(*row[:5], sequence=row[5]) for row in transactions],  # type: ignore[misc]
        [Row(*row[:5], sequence=row[5]) for row in profiles],  # type: ignore[misc]
    )


def fetch_letters(system: System) -> list[Letter]:
    """Read the dead letters of the worker and of the trainer."""
    rows = system.query(
        "SELECT topic, partition, event_offset, consumer_group, reason FROM dead_letters"
        " WHERE consumer_group IN ('worker', 'trainer')"
    )
    return [Letter((topic, partition, offset), group, reason) for topic, partition, offset, group, reason in rows]


def _compare_fuzzed(campaign: Campaign) -> FuzzedVerdict:
    return compare_fuzzed(campaign.fuzzed, fetch_letters(campaign.system), fetch_effects(campaign.system, fuzzed=True))


def _check_dead_letters(campaign: Campaign) -> None:
    """All poison is there, each once, and nothing else is but what was fuzzed."""
    letters = fetch_letters(campaign.system)
    by_owner = {each.place for each in letters if (each.group == "trainer") == (each.place[0] == COMMANDS)}
    missing = campaign.poison - by_owner
    campaign.expect(not missing, f"{len(missing)} poison messages have no dead letter: {sorted(missing)[:3]}")
    # Whether a fuzzed message may have one is checked with the fuzzed messages.
    known = campaign.poison | {each.place for each in campaign.fuzzed}
    unexpected = [each for each in letters if each.place not in known]
    campaign.expect(not unexpected, f"{len(unexpected)} dead letters are no poison of ours: {unexpected[:3]}")


def _check_models(campaign: Campaign) -> None:
    served = campaign.system.query(
        "SELECT model_version, count(*) FROM decisions WHERE model_version = ANY(%s) GROUP BY 1",
        sorted(campaign.forbidden_models),
    )
    campaign.expect(not served, f"lists were made by damaged artifacts: {served}")
