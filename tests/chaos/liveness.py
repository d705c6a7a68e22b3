"""What must hold while messages are bad: the same processes, alive, and nobody else waits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from script.local.owned_process import LocalServerError
from tests.chaos.campaign import Campaign
from tests.chaos.comparison import Place
from tests.chaos.direct import stored_offsets
from tests.chaos.fuzzed_events import COMMANDS
from tests.chaos.ledger import acknowledged
from tests.chaos.services import FaultyService, wait_until

SERVED_SECONDS = 30.0  # a customer's own request waits no longer for its list: half of what counts as stuck
PASSED_SECONDS = 60.0  # every message of a burst is stored or refused by then
_LIVENESS_PAUSE_SECONDS = 1.0
_READY_SECONDS = 60.0
_CONSUMERS = ("worker", "trainer")


@dataclass
class Liveness:
    """Whether the consumers live on; `check` while something is done to them."""

    campaign: Campaign
    pids: dict[str, int | None]
    dead: set[str] = field(default_factory=set)
    _next_check: float = 0.0

    def check(self) -> None:
        """Ask each consumer whether it lives, about once a second."""
        if time.monotonic() < self._next_check:
            return
        self._next_check = time.monotonic() + _LIVENESS_PAUSE_SECONDS
        for name in _CONSUMERS:
            service = self.campaign.system[name]
            if service.get("/health/live", timeout_seconds=5.0)[0] != 200:
                self.dead.add(name)


@contextlib.contextmanager
def staying_alive(campaign: Campaign, fault: str) -> Iterator[Liveness]:
    """In here and afterwards worker and trainer must be the same processes, and alive.

    Waits first until both are ready: a fault before this one may have started them again a moment ago.
    """
    for name in _CONSUMERS:
        wait_until(campaign.system[name].is_ready, seconds=_READY_SECONDS)
    liveness = Liveness(campaign, {name: _pid(campaign.system[name]) for name in _CONSUMERS})
    yield liveness
    liveness.check()
    for name, pid in liveness.pids.items():
        service = campaign.system[name]
        is_same = pid is not None and _pid(service) == pid
        campaign.expect(is_same, f"{fault}: the {name} ended or was started again")
        campaign.expect(name not in liveness.dead, f"{fault}: /health/live of the {name} failed")
        if not service.is_running:  # so that the faults after this one meet a whole system
            service.kill()
            service.start()


def expect_passed(campaign: Campaign, fault: str, places: Iterable[Place], liveness: Liveness) -> bool:
    """Both consumers must get past these messages in time."""
    waiting: list[Place] = []

    def passed() -> bool:
        liveness.check()
        stored = {"worker": stored_offsets(campaign, "worker"), "trainer": stored_offsets(campaign, "trainer")}
        waiting[:] = [
            place
            for place in wanted
            if stored["trainer" if place[0] == COMMANDS else "worker"].get(place[:2], 0) <= place[2]
        ]
        return not waiting

    wanted = list(places)
    done = wait_until(passed, seconds=PASSED_SECONDS, pause_seconds=0.25)
    return campaign.expect(done, f"{fault}: {len(waiting)} messages still wait, for instance {waiting[:3]}")


def expect_served(campaign: Campaign, fault: str, *, since: float) -> float:
    """Every request that was acknowledged since then (Unix time) must have its list soon; return the longest wait."""
    asked = [
        call for call in acknowledged(campaign.ledger.calls(), "request") if call.answered_at >= since and call.event_id
    ]
    ids = [call.event_id for call in asked]
    decided: dict[str, float] = {}

    def served() -> bool:
        rows = campaign.system.query(
            "SELECT request_id::text, extract(epoch FROM decided_at)::float FROM decisions"
            " WHERE request_id = ANY(%s::uuid[])",
            ids,
        )
        decided.update(rows)
        return len(decided) == len(set(ids))

    done = wait_until(served, seconds=SERVED_SECONDS, pause_seconds=0.25)
    campaign.expect(done, f"{fault}: {len(set(ids)) - len(decided)} requests of customers have no list")
    longest = max(
        (decided[str(call.event_id)] - call.answered_at for call in asked if call.event_id in decided), default=0
    )
    campaign.expect(longest <= SERVED_SECONDS, f"{fault}: a customer waited {longest:.1f} s for a list")
    return round(max(0.0, longest), 2)


def _pid(service: FaultyService) -> int | None:
    try:
        return service.pid if service.is_running else None
    except LocalServerError:
        return None
