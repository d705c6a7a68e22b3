"""What is served while a training begins: how to fit it again for a comparison, and what it learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.errors import ArtifactInvalid, ConfigurationInvalid
from shared.logging import get_logger
from shared.ports import ArtifactReader, Pointer
from shared.recommender.configuration import ModelConfiguration
from trainer.service.model_registry import Releases
from trainer.service.ports import TrainerStore

log = get_logger(__name__)


@dataclass(frozen=True)
class Champion:
    """The version that the pointer names. configuration: None when nobody here knows how to fit it again.

    is_served: a worker can load it; without a version, or when it cannot be loaded, there is nothing to defend.
    watermark: what it learned from, None when neither its row nor its manifest says so.
    """

    version: str | None
    configuration: ModelConfiguration | None = None
    is_served: bool = False
    watermark: Mapping[str, Any] | None = None


def fetch_champion(store: TrainerStore, artifacts: ArtifactReader, releases: Releases) -> Champion:
    """Return what is served now; raises DatabaseUnavailable."""
    pointer = releases.current()
    if pointer is None:
        return Champion(None)
    if releases.servable() is None:
        return Champion(pointer.version)
    row = store.fetch_active_version()
    if row is None or row.version != pointer.version or row.configuration is None:
        log.warning("champion.unknown", version=pointer.version)
        return Champion(pointer.version, is_served=True, watermark=_read_watermark(artifacts, pointer))
    watermark = row.watermark or _read_watermark(artifacts, pointer)
    configuration = _read_configuration(pointer.version, row.configuration)
    return Champion(pointer.version, configuration, is_served=True, watermark=watermark)


def _read_configuration(version: str, values: Mapping[str, Any]) -> ModelConfiguration | None:
    try:
        configuration = ModelConfiguration.from_json(values)
        if not configuration.is_available():
            raise ConfigurationInvalid(f"{configuration.algorithm} cannot be fitted here")
    except ConfigurationInvalid as error:
        log.warning("champion.unreadable", version=version, error=str(error))
        return None
    return configuration


def _read_watermark(artifacts: ArtifactReader, pointer: Pointer) -> Mapping[str, Any] | None:
    try:
        watermark = artifacts.load_model(pointer).metadata.get("watermark")
    except ArtifactInvalid:
        return None
    return watermark if isinstance(watermark, dict) else None
