"""The keyed signature of a manifest: write access to the models volume is not enough to create a model.

A manifest holds the SHA-256 of the arrays and the name of its version, and the pointer file holds that of the manifest:
with a key, CURRENT can only name versions that were signed. A signed version that was removed can be put back.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import sha256

from shared.errors import ArtifactInvalid

SIGNATURE_FILE = "manifest.hmac"
LARGEST_SIGNATURE_BYTES = 128


def sign_manifest(manifest: bytes, *, key: bytes) -> bytes:
    """Return the content of SIGNATURE_FILE: the HMAC-SHA256 of the manifest's bytes, in hexadecimal, and a newline."""
    return hmac.new(key, manifest, sha256).hexdigest().encode() + b"\n"


def check_signature(manifest: bytes, signature: bytes, *, keys: Sequence[bytes]) -> None:
    """Raise ArtifactInvalid unless one of the keys made this signature."""
    matches = [hmac.compare_digest(sign_manifest(manifest, key=key), signature) for key in keys]
    if not any(matches):
        raise ArtifactInvalid(f"{SIGNATURE_FILE} is not made with a known key")
