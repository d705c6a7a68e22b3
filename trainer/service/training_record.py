"""What is kept of a training: the metadata of the manifest, and the row of model_versions."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as library_version
from typing import Any

from shared.events import INTERACTIONS_RECORDED, TRANSACTIONS_RECORDED
from shared.ports import Partition
from shared.recommender.model import Model
from shared.recommender.training_data import TrainingData
from trainer.evaluation.promotion import PromotionDecision
from trainer.evaluation.selection import Evaluation
from trainer.service.ports import FinishedTraining, TrainingSnapshot
from trainer.service.training_rows import digest_rows

LIBRARIES = ("numpy", "scipy", "scikit-learn", "rectools-lightfm")
DATA_DIGEST = "data_sha256"  # in the watermark


def build_metadata(data: TrainingData, evaluation: Evaluation, snapshot: TrainingSnapshot) -> dict[str, Any]:
    """Return what the manifest contains besides the description of the arrays."""
    return {
        "metrics": evaluation.to_json(),
        "watermark": {
            "as_of": data.as_of.isoformat(),
            "customers": len(data.customers),
            "assets": len(data.assets),
            "purchases": len(data.purchases.day),
            "close_prices": len(data.close_prices.day),
            "interactions": len(data.interactions.occurred_at),
            "interaction_offsets": _offsets_of(INTERACTIONS_RECORDED, snapshot.worker_offsets),
            "transaction_offsets": _offsets_of(TRANSACTIONS_RECORDED, snapshot.worker_offsets),
            DATA_DIGEST: digest_rows(snapshot.rows),
        },
        "libraries": {"python": platform.python_version(), **{name: _library_version(name) for name in LIBRARIES}},
    }


def build_finished(
    model: Model,
    evaluation: Evaluation,
    *,
    decision: PromotionDecision,
    manifest_sha256: str,
    covered: Mapping[Partition, int],
) -> FinishedTraining:
    """Return what the row keeps of a training that made a model."""
    champion = evaluation.champion
    return FinishedTraining(
        version=model.version,
        status="promoted" if decision.promoted else "stored",
        reason=decision.reason,
        algorithm=model.configuration.algorithm,
        manifest_sha256=manifest_sha256,
        metrics={**model.metadata["metrics"], "signals": model.metadata["signals"]},
        champion_metrics=champion.to_json() if champion else None,
        configuration=model.configuration.to_json(),
        watermark=model.metadata["watermark"],
        next_offsets=covered,
    )


def _offsets_of(topic: str, offsets: Mapping[Partition, int]) -> dict[str, int]:
    return {str(number): offset for (name, number), offset in sorted(offsets.items()) if name == topic}


def _library_version(name: str) -> str | None:
    try:
        return library_version(name)
    except PackageNotFoundError:
        return None
