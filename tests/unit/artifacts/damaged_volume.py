"""Models volumes of the tests: with several versions, or with one that a test damages."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from shared.artifacts.format import encode_arrays, named_arrays, sha256_of
from shared.artifacts.publication import FileArtifacts
from shared.recommender.model import Model
from tests.builders import build_model

ASSETS = 5


def save(store: FileArtifacts, *versions: str) -> None:
    """Save versions one by one, with modification times a second apart, the oldest first."""
    for position, version in enumerate(versions):
        store.save_model(build_model(assets=5, version=version))
        os.utime(store.models_dir / "versions" / version, (position, position))


class Volume:
    """A volume whose one version is v1; the `write_` methods make digests and sizes fit again."""

    def __init__(self, models_dir: Path, *, signing_keys: tuple[bytes, ...] = ()) -> None:
        self.model = build_model(assets=ASSETS, version="v1")
        self.store = FileArtifacts(models_dir, signing_keys=signing_keys)
        self.store.save_model(self.model)
        self.store.activate("v1")
        self.directory = models_dir / "versions" / "v1"
        self.manifest_path = self.directory / "manifest.json"
        self.arrays_path = self.directory / "arrays.npz"
        self.current_path = models_dir / "CURRENT"

    def load(self) -> Model:
        pointer = self.store.read_pointer()
        assert pointer is not None
        return self.store.load_model(pointer)

    def write_manifest(self, **changes: Any) -> None:
        self.write_raw_manifest(json.dumps({**json.loads(self.manifest_path.read_bytes()), **changes}).encode())

    def write_raw_manifest(self, encoded: bytes) -> None:
        self.manifest_path.write_bytes(encoded)
        pointer = {"sequence": 2, "version": "v1", "manifest_sha256": sha256_of(encoded)}
        self.current_path.write_text(json.dumps(pointer))

    def write_arrays_file(self, content: bytes) -> None:
        self.arrays_path.write_bytes(content)
        self.write_manifest(files={"arrays.npz": {"size": len(content), "sha256": sha256_of(content)}})

    def write_arrays(self, changes: dict[str, Any]) -> None:
        self.write_arrays_file(encode_arrays({**self.arrays(), **changes}))

    def arrays(self) -> dict[str, Any]:
        return dict(named_arrays(self.model))

    def write_entries(self, changes: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> None:
        entries = {f"{name}.npy": encode_npy(array) for name, array in self.arrays().items()}
        self.write_arrays_file(encode_zip({**entries, **changes}, compression=compression))


def encode_npy(array: Any, *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=allow_pickle)
    return buffer.getvalue()


def encode_header(descr: str, shape: tuple[int, ...], *, fortran_order: bool = False) -> bytes:
    buffer = io.BytesIO()
    header = {"descr": descr, "fortran_order": fortran_order, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def encode_zip(entries: dict[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()
