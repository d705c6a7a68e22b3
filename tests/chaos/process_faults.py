"""Processes that are killed: a service at any moment or at a failpoint, all of them, the broker, the database."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial

from script.local.service_processes import SERVICES
from tests.chaos.campaign import Campaign
from tests.chaos.failpoints import CAMPAIGN, FAILPOINTS
from tests.chaos.services import wait_until

STORM_KILLS = 5
_FAILPOINT_SECONDS = 60.0
_SHUTDOWN_SECONDS = 15.0


def kill_service(campaign: Campaign, service: str) -> None:
    """kill -9 at a random moment, then start it again."""
    process = campaign.system[service]
    campaign.wait_randomly()
    with campaign.down():
        process.kill()
        campaign.wait_randomly(0.5)
        since = time.monotonic()
        process.start()
    _recover(campaign, f"kill {service}", service, since)


def kill_at_failpoint(campaign: Campaign, failpoint: str) -> None:
    """Let the service kill itself when it reaches the failpoint, then start it again."""
    service = FAILPOINTS[failpoint].service
    process = campaign.system[service]
    campaign.system.failpoints.arm(failpoint, "kill")
    if service == "trainer":
        campaign.retrain()
    if not wait_until(lambda: not process.is_running, seconds=_FAILPOINT_SECONDS):
        campaign.system.failpoints.disarm(failpoint)
        campaign.expect(False, f"{service} did not reach {failpoint} within {_FAILPOINT_SECONDS:.0f} s")
        return
    with campaign.down():
        process.kill()  # only forgets the process: it is dead
        since = time.monotonic()
        process.start()
    _recover(campaign, f"kill {service}", service, since)


def kill_all(campaign: Campaign) -> None:
    """kill -9 of all three services at once."""
    processes = [campaign.system[service] for service in SERVICES]
    campaign.wait_randomly()
    with campaign.down():
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
        for process in processes:
            process.kill()
        since = time.monotonic()
        for process in processes:
            process.start()
    campaign.recover("kill all three services", since=since, ready=campaign.system["trainer"].is_ready)


def kill_storm(campaign: Campaign) -> None:
    """A crash loop: five kills of any service, each started again at once, nobody waits for a recovery in between."""
    with campaign.down():
        for _ in range(STORM_KILLS):
            process = campaign.system[campaign.random.choice(("api", "worker", "worker", "trainer"))]
            process.kill()
            since = time.monotonic()
            process.start()
            campaign.wait_randomly(1.0)
    campaign.recover("kill storm", since=since)


def kill_broker(campaign: Campaign) -> None:
    """kill -9 of the broker; same data afterwards."""
    campaign.wait_randomly()
    with campaign.down():
        campaign.system.kafka.kill()
        since = time.monotonic()
        campaign.system.kafka.start()
    campaign.recover("kill broker", since=since)


def freeze_broker(campaign: Campaign) -> None:
    """SIGSTOP: connections stay open and nothing is answered, longer than the gateway waits."""
    kafka = campaign.system.kafka
    with campaign.down():
        os.kill(kafka.pid, signal.SIGSTOP)
        try:
            time.sleep(campaign.lengths.broker_frozen_seconds)
        finally:
            os.kill(kafka.pid, signal.SIGCONT)
        since = time.monotonic()
    campaign.recover("freeze broker", since=since)


def kill_api_while_broker_is_frozen(campaign: Campaign) -> None:
    """What the gateway holds in memory dies with it: nothing of that may have been acknowledged."""
    kafka, api = campaign.system.kafka, campaign.system["api"]
    with campaign.down():
        os.kill(kafka.pid, signal.SIGSTOP)
        try:
            time.sleep(2.0)
            api.kill()
        finally:
            os.kill(kafka.pid, signal.SIGCONT)
        since = time.monotonic()
        api.start()
    campaign.recover("kill api", since=since)


def stop_postgres_at_once(campaign: Campaign) -> None:
    """An immediate stop (SIGQUIT): sessions are cut, the next start replays the log."""
    postgres = campaign.system.postgres
    campaign.wait_randomly()
    with campaign.down():
        os.kill(postgres.pid, signal.SIGQUIT)
        stopped = wait_until(lambda: not postgres.is_running, seconds=_SHUTDOWN_SECONDS)
        campaign.expect(stopped, "PostgreSQL did not stop at once")
        postgres.kill()  # only forgets the process, unless it did not stop
        since = time.monotonic()
        postgres.start()
    campaign.recover("stop PostgreSQL at once", since=since)


def postgres_down(campaign: Campaign) -> None:
    """The database is away for a minute; requests are taken meanwhile."""
    with campaign.down():
        campaign.system.postgres.stop()
        time.sleep(campaign.lengths.database_down_seconds)
        since = time.monotonic()
        campaign.system.postgres.start()
    campaign.recover("PostgreSQL down", since=since)


def _recover(campaign: Campaign, kind: str, service: str, since: float) -> None:
    process = campaign.system[service]
    # Lists go on without the trainer: it has recovered when it is ready itself.
    ready = process.is_ready if service == "trainer" else (lambda: True)
    campaign.recover(kind, since=since, ready=ready)


KILLS: dict[str, Callable[[Campaign], None]] = {
    **{f"kill_{service}": partial(kill_service, service=service) for service in SERVICES},
    **{f"kill_at_{name}": partial(kill_at_failpoint, failpoint=name) for name in CAMPAIGN},
    "kill_all": kill_all,
    "kill_broker": kill_broker,
    "kill_api_while_broker_is_frozen": kill_api_while_broker_is_frozen,
    "stop_postgres_at_once": stop_postgres_at_once,
}
