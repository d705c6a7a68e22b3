"""Questions to a broker that does not answer: each ends in time, whatever other threads ask meanwhile."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.errors import BrokerUnavailable
from shared.kafka.metadata import KafkaMetadata, fetch_cluster_id

NO_BROKER = "127.0.0.1:1"
PARTITION = ("requests", 0)


def test_a_question_that_fails_leaves_one_of_another_thread_its_answer() -> None:
    metadata = KafkaMetadata(NO_BROKER, prefix="", timeout_seconds=1.0)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(metadata.fetch_latest, [PARTITION])
        time.sleep(0.5)  # so that the first one fails while the second one waits
        second = pool.submit(metadata.fetch_latest, [PARTITION])
        for question in (first, second):
            with pytest.raises(BrokerUnavailable):
                question.result(timeout=10)


def test_a_question_about_topics_is_answered_after_another_one_failed() -> None:
    metadata = KafkaMetadata(NO_BROKER, prefix="", timeout_seconds=1.0)

    topics = metadata.start_query(["requests"])
    with pytest.raises(BrokerUnavailable):
        metadata.fetch_latest([PARTITION])

    with pytest.raises(BrokerUnavailable):
        topics.result()
    assert topics.is_answered()


def test_a_failure_has_its_cause_without_times_so_that_logs_recognise_a_repetition() -> None:
    with pytest.raises(BrokerUnavailable, match=r"Connection refused$"):
        fetch_cluster_id(NO_BROKER, timeout_seconds=1.0)
