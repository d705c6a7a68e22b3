"""The metrics of the worker, named recommender_worker_*, and the log events of a stored batch."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Info

from shared.errors import ContractViolation, describe_error
from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from shared.logging import get_logger
from shared.ports import EventConsumer
from worker.handlers import Handled
from worker.message_buffer import Batch

log = get_logger(__name__)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class WorkerMetrics:
    """All metrics on one registry."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        name = "recommender_worker_{}".format
        self.batches = Counter(name("batches"), "Stored batches", registry=registry)
        self.answers = Counter(name("answers"), "Answered requests: scored or stored", ["from"], registry=registry)
        self.batch_seconds = Histogram(
            name("batch_seconds"), "Time in one transaction", buckets=_SECONDS, registry=registry
        )
        self.messages = Counter(
            name("messages"),
            "Messages stored, by topic and outcome",
            ["topic", "outcome"],
            registry=registry,
        )
        self.request_to_list_seconds = Histogram(
            name("request_to_list_seconds"),
            "Time from the acceptance of a request to its stored answer",
            buckets=_SECONDS,
            registry=registry,
        )
        self.dead_letters = Counter(name("dead_letters"), "Dead letters, by reason", ["reason"], registry=registry)
        self.failures = Counter(name("failures"), "Failures of the loop, by class", ["error"], registry=registry)
        self.model_swaps = Counter(name("model_swaps"), "Attempts to swap the model", ["outcome"], registry=registry)
        self.model_sequence = Gauge(name("model_sequence"), "Sequence of the served pointer", registry=registry)
        self.model = Info(name("model"), "The served model", registry=registry)
        self.paused_partitions = Gauge(name("paused_partitions"), "Partitions not fetched now", registry=registry)
        self.assigned_partitions = Gauge(name("assigned_partitions"), "Partitions owned now", registry=registry)
        self.offset_out_of_range = Gauge(
            name("offset_out_of_range"), "Partitions whose offset is outside the log", registry=registry
        )
        self.topic_problem = Gauge(
            name("topic_problem"),
            "1 while the consumed topics cannot be read correctly",
            registry=registry,
        )

    def observe(self, batch: Batch, handled: Handled, *, seconds: float) -> None:
        """Count and log a stored batch."""
        self.batches.inc()
        self.batch_seconds.observe(seconds)
        for topic, messages in (
            (INTERACTIONS_RECORDED, batch.interactions),
            (RECOMMENDATIONS_REQUESTED, batch.requests),
        ):
            dead = sum(1 for message, _ in handled.dead_letters if message.topic == topic)
            self.messages.labels(topic, "stored").inc(len(messages) - dead)
            self.messages.labels(topic, "dead_letter").inc(dead)
        for decision in handled.decisions:
            self.answers.labels(decision.answered_from).inc()
            waited_seconds = (decision.decided_at - decision.requested_at).total_seconds()
            self.request_to_list_seconds.observe(max(0.0, waited_seconds))
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
            interactions=len(batch.interactions),
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
