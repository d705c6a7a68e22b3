"""Settings of the gateway."""

from __future__ import annotations

from pydantic import Field

from shared.config import DatabaseSettings


class ApiSettings(DatabaseSettings):
    """Everything that the gateway can be told."""

    api_host: str = Field("127.0.0.1", description="where the gateway listens")
    api_port: int = Field(8000, ge=0, le=65535, description="the gateway's port")
    delivery_timeout_seconds: float = Field(
        10.0, gt=0, le=60, description="after that an unacknowledged event is a 503"
    )
    database_timeout_seconds: float = Field(5.0, gt=0, le=60, description="after that a read is a 503")
    database_pool_size: int = Field(10, ge=1, le=200, description="connections for reads, per process")
    catalogue_refresh_seconds: float = Field(30.0, gt=0, description="how often the known ISINs are read again")
    shutdown_timeout_seconds: float = Field(15.0, gt=0, description="SIGTERM to exit, at most")
    shutdown_drain_seconds: float = Field(
        0.5, ge=0, le=60, description="how long a stopping gateway says unready before it stops listening"
    )
