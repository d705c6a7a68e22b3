"""Settings that several services share; each service extends them and builds one object in its __main__."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.kafka.connection import KafkaConnection
from shared.transport_checks import check_kafka_files, check_kafka_words, checked_database_url, read_secret

Settings = TypeVar("Settings", bound=BaseSettings)


class DatabaseSettings(BaseSettings):
    """Logs, broker and database. The database URL holds a password, so it is secret and has no default."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="lowest level that is logged")
    log_format: Literal["json", "console"] = Field(
        "json", description="`json`: one object per line; `console`: for people"
    )
    kafka_bootstrap_servers: str = Field(description="host:port of the Kafka brokers, comma-separated")
    topic_prefix: str = Field("", max_length=100, pattern=r"^[A-Za-z0-9._-]*$", description="prefix of all topic names")
    database_url: SecretStr = Field(
        description="postgresql://user:password@host:port/database; for TLS with "
        "?sslmode=verify-full&sslrootcert=FILE, and sslcert and sslkey for a client certificate"
    )
    database_password_file: Path | None = Field(
        None, description="file with the password that belongs into DATABASE_URL, which then has none"
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how clients connect to Kafka: `PLAINTEXT`, `SSL`, or `SASL_SSL` with a password"
    )
    kafka_sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = Field(
        "SCRAM-SHA-512", description="of SASL_SSL: `SCRAM-SHA-512`, `SCRAM-SHA-256` or `PLAIN`"
    )
    kafka_sasl_username: str = Field("", description="of SASL_SSL")
    kafka_sasl_password: SecretStr | None = Field(None, description="of SASL_SSL")
    kafka_sasl_password_file: Path | None = Field(None, description="file with it, in place of KAFKA_SASL_PASSWORD")
    kafka_ssl_ca_file: Path | None = Field(
        None, description="certificates (PEM) that sign those of the brokers; empty: those of the operating system"
    )
    kafka_ssl_certificate_file: Path | None = Field(
        None, description="the client's own certificate (PEM), where brokers ask for one"
    )
    kafka_ssl_key_file: Path | None = Field(None, description="its private key (PEM, not encrypted)")

    def brokers(self) -> KafkaConnection:
        """Return how every client connects to Kafka."""
        return KafkaConnection(
            self.kafka_bootstrap_servers,
            security_protocol=self.kafka_security_protocol,
            sasl_mechanism=self.kafka_sasl_mechanism,
            sasl_username=self.kafka_sasl_username,
            sasl_password=self.kafka_sasl_password.get_secret_value() if self.kafka_sasl_password else "",
            ca_file=self.kafka_ssl_ca_file,
            certificate_file=self.kafka_ssl_certificate_file,
            key_file=self.kafka_ssl_key_file,
        )

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        if path := values.get("kafka_sasl_password_file"):
            if values.get("kafka_sasl_password"):
                raise ValueError("KAFKA_SASL_PASSWORD and KAFKA_SASL_PASSWORD_FILE are both set: set one")
            values = {**values, "kafka_sasl_password": read_secret("KAFKA_SASL_PASSWORD_FILE", path)}
        if url := values.get("database_url"):
            text = url.get_secret_value() if isinstance(url, SecretStr) else str(url)
            values = {**values, "database_url": checked_database_url(text, values.get("database_password_file"))}
        return values

    @model_validator(mode="after")
    def _usable_kafka_security(self) -> Self:
        check_kafka_words(self.brokers())
        check_kafka_files(self.brokers())
        return self


class TopicSettings(DatabaseSettings):
    """Settings of `python -m shared.migrations`, which creates the topics."""

    topic_partitions: int = Field(12, ge=1, le=1000, description="partitions of each customer topic")
    topic_replication_factor: int = Field(1, ge=1, le=7, description="3 in production")
    topic_min_insync_replicas: int = Field(
        1, ge=1, le=7, description="replicas that must have an event before it is acknowledged; 2 in production"
    )
    topic_retention_hours: int = Field(
        168, ge=1, le=87_600, description="how long events are kept; longer than the age of the oldest backup"
    )
    topic_max_message_bytes: int = Field(
        131_072, ge=131_072, le=8_388_608, description="largest message, or batch of messages, that the broker accepts"
    )

    @model_validator(mode="after")
    def _enough_replicas(self) -> TopicSettings:
        if self.topic_min_insync_replicas > self.topic_replication_factor:
            raise ValueError(
                "TOPIC_MIN_INSYNC_REPLICAS must not exceed TOPIC_REPLICATION_FACTOR: nothing could be written"
            )
        return self


class ServiceSettings(DatabaseSettings):
    """Settings that worker and trainer share: the models volume, and the port for health and metrics."""

    models_dir: Path = Field(description="the shared volume with model artifacts")
    artifact_signing_key: SecretStr | None = Field(
        None,
        description="secret that signs models; models with another signature are rejected. Of several, "
        "comma-separated, the first signs and all are accepted. Empty: no signatures (in docker compose: "
        "POSTGRES_PASSWORD)",
    )
    health_host: str = Field("127.0.0.1", description="address of /health/* and /metrics")
    shutdown_timeout_seconds: float = Field(15.0, gt=0, description="longest time from SIGTERM to exit")
    stall_seconds: float = Field(
        60.0,
        gt=0,
        description="time without progress, while messages wait, after which the process is not live; longer than the "
        "longest back-off (30)",
    )

    def signing_keys(self) -> tuple[bytes, ...]:
        """Return the keys of artifacts: the first signs, all are accepted; none means no signatures."""
        value = self.artifact_signing_key.get_secret_value() if self.artifact_signing_key else ""
        return tuple(key.strip().encode() for key in value.split(",") if key.strip())

    @field_validator("artifact_signing_key")
    @classmethod
    def _names_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        # A value of only commas and blanks would disable signatures without a word.
        if value is not None and not value.get_secret_value().replace(",", "").strip():
            raise ValueError("holds no key")
        return value


def settings_or_exit(kind: type[Settings]) -> Settings:
    """Return the settings of the environment; ends the process with a line that names what is missing or wrong."""
    try:
        return kind()
    except ValidationError as error:
        sys.exit("; ".join(setting_problems(error)))


def setting_problems(error: ValidationError) -> list[str]:
    """Return one text for each setting that is missing or wrong: its environment variable, never its value."""
    problems = []
    for one in error.errors():
        name = ".".join(map(str, one["loc"])).upper()
        problems.append(f"{name}: {one['msg']}" if name else one["msg"].removeprefix("Value error, "))
    return problems
