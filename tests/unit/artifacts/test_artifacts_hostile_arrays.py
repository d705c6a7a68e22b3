"""Arrays and files that are damaged or made to harm: refused with ArtifactInvalid, nothing else escapes."""

from __future__ import annotations

import io
import os
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.artifacts.format import encode_arrays
from shared.artifacts.publication import FileArtifacts
from shared.errors import ArtifactInvalid
from shared.recommender.model import Model
from tests.unit.artifacts.damaged_volume import ASSETS, Volume, encode_header, encode_npy

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


def refuses(volume: Volume, reason: str | None = None) -> None:
    with pytest.raises(ArtifactInvalid, match=reason):
        volume.load()


class Pwned:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.abort, ()


def test_a_pickle_in_place_of_an_array_is_never_unpickled(volume: Volume) -> None:
    payload = encode_npy(np.array([Pwned()] * ASSETS, dtype=object), allow_pickle=True)
    volume.write_entries({"profitability/predicted_return.npy": payload})
    refuses(volume, "declared as")


def test_a_declared_shape_of_terabytes_is_refused_before_anything_is_allocated(volume: Volume) -> None:
    volume.write_entries({"item_item/similarity.npy": encode_header("<f4", (2**20, 2**20))})
    tracemalloc.start()
    refuses(volume, "declared as")
    assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("cut", [1, 4, 100])
def test_an_array_with_fewer_or_more_bytes_than_declared_is_refused(volume: Volume, cut: int) -> None:
    whole = encode_npy(volume.arrays()["item_item/similarity"])
    for content in (whole[:-cut], whole + b"\0" * cut):
        volume.write_entries({"item_item/similarity.npy": content})
        refuses(volume, "item_item/similarity has")


def test_a_compressed_archive_is_refused_so_that_nothing_can_swell(volume: Volume) -> None:
    bomb = encode_header("<f4", (ASSETS, ASSETS)) + b"\0" * 50_000_000
    volume.write_entries({"item_item/similarity.npy": bomb}, compression=zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    refuses(volume, "compressed")
    assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    tracemalloc.stop()


def test_an_entry_that_declares_more_bytes_than_the_file_has_is_refused(volume: Volume) -> None:
    content = bytearray(volume.arrays_path.read_bytes())
    central = content.index(b"PK\x01\x02")
    content[central + 20 : central + 28] = (2**31).to_bytes(4, "little") * 2  # compressed and plain size
    volume.write_arrays_file(bytes(content))
    refuses(volume, "declares more bytes|malformed")


@pytest.mark.parametrize(
    ("offset", "value"), [(6, b"\xff\x00"), (8, b"\x01\x00")], ids=["of a later zip version", "encrypted"]
)
def test_an_entry_that_this_library_cannot_read_is_refused(volume: Volume, offset: int, value: bytes) -> None:
    content = bytearray(volume.arrays_path.read_bytes())
    central = content.index(b"PK\x01\x02")
    content[central + offset : central + offset + 2] = value
    volume.write_arrays_file(bytes(content))
    refuses(volume, "malformed")


def test_an_artifact_beyond_the_readers_bound_is_refused_unread(volume: Volume) -> None:
    careful = FileArtifacts(volume.store.models_dir, largest_artifact_bytes=1000)
    pointer = careful.read_pointer()
    assert pointer is not None
    with pytest.raises(ArtifactInvalid, match="more than 1000"):
        careful.load_model(pointer)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("item_item/similarity", np.zeros((ASSETS, ASSETS), np.float64)),
        ("item_item/similarity", np.zeros((ASSETS, ASSETS), ">f4")),
        ("item_item/similarity", np.zeros((ASSETS * ASSETS,), np.float32)),
        ("item_item/similarity", np.asfortranarray(np.arange(ASSETS**2, dtype=np.float32).reshape(ASSETS, ASSETS))),
        ("catalogue/tradable", np.zeros(ASSETS, np.uint8)),
        ("profitability/predicted_return", np.zeros(ASSETS, [("a", "<f4")])),
    ],
)
def test_an_array_of_another_type_shape_or_order_is_refused(volume: Volume, name: str, array: Any) -> None:
    volume.write_arrays({name: array})
    refuses(volume, "declared as")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("item_item/similarity", np.nan, "not finite"),
        ("content/similarity", np.inf, "not finite"),
        ("profitability/predicted_return", 1e30, "outside"),
        ("catalogue/risk_level", 9, "outside"),
    ],
)
def test_values_that_no_model_may_hold_are_refused(volume: Volume, name: str, value: float, reason: str) -> None:
    array = volume.arrays()[name].copy()
    array.flat[3] = value
    volume.write_arrays({name: array})
    refuses(volume, reason)


