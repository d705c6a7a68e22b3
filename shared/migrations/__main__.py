"""`python -m shared.migrations`: upgrade the database and create the topics; repeatable."""

from __future__ import annotations

import sys

from shared.adapters.kafka_topics import TopicDurability, create_topics
from shared.config import TopicSettings
from shared.errors import RecommenderError
from shared.logging import configure_logging, get_logger
from shared.migrations.upgrade import upgrade_database

log = get_logger(__name__)


def main() -> int:
    """Run both steps; 0 when both hold, 1 with one log line when one failed."""
    settings = TopicSettings()
    configure_logging(level=settings.log_level, log_format=settings.log_format, service="migrate")
    try:
        upgrade_database(settings.database_url.get_secret_value())
        created = create_topics(
            settings.kafka_bootstrap_servers,
            prefix=settings.topic_prefix,
            partitions=settings.topic_partitions,
            durability=TopicDurability(
                settings.topic_replication_factor,
                settings.topic_min_insync_replicas,
                settings.topic_retention_hours,
            ),
        )
    except RecommenderError as error:
        log.error("migration.failed", error=str(error), error_type=type(error).__name__)
        return 1
    log.info("migration.done", topics_created=created)
    return 0


if __name__ == "__main__":
    sys.exit(main())
