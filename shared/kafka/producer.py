"""Publish events to Kafka and wait for the acknowledgement: an asyncio publisher and a blocking one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from shared import events
from shared.errors import PublishFailed
from shared.events import Event, encode
from shared.logging import get_logger

POLL_SECONDS = 0.1
METADATA_TIMEOUT_SECONDS = 2.0
# librdkafka looks for expired messages about once a second, so its own report may be that late.
REPORT_GRACE_SECONDS = 1.5

# After these errors the broker has certainly not kept the event; after any other error it may have.
_NOT_ACCEPTED = frozenset(
    {
        KafkaError._QUEUE_FULL,
        KafkaError._PURGE_QUEUE,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
log = get_logger(__name__)

MakeProducer = Callable[..., Any]  # Producer, or what behaves like it


class KafkaEventPublisher:
    """The gateway's publisher: `publish` runs on the event loop, one thread polls for all messages.

    A fatal error of the producer fails the events that are under way, never the process: the next `publish` opens a
    new producer.
    """

    def __init__(
        self, settings: dict[str, Any], *, topic_prefix: str = "", make_producer: MakeProducer = Producer
    ) -> None:
        self._settings = settings
        self._prefix = topic_prefix
        self._make_producer = make_producer
        self._timeout_seconds = _report_timeout_seconds(settings)
        self._session: _Session | None = None

    async def start(self) -> None:
        """Open the producer, which connects in the background."""
        self._session = self._open()

    async def publish(self, topic: str, *, key: str, event: Event) -> None:
        """Return after the broker has acknowledged the event; raises PublishFailed within the delivery timeout."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[KafkaError | None] = loop.create_future()
        self._produce(self._prefix + topic, key=key, value=encode(event), answer=answer)
        timer = loop.call_later(self._timeout_seconds, _fail_late, answer)
        try:
            error = await answer
        finally:
            timer.cancel()
        if error is not None:
            raise _failure(error)

    async def is_reachable(self) -> bool:
        """Return whether a broker answers and has the topic of requests."""
        producer, topic = self._running().producer, self._prefix + events.RECOMMENDATIONS_REQUESTED
        try:
            topics = (await asyncio.to_thread(producer.list_topics, topic, timeout=METADATA_TIMEOUT_SECONDS)).topics
        except KafkaException:
            return False
        return topic in topics and topics[topic].error is None

    def queue_length(self) -> int:
        """Return how many events wait for their acknowledgement."""
        return 0 if self._session is None else len(self._session.producer)

    async def close(self, *, timeout_seconds: float) -> None:
        """Wait until every event is acknowledged or the timeout is over; then stop polling."""
        if self._session is not None:
            session, self._session = self._session, None
            await asyncio.to_thread(session.close, timeout_seconds)

    def _produce(self, topic: str, *, key: str, value: bytes, answer: asyncio.Future[KafkaError | None]) -> None:
        session = self._running()
        if session.is_fatal:
            session = self._replace(session)
        try:
            session.produce(topic, key=key, value=value, answer=answer)
        except KafkaException as error:
            if not error.args[0].fatal():
                raise _failure(error.args[0]) from error
            # A producer with a fatal error queues nothing, so this event can be produced again.
            self._replace(session).produce(topic, key=key, value=value, answer=answer)

    def _replace(self, session: _Session) -> _Session:
        log.error("producer.replaced")
        session.retire()
        self._session = self._open()
        return self._session

    def _open(self) -> _Session:
        return _Session(self._settings, self._make_producer, asyncio.get_running_loop())

    def _running(self) -> _Session:
        if self._session is None:
            raise PublishFailed("the publisher is closed")
        return self._session


