"""Write docs/schemas/, one JSON Schema for each topic, from the events: python script/render_schemas.py"""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # before the imports that need the packages of the project
    _enter = runpy.run_path(str(Path(__file__).resolve().parents[1] / "script/project_environment.py"))["enter"]
    _enter("pydantic")

from shared.events import EVENTS_OF_TOPIC, IDENTITY_FIELDS, Event

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def main() -> None:
    """Write every schema, and remove those of topics that are gone."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    schemas = {f"{topic}.json": render_schema(topic) for topic in EVENTS_OF_TOPIC}
    for path in FOLDER.glob("*.json"):
        if path.name not in schemas:
            path.unlink()
    for name, content in schemas.items():
        (FOLDER / name).write_text(content, encoding="utf-8")


def render_schema(topic: str) -> str:
    """Return the JSON Schema of the values of a topic (name without prefix) as text."""
    definitions: dict[str, Any] = {}
    events = [_describe_event(event_type, definitions) for event_type in EVENTS_OF_TOPIC[topic]]
    schema: dict[str, Any] = {"$schema": DIALECT, "$id": f"urn:topic:{topic}"}
    schema |= events[0] if len(events) == 1 else {"title": topic, "oneOf": events}
    if definitions:
        schema["$defs"] = definitions
    return json.dumps(schema, indent=2, ensure_ascii=True) + "\n"


def _describe_event(event_type: type[Event], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of one event; unknown fields are allowed, as consumers ignore them."""
    schema = event_type.model_json_schema()
    definitions |= {name: _without_noise(one) for name, one in schema.pop("$defs", {}).items()}
    described = " ".join(str(schema.pop("description", "")).split())
    if event_type.key_field is not None:
        described += f" The key of the message is the UTF-8 text of {event_type.key_field}."
    required = [name for name in schema["properties"] if name in IDENTITY_FIELDS.union(schema.get("required", ()))]
    properties = {name: _without_noise(one) for name, one in schema["properties"].items()}
    return {
        "title": schema["title"],
        "description": described,
        "type": "object",
        "required": required,
        "properties": properties,
    }


def _without_noise(schema: Any) -> Any:
    """Return the schema without generated titles and defaults, which are the producer's."""
    if isinstance(schema, dict):
        names = schema.get("properties", {})
        kept = {key: _without_noise(one) for key, one in schema.items() if key not in ("title", "default")}
        if names:
            kept["properties"] = {name: _without_noise(one) for name, one in names.items()}
        return kept
    return [_without_noise(one) for one in schema] if isinstance(schema, list) else schema


if __name__ == "__main__":
    main()
