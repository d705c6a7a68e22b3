"""Checks of the settings of TLS and SASL: a wrong combination stops a process at its start, and names the setting.

Every function raises ValueError with the environment variable in its message, and never with a secret.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from shared.kafka.connection import KafkaConnection

_LONGEST_SECRET_BYTES = 4096
_VERIFYING_MODES = ("verify-ca", "verify-full")
_MODES = ("disable", "allow", "prefer", "require", *_VERIFYING_MODES)
_DATABASE_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
# What libpq and asyncpg both know; either refuses other names only when it connects.
_DATABASE_WORDS = (
    *("sslmode", *_DATABASE_FILES, "sslpassword", "sslnegotiation"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version"),
)


def read_secret(setting: str, path: str | Path) -> str:
    """Return the content of a file of one secret, without the line end that editors add."""
    shown = path if Path(path).is_absolute() else "the file"  # somebody may have set the secret itself
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LONGEST_SECRET_BYTES + 1)
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{setting}: {shown} cannot be read ({type(error).__name__})") from None
    if not text or len(content) > _LONGEST_SECRET_BYTES or not text.isprintable():
        raise ValueError(f"{setting}: {shown} must hold one line, the secret")
    return text


def check_kafka_words(kafka: KafkaConnection) -> None:
    """Check that user name, password and files are there exactly where the protocol uses them."""
    protocol = kafka.security_protocol
    words = {"KAFKA_SASL_USERNAME": kafka.sasl_username, "KAFKA_SASL_PASSWORD": kafka.sasl_password}
    if protocol == "SASL_SSL":
        if missing := [name for name, value in words.items() if not value]:
            raise ValueError(f"KAFKA_SECURITY_PROTOCOL=SASL_SSL needs {' and '.join(missing)}")
    elif given := [name for name, value in words.items() if value]:
        raise ValueError(f"{' and '.join(given)} would not be used: KAFKA_SECURITY_PROTOCOL is {protocol}")
    if protocol == "PLAINTEXT" and (given := [name for name, path in _files(kafka).items() if path]):
        raise ValueError(f"{' and '.join(given)} would not be used: KAFKA_SECURITY_PROTOCOL is PLAINTEXT")
    if (kafka.certificate_file is None) != (kafka.key_file is None):
        raise ValueError("KAFKA_SSL_CERTIFICATE_FILE and KAFKA_SSL_KEY_FILE must be set together")


def check_kafka_files(kafka: KafkaConnection) -> None:
    """Check that the files hold certificates and a key that belong together."""
    if kafka.ca_file is not None:
        _check_certificates("KAFKA_SSL_CA_FILE", kafka.ca_file)
    if kafka.certificate_file is not None and kafka.key_file is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            # Without `password` OpenSSL would ask for it on the terminal.
            context.load_cert_chain(kafka.certificate_file, kafka.key_file, password="")
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ValueError(
                "KAFKA_SSL_CERTIFICATE_FILE and KAFKA_SSL_KEY_FILE must be a certificate and its key, not encrypted, "
                f"both PEM ({type(error).__name__})"
            ) from None


def checked_database_url(database_url: str, password_file: str | Path | None = None) -> str:
    """Return the URL, with the password of the file; what it says of TLS must mean the same to both drivers."""
    url = _parsed(database_url)
    if password_file:
        if url.password is not None or "password" in url.query:
            raise ValueError("DATABASE_URL has a password and DATABASE_PASSWORD_FILE is set: give it once")
        if not url.username:
            raise ValueError("DATABASE_URL needs the name of the role to which the DATABASE_PASSWORD_FILE belongs")
        database_url = _with_password(database_url, read_secret("DATABASE_PASSWORD_FILE", password_file))
    _check_database_tls(url)
    return database_url


def environment_database_url() -> str | None:
    """Return DATABASE_URL with the password of DATABASE_PASSWORD_FILE, for commands that need no other setting."""
    url = os.environ.get("DATABASE_URL")
    return checked_database_url(url, os.environ.get("DATABASE_PASSWORD_FILE")) if url else None


def _parsed(database_url: str) -> URL:
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):  # its text has the URL
        url = None
    if url is None or url.drivername not in ("postgresql", "postgres", "postgresql+psycopg2"):
        raise ValueError("DATABASE_URL must be like postgresql://user:password@host:port/database")
    return url


def _with_password(database_url: str, password: str) -> str:
    scheme, _, rest = database_url.partition("://")
    user, _, address = rest.partition("@")
    return f"{scheme}://{user}:{quote(password, safe='')}@{address}"


def _check_database_tls(url: URL) -> None:
    """Refuse what the drivers understand differently, and files that would check nothing."""
    words = _tls_words(url)
    # Both drivers read PGSSLMODE.
    mode, root = words.get("sslmode") or os.environ.get("PGSSLMODE") or "prefer", words.get("sslrootcert")
    if mode not in _MODES:
        raise ValueError(f"DATABASE_URL: sslmode must be one of {', '.join(_MODES)}")
    if root is not None and mode not in _VERIFYING_MODES:
        raise ValueError("DATABASE_URL: sslrootcert needs sslmode=verify-full (or verify-ca): nothing would be checked")
    if root == "system":
        raise ValueError("DATABASE_URL: asyncpg has no sslrootcert=system: name the file of certificates")
    if mode in _VERIFYING_MODES and root is None and not os.environ.get("PGSSLROOTCERT"):
        raise ValueError(f"DATABASE_URL: sslmode={mode} needs sslrootcert, the file of certificates")
    if root is not None:
        _check_certificates("DATABASE_URL: sslrootcert", root)
    for name in _DATABASE_FILES:
        if name in words and not os.access(words[name], os.R_OK):
            raise ValueError(f"DATABASE_URL: {name}: {words[name]} cannot be read")


def _tls_words(url: URL) -> dict[str, str]:
    """Return what the URL says of TLS, each name once and known to both drivers."""
    words: dict[str, str] = {}
    for name, value in url.query.items():
        if not name.startswith("ssl"):
            continue
        if not isinstance(value, str):
            raise ValueError(f"DATABASE_URL: {name} is there twice")
        if name not in _DATABASE_WORDS:
            raise ValueError(f"DATABASE_URL: {name} is none of {', '.join(_DATABASE_WORDS)}")
        words[name] = value
    return words


def _check_certificates(setting: str, path: str | Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"{setting}: {path} holds no readable certificates ({type(error).__name__})") from None


def _files(kafka: KafkaConnection) -> dict[str, Path | None]:
    return {
        "KAFKA_SSL_CA_FILE": kafka.ca_file,
        "KAFKA_SSL_CERTIFICATE_FILE": kafka.certificate_file,
        "KAFKA_SSL_KEY_FILE": kafka.key_file,
    }
