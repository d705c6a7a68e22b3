"""With a signing key only versions that were signed with it load, whatever else a writer of the volume makes fit."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.artifacts.publication import SIGNATURE_FILE, FileArtifacts, sign_manifest
from shared.errors import ArtifactInvalid
from shared.ports import Pointer
from tests.builders import build_model
from tests.unit.artifacts.damaged_volume import ASSETS, Volume

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

KEY, OTHER = b"the key of this installation", b"the key of somebody else"


@pytest.fixture
def signed(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "models", signing_keys=(KEY,))


def read_with(volume: Volume, *keys: bytes) -> Volume:
    """Let the volume be read with other keys."""
    volume.store = replace(volume.store, signing_keys=keys)
    return volume


def test_a_signed_version_loads_with_its_key_with_one_of_several_and_where_signatures_are_off(signed: Volume) -> None:
    assert (signed.directory / SIGNATURE_FILE).read_bytes() == sign_manifest(signed.manifest_path.read_bytes(), key=KEY)
    for keys in ((KEY,), (OTHER, KEY), ()):
        assert read_with(signed, *keys).load().version == "v1"


def test_a_version_of_another_key_does_not_load(signed: Volume) -> None:
    with pytest.raises(ArtifactInvalid, match="not made with a known key"):
        read_with(signed, OTHER).load()


def test_an_unsigned_version_neither_loads_nor_is_activated(tmp_path: Path) -> None:
    unsigned = read_with(Volume(tmp_path / "models"), KEY)
    before = unsigned.current_path.read_bytes()
    with pytest.raises(ArtifactInvalid, match="version v1 is not signed"):
        unsigned.load()
    with pytest.raises(ArtifactInvalid, match="version v1 is not signed"):
        unsigned.store.activate("v1")
    assert unsigned.current_path.read_bytes() == before


def test_arrays_that_were_replaced_with_all_digests_recomputed_do_not_load(signed: Volume) -> None:
    signed.write_arrays({"catalogue/risk_level": np.ones(ASSETS, dtype=np.int8)})
    assert read_with(signed).load().asset_risk_level.max() == 1  # all digests fit: only the key tells
    with pytest.raises(ArtifactInvalid, match="not made with a known key"):
        read_with(signed, KEY).load()


def test_the_signature_is_checked_before_anything_of_the_manifest_is_read(signed: Volume) -> None:
    signed.write_raw_manifest(b"{ this is no JSON")
    with pytest.raises(ArtifactInvalid, match="not made with a known key"):
        signed.load()


def test_a_signed_version_under_another_name_does_not_load(signed: Volume) -> None:
    shutil.copytree(signed.directory, signed.directory.with_name("v2"))
    with pytest.raises(ArtifactInvalid, match="version"):
        signed.store.load_model(Pointer(2, "v2", signed.store.manifest_sha256("v1")))


def test_the_pointer_cannot_pair_a_version_with_another_manifest(signed: Volume) -> None:
    signed.store.save_model(build_model(seed=8, assets=ASSETS, version="v2"))
    with pytest.raises(ArtifactInvalid, match="SHA-256 of the pointer"):
        signed.store.load_model(Pointer(2, "v2", signed.store.manifest_sha256("v1")))


@pytest.mark.parametrize("content", [b"", b"\n", b"0" * 64, b"\xff" * 64, b"0" * 4096])
def test_what_is_no_signature_is_refused(signed: Volume, content: bytes) -> None:
    (signed.directory / SIGNATURE_FILE).write_bytes(content)
    with pytest.raises(ArtifactInvalid):
        signed.load()


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_a_signature_that_is_no_file_is_refused(signed: Volume, kind: str, tmp_path: Path) -> None:
    signature = signed.directory / SIGNATURE_FILE
    signature.rename(tmp_path / "elsewhere")
    if kind == "link":
        signature.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(signature)
    else:
        signature.mkdir()
    with pytest.raises(ArtifactInvalid):
        signed.load()


def test_the_first_key_signs_and_an_old_one_is_still_accepted(signed: Volume) -> None:
    rotated = read_with(signed, OTHER, KEY)
    rotated.store.save_model(build_model(seed=8, assets=ASSETS, version="v2"))
    new_only = read_with(signed, OTHER)
    assert new_only.store.activate("v2").version == "v2"
    with pytest.raises(ArtifactInvalid, match="not made with a known key"):
        new_only.store.activate("v1")


def test_keys_are_not_shown(tmp_path: Path) -> None:
    assert KEY.decode() not in repr(FileArtifacts(tmp_path, signing_keys=(KEY,)))
