"""Workers that come, go, freeze, and fall behind."""

from __future__ import annotations

import time

from shared.events import WORKER_TOPICS
from tests.chaos.campaign import Campaign
from tests.chaos.direct import fetch_lag, partition_count
from tests.chaos.services import FaultyService, wait_until

REBALANCES = 2
BURST_FACTOR = 10
MOST_MEGABYTES = 700.0  # of a worker that catches up
MOST_ASSIGNMENTS = 3
_READY_SECONDS = 60.0
_ZOMBIE_SECONDS = 40.0
_REFUSAL_SECONDS = 10.0


def rebalances(campaign: Campaign) -> None:
    """A second worker comes and goes, cleanly and by kill -9, while the first one works."""
    second = campaign.system.add("worker", name="worker-2")
    for number in range(REBALANCES):
        since = time.monotonic()
        second.start()
        campaign.expect(wait_until(second.is_ready, seconds=_READY_SECONDS), "a second worker did not become ready")
        campaign.recover("rebalance", since=since)
        campaign.wait_randomly(2.0)
        since = time.monotonic()
        with campaign.down():
            second.stop() if number % 2 == 0 else second.kill()
        campaign.recover("rebalance", since=since)


def zombie(campaign: Campaign) -> None:
    """A worker frozen with a batch in its hands comes back after another one has taken over: it may write nothing."""
    _zombie(campaign, "worker.before_transaction", kind="frozen worker", refusals=("StaleOffsets",))


def zombie_with_locks(campaign: Campaign) -> None:
    """The same inside the transaction, with the rows locked: the database ends that session after 20 s."""
    refusals = ("StaleOffsets", "terminating connection", "server closed the connection", "connection already closed")
    _zombie(campaign, "worker.offsets_locked", kind="frozen worker with locks", refusals=refusals)


def far_behind(campaign: Campaign) -> None:
    """Ten times the load while no worker runs; then one catches up, with bounded memory and without rebalances."""
    worker = campaign.system["worker"]
    with campaign.down():
        worker.stop()
        campaign.load.set_pace(campaign.calls_per_second * BURST_FACTOR)
        time.sleep(campaign.lengths.burst_seconds)
        campaign.load.set_pace(campaign.calls_per_second)
        lag = fetch_lag(campaign)
        position = worker.log_end()
        since = time.monotonic()
        worker.start()
    most = 0.0

    def caught_up() -> bool:
        nonlocal most
        most = max(most, worker.resident_megabytes())
        return fetch_lag(campaign) < 50

    campaign.expect(wait_until(caught_up, seconds=90, pause_seconds=0.2), "the worker did not catch up")
    campaign.recover("far behind", since=since)
    assignments = worker.logged_since(position, "consumer.assigned")
    campaign.notes["far behind"] = {"messages": lag, "most_megabytes": round(most), "assignments": assignments}
    campaign.expect(most < MOST_MEGABYTES, f"the worker held {most:.0f} MB while it caught up")
    campaign.expect(assignments <= MOST_ASSIGNMENTS, f"{assignments} assignments while the worker caught up")


def _zombie(campaign: Campaign, failpoint: str, *, kind: str, refusals: tuple[str, ...]) -> None:
    system = campaign.system
    first, second = system["worker"], system.add("worker", name="worker-2")
    second.start()
    campaign.expect(wait_until(second.is_ready, seconds=_READY_SECONDS), "a second worker did not become ready")
    wait_until(lambda: assigned_partitions(second) > 0, seconds=_READY_SECONDS)
    position = {each.name: each.log_end() for each in (first, second)}
    since = time.monotonic()
    with campaign.down():
        system.failpoints.arm(failpoint, "stop")
        met = wait_until(lambda: system.failpoints.met_by(failpoint) is not None, seconds=_ZOMBIE_SECONDS)
        system.failpoints.disarm(failpoint)
    campaign.expect(met, f"no worker came to {failpoint}")
    frozen = first if system.failpoints.met_by(failpoint) == first.pid else second
    other = second if frozen is first else first
    all_partitions = len(WORKER_TOPICS) * partition_count(campaign)
    taken = wait_until(lambda: assigned_partitions(other) == all_partitions, seconds=_ZOMBIE_SECONDS)
    campaign.expect(taken, f"nobody took over the partitions of the frozen {frozen.name}")
    campaign.recover(kind, since=since)
    wait_until(lambda: fetch_lag(campaign) < 50, seconds=_ZOMBIE_SECONDS)
    frozen.resume()

    def refused() -> bool:
        return any(frozen.logged_since(position[frozen.name], text) for text in refusals)

    campaign.expect(
        wait_until(refused, seconds=_REFUSAL_SECONDS),
        f"the write of the zombie {frozen.name} ({failpoint}) was not refused",
    )
    since = time.monotonic()
    second.stop()
    campaign.recover("rebalance", since=since)


def assigned_partitions(worker: FaultyService) -> int:
    """Return how many partitions a worker says that it owns."""
    for line in worker.get("/metrics")[1].splitlines():
        if line.startswith("recommender_worker_assigned_partitions "):
            return int(float(line.split()[1]))
    return 0
