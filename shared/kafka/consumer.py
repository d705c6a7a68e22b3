"""The consumer of worker and trainer: Kafka assigns the partitions, the database stores the offsets."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from shared.errors import OffsetOutOfRange, RecommenderError
from shared.kafka.client_settings import ConsumerSettings
from shared.kafka.consumed_topics import StartOffsets, TopicWatch, by_topic
from shared.kafka.metadata import KafkaMetadata, log_append_time
from shared.logging import get_logger
from shared.ports import POLL_BYTES, Message, OffsetSource, Partition

log = get_logger(__name__)

MOST_POLL_SECONDS = 0.1
RETRY_OFFSETS_SECONDS = 0.5
_JOIN_SECONDS = 20.0
# The topic may be deleted or recreated: check it at once.
_TOPIC_ERRORS = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_TOPIC_ID, KafkaError.INCONSISTENT_TOPIC_ID}
)


class KafkaEventConsumer:
    """A member of a consumer group; joins it with the first poll. shared.ports.EventConsumer documents the methods.

    `topics` are names without prefix. One subscription holds them all, so that the range assignor gives a member the
    same partition numbers of each.
    """

    def __init__(
        self,
        settings: ConsumerSettings,
        *,
        topics: Sequence[str],
        offsets: OffsetSource,
        metadata: KafkaMetadata | None = None,
    ) -> None:
        self.generation = 0
        self._settings = settings
        self._owned: frozenset[Partition] = frozenset()
        self._positions: dict[Partition, int] = {}  # of the owned partitions whose offsets are known
        self._out_of_range: set[Partition] = set()
        self._pending: deque[KafkaMessage] = deque()  # polled together with a change of the assignment
        self._changes = 0
        self._retry_offsets_at = 0.0
        # A separate connection: on the consumer's own one every query waits for the pending fetch.
        self._metadata = metadata or KafkaMetadata(settings.brokers, prefix=settings.topic_prefix)
        self._starts = StartOffsets(offsets, self._metadata, topics=topics)
        self._watch = TopicWatch(self._metadata, topics=topics, interval_seconds=settings.check_topics_seconds)
        self._topics = [settings.topic_prefix + topic for topic in topics]
        self._consumer = self._join()

    def assignment(self) -> frozenset[Partition]:
        return frozenset(self._positions)

    def out_of_range(self) -> frozenset[Partition]:
        return frozenset(self._out_of_range) | self._starts.replaced

    def replaced(self) -> frozenset[Partition]:
        return self._starts.replaced

    def problem(self) -> str | None:
        return self._watch.problem

    def position(self, partition: Partition) -> int:
        return self._positions[partition]

    def poll(self, *, max_messages: int, timeout_seconds: float, max_bytes: int = POLL_BYTES) -> Sequence[Message]:
        changes = self._changes
        self._rejoin_if_forgotten()
        self._find_missing_offsets()
        self._check_topics()
        if changes == self._changes and (alarm := self._starts.take_alarm()):
            raise alarm
        deadline = time.monotonic() + min(timeout_seconds, MOST_POLL_SECONDS)
        messages: list[Message] = []
        budget = max_bytes
        while changes == self._changes and len(messages) < max_messages and budget > 0:
            wait_seconds = 0.0 if messages else max(0.0, deadline - time.monotonic())
            polled = self._pending.popleft() if self._pending else self._consumer.poll(wait_seconds)
            if changes != self._changes:
                # Messages before the change are consumed again; the one that came with it waits for the next call.
                if polled is not None:
                    self._pending.append(polled)
                return []
            if polled is None:
                break
            if message := self._accept(polled, messages):
                messages.append(message)
                budget -= message.size_bytes
        return messages if changes == self._changes else []

    def fetch_high_watermarks(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        return self._metadata.fetch_latest(partitions)

    def fetch_low_watermarks(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        return self._metadata.fetch_earliest(partitions)

    def seek(self, partition: Partition, offset: int) -> None:
        self._positions[partition] = offset
        self._starts.accept(partition)
        self._out_of_range.discard(partition)
        self._assign()

    def rewind(self) -> None:
        self._start_over(self._owned, assigned=False)

    def pause(self, partitions: Collection[Partition]) -> None:
        self._consumer.pause(self._known(partitions))

    def resume(self, partitions: Collection[Partition]) -> None:
        self._consumer.resume(self._known(partitions))

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        positions = [self._to_kafka(partition, offset) for partition, offset in offsets.items()]
        try:
            self._consumer.commit(offsets=positions, asynchronous=True)
        except KafkaException as error:
            self._log_error(error.args[0])

    def close(self) -> None:
        self._consumer.close()

    def _join(self) -> Consumer:
        self._waiting_since: float | None = time.monotonic()
        consumer = Consumer({**self._settings.librdkafka(), "error_cb": self._log_error})
        consumer.subscribe(self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)
        return consumer

    def _rejoin_if_forgotten(self) -> None:
        """Replace a client that lost its partitions and got no assignment since, not even an empty one."""
        # Seen in librdkafka 2.15 after the broker was frozen for 30 s: the client polls and never joins again.
        timeout_seconds = max(_JOIN_SECONDS, 2 * self._settings.session_timeout_seconds)
        if self._waiting_since is not None and time.monotonic() - self._waiting_since > timeout_seconds:
            log.warning("consumer.joins_again", after_seconds=timeout_seconds)
            # Closing it may block too; its callbacks are ignored from now on.
            threading.Thread(target=self._consumer.close, name="consumer-close", daemon=True).start()
            self._consumer = self._join()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return
        self._waiting_since = None
        owned = frozenset((self._without_prefix(one.topic), one.partition) for one in partitions)
        self._start_over(owned, assigned=True)
        self._watch.note_assignment(self._starts.topics)
        log.info("consumer.assigned", generation=self.generation, partitions=by_topic(self._owned))

    def _on_revoke(self, consumer: Consumer, _: list[TopicPartition]) -> None:
        if consumer is not self._consumer:
            return
        self._waiting_since = time.monotonic()
        # Rebalancing is eager: all partitions are revoked, whichever are named.
        self._note_change(generation=True)
        self._owned = frozenset()
        self._positions.clear()
        self._out_of_range.clear()
        self._starts.reset(topics=True)
        consumer.unassign()
        log.info("consumer.revoked", generation=self.generation)

    def _start_over(self, owned: frozenset[Partition], *, assigned: bool) -> None:
        self._note_change(generation=True)
        self._owned = owned
        self._out_of_range.clear()
        self._starts.reset(topics=assigned)
        self._positions = {}
        self._positions = self._find_offsets(owned)
        self._assign()

    def _find_missing_offsets(self) -> None:
        missing = self._owned - self._positions.keys() - self.out_of_range()
        if missing and time.monotonic() >= self._retry_offsets_at and (found := self._find_offsets(missing)):
            self._note_change(generation=False)
            self._positions.update(found)
            self._assign()

    def _find_offsets(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return the start offsets; while database or broker do not answer, log it and return none."""
        self._retry_offsets_at = time.monotonic() + RETRY_OFFSETS_SECONDS
        try:
            return self._starts.find(partitions)
        except RecommenderError as error:
            log.warning("consumer.offsets_unknown", partitions=len(partitions), error=str(error))
            return {}

    def _check_topics(self) -> None:
        """Stop consuming the partitions of a recreated topic: their positions mean nothing in the new one."""
        if not (topics := self._watch.check()):
            return
        if replaced := self._starts.find_replaced(topics, self._positions.keys() | self._out_of_range):
            self._positions = {one: position for one, position in self._positions.items() if one not in replaced}
            self._assign()

    def _assign(self) -> None:
        """Let librdkafka fetch from the known positions; no partition stays paused from an earlier assignment."""
        self._pending.clear()
        partitions = [self._to_kafka(partition, offset) for partition, offset in sorted(self._positions.items())]
        self._consumer.assign(partitions)
        self._consumer.resume(partitions)

    def _note_change(self, *, generation: bool) -> None:
        self._changes += 1
        self.generation += generation
        self._pending.clear()

    def _accept(self, polled: KafkaMessage, before: list[Message]) -> Message | None:
        """Move the position and return the message; None for an error or the end of a partition."""
        error = polled.error()
        number, offset = polled.partition(), polled.offset()
        partition = (self._without_prefix(str(polled.topic())), -1 if number is None else number)
        if error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET and partition in self._positions:
            self._watch.query_now()
            self._stop_out_of_range(partition, before, str(error.str()))
        elif error is not None and error.code() != KafkaError._PARTITION_EOF:
            self._log_error(error)
            if error.code() in _TOPIC_ERRORS:
                self._watch.query_now()
        elif partition in self._positions and offset is not None and offset >= self._positions[partition]:
            # The end of a partition moves the position too: a gap at the end of the log holds no message.
            self._positions[partition] = offset + (error is None)
            if error is None:
                return Message(*partition, offset, polled.key(), polled.value(), log_append_time(polled))
        return None

    def _stop_out_of_range(self, partition: Partition, before: list[Message], reason: str) -> None:
        for message in reversed(before):  # `poll` does not return them: consume them again
            self._positions[(message.topic, message.partition)] = message.offset
        self._out_of_range.add(partition)
        offset = self._positions.pop(partition)
        self._note_change(generation=False)
        self._assign()
        raise OffsetOutOfRange(f"{partition[0]}[{partition[1]}] at offset {offset}: {reason}")

    def _known(self, partitions: Collection[Partition]) -> list[TopicPartition]:
        return [self._to_kafka(partition) for partition in partitions if partition in self._positions]

    def _to_kafka(self, partition: Partition, offset: int = OFFSET_INVALID) -> TopicPartition:
        return TopicPartition(self._settings.topic_prefix + partition[0], partition[1], offset)

    def _without_prefix(self, topic: str) -> str:
        return topic.removeprefix(self._settings.topic_prefix)

    def _log_error(self, error: KafkaError) -> None:
        log.warning("kafka.error", error=error.name(), detail=error.str())  # `reason` would make each text a kind
