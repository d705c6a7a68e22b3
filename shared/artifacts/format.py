"""What a model artifact is, byte by byte: one .npz of plain arrays, described by a manifest; no pickle, ever.

Everything here works on bytes in memory. What is read is hostile until proved otherwise: each check comes before the
allocation that would need it.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import scipy
from numpy.typing import NDArray

from shared.errors import ArtifactInvalid
from shared.ports import Pointer
from shared.recommender.id_map import AssetIdMap
from shared.recommender.model import ARRAY_DTYPES, Model, array_shapes
from shared.recommender.types import InteractionWeights, Weights

FORMAT_VERSION = 3  # an older artifact is refused, and the trainer trains a new one (docs/decisions/0010)
ARRAYS_FILE = "arrays.npz"
MANIFEST_FILE = "manifest.json"

LARGEST_MANIFEST_BYTES = 8 * 2**20
LARGEST_POINTER_BYTES = 4096
_LARGEST_NPY_HEADER = 4096
_LARGEST_SEQUENCE = 2**63 - 1
_LARGEST_ISIN = 64

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

# What the standard library and NumPy raise on bytes that are not what they should be.
MALFORMED = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    EOFError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    TokenError,
    OSError,
    struct.error,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class FileFacts:
    """Size in bytes and SHA-256 of one file of an artifact."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A checked manifest: all of a model but its arrays."""

    version: str
    algorithm: str
    as_of: date
    id_map: AssetIdMap
    weights: Weights
    interaction_weights: InteractionWeights
    metadata: dict[str, Any]
    arrays_file: FileFacts


def encode_model(model: Model) -> dict[str, bytes]:
    """Return the content of every file of the artifact, the manifest last; the same model gives the same bytes."""
    arrays = encode_arrays({name: getattr(model, name) for name in ARRAY_DTYPES})
    manifest = {
        "format_version": FORMAT_VERSION,
        "version": model.version,
        "algorithm": model.algorithm,
        "as_of": model.as_of.isoformat(),
        "weights": asdict(model.weights),
        "interaction_weights": asdict(model.interaction_weights),
        "files": {ARRAYS_FILE: {"size": len(arrays), "sha256": sha256_of(arrays)}},
        "arrays": _declared_arrays(len(model.id_map)),
        "isins": list(model.id_map.isins),
        "metadata": model.metadata,
        "libraries": {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__},
    }
    try:
        encoded = json.dumps(manifest, allow_nan=False, indent=1, sort_keys=True).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise ArtifactInvalid(f"the metadata cannot be written as JSON: {error}") from error
    decode_manifest(encoded, version=model.version)  # what readers would refuse is not written
    return {ARRAYS_FILE: arrays, MANIFEST_FILE: encoded}


def encode_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the arrays as a .npz whose entries are stored, not compressed."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def decode_manifest(encoded: bytes, *, version: str) -> Manifest:
    """Return the manifest of this version; raises ArtifactInvalid."""
    if len(encoded) > LARGEST_MANIFEST_BYTES:
        raise ArtifactInvalid(f"the manifest has {len(encoded)} bytes, more than {LARGEST_MANIFEST_BYTES}")
    content = _decode_object(encoded, "the manifest")
    if content.get("format_version") != FORMAT_VERSION:
        raise ArtifactInvalid(f"format version {content.get('format_version')!r:.50} is not {FORMAT_VERSION}")
    if content.get("version") != version:
        raise ArtifactInvalid(f"the manifest is of version {content.get('version')!r:.80}, not {version}")
    try:
        return _manifest(content)
    except MALFORMED as error:
        raise ArtifactInvalid(f"the manifest is malformed: {error!r:.200}") from error


def decode_model(manifest: Manifest, arrays_file: bytes) -> Model:
    """Return the model of a manifest and the bytes of its arrays file; raises ArtifactInvalid."""
    if sha256_of(arrays_file) != manifest.arrays_file.sha256:
        raise ArtifactInvalid(f"{ARRAYS_FILE} does not have the SHA-256 of the manifest")
    try:
        return Model(
            version=manifest.version,
            algorithm=manifest.algorithm,
            as_of=manifest.as_of,
            id_map=manifest.id_map,
            weights=manifest.weights,
            interaction_weights=manifest.interaction_weights,
            metadata=manifest.metadata,
            **decode_arrays(arrays_file, asset_count=len(manifest.id_map)),
        )
    except MALFORMED as error:
        raise ArtifactInvalid(f"{ARRAYS_FILE} is malformed: {error!r:.200}") from error


