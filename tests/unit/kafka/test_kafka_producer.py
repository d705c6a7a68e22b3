"""The gateway's publisher on a producer in memory: what the broker answers, when, and what breaks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from shared.errors import PublishFailed
from shared.events import RetrainRequested, decode
from shared.kafka.client_settings import PARTITIONER, producer_settings
from shared.kafka.producer import KafkaEventPublisher

SETTINGS = producer_settings("nowhere:1", client_id="test", delivery_timeout_seconds=0.2)
EVENT = RetrainRequested()
WAIT_SECONDS = 30.0


class FakeProducer:
    """Holds messages until `answer` decides about them; `poll` reports the decisions as librdkafka does."""

    def __init__(self, settings: dict[str, Any], *, logger: object = None) -> None:
        self.settings = settings
        self.waiting: list[tuple[str, bytes, bytes, Callable[..., None]]] = []
        self.reports: list[tuple[Callable[..., None], KafkaError | None]] = []
        self.refusal: Exception | None = None
        self.answers_by_itself = True
        self.polls_of_threads: set[str] = set()
        self.poll_count = 0
        self.purged = False
        self._changed = threading.Condition()

    def produce(self, topic: str, value: bytes, key: bytes, on_delivery: Callable[..., None]) -> None:
        if self.refusal is not None:
            raise self.refusal
        with self._changed:
            self.waiting.append((topic, value, key, on_delivery))
        if self.answers_by_itself:
            self.answer(None)

    def answer(self, error: KafkaError | None) -> None:
        with self._changed:
            self.reports += [(message[3], error) for message in self.waiting]
            self._changed.notify_all()

    def poll(self, timeout: float) -> int:
        self.polls_of_threads.add(threading.current_thread().name)
        with self._changed:
            self.poll_count += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.reports, timeout)
            reports, self.reports = self.reports, []
        for on_delivery, error in reports:
            self.waiting = [message for message in self.waiting if message[3] is not on_delivery]
            on_delivery(error, None)
        return len(reports)

    def wait_for_polls(self, count: int) -> None:
        """Return after so many more polls have begun."""
        with self._changed:
            wanted = self.poll_count + count
            assert self._changed.wait_for(lambda: self.poll_count >= wanted, WAIT_SECONDS)

    def purge(self, **_: bool) -> None:
        self.purged = True
        self.answer(KafkaError(KafkaError._PURGE_INFLIGHT))

    def __len__(self) -> int:
        return len(self.waiting)


class Bench:
    """A publisher and every producer that it has made."""

    def __init__(self, settings: dict[str, Any] = SETTINGS) -> None:
        self.producers: list[FakeProducer] = []
        self.publisher = KafkaEventPublisher(settings, topic_prefix="p.", make_producer=self._make)

    def _make(self, settings: dict[str, Any], **arguments: object) -> FakeProducer:
        self.producers.append(FakeProducer(settings, **arguments))
        return self.producers[-1]

    async def publish(self) -> None:
        await self.publisher.publish("t", key="k", event=EVENT)

    async def start_publishing(self, count: int = 1) -> list[asyncio.Task[None]]:
        """Return tasks whose events wait for the broker's answer."""
        tasks = [asyncio.create_task(self.publish()) for _ in range(count)]
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.producers[-1].waiting) < count:
                await asyncio.sleep(0)
        return tasks


def run(scenario: Callable[[Bench], Any]) -> Bench:
    """Run a scenario with a started publisher, and close it."""
    bench = Bench()

    async def whole() -> None:
        await bench.publisher.start()
        try:
            await scenario(bench)
        finally:
            await bench.publisher.close(timeout_seconds=0.2)

    asyncio.run(whole())
    return bench


def test_every_producer_is_idempotent_waits_for_all_replicas_and_partitions_alike() -> None:
    assert SETTINGS["enable.idempotence"] is True
    assert SETTINGS["acks"] == "all"
    assert SETTINGS["partitioner"] == PARTITIONER == "murmur2_random"
    assert SETTINGS["delivery.timeout.ms"] == 200


def test_publishing_returns_after_the_report_and_puts_the_prefix_before_the_topic() -> None:
    bench = Bench()
    seen: list[tuple[str, bytes, bytes]] = []

    async def scenario() -> None:
        await bench.publisher.start()
        [producer] = bench.producers
        producer.answers_by_itself = False
        [publishing] = await bench.start_publishing()
        await asyncio.to_thread(producer.wait_for_polls, 2)
        assert not publishing.done()
        assert bench.publisher.queue_length() == 1
        seen.append(producer.waiting[0][:3])
        producer.answer(None)
        await publishing
        assert producer.polls_of_threads == {"kafka-producer-poll"}
        await bench.publisher.close(timeout_seconds=0.2)

    asyncio.run(scenario())
    [(topic, value, key)] = seen
    assert (topic, key) == ("p.t", b"k")
    assert decode("models.commands.v1", value) == EVENT


@pytest.mark.parametrize(
    ("code", "outcome_unknown"),
    [
        (KafkaError._MSG_TIMED_OUT, True),
        (KafkaError._PURGE_INFLIGHT, True),
        (KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND, True),
        (KafkaError._TRANSPORT, True),
        (KafkaError._UNKNOWN_TOPIC, False),
        (KafkaError.MSG_SIZE_TOO_LARGE, False),
        (KafkaError._PURGE_QUEUE, False),
    ],
)
def test_a_failed_delivery_says_whether_the_event_may_be_there(code: int, outcome_unknown: bool) -> None:
    async def scenario(bench: Bench) -> None:
        [producer] = bench.producers
        producer.answers_by_itself = False
        [publishing] = await bench.start_publishing()
        producer.answer(KafkaError(code))
        with pytest.raises(PublishFailed) as failure:
            await publishing
        assert failure.value.outcome_unknown is outcome_unknown

    run(scenario)


