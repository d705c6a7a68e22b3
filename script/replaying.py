"""Publish a dead letter again and mark it: what may be replayed, and in which order the two steps happen."""

from __future__ import annotations

from dataclasses import dataclass, replace

from shared.adapters.dead_letter_box import DeadLetter, DeadLetterBox
from shared.adapters.kafka_producer import SyncKafkaEventPublisher
from shared.errors import ContractViolation, RecommenderError
from shared.events import EVENTS_OF_TOPIC, InteractionRecorded, RecommendationRequested, decode


class Refused(RecommenderError):
    """This letter is not replayed."""


@dataclass(frozen=True)
class Repair:
    """What is published in place of the original value or key, and which refusals the operator overrides."""

    value: bytes | None = None
    key: bytes | None = None
    force: bool = False
    again: bool = False

    def applied_to(self, letter: DeadLetter) -> DeadLetter:
        """Return the letter as it is to be published."""
        return replace(
            letter,
            value=letter.value if self.value is None else self.value,
            key=letter.key if self.key is None else self.key,
        )

    def problem(self, letter: DeadLetter) -> str | None:
        """Return why consumers would refuse the message once more; None when they would read it."""
        repaired = self.applied_to(letter)
        if repaired.topic not in EVENTS_OF_TOPIC:
            return f"nobody consumes {repaired.topic!r}"
        try:
            event = decode(repaired.topic, repaired.value)
        except ContractViolation as error:
            return str(error)
        if isinstance(event, InteractionRecorded | RecommendationRequested):
            expected = event.customer_id.encode()
            if repaired.key != expected:
                return f"the key {repaired.key!r} is not the customer_id {expected!r}"
        return None


class Replayer:
    """Replays letters of one Kafka cluster."""

    def __init__(self, box: DeadLetterBox, publisher: SyncKafkaEventPublisher, *, cluster_id: str) -> None:
        self._box = box
        self._publisher = publisher
        self._cluster_id = cluster_id

    def replay(self, dead_letter_id: int, repair: Repair) -> DeadLetter:
        """Publish the letter, then mark it: a crash in between repeats the event, which has one effect.

        Raises Refused, PublishFailed and DatabaseUnavailable; then the letter is not marked.
        """
        with self._box.replaying(dead_letter_id) as letter:
            if letter is None:
                raise Refused("there is no such dead letter")
            if letter.replayed_at is not None and not repair.again:
                raise Refused(f"replayed already at {letter.replayed_at:%Y-%m-%d %H:%M:%S} UTC (--again does it again)")
            if not repair.force:
                self._check(letter, repair)
            repaired = repair.applied_to(letter)
            self._publisher.publish_bytes(repaired.topic, key=repaired.key, value=repaired.value)
        return repaired

    def _check(self, letter: DeadLetter, repair: Repair) -> None:
        if letter.cluster_id != self._cluster_id:
            raise Refused(f"it comes from another Kafka cluster, {letter.cluster_id} (--force publishes it here)")
        problem = repair.problem(letter)
        if problem is not None:
            raise Refused(f"{problem} (export and repair it, or --force)")