def decode_arrays(arrays_file: bytes, *, asset_count: int) -> dict[str, NDArray[Any]]:
    """Return the arrays, read-only; the bytes of each are known to be there before any array is allocated."""
    with zipfile.ZipFile(io.BytesIO(arrays_file)) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if sorted(entry.filename for entry in archive.infolist()) != sorted(f"{name}.npy" for name in ARRAY_DTYPES):
            raise ArtifactInvalid(f"{ARRAYS_FILE} holds {sorted(entries)!r:.200}")
        # Stored entries cannot grow: nothing that is read is larger than the file that was read already.
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise ArtifactInvalid(f"{ARRAYS_FILE} is compressed")
        if sum(entry.file_size for entry in entries.values()) > len(arrays_file):
            raise ArtifactInvalid(f"{ARRAYS_FILE} declares more bytes than it has")
        arrays = {}
        for name, shape in array_shapes(asset_count).items():
            entry = entries[f"{name}.npy"]
            with archive.open(entry) as member:
                arrays[name] = _read_array(member, name=name, shape=shape, size=entry.file_size)
    return arrays


def decode_pointer(encoded: bytes) -> Pointer:
    """Return what CURRENT says; raises ArtifactInvalid."""
    content = _decode_object(encoded, "CURRENT")
    if set(content) != {"sequence", "version", "manifest_sha256"}:
        raise ArtifactInvalid(f"CURRENT has the keys {sorted(content)!r:.200}")
    sequence, version, digest = content["sequence"], content["version"], content["manifest_sha256"]
    if type(sequence) is not int or not 1 <= sequence <= _LARGEST_SEQUENCE:
        raise ArtifactInvalid(f"CURRENT has the sequence {sequence!r:.80}")
    return Pointer(sequence, checked_version(version), _checked_sha256(digest))


def encode_pointer(pointer: Pointer) -> bytes:
    """Return the content of CURRENT."""
    return json.dumps(asdict(pointer)).encode() + b"\n"


def checked_version(version: object) -> str:
    """Return a version that is safe as the name of a directory; raises ArtifactInvalid."""
    if not isinstance(version, str) or not is_version(version):
        raise ArtifactInvalid(f"{version!r:.80} is no version")
    return version


def is_version(name: str) -> bool:
    """Is this a name that a version may have?"""
    return _VERSION.fullmatch(name) is not None


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _manifest(content: dict[str, Any]) -> Manifest:
    isins = tuple(content["isins"])
    if not isinstance(content["isins"], list) or not all(
        isinstance(isin, str) and 0 < len(isin) <= _LARGEST_ISIN and isin.isprintable() for isin in isins
    ):
        raise ArtifactInvalid("an ISIN is not one")
    if content["arrays"] != _declared_arrays(len(isins)):
        raise ArtifactInvalid(f"arrays of other shapes or dtypes than {len(isins)} assets need")
    if set(content["files"]) != {ARRAYS_FILE}:
        raise ArtifactInvalid(f"the files are {sorted(content['files'])!r:.200}")
    facts = FileFacts(**content["files"][ARRAYS_FILE])
    if not isinstance(content["metadata"], dict) or not isinstance(content["algorithm"], str):
        raise ArtifactInvalid("metadata or algorithm is of another type")
    return Manifest(
        version=checked_version(content["version"]),
        algorithm=content["algorithm"],
        as_of=date.fromisoformat(content["as_of"]),
        id_map=AssetIdMap(isins),
        weights=Weights(**content["weights"]),
        interaction_weights=InteractionWeights(**content["interaction_weights"]),
        metadata=content["metadata"],
        arrays_file=FileFacts(facts.size, _checked_sha256(facts.sha256)),
    )


def _declared_arrays(asset_count: int) -> dict[str, dict[str, Any]]:
    return {
        name: {"dtype": ARRAY_DTYPES[name].newbyteorder("<").str, "shape": list(shape)}
        for name, shape in array_shapes(asset_count).items()
    }


def _read_array(member: IO[bytes], *, name: str, shape: tuple[int, ...], size: int) -> NDArray[Any]:
    """Return one .npy after its header is known to say what the manifest says, and its size to fit."""
    if np.lib.format.read_magic(member) != (1, 0):
        raise ArtifactInvalid(f"{name} is of another .npy version")
    header = np.lib.format.read_array_header_1_0(member, max_header_size=_LARGEST_NPY_HEADER)
    dtype = ARRAY_DTYPES[name].newbyteorder("<")
    if header != (shape, False, dtype):
        raise ArtifactInvalid(f"{name} is declared as {header!r:.100}")
    if size - member.tell() != int(np.prod(shape)) * dtype.itemsize:
        raise ArtifactInvalid(f"{name} has {size - member.tell()} bytes")
    array = np.frombuffer(member.read(), dtype=dtype).reshape(shape)
    if dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
        raise ArtifactInvalid(f"{name} holds bytes that are neither true nor false")
    return array.astype(ARRAY_DTYPES[name], copy=False)


def _decode_object(encoded: bytes, what: str) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    try:
        content = json.loads(encoded.decode(), parse_constant=refuse)
    except (ValueError, RecursionError, MemoryError) as error:
        raise ArtifactInvalid(f"{what} is not JSON: {error!r:.200}") from error
    if not isinstance(content, dict):
        raise ArtifactInvalid(f"{what} is not a JSON object")
    return content


def _checked_sha256(digest: object) -> str:
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise ArtifactInvalid(f"{digest!r:.80} is no SHA-256")
    return digest
