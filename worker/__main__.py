"""`python -m worker`: wires the adapters, runs the loop until SIGTERM, exits 0."""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

from shared.artifacts.publication import FileArtifacts
from shared.events import WORKER_TOPICS
from shared.health import HealthServer, Heartbeat
from shared.kafka.client_settings import ConsumerSettings
from shared.kafka.consumer import KafkaEventConsumer
from shared.kafka.metadata import wait_for_cluster_id
from shared.liveness import Progress, StallWatch, watch_in_background
from shared.logging import configure_logging, get_logger
from shared.settings import settings_or_exit
from worker.answers import Scoring
from worker.catalogue import Catalogue
from worker.decision_months import DecisionMonths
from worker.histories import Histories
from worker.loop import Dependencies, WorkerLoop
from worker.metrics import WorkerMetrics
from worker.model_slot import ModelSlot
from worker.retention import Retention
from worker.settings import WorkerSettings
from worker.store import PostgresWorkerStore

log = get_logger(__name__)


def main() -> int:
    """Run until SIGTERM or SIGINT; 0 after a clean stop."""
    settings = settings_or_exit(WorkerSettings)
    configure_logging(level=settings.log_level, log_format=settings.log_format, service="worker")
    WorkerProcess(settings, stop=_stop_on_signals(settings.shutdown_timeout_seconds)).run()
    return 0


class WorkerProcess:
    """The worker and its health server; the loop starts once the broker answers."""

    def __init__(self, settings: WorkerSettings, *, stop: threading.Event) -> None:
        self._settings = settings
        self._policy = settings.policy()
        self._stop = stop
        self._heartbeat = Heartbeat(within_seconds=settings.stall_seconds)
        self._loop: WorkerLoop | None = None

    def run(self) -> None:
        """Consume until `stop`."""
        settings = self._settings
        watch = StallWatch(self._progress, stall_seconds=settings.stall_seconds, name="worker")
        with HealthServer(
            (settings.health_host, settings.worker_health_port),
            heartbeat=self._heartbeat,
            unready_reason=self._unready_reason,
            stalled_reason=watch.reason,
        ) as health:
            log.info(
                "worker.started",
                health_port=health.port,
                group=settings.worker_consumer_group,
                policy=str(self._policy),
            )
            watch_in_background(watch, heartbeat=self._heartbeat, stop=self._stop)
            months = DecisionMonths(
                settings.database_url.get_secret_value(), retention_months=settings.decision_retention_months
            )
            threading.Thread(target=months.keep_forever, args=(self._stop,), name="months", daemon=True).start()
            retention = Retention(
                settings.database_url.get_secret_value(),
                months={
                    "user_interactions": settings.interaction_retention_months,
                    "dead_letters": settings.dead_letter_retention_months,
                },
            )
            threading.Thread(target=retention.keep_forever, args=(self._stop,), name="retention", daemon=True).start()
            servers = settings.brokers()
            cluster_id = wait_for_cluster_id(servers, stop=self._stop, on_try=self._heartbeat.beat)
            if cluster_id is not None:
                self._consume(cluster_id)
        log.info("worker.stopped")

    def _progress(self) -> Progress | None:
        return self._loop.progress() if self._loop else None

    def _unready_reason(self) -> str | None:
        if self._stop.is_set():
            return "stopping"
        return self._loop.unready_reason() if self._loop else "the broker does not answer yet"

    def _consume(self, cluster_id: str) -> None:
        settings = self._settings
        store = PostgresWorkerStore(
            settings.database_url.get_secret_value(),
            cluster_id=cluster_id,
            consumer_group=settings.worker_consumer_group,
        )
        consumer = KafkaEventConsumer(
            ConsumerSettings(
                settings.brokers(),
                settings.worker_consumer_group,
                settings.topic_prefix,
                settings.session_timeout_seconds,
            ),
            topics=WORKER_TOPICS,
            offsets=store,
        )
        with closing(store), closing(consumer), ThreadPoolExecutor(1, thread_name_prefix="store") as executor:
            dependencies = self._build_dependencies(consumer, store, executor)
            self._loop = WorkerLoop(dependencies, batch_size=settings.worker_batch_size)
            self._loop.run(self._stop.is_set)

    def _build_dependencies(
        self, consumer: KafkaEventConsumer, store: PostgresWorkerStore, executor: ThreadPoolExecutor
    ) -> Dependencies:
        settings, metrics = self._settings, WorkerMetrics()
        artifacts = FileArtifacts(settings.models_dir, signing_keys=settings.signing_keys())
        return Dependencies(
            consumer=consumer,
            store=store,
            catalogue=Catalogue(store, policy=self._policy),
            model_slot=ModelSlot(artifacts, poll_seconds=settings.model_poll_seconds, metrics=metrics),
            build_scoring=partial(Scoring, k=settings.recommendation_count, weights=settings.weights()),
            metrics=metrics,
            histories=Histories(most_bytes=settings.worker_history_mebibytes << 20),
            executor=executor,
            heartbeat=self._heartbeat,
        )


def _stop_on_signals(timeout_seconds: float) -> threading.Event:
    """Return an event that SIGTERM and SIGINT set; after the timeout the process ends, which loses nothing."""
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
