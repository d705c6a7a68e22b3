"""Write .env.example and docs/configuration.md from the settings classes: python script/render_settings.py"""

from __future__ import annotations

import runpy
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # before the imports that need the packages of the project
    _enter = runpy.run_path(str(Path(__file__).resolve().parents[1] / "script/project_environment.py"))["enter"]
    _enter("pydantic_settings")

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from api.settings import ApiSettings
from shared.settings import TopicSettings
from trainer.settings import TrainerSettings
from worker.settings import WorkerSettings

REPOSITORY = Path(__file__).resolve().parent.parent
SERVICES: dict[str, type[BaseSettings]] = {
    "api": ApiSettings,
    "worker": WorkerSettings,
    "trainer": TrainerSettings,
    "migrate": TopicSettings,
}


@dataclass(frozen=True)
class Setting:
    """One environment variable; `default` None means that it must be given."""

    name: str
    default: str | None
    meaning: str
    services: tuple[str, ...]


_COMPOSE = ("compose",)
# What docker-compose.yml reads itself. API_PORT is the gateway's own setting there: the port on this machine.
COMPOSE_SETTINGS = (
    Setting("POSTGRES_PASSWORD", "", "of the database; empty: the first start generates one and keeps it", _COMPOSE),
    Setting("DATA_DIR", "./FAR-Trans", "folder whose FAR-Trans CSV files are loaded into an empty database", _COMPOSE),
    Setting(
        "SYNTHETIC_SCALE",
        "0.02",
        "size of the synthetic data that is made when DATA_DIR has no CSV files; 1 is the published size, 0 is none",
        _COMPOSE,
    ),
    Setting("IMAGE", "far-trans-recommender", "name of the image that is built and run", _COMPOSE),
)
# docker-compose.yml sets these to what its containers need.
FIXED_IN_COMPOSE = frozenset(
    {"KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "MODELS_DIR", "API_HOST", "AUTH_NONE_ALLOW_REMOTE", "HEALTH_HOST"}
    | {"API_METRICS_HOST", "API_METRICS_PORT", "WORKER_HEALTH_PORT", "TRAINER_HEALTH_PORT"}
)

_ENV_HEADING = """\
# Copy to .env to change something: `docker compose` reads it. Commented lines show the defaults.
# Services started by hand (python -m api) read their environment only, not this file.
# Written by script/render_settings.py from the settings classes; a test keeps them equal.
"""
_DOCUMENT_HEADING = """\
# Configuration

Every setting is an environment variable. `docker compose` reads them from `.env` (start from `.env.example`) and
passes to each service only its own; services started by hand read their environment. An empty value counts as not
set. A wrong value stops the service at its start, with the setting named.

*Service* says who reads it; `compose` is `docker-compose.yml` itself. Settings with a star are fixed by
`docker-compose.yml`, which knows its own network; set them where services are started in another way.

This page is written by `python script/render_settings.py` from the settings classes; a test keeps them equal.

| name | default | meaning | service |
|---|---|---|---|
"""


def main() -> None:
    """Write both files."""
    settings = collect_settings()
    (REPOSITORY / ".env.example").write_text(render_env_example(settings), encoding="utf-8")
    (REPOSITORY / "docs" / "configuration.md").write_text(render_document(settings), encoding="utf-8")


def collect_settings() -> list[Setting]:
    """Return every setting once, compose's own first, then those that most services share."""
    fields: dict[str, FieldInfo] = {}
    readers: dict[str, list[str]] = {}
    for service, settings in SERVICES.items():
        for name, field in settings.model_fields.items():
            known = fields.setdefault(name.upper(), field)
            readers.setdefault(name.upper(), []).append(service)
            if (known.default, known.description) != (field.default, field.description):
                raise ValueError(f"{name} means one thing in one of {readers[name.upper()]} and another in {service}")
    found = [Setting(name, _default(one), one.description or "", tuple(readers[name])) for name, one in fields.items()]
    return [*COMPOSE_SETTINGS, *sorted(found, key=lambda setting: -len(setting.services))]


def render_env_example(settings: Iterable[Setting]) -> str:
    """Return the text of .env.example: one group for each set of services."""
    lines = [_ENV_HEADING]
    group: tuple[str, ...] = ()
    for setting in settings:
        if setting.services != group:
            group = setting.services
            lines.append(f"\n# --- {', '.join(group)} ---\n")
        fixed = " (docker-compose.yml sets it)" if setting.name in FIXED_IN_COMPOSE else ""
        lines.append(f"# {setting.meaning}{'; required' if setting.default is None else ''}{fixed}\n")
        mark = "" if setting.default is None and not fixed else "#"
        lines.append(f"{mark}{setting.name}={setting.default or ''}\n")
    return "".join(lines)


def render_document(settings: Iterable[Setting]) -> str:
    """Return the text of docs/configuration.md: one table."""
    rows = []
    for one in settings:
        star = " *" if one.name in FIXED_IN_COMPOSE else ""
        default = "**required**" if one.default is None else f"`{one.default}`" if one.default else "(empty)"
        rows.append(f"| `{one.name}`{star} | {default} | {one.meaning} | {', '.join(one.services)} |\n")
    return _DOCUMENT_HEADING + "".join(rows)


def _default(field: FieldInfo) -> str | None:
    if field.default is PydanticUndefined:
        return None
    if isinstance(field.default, float):
        return f"{field.default:g}"
    return "" if field.default is None else str(field.default)


if __name__ == "__main__":
    main()
