"""The models volume of the trainer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shared.artifacts.publication import FileArtifacts
from shared.errors import ArtifactInvalid, ArtifactMissing
from shared.ports import Pointer
from tests.builders import build_model
from tests.unit.trainer.service.loop_fakes import FakeTrainerArtifacts
from trainer.service.ports import ArtifactStore


@pytest.fixture(params=["fake", "real"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    return FakeTrainerArtifacts() if request.param == "fake" else FileArtifacts(tmp_path / "models")


def test_an_empty_volume_has_no_pointer(artifacts: ArtifactStore) -> None:
    assert artifacts.read_pointer() is None


def test_an_activated_version_is_what_the_pointer_names_and_loads(artifacts: ArtifactStore) -> None:
    first, second = build_model(seed=1), build_model(seed=2)
    digest = artifacts.save_model(first)
    assert artifacts.read_pointer() is None
    assert artifacts.activate(first.version) == artifacts.read_pointer() == Pointer(1, first.version, digest)
    artifacts.save_model(second)
    artifacts.activate(second.version)
    pointer = artifacts.activate(first.version)
    assert pointer.sequence == 3
    assert artifacts.load_model(pointer).version == first.version


def test_a_pointer_with_another_digest_or_version_does_not_load(artifacts: ArtifactStore) -> None:
    model = build_model()
    artifacts.save_model(model)
    pointer = artifacts.activate(model.version)
    with pytest.raises(ArtifactInvalid):
        artifacts.load_model(replace(pointer, manifest_sha256="0" * 64))
    with pytest.raises(ArtifactMissing):
        artifacts.load_model(replace(pointer, version="never-saved"))
    with pytest.raises(ArtifactMissing):
        artifacts.activate("never-saved")


def test_a_version_is_written_once(artifacts: ArtifactStore) -> None:
    artifacts.save_model(build_model())
    with pytest.raises(ArtifactInvalid):
        artifacts.save_model(build_model())
