"""Settings of the gateway."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

import limits
from pydantic import Field, SecretStr, field_validator, model_validator

from api.access.jwks import ALGORITHMS_OF_TYPE
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
    auth_mode: Literal["none", "api_key", "jwt"] = Field(
        "none",
        description="who may call: `none`: everybody, so only this machine; `api_key`: who has a key of API_KEYS_FILE; "
        "`jwt`: who has a token of JWT_ISSUER (docs/security.md)",
    )
    auth_none_allow_remote: bool = Field(
        False,
        description="with AUTH_MODE=none, listen beyond loopback: something else decides who reaches the gateway",
    )
    api_keys_file: Path | None = Field(
        None, description="with AUTH_MODE=api_key, the file that script/api_keys.py writes; read again when it changes"
    )
    jwt_issuer: str | None = Field(None, min_length=1, description="with AUTH_MODE=jwt, the `iss` of every token")
    jwt_audience: str | None = Field(
        None, min_length=1, description="with AUTH_MODE=jwt, what `aud` of every token must contain"
    )
    jwt_jwks: str | None = Field(
        None,
        description="with AUTH_MODE=jwt, the public keys of the issuer (JWKS): an https address, or a file",
    )
    jwt_algorithms: str = Field(
        "RS256,ES256", description="accepted algorithms of tokens, comma-separated; none with a shared secret"
    )
    jwt_customer_claim: str = Field(
        "customer_id", min_length=1, description="the claim that binds a token to one customer"
    )
    jwt_leeway_seconds: float = Field(
        30.0, ge=0, le=120, description="how far the clocks of issuer and gateway may differ"
    )
    jwt_jwks_refresh_seconds: float = Field(
        300.0, ge=5, le=86_400, description="interval at which the public keys are read again"
    )
    rate_limit: str = Field(
        "1000/second",
        description="most requests of one key or token subject, in each process, such as 100/second or "
        "6000/minute; off: no limit. Not with AUTH_MODE=none",
    )
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

    def algorithms(self) -> list[str]:
        """Return the accepted algorithms of tokens."""
        return [word.strip() for word in self.jwt_algorithms.split(",") if word.strip()]

    def limit(self) -> str | None:
        """Return the limit of requests, None without one."""
        return None if self.rate_limit == "off" else self.rate_limit

    @field_validator("jwt_algorithms")
    @classmethod
    def _names_asymmetric_algorithms(cls, value: str) -> str:
        known = frozenset().union(*ALGORITHMS_OF_TYPE.values())
        words = [word.strip() for word in value.split(",") if word.strip()]
        if not words or (others := [word for word in words if word not in known]):
            raise ValueError(f"{others[0] if words else 'nothing'!r} is none of {', '.join(sorted(known))}")
        return value

    @field_validator("jwt_jwks")
    @classmethod
    def _is_safe_source(cls, value: str | None) -> str | None:
        if value is not None and "://" in value and not value.startswith("https://"):
            raise ValueError("must be an https address or a file: whoever changes the keys can issue tokens")
        return value

    @field_validator("rate_limit")
    @classmethod
    def _is_limit(cls, value: str) -> str:
        try:
            if value != "off" and (len(several := limits.parse_many(value)) != 1 or several[0].amount < 1):
                raise ValueError
        except ValueError:
            raise ValueError("is no limit such as 100/second, nor off") from None
        return value

    @model_validator(mode="after")
    def _is_open_on_loopback_only(self) -> Self:
        if self.auth_mode == "none" and not self.auth_none_allow_remote and not _is_loopback(self.api_host):
            raise ValueError(
                f"API_HOST {self.api_host!r} is not loopback and AUTH_MODE=none lets everybody read every list and "
                "activate any model: set AUTH_MODE, or AUTH_NONE_ALLOW_REMOTE=true if something else decides who calls"
            )
        return self

    @model_validator(mode="after")
    def _have_what_the_mode_needs(self) -> Self:
        needed = {
            "none": (),
            "api_key": ("api_keys_file", "request_id_key"),
            "jwt": ("jwt_issuer", "jwt_audience", "jwt_jwks", "request_id_key"),
        }[self.auth_mode]
        if missing := [name.upper() for name in needed if getattr(self, name) is None]:
            raise ValueError(f"AUTH_MODE={self.auth_mode} needs {', '.join(missing)}")
        return self

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


def _is_loopback(host: str) -> bool:
    """Return whether only this machine reaches the address; other names than localhost count as no."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _words(value: str) -> list[str]:
    return [word.strip().lower() for word in value.split(",") if word.strip()]
