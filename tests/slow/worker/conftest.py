"""Log lines of a test are kept, not printed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """The log lines so far."""
    with capture_logs() as lines:
        yield lines
