"""docs/integration.md: its configurations are JSON, and topics, keys, fields and settings are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from shared.events import EVENTS_OF_TOPIC, decode
from shared.kafka.client_settings import PARTITIONER
from shared.kafka.topics import MAX_MESSAGE_BYTES
from shared.postgres.tables import metadata

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "integration.md").read_text()
BLOCKS: list[dict[str, Any]] = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
CONNECTORS = {block["name"]: block["config"] for block in BLOCKS if "config" in block}
FIELDS = {
    name: set(kind.model_fields) for kinds in EVENTS_OF_TOPIC.values() for kind in kinds for name in [kind.__name__]
}
TOPIC_OF = {kind.__name__: topic for topic, kinds in EVENTS_OF_TOPIC.items() for kind in kinds}


def fields_of(config: dict[str, str]) -> set[str]:
    """Return the fields of the events that a connector writes, as far as its configuration names them."""
    if "query" in config:
        inner = config["query"].split("FROM (SELECT ")[1].split(" FROM ")[0]
        return set(re.findall(r" AS ([a-z_]+)(?=,|$)", inner)) | set(re.findall(r"(?:^|, )([a-z_]+)(?=,|$)", inner))
    [names] = re.findall(r"\((.*)\)", config.get("column.include.list", "()"))
    return set(names.split("|")) - {""}


def test_every_topic_on_the_page_exists_and_has_the_key_and_the_schema_of_its_events() -> None:
    named = set(re.findall(r"\b[a-z_]+\.[a-z]+\.v1\b", PAGE))
    assert named <= EVENTS_OF_TOPIC.keys()
    rows = re.findall(r"^\| `([a-z_.0-9]+)` \| `([a-z_]+)` \| ([A-Za-z]+) \| \[schema\]\((.*?)\)", PAGE, re.MULTILINE)
    assert len(rows) == 4
    for topic, key, event, schema in rows:
        [kind] = EVENTS_OF_TOPIC[topic]
        assert (kind.__name__, kind.key_field) == (event, key)
        assert (REPOSITORY / "docs" / schema).is_file()


def test_the_example_event_is_one() -> None:
    [event] = [block for block in BLOCKS if "event_type" in block]
    decode(TOPIC_OF[event["event_type"]], json.dumps(event).encode())
    assert FIELDS[event["event_type"]] - {"fingerprint"} == event.keys()


@pytest.mark.parametrize("name", CONNECTORS)
def test_a_connector_writes_plain_keys_and_values_to_a_topic_that_exists(name: str) -> None:
    config = CONNECTORS[name]
    assert all(isinstance(value, str) for value in config.values())
    for transform in config["transforms"].split(","):
        assert f"transforms.{transform}.type" in config
    assert config["key.converter"].endswith(".StringConverter")
    assert config["value.converter"].endswith(".StringConverter") or config["value.converter.schemas.enable"] == "false"
    if "debezium" in config["connector.class"]:
        assert config["tombstones.on.delete"] == "false"
    topic = config.get("transforms.route.replacement") or config["topic.prefix"]
    if config.get("transforms.outbox.route.topic.replacement") != "${routedByValue}":
        [kind] = EVENTS_OF_TOPIC[topic]
        assert config["transforms.key.fields"] == config["transforms.text.field"] == kind.key_field
        extra = {config.get("incrementing.column.name")} - {None}
        assert fields_of(config) - extra <= FIELDS[kind.__name__]
        required = {name for name, field in kind.model_fields.items() if field.is_required()}
        assert required | {"event_id", "occurred_at", "schema_version", "event_type"} <= fields_of(config)


def test_there_are_the_three_connectors() -> None:
    assert sorted(CONNECTORS) == ["recommender-assets", "recommender-close-prices", "recommender-outbox"]


def test_the_page_names_the_partitioner_the_limit_and_the_views_of_the_code() -> None:
    assert f"`partitioner={PARTITIONER}`" in PAGE
    assert f'"partitioner": "{PARTITIONER}"' in PAGE
    assert f"{MAX_MESSAGE_BYTES:,} bytes" in PAGE
    assert "recorded_close_prices" in metadata.tables
