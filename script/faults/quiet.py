"""The end of a campaign: wait until every promise is kept, or is late enough to be broken; then judge."""

from __future__ import annotations

import time

from script.faults.campaign import Campaign, Place
from script.faults.comparison import STUCK_SECONDS, Effects, Row, Verdict, compare, count_read_your_clicks, find_lost
from script.faults.ledger import acknowledged
from script.faults.stage import Stage

# What is not there a minute after the last fault is stuck; what is not there after two counts as lost.
PATIENCE_SECONDS = 2 * STUCK_SECONDS
# Customers of the fault that stands still by design keep their own books.
OWN_BOOKS = "own-books-"


def judge(campaign: Campaign, *, patience_seconds: float = PATIENCE_SECONDS) -> Verdict:
    """Return the verdict on everything that was promised; call it when all is up and the load has ended."""
    deadline = time.monotonic() + patience_seconds
    calls = campaign.ledger.calls()
    promised = acknowledged(calls, "interaction") + acknowledged(calls, "request")
    while True:
        effects = fetch_effects(campaign.stage)
        missing = len(find_lost(promised, effects))
        if not missing or time.monotonic() > deadline:
            break
        time.sleep(1.0)
    campaign.notes["lists asked for after a dismissal"] = count_read_your_clicks(calls)
    _check_dead_letters(campaign)
    _check_models(campaign)
    return compare(calls, effects, outages=campaign.outages(), until=time.time())


def fetch_effects(stage: Stage) -> Effects:
    """Read all effects."""
    interactions = stage.query(
        "SELECT event_id::text, customer_id, partition, event_offset, extract(epoch FROM recorded_at)::float"
        " FROM user_interactions WHERE NOT starts_with(customer_id, %s)",
        OWN_BOOKS,
    )
    decisions = stage.query(
        "SELECT request_id::text, customer_id, partition, event_offset, extract(epoch FROM decided_at)::float,"
        " ARRAY(SELECT jsonb_array_elements(items)->>'isin') FROM decisions WHERE NOT starts_with(customer_id, %s)",
        OWN_BOOKS,
    )
    rewinds = stage.query("SELECT consumer_group, topic, partition, was, became FROM chaos_rewinds ORDER BY seen_at")
    return Effects(
        [Row(*row) for row in interactions],
        [Row(*row[:5], frozenset(row[5])) for row in decisions],  # type: ignore[call-arg]
        [
            f"offset of {group}: {topic}[{partition}] from {was} back to {now}"
            for group, topic, partition, was, now in rewinds
        ],
    )


def _check_dead_letters(campaign: Campaign) -> None:
    """All poison is there, each once, and nothing else is."""
    rows = campaign.stage.query(
        "SELECT topic, partition, event_offset, consumer_group, reason FROM dead_letters"
        " WHERE consumer_group IN ('worker', 'trainer')"
    )
    by_worker = {(topic, partition, offset) for topic, partition, offset, group, _ in rows if group == "worker"}
    unburied: set[Place] = campaign.poison - by_worker
    campaign.expect(not unburied, f"{len(unburied)} poison messages have no dead letter: {sorted(unburied)[:3]}")
    innocent = [row for row in rows if row[:3] not in campaign.poison]
    campaign.expect(not innocent, f"{len(innocent)} dead letters are no poison of ours: {innocent[:3]}")


def _check_models(campaign: Campaign) -> None:
    served = campaign.stage.query(
        "SELECT model_version, count(*) FROM decisions WHERE model_version = ANY(%s) GROUP BY 1",
        sorted(campaign.forbidden_models),
    )
    campaign.expect(not served, f"lists were made by damaged artifacts: {served}")
