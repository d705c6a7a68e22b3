"""`python -m worker`: wires the adapters, runs the loop until SIGTERM, exits 0."""

from __future__ import annotations

import os
import signal
import sys
import threading
from datetime import UTC, datetime

from shared.artifacts.publication import FileArtifacts
from shared.health import HealthServer, Heartbeat
from shared.kafka.client_settings import ConsumerSettings
from shared.kafka.consumer import KafkaEventConsumer
from shared.kafka.metadata import wait_for_cluster_id
from shared.liveness import Backlog, StallWatch, Unfinished, watch_in_background
from shared.logging import configure_logging, get_logger
from shared.recommender.model import Model
from shared.recommender.ranking import recommend
from worker.answers import Scoring
from worker.catalogue import Catalogue
from worker.loop import Parts, WorkerLoop
from worker.message_buffer import CONSUMED_TOPICS
from worker.metrics import WorkerMetrics
from worker.model_slot import ModelSlot
from worker.settings import WorkerSettings
from worker.store import PostgresWorkerStore

log = get_logger(__name__)


def main() -> int:
    """Run until SIGTERM or SIGINT; 0 after a clean stop."""
    settings = WorkerSettings()
    configure_logging(level=settings.log_level, log_format=settings.log_format, service="worker")
    stop = _stop_on_signals(settings.shutdown_timeout_seconds)
    heartbeat = Heartbeat(within_seconds=settings.stall_seconds)
    loops: list[WorkerLoop] = []
    backlog = Backlog()
    watch = StallWatch(backlog, stall_seconds=settings.stall_seconds, name="worker")
    address = (settings.health_host, settings.worker_health_port)

    def unready_reason() -> str | None:
        return "stopping" if stop.is_set() else loops[0].unready_reason() if loops else "the broker does not answer yet"

    with HealthServer(
        address, heartbeat=heartbeat, unready_reason=unready_reason, stalled_reason=watch.reason
    ) as health:
        log.info("worker.started", health_port=health.port, group=settings.worker_consumer_group)
        watch_in_background(watch, heartbeat=heartbeat, stop=stop)
        cluster_id = wait_for_cluster_id(settings.kafka_bootstrap_servers, stop=stop, on_try=heartbeat.beat)
        if cluster_id is not None:
            _consume(settings, cluster_id=cluster_id, stop=stop, heartbeat=heartbeat, loops=loops, backlog=backlog)
    log.info("worker.stopped")
    return 0


def _consume(
    settings: WorkerSettings,
    *,
    cluster_id: str,
    stop: threading.Event,
    heartbeat: Heartbeat,
    loops: list[WorkerLoop],
    backlog: Backlog,
) -> None:
    store = PostgresWorkerStore(
        settings.database_url.get_secret_value(),
        cluster_id=cluster_id,
        consumer_group=settings.worker_consumer_group,
    )
    consumer = KafkaEventConsumer(
        ConsumerSettings(
            settings.kafka_bootstrap_servers,
            settings.worker_consumer_group,
            settings.topic_prefix,
            settings.session_timeout_seconds,
        ),
        topics=CONSUMED_TOPICS,
        offsets=store,
        cluster_id=cluster_id,
    )
    try:
        loop = WorkerLoop(_parts(settings, consumer, store, heartbeat), batch_size=settings.worker_batch_size)
        loops.append(loop)
        backlog.attach(lambda: Unfinished(loop.commits, 0, loop.unfinished()), consumer, store)
        loop.run(stop.is_set)
    finally:
        consumer.close()
        store.close()


def _parts(
    settings: WorkerSettings, consumer: KafkaEventConsumer, store: PostgresWorkerStore, heartbeat: Heartbeat
) -> Parts:
    metrics = WorkerMetrics()
    slot = ModelSlot(
        FileArtifacts(settings.models_dir, signing_keys=settings.signing_keys()),
        recommend=recommend,
        poll_seconds=settings.model_poll_seconds,
        metrics=metrics,
    )

    def scoring(model: Model | None) -> Scoring | None:
        if model is None:
            return None
        return Scoring(
            model=model,
            recommend=recommend,
            k=settings.recommendation_count,
            weights=settings.weights(),
            interaction_weights=settings.interaction_weights(),
            now=lambda: datetime.now(UTC),
        )

    return Parts(
        consumer=consumer,
        store=store,
        catalogue=Catalogue(store),
        model_slot=slot,
        scoring=scoring,
        metrics=metrics,
        heartbeat=heartbeat,
    )


def _stop_on_signals(timeout_seconds: float) -> threading.Event:
    """Return an event that SIGTERM and SIGINT set; a stop that hangs is ended, which loses nothing."""
    stop = threading.Event()

    def end() -> None:
        log.error("worker.stop_forced", after_seconds=timeout_seconds)
        os._exit(0)

    def on_signal(number: int, _: object) -> None:
        log.info("worker.stopping", signal=signal.Signals(number).name)
        stop.set()
        timer = threading.Timer(max(0.1, timeout_seconds - 1.0), end)
        timer.daemon = True
        timer.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    return stop


if __name__ == "__main__":
    sys.exit(main())