def test_a_byte_that_is_neither_true_nor_false_is_refused(volume: Volume) -> None:
    content = encode_header("|b1", (ASSETS,)) + b"\x01\x00\x02\x01\x01"
    volume.write_entries({"catalogue/tradable.npy": content})
    refuses(volume, "neither true nor false")


def test_missing_additional_and_double_entries_are_refused(volume: Volume) -> None:
    volume.write_arrays({"surplus": np.zeros(1)})
    refuses(volume, "holds")
    volume.write_entries({"../evil.npy": b""})
    refuses(volume, "holds")
    arrays = volume.arrays()
    del arrays["catalogue/tradable"]
    volume.write_arrays_file(encode_arrays(arrays))
    refuses(volume, "holds")
    buffer = io.BytesIO(encode_arrays(volume.arrays()))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("catalogue/tradable.npy", encode_npy(volume.model.tradable))
    volume.write_arrays_file(buffer.getvalue())
    refuses(volume, "holds")


@pytest.mark.parametrize(
    "content", [b"", b"PK\x05\x06" + b"\0" * 18, b"no zip", encode_npy(np.zeros(3)), b"\x80\x05N."]
)
def test_something_else_in_place_of_the_archive_is_refused(volume: Volume, content: bytes) -> None:
    volume.write_arrays_file(content)
    refuses(volume)


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY", b"\x93NUMPY\x02\x00" + b"\xff" * 90, b"\x93NUMPY\x01\x00\xff\xff{"]
)
def test_something_else_in_place_of_an_array_is_refused(volume: Volume, content: bytes) -> None:
    volume.write_entries({"catalogue/tradable.npy": content})
    refuses(volume)


# --- what lies there is not a file ---


@pytest.mark.parametrize("name", ["CURRENT", "versions/v1", "versions/v1/manifest.json", "versions/v1/arrays.npz"])
def test_a_link_is_not_followed(volume: Volume, tmp_path: Path, name: str) -> None:
    path = volume.store.models_dir / name
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    refuses(volume)


@pytest.mark.parametrize("name", ["CURRENT", "versions/v1/manifest.json", "versions/v1/arrays.npz"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
@pytest.mark.timeout(10)
def test_a_directory_or_a_pipe_in_place_of_a_file_is_refused_at_once(
    volume: Volume, name: str, make: Callable[[Path], None]
) -> None:
    path = volume.store.models_dir / name
    path.unlink()
    make(path)
    refuses(volume, "not a regular file")


def test_a_file_in_place_of_a_version_is_refused(volume: Volume) -> None:
    volume.directory.rename(volume.directory.with_name("v2"))
    volume.directory.write_bytes(b"")
    refuses(volume, "not a directory")


# --- damage at random ---


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return the content cut off, extended, with bits flipped, or with a stretch of it overwritten."""
    kind, at = chance.randrange(4), chance.randrange(len(content))
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content + chance.randbytes(chance.randrange(1, 40))
    changed = bytearray(content)
    if kind == 2:
        changed[at] ^= 1 << chance.randrange(8)
    else:
        changed[at : at + 8] = chance.randbytes(8)
    return bytes(changed)


@pytest.mark.parametrize("name", ["manifest.json", "arrays.npz"])
def test_any_damage_is_noticed(volume: Volume, name: str) -> None:
    path, chance = volume.directory / name, random.Random(7)
    original = path.read_bytes()
    for _ in range(100):
        content = damaged(original, chance)
        if content != original:
            path.write_bytes(content)
            refuses(volume)


@pytest.mark.parametrize("part", ["pointer", "manifest", "arrays"])
def test_damage_that_was_signed_again_is_refused_or_harmless_but_never_a_crash(volume: Volume, part: str) -> None:
    write = {
        "pointer": volume.current_path.write_bytes,
        "manifest": volume.write_raw_manifest,
        "arrays": volume.write_arrays_file,
    }[part]
    path = {"pointer": volume.current_path, "manifest": volume.manifest_path, "arrays": volume.arrays_path}[part]
    original, manifest, chance, refused = path.read_bytes(), volume.manifest_path.read_bytes(), random.Random(11), 0
    for _ in range(100):
        volume.write_raw_manifest(manifest)
        write(damaged(original, chance))
        try:
            assert isinstance(volume.load(), Model)
        except ArtifactInvalid:
            refused += 1
    assert refused > 10


def test_damage_inside_an_array_whose_check_sums_all_fit_is_refused_or_harmless_but_never_a_crash(
    volume: Volume,
) -> None:
    chance, refused = random.Random(13), 0
    for _ in range(150):
        name = chance.choice(list(volume.arrays()))
        whole = encode_npy(volume.arrays()[name])
        volume.write_entries({f"{name}.npy": damaged(whole[:130], chance) + whole[130:]})
        try:
            assert isinstance(volume.load(), Model)
        except ArtifactInvalid:
            refused += 1
    assert refused > 50
