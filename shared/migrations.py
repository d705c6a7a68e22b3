"""`python -m shared.migrations`: upgrade the database, create the topics and set what they need; repeatable."""

from __future__ import annotations

import sys

from shared.errors import RecommenderError
from shared.kafka.topics import TopicDurability, configure_topics, create_topics
from shared.logging import configure_logging, get_logger
from shared.postgres.migrations.upgrade import upgrade_database
from shared.settings import TopicSettings, settings_or_exit

log = get_logger(__name__)


def main() -> int:
    """Run all steps; 0 when all hold, 1 with one log line when one failed."""
    settings = settings_or_exit(TopicSettings)
    configure_logging(level=settings.log_level, log_format=settings.log_format, service="migrate")
    servers, prefix = settings.brokers(), settings.topic_prefix
    durability = TopicDurability(
        settings.topic_replication_factor,
        settings.topic_min_insync_replicas,
        settings.topic_retention_hours,
        settings.topic_max_message_bytes,
    )
    try:
        upgrade_database(settings.database_url.get_secret_value())
        created = create_topics(servers, prefix=prefix, partitions=settings.topic_partitions, durability=durability)
        changed = configure_topics(servers, prefix=prefix, durability=durability)
    except RecommenderError as error:
        log.error("migration.failed", error=str(error), error_type=type(error).__name__)
        return 1
    for topic, settings_changed in changed.items():
        log.info("migration.topic_changed", topic=topic, **settings_changed)
    log.info("migration.done", topics_created=created)
    return 0


if __name__ == "__main__":
    sys.exit(main())
