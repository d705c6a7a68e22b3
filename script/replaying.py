"""Publish a dead letter again and mark it: what may be replayed, and in which order the two steps happen."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from shared import errors
from shared.errors import BrokerUnavailable, ContractViolation, RecommenderError
from shared.events import EVENTS_OF_TOPIC, InteractionRecorded, TransactionRecorded, decode
from shared.identifiers import EVENT_CLOCK_TOLERANCE
from shared.kafka.producer import SyncKafkaEventPublisher
from shared.postgres.dead_letter_store import DeadLetter, DeadLetterBox

# Of a message's own: headers, lengths and the batch around it.
_OVERHEAD_BYTES = 100
_FAR_AHEAD = timedelta(days=365 * 7000)
_CLASS = re.compile(r"([A-Z]\w*): ")


class Refused(RecommenderError):
    """This letter is not replayed."""


@dataclass(frozen=True)
class Repair:
    """What is published in place of the original value or key, and which refusals the operator overrides."""

    value: bytes | None = None
    key: bytes | None = None
    force: bool = False
    again: bool = False
    upgraded: bool = False

    def applied_to(self, letter: DeadLetter) -> DeadLetter:
        """Return the letter as it is to be published."""
        return replace(
            letter,
            value=letter.value if self.value is None else self.value,
            key=letter.key if self.key is None else self.key,
        )

    def problem(self, letter: DeadLetter) -> str | None:
        """Return why consumers would refuse the bytes once more; None when they would read them as an event."""
        repaired = self.applied_to(letter)
        if repaired.topic not in EVENTS_OF_TOPIC:
            return f"nobody consumes {repaired.topic!r}"
        try:
            event = decode(repaired.topic, repaired.value)
        except ContractViolation as error:
            return _not_before(repaired) or str(error)
        expected = event.key()
        if expected is not None and repaired.key != expected:
            return f"the key {repaired.key!r} is not the {event.key_field} {expected!r}"
        return None


@dataclass(frozen=True)
class Verdict:
    """Whether consumers take the letter: `problem` says why not, `note` what else to know when they do."""

    problem: str | None = None
    note: str | None = None

    def __str__(self) -> str:
        if self.problem is not None:
            return f"no: {self.problem}"
        return "yes" if self.note is None else f"yes: {self.note}"


@dataclass(frozen=True)
class ReplayCheck:
    """Checks what the broker and the consumers will check, with what broker and database say now."""

    box: DeadLetterBox
    cluster_id: str
    fetch_max_message_bytes: Callable[[str], int | None]  # by topic without prefix; None: there is no such topic

    def examine(self, letter: DeadLetter, repair: Repair) -> Verdict:
        """Return whether a replay can succeed; raises DatabaseUnavailable and BrokerUnavailable."""
        if letter.cluster_id != self.cluster_id:
            return Verdict(f"it comes from another Kafka cluster, {letter.cluster_id}")
        problem = repair.problem(letter) or self._too_large(repair.applied_to(letter))
        if problem is not None:
            return Verdict(problem)
        repaired = repair.applied_to(letter)
        event = decode(repaired.topic, repaired.value)
        if isinstance(event, InteractionRecorded | TransactionRecorded) and not self.box.has_asset(event.isin):
            return Verdict(
                f"UnknownAsset: the catalogue has no {event.isin}: load reference data that has it, or send it"
            )
        kept = self.box.fetch_kept(event)
        if kept is not None:
            conflict = kept.find_conflict(event)
            if conflict is not None:
                return Verdict(f"{type(conflict).__name__}: {conflict}")
            return Verdict(note="the event had its effect already and has none again")
        if self.box.has_successor(event, after=letter):
            return Verdict("superseded: a later event about the same thing and day had its effect, and would be undone")
        bug = _bug_class(letter.reason)
        if bug is not None and repair.value is None and not repair.upgraded:
            return Verdict(f"only after an upgrade: {bug} is a bug of the version that wrote the letter")
        return Verdict()

    def _too_large(self, letter: DeadLetter) -> str | None:
        limit = self.fetch_max_message_bytes(letter.topic)
        if limit is None:
            raise BrokerUnavailable(f"the broker has no topic for {letter.topic}")
        size = len(letter.key or b"") + len(letter.value or b"") + _OVERHEAD_BYTES
        return f"{size} bytes are more than the topic's max.message.bytes, {limit}" if size > limit else None


def replay_letter(
    dead_letter_id: int, repair: Repair, *, check: ReplayCheck, publisher: SyncKafkaEventPublisher
) -> DeadLetter:
    """Publish the letter, then mark it: a crash in between repeats the event, which has one effect.

    Raises Refused, PublishFailed, DatabaseUnavailable and BrokerUnavailable; then the letter is not marked.
    """
    with check.box.replaying(dead_letter_id) as letter:
        if letter is None:
            raise Refused("there is no such dead letter")
        if letter.replayed_at is not None and not repair.again:
            raise Refused(f"replayed already at {letter.replayed_at:%Y-%m-%d %H:%M:%S} UTC (--again does it again)")
        if not repair.force and (problem := check.examine(letter, repair).problem) is not None:
            raise Refused(f"{problem} (export and repair it, or --force)")
        repaired = repair.applied_to(letter)
        publisher.publish_bytes(repaired.topic, key=repaired.key, value=repaired.value)
    return repaired


def contract_classes() -> frozenset[str]:
    """Return the error classes that blame the message: every other one blames the software."""
    return frozenset(
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, ContractViolation)
    )


def _bug_class(reason: str) -> str | None:
    found = _CLASS.match(f"{reason} ")
    return found[1] if found is not None and found[1] not in contract_classes() else None


def _not_before(letter: DeadLetter) -> str | None:
    """Return from when on consumers take an event whose only fault is its time; None when that is no fault."""
    try:
        event = decode(letter.topic, letter.value, logged_at=datetime.now(UTC) + _FAR_AHEAD)
    except (ContractViolation, OverflowError):
        return None
    name, moment = max(event.times().items(), key=lambda item: item[1])
    return f"{name} {moment.isoformat()} is ahead: not before {moment - EVENT_CLOCK_TOLERANCE}"
