"""Settings of the gateway."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from shared.settings import DatabaseSettings


class ApiSettings(DatabaseSettings):
    """Everything that the gateway can be told."""

    api_host: str = Field("127.0.0.1", description="where the gateway listens")
    api_port: int = Field(8000, ge=0, le=65535, description="the gateway's port")
    api_metrics_host: str = Field("127.0.0.1", description="where the gateway's /metrics listens")
    api_metrics_port: int = Field(9100, ge=0, le=65535, description="port of the gateway's /metrics; 0 is any free one")
    api_max_connections: int = Field(
        1000, ge=16, le=100_000, description="open connections, at most; fewer where the limit of open files is lower"
    )
    allowed_hosts: str = Field(
        "localhost,127.0.0.1,[::1]",
        description="names in `Host` that are answered, comma-separated, each with any port or with its own; * is any",
    )
    cors_allowed_origins: str = Field(
        "", description="foreign origins whose web pages may call, comma-separated, as in https://app.example"
    )
    delivery_timeout_seconds: float = Field(
        10.0, gt=0, le=60, description="after that an unacknowledged event is a 503"
    )
    database_timeout_seconds: float = Field(5.0, gt=0, le=60, description="after that a read is a 503")
    database_pool_size: int = Field(10, ge=1, le=200, description="connections for reads, per process")
    catalogue_refresh_seconds: float = Field(30.0, gt=0, description="how often the gateway looks for a new catalogue")
    shutdown_timeout_seconds: float = Field(15.0, gt=0, description="SIGTERM to exit, at most")
    shutdown_drain_seconds: float = Field(
        0.5, ge=0, le=60, description="how long a stopping gateway says unready before it stops listening"
    )

    def hosts(self) -> frozenset[str]:
        """Return the names that are answered."""
        return frozenset(_words(self.allowed_hosts))

    def origins(self) -> frozenset[str]:
        """Return the foreign origins that may call."""
        return frozenset(_words(self.cors_allowed_origins))

    @field_validator("allowed_hosts")
    @classmethod
    def _some_host(cls, value: str) -> str:
        if not _words(value):
            raise ValueError("must name at least one host")
        return value

    @field_validator("cors_allowed_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for origin in _words(value):
            parts = urlsplit(origin)
            if (
                parts.scheme not in ("http", "https")
                or not parts.netloc
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                raise ValueError(f"{origin!r} is no origin: scheme://host[:port], no path")
        return value


def _words(value: str) -> list[str]:
    return [word.strip().lower() for word in value.split(",") if word.strip()]
