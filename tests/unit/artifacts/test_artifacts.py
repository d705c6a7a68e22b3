"""Versions and the pointer on the models volume: written whole or not at all, read back bit for bit."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.artifacts.files import exclusive_lock
from shared.artifacts.format import named_arrays
from shared.artifacts.publication import FileArtifacts
from shared.errors import ArtifactInvalid, ArtifactMissing
from shared.ports import Pointer
from shared.recommender.pipeline import recommend
from shared.recommender.types import InteractionWeights, Weights
from tests.builders import NOW, build_histories, build_model
from tests.unit.artifacts.damaged_volume import save

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def test_a_model_comes_back_with_identical_arrays_and_identical_rankings(store: FileArtifacts) -> None:
    model = build_model(
        assets=40, weights=Weights(0.1, 0.7, 1 / 3), interaction_weights=InteractionWeights(click=1 / 7)
    )
    store.save_model(model)
    loaded = store.load_model(store.activate(model.version))
    assert named_arrays(loaded).keys() == named_arrays(model).keys()
    for name, array in named_arrays(loaded).items():
        assert array.dtype == named_arrays(model)[name].dtype
        assert array.tobytes() == named_arrays(model)[name].tobytes()
        assert not array.flags.writeable
    for name in ("version", "as_of", "id_map", "configuration", "metadata"):
        assert getattr(loaded, name) == getattr(model, name)
    histories = build_histories(model, 50)
    assert recommend(loaded, histories, k=10, now=NOW) == recommend(model, histories, k=10, now=NOW)


def test_a_model_without_assets_can_be_stored(store: FileArtifacts) -> None:
    store.save_model(build_model(assets=0))
    assert len(store.load_model(store.activate(build_model(assets=0).version)).id_map) == 0


def test_the_manifest_says_what_the_artifact_is_and_its_digest_is_returned(store: FileArtifacts) -> None:
    digest = store.save_model(build_model(assets=5, version="v1"))
    assert store.manifest_sha256("v1") == digest
    manifest = json.loads((store.models_dir / "versions/v1/manifest.json").read_bytes())
    assert manifest["format_version"] == 5
    meaning = "what owning asset i says for asset j"
    assert manifest["arrays"]["item_item"]["similarity"] == {"meaning": meaning, "dtype": "<f4", "shape": [5, 5]}
    assert manifest["configuration"] == build_model(assets=5).configuration.to_json()
    assert manifest["files"]["arrays.npz"]["size"] == (store.models_dir / "versions/v1/arrays.npz").stat().st_size
    assert set(manifest["metadata"]) == {"metrics", "watermark"}
    assert set(manifest["libraries"]) == {"python", "numpy", "scipy"}


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    digests = {FileArtifacts(tmp_path / name).save_model(build_model(assets=5)) for name in ("one", "two")}
    assert len(digests) == 1


def test_other_uids_can_read_whatever_the_umask(store: FileArtifacts) -> None:
    umask = os.umask(0o077)
    try:
        save(store, "v1")
        store.activate("v1")
    finally:
        os.umask(umask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in [store.models_dir, *store.models_dir.rglob("*")]}
    modes.pop(".lock")
    assert modes == {
        "models": 0o755,
        "CURRENT": 0o644,
        "versions": 0o755,
        "v1": 0o755,
        "arrays.npz": 0o644,
        "manifest.json": 0o644,
    }


def test_without_a_pointer_there_is_no_model_yet(store: FileArtifacts) -> None:
    assert store.read_pointer() is None
    save(store, "v1")
    assert store.read_pointer() is None


def test_the_sequence_only_grows_a_rollback_included(store: FileArtifacts) -> None:
    save(store, "v1", "v2")
    pointers = [store.activate(version) for version in ("v1", "v2", "v1", "v1")]
    assert [pointer.sequence for pointer in pointers] == [1, 2, 3, 4]
    assert store.read_pointer() == pointers[-1] == Pointer(4, "v1", store.manifest_sha256("v1"))


def test_a_pointer_that_cannot_be_read_is_replaced_by_a_later_one(store: FileArtifacts) -> None:
    save(store, "v1")
    sequence = store.activate("v1").sequence
    (store.models_dir / "CURRENT").write_text("{")
    mended = store.activate("v1")
    assert mended.sequence > sequence + 1_000_000
    assert store.activate("v1").sequence == mended.sequence + 1


def test_what_does_not_exist_cannot_be_activated(store: FileArtifacts) -> None:
    save(store, "v1")
    pointer = store.activate("v1")
    for ask in (store.manifest_sha256, store.activate):
        with pytest.raises(ArtifactMissing):
            ask("v2")
    assert store.read_pointer() == pointer


def test_what_would_not_load_is_not_activated(store: FileArtifacts) -> None:
    save(store, "v1", "v2")
    pointer = store.activate("v1")
    arrays = store.models_dir / "versions/v2/arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:-1])
    with pytest.raises(ArtifactInvalid, match="bytes"):
        store.activate("v2")
    assert store.read_pointer() == pointer


def test_a_version_is_written_once(store: FileArtifacts) -> None:
    save(store, "v1")
    digest = store.manifest_sha256("v1")
    with pytest.raises(ArtifactInvalid, match="exists"):
        store.save_model(build_model(seed=8, assets=6, version="v1"))
    assert store.manifest_sha256("v1") == digest
    assert store.versions() == ["v1"]


@pytest.mark.parametrize("version", ["", ".", "..", "../v1", "a/b", "/etc", ".tmp-v1", "v1\n", "v\x00", "x" * 65])
def test_a_version_that_is_no_plain_name_is_refused(store: FileArtifacts, version: str) -> None:
    with pytest.raises(ArtifactInvalid, match="is no version"):
        store.save_model(build_model(assets=5, version=version))
    for ask in (store.manifest_sha256, store.activate):
        with pytest.raises(ArtifactInvalid, match="is no version"):
            ask(version)
    with pytest.raises(ArtifactInvalid, match="is no version"):
        store.load_model(Pointer(1, version, "0" * 64))


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"ndcg": float("nan")}, "written as JSON"),
        ({"on": NOW}, "written as JSON"),
        ({"text": "x" * 9_000_000}, "more than"),
    ],
)
def test_metadata_that_a_reader_would_refuse_is_not_written(
    store: FileArtifacts, metadata: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ArtifactInvalid, match=reason):
        store.save_model(build_model(assets=5, metadata=metadata))
    assert store.versions() == []


def test_an_artifact_larger_than_readers_take_is_not_written(tmp_path: Path) -> None:
    store = FileArtifacts(tmp_path, largest_artifact_bytes=1000)
    with pytest.raises(ArtifactInvalid, match="larger"):
        store.save_model(build_model(assets=20))


def test_the_oldest_versions_go_but_never_the_new_nor_the_previous_one(store: FileArtifacts) -> None:
    save(store, "v1", "v2", "v3", "v4", "v5")
    store.activate("v1", keep=9)
    assert store.versions() == ["v1", "v2", "v3", "v4", "v5"]
    store.activate("v2", keep=3)
    assert store.versions() == ["v1", "v2", "v5"]
    store.activate("v5", keep=1)
    assert store.versions() == ["v2", "v5"]
    assert store.load_model(store.activate("v2")).version == "v2"


def test_versions_that_were_not_promoted_can_be_pruned_too(store: FileArtifacts) -> None:
    save(store, "v1", "v2", "v3", "v4")
    store.activate("v1", keep=9)
    store.prune(keep=2)
    assert store.versions() == ["v1", "v4"]


def test_one_version_can_be_removed_but_never_the_served_one(store: FileArtifacts) -> None:
    save(store, "v1", "v2", "v3")
    store.activate("v3", keep=9)
    store.remove("v2")
    store.remove("v2")
    assert store.versions() == ["v1", "v3"]
    with pytest.raises(ArtifactInvalid, match="v3 is served"):
        store.remove("v3")
    assert store.versions() == ["v1", "v3"]


def test_pinned_versions_stay_and_do_not_count(store: FileArtifacts) -> None:
    save(store, "v1", "v2", "v3", "v4", "v5")
    store.activate("v5", keep=2, pinned={"v1", "v3", "gone"})
    assert store.versions() == ["v1", "v3", "v4", "v5"]
    store.prune(keep=1, pinned={"v1"})
    assert store.versions() == ["v1", "v5"]
    store.prune(keep=1)
    assert store.versions() == ["v5"]


def test_what_is_not_a_version_is_neither_counted_nor_removed(store: FileArtifacts) -> None:
    save(store, "v1")
    versions = store.models_dir / "versions"
    (versions / "lost+found").mkdir()
    (versions / "link").symlink_to(versions / "v1")
    assert store.versions() == ["v1"]
    store.activate("v1", keep=1)
    store.prune(keep=0)
    assert {entry.name for entry in versions.iterdir()} == {"v1", "lost+found", "link"}


def test_leftovers_of_a_writer_that_died_go_at_the_next_save(store: FileArtifacts) -> None:
    save(store, "v1")
    leftover = store.models_dir / "versions/.tmp-v9"
    leftover.mkdir()
    (leftover / "arrays.npz").write_bytes(b"half")
    (store.models_dir / ".tmp-CURRENT").write_bytes(b"half")
    save(store, "v2")
    assert not leftover.exists()
    assert not (store.models_dir / ".tmp-CURRENT").exists()


def test_two_writers_take_turns_and_the_second_gives_up_with_a_reason(store: FileArtifacts) -> None:
    save(store, "v1")
    with (
        exclusive_lock(store.models_dir / ".lock", timeout_seconds=1),
        pytest.raises(ArtifactInvalid, match="another process"),
    ):
        store.activate("v1")
    patient = FileArtifacts(store.models_dir)
    threads = [threading.Thread(target=patient.activate, args=("v1",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pointer = store.read_pointer()
    assert pointer is not None
    assert pointer.sequence == 8


def test_a_volume_that_cannot_be_written_is_a_reason_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = FileArtifacts(tmp_path / "file")
    with pytest.raises(ArtifactInvalid, match="cannot be written"):
        store.save_model(build_model(assets=5))


def test_arrays_that_are_loaded_are_usable_for_scoring_though_read_only(store: FileArtifacts) -> None:
    save(store, "v1")
    model = store.load_model(store.activate("v1"))
    with pytest.raises(ValueError, match="read-only"):
        model.signals["item_item"]["similarity"][0, 0] = 1
    assert np.isfinite(model.segments["content"][0]).all()
