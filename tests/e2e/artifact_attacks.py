"""Artifacts that no worker may accept, and how they get into a volume past the checks of a writer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from shared.artifacts.format import ARRAYS_FILE, MANIFEST_FILE, encode_model, named_arrays, sha256_of
from shared.artifacts.publication import FileArtifacts
from shared.ports import Pointer
from shared.recommender.model import Model
from tests.unit.artifacts.damaged_volume import encode_header, encode_npy, encode_zip

Files = dict[str, bytes]


@dataclass(frozen=True)
class Attack:
    """Files of a version and what CURRENT says of them, where that is not the truth."""

    files: Files
    sequence: int | None = None  # in place of the next one
    digest: str | None = None  # in place of the manifest's
    current: bytes | None = None


def fitting(files: Files, /, **changes: Any) -> Files:
    """Return files whose manifest says what the changes are and fits the arrays file."""
    arrays = files[ARRAYS_FILE]
    facts = {"files": {ARRAYS_FILE: {"size": len(arrays), "sha256": sha256_of(arrays)}}}
    manifest = {**json.loads(files[MANIFEST_FILE]), **facts, **changes}
    return {**files, MANIFEST_FILE: json.dumps(manifest).encode()}


def with_arrays(model: Model, entries: Mapping[str, bytes]) -> Files:
    """Return files in which some arrays are other bytes; all digests fit."""
    whole = {f"{name}.npy": encode_npy(array) for name, array in named_arrays(model).items()}
    changed = {f"{name}.npy": content for name, content in entries.items()}
    return fitting({**encode_model(model), ARRAYS_FILE: encode_zip({**whole, **changed})})


def huge(model: Model) -> Attack:
    files = encode_model(model)
    facts = json.loads(files[MANIFEST_FILE])["files"][ARRAYS_FILE]
    return Attack(fitting(files, files={ARRAYS_FILE: {**facts, "size": 2**42}}))


def other_numbers(model: Model) -> Attack:
    """A whole archive, only not the one that the manifest names."""
    files = encode_model(model)
    return Attack({**files, ARRAYS_FILE: encode_model(replace(model, tradable=~model.tradable))[ARRAYS_FILE]})


def other_weights(model: Model) -> Attack:
    """A whole manifest, only not the one that CURRENT names."""
    files = encode_model(model)
    other = {"collaborative": 0.0, "content": 0.0, "profitability": 1.0}
    configuration = {**model.configuration.to_json(), "weights": other}
    return Attack(fitting(files, configuration=configuration), digest=sha256_of(files[MANIFEST_FILE]))


def pickled(model: Model, marker: Path) -> bytes:
    """Return an array of objects as NumPy writes it."""
    return encode_npy(np.array([Payload(marker)] * len(model.id_map), dtype=object), allow_pickle=True)


def pickle_inside(model: Model, marker: Path) -> Files:
    return with_arrays(model, {"profitability/predicted_return": pickled(model, marker)})


def pickle_alone(model: Model, marker: Path) -> Files:
    content = pickled(model, marker)
    return fitting({**encode_model(model), ARRAYS_FILE: content[content.index(b"\x80") :]})


def flipped(model: Model, *, name: str, position: int) -> Attack:
    """One bit of one file is another; the digests are those of the sound files."""
    files = encode_model(model)
    content = bytearray(files[name])
    content[position % len(content)] ^= 1 << position % 8
    return Attack({**files, name: bytes(content)}, digest=sha256_of(files[MANIFEST_FILE]))


def cut(model: Model, *, position: int) -> Attack:
    files = encode_model(model)
    return Attack({**files, ARRAYS_FILE: files[ARRAYS_FILE][: position % len(files[ARRAYS_FILE])]})


class Payload:
    """What a pickle would run: it would leave a file."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self._marker,)


Make = Callable[[Model], Attack]


def attacks(*, served: int, marker: Path) -> Iterator[tuple[str, Make]]:
    """Yield what to put into the volume, made of a sound model that has a version of its own each time."""
    yield "an older sequence", lambda model: Attack(encode_model(model), sequence=served - 1)
    yield "the same sequence again", lambda model: Attack(encode_model(model), sequence=served)
    yield "another format version", lambda model: Attack(fitting(encode_model(model), format_version=1))
    yield "a CURRENT that is cut off", lambda model: Attack(encode_model(model), current=b'{"sequence": 99')
    yield "a manifest of another version", lambda model: Attack(fitting(encode_model(model), version="other"))
    terabytes = encode_header("<f4", (2**20, 2**20))
    yield "a declared shape of terabytes", lambda model: Attack(with_arrays(model, {"item_item/similarity": terabytes}))
    yield "a declared size of terabytes", huge
    yield "other numbers under the old checksum", other_numbers
    yield "other weights under the old checksum", other_weights
    yield (
        "a pickle in place of an array",
        lambda model: Attack(with_arrays(model, {"profitability/predicted_return": pickled(model, marker)})),
    )
    yield "a pickle in place of all arrays", lambda model: Attack(pickle_alone(model, marker))
    yield "no arrays at all", lambda model: Attack({MANIFEST_FILE: encode_model(model)[MANIFEST_FILE]})
    random = np.random.default_rng(7)
    for position in random.integers(0, 2**31, 10).tolist():
        yield f"a bit flipped in the arrays, {position}", partial(flipped, name=ARRAYS_FILE, position=position)
        yield f"arrays cut at {position}", partial(cut, position=position)
    for position in random.integers(0, 2**31, 5).tolist():
        yield f"a bit flipped in the manifest, {position}", partial(flipped, name=MANIFEST_FILE, position=position)


def write_attack(artifacts: FileArtifacts, version: str, attack: Attack, *, sequence: int) -> None:
    """Write a version and let CURRENT name it, without any of the checks of a writer."""
    folder = artifacts.models_dir / "versions" / version
    folder.mkdir()
    for name, content in attack.files.items():
        (folder / name).write_bytes(content)
    digest = attack.digest or sha256_of(attack.files[MANIFEST_FILE])
    pointer = Pointer(attack.sequence or sequence, version, digest)
    temporary = artifacts.models_dir / "CURRENT.new"
    temporary.write_bytes(attack.current or json.dumps(asdict(pointer)).encode())
    temporary.replace(artifacts.models_dir / "CURRENT")
