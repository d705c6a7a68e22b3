"""Certificates for one test session: authorities, and what they sign."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Authority:
    """A certificate authority in one folder; `certificate` is the file that clients and servers trust."""

    folder: Path
    certificate: Path
    name: x509.Name
    key: ec.EllipticCurvePrivateKey

    def sign(self, name: str, *, host: str) -> tuple[Path, Path]:
        """Return certificate and key for this host."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_named(name), key.public_key(), issuer=self.name)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        certificate = builder.add_extension(issuer, critical=False).sign(self.key, hashes.SHA256())
        key_file = self.folder / f"{name}.key"
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        key_file.chmod(0o600)  # libpq refuses a key that others can read
        return _written(certificate, self.folder / f"{name}.pem"), key_file


def make_authority(folder: Path, name: str) -> Authority:
    """Make an authority that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_named(name), key.public_key(), issuer=_named(name))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    return Authority(folder, _written(certificate, folder / f"{name}.pem"), certificate.subject, key)


def keystore(certificate: Path, key: Path) -> Path:
    """Return one file with key and certificate, as Kafka reads them."""
    path = certificate.with_suffix(".keystore.pem")
    path.write_text(key.read_text() + certificate.read_text())
    return path


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(name: x509.Name, key: ec.EllipticCurvePublicKey, *, issuer: x509.Name) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(issuer, name, key, x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=2))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _written(certificate: x509.Certificate, path: Path) -> Path:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path
