"""The metrics of the worker, named recommender_worker_*, and the log events of a stored batch."""

from __future__ import annotations

from functools import partial

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Info

from shared.errors import ContractViolation, describe_error
from shared.events import INTERACTIONS_RECORDED, TRANSACTIONS_RECORDED, WORKER_TOPICS
from shared.logging import get_logger
from shared.ports import EventConsumer
from shared.recommender.types import InteractionType
from worker.handlers import Handled
from worker.message_buffer import Batch

log = get_logger(__name__)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class WorkerMetrics:
    """All metrics on one registry."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        name = "recommender_worker_{}".format
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        seconds = partial(Histogram, buckets=_SECONDS, registry=registry)
        self.batches = counter(name("batches"), "Stored batches")
        self.answers = counter(name("answers"), "Answered requests: scored or stored", ["from"])
        of_a_list = ["rank", "basis"]
        self.list_outcomes = {
            InteractionType.IMPRESSION: counter(
                name("list_impressions"), "Stored impressions that name a request, by place and basis", of_a_list
            ),
            InteractionType.CLICK: counter(
                name("list_clicks"), "Stored clicks that name a request, by place and basis", of_a_list
            ),
        }
        self.batch_seconds = seconds(name("batch_seconds"), "Time in one transaction")
        self.messages = counter(name("messages"), "Messages stored, by topic and outcome", ["topic", "outcome"])
        self.request_to_list_seconds = seconds(
            name("request_to_list_seconds"), "Time from the acceptance of a request to its stored answer"
        )
        self.dead_letters = counter(name("dead_letters"), "Dead letters, by reason", ["reason"])
        self.failures = counter(name("failures"), "Failures of the loop, by class", ["error"])
        self.model_swaps = counter(name("model_swaps"), "Attempts to swap the model", ["outcome"])
        self.model_sequence = gauge(name("model_sequence"), "Sequence of the served pointer")
        self.model = Info(name("model"), "The served model", registry=registry)
        self.paused_partitions = gauge(name("paused_partitions"), "Partitions not fetched now")
        self.assigned_partitions = gauge(name("assigned_partitions"), "Partitions owned now")
        self.offset_out_of_range = gauge(name("offset_out_of_range"), "Partitions whose offset is outside the log")
        self.topic_problem = gauge(name("topic_problem"), "1 while the consumed topics cannot be read correctly")

    def observe(self, batch: Batch, handled: Handled, *, seconds: float) -> None:
        """Count and log a stored batch."""
        self.batches.inc()
        self.batch_seconds.observe(seconds)
        for topic in WORKER_TOPICS:
            count = sum(1 for message in batch.messages if message.topic == topic)
            dead = sum(1 for message, _ in handled.dead_letters if message.topic == topic)
            self.messages.labels(topic, "stored").inc(count - dead)
            self.messages.labels(topic, "dead_letter").inc(dead)
        for decision in handled.decisions:
            self.answers.labels(decision.answered_from).inc()
            waited_seconds = (decision.decided_at - decision.requested_at).total_seconds()
            self.request_to_list_seconds.observe(max(0.0, waited_seconds))
        for outcome in handled.list_outcomes:
            self.list_outcomes[outcome.type].labels(outcome.rank, outcome.basis).inc()
        for message, error in handled.dead_letters:
            self.dead_letters.labels(type(error).__name__).inc()
            if not isinstance(error, ContractViolation):
                self.failures.labels(type(error).__name__).inc()
            log.warning(
                "message.dead_letter",
                topic=message.topic,
                partition=message.partition,
                offset=message.offset,
                reason=describe_error(error),
            )
        log.debug(
            "batch.stored",
            interactions=len(batch.writes_of(INTERACTIONS_RECORDED)),
            transactions=len(batch.writes_of(TRANSACTIONS_RECORDED)),
            reference_events=handled.reference_events,
            requests=len(batch.requests),
            decisions=len(handled.decisions),
            seconds=round(seconds, 4),
        )

    def watch(self, consumer: EventConsumer, *, paused: int) -> None:
        """Set the gauges of the consumer's partitions."""
        self.assigned_partitions.set(len(consumer.assignment()))
        self.offset_out_of_range.set(len(consumer.out_of_range()))
        self.topic_problem.set(consumer.problem() is not None)
        self.paused_partitions.set(paused)
