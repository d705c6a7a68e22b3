"""Pointers and manifests that are damaged or made to harm: refused with ArtifactInvalid, nothing else escapes."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ArtifactInvalid
from shared.ports import Pointer
from tests.unit.artifacts.damaged_volume import Volume

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


def test_an_undamaged_volume_loads_and_so_does_one_whose_digests_were_made_again(volume: Volume) -> None:
    assert volume.load().version == "v1"
    volume.write_entries({})
    assert (volume.load().tradable == volume.model.tradable).all()


# --- CURRENT ---

DIGEST = "0" * 64
POINTER = {"sequence": 1, "version": "v1", "manifest_sha256": DIGEST}
POINTERS = {
    "empty": "",
    "no JSON": "{",
    "a list": "[]",
    "not a number": json.dumps({**POINTER, "sequence": math.nan}),
    "no digest": json.dumps({"sequence": 1, "version": "v1"}),
    "more than it should": json.dumps({**POINTER, "x": 1}),
    "sequence zero": json.dumps({**POINTER, "sequence": 0}),
    "sequence true": json.dumps({**POINTER, "sequence": True}),
    "sequence 1.0": json.dumps({**POINTER, "sequence": 1.0}),
    "sequence beyond 64 bits": json.dumps({**POINTER, "sequence": 2**63}),
    "sequence of 4000 digits": json.dumps(POINTER).replace("1", "9" * 4000, 1),
    "path as version": json.dumps({**POINTER, "version": "../../v1"}),
    "number as version": json.dumps({**POINTER, "version": 1}),
    "number as digest": json.dumps({**POINTER, "manifest_sha256": 7}),
    "short digest": json.dumps({**POINTER, "manifest_sha256": "00"}),
    "deep": "[" * 4000,
    "huge": " " * 5000 + json.dumps(POINTER),
}


@pytest.mark.parametrize("content", POINTERS.values(), ids=POINTERS)
def test_a_pointer_of_another_shape_is_refused(volume: Volume, content: str) -> None:
    volume.current_path.write_text(content)
    with pytest.raises(ArtifactInvalid):
        volume.store.read_pointer()


def test_a_pointer_of_a_terabyte_is_refused_unread(volume: Volume) -> None:
    os.truncate(volume.current_path, 2**40)
    with pytest.raises(ArtifactInvalid, match="more than"):
        volume.store.read_pointer()


def test_a_pointer_to_another_manifest_is_refused(volume: Volume) -> None:
    with pytest.raises(ArtifactInvalid, match="SHA-256 of the pointer"):
        volume.store.load_model(Pointer(1, "v1", DIGEST))


# --- the manifest ---

MANIFEST_CHANGES: dict[str, dict[str, Any]] = {
    "older format version": {"format_version": 4},
    "newer format version": {"format_version": 6},
    "no format version": {"format_version": None},
    "another version's": {"version": "v2"},
    "path as version": {"version": "../v1"},
    "no date": {"as_of": "yesterday"},
    "number as date": {"as_of": 20221129},
    "ISINs unsorted": {"isins": ["E", "D", "C", "B", "A"]},
    "ISINs double": {"isins": ["A", "A", "B", "C", "D"]},
    "ISINs text": {"isins": "ABCDE"},
    "ISINs numbers": {"isins": [1, 2, 3, 4, 5]},
    "ISIN not text": {"isins": ["A", "B", "C", "D", "\ud800"]},
    "fewer ISINs": {"isins": ["A", "B", "C", "D"]},
    "metadata a list": {"metadata": []},
    "arrays missing": {"arrays": {}},
    "arrays a list": {"arrays": []},
    "arrays of a terabyte": {"arrays": {"item_item": {"similarity": {"dtype": "<f4", "shape": [10**6, 10**6]}}}},
    "no files": {"files": {}},
    "files a list": {"files": ["arrays.npz"]},
    "path as file": {"files": {"../../../etc/passwd": {"size": 1, "sha256": DIGEST}}},
    "another size": {"files": {"arrays.npz": {"size": 1, "sha256": DIGEST}}},
    "size negative": {"files": {"arrays.npz": {"size": -1, "sha256": DIGEST}}},
    "size true": {"files": {"arrays.npz": {"size": True, "sha256": DIGEST}}},
    "size of a terabyte": {"files": {"arrays.npz": {"size": 2**40, "sha256": DIGEST}}},
    "digest no text": {"files": {"arrays.npz": {"size": 1, "sha256": 7}}},
    "file facts of another shape": {"files": {"arrays.npz": {"size": 1}}},
}


SIGNAL = {"signal": "trend"}
CONFIGURATION_CHANGES: dict[str, dict[str, Any]] = {
    "number as algorithm": {"algorithm": 1},
    "negative weight": {"weights": {"collaborative": -1, "content": 0, "profitability": 1}},
    "weights all zero": {"weights": {"collaborative": 0, "content": 0, "profitability": 0}},
    "huge weight": {"weights": {"collaborative": 10**400, "content": 0, "profitability": 0}},
    "text as weight": {"weights": {"collaborative": "1", "content": 0, "profitability": 0}},
    "weight missing": {"weights": {"collaborative": 1}},
    "weights are a list": {"weights": [1, 2, 3]},
    "half-life zero": {"interaction_weights": {"half_life_days": 0}},
    "no seed": {"seed": None},
    "unknown field": {"surplus": 1},
    "components a list": {"components": []},
    "unknown component": {"components": {"surplus": []}},
    "unknown signal": {"cold_start": {"signal": "of the future"}},
    "module as signal": {"cold_start": {"signal": "os:system"}},
    "signal without a name": {"cold_start": {}},
    "signal twice": {"cold_start": SIGNAL},
    "another signal": {"cold_start": {"signal": "user_knn"}},
    "unknown hyper-parameter": {"cold_start": {"signal": "segment_prior", "surplus": 1}},
    "text as hyper-parameter": {"cold_start": {"signal": "segment_prior", "half_life_days": "1"}},
    "huge hyper-parameter": {"cold_start": {"signal": "segment_prior", "half_life_days": 10**400}},
}


@pytest.mark.parametrize("changes", CONFIGURATION_CHANGES.values(), ids=CONFIGURATION_CHANGES)
def test_a_configuration_that_says_something_else_is_refused(volume: Volume, changes: dict[str, Any]) -> None:
    configuration = json.loads(volume.manifest_path.read_bytes())["configuration"]
    volume.write_manifest(configuration={**configuration, **changes})
    with pytest.raises(ArtifactInvalid):
        volume.load()


@pytest.mark.parametrize("changes", MANIFEST_CHANGES.values(), ids=MANIFEST_CHANGES)
def test_a_manifest_that_says_something_else_is_refused(volume: Volume, changes: dict[str, Any]) -> None:
    volume.write_manifest(**changes)
    with pytest.raises(ArtifactInvalid):
        volume.load()


def test_a_manifest_that_names_another_file_too_is_refused(volume: Volume) -> None:
    files = json.loads(volume.manifest_path.read_bytes())["files"]
    volume.write_manifest(files={**files, "../../../etc/passwd": {"size": 1, "sha256": DIGEST}})
    with pytest.raises(ArtifactInvalid, match="the files are"):
        volume.load()


MANIFEST_PARTS = ["version", "configuration", "as_of", "files", "arrays", "isins", "metadata"]


@pytest.mark.parametrize("missing", MANIFEST_PARTS)
def test_a_manifest_without_one_of_its_parts_is_refused(volume: Volume, missing: str) -> None:
    content = json.loads(volume.manifest_path.read_bytes())
    del content[missing]
    volume.write_raw_manifest(json.dumps(content).encode())
    with pytest.raises(ArtifactInvalid):
        volume.load()


@pytest.mark.parametrize("encoded", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"NaN", b"9" * 5000])
def test_a_manifest_that_is_no_json_object_is_refused(volume: Volume, encoded: bytes) -> None:
    volume.write_raw_manifest(encoded)
    with pytest.raises(ArtifactInvalid):
        volume.load()


def test_a_manifest_of_a_terabyte_is_refused_unread(volume: Volume) -> None:
    os.truncate(volume.manifest_path, 2**40)
    with pytest.raises(ArtifactInvalid, match="more than"):
        volume.load()
