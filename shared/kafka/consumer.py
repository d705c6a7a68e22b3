"""The consumer of the synchronous services: Kafka says which partitions, the database says from which offset."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from shared.errors import OffsetOutOfRange, RecommenderError
from shared.kafka.consumer_settings import ConsumerSettings, librdkafka_settings
from shared.kafka.metadata import KafkaMetadata, fetch_cluster_id, log_append_time
from shared.kafka.starts import Starts
from shared.kafka.topic_watch import TopicWatch, by_topic
from shared.logging import get_logger
from shared.ports import POLL_BYTES, Message, OffsetSource, Partition

__all__ = ["ConsumerSettings", "KafkaEventConsumer", "fetch_cluster_id"]

log = get_logger(__name__)

MOST_POLL_SECONDS = 0.1
_RETRY_OFFSETS_SECONDS = 0.5
_SAME_ERROR_AGAIN_SECONDS = 30.0
_JOIN_SECONDS = 20.0
# The topic may be another one by now, or be gone: look at once.
_ASK_AFTER = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_TOPIC_ID, KafkaError.INCONSISTENT_TOPIC_ID}
)


class KafkaEventConsumer:
    """One member of a consumer group, as shared.ports.EventConsumer describes it; joins with the first poll.

    `topics` are names without prefix, consumed in one subscription, so that the range assignor gives one member the
    same partition numbers of all of them.
    """

    def __init__(
        self,
        settings: ConsumerSettings,
        *,
        topics: Sequence[str],
        offsets: OffsetSource,
        cluster_id: str,
        metadata: KafkaMetadata | None = None,
    ) -> None:
        self._settings = settings
        self._cluster_id = cluster_id
        self._owned: frozenset[Partition] = frozenset()
        self._positions: dict[Partition, int] = {}  # of the owned partitions whose offsets are known
        self._out_of_range: set[Partition] = set()
        self._pending: deque[KafkaMessage] = deque()  # polled together with a change of the assignment
        self._generation = 0
        self._changes = 0
        self._retry_offsets_at = 0.0
        self._errors: dict[str, float] = {}
        # Its own connection: on the consumer's one every question waits behind the fetch that is under way.
        self._metadata = metadata or KafkaMetadata(settings.bootstrap_servers, prefix=settings.topic_prefix)
        self._starts = Starts(offsets, self._metadata, topics=topics)
        self._watch = TopicWatch(self._metadata, topics=topics, interval_seconds=settings.look_at_topics_seconds)
        self._topics = [settings.topic_prefix + topic for topic in topics]
        self._consumer = self._join()

    @property
    def cluster_id(self) -> str:
        """The Kafka cluster's own id."""
        return self._cluster_id

    @property
    def generation(self) -> int:
        """Changes with every assignment, revocation and rewind."""
        return self._generation

    def assignment(self) -> frozenset[Partition]:
        """The partitions owned now whose offsets are known."""
        return frozenset(self._positions)

    def out_of_range(self) -> frozenset[Partition]:
        """The owned partitions that stand still because their offset is outside the log, or of another topic."""
        return frozenset(self._out_of_range) | self._starts.replaced

    def replaced(self) -> frozenset[Partition]:
        """Those out of range whose topic was made anew."""
        return self._starts.replaced

    def problem(self) -> str | None:
        """What keeps partitions of the consumed topics from being read as they should be; None when nothing does."""
        return self._watch.problem

    def position(self, partition: Partition) -> int:
        """The offset of the next message that `poll` will return."""
        return self._positions[partition]

    def poll(self, *, max_messages: int, timeout_seconds: float, max_bytes: int = POLL_BYTES) -> Sequence[Message]:
        """Return what is there, at once when there is any; nothing from a call in which the assignment changed."""
        changes = self._changes
        self._join_again_if_forgotten()
        self._find_missing_offsets()
        self._look_at_topics()
        if changes == self._changes and (alarm := self._starts.take_alarm()):
            raise alarm
        deadline = time.monotonic() + min(timeout_seconds, MOST_POLL_SECONDS)
        messages: list[Message] = []
        budget = max_bytes
        while changes == self._changes and len(messages) < max_messages and budget > 0:
            wait_seconds = 0.0 if messages else max(0.0, deadline - time.monotonic())
            polled = self._pending.popleft() if self._pending else self._consumer.poll(wait_seconds)
            if changes != self._changes:
                # Whatever came before the change is read again; what came with it must wait for the next call.
                if polled is not None:
                    self._pending.append(polled)
                return []
            if polled is None:
                break
            accepted = self._accept(polled, messages)
            messages += accepted
            budget -= sum(message.size_bytes for message in accepted)
        return messages if changes == self._changes else []

    def fetch_high_watermarks(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Ask the broker now for the offsets after the last acknowledged messages, all in one request."""
        return self._metadata.fetch_latest(partitions)

    def fetch_low_watermarks(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Ask the broker now for the offsets of the first messages that it holds, all in one request."""
        return self._metadata.fetch_earliest(partitions)

    def seek(self, partition: Partition, offset: int) -> None:
        """Read this partition again from `offset`; the others continue where they are."""
        self._positions[partition] = offset
        self._starts.decide(partition)
        self._out_of_range.discard(partition)
        self._assign()

    def rewind(self) -> None:
        """Read every owned partition again from its stored offset."""
        self._start_over(self._owned, assigned=False)

    def pause(self, partitions: Collection[Partition]) -> None:
        """Stop fetching these partitions."""
        self._consumer.pause(self._known(partitions))

    def resume(self, partitions: Collection[Partition]) -> None:
        """Fetch these partitions again."""
        self._consumer.resume(self._known(partitions))

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Tell Kafka, for lag monitors only."""
        try:
            self._consumer.commit(
                offsets=[self._to_kafka(partition, offset) for partition, offset in offsets.items()],
                asynchronous=True,
            )
        except KafkaException as error:
            self._log_error(error.args[0])

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _join(self) -> Consumer:
        self._waiting_since: float | None = time.monotonic()
        member = {"group.id": self._settings.group, "bootstrap.servers": self._settings.bootstrap_servers}
        session = librdkafka_settings(session_timeout_seconds=self._settings.session_timeout_seconds)
        consumer = Consumer({**session, **member, "error_cb": self._log_error})
        consumer.subscribe(self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)
        return consumer

    def _join_again_if_forgotten(self) -> None:
        """Replace a client that lost its partitions and was given none since, not even an empty assignment."""
        # Seen in librdkafka 2.15 after the broker was frozen for 30 s: it polls, and never asks to join again.
        patience_seconds = max(_JOIN_SECONDS, 2 * self._settings.session_timeout_seconds)
        if self._waiting_since is not None and time.monotonic() - self._waiting_since > patience_seconds:
            log.warning("consumer.joins_again", after_seconds=patience_seconds)
            # Closing it may hang as it does; its callbacks are ignored from now on.
            threading.Thread(target=self._consumer.close, name="consumer-close", daemon=True).start()
            self._consumer = self._join()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return
        self._waiting_since = None
        self._start_over(frozenset(self._from_kafka(partition) for partition in partitions), assigned=True)
        self._watch.note_assignment(self._starts.topics)
        log.info("consumer.assigned", generation=self._generation, partitions=by_topic(self._owned))

    def _on_revoke(self, consumer: Consumer, _: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return
        self._waiting_since = time.monotonic()
        # Eager rebalancing: all partitions go, whichever are named.
        self._change(generation=True)
        self._owned = frozenset()
        self._positions.clear()
        self._out_of_range.clear()
        self._starts.forget(topics=True)
        consumer.unassign()
        log.info("consumer.revoked", generation=self._generation)

    def _start_over(self, owned: frozenset[Partition], *, assigned: bool) -> None:
        self._change(generation=True)
        self._owned = owned
        self._out_of_range.clear()
        self._starts.forget(topics=assigned)
        self._positions = {}
        self._positions = self._stored_positions(owned)
        self._assign()

    def _find_missing_offsets(self) -> None:
        missing = self._owned - self._positions.keys() - self.out_of_range()
        if not missing or time.monotonic() < self._retry_offsets_at:
            return
        found = self._stored_positions(missing)
        if found:
            self._change(generation=False)
            self._positions.update(found)
            self._assign()

    def _stored_positions(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return where to continue; nothing, and one log line, while database or broker do not answer."""
        self._retry_offsets_at = time.monotonic() + _RETRY_OFFSETS_SECONDS
        try:
            return self._starts.find(partitions)
        except RecommenderError as error:
            log.warning("consumer.offsets_unknown", partitions=len(partitions), error=str(error))
            return {}

    def _look_at_topics(self) -> None:
        """Let partitions of a topic that was made anew meanwhile stand still: their positions mean nothing in it."""
        topics = self._watch.look()
        reading = self._positions.keys() | self._out_of_range
        gone = self._starts.compare(topics, reading) if topics else frozenset()
        if gone:
            self._positions = {one: position for one, position in self._positions.items() if one not in gone}
            self._assign()

    def _assign(self) -> None:
        """Let librdkafka fetch from the known positions; nothing stays paused from an earlier assignment."""
        self._pending.clear()
        partitions = [self._to_kafka(partition, offset) for partition, offset in sorted(self._positions.items())]
        self._consumer.assign(partitions)
        self._consumer.resume(partitions)

    def _change(self, *, generation: bool) -> None:
        self._changes += 1
        self._generation += generation
        self._pending.clear()

    def _accept(self, polled: KafkaMessage, before: list[Message]) -> list[Message]:
        """Move the position and return the message, if it is one."""
        error = polled.error()
        topic, number, offset = polled.topic(), polled.partition(), polled.offset()
        partition = (str(topic).removeprefix(self._settings.topic_prefix), -1 if number is None else number)
        if error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET and partition in self._positions:
            self._watch.ask_now()
            self._stand_still(partition, before, str(error.str()))
        elif error is not None and error.code() != KafkaError._PARTITION_EOF:
            self._log_error(error)
            if error.code() in _ASK_AFTER:
                self._watch.ask_now()
        elif partition in self._positions and offset is not None and offset >= self._positions[partition]:
            # An end of partition moves the position too: after a gap at the log's end there is no message.
            self._positions[partition] = offset + (error is None)
            if error is None:
                return [Message(*partition, offset, polled.key(), polled.value(), log_append_time(polled))]
        return []

    def _stand_still(self, partition: Partition, before: list[Message], reason: str) -> None:
        for message in reversed(before):  # they were not handed over: read them again
            self._positions[(message.topic, message.partition)] = message.offset
        self._out_of_range.add(partition)
        offset = self._positions.pop(partition)
        self._change(generation=False)
        self._assign()
        raise OffsetOutOfRange(f"{partition[0]}[{partition[1]}] at offset {offset}: {reason}")

    def _known(self, partitions: Collection[Partition]) -> list[TopicPartition]:
        return [self._to_kafka(partition) for partition in partitions if partition in self._positions]

    def _to_kafka(self, partition: Partition, offset: int = OFFSET_INVALID) -> TopicPartition:
        return TopicPartition(self._settings.topic_prefix + partition[0], partition[1], offset)

    def _from_kafka(self, partition: TopicPartition) -> Partition:
        return partition.topic.removeprefix(self._settings.topic_prefix), partition.partition

    def _log_error(self, error: KafkaError) -> None:
        now = time.monotonic()
        if now - self._errors.get(error.name(), -_SAME_ERROR_AGAIN_SECONDS) >= _SAME_ERROR_AGAIN_SECONDS:
            self._errors[error.name()] = now
            log.warning("kafka.error", error=error.name(), reason=error.str())
