"""TLS, passwords and rights of a local broker, as a production broker has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# The plaintext listener and that of the controller are for this machine's own program: ANONYMOUS may do everything on
# them. A client of the other two listeners is never ANONYMOUS.
_PROPERTIES = """\
listeners=PLAINTEXT://127.0.0.1:{port},SECURE://localhost:{secure_port},CERTIFICATE://localhost:{certificate_port},\
CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SECURE://localhost:{secure_port},\
CERTIFICATE://localhost:{certificate_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CERTIFICATE:SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={ca_file}
listener.name.certificate.ssl.client.auth=required
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""
_REPLACED = ("listeners=", "advertised.listeners=", "listener.security.protocol.map=")


@dataclass(frozen=True)
class BrokerSecurity:
    """`keystore`: the broker's key and certificate in one PEM file; `passwords`: by user name."""

    keystore: Path
    ca_file: Path
    passwords: Mapping[str, str]

    def extend(self, properties: str, **ports: int) -> str:
        """Return the properties of a broker with these listeners in place of the plaintext one alone."""
        kept = [line for line in properties.splitlines() if not line.startswith(_REPLACED)]
        return "\n".join(kept) + "\n" + _PROPERTIES.format(keystore=self.keystore, ca_file=self.ca_file, **ports)

    def format_arguments(self) -> list[str]:
        """Return the arguments that store the users while the folder is formatted."""
        return [
            word
            for name, password in self.passwords.items()
            for word in ("--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]")
        ]
