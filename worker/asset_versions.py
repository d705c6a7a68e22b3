"""What lists show of assets, stored once for all decisions: each content has the id that its own text determines."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from hashlib import sha256

from sqlalchemy import Connection, Engine, event

from shared.postgres.errors import translated

MOST_REMEMBERED = 100_000  # about 400 bytes each; an asset with a new price has another content
_ADD = """
INSERT INTO shown_asset_versions (asset_version_id, content)
SELECT id, CAST(content AS json) FROM unnest(CAST(%s AS bigint[]), CAST(%s AS text[])) AS given(id, content)
ORDER BY id ON CONFLICT DO NOTHING
"""
_READ = "SELECT asset_version_id, content::text FROM shown_asset_versions WHERE asset_version_id = ANY(%s)"


class AssetVersions:
    """The table shown_asset_versions for one process, which remembers what is there.

    A content is added in a transaction of its own: no worker waits for the batch of another one that shows the same
    asset, and what is remembered stays true when a batch is undone. A new connection may be one to a server that lost
    its last rows: nothing is remembered then. Two threads may use it: what one forgets, the other computes or reads.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ids: dict[str, int] = {}
        self._contents: dict[int, str] = {}
        event.listen(engine, "connect", lambda *_: self._forget())

    def add(self, contents: Collection[str]) -> Mapping[str, int]:
        """Return a mapping with the id of each content, all of which are stored from now on."""
        self._limit()
        if any(content not in self._ids for content in contents):
            with translated(), self._engine.begin() as connection:  # may forget
                missing = {content: id_of(content) for content in contents if content not in self._ids}
                connection.exec_driver_sql(_ADD, (list(missing.values()), list(missing)))
            self._ids.update(missing)
        return {content: self._ids.get(content) or id_of(content) for content in contents}

    def find(self, connection: Connection, ids: Collection[int]) -> Mapping[int, str]:
        """Return a mapping with the content of each of these ids that exists."""
        self._limit()
        if missing := {one for one in ids if one not in self._contents}:
            for asset_version_id, content in connection.exec_driver_sql(_READ, (list(missing),)):
                self._contents[asset_version_id] = content
                self._ids[content] = asset_version_id
        return {one: content for one in ids if (content := self._contents.get(one)) is not None}

    def _limit(self) -> None:
        if max(len(self._ids), len(self._contents)) > MOST_REMEMBERED:
            self._forget()

    def _forget(self) -> None:
        self._ids.clear()
        self._contents.clear()


def id_of(content: str) -> int:
    """Return 63 bits of the text's SHA-256: two of a million contents are alike once in 10 million times."""
    return int.from_bytes(sha256(content.encode()).digest()[:8]) >> 1
