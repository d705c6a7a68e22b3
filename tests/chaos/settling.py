"""The end of a campaign: wait until every promise is kept, or is late enough to be broken; then judge."""

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
)
from tests.chaos.fuzzed_comparison import Letter, compare_fuzzed
from tests.chaos.fuzzed_events import COMMANDS, NAME_SPACE
from tests.chaos.ledger import acknowledged
from tests.chaos.system import Stage

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
        fuzzed = _judge_fuzzed(campaign)
        missing = len(find_lost(promised, effects)) + fuzzed.lost.count + fuzzed.let_through.count
        if not missing or time.monotonic() > deadline:
            break
        time.sleep(1.0)
    campaign.notes["lists asked for after a dismissal"] = count_read_your_clicks(calls)
    _check_dead_letters(campaign)
    _check_models(campaign)
    verdict = compare(calls, effects, outages=campaign.outages(), until=time.time())
    return replace(verdict, fuzzed=fuzzed)


def fetch_effects(stage: Stage, *, fuzzed: bool = False) -> Effects:
    """Read all effects, of the fuzzer's customers or of all others."""
    mine = "starts_with(customer_id, %s)" if fuzzed else "NOT starts_with(customer_id, %s)"
    condition, parameters = f"{mine} AND NOT starts_with(customer_id, %s)", (NAME_SPACE, OWN_BOOKS)
    interactions = stage.query(
        "SELECT event_id::text, customer_id, partition, event_offset, extract(epoch FROM recorded_at)::float, sequence"
        f" FROM user_interactions WHERE {condition}",
        *parameters,
    )
    decisions = stage.query(
        "SELECT request_id::text, customer_id, partition, event_offset, extract(epoch FROM decided_at)::float,"
        f" ARRAY(SELECT jsonb_array_elements(items)->>'isin') FROM decisions WHERE {condition}",
        *parameters,
    )
    rewinds = stage.query("SELECT consumer_group, topic, partition, was, became FROM chaos_rewinds ORDER BY seen_at")
    return Effects(
        [Row(*row[:5], sequence=row[5]) for row in interactions],  # type: ignore[misc]
        [Row(*row[:5], frozenset(row[5])) for row in decisions],  # type: ignore[call-arg]
        [
            f"offset of {group}: {topic}[{partition}] from {was} back to {now}"
            for group, topic, partition, was, now in rewinds
        ],
    )


def fetch_letters(stage: Stage) -> list[Letter]:
    """Read the dead letters of the worker and of the trainer."""
    rows = stage.query(
        "SELECT topic, partition, event_offset, consumer_group, reason FROM dead_letters"
        " WHERE consumer_group IN ('worker', 'trainer')"
    )
    return [Letter((topic, partition, offset), group, reason) for topic, partition, offset, group, reason in rows]


def _judge_fuzzed(campaign: Campaign) -> FuzzedVerdict:
    return compare_fuzzed(campaign.fuzzed, fetch_letters(campaign.stage), fetch_effects(campaign.stage, fuzzed=True))


def _check_dead_letters(campaign: Campaign) -> None:
    """All poison is there, each once, and nothing else is but what was fuzzed."""
    letters = fetch_letters(campaign.stage)
    by_owner = {each.place for each in letters if (each.group == "trainer") == (each.place[0] == COMMANDS)}
    unburied = campaign.poison - by_owner
    campaign.expect(not unburied, f"{len(unburied)} poison messages have no dead letter: {sorted(unburied)[:3]}")
    # Whether a fuzzed message may have one is judged with the fuzzed messages.
    known = campaign.poison | {each.place for each in campaign.fuzzed}
    innocent = [each for each in letters if each.place not in known]
    campaign.expect(not innocent, f"{len(innocent)} dead letters are no poison of ours: {innocent[:3]}")


def _check_models(campaign: Campaign) -> None:
    served = campaign.stage.query(
        "SELECT model_version, count(*) FROM decisions WHERE model_version = ANY(%s) GROUP BY 1",
        sorted(campaign.forbidden_models),
    )
    campaign.expect(not served, f"lists were made by damaged artifacts: {served}")
