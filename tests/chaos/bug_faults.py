"""Messages whose handling fails like a bug: each becomes a dead letter, and nobody else notices.

`tests/chaos/bugs.py` lets scoring and storing fail for the marked customers, and commands for the marked reason.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.events import (
    INTERACTIONS_RECORDED,
    MODEL_NAME,
    MODELS_COMMANDS,
    RECOMMENDATIONS_REQUESTED,
    InteractionRecorded,
    RecommendationRequested,
    RetrainRequested,
    encode,
)
from shared.recommender.types import InteractionType
from tests.chaos.bugs import BUG_REASON, FAILS_IN_SCORING, FAILS_IN_STORING
from tests.chaos.campaign import Campaign
from tests.chaos.comparison import Place
from tests.chaos.direct import DirectProducer, acknowledge, place_of
from tests.chaos.ledger import Kind
from tests.chaos.liveness import Liveness, expect_served, staying_alive
from tests.chaos.services import wait_until
from tests.chaos.verification import fetch_letters

NAME = "bugs in handling"
FLOOD_SECONDS = 60.0
VALID_IN_A_FLOOD = 0.05
_IDLE_SECONDS = 5.0

CustomerEvent = InteractionRecorded | RecommendationRequested


def bugs_in_handling(campaign: Campaign) -> None:
    """Marked messages alone, two in a row, with interactions waiting, among many, and as a flood; then commands."""
    since, began = time.monotonic(), time.time()
    with staying_alive(campaign, NAME) as liveness, DirectProducer(campaign) as producer:
        bugs = _Bugs(campaign, producer, liveness)
        with campaign.load.paused():
            wait_until(campaign.load.is_idle, seconds=_IDLE_SECONDS)
            for mark in (FAILS_IN_SCORING, FAILS_IN_STORING):
                bugs.send("alone", [bugs.request(mark)])
                bugs.send("two in a row", [bugs.request(mark), bugs.request(mark)])
                valid = [bugs.click() for _ in range(20)]
                bugs.send("with interactions waiting", [bugs.request(mark), *valid, bugs.request("")])
            bugs.send("an interaction alone", [bugs.click(FAILS_IN_STORING)])
        many: list[CustomerEvent] = [
            bugs.request(FAILS_IN_SCORING),
            bugs.click(FAILS_IN_STORING),
            bugs.request(""),
            bugs.click(),
        ]
        many += [bugs.request("") for _ in range(20)]
        bugs.send("among many", many)
        bugs.flood()
        bugs.commands()
        longest = expect_served(campaign, NAME, since=began) if bugs.hold else None
    campaign.notes[NAME] = {**bugs.seconds, "marked messages": bugs.marked, "longest wait for a list (s)": longest}
    if bugs.hold:
        campaign.recover(NAME, since=since)


@dataclass
class _Bugs:
    """Marked and valid messages, sent together and waited for; after the first failure nothing more is sent."""

    campaign: Campaign
    producer: DirectProducer
    liveness: Liveness
    marked: int = 0
    hold: bool = True
    seconds: dict[str, float] = field(default_factory=dict)

    def request(self, mark: str) -> RecommendationRequested:
        """Return a request of a customer of its own; without a mark a valid one."""
        return RecommendationRequested(customer_id=self._customer(mark), action="refresh_recs")

    def click(self, mark: str = "") -> InteractionRecorded:
        """Return a click of a customer of its own; without a mark a valid one."""
        isin = self.campaign.random.choice(self.campaign.isins)
        return InteractionRecorded(customer_id=self._customer(mark), isin=isin, type=InteractionType.CLICK)

    def flood(self) -> None:
        """Many times as much poison as usual, a few valid messages in it."""
        count = 10 * self.campaign.lengths.poison_messages
        valid = max(5, int(count * VALID_IN_A_FLOOD))
        events: list[CustomerEvent] = [self.request("") if number % 2 else self.click() for number in range(valid)]
        for number in range(count):
            events.append(self.click(FAILS_IN_STORING) if number % 4 == 0 else self.request(FAILS_IN_SCORING))
        self.campaign.random.shuffle(events)
        self.send("a flood", events, within=FLOOD_SECONDS)

    def send(self, step: str, events: Sequence[CustomerEvent], *, within: float | None = None) -> None:
        """Send them at once; every marked one must become a dead letter, every other one have its effect."""
        if not self.hold:
            return
        began = time.monotonic()
        marked = self._deliver(events)
        valid = [str(event.event_id) for event in events if not _is_marked(event)]

        def settled() -> bool:
            self.liveness.check()
            return not self._missing(marked) and self.campaign.count_effects(valid) == len(valid)

        self.hold = self.campaign.expect(
            wait_until(settled, seconds=within or self.campaign.lengths.dead_letter_seconds, pause_seconds=0.1),
            f"{NAME}, {step}: {len(self._missing(marked))} of {len(marked)} marked messages have no dead letter of"
            f" their class, {self.campaign.count_effects(valid)} of {len(valid)} valid ones have their effect",
        )
        self.seconds[step] = round(max(time.monotonic() - began, self.seconds.get(step, 0.0)), 2)

    def commands(self) -> None:
        """Commands whose handling fails: a dead letter each, and the trainer lives."""
        if not self.hold:
            return
        places = {}
        for _ in range(2):
            event = RetrainRequested(reason=f"{BUG_REASON}of the campaign")
            places[self.producer.send_event(MODELS_COMMANDS, event, key=MODEL_NAME)] = "RuntimeError"
        self.campaign.poison.update(places)
        self.marked += len(places)
        seconds = self.campaign.lengths.dead_letter_seconds
        done = wait_until(lambda: not self._missing(places), seconds=seconds, pause_seconds=0.1)
        self.campaign.expect(done, f"{NAME}: {len(self._missing(places))} commands have no dead letter of their class")

    def _deliver(self, events: Sequence[CustomerEvent]) -> Mapping[Place, str]:
        """Return where the marked ones stand, with the class of their error; the valid ones are in the ledger."""
        calls, reports = [], []
        for event in events:
            kind, topic = _kind(event)
            calls.append(self.campaign.ledger.begin(event.customer_id, kind))
            reports.append(list[Any]())
            self.producer.send_soon(topic, encode(event), key=event.customer_id, reports=reports[-1])
        self.producer.flush()
        marked: dict[Place, str] = {}
        for event, call, report in zip(events, calls, reports, strict=True):
            if _is_marked(event):
                scoring = event.customer_id.startswith(FAILS_IN_SCORING)
                marked[place_of(report[0][1])] = "RuntimeError" if scoring else "DataError"
            else:
                acknowledge(self.campaign, call, event)
        self.campaign.poison.update(marked)
        self.marked += len(marked)
        return marked

    def _missing(self, marked: Mapping[Place, str]) -> set[Place]:
        classes = {letter.place: letter.error_class for letter in fetch_letters(self.campaign.system)}
        return {place for place, wanted in marked.items() if classes.get(place) != wanted}

    def _customer(self, mark: str) -> str:
        return f"{mark or 'beside-'}{self.campaign.random.getrandbits(48):012x}"


def _kind(event: CustomerEvent) -> tuple[Kind, str]:
    if isinstance(event, InteractionRecorded):
        return "interaction", INTERACTIONS_RECORDED
    return "request", RECOMMENDATIONS_REQUESTED


def _is_marked(event: CustomerEvent) -> bool:
    return event.customer_id.startswith((FAILS_IN_SCORING, FAILS_IN_STORING))