def test_a_full_queue_refuses_at_once() -> None:
    async def scenario(bench: Bench) -> None:
        bench.producers[0].refusal = BufferError("Local: Queue full")
        publishing = bench.publish()
        with pytest.raises(PublishFailed) as failure:
            publishing.send(None)  # up to where it first waits: it refuses before
        assert failure.value.outcome_unknown is False

    run(scenario)


def test_a_report_that_never_comes_is_an_unknown_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.kafka.producer.REPORT_GRACE_SECONDS", 0.1)

    async def scenario(bench: Bench) -> None:
        bench.producers[0].answers_by_itself = False
        with pytest.raises(PublishFailed) as failure:
            await bench.publish()
        assert failure.value.outcome_unknown is True

    run(scenario)


def test_a_report_that_comes_together_with_the_end_of_the_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.kafka.producer.REPORT_GRACE_SECONDS", 0.1)
    failures: list[dict[str, Any]] = []

    async def scenario(bench: Bench) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        [producer] = bench.producers
        producer.answers_by_itself = False
        [publishing] = await bench.start_publishing()
        producer.answer(None)
        time.sleep(0.4)  # the loop is busy meanwhile, and then finds both
        await publishing

    run(scenario)
    assert failures == []


def test_a_cancelled_request_does_not_stop_the_reports_of_others() -> None:
    failures: list[dict[str, Any]] = []

    async def scenario(bench: Bench) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        [producer] = bench.producers
        producer.answers_by_itself = False
        cancelled, other = await bench.start_publishing(2)
        cancelled.cancel()
        await asyncio.sleep(0)
        producer.answer(None)
        await other
        producer.answers_by_itself = True
        await bench.publish()

    run(scenario)
    assert failures == []


def test_all_reports_of_one_poll_wake_the_event_loop_once() -> None:
    async def scenario(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        producer = bench.producers[0]
        producer.answers_by_itself = False
        tasks = await bench.start_publishing(100)
        wakes: list[object] = []
        wake = loop.call_soon_threadsafe

        def count_and_wake(*arguments: Any, **options: Any) -> asyncio.Handle:
            wakes.append(arguments[0])
            return wake(*arguments, **options)

        loop.call_soon_threadsafe = count_and_wake  # type: ignore[assignment, method-assign]
        producer.answer(None)
        await asyncio.gather(*tasks)
        assert len(wakes) == 1

    run(scenario)


def test_reports_after_the_loop_is_closed_do_no_harm() -> None:
    bench = Bench()
    abandoned: list[asyncio.Task[None]] = []

    async def start() -> None:
        await bench.publisher.start()
        bench.producers[0].answers_by_itself = False
        abandoned.extend(await bench.start_publishing())

    asyncio.run(start())
    thread = next(thread for thread in threading.enumerate() if thread.name == "kafka-producer-poll")
    bench.producers[0].answer(None)
    bench.producers[0].wait_for_polls(2)  # the second one begins after the report of the first
    assert bench.producers[0].waiting == []
    assert thread.is_alive()
    asyncio.run(bench.publisher.close(timeout_seconds=0.2))
    assert not thread.is_alive()


@pytest.mark.parametrize("noticed_by", ["produce", "report", "callback"])
def test_after_a_fatal_error_the_next_event_goes_through_a_new_producer(noticed_by: str) -> None:
    fatal = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "out of order", True)
    assert fatal.fatal()

    async def scenario(bench: Bench) -> None:
        [producer] = bench.producers
        if noticed_by == "produce":
            producer.refusal = KafkaException(fatal)
        elif noticed_by == "report":
            producer.answers_by_itself = False
            [publishing] = await bench.start_publishing()
            producer.answer(fatal)
            with pytest.raises(PublishFailed):
                await publishing
        else:
            producer.settings["error_cb"](fatal)
        await bench.publish()
        assert len(bench.producers) == 2
        await bench.publish()
        assert len(bench.producers) == 2

    assert run(scenario).producers[0].purged


def test_replacing_a_producer_answers_for_what_was_under_way() -> None:
    async def scenario(bench: Bench) -> None:
        [producer] = bench.producers
        producer.answers_by_itself = False
        [publishing] = await bench.start_publishing()
        producer.settings["error_cb"](KafkaError(KafkaError._FATAL, "fatal", True))
        await bench.publish()
        with pytest.raises(PublishFailed) as failure:
            await publishing
        assert failure.value.outcome_unknown is True

    run(scenario)


def test_closing_waits_for_what_is_under_way() -> None:
    bench = Bench()

    async def scenario() -> None:
        await bench.publisher.start()
        [producer] = bench.producers
        producer.answers_by_itself = False
        [publishing] = await bench.start_publishing()
        closing = asyncio.create_task(bench.publisher.close(timeout_seconds=WAIT_SECONDS))
        await asyncio.to_thread(producer.wait_for_polls, 3)
        assert not closing.done()
        producer.answer(None)
        await closing
        await publishing

    asyncio.run(scenario())


def test_a_closed_publisher_refuses() -> None:
    with pytest.raises(PublishFailed):
        asyncio.run(Bench().publish())
