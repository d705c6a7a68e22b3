"""The bytes of a model artifact: one .npz of plain arrays, grouped by signal, and a manifest; never a pickle.

Everything here works on bytes in memory. What is read is hostile until it is checked: each check comes before the
allocation that needs it.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
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

from shared.errors import ArtifactInvalid, ConfigurationInvalid
from shared.ports import Pointer
from shared.recommender.configuration import ModelConfiguration
from shared.recommender.id_map import AssetIdMap
from shared.recommender.model import CATALOGUE, Model, array_specs

FORMAT_VERSION = 5  # an older artifact is refused, and the trainer trains a new one (docs/decisions/0010)
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
    *(ValueError, TypeError, AttributeError, LookupError, EOFError, ArithmeticError, RuntimeError, MemoryError),
    *(SyntaxError, TokenError, OSError, struct.error, zipfile.BadZipFile),
)


Facts = tuple[np.dtype[Any], tuple[int, ...]]  # dtype and shape of an array


@dataclass(frozen=True)
class Manifest:
    """A checked manifest: all of a model but its arrays. arrays: by signal, a slash, and the name of the array."""

    version: str
    as_of: date
    id_map: AssetIdMap
    configuration: ModelConfiguration
    metadata: dict[str, Any]
    arrays: Mapping[str, Facts]
    arrays_size: int
    arrays_sha256: str


def encode_model(model: Model) -> dict[str, bytes]:
    """Return the content of every file of the artifact, the manifest last; the same model gives the same bytes."""
    arrays = encode_arrays(named_arrays(model))
    manifest = {
        "format_version": FORMAT_VERSION,
        "version": model.version,
        "as_of": model.as_of.isoformat(),
        "configuration": model.configuration.to_json(),
        "files": {ARRAYS_FILE: {"size": len(arrays), "sha256": sha256_of(arrays)}},
        "arrays": _declare_arrays(model),
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


def named_arrays(model: Model) -> dict[str, NDArray[Any]]:
    """Return all arrays of a model by the names that they have in the arrays file."""
    groups = model.array_groups().items()
    return {f"{group}/{name}": array for group, arrays in groups for name, array in arrays.items()}


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
    except ConfigurationInvalid as error:
        raise ArtifactInvalid(f"the configuration cannot be used here: {error}") from error
    except MALFORMED as error:
        raise ArtifactInvalid(f"the manifest is malformed: {error!r:.200}") from error


def decode_model(manifest: Manifest, arrays_file: bytes) -> Model:
    """Return the model of a manifest and the bytes of its arrays file; raises ArtifactInvalid."""
    if sha256_of(arrays_file) != manifest.arrays_sha256:
        raise ArtifactInvalid(f"{ARRAYS_FILE} does not have the SHA-256 of the manifest")
    try:
        groups: dict[str, dict[str, NDArray[Any]]] = {
            group: {} for group in array_specs(manifest.configuration, len(manifest.id_map))
        }
        for name, array in decode_arrays(arrays_file, manifest.arrays).items():
            group, _, of_group = name.partition("/")
            groups[group][of_group] = array
        catalogue = groups.pop(CATALOGUE)
        return Model(
            version=manifest.version,
            as_of=manifest.as_of,
            id_map=manifest.id_map,
            configuration=manifest.configuration,
            signals=groups,
            asset_risk_level=catalogue.pop("risk_level"),
            metadata=manifest.metadata,
            policy=None,
            **catalogue,
        )
    except MALFORMED as error:
        raise ArtifactInvalid(f"{ARRAYS_FILE} is malformed: {error!r:.200}") from error


def decode_arrays(arrays_file: bytes, declared: Mapping[str, Facts]) -> dict[str, NDArray[Any]]:
    """Return the arrays, read-only; the bytes of each are known to be there before any array is allocated."""
    with zipfile.ZipFile(io.BytesIO(arrays_file)) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if sorted(entry.filename for entry in archive.infolist()) != sorted(f"{name}.npy" for name in declared):
            raise ArtifactInvalid(f"{ARRAYS_FILE} holds {sorted(entries)!r:.200}")
        # Stored entries cannot grow: nothing that is read is larger than the file that was read already.
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise ArtifactInvalid(f"{ARRAYS_FILE} is compressed")
        if sum(entry.file_size for entry in entries.values()) > len(arrays_file):
            raise ArtifactInvalid(f"{ARRAYS_FILE} declares more bytes than it has")
        arrays = {}
        for name, facts in declared.items():
            entry = entries[f"{name}.npy"]
            with archive.open(entry) as member:
                arrays[name] = _read_array(member, name=name, facts=facts, size=entry.file_size)
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
    if set(content["files"]) != {ARRAYS_FILE}:
        raise ArtifactInvalid(f"the files are {sorted(content['files'])!r:.200}")
    file = content["files"][ARRAYS_FILE]
    if not isinstance(content["metadata"], dict):
        raise ArtifactInvalid("metadata is of another type")
    configuration = ModelConfiguration.from_json(content["configuration"])
    return Manifest(
        version=checked_version(content["version"]),
        as_of=date.fromisoformat(content["as_of"]),
        id_map=AssetIdMap(isins),
        configuration=configuration,
        metadata=content["metadata"],
        arrays=_read_declared(content["arrays"], configuration, len(isins)),
        arrays_size=file["size"],
        arrays_sha256=_checked_sha256(file["sha256"]),
    )


def _declare_arrays(model: Model) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what each array is: meaning, dtype and shape, by signal and name."""
    return {
        group: {
            name: {
                "meaning": spec.meaning,
                "dtype": np.dtype(spec.dtype).newbyteorder("<").str,
                "shape": list(model.array_groups()[group][name].shape),
            }
            for name, spec in specs.items()
        }
        for group, specs in array_specs(model.configuration, len(model.id_map)).items()
    }


