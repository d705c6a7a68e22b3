"""`python -m trainer`: the composition root; `--once` trains right now if there is no model, and exits."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence

from pydantic import ValidationError

from shared.artifacts.publication import FileArtifacts
from shared.errors import RecommenderError
from shared.events import INTERACTIONS_RECORDED, MODELS_COMMANDS
from shared.health import HealthServer, Heartbeat
from shared.kafka.client_settings import ConsumerSettings, producer_settings
from shared.kafka.consumer import KafkaEventConsumer
from shared.kafka.metadata import fetch_cluster_id, wait_for_cluster_id
from shared.kafka.producer import SyncKafkaEventPublisher
from shared.liveness import StallWatch, watch_in_background
from shared.logging import configure_logging, get_logger
from shared.ports import EventConsumer
from shared.postgres.engine import build_engine
from trainer.service.leadership import Leadership, Surroundings
from trainer.service.lease import PostgresLease
from trainer.service.model_registry import Releases
from trainer.service.once import train_once
from trainer.service.store import PostgresTrainerStore
from trainer.settings import TrainerSettings

log = get_logger("trainer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM, or train once; the exit code is 0 when that went well."""
    options = _parse(arguments)
    try:
        settings = TrainerSettings()
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors()]
        sys.exit("; ".join(problems))
    configure_logging(level=settings.log_level, log_format=settings.log_format, service="trainer")
    if missing := settings.unavailable_algorithms():
        log.warning("candidates.unavailable", algorithms=missing, reason="not installed")
    stop = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())
    return _once(settings, stop, force=options.force) if options.once else _serve(settings, stop)


def _serve(settings: TrainerSettings, stop: threading.Event) -> int:
    heartbeat = Heartbeat(within_seconds=settings.stall_seconds)
    state: list[Leadership] = []
    watch = StallWatch(
        lambda: state[0].backlog() if state else None, stall_seconds=settings.stall_seconds, name="trainer"
    )

    def unready_reason() -> str | None:
        return state[0].unready_reason() if state else "waiting for the broker"

    address = (settings.health_host, settings.trainer_health_port)
    with HealthServer(address, heartbeat=heartbeat, unready_reason=unready_reason, stalled_reason=watch.reason):
        watch_in_background(watch, heartbeat=heartbeat, stop=stop)
        cluster_id = wait_for_cluster_id(settings.kafka_bootstrap_servers, stop=stop, on_try=heartbeat.beat)
        if cluster_id is not None:
            leadership = Leadership(
                _surroundings(settings, cluster_id),
                plan=settings.training_plan(),
                rules=settings.trigger_rules(),
                stop=stop,
                heartbeat=heartbeat,
            )
            state.append(leadership)
            leadership.run()
    log.info("trainer.stopped")
    if any(thread.name == "training" for thread in threading.enumerate()):
        # A fit that is deep in native code cannot be interrupted, and the interpreter must not end under it.
        sys.stderr.flush()
        os._exit(0)
    return 0


def _once(settings: TrainerSettings, stop: threading.Event, *, force: bool) -> int:
    try:
        cluster_id = fetch_cluster_id(settings.kafka_bootstrap_servers)
        surroundings = _surroundings(settings, cluster_id)
        done = train_once(surroundings, plan=settings.training_plan(), force=force, stop=stop)
    except RecommenderError as error:
        log.error("training.impossible", error=str(error))
        return 1
    return 0 if done else 1


def _surroundings(settings: TrainerSettings, cluster_id: str) -> Surroundings:
    engine = build_engine(settings.database_url.get_secret_value(), application_name="trainer", pool_size=4)
    store = PostgresTrainerStore(engine, cluster_id=cluster_id, consumer_group=settings.trainer_consumer_group)
    artifacts = FileArtifacts(settings.models_dir, signing_keys=settings.signing_keys())
    # A short delivery timeout: the loop waits for it, and an announcement can be repeated.
    producer = producer_settings(settings.kafka_bootstrap_servers, client_id="trainer", delivery_timeout_seconds=3.0)
    releases = Releases(
        artifacts=artifacts,
        store=store,
        publisher=SyncKafkaEventPublisher(producer, topic_prefix=settings.topic_prefix),
        keep=settings.kept_versions,
    )

    def open_consumer() -> EventConsumer:
        return KafkaEventConsumer(
            ConsumerSettings(settings.kafka_bootstrap_servers, settings.trainer_consumer_group, settings.topic_prefix),
            topics=(INTERACTIONS_RECORDED, MODELS_COMMANDS),
            offsets=store,
            cluster_id=cluster_id,
        )

    return Surroundings(PostgresLease(engine), store, artifacts, releases, open_consumer)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Train models and decide what is served.")
    parser.add_argument("--once", action="store_true", help="train now if there is no model, and exit")
    parser.add_argument("--force", action="store_true", help="with --once: train even if there is a model")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
