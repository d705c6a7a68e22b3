"""Where the brokers are and how every client connects to them: the one place that builds this configuration."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

_KEPT_PROBLEMS = 20
# Differs every time, so that logs could not recognise the same problem.
_AFTER = re.compile(r" \(after \d+ms in state [A-Z_]+(, \d+ identical error\(s\) suppressed)?\)")


@dataclass(frozen=True)
class KafkaConnection:
    """The brokers, and what TLS and SASL need; its text names the brokers only.

    Without a CA file the certificates of the operating system count. The name in the broker's certificate is always
    checked.
    """

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: str = field(default="", repr=False)
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    def __str__(self) -> str:
        return self.bootstrap_servers

    def librdkafka(self) -> dict[str, Any]:
        """Return the settings of the librdkafka client; those of plaintext are the servers alone."""
        settings = {"bootstrap.servers": self.bootstrap_servers}
        if self.security_protocol != "PLAINTEXT":
            settings |= {"security.protocol": self.security_protocol, "ssl.endpoint.identification.algorithm": "https"}
        if self.security_protocol == "SASL_SSL":
            settings |= {
                "sasl.mechanism": self.sasl_mechanism,
                "sasl.username": self.sasl_username,
                "sasl.password": self.sasl_password,
            }
        files = {
            "ssl.ca.location": self.ca_file,
            "ssl.certificate.location": self.certificate_file,
            "ssl.key.location": self.key_file,
        }
        return settings | {name: str(path) for name, path in files.items() if path is not None}


# A text is the address of brokers with a plaintext listener.
Brokers = KafkaConnection | str


def connection_settings(brokers: Brokers) -> dict[str, Any]:
    """Return what a client needs to connect. It holds the password: log none of it."""
    return (KafkaConnection(brokers) if isinstance(brokers, str) else brokers).librdkafka()


class BrokerAdmin(AdminClient):
    """A client for queries, topics and rights that can say why it does not reach the broker."""

    def __init__(self, brokers: Brokers) -> None:
        settings = connection_settings(brokers)
        self._protocol = settings.get("security.protocol", "PLAINTEXT")
        self._problems: deque[KafkaError] = deque(maxlen=_KEPT_PROBLEMS)
        backoff = {"reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 1_000}
        # error_cb reports connection errors; librdkafka would print them as well.
        callback: dict[str, Any] = {"log_level": 0, "error_cb": self._problems.append}
        super().__init__({**settings, **backoff, **callback})

    def problem(self, error: KafkaException) -> str:
        """Return what failed and the cause that the client met: a refused password, a certificate, a wrong name."""
        self.poll(0)  # calls error_cb
        met = [one for one in self._problems if one.code() != KafkaError._ALL_BROKERS_DOWN]
        causes = [one for one in met if one.code() != KafkaError._TRANSPORT] or met
        text = str(error.args[0].str())
        if causes:
            return f"{text}: {_AFTER.sub('', causes[-1].str())}"
        # librdkafka reports no error where a listener of another protocol closes the connection.
        return f"{text}: no answer; KAFKA_SECURITY_PROTOCOL={self._protocol} must be that of the listener"
