"""`python -m trainer`: build the adapters and run the trainer; with `--once` train if there is no model, and exit."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from functools import partial

from shared.artifacts.publication import FileArtifacts
from shared.errors import RecommenderError
from shared.events import MODELS_COMMANDS, WRITE_TOPICS
from shared.health import HealthServer, Heartbeat
from shared.kafka.client_settings import ConsumerSettings, producer_settings
from shared.kafka.consumer import KafkaEventConsumer
from shared.kafka.metadata import fetch_cluster_id, wait_for_cluster_id
from shared.kafka.producer import SyncKafkaEventPublisher
from shared.liveness import StallWatch, watch_in_background
from shared.logging import configure_logging, get_logger
from shared.ports import EventConsumer
from shared.postgres.engine import build_engine
from shared.settings import settings_or_exit
from trainer.service.job import OpenEngine, fit_here
from trainer.service.leadership import Dependencies, Leadership, train_once
from trainer.service.model_registry import ModelRegistry
from trainer.service.store import PostgresLease, PostgresTrainerStore
from trainer.settings import TrainerSettings

log = get_logger("trainer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM, or train once; the exit code is 0 on success."""
    options = _parse(arguments)
    settings = settings_or_exit(TrainerSettings)
    configure_logging(level=settings.log_level, log_format=settings.log_format, service="trainer")
    if missing := settings.unavailable_algorithms():
        log.warning("candidates.unavailable", algorithms=missing, reason="not installed")
    stop = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())
    if options.once:
        return _train_once(settings, stop, force=options.force)
    _lead_until(stop, settings)
    log.info("trainer.stopped")
    if any(thread.name == "training" for thread in threading.enumerate()):
        # A fit in native code cannot be interrupted, and the interpreter must not end under it.
        sys.stderr.flush()
        os._exit(0)
    return 0


def _lead_until(stop: threading.Event, settings: TrainerSettings) -> None:
    """Serve health and liveness from the start; lead once the broker answers."""
    heartbeat = Heartbeat(within_seconds=settings.stall_seconds)
    leadership: Leadership | None = None
    watch = StallWatch(
        lambda: leadership.backlog() if leadership else None, stall_seconds=settings.stall_seconds, name="trainer"
    )
    with HealthServer(
        (settings.health_host, settings.trainer_health_port),
        heartbeat=heartbeat,
        unready_reason=lambda: leadership.unready_reason() if leadership else "waiting for the broker",
        stalled_reason=watch.reason,
    ):
        watch_in_background(watch, heartbeat=heartbeat, stop=stop)
        cluster_id = wait_for_cluster_id(settings.brokers(), stop=stop, on_try=heartbeat.beat)
        if cluster_id is not None:
            leadership = Leadership(
                _build_dependencies(settings, cluster_id),
                plan=settings.training_plan(),
                rules=settings.trigger_rules(),
                stop=stop,
                heartbeat=heartbeat,
            )
            leadership.run()


def _train_once(settings: TrainerSettings, stop: threading.Event, *, force: bool) -> int:
    try:
        dependencies = _build_dependencies(settings, fetch_cluster_id(settings.brokers()))
        done = train_once(dependencies, plan=settings.training_plan(), force=force, stop=stop)
    except RecommenderError as error:
        log.error("training.impossible", error=str(error))
        return 1
    return 0 if done else 1


def _build_dependencies(settings: TrainerSettings, cluster_id: str) -> Dependencies:
    engine = build_engine(settings.database_url.get_secret_value(), application_name="trainer", pool_size=4)
    group = settings.trainer_consumer_group
    store = PostgresTrainerStore(
        engine, cluster_id=cluster_id, consumer_group=group, worker_group=settings.worker_consumer_group
    )
    artifacts = FileArtifacts(settings.models_dir, signing_keys=settings.signing_keys())
    # A short delivery timeout: the loop waits for it, and an announcement can be repeated.
    producer = producer_settings(settings.brokers(), client_id="trainer", delivery_timeout_seconds=3.0)
    registry = ModelRegistry(
        artifacts=artifacts,
        store=store,
        publisher=SyncKafkaEventPublisher(producer, topic_prefix=settings.topic_prefix),
        keep=settings.kept_versions,
    )

    def open_consumer() -> EventConsumer:
        return KafkaEventConsumer(
            ConsumerSettings(settings.brokers(), group, settings.topic_prefix),
            topics=(*WRITE_TOPICS, MODELS_COMMANDS),
            offsets=store,
        )

    return Dependencies(PostgresLease(engine), store, artifacts, registry, open_consumer, _choose_engine(settings))


def _choose_engine(settings: TrainerSettings) -> OpenEngine:
    """Return where signals are fitted."""
    if settings.training_engine == "local":
        return fit_here
    from trainer.spark.engine import SparkOptions, open_spark_engine  # only here: Spark is an extra

    options = SparkOptions(
        master=settings.spark_master,
        shared_folder=settings.spark_folder,
        timeout_seconds=settings.spark_timeout_seconds,
        json_logs=settings.log_format == "json",
    )
    return partial(open_spark_engine, options)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Train models and decide which is served.")
    parser.add_argument("--once", action="store_true", help="train now if there is no model, and exit")
    parser.add_argument("--force", action="store_true", help="with --once: train even if there is a model")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