def _read_declared(
    declared: dict[str, dict[str, Any]], configuration: ModelConfiguration, asset_count: int
) -> dict[str, Facts]:
    """Return what the manifest says of each array; shapes that do not fit their signal are left to the model."""
    specs = array_specs(configuration, asset_count)
    if {group: set(arrays) for group, arrays in declared.items()} != {
        group: set(arrays) for group, arrays in specs.items()
    }:
        raise ArtifactInvalid("the arrays are not those of the configuration's signals")
    facts = {}
    for group, arrays in declared.items():
        for name, array in arrays.items():
            dtype, shape = np.dtype(specs[group][name].dtype).newbyteorder("<"), array["shape"]
            if array["dtype"] != dtype.str or not all(type(length) is int and length >= 0 for length in shape):
                raise ArtifactInvalid(f"{group}/{name} is declared as {array!r:.100}")
            facts[f"{group}/{name}"] = (dtype, tuple(shape))
    return facts


def _read_array(member: IO[bytes], *, name: str, facts: Facts, size: int) -> NDArray[Any]:
    """Return one .npy after its header is known to say what the manifest says, and its size to fit."""
    if np.lib.format.read_magic(member) != (1, 0):
        raise ArtifactInvalid(f"{name} is of another .npy version")
    header = np.lib.format.read_array_header_1_0(member, max_header_size=_LARGEST_NPY_HEADER)
    dtype, shape = facts
    if header != (shape, False, dtype):
        raise ArtifactInvalid(f"{name} is declared as {header!r:.100}")
    if size - member.tell() != math.prod(shape) * dtype.itemsize:
        raise ArtifactInvalid(f"{name} has {size - member.tell()} bytes")
    array = np.frombuffer(member.read(), dtype=dtype).reshape(shape)
    if dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
        raise ArtifactInvalid(f"{name} holds bytes that are neither true nor false")
    return array.astype(dtype.newbyteorder("="), copy=False)


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