class _Session:
    """One producer and the thread that polls it; each poll wakes the event loop at most once."""

    def __init__(self, settings: dict[str, Any], make_producer: MakeProducer, loop: asyncio.AbstractEventLoop) -> None:
        self.is_fatal = False
        self.producer = make_producer(
            {**settings, "error_cb": self._note_error}, logger=logging.getLogger("librdkafka")
        )
        self._loop = loop
        self._answers: deque[tuple[asyncio.Future[KafkaError | None], KafkaError | None]] = deque()
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._poll_until_closed, name="kafka-producer-poll", daemon=True)
        self._thread.start()

    def produce(self, topic: str, *, key: str, value: bytes, answer: asyncio.Future[KafkaError | None]) -> None:
        """Queue one event; raises PublishFailed at once when the queue is full."""
        try:
            self.producer.produce(topic, value, key.encode(), on_delivery=partial(self._note_delivery, answer))
        except BufferError as error:
            raise _queue_full() from error

    def retire(self) -> None:
        """Fail the events that are under way and end the thread, without waiting for it."""
        with contextlib.suppress(KafkaException):
            self.producer.purge(in_queue=True, in_flight=True, blocking=False)
        self._deadline = time.monotonic() + POLL_SECONDS * 10

    def close(self, timeout_seconds: float) -> None:
        """Poll until no event waits or the timeout is over."""
        self._deadline = time.monotonic() + timeout_seconds
        self._thread.join(timeout_seconds + 1.0)
        if len(self.producer):
            log.error("producer.unanswered", events=len(self.producer))

    def _poll_until_closed(self) -> None:
        while self._deadline is None or (len(self.producer) and time.monotonic() < self._deadline):
            self.producer.poll(POLL_SECONDS)
            self._wake()
        self.producer.poll(0)
        self._wake()

    def _wake(self) -> None:
        if self._answers:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nothing waits for an answer
                self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        while self._answers:
            answer, error = self._answers.popleft()
            if not answer.done():  # its request may be cancelled
                answer.set_result(error)

    def _note_delivery(self, answer: asyncio.Future[KafkaError | None], error: KafkaError | None, _: Message) -> None:
        if error is not None and error.fatal():
            self.is_fatal = True
        self._answers.append((answer, error))

    def _note_error(self, error: KafkaError) -> None:
        if error.fatal():
            self.is_fatal = True
            log.error("producer.fatal", error=error.str())


class SyncKafkaEventPublisher:
    """The trainer's publisher: blocks until the broker has answered; usable from several threads."""

    def __init__(self, settings: dict[str, Any], *, topic_prefix: str = "") -> None:
        self._producer = Producer(settings, logger=logging.getLogger("librdkafka"))
        self._prefix = topic_prefix
        self._timeout_seconds = _report_timeout_seconds(settings)

    def publish(self, topic: str, *, key: str, event: Event) -> None:
        """Return after the broker has acknowledged the event; raises PublishFailed within the delivery timeout."""
        self.publish_bytes(topic, key=key.encode(), value=encode(event))

    def publish_bytes(self, topic: str, *, key: bytes | None, value: bytes | None) -> None:
        """Publish a message with these bytes, whatever they are; otherwise as `publish`."""
        answers: list[KafkaError | None] = []
        try:
            self._producer.produce(self._prefix + topic, value, key, on_delivery=lambda error, _: answers.append(error))
        except BufferError as error:
            raise _queue_full() from error
        except KafkaException as error:
            raise _failure(error.args[0]) from error
        deadline = time.monotonic() + self._timeout_seconds
        while not answers and time.monotonic() < deadline:
            self._producer.poll(POLL_SECONDS)
        if not answers:
            raise _no_answer()
        if answers[0] is not None:
            raise _failure(answers[0])


def _fail_late(answer: asyncio.Future[KafkaError | None]) -> None:
    if not answer.done():
        answer.set_exception(_no_answer())


def _report_timeout_seconds(settings: dict[str, Any]) -> float:
    return float(settings["delivery.timeout.ms"] / 1000 + REPORT_GRACE_SECONDS)


def _failure(error: KafkaError) -> PublishFailed:
    return PublishFailed(error.str(), outcome_unknown=error.code() not in _NOT_ACCEPTED)


def _no_answer() -> PublishFailed:
    return PublishFailed("the broker did not answer in time", outcome_unknown=True)


def _queue_full() -> PublishFailed:
    return PublishFailed("too many events wait for the broker")
