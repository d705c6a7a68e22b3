"""The gateway on stand-ins, called through its whole ASGI stack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import LogCapture

from api.app import create_app
from api.gateway import Gateway
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader, build_asset


@pytest.fixture
def publisher() -> FakePublisher:
    return FakePublisher()


@pytest.fixture
def reader() -> FakeReader:
    """A database that knows customer C1 and asset GRS434003000."""
    asset = build_asset("GRS434003000", "PPC", "Stock", None, "Technology", None, 3.76, 0.16)
    return FakeReader(customers={"C1"}, assets=[asset])


@pytest.fixture
def client(publisher: FakePublisher, reader: FakeReader) -> Iterator[AsgiClient]:
    """The whole ASGI stack, its lifespan included."""
    gateway = Gateway(publisher, reader)
    with AsgiClient(create_app(gateway)) as client:
        client.run(gateway.catalogue.refresh)  # the background has begun it, and a busy machine may not have ended it
        yield client


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> LogCapture:
    """What is logged about bugs."""
    capture = LogCapture()
    monkeypatch.setattr("api.middleware.log", structlog.wrap_logger(None, processors=[capture]))
    return capture
