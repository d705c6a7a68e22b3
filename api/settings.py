"""Settings of the gateway."""

from __future__ import annotations

from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from api.processes import IS_SUPPORTED
from shared.settings import DatabaseSettings


class ApiSettings(DatabaseSettings):
    """All settings of the gateway."""

    api_host: str = Field("127.0.0.1", description="address that the gateway listens on")
    api_port: int = Field(8000, ge=0, le=65535, description="port that the gateway listens on")
    api_processes: int = Field(
        1,
        ge=1,
        le=64,
        description="processes behind the port, for more cores (Linux); each has its own pool and limits",
    )
    api_metrics_host: str = Field("127.0.0.1", description="address of the gateway's /metrics")
    api_metrics_port: int = Field(9100, ge=0, le=65535, description="port of the gateway's /metrics; 0: any free port")
    api_max_connections: int = Field(
        1000, ge=16, le=100_000, description="maximum of open connections; lower where the limit of open files is lower"
    )
    allowed_hosts: str = Field(
        "localhost,127.0.0.1,[::1]",
        description="values of `Host` that are accepted, comma-separated; without a port, any port; * accepts all",
    )
    cors_origins: str = Field(
        "", description="other origins whose web pages may call, comma-separated, such as https://app.example"
    )
    cors_allowed_origins: str = Field("", description="earlier name of CORS_ORIGINS; the same value, if both are set")
    legacy_empty_list: bool = Field(
        False,
        description="for clients of the first version: GET /recommendations/{customer_id} of an unknown customer is an "
        "empty list, not 404",
    )
    delivery_timeout_seconds: float = Field(
        10.0, gt=0, le=60, description="time after which an event without acknowledgement is a 503"
    )
    database_timeout_seconds: float = Field(5.0, gt=0, le=60, description="time after which a read is a 503")
    database_pool_size: int = Field(10, ge=1, le=200, description="database connections of one process")
    api_list_mebibytes: int = Field(
        32, ge=0, le=65_536, description="memory of one process for answers of lists that are kept; 0: none"
    )
    api_max_waiters: int = Field(
        5000, ge=0, le=100_000, description="clients that may wait for lists; at most four fifths of the connections"
    )
    request_id_key: SecretStr | None = Field(
        None,
        min_length=16,
        description="secret that signs the ids of requests for lists, so that a gateway can tell them from ids that it "
        "never gave out; the same in every gateway. Empty: every id counts as given out",
    )
    catalogue_refresh_seconds: float = Field(30.0, gt=0, description="interval of checks for a new catalogue")
    shutdown_timeout_seconds: float = Field(15.0, gt=0, description="longest time from SIGTERM to exit")
    shutdown_drain_seconds: float = Field(
        0.5, ge=0, le=60, description="how long a stopping gateway is unready before it stops listening"
    )

    def hosts(self) -> frozenset[str]:
        """Return the accepted values of `Host`."""
        return frozenset(_words(self.allowed_hosts))

    def origins(self) -> frozenset[str]:
        """Return the other origins that may call."""
        return frozenset(_words(self.cors_origins or self.cors_allowed_origins))

    @field_validator("allowed_hosts")
    @classmethod
    def _names_a_host(cls, value: str) -> str:
        if not _words(value):
            raise ValueError("must name at least one host")
        return value

    @field_validator("cors_origins", "cors_allowed_origins")
    @classmethod
    def _names_origins(cls, value: str) -> str:
        for origin in _words(value):
            url = urlsplit(origin)
            if url.scheme not in ("http", "https") or not url.netloc or origin != f"{url.scheme}://{url.netloc}":
                raise ValueError(f"{origin!r} is not an origin: scheme://host[:port] without a path")
        return value

    @model_validator(mode="after")
    def _have_processes_only_where_supported(self) -> Self:
        if self.api_processes > 1 and not IS_SUPPORTED:
            raise ValueError("API_PROCESSES above 1 needs Linux")
        return self

    @model_validator(mode="after")
    def _name_origins_once(self) -> Self:
        earlier = set(_words(self.cors_allowed_origins))
        if self.cors_origins and earlier and earlier != self.origins():
            raise ValueError("CORS_ORIGINS and CORS_ALLOWED_ORIGINS (its earlier name) differ: set CORS_ORIGINS only")
        return self


def _words(value: str) -> list[str]:
    return [word.strip().lower() for word in value.split(",") if word.strip()]
