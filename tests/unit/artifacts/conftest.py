"""Fixtures for adapters that are tested without their servers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.artifacts.publication import FileArtifacts


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fsync return at once: a test kills no machine, and hundreds of real ones take half a minute."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def store(tmp_path: Path) -> FileArtifacts:
    return FileArtifacts(tmp_path / "models", lock_timeout_seconds=0.2)
