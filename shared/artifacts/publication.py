"""Model artifacts on the shared volume: `versions/<version>/` written once, and CURRENT that names the served one.

MODELS_DIR/CURRENT                    {"sequence", "version", "manifest_sha256"}, replaced atomically
MODELS_DIR/versions/<version>/        manifest.json, manifest.hmac (with a signing key), arrays.npz: complete from the
                                      moment they have this name
MODELS_DIR/versions/.tmp-*            a writer's unfinished work, or a version being removed

With a signing key, write access to the volume is not enough to create a model: the signature covers the manifest, the
manifest holds the SHA-256 of the arrays and the name of its version, and CURRENT holds the SHA-256 of the manifest. A
signed version that was removed can be put back.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from shared.artifacts.files import (
    DIRECTORY_MODE,
    check_directory,
    exclusive_lock,
    make_directory,
    read_file,
    remove_if_there,
    sync_directory,
    write_file,
)
from shared.artifacts.format import (
    ARRAYS_FILE,
    LARGEST_MANIFEST_BYTES,
    LARGEST_POINTER_BYTES,
    MANIFEST_FILE,
    checked_version,
    decode_manifest,
    decode_model,
    decode_pointer,
    encode_model,
    encode_pointer,
    is_version,
    sha256_of,
)
from shared.errors import ArtifactInvalid, ArtifactMissing
from shared.ports import Pointer
from shared.recommender.model import Model

SIGNATURE_FILE = "manifest.hmac"
_LARGEST_SIGNATURE_BYTES = 128
_TEMPORARY_PREFIX = ".tmp-"


@dataclass(frozen=True)
class FileArtifacts:
    """The ArtifactStore of one models volume. Every failure is ArtifactInvalid with a reason.

    Readers need no lock and never write. Writers take the volume's lock, one at a time. With signing keys a version
    without the signature of one of them does not load; the first key signs. Without keys signatures are ignored.
    """

    models_dir: Path
    largest_artifact_bytes: int = 2**30
    lock_timeout_seconds: float = 30.0
    signing_keys: tuple[bytes, ...] = field(default=(), repr=False)

    def read_pointer(self) -> Pointer | None:
        """Return what CURRENT names, None when there is none yet; raises ArtifactInvalid."""
        try:
            return decode_pointer(read_file(self._current, largest=LARGEST_POINTER_BYTES))
        except ArtifactMissing:
            return None

    def load_model(self, pointer: Pointer) -> Model:
        """Read and check one version, sizes before anything is allocated; raises ArtifactInvalid.

        The signature comes first: no byte of the manifest is interpreted before it is known to be ours.
        """
        directory = self._directory(pointer.version)
        encoded = read_file(directory / MANIFEST_FILE, largest=LARGEST_MANIFEST_BYTES)
        self._check_signature(directory, encoded)
        if sha256_of(encoded) != pointer.manifest_sha256:
            raise ArtifactInvalid(f"{MANIFEST_FILE} does not have the SHA-256 of the pointer")
        manifest = decode_manifest(encoded, version=pointer.version)
        arrays = read_file(
            directory / ARRAYS_FILE, largest=self.largest_artifact_bytes, expected_size=manifest.arrays_size
        )
        return decode_model(manifest, arrays)

    def manifest_sha256(self, version: str) -> str:
        """Return the digest of a stored version's manifest; raises ArtifactMissing."""
        return sha256_of(read_file(self._directory(version) / MANIFEST_FILE, largest=LARGEST_MANIFEST_BYTES))

    def save_model(self, model: Model) -> str:
        """Write one version, durable, and return its manifest's SHA-256; CURRENT is left alone.

        A version is written once: a name that is taken raises ArtifactInvalid. A crash at any step leaves
        either nothing under the version's name or all of it; leftovers go at the next save.
        """
        version = checked_version(model.version)
        files = encode_model(model)
        if self.signing_keys:
            files[SIGNATURE_FILE] = sign_manifest(files[MANIFEST_FILE], key=self.signing_keys[0])
        if len(files[ARRAYS_FILE]) > self.largest_artifact_bytes:
            raise ArtifactInvalid(f"{ARRAYS_FILE} would be larger than {self.largest_artifact_bytes} bytes")
        with self._writing():
            if os.path.lexists(self._versions / version):
                raise ArtifactInvalid(f"version {version} exists already")
            self._remove_leftovers()
            temporary = self._write_temporary(version, files)
            self._publish(temporary, version)
        return sha256_of(files[MANIFEST_FILE])

    def activate(self, version: str, *, keep: int = 3, pinned: Collection[str] = ()) -> Pointer:
        """Let CURRENT name this version with the next sequence, then prune all but `keep` versions and those `pinned`.

        A version that would not load is refused, and CURRENT stays as it was.
        """
        with self._writing():
            previous, sequence = self._previous_and_next_sequence()
            pointer = Pointer(sequence, checked_version(version), self.manifest_sha256(version))
            self.load_model(pointer)
            self._replace_current(pointer)
            protected = {pointer.version} | ({previous.version} if previous else set())
            self._prune(keep, protected, pinned)
        return pointer

    def prune(self, *, keep: int = 3, pinned: Collection[str] = ()) -> None:
        """Remove the oldest versions beyond `keep`, never the current one (for versions that are not promoted).

        Those that are `pinned` stay and do not count.
        """
        with self._writing():
            pointer = self.read_pointer()
            self._prune(keep, {pointer.version} if pointer else set(), pinned)

    def remove(self, version: str) -> None:
        """Remove one version, if it is there; raises ArtifactInvalid for the one that CURRENT names."""
        with self._writing():
            pointer = self.read_pointer()
            if pointer is not None and pointer.version == version:
                raise ArtifactInvalid(f"version {version} is served")
            if version in self.versions():
                self._remove(version)

    def versions(self) -> list[str]:
        """Return the stored versions, the oldest first."""
        if not self._versions.is_dir():
            return []
        # Whatever else lies there (lost+found, an operator's link) is not ours to count or to remove.
        entries = [entry for entry in self._versions.iterdir() if is_version(entry.name) and not entry.is_symlink()]
        return [entry.name for entry in sorted(entries, key=lambda entry: (entry.lstat().st_mtime_ns, entry.name))]

    @property
    def _current(self) -> Path:
        return self.models_dir / "CURRENT"

    @property
    def _versions(self) -> Path:
        return self.models_dir / "versions"

    def _directory(self, version: str) -> Path:
        directory = self._versions / checked_version(version)
        check_directory(directory)
        return directory

    def _check_signature(self, directory: Path, manifest: bytes) -> None:
        if not self.signing_keys:
            return
        try:
            signature = read_file(directory / SIGNATURE_FILE, largest=_LARGEST_SIGNATURE_BYTES)
        except ArtifactMissing as error:
            raise ArtifactInvalid(f"version {directory.name} is not signed") from error
        matches = [hmac.compare_digest(sign_manifest(manifest, key=key), signature) for key in self.signing_keys]
        if not any(matches):
            raise ArtifactInvalid(f"{SIGNATURE_FILE} is not made with a known key")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            make_directory(self.models_dir)
            make_directory(self._versions)
            with exclusive_lock(self.models_dir / ".lock", timeout_seconds=self.lock_timeout_seconds):
                yield
        except OSError as error:
            raise ArtifactInvalid(f"the models volume cannot be written: {error}") from error

    # --- the steps of save_model, in order; between any two of them a writer may die ---

    def _remove_leftovers(self) -> None:
        remove_if_there(self._temporary_pointer)
        for leftover in self._versions.glob(f"{_TEMPORARY_PREFIX}*"):
            remove_if_there(leftover)

    def _write_temporary(self, version: str, files: dict[str, bytes]) -> Path:
        temporary = self._versions / f"{_TEMPORARY_PREFIX}{version}"
        temporary.mkdir()
        temporary.chmod(DIRECTORY_MODE)
        for name, content in files.items():
            write_file(temporary / name, content)
        sync_directory(temporary)
        return temporary

    def _publish(self, temporary: Path, version: str) -> None:
        temporary.rename(self._versions / version)
        sync_directory(self._versions)

    # --- the steps of activate, in order ---

    def _previous_and_next_sequence(self) -> tuple[Pointer | None, int]:
        """Return what CURRENT names and the sequence to use next.

        A CURRENT that cannot be read does not tell its sequence; the Unix time is beyond any count of activations.
        """
        try:
            previous = self.read_pointer()
        except ArtifactInvalid:
            return None, int(time.time())
        return previous, previous.sequence + 1 if previous else 1

    @property
    def _temporary_pointer(self) -> Path:
        return self.models_dir / f"{_TEMPORARY_PREFIX}CURRENT"

    def _replace_current(self, pointer: Pointer) -> None:
        remove_if_there(self._temporary_pointer)
        write_file(self._temporary_pointer, encode_pointer(pointer))
        self._temporary_pointer.replace(self._current)
        sync_directory(self.models_dir)

    def _prune(self, keep: int, protected: set[str], pinned: Collection[str]) -> None:
        versions = [version for version in self.versions() if version not in pinned]
        removable = [version for version in versions if version not in protected]
        for version in removable[: max(0, len(versions) - keep)]:
            self._remove(version)

    def _remove(self, version: str) -> None:
        # Renamed first: a crash halfway leaves no version that looks whole and is not.
        doomed = self._versions / f"{_TEMPORARY_PREFIX}{version}"
        remove_if_there(doomed)
        (self._versions / version).rename(doomed)
        remove_if_there(doomed)


def sign_manifest(manifest: bytes, *, key: bytes) -> bytes:
    """Return the content of SIGNATURE_FILE: the HMAC-SHA256 of the manifest's bytes, in hexadecimal, and a newline."""
    return hmac.new(key, manifest, sha256).hexdigest().encode() + b"\n"
