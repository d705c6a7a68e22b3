"""Settings of TLS and SASL: a wrong combination stops a process at its start, names the setting and shows no secret."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from script.demo_setup import plaintext_variables
from shared.settings import DatabaseSettings, settings_or_exit
from shared.transport_checks import checked_database_url, environment_database_url, read_secret

SECRET = "geheim-8812"
_CERTIFICATE = "-----BEGIN CERTIFICATE-----\nnot one\n-----END CERTIFICATE-----\n"
REPOSITORY = Path(__file__).resolve().parents[3]
SASL = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_USERNAME": "worker", "KAFKA_SASL_PASSWORD": SECRET}


@pytest.fixture(autouse=True)
def _servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")


def read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> DatabaseSettings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return settings_or_exit(DatabaseSettings)


def test_without_a_setting_clients_connect_in_plaintext(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch).brokers().librdkafka() == {"bootstrap.servers": "127.0.0.1:1"}


def test_user_and_password_reach_the_client_and_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, **SASL)

    built = settings.brokers().librdkafka()
    assert (built["security.protocol"], built["sasl.mechanism"]) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (built["sasl.username"], built["sasl.password"]) == ("worker", SECRET)
    assert built["ssl.endpoint.identification.algorithm"] == "https"
    for text in (repr(settings), str(settings), repr(settings.brokers()), str(settings.brokers())):
        assert SECRET not in text


def test_secrets_are_read_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kafka, database = tmp_path / "kafka", tmp_path / "database"
    kafka.write_text(SECRET + "\n")
    database.write_text("p@ss/w:rd")
    variables = {**SASL, "KAFKA_SASL_PASSWORD": "", "KAFKA_SASL_PASSWORD_FILE": str(kafka)}
    settings = read(monkeypatch, **variables, DATABASE_PASSWORD_FILE=str(database))

    assert settings.brokers().sasl_password == SECRET
    assert settings.database_url.get_secret_value() == "postgresql://nobody:p%40ss%2Fw%3Ard@127.0.0.1:1/none"
    assert environment_database_url() == settings.database_url.get_secret_value()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"KAFKA_SASL_USERNAME": ""}, "KAFKA_SECURITY_PROTOCOL=SASL_SSL needs KAFKA_SASL_USERNAME"),
        ({"KAFKA_SASL_PASSWORD": ""}, "needs KAFKA_SASL_PASSWORD"),
        ({"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}, "KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD would not be used"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL"}, "would not be used: KAFKA_SECURITY_PROTOCOL is SSL"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, "KAFKA_SECURITY_PROTOCOL"),
        ({"KAFKA_SASL_MECHANISM": "GSSAPI"}, "KAFKA_SASL_MECHANISM"),
        ({"KAFKA_SASL_PASSWORD_FILE": "/nowhere"}, "KAFKA_SASL_PASSWORD and KAFKA_SASL_PASSWORD_FILE are both set"),
        ({"KAFKA_SASL_PASSWORD": "", "KAFKA_SASL_PASSWORD_FILE": "/nowhere"}, "KAFKA_SASL_PASSWORD_FILE: /nowhere"),
        ({"KAFKA_SASL_PASSWORD": "", "KAFKA_SASL_PASSWORD_FILE": SECRET}, "KAFKA_SASL_PASSWORD_FILE: the file cannot"),
        ({"KAFKA_SSL_CA_FILE": "/nowhere"}, "KAFKA_SSL_CA_FILE: /nowhere"),
        ({"KAFKA_SSL_CERTIFICATE_FILE": "/c"}, "KAFKA_SSL_CERTIFICATE_FILE and KAFKA_SSL_KEY_FILE must be set togeth"),
        ({"KAFKA_SSL_KEY_FILE": "/k"}, "must be set together"),
        ({"KAFKA_SSL_CERTIFICATE_FILE": "/c", "KAFKA_SSL_KEY_FILE": "/k"}, "must be a certificate and its key"),
        ({"DATABASE_PASSWORD_FILE": "/nowhere"}, "DATABASE_PASSWORD_FILE: /nowhere cannot be read"),
        ({"DATABASE_URL": f"mysql://u:{SECRET}@h/d"}, "DATABASE_URL must be like postgresql://"),
        ({"DATABASE_URL": f"postgresql://u:{SECRET}@h:port/d"}, "DATABASE_URL must be like postgresql://"),
    ],
)
def test_a_wrong_combination_ends_the_process_and_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], named: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        read(monkeypatch, **{**SASL, **changes})

    assert named in str(ended.value.code)
    assert SECRET not in str(ended.value.code)


def test_files_of_tls_with_plaintext_would_protect_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as ended:
        read(monkeypatch, KAFKA_SSL_CA_FILE="/ca.pem")
    assert "KAFKA_SSL_CA_FILE would not be used" in str(ended.value.code)


def test_a_file_that_is_no_certificate_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(_CERTIFICATE)
    with pytest.raises(SystemExit) as ended:
        read(monkeypatch, **SASL, KAFKA_SSL_CA_FILE=str(path))
    assert "KAFKA_SSL_CA_FILE" in str(ended.value.code)

    with pytest.raises(ValueError, match="DATABASE_URL: sslrootcert"):
        checked_database_url(f"postgresql://u@h/d?sslmode=verify-full&sslrootcert={path}")


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("sslmode=verify_full", "sslmode must be one of"),
        ("sslmode=verify-full", "sslmode=verify-full needs sslrootcert"),
        ("sslrootcert=/ca.pem", "sslrootcert needs sslmode=verify-full"),
        ("sslmode=require&sslrootcert=/ca.pem", "sslrootcert needs sslmode=verify-full"),
        ("sslmode=verify-full&sslrootcert=system", "asyncpg has no sslrootcert=system"),
        ("sslmode=verify-full&sslrootcert=/nowhere", "sslrootcert: /nowhere"),
        ("sslmode=verify-full&sslmode=disable", "sslmode is there twice"),
        ("sslmode=require&sslkey=/nowhere", "sslkey: /nowhere cannot be read"),
        ("ssl=true", "ssl is none of sslmode"),
        ("sslcompression=1", "sslcompression is none of sslmode"),
    ],
)
def test_a_url_that_drivers_understand_differently_is_refused(
    monkeypatch: pytest.MonkeyPatch, query: str, named: str
) -> None:
    for name in ("PGSSLROOTCERT", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=named) as raised:
        checked_database_url(f"postgresql://u:{SECRET}@h/d?{query}")
    assert SECRET not in str(raised.value)


def test_the_mode_of_the_environment_counts_where_the_url_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    with pytest.raises(ValueError, match="sslmode=verify-full needs sslrootcert"):
        checked_database_url("postgresql://u@h/d")
    assert checked_database_url("postgresql://u@h/d?sslmode=require") == "postgresql://u@h/d?sslmode=require"


@pytest.mark.parametrize("folder", ["api", "worker", "trainer", "shared", "script", "FAR-Trans"])
def test_no_client_connects_with_the_address_alone(folder: str) -> None:
    own_broker = [REPOSITORY / "script" / "local", REPOSITORY / "script" / "speed"]
    right = {REPOSITORY / "shared" / "settings.py", REPOSITORY / "shared" / "kafka" / "connection.py"}
    files = [path for path in (REPOSITORY / folder).rglob("*.py") if not set(path.parents) & set(own_broker)]
    assert files
    for path in sorted({*files} - right):
        for node in ast.walk(ast.parse(path.read_text())):
            uses = isinstance(node, ast.Attribute) and node.attr == "kafka_bootstrap_servers"
            uses = uses or (isinstance(node, ast.Constant) and node.value == "bootstrap.servers")
            assert not uses, f"{path}:{getattr(node, 'lineno', 0)}: use DatabaseSettings.brokers()"


def test_services_of_the_demo_reach_its_own_broker_whatever_is_set_for_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = read(monkeypatch, **{**SASL, **plaintext_variables()})
    assert settings.brokers().librdkafka() == {"bootstrap.servers": "127.0.0.1:1"}


def test_a_password_is_given_once_and_for_a_role(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(SECRET)
    with pytest.raises(ValueError, match="give it once"):
        checked_database_url("postgresql://u:x@h/d", path)
    with pytest.raises(ValueError, match="give it once"):
        checked_database_url("postgresql://u@h/d?password=x", path)
    with pytest.raises(ValueError, match="needs the name of the role"):
        checked_database_url("postgresql://h/d", path)


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines", b"\xff", b"x" * 5000])
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^SETTING: "):
        read_secret("SETTING", path)
